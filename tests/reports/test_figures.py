"""Figures show their data at the right places, with units; the command draws one usable track."""

from dataclasses import replace
from pathlib import Path

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import soundfile
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from scripts.audio.build_cache import build_cache
from scripts.audio.cache import MelCache
from scripts.audio.features import LogMel
from scripts.audio.spec import MelSpec
from scripts.reports import score_figures
from scripts.tables.label_table import read_table
from scripts.utils import visualisation

SPEC = MelSpec()
SHORT = MelSpec(sample_rate=8000, n_fft=512, hop=128, n_mels=40, track_seconds=4.0, clip_seconds=1.0)
GENRES = ["Folk", "Jazz", "Rock"]
COUNTS = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])


def tone(hz: float, seconds: float, sample_rate: int = SPEC.sample_rate) -> np.ndarray:
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return np.float32(0.5 * np.sin(2 * np.pi * hz * time))


def tick_labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend_labels(figure: Figure) -> list[list[str]]:
    return [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]


def history(epochs: int = 3) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "train_clip_accuracy": 0.2 * epoch,
            "validation_loss": 3 / epoch,
            "validation_clip_accuracy": 0.1 * epoch,
            "validation_track_accuracy": 0.15 * epoch,
        }
    )


def drawn(axes: Axes) -> list[tuple]:
    """Colour, style and y values of the lines."""
    return [(to_hex(line.get_color()), line.get_linestyle(), list(line.get_ydata())) for line in axes.lines]


# --- audio


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


def test_mel_rows_are_at_librosas_frequencies() -> None:
    for spec in (SPEC, MelSpec(sample_rate=16_000, n_mels=64, f_min=50, f_max=7000)):
        centres = librosa.mel_frequencies(spec.n_mels + 2, fmin=spec.f_min, fmax=spec.top_frequency)[1:-1]
        rows = [visualisation.mel_row(hz, spec) for hz in centres]
        assert rows == pytest.approx(np.arange(spec.n_mels), abs=1e-6)


def test_mel_ticks_are_at_their_frequencies() -> None:
    axes = visualisation.mel(np.zeros(SPEC.clip_shape), SPEC).axes[0]
    centres = librosa.mel_frequencies(SPEC.n_mels + 2, fmax=SPEC.top_frequency)[1:-1]
    assert tick_labels(axes.yaxis) == ["0.5", "1", "2", "4", "8", "16"]
    shown = np.interp(axes.get_yticks(), np.arange(SPEC.n_mels), centres)
    assert shown == pytest.approx([500, 1000, 2000, 4000, 8000, 16_000], rel=0.002)


def test_mel_ticks_stay_within_the_spectrogram() -> None:
    axes = visualisation.mel(np.zeros(SHORT.clip_shape), SHORT).axes[0]
    assert tick_labels(axes.yaxis) == ["0.5", "1", "2"]
    assert axes.get_ylim() == (-0.5, SHORT.n_mels - 0.5)


def test_a_tone_lies_at_the_tick_of_its_frequency() -> None:
    decibel = LogMel(SPEC)(tone(2000, 1))
    axes = visualisation.mel(decibel, SPEC).axes[0]
    tick = axes.get_yticks()[tick_labels(axes.yaxis).index("2")]
    assert np.asarray(axes.images[0].get_array()).mean(axis=1).argmax() == pytest.approx(tick, abs=0.5)


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


@pytest.mark.parametrize(("clips", "panels"), [(1, 1), (3, 3), (7, 10)])
def test_mel_grid_of_fewer_clips_leaves_no_empty_frames(clips: int, panels: int) -> None:
    spec = replace(SHORT, track_seconds=float(clips))
    figure = visualisation.mel_grid(np.random.default_rng(0).normal(size=(clips, *spec.clip_shape)), spec)
    *grid, _ = figure.axes
    assert len(grid) == panels
    assert [axes.axison for axes in grid] == [True] * clips + [False] * (panels - clips)


# --- training and scores


def test_training_curves_draw_all_parts() -> None:
    figure = visualisation.training_curves({"cnn": history()})
    loss, accuracy = figure.axes
    rows, colour = history(), visualisation.COLOURS[0]
    assert drawn(loss) == [
        (colour, ":", rows["train_loss"].tolist()),
        (colour, "-", rows["validation_loss"].tolist()),
    ]
    assert drawn(accuracy) == [
        (colour, ":", rows["train_clip_accuracy"].tolist()),
        (colour, "--", rows["validation_clip_accuracy"].tolist()),
        (colour, "-", rows["validation_track_accuracy"].tolist()),
    ]
    assert legend_labels(figure) == [["cnn"], ["train, clips", "validation, clips", "validation, tracks"]]
    assert [line.get_linestyle() for line in figure.legends[1].get_lines()] == [":", "--", "-"]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss (nats)", "accuracy (share correct)")
    assert {axes.get_xlabel() for axes in (loss, accuracy)} == {"epoch"}


