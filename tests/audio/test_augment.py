"""Augmentations: each changes its input in the way it says, item by item, and the same way when asked again."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from scripts.audio import augment, backgrounds
from scripts.audio.augment import BANK_FRAMES, DEFAULTS, Augmentation, Draws, in_bands, row_frequencies
from scripts.audio.features import LogMel
from scripts.audio.normalise import standardise
from scripts.audio.spec import MelSpec
from scripts.common.errors import AudioError, ConfigError

SPEC = MelSpec(sample_rate=22_050, n_fft=2048, hop_length=512, n_mels=64)
ALL_BUT_GAIN = {name: {} for name in DEFAULTS if name not in ("gain", "background")}


def drawn(*uniform: float) -> Draws:
    """The same draw for one item, one number a column."""
    return Draws(torch.tensor([uniform]), torch.ones(SPEC.n_mels, BANK_FRAMES))


def noisy_batch(items: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return -40 + 10 * torch.randn(items, 1, SPEC.n_mels, 130, generator=generator)


def mel_of(waveform: np.ndarray, spec: MelSpec = SPEC) -> torch.Tensor:
    """[1, 1, mels, frames] in dB, without a floor that would hide quiet rows."""
    return torch.from_numpy(LogMel(dataclasses.replace(spec, top_db=200))(waveform.astype(np.float32))).clone()[
        None, None
    ]


def tone(hertz: float, seconds: float = 3.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SPEC.sample_rate)) / SPEC.sample_rate)


@pytest.mark.parametrize("name", ALL_BUT_GAIN)
def test_changes_a_batch_and_each_item_differently(name):
    strong = {"lowest": 500.0} if name == "low_pass" else {}  # its cut may lie above the highest row
    augmentation = Augmentation({name: strong}, SPEC, 8, seed=0)
    same = noisy_batch(1).expand(8, -1, -1, -1).clone()
    other = noisy_batch(8) if name == "mixup" else same
    changed = change(augmentation, other, np.arange(8))
    assert changed.shape == other.shape
    assert all((changed[i] != other[i]).any() for i in range(8))
    assert all((changed[i] != changed[0]).any() for i in range(1, 8))


@pytest.mark.parametrize("name", ALL_BUT_GAIN)
def test_an_items_draw_depends_on_seed_epoch_and_item_alone(name):
    x = noisy_batch(1)
    first, second = (Augmentation({name: {}}, SPEC, items=50, seed=3) for _ in range(2))
    for augmentation in (first, second):
        augmentation.set_epoch(7)
    alone = change(second, x.expand(2, -1, -1, -1), np.array([31, 31]))[0]
    among = change(first, x.expand(4, -1, -1, -1), np.array([2, 31, 5, 9]))[1]
    assert torch.equal(alone, among)
    if name != "mixup":  # an item mixed with itself stays as it is
        second.set_epoch(8)
        assert not torch.equal(alone, change(second, x, np.array([31]))[0])


def change(augmentation: Augmentation, x: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
    x = augmentation.on_normalised(augmentation.on_decibel(x, chosen), chosen)
    return augmentation.mix(x, torch.zeros(len(x), dtype=torch.long), chosen, 3)[0]


def test_tempo_moves_an_event_away_from_the_middle():
    x = torch.full((1, 1, SPEC.n_mels, 101), -80.0)
    x[..., 70] = 0  # 20 frames after the middle, frame 50
    slower = augment.tempo(x, drawn(0.0), SPEC, change=0.2)  # the lowest draw: 0.8 of the speed
    assert slower[0, 0, 0].argmax() == 75  # 20 / 0.8 = 25 after the middle


def test_time_shift_rolls_whole_frames():
    x = noisy_batch(1)
    shifted = augment.time_shift(x, drawn(0.5), SPEC, share=1.0)
    assert torch.equal(shifted, x.roll(65, dims=3))


def test_loop_repeats_a_part():
    x = torch.arange(100.0).expand(1, 1, SPEC.n_mels, -1)
    looped = augment.loop(x, drawn(0.5, 0.25), SPEC, shortest=0.2)  # 60 frames, from (100 - 60) / 4 = 10 on
    assert looped[0, 0, 0].tolist() == [*range(10, 70), *range(10, 50)]


@pytest.mark.parametrize("semitones", [-2, 2])
def test_pitch_agrees_with_a_tone_that_is_higher(semitones):
    frequency = 3000.0
    drawn_pitch = drawn(0.5 + semitones / 8)  # of -4 ... 4
    moved = augment.pitch(mel_of(tone(frequency)), drawn_pitch, SPEC, semitones=4)
    truth = mel_of(tone(frequency * 2 ** (semitones / 12)))
    assert abs(moved[0, 0, :, 60].argmax() - truth[0, 0, :, 60].argmax()) <= 1
    assert moved[0, 0, :, 60].argmax() != mel_of(tone(frequency))[0, 0, :, 60].argmax()


def test_gain_adds_decibels():
    x = noisy_batch(1)
    torch.testing.assert_close(augment.gain(x, drawn(0.75), SPEC, decibel=12.0), x + 6)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("snr", [0.0, 10.0])
def test_noise_is_as_loud_as_noise_in_the_waveform(snr, scale):
    spec = dataclasses.replace(SPEC, mel_scale=scale)
    generator = np.random.default_rng(0)
    music = np.convolve(generator.standard_normal(66_150), np.hanning(12), "same")  # falls off with frequency
    white = generator.standard_normal(66_150)
    white *= np.sqrt(np.mean(music**2) / np.mean(white**2) / 10 ** (snr / 10))
    truth = mel_of(music + white, spec)
    augmentation = Augmentation({"noise": {"snr_low": snr, "snr_high": snr}}, spec, 1, seed=0)
    changed = augmentation.on_decibel(mel_of(music, spec), np.array([0]))
    assert power_by_row(changed) == pytest.approx(power_by_row(truth), abs=1.5)
    assert abs(power_by_row(mel_of(music, spec)) - power_by_row(truth)).max() > 5


@pytest.mark.parametrize("slope", [3.0, 6.0])
def test_noise_may_fall_with_frequency(slope):
    """From white to as steep as brown noise, made here by weighting a white spectrum."""
    spec = dataclasses.replace(SPEC, mel_scale="htk")
    generator = np.random.default_rng(0)
    signal = np.fft.rfft(generator.standard_normal(66_150))
    hertz = np.fft.rfftfreq(66_150, 1 / spec.sample_rate).clip(augment.LOWEST)
    coloured = np.fft.irfft(signal * hertz ** (-slope / 2 / 3.0103))
    silence = torch.full((1, 1, SPEC.n_mels, 130), -120.0)
    silence[..., 0] = 0  # all the power there is
    generated = Draws(torch.tensor([[0.0, 0.0, 1.0]]), torch.ones(SPEC.n_mels, BANK_FRAMES))
    changed = augment.noise(silence, generated, spec, 0, 0, slope)[..., 1:]
    difference = power_by_row(changed) - power_by_row(mel_of(coloured, spec))
    assert difference == pytest.approx(np.full(len(difference), difference.mean()), abs=1.5)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_a_background_is_as_loud_as_in_the_waveform(scale, tmp_path):
    """Two recordings of other levels, of which two draws take one each."""
    spec, generator = dataclasses.replace(SPEC, mel_scale=scale), np.random.default_rng(0)
    music = np.convolve(generator.standard_normal(66_150), np.hanning(12), "same")
    sounds = [tone(2000.0) + 0.1 * tone(5000.0), 0.01 * generator.standard_normal(66_150)]
    for number, sound in enumerate(sounds):
        (tmp_path / f"deep {number}").mkdir()
        soundfile.write(tmp_path / f"deep {number}" / "sound.wav", sound, SPEC.sample_rate, subtype="FLOAT")
    settings = {"background": {"folder": str(tmp_path), "snr_low": 3.0, "snr_high": 3.0}}
    augmentation = Augmentation(settings, spec, 2, seed=0)
    augmentation.uniform["background"] = torch.tensor([[0.0, 0.0], [0.0, 0.5]])
    changed = augmentation.on_decibel(mel_of(music, spec).expand(2, -1, -1, -1), np.arange(2))
    expected = []
    for sound in sounds:
        louder = sound * np.sqrt(np.mean(music**2) / np.mean(sound**2) / 10**0.3)
        expected.append(power_by_row(mel_of(music + louder, spec)))
    rows = [power_by_row(changed[item : item + 1]) for item in range(2)]
    if abs(rows[0] - expected[0]).mean() > abs(rows[0] - expected[1]).mean():  # the recordings' order is drawn
        rows.reverse()
    assert rows[0] == pytest.approx(expected[0], abs=1.5) and rows[1] == pytest.approx(expected[1], abs=1.5)


def test_a_folder_is_heard_for_half_an_hour_and_a_minute_each(tmp_path, monkeypatch):
    monkeypatch.setattr(backgrounds, "IN_ALL", 5.0)
    monkeypatch.setattr(backgrounds, "LONGEST", 2.0)
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", tone(300.0 * (number + 1)), SPEC.sample_rate)
    (tmp_path / "notes.txt").write_text("not a sound")
    (tmp_path / "._0.wav").write_text("hidden")
    (tmp_path / "folder.wav").mkdir()
    powers = list(backgrounds.read_backgrounds(str(tmp_path), SPEC))
    assert [power.shape[1] for power in powers] == [87, 87, 44]  # 2, 2 and 1 s in hops of 512 samples, and one
    assert len({power.mean(1).argmax() for power in powers}) == 3


@given(st.lists(st.integers(100, 90_000), min_size=1, max_size=6))
def test_what_is_left_of_the_half_hour_is_never_too_short(tmp_path_factory, lengths):
    """Lengths in samples, of which 0.00001 s may be left in all."""
    folder = tmp_path_factory.mktemp("sounds")
    for number, length in enumerate(lengths):
        soundfile.write(folder / f"{number}.wav", np.full(length, 0.5) * (-1.0) ** np.arange(length), SPEC.sample_rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backgrounds, "IN_ALL", 2.0)
        powers = list(backgrounds.read_backgrounds(str(folder), SPEC))
    heard = sum(power.shape[1] - 1 for power in powers) * SPEC.hop_length / SPEC.sample_rate
    assert min(1.0, sum(lengths) / SPEC.sample_rate) - 0.2 < heard <= 2.0


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, ConfigError, "holds no audio files"),
        (b"<!DOCTYPE html>" * 100, AudioError, "noise.wav: "),
        (np.zeros(66_150), AudioError, "noise.wav: below -60 dB"),
    ],
)
def test_a_folder_without_sounds_is_refused(tmp_path, content, error, message):
    if isinstance(content, bytes):
        (tmp_path / "noise.wav").write_bytes(content)
    elif content is not None:
        soundfile.write(tmp_path / "noise.wav", content, SPEC.sample_rate)
    with pytest.raises(error, match=message):
        Augmentation({"background": {"folder": str(tmp_path)}}, SPEC, 1, seed=0)


def test_an_equalizer_is_a_filter_of_the_waveform():
    generator = np.random.default_rng(1)
    white, bands = generator.standard_normal(66_150), generator.random(augment.BANDS, np.float32)
    hertz = np.fft.rfftfreq(len(white), 1 / SPEC.sample_rate)
    octaves = np.log2(hertz.clip(augment.LOWEST) / augment.LOWEST)
    places = np.linspace(0, np.log2(11_025 / augment.LOWEST), augment.BANDS)
    filtered = np.fft.irfft(np.fft.rfft(white) * 10 ** (np.interp(octaves, places, 12 * (2 * bands - 1)) / 20))
    changed = augment.equalizer(mel_of(white), drawn(*bands), SPEC, decibel=12.0)
    assert power_by_row(changed) == pytest.approx(power_by_row(mel_of(filtered)), abs=0.5)
    assert abs(power_by_row(changed) - power_by_row(mel_of(white))).max() > 3


def test_an_equalizer_of_the_lowest_rows_alone():
    spec = dataclasses.replace(SPEC, f_max=augment.LOWEST, n_fft=8192, n_mels=4)
    x = torch.zeros(1, 1, 4, 5)
    assert augment.equalizer(x, drawn(*[1.0] * augment.BANDS), spec, decibel=6.0).allclose(x + 6)


@pytest.mark.parametrize(("share", "cut"), [(0.0, 11_025.0), (0.5, 11_025 / 2), (1.0, 11_025 / 4)])
def test_a_low_pass_is_a_filter_of_the_waveform(share, cut):
    generator = np.random.default_rng(1)
    white = generator.standard_normal(66_150)
    spectrum, hertz = np.fft.rfft(white), np.fft.rfftfreq(len(white), 1 / SPEC.sample_rate)
    filtered = np.fft.irfft(np.where(hertz <= cut, spectrum, 0))
    changed = augment.low_pass(mel_of(white), drawn(share), SPEC, lowest=11_025 / 4)
    difference = power_by_row(mel_of(filtered)) - power_by_row(mel_of(white))
    frequency = row_frequencies(SPEC, torch.device("cpu")).numpy()[8:]
    below, above = frequency < 0.9 * cut, frequency > 1.1 * cut
    assert difference[below] == pytest.approx(0, abs=0.5) and (difference[above] < -40).all()
    assert torch.equal(changed[0, 0, 8:][below], mel_of(white)[0, 0, 8:][below])
    assert (changed[0, 0, 8:][above] == mel_of(white).min()).all()


def test_a_low_pass_always_leaves_something():
    changed = augment.low_pass(noisy_batch(1), drawn(1.0), SPEC, lowest=0.0)
    assert changed.std() > 0


def test_a_room_is_noise_that_dies_away():
    """Beside a waveform that is convolved with such noise: the mean power of many rooms of one kind."""
    generator = np.random.default_rng(2)
    click = np.zeros(33_075)
    click[8_000] = 100
    time = np.arange(1, 22_050) / SPEC.sample_rate
    rooms = []
    for _ in range(40):
        response = generator.standard_normal(len(time)) * 10 ** (-3 * time / 0.5)
        response *= np.sqrt(0.1 / (response**2).sum())
        rooms.append(fftconvolve(click, [1, *response])[: len(click)])
    truth = np.mean([10 ** (mel_of(heard)[0, 0].numpy() / 10) for heard in rooms], axis=0).sum(0)
    changed = augment.room(mel_of(click), drawn(0.5, 0.5), SPEC, seconds=0.9)  # 0.5 s, -10 dB
    power = 10 ** (changed[0, 0].numpy() / 10)
    onset = 8_000 // SPEC.hop_length
    assert 10 * np.log10(power.sum(0) / truth)[onset + 4 : onset + 20] == pytest.approx(np.zeros(16), abs=0.7)


@pytest.mark.parametrize("name", ALL_BUT_GAIN)
def test_a_share_of_the_items_is_changed(name):
    augmentation = Augmentation({name: {"probability": 0.3}}, SPEC, 100, seed=0)
    x, always = noisy_batch(100), Augmentation({name: {}}, SPEC, 100, seed=0)
    result = change(augmentation, x, np.arange(100))
    changed = (result != x).flatten(1).any(1)
    assert 0.15 < changed.float().mean() < 0.45
    assert torch.equal(result[changed], change(always, x, np.arange(100))[changed])


def power_by_row(x: torch.Tensor) -> np.ndarray:
    """Mean power of each row over time, in dB; the lowest rows hold too few bins to average well."""
    return 10 * np.log10(np.mean(10 ** (x[0, 0, 8:].numpy() / 10), axis=1))


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 1000))
def test_masks_hide_whole_bands_and_nothing_else(width, count, seed):
    uniform = torch.from_numpy(np.random.default_rng(seed).random((3, 2 * count), np.float32))
    inside = in_bands(uniform, 50, width, count)
    assert inside.sum(1).max() <= width * count
    starts = (inside[:, 1:] & ~inside[:, :-1]).sum(1) + inside[:, 0]
    assert starts.max() <= count


def test_masks_put_zeros_on_normalised_values():
    augmentation = Augmentation({"frequency_mask": {"width": 20}, "time_mask": {"width": 20}}, SPEC, 4, seed=1)
    x = standardise(noisy_batch())
    masked = augmentation.on_normalised(x, np.arange(4))
    hidden = masked == 0
    assert hidden.any()
    assert torch.equal(masked[~hidden], x[~hidden])
    rows, frames = hidden[:, 0].all(2), hidden[:, 0].all(1)
    assert torch.equal(hidden[:, 0], rows[:, :, None] | frames[:, None, :])


def test_mixup_mixes_inputs_and_labels_in_the_same_shares():
    augmentation = Augmentation({"mixup": {"alpha": 1.0}}, SPEC, 3, seed=0)
    x = torch.tensor([1.0, 10.0, 100.0])[:, None, None, None]
    mixed, labels = augmentation.mix(x, torch.tensor([0, 1, 2]), np.arange(3), 3)
    assert labels.sum(1).tolist() == pytest.approx([1, 1, 1])
    torch.testing.assert_close(mixed.flatten(), labels @ torch.tensor([1.0, 10.0, 100.0]))
    assert (labels.diagonal() >= 0.5).all()
    assert labels[1, 0] == 1 - labels[1, 1]  # the neighbour before it


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixupp": {}}, "did you mean 'mixup'"),
        ({"mixup": {"alfa": 1}}, "did you mean 'alpha'"),
        ({"tempo": {"change": "much"}}, "must be a number"),
        ({"time_mask": {"width": -1}}, "at least 0"),
        ({"noise": {"probability": 1.5}}, "probability=1.5; it must be between 0 and 1"),
        ({"noise": {"probability": -0.5}}, "probability=-0.5; it must be between 0 and 1"),
        ({"gain": {}}, "undoes gain"),
        ({"noise": {"snr_low": float("nan")}}, "snr_low=nan; it must be a number"),
        ({"noise": {"snr_high": float("inf")}}, "snr_high=inf; it must be a number, 100000 at most"),
        ({"noise": {"snr_low": 31}}, "snr_low above snr_high"),
        ({"low_pass": {"lowest": 11_025}}, "lowest=11025 Hz changes nothing; set it below 11025 Hz"),
        ({"background": {"folder": "no/such"}}, "no/such: no such folder"),
        ({"background": {}}, "folder=''; set augment.background.folder"),
        ({"background": {"folder": 3}}, "folder=3; set augment.background.folder"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Augmentation(settings, SPEC, 1, seed=0)


def test_pitch_needs_frequencies():
    with pytest.raises(ConfigError, match="kind mfcc, only of: mel, linear"):
        Augmentation({"pitch": {}}, MelSpec(kind="mfcc"), 1, seed=0)


def test_row_frequencies_are_where_tones_peak():
    frequency = row_frequencies(SPEC, torch.device("cpu"))
    for row in (20, 40, 60):
        assert mel_of(tone(float(frequency[row])))[0, 0, :, 60].argmax() == row
