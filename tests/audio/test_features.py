"""Log-mel spectrograms against librosa."""

import dataclasses

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st

from scripts.audio.decoding import fit_length
from scripts.audio.features import LogMel, loudest_clip, make_transform, mel_filters, to_half
from scripts.audio.spec import KINDS, MelSpec
from scripts.common.errors import ConfigError

SPECS = {
    "main task": MelSpec(),
    "22 kHz": MelSpec(sample_rate=22_050, n_fft=1024, hop_length=256, n_mels=64),
    "range": MelSpec(f_min=50.0, f_max=14_000.0),
    "odd hop": MelSpec(sample_rate=16_000, n_fft=400, hop_length=161, n_mels=80, f_max=8_000.0),
    "hop beyond window": MelSpec(n_fft=512, hop_length=700, n_mels=40),
    "speech": MelSpec(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=23, f_min=20.0),
    "96 kHz": MelSpec(sample_rate=96_000, n_fft=4096, hop_length=1024, n_mels=200),
    "small range": MelSpec(top_db=20.0),
    "one mel": MelSpec(n_mels=1),
}
CHANGES = {
    "sample_rate": 22_050,
    "n_fft": 1024,
    "hop_length": 256,
    "n_mels": 96,
    "f_min": 20.0,
    "f_max": 16_000.0,
    "top_db": 100.0,
    "track_seconds": 10.0,
    "clip_seconds": 1.0,
    "kind": "linear",
    "n_mfcc": 13,
    "clip_overlap": 0.5,
    "ending": "hold",
    "selection": "loudest",
    "min_seconds": 0.5,
    "excerpt": "middle",
    "mel_scale": "htk",
    "pad_mode": "reflect",
}
COALA = MelSpec(
    sample_rate=22_000, n_fft=1024, n_mels=96, track_seconds=10, clip_seconds=2.22, clip_overlap=0.875,
    kind="log_magnitude", selection="loudest",
)  # fmt: skip
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def music(samples: int, seed: int = 0) -> np.ndarray:
    """Decaying notes over noise: float32 [samples]."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 10_000
    notes = sum(np.sin(2 * np.pi * random.uniform(100, 4000) * time) for _ in range(5))
    return (0.1 * notes * np.exp(-3 * (time % 1)) + random.normal(0, 0.001, samples)).astype(np.float32)


def with_librosa(waveform: np.ndarray, spec: MelSpec) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=waveform, sr=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.hop_length, n_mels=spec.n_mels,
        fmin=spec.f_min, fmax=spec.f_max, window="hann", center=True, pad_mode="constant", power=2.0,
    )  # fmt: skip
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=spec.top_db)


@each_spec
def test_log_mel_agrees_with_librosa(spec: MelSpec) -> None:
    waveform = music(spec.sample_rate)
    found = LogMel(spec)(waveform)
    assert found.dtype == np.float32
    assert found.shape == (spec.n_mels, spec.frames(len(waveform)))
    np.testing.assert_allclose(found, with_librosa(waveform, spec), atol=1e-3)


SIGNALS = {
    "tone over noise": lambda time, noise: 0.9 * np.sin(2 * np.pi * 5_000 * time) + 1e-3 * noise,
    "constant over noise": lambda time, noise: 0.5 + 1e-4 * noise,
    "square wave": lambda time, noise: 0.9 * np.sign(np.sin(2 * np.pi * 100 * time)),
    "brown noise": lambda time, noise: np.cumsum(noise) / 500,
    "click": lambda time, noise: (time == time[7_000]).astype(float),
}


@pytest.mark.parametrize(
    ("name", "tolerance"), [(name, 5e-3 if name == "tone over noise" else 1e-3) for name in SIGNALS]
)
def test_wide_dynamic_range_agrees_with_librosa(name: str, tolerance: float) -> None:
    """70 dB and more below a tone float32 ends."""
    time, noise = np.arange(44_100) / 44_100, np.random.default_rng(0).normal(0, 1, 44_100)
    waveform = SIGNALS[name](time, noise).astype(np.float32)
    np.testing.assert_allclose(LogMel(MelSpec())(waveform), with_librosa(waveform, MelSpec()), atol=tolerance)


@pytest.mark.parametrize("samples", [1, 511, 512, 513, 2047, 2048, 2049])
@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
def test_short_waveforms_agree_with_librosa(samples: int) -> None:
    waveform = music(samples)
    np.testing.assert_allclose(LogMel(MelSpec())(waveform), with_librosa(waveform, MelSpec()), atol=1e-3)


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_more_mels_than_bins_agree_with_librosa() -> None:
    spec = MelSpec(n_fft=256, n_mels=128)
    waveform = music(spec.sample_rate)
    assert not mel_filters(spec).any(axis=1).all()
    np.testing.assert_allclose(LogMel(spec)(waveform), with_librosa(waveform, spec), atol=1e-3)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
@pytest.mark.parametrize("n_mels", [40, 96])
def test_htk_mels_of_a_mirrored_waveform_agree_with_torchaudio(n_mels: int) -> None:
    spec = MelSpec(
        sample_rate=16_000, n_fft=512, hop_length=256, n_mels=n_mels, top_db=200, mel_scale="htk", pad_mode="reflect"
    )
    waveform = music(48_000)
    mel = torchaudio.transforms.MelSpectrogram(16_000, 512, f_min=0.0, f_max=8_000.0, n_mels=n_mels).double()
    expected = torchaudio.transforms.AmplitudeToDB()(mel(torch.from_numpy(waveform.astype(float))))
    found = LogMel(spec)(waveform)
    assert found.shape == (n_mels, 188)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)
    plain = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=n_mels, htk=True, norm=None)
    np.testing.assert_allclose(mel_filters(spec), plain, atol=1e-6)


@pytest.mark.parametrize("kind", ["mel", "linear", "mfcc", "stack"])
@pytest.mark.parametrize("lead", [(1,), (2, 2)])
def test_batch_is_each_of_its_waveforms(kind: str, lead: tuple[int, ...]) -> None:
    transform = make_transform(MelSpec(kind=kind, n_fft=256, n_mels=32))
    waveforms = np.stack([music(6_000, seed) for seed in range(int(np.prod(lead)))]).reshape(*lead, 6_000)
    found = transform(waveforms)
    assert found.shape == (*lead, *{"linear": (129,), "mfcc": (20,), "stack": (3, 32)}.get(kind, (32,)), 12)
    for index in np.ndindex(lead):
        assert np.array_equal(found[index], transform(waveforms[index]))


def test_shapes_of_the_main_task() -> None:
    spec = MelSpec()
    assert (spec.track_shape, spec.clip_shape, spec.clips_per_track) == ((128, 2584), (128, 259), 10)
    assert LogMel(spec)(np.zeros(spec.clip_samples)).shape == spec.clip_shape


def test_silence_is_the_floor_everywhere() -> None:
    np.testing.assert_allclose(LogMel(MelSpec())(np.zeros(132_300)), np.full((128, 259), -100), rtol=1e-6)


def test_range_is_limited_for_each_waveform_alone() -> None:
    loud = music(44_100)
    found = LogMel(MelSpec(top_db=40.0))(np.stack([loud, loud / 100]))
    np.testing.assert_allclose(np.ptp(found, axis=(1, 2)), 40, atol=1e-4)
    np.testing.assert_allclose(found[0] - found[1], 40, atol=1e-3)


def test_input_is_left_alone() -> None:
    waveform = music(10_000)
    before = waveform.copy()
    LogMel(MelSpec())(waveform)
    assert np.array_equal(waveform, before)


# --- other kinds --------------------------------------------------------------------------------------------

OTHER_SPECS = {name: SPECS[name] for name in ("main task", "odd hop", "hop beyond window", "speech", "small range")}
each_other_spec = pytest.mark.parametrize("spec", OTHER_SPECS.values(), ids=OTHER_SPECS.keys())


@each_other_spec
def test_linear_spectrogram_agrees_with_librosa(spec: MelSpec) -> None:
    spec, waveform = dataclasses.replace(spec, kind="linear"), music(spec.sample_rate)
    power = np.abs(librosa.stft(waveform.astype(float), n_fft=spec.n_fft, hop_length=spec.hop_length)) ** 2
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=spec.top_db)
    found = make_transform(spec)(waveform)
    assert (found.shape, found.dtype) == ((spec.rows, spec.frames(len(waveform))), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@each_other_spec
@pytest.mark.parametrize("coefficients", [1, 13, 20])
def test_cepstral_coefficients_agree_with_librosa(spec: MelSpec, coefficients: int) -> None:
    spec, waveform = dataclasses.replace(spec, kind="mfcc", n_mfcc=coefficients), music(spec.sample_rate)
    expected = librosa.feature.mfcc(S=with_librosa(waveform, spec), n_mfcc=coefficients)
    found = make_transform(spec)(waveform)
    assert (found.shape, found.dtype) == ((coefficients, spec.frames(len(waveform))), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Empty filters")
@each_other_spec
def test_stack_is_a_log_mel_for_each_window(spec: MelSpec) -> None:
    waveform = music(spec.sample_rate)
    found = make_transform(dataclasses.replace(spec, kind="stack"))(waveform)
    assert (found.shape, found.dtype) == ((3, spec.n_mels, spec.frames(len(waveform))), np.float32)
    for channel, window in enumerate((spec.n_fft, spec.n_fft // 2, spec.n_fft // 4)):
        expected = with_librosa(waveform, dataclasses.replace(spec, n_fft=window))
        np.testing.assert_allclose(found[channel], expected, atol=1e-3)


def log_magnitude(waveform: np.ndarray, spec: MelSpec) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.hop_length, n_mels=spec.n_mels,
        fmin=spec.f_min, fmax=spec.f_max, pad_mode="constant", power=1,
    )  # fmt: skip
    return np.log(mel + np.finfo(np.float32).eps)


@pytest.mark.parametrize("spec", [COALA, *OTHER_SPECS.values()], ids=["coala", *OTHER_SPECS])
def test_log_magnitude_agrees_with_librosa(spec: MelSpec) -> None:
    spec, waveform = dataclasses.replace(spec, kind="log_magnitude"), music(spec.sample_rate)
    found = make_transform(spec)(waveform)
    assert (found.shape, found.dtype) == ((spec.n_mels, spec.frames(len(waveform))), np.float32)
    np.testing.assert_allclose(found, log_magnitude(waveform, spec), atol=1e-3)


def test_log_magnitude_of_silence_is_that_of_epsilon() -> None:
    np.testing.assert_allclose(make_transform(COALA)(np.zeros(22_000)), np.log(2.0**-23), rtol=1e-6)


def test_tone_lies_in_the_range_of_the_published_scaler() -> None:
    """Its least value of any frame is -14.1, its greatest 6.6; decibels of power would leave it at both ends."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(110_000) / 22_000)
    values = make_transform(COALA)(fit_length(tone.astype(np.float32), COALA.track_samples, "noise"))
    assert values.shape == (96, 430)
    assert -14 < values.min() < -8 and 0 < values.max() < 7