def test_training_curves_tell_runs_apart_by_colour() -> None:
    figure = visualisation.training_curves({"first": history(), "second": history(5)})
    assert legend_labels(figure)[0] == ["first", "second"]
    by_colour = {(colour, len(values)) for colour, _, values in drawn(figure.axes[1])}
    assert by_colour == {(visualisation.COLOURS[0], 3), (visualisation.COLOURS[1], 5)}


def test_a_run_without_validation_shows_its_training() -> None:
    rows = history().filter(regex="epoch|train")
    loss, accuracy = visualisation.training_curves({"cnn": rows}).axes
    assert drawn(loss) == [(visualisation.COLOURS[0], ":", rows["train_loss"].tolist())]
    assert drawn(accuracy) == [(visualisation.COLOURS[0], ":", rows["train_clip_accuracy"].tolist())]


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_epoch_ticks_are_whole_numbers(epochs: int) -> None:
    for axes in visualisation.training_curves({"cnn": history(epochs)}).axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) >= 1 for tick in ticks)


def test_a_single_epoch_is_visible() -> None:
    for axes in visualisation.training_curves({"cnn": history(1)}).axes:
        assert {line.get_marker() for line in axes.lines} == {"."}


def test_chance_is_drawn_only_if_given() -> None:
    _, accuracy = visualisation.training_curves({"cnn": history()}, chance=0.125).axes
    assert drawn(accuracy)[-1][2] == [0.125, 0.125]
    assert [text.get_text() for text in accuracy.texts] == ["chance"]
    _, accuracy = visualisation.training_curves({"cnn": history()}).axes
    assert not accuracy.texts


@pytest.mark.parametrize("counts", [COUNTS, COUNTS.tolist()])
def test_confusion_matrix_normalises_rows(counts: np.ndarray | list) -> None:
    axes, bar = visualisation.confusion_matrix(counts, GENRES).axes
    (image,) = axes.images
    assert image.get_array().tolist() == [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]]
    assert image.get_clim() == (0, 1)
    cells = {text.get_position()[::-1]: int(text.get_text()) for text in axes.texts}
    assert cells == dict(np.ndenumerate(COUNTS))
    assert tick_labels(axes.xaxis) == tick_labels(axes.yaxis) == GENRES
    assert axes.get_ylabel() == "true genre"
    assert axes.get_xlabel() == "predicted genre (number of tracks in the cells)"
    assert bar.get_ylabel() == "share of the true genre's tracks"


def test_confusion_matrix_starts_with_the_first_genre_on_top() -> None:
    axes = visualisation.confusion_matrix(COUNTS, GENRES).axes[0]
    assert axes.yaxis_inverted()
    assert not axes.xaxis_inverted()


@pytest.mark.parametrize("classes", [8, 16])
def test_counts_fit_into_the_cells(classes: int) -> None:
    figure = visualisation.confusion_matrix(np.full((classes, classes), 1234), ["Instrumental"] * classes)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / classes
    assert axes.texts[0].get_window_extent().width < cell


def test_f1_bars_are_sorted_and_labelled() -> None:
    rows = {"precision": [0.5, 1, 0.2], "recall": [0.5, 0.8, 0.3], "f1": [0.5, 0.89, 0.24]}
    table = pd.DataFrame(rows | {"tracks": [10.0, 20.0, 30.0]}, index=GENRES)
    (axes,) = visualisation.f1_per_genre(table).axes
    assert tick_labels(axes.yaxis) == ["Rock (30)", "Folk (10)", "Jazz (20)"]
    assert [bar.get_width() for bar in axes.patches] == [0.24, 0.5, 0.89]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0.2, 0.5, 1], [0.3, 0.5, 0.8]]
    assert legend_labels(axes.figure) == [["F1", "precision", "recall"]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("score (0 to 1)", "genre (number of tracks)")
    assert axes.get_xlim() == (0, 1)


def test_accuracy_by_clips_starts_at_one_clip() -> None:
    curves = {"first": [0.4, 0.5, 0.55], "second": [0.3, 0.4]}
    (axes,) = visualisation.accuracy_by_clips(curves, {"first": [(0.3, 0.5), (0.4, 0.6), (0.5, 0.6)]}).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == list(curves.values())
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1, 2, 3], [1, 2]]
    (band,) = axes.collections
    assert band.get_datalim(axes.transData).bounds == pytest.approx((1, 0.3, 2, 0.3))
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "clips averaged per track",
        "track accuracy (share correct)",
    )
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert legend_labels(axes.figure) == [["first, with 95 % interval over tracks", "second"]]


BINS = pd.DataFrame(
    {"low": [0.2, 0.8], "high": [0.4, 1.0], "tracks": [5, 20], "confidence": [0.3, 0.9], "accuracy": [0.2, 0.75]}
)


