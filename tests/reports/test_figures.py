"""Figures of training and scores show their data at the right places, with units."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from scripts.common.plotting import COLOURS, save
from scripts.reports import figures, score_figures
from tests.figures import assert_nothing_is_cut_off, tick_labels

GENRES = ["Folk", "Jazz", "Rock"]
COUNTS = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])


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


def test_training_curves_draw_all_parts() -> None:
    figure = figures.training_curves({"cnn": history()})
    loss, accuracy = figure.axes
    rows, colour = history(), COLOURS[0]
    assert drawn(loss) == [(colour, ":", rows["train_loss"].tolist()), (colour, "-", rows["validation_loss"].tolist())]
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
    figure = figures.training_curves({"first": history(), "second": history(5)})
    assert legend_labels(figure)[0] == ["first", "second"]
    by_colour = {(colour, len(values)) for colour, _, values in drawn(figure.axes[1])}
    assert by_colour == {(COLOURS[0], 3), (COLOURS[1], 5)}


def test_a_run_without_validation_shows_its_training() -> None:
    rows = history().filter(regex="epoch|train")
    loss, accuracy = figures.training_curves({"cnn": rows}).axes
    assert drawn(loss) == [(COLOURS[0], ":", rows["train_loss"].tolist())]
    assert drawn(accuracy) == [(COLOURS[0], ":", rows["train_clip_accuracy"].tolist())]


def test_chance_is_drawn_only_if_given() -> None:
    _, accuracy = figures.training_curves({"cnn": history()}, chance=0.125).axes
    assert drawn(accuracy)[-1][2] == [0.125, 0.125]
    assert [text.get_text() for text in accuracy.texts] == ["chance"]
    _, accuracy = figures.training_curves({"cnn": history()}).axes
    assert not accuracy.texts


@pytest.mark.parametrize("counts", [COUNTS, COUNTS.tolist()])
def test_confusion_matrix_normalises_rows(counts: np.ndarray | list) -> None:
    axes, bar = figures.confusion_matrix(counts, GENRES).axes
    (image,) = axes.images
    assert image.get_array().tolist() == [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]]
    assert image.get_clim() == (0, 1)
    cells = {text.get_position()[::-1]: int(text.get_text()) for text in axes.texts}
    assert cells == dict(np.ndenumerate(COUNTS))
    assert tick_labels(axes.xaxis) == tick_labels(axes.yaxis) == GENRES and axes.yaxis_inverted()
    assert axes.get_ylabel() == "true genre"
    assert axes.get_xlabel() == "predicted genre (number of tracks in the cells)"
    assert bar.get_ylabel() == "share of the true genre's tracks"


def test_f1_bars_are_sorted_and_labelled() -> None:
    rows = {"precision": [0.5, 1, 0.2], "recall": [0.5, 0.8, 0.3], "f1": [0.5, 0.89, 0.24]}
    table = pd.DataFrame(rows | {"tracks": [10.0, 20.0, 30.0]}, index=GENRES)
    (axes,) = figures.f1_per_genre(table).axes
    assert tick_labels(axes.yaxis) == ["Rock (30)", "Folk (10)", "Jazz (20)"]
    assert [bar.get_width() for bar in axes.patches] == [0.24, 0.5, 0.89]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0.2, 0.5, 1], [0.3, 0.5, 0.8]]
    assert legend_labels(axes.figure) == [["F1", "precision", "recall"]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("score (0 to 1)", "genre (number of tracks)")
    assert axes.get_xlim() == (0, 1)


def test_accuracy_by_clips_starts_at_one_clip() -> None:
    curves = {"first": [0.4, 0.5, 0.55], "second": [0.3, 0.4]}
    (axes,) = figures.accuracy_by_clips(curves, {"first": [(0.3, 0.5), (0.4, 0.6), (0.5, 0.6)]}).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == list(curves.values())
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1, 2, 3], [1, 2]]
    (band,) = axes.collections
    assert band.get_datalim(axes.transData).bounds == pytest.approx((1, 0.3, 2, 0.3))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("clips averaged per track", "track accuracy (share correct)")
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
    assert legend_labels(figure) == [["perfectly calibrated", "before", "after"]]
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
    "curves": lambda: figures.training_curves({f"a_run_with_a_long_name-{i}": history() for i in range(8)}),
    "one epoch": lambda: figures.training_curves({"run": history(1) * [1, 0.915, 1, 0.667, 1, 1]}),
    "confusion": lambda: figures.confusion_matrix(np.eye(16, dtype=int), ["Old-Time / Historic"] * 16),
    "f1": lambda: figures.f1_per_genre(
        pd.DataFrame(1, ["Old-Time / Historic"] * 16, ["precision", "recall", "f1", "tracks"])
    ),
    "reliability": lambda: score_figures.reliability({"as trained: ECE 0.123": BINS, "temperature 1.50: 0.01": BINS}),
    "comparison": lambda: draw_comparison(7),
    "clips": lambda: figures.accuracy_by_clips({"first": np.linspace(0.6, 0.603, 10)}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    assert_nothing_is_cut_off(FIGURES[name]())
    assert plt.get_fignums() == []


def test_names_with_dollar_signs_are_no_formulas(tmp_path: Path) -> None:
    names = ["$\\a$", "$x$"]
    save(figures.confusion_matrix(np.eye(2, dtype=int), names), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size
