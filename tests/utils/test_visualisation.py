"""Figures of a track show it at the right times and frequencies; the command draws one usable track."""

from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from scripts.audio.build_cache import build_cache
from scripts.audio.cache import MelCache
from scripts.audio.spec import MelSpec
from scripts.audio.spectrogram_axes import mel_row
from scripts.common.plotting import save
from scripts.tables.label_table import read_table
from scripts.utils import visualisation
from tests.figures import assert_nothing_is_cut_off, tick_labels

SPEC = MelSpec()
SHORT = MelSpec(sample_rate=8000, n_fft=512, hop_length=128, n_mels=40, track_seconds=4.0, clip_seconds=1.0)


def tone(hz: float, seconds: float, sample_rate: int = SPEC.sample_rate) -> np.ndarray:
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return np.float32(0.5 * np.sin(2 * np.pi * hz * time))


def test_waveform_draws_every_sample_of_a_short_one() -> None:
    samples = tone(5, 1, 1000)
    (axes,) = visualisation.waveform(samples, 1000, "a tone").axes
    time, amplitude = axes.lines[0].get_data()
    assert np.array_equal(amplitude[::2], samples)
    assert time[::2] == pytest.approx(np.arange(1000) / 1000)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "amplitude\n(full scale = 1)")
    assert axes.figure.get_suptitle() == "a tone"


def test_waveform_of_a_long_one_keeps_peaks_at_their_time() -> None:
    samples = np.zeros(30 * SPEC.sample_rate, np.float32)
    samples[10 * SPEC.sample_rate], samples[-1] = 0.9, -0.8
    time, amplitude = visualisation.waveform(samples, SPEC.sample_rate).axes[0].lines[0].get_data()
    assert len(time) < 10_000
    assert time[amplitude.argmax()] == pytest.approx(10, abs=0.02)
    assert amplitude.min() == np.float32(-0.8)
    assert time[amplitude.argmin()] == pytest.approx(30, abs=0.02)


def test_augmented_shows_both_batches_in_one_order_and_on_one_scale() -> None:
    before = np.random.default_rng(0).normal(size=(3, *SHORT.clip_shape)).astype(np.float32)
    after = before.copy()
    after[1, :10] = 0
    figure = visualisation.augmented(before, after, SHORT, ["a", "b", "c"])
    images = [axes.images[0] for axes in figure.axes[:6]]
    assert np.array_equal([image.get_array() for image in images], [*before, *after])
    assert len({image.get_clim() for image in images}) == 1
    assert [axes.get_title() for axes in figure.axes[:3]] == ["a", "b", "c"]
    assert [figure.axes[row].get_ylabel() for row in (0, 3)] == ["before", "after"]
    assert_nothing_is_cut_off(figure)


def test_mel_rows_are_at_librosas_frequencies() -> None:
    for spec in (SPEC, MelSpec(sample_rate=16_000, n_mels=64, f_min=50, f_max=7000)):
        centres = librosa.mel_frequencies(spec.n_mels + 2, fmin=spec.f_min, fmax=spec.top_frequency)[1:-1]
        rows = [mel_row(hz, spec) for hz in centres]
        assert rows == pytest.approx(np.arange(spec.n_mels), abs=1e-6)


def test_mel_ticks_are_at_their_frequencies() -> None:
    axes = visualisation.mel(np.zeros(SPEC.clip_shape), SPEC).axes[0]
    centres = librosa.mel_frequencies(SPEC.n_mels + 2, fmax=SPEC.top_frequency)[1:-1]
    assert tick_labels(axes.yaxis) == ["0.5", "1", "2", "4", "8", "16"]
    shown = np.interp(axes.get_yticks(), np.arange(SPEC.n_mels), centres)
    assert shown == pytest.approx([500, 1000, 2000, 4000, 8000, 16_000], rel=0.002)


def test_mel_shows_values_time_and_units() -> None:
    decibel = np.random.default_rng(0).uniform(-60, 20, SPEC.clip_shape).astype(np.float16)
    axes, bar = visualisation.mel(decibel, SPEC, "one clip").axes
    (image,) = axes.images
    assert np.array_equal(image.get_array(), decibel)
    assert image.cmap.name == "magma"
    assert image.get_clim() == (decibel.min(), decibel.max())
    assert axes.get_xlim() == pytest.approx((0, 3), abs=0.01)
    assert not axes.yaxis_inverted()
    labels = axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()
    assert labels == ("time (s)", "frequency (kHz, mel scale)", "level (dB)")