def test_reliability_shows_accuracy_against_confidence_and_counts() -> None:
    figure = score_figures.reliability({"before": BINS, "after": BINS.assign(accuracy=[0.3, 0.9])})
    curve, counts = figure.axes
    assert [line.get_ydata().tolist() for line in curve.lines] == [[0, 1], [0.2, 0.75], [0.3, 0.9]]
    assert [line.get_xdata().tolist() for line in curve.lines[1:]] == [[0.3, 0.9]] * 2
    assert [bar.get_height() for bar in counts.patches] == [5, 20, 5, 20]
    before, after = counts.patches[0], counts.patches[2]
    assert before.get_x() + before.get_width() == pytest.approx(after.get_x()) == pytest.approx(0.3)
    assert legend_labels(figure) == [["as sure as right", "before", "after"]]
    assert (curve.get_xlabel(), curve.get_ylabel()) == ("mean confidence (0 to 1)", "track accuracy (share correct)")
    assert (counts.get_xlabel(), counts.get_ylabel()) == ("confidence (0 to 1)", "number of tracks")


def runs_table(runs: int = 2) -> pd.DataFrame:
    scores = {"track": 0.6, "track_low": 0.5, "track_high": 0.65, "clip": 0.4, "clip_low": 0.35, "clip_high": 0.5}
    return pd.DataFrame({"run": [f"a_run_with_a_long_name-{number}" for number in range(runs)]}).assign(**scores)


def draw_comparison(runs: int = 2) -> Figure:
    scores = {"track": "track accuracy", "clip": "clip accuracy"}
    return score_figures.comparison(runs_table(runs), scores, {"chance": 0.1, "majority": 0.15})


def test_comparison_draws_intervals_and_baselines() -> None:
    figure = draw_comparison()
    (axes,) = figure.axes
    track, clip = axes.containers
    ((start, end), _) = track.lines[2][0].get_segments()
    assert [*start, *end] == pytest.approx([0.5, -0.14, 0.65, -0.14])
    assert clip.lines[0].get_xdata().tolist() == [0.4, 0.4]
    baselines = [line.get_xdata()[0] for line in axes.lines if line not in (track.lines[0], clip.lines[0])]
    assert baselines == [0.1, 0.15]
    assert tick_labels(axes.yaxis) == runs_table()["run"].tolist()
    assert axes.yaxis_inverted(), "the first run is on top"
    assert legend_labels(figure) == [["track accuracy", "clip accuracy", "chance", "majority"]]


FIGURES = {
    "waveform": lambda: visualisation.waveform(tone(5, 1, 1000) / 100, 1000),
    "mel": lambda: visualisation.mel(np.linspace(-80, 0, 128 * 259).reshape(128, 259), SPEC),
    "mel_grid": lambda: visualisation.mel_grid(np.linspace(-80, 0, 10 * 128 * 259).reshape(10, 128, 259), SPEC),
    "curves": lambda: visualisation.training_curves({f"a_run_with_a_long_name-{i}": history() for i in range(8)}),
    "one epoch": lambda: visualisation.training_curves({"run": history(1) * [1, 0.915, 1, 0.667, 1, 1]}),
    "confusion": lambda: visualisation.confusion_matrix(np.eye(16, dtype=int), ["Old-Time / Historic"] * 16),
    "f1": lambda: visualisation.f1_per_genre(
        pd.DataFrame(1, ["Old-Time / Historic"] * 16, ["precision", "recall", "f1", "tracks"])
    ),
    "reliability": lambda: score_figures.reliability({"as trained: ECE 0.123": BINS, "temperature 1.50: 0.01": BINS}),
    "comparison": lambda: draw_comparison(7),
    "clips": lambda: visualisation.accuracy_by_clips({"first": np.linspace(0.6, 0.603, 10)}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= page.x1
    assert drawn.y1 <= page.y1


def test_names_with_dollar_signs_are_no_formulas(tmp_path: Path) -> None:
    names = ["$\\a$", "$x$"]
    visualisation.save(visualisation.confusion_matrix(np.eye(2, dtype=int), names), tmp_path / "a.png")
    visualisation.save(visualisation.waveform(tone(5, 1, 1000), 1000, names[0]), tmp_path / "b.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_pyplot_keeps_no_figure() -> None:
    visualisation.training_curves({"cnn": history()})
    visualisation.confusion_matrix(COUNTS, GENRES)
    assert plt.get_fignums() == []


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
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture, track: str, message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        draw(corpus, tmp_path, "--track-id", track)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_table_of_other_tracks_is_one_line(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = tmp_path / "other.csv"
    pd.DataFrame({"track_id": ["x"], "file_path": ["x.wav"]}).to_csv(other, index=False)
    with pytest.raises(SystemExit, match="2"):
        draw(corpus, tmp_path / "out", "--csv", str(other))
    assert "no usable track of the table" in capsys.readouterr().err
