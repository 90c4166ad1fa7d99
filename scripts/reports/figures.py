"""Figures of a run: its training, its errors, its score of each genre, and what averaging clips gains."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from scripts.common.plotting import (
    ABOVE,
    ACCURACY,
    BELOW,
    COLOURS,
    GREY,
    GRID,
    LEGEND,
    add_colour_bar,
    add_legend,
    colours,
    new_figure,
    whole_numbers,
)

# by line style
PARTS: dict[LineStyleType, str] = {":": "train, clips", "--": "validation, clips", "-": "validation, tracks"}
LOSSES = {"train_loss": ":", "validation_loss": "-"}
ACCURACIES = {"train_clip_accuracy": ":", "validation_clip_accuracy": "--", "validation_track_accuracy": "-"}


def training_curves(histories: Mapping[str, pd.DataFrame], chance: float | None = None) -> Figure:
    """Loss and accuracy of one or more runs against the epoch: a colour per run, a line style per part.

    Parameters
    ----------
    histories : by run name; columns epoch, train_loss, train_clip_accuracy, validation_loss (of tracks),
        validation_clip_accuracy, validation_track_accuracy.
    chance : accuracy of guessing, drawn as a line.
    """
    figure, [[loss, accuracy]] = new_figure(3.1 + 0.1 * len(histories), columns=2)
    draw_histories(loss, histories, LOSSES)
    draw_histories(accuracy, histories, ACCURACIES)
    loss.set(ylabel="loss (nats)")
    accuracy.set(ylabel=ACCURACY, ylim=(0, 1))
    if chance is not None:
        accuracy.axhline(chance, color=GREY, linewidth=1)
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
        accuracy.annotate("chance", (1, chance), (0, 3), fontsize=9, color=GREY, **place)
    pairs = zip(histories, colours(histories), strict=True)
    runs = [Line2D([], [], color=colour, label=run) for run, colour in pairs]
    parts = [Line2D([], [], color="black", linestyle=style, label=part) for style, part in PARTS.items()]
    add_legend(figure, ABOVE, 2, runs)
    figure.legend(handles=parts, loc=BELOW, ncols=3, **LEGEND)
    return figure


def draw_histories(axes: Axes, histories: Mapping[str, pd.DataFrame], styles: Mapping[str, str]) -> None:
    """Draw columns of each run's history; `styles` has the line style of each column."""
    for history, colour in zip(histories.values(), colours(histories), strict=True):
        marker = "." if len(history) == 1 else ""
        for column in [name for name in styles if name in history]:  # a run without validation has only some
            axes.plot(history["epoch"], history[column], styles[column], color=colour, linewidth=1.5, marker=marker)
    axes.grid(color=GRID)
    axes.margins(x=0.02)
    axes.set_xlabel("epoch")
    whole_numbers(axes)


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts [true, predicted] of tracks; the colour is the share of the true genre's tracks."""
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, [[axes]] = new_figure(5.4)
    image = axes.imshow(shares, "Blues", vmin=0, vmax=1)
    size = min(9, 105 / len(names))
    for (true, predicted), count in np.ndenumerate(counts):
        colour = "white" if shares[true, predicted] > 0.5 else "black" if count else GREY
        axes.text(predicted, true, f"{count}", ha="center", va="center", color=colour, fontsize=size)
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), names, parse_math=False, **slanted)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted genre (number of tracks in the cells)", ylabel="true genre")
    axes.spines[:].set_visible(False)
    add_colour_bar(figure, image, axes, "share of the true genre's tracks")
    return figure


def f1_per_genre(table: pd.DataFrame) -> Figure:
    """F1 as bars, the best on top, with precision and recall as marks.

    Parameters
    ----------
    table : index genre; columns precision, recall, f1 (0 to 1), tracks (how many).
    """
    table = table.sort_values("f1")
    labels = [f"{genre} ({tracks:.0f})" for genre, tracks in table["tracks"].items()]
    rows = range(len(table))
    figure, [[axes]] = new_figure(1.2 + 0.28 * len(table))
    bars = axes.barh(rows, table["f1"], color=COLOURS[5], height=0.7, label="F1")
    stroke, dot = {"color": "black", "markersize": 10, "mew": 2}, {"color": COLOURS[1], "markersize": 4}
    precision = axes.plot(table["precision"], rows, "|", label="precision", clip_on=False, **stroke)
    recall = axes.plot(table["recall"], rows, "o", label="recall", clip_on=False, **dot)
    axes.set_yticks(rows, labels, parse_math=False)
    axes.set(xlim=(0, 1), xlabel="score (0 to 1)", ylabel="genre (number of tracks)")
    axes.grid(axis="x", color=GRID)
    axes.margins(y=0.02)
    figure.legend(handles=[bars, *precision, *recall], loc=ABOVE, ncols=3, **LEGEND)
    return figure


def accuracy_by_clips(
    curves: Mapping[str, Sequence[float]], intervals: Mapping[str, np.ndarray] | None = None
) -> Figure:
    """Track accuracy when 1, 2, ... clips of each track are averaged.

    Parameters
    ----------
    curves : by run name, accuracy with 1, 2, ... clips.
    intervals : by run name, lower and upper bounds [clips, 2] of 95 % intervals, drawn as bands.
    """
    figure, [[axes]] = new_figure(3.1 + 0.1 * len(curves))
    for (run, accuracies), colour in zip(curves.items(), colours(curves), strict=True):
        clips = np.arange(1, len(accuracies) + 1)
        band = intervals.get(run) if intervals else None
        label = run if band is None else f"{run}, with 95 % interval over tracks"
        axes.plot(clips, accuracies, color=colour, linewidth=1.4, marker="o", markersize=4, label=label)
        if band is not None:
            axes.fill_between(clips, *np.transpose(band), color=colour, alpha=0.15, linewidth=0)
    axes.grid(color=GRID)
    axes.set(xlabel="clips averaged per track", ylabel=f"track {ACCURACY}")
    whole_numbers(axes)
    add_legend(figure, ABOVE, 2)
    return figure