def test_waveform_is_the_samples() -> None:
    spec = MelSpec(kind="waveform", sample_rate=8_000, track_seconds=2, clip_seconds=0.5, clip_overlap=0.5)
    waveforms = np.stack([music(4_000, seed) for seed in range(3)])
    found = make_transform(spec)(waveforms)
    assert found.dtype == np.float32 and np.array_equal(found, waveforms[:, None, :])
    assert (spec.rows, spec.channels, spec.unit) == (1, 1, "amplitude")
    assert (spec.track_shape, spec.clip_shape, spec.clips_per_track) == ((1, 16_000), (1, 4_000), 7)


# --- the loudest clip ---------------------------------------------------------------------------------------


def test_patch_of_coala() -> None:
    """28 stretches of 96 frames, 12 apart; the one with the greatest sum of logarithms, found the plain way."""
    assert (COALA.clip_shape, COALA.track_shape, COALA.clips_per_track) == ((96, 96), (96, 430), 1)
    values = np.random.default_rng(0).normal(-5, 3, (96, 430)).astype(np.float32)
    stretches = librosa.util.frame(values, frame_length=96, hop_length=12)  # [mels, frames, places]
    assert stretches.shape == (96, 96, 28)
    best = stretches.sum(axis=(0, 1), dtype=float).argmax()
    assert np.array_equal(loudest_clip(values, COALA), stretches[..., best])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "picture"])