def test_mel_grid_numbers_clips_on_one_colour_scale() -> None:
    decibels = np.stack([np.full(SPEC.clip_shape, -level, np.float16) for level in range(10)])
    figure = visualisation.mel_grid(decibels, SPEC)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels][::9] == ["clip 1, 0 s", "clip 10, 27 s"]
    assert [axes.images[0].get_array().max() for axes in panels] == [-level for level in range(10)]
    assert {axes.images[0].get_clim() for axes in panels} == {(-9.0, 0.0)}
    assert {axes.get_subplotspec().get_geometry()[:2] for axes in panels} == {(2, 5)}
    labels = figure.get_supxlabel(), figure.get_supylabel(), figure.axes[-1].get_ylabel()
    assert labels == ("time from the start of the clip (s)", "frequency (kHz, mel scale)", "level (dB)")


FIGURES = {
    "waveform": lambda: visualisation.waveform(tone(5, 1, 1000) / 100, 1000),
    "mel": lambda: visualisation.mel(np.linspace(-80, 0, 128 * 259).reshape(128, 259), SPEC),
    "mel_grid": lambda: visualisation.mel_grid(np.linspace(-80, 0, 10 * 128 * 259).reshape(10, 128, 259), SPEC),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    assert_nothing_is_cut_off(FIGURES[name]())


def test_a_title_with_dollar_signs_is_no_formula(tmp_path: Path) -> None:
    save(visualisation.waveform(tone(5, 1, 1000), 1000, "$\\a$"), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size


# --- the command


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of two usable tracks and a short one; their table also has one that is not cached."""
    root = tmp_path_factory.mktemp("corpus")
    lengths = {"7": 7.0, "8": 6.2, "9": 1.0}
    for track, seconds in lengths.items():
        soundfile.write(root / f"{track}.wav", tone(440, seconds), SPEC.sample_rate)
    tracks = list(lengths)
    table = pd.DataFrame({"track_id": tracks, "file_path": [str(root / f"{track}.wav") for track in tracks]})
    build_cache(table, root / "mels", workers=1)
    table = pd.concat([table, pd.DataFrame({"track_id": ["10"], "file_path": ["10.wav"]})])
    table.assign(genre="Folk").to_csv(root / "table.csv", index=False)
    return root


def draw(corpus: Path, output: Path, *more: str) -> None:
    given = ["--csv", corpus / "table.csv", "--cache", corpus / "mels", "--output", output, *more]
    visualisation.main(list(map(str, given)))


def test_command_writes_three_figures(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    draw(corpus, tmp_path / "new" / "folder", "--track-id", "8")
    paths = sorted((tmp_path / "new" / "folder").iterdir())
    assert [path.name for path in paths] == ["mel_30s.png", "mel_clips.png", "waveform.png"]
    for path in paths:
        with Image.open(path) as image:
            assert image.width == 960
            assert np.asarray(image.convert("L")).std() > 10
    assert "track 8" in capsys.readouterr().out


def test_seed_chooses_a_usable_track(corpus: Path) -> None:
    table = read_table(corpus / "table.csv", ["track_id"])
    cache = MelCache.open(corpus / "mels")
    chosen = [visualisation.pick_track(table, cache, None, seed) for seed in range(-5, 5)]
    assert set(chosen) == {"7", "8"}
    assert chosen == [visualisation.pick_track(table, cache, None, seed) for seed in range(-5, 5)]
    assert {visualisation.pick_track(table[:1], cache, None, seed) for seed in range(5)} == {"7"}


def test_only_clips_with_audio_are_drawn(corpus: Path) -> None:
    cache = MelCache.open(corpus / "mels")
    figures = visualisation.draw_track(cache, "7", "Folk")
    titles = [axes.get_title() for axes in figures["mel_clips"].axes if axes.images]
    assert titles == ["clip 1, 0 s", "clip 2, 3 s"]
    assert np.array_equal(figures["mel_30s"].axes[0].images[0].get_array(), cache.tracks[0])
    assert figures["waveform"].axes[0].get_xlim()[1] == pytest.approx(7, abs=0.02)


@pytest.mark.parametrize(
    ("track", "message"),
    [("9", "track 9 is left out: short"), ("10", "no track '10' in both"), ("x", "no track 'x' in both")],
)
def test_track_that_cannot_be_drawn_is_one_line(
    corpus: Path, tmp_path: Path, refusal: Callable[..., str], track: str, message: str
) -> None:
    assert message in refusal(draw, corpus, tmp_path, "--track-id", track)
    assert not list(tmp_path.iterdir())


def test_table_of_other_tracks_is_one_line(corpus: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    other = tmp_path / "other.csv"
    pd.DataFrame({"track_id": ["x"], "file_path": ["x.wav"]}).to_csv(other, index=False)
    assert "no usable track of the table" in refusal(draw, corpus, tmp_path / "out", "--csv", str(other))