@pytest.mark.parametrize("second", [0, 1, 3])
def test_loud_second_is_found_in_every_kind(kind: str, second: int) -> None:
    spec = MelSpec(
        sample_rate=8_000, n_fft=512, hop_length=250, n_mels=24, track_seconds=4, clip_seconds=1, kind=kind,
        selection="loudest",
    )  # fmt: skip
    waveform = np.random.default_rng(0).normal(0, 0.01, 32_000).astype(np.float32)
    waveform[8_000 * second : 8_000 * (second + 1)] *= 20
    values = make_transform(spec)(waveform)
    start = second * 8_000 // (1 if kind == "waveform" else 250)
    expected = values[..., start : start + spec.clip_shape[1]]
    assert spec.clips_per_track == 1
    assert np.array_equal(loudest_clip(values, spec), expected)


def test_first_of_several_equally_loud_clips_is_taken() -> None:
    values = np.zeros((96, 430), np.float32)
    values[:, 200:] = np.arange(230)
    values[:, 100:] = 1
    assert np.array_equal(loudest_clip(values, COALA), values[:, 108:204])


@pytest.mark.parametrize("kind", ["linear", "mfcc", "stack"])
def test_view_with_overlap_is_transformed_like_its_copy(kind: str) -> None:
    clips = np.lib.stride_tricks.sliding_window_view(music(9_000), 3_000)[::1_500]
    transform = make_transform(MelSpec(kind=kind, n_mels=24))
    assert np.array_equal(transform(clips), transform(clips.copy()))


# --- the spec -----------------------------------------------------------------------------------------------


def test_fingerprint_changes_with_every_field() -> None:
    assert CHANGES.keys() == {field.name for field in dataclasses.fields(MelSpec)}
    prints = [dataclasses.replace(MelSpec(), **{name: value}).fingerprint() for name, value in CHANGES.items()]
    assert len({MelSpec().fingerprint(), *prints}) == len(CHANGES) + 1


def test_fingerprint_of_the_main_task_stays() -> None:
    """Caches that were made before there were other kinds are found again."""
    assert MelSpec().fingerprint() == "23283e5d"
    assert MelSpec(kind="mel", n_mfcc=20, clip_overlap=0, ending="zeros").fingerprint() == "23283e5d"
    assert MelSpec(selection="all", min_seconds=None).fingerprint() == "23283e5d"


@pytest.mark.parametrize(
    ("settings", "fingerprint"),
    [
        ({"hop_length": 256}, "3d958ca7"),
        ({"min_seconds": 0.2}, "159d9f6b"),
        ({"hop_length": 1024, "min_seconds": 1, "ending": "repeat", "n_fft": 4096}, "19b79c41"),
    ],
)
def test_renamed_parameters_do_not_move_a_cache(settings: dict, fingerprint: str) -> None:
    assert MelSpec(**settings).fingerprint() == fingerprint
    old = {{"hop_length": "hop", "min_seconds": "least_seconds"}.get(name, name): settings[name] for name in settings}
    assert MelSpec.of(old) == MelSpec(**settings)


@pytest.mark.parametrize(
    ("kind", "rows", "channels"), [("mel", 128, 1), ("linear", 1025, 1), ("mfcc", 20, 1), ("stack", 128, 3)]
)
def test_rows_and_channels(kind: str, rows: int, channels: int) -> None:
    spec = MelSpec(kind=kind)
    assert (spec.rows, spec.channels, spec.clip_shape, spec.track_shape) == (rows, channels, (rows, 259), (rows, 2584))


def test_half_overlapping_clips_of_a_30_s_track_are_19() -> None:
    spec = MelSpec(sample_rate=22_050, clip_overlap=0.5)
    assert spec.clips_per_track == 19
    assert list(spec.clip_starts) == list(range(0, 661_500 - 66_150 + 1, 33_075))


def test_image_of_10_seconds_has_431_frames() -> None:
    spec = MelSpec(sample_rate=22_050, track_seconds=10, clip_seconds=10)
    assert (spec.track_shape, spec.clip_shape, spec.clips_per_track) == ((128, 431), (128, 431), 1)


@given(
    track=st.floats(1, 40), share=st.floats(0.01, 1), overlap=st.floats(0, 0.95), rate=st.sampled_from([8_000, 22_050])
)
def test_clips_lie_inside_the_track_and_repeat_the_share(track: float, share: float, overlap: float, rate: int) -> None:
    spec = MelSpec(sample_rate=rate, track_seconds=track, clip_seconds=track * share, clip_overlap=overlap)
    starts = np.array(spec.clip_starts)
    assert len(starts) == spec.clips_per_track >= 1 and starts[0] == 0
    assert starts[-1] + spec.clip_samples <= spec.track_samples < starts[-1] + spec.clip_samples + spec.clip_step
    assert np.diff(starts) == pytest.approx(spec.clip_samples * (1 - overlap), abs=0.5 + 1e-6)


def test_equal_specs_have_equal_fingerprints() -> None:
    whole = MelSpec(f_min=0, top_db=80, track_seconds=30, clip_seconds=3)
    assert whole == MelSpec()
    assert whole.fingerprint() == MelSpec().fingerprint()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("sample_rate", "n_fft", "hop_length", "n_mels") for value in (0, -1)),
        *(("top_db", value) for value in (0.0, -80.0, float("nan"))),
        *(("clip_seconds", value) for value in (0, -1, 31.0, 1e-6, float("nan"))),
        *(("track_seconds", value) for value in (0.0, 2.9, float("nan"), float("inf"))),
        *(("f_max", value) for value in (0.0, -1.0, 22_051.0, float("nan"))),
        *(("f_min", value) for value in (-1.0, 22_050.0, float("nan"))),
        ("n_fft", 2047),
        *(("n_mfcc", value) for value in (0, -1)),
        *(("clip_overlap", value) for value in (1.0, -0.1, float("nan"))),
        *(("min_seconds", value) for value in (0.0, -1.0, 30.5, float("nan"))),
    ],
)
def test_bad_spec_is_refused_with_the_value(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=r"\d|nan|inf"):
        MelSpec(**{field: value})


def test_mel_range_must_not_be_empty() -> None:
    with pytest.raises(ConfigError, match="mel range"):
        MelSpec(f_min=5_000.0, f_max=5_000.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "mfc"}, "did you mean 'mfcc'"),
        ({"ending": "reflected"}, "did you mean 'reflect'"),
        ({"selection": "loud"}, "did you mean 'loudest'"),
        (
            {"kind": "mfcc", "n_mfcc": 41, "n_mels": 40},
            "n_mfcc is 41; there are no more coefficients than mel bands, 40",
        ),
        ({"kind": "stack", "n_fft": 2044}, "n_fft is 2044; for kind stack it must be a multiple of 8"),
    ],
)
def test_what_a_kind_needs(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MelSpec(**values)


def test_halves_are_rounded_as_numpy_does() -> None:
    """Each sign and exponent, with the bits that rounding hangs on: ties, infinities and what is no number included."""
    fractions = np.unique([np.uint32(low + step) for low in (0, 1 << 12, 1 << 13, 1 << 22, (1 << 23) - (1 << 13))
                           for step in (0, 1, 4095, 4096, 4097, 8191)])  # fmt: skip
    values = (np.arange(512, dtype=np.uint32)[:, None] << 23 | fractions).view(np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(to_half(values).view(np.uint16), values.astype(np.float16).view(np.uint16))
