"""Figures of systems that give a track several labels: scores and errors.

The truth is [tracks, labels] with 1 present, 0 absent and NaN unknown; unknown entries are drawn nowhere. Of a large
vocabulary only the labels with the most tracks are drawn.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from scripts.common.plotting import (
    ABOVE,
    BELOW,
    COLOURS,
    GREY,
    GRID,
    LEGEND,
    add_colour_bar,
    add_legend,
    new_figure,
)
from scripts.reports.figures import f1_per_genre

MAX_BARS, MAX_CURVES, MAX_CELLS = 40, 20, 30  # labels in a figure
CELLS_WITH_TEXT = 20  # labels; the counts of more could not be read
*LABEL_COLOURS, ALL_COLOUR = COLOURS
STYLES = ("-", "--", ":", "-.")  # of curves, when the colours come again
PANELS_PER_ROW = 4
BINS = np.linspace(0, 1, 21).tolist()  # of probabilities


def most_frequent(positives: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the `count` labels with the most positives, in their own order; `positives` is [labels]."""
    return np.sort(np.argsort(-positives, kind="stable")[:count])


# --- scores -------------------------------------------------------------------------------------------------


def f1_per_label(table: pd.DataFrame) -> Figure:
    """F1 of each label as bars, with precision and recall as marks; of labels without positives there is none.

    Parameters
    ----------
    table : of `scripts.metrics.multi_label.per_label`.
    """
    table = table[table["positives"] > 0].rename(columns={"positives": "tracks"})
    figure = f1_per_genre(table.iloc[most_frequent(table["tracks"].to_numpy(), MAX_BARS)])
    figure.axes[0].set_ylabel("label (tracks)")
    return figure


def ranking_curves(truth: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> Figure:
    """ROC and precision-recall curves over all entries together and, of a small vocabulary, of each label."""
    figure, [[roc, precision]] = new_figure(3.4 + 0.09 * min(len(names), MAX_CURVES), columns=2)
    draw_ranking(roc, precision, truth, probabilities, "all labels (micro)", color=ALL_COLOUR, linewidth=2.2, zorder=3)
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    if len(names) <= MAX_CURVES:
        for number, (name, (line, colour)) in enumerate(zip(names, product(STYLES, LABEL_COLOURS), strict=False)):
            label = truth[:, number], probabilities[:, number], name
            draw_ranking(roc, precision, *label, color=colour, linestyle=line, linewidth=1)
    roc.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    precision.set(xlabel="recall", ylabel="precision")
    for axes in (roc, precision):
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
        axes.grid(color=GRID)
    legend = add_legend(figure, BELOW, 2, precision.lines, title="area under ROC, PR curve")
    legend.get_title().set_fontsize(9)
    return figure


def draw_ranking(
    roc: Axes, precision: Axes, truth: np.ndarray, probabilities: np.ndarray, name: str, **style: Any
) -> None:
    """Draw both curves of arrays of any shape; none if what is known is all present or all absent."""
    known = ~np.isnan(truth)
    truth, probabilities = truth[known], probabilities[known]
    if len(np.unique(truth)) < 2:
        return
    false_positives, true_positives, _ = roc_curve(truth, probabilities)
    precisions, recalls, _ = precision_recall_curve(truth, probabilities, drop_intermediate=True)
    areas = auc(false_positives, true_positives), average_precision_score(truth, probabilities)
    roc.plot(false_positives, true_positives, clip_on=False, **style)
    label = "{}: {:.3f}, {:.3f}".format(name, *areas)
    precision.plot(recalls, precisions, drawstyle="steps-post", label=label, clip_on=False, **style)


def score_histograms(
    truth: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, names: Sequence[str]
) -> Figure:
    """For each label, how the probabilities of tracks that have it and of those that lack it are spread."""
    chosen = most_frequent((truth == 1).sum(axis=0), MAX_CURVES)
    columns = min(len(chosen), PANELS_PER_ROW)
    rows = -(-len(chosen) // columns)
    figure, grid = new_figure(1.0 + 1.25 * rows, rows, columns, share=True)
    for label, axes in zip(chosen, grid.flat, strict=False):
        draw_histograms(axes, truth[:, label], probabilities[:, label])
        axes.axvline(thresholds[label], color="black", linewidth=1, linestyle="--", label="threshold")
        axes.set_title(names[label], fontsize=9, parse_math=False)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(chosen) - columns) : len(chosen)]:
        axes.tick_params(labelbottom=True)  # though there may be a place below
    figure.supxlabel("probability", fontsize=10)
    figure.supylabel("share of those tracks", fontsize=10)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc=ABOVE, ncols=3, **LEGEND)
    return figure


def draw_histograms(axes: Axes, truth: np.ndarray, probabilities: np.ndarray) -> None:
    for value, name, colour in ((0, "label absent", COLOURS[1]), (1, "label present", COLOURS[0])):
        mine = probabilities[truth == value]
        weights = np.full(len(mine), 1 / max(1, len(mine)))
        axes.hist(mine, BINS, weights=weights, color=colour, alpha=0.55, label=name)
    axes.set(xlim=(0, 1))
    axes.grid(axis="y", color=GRID)


# --- pairs of labels ----------------------------------------------------------------------------------------


def co_occurrence(truth: np.ndarray, names: Sequence[str]) -> Figure:
    """How often labels come together: tracks that have both, and which share of the row's tracks that is.

    The diagonal has the number of tracks of each label.
    """
    chosen = most_frequent((truth == 1).sum(axis=0), MAX_CELLS)
    present, known = (truth[:, chosen] == 1).astype(int), (~np.isnan(truth[:, chosen])).astype(int)
    counts, out_of = present.T @ present, present.T @ known
    shares = np.where(np.eye(len(chosen), dtype=bool), np.nan, counts / np.maximum(out_of, 1))
    labels = [names[number] for number in chosen]
    return pair_matrix(counts, shares, labels, "also with this label", "tracks with this label")


def pairwise_confusion(truth: np.ndarray, predictions: np.ndarray, names: Sequence[str]) -> Figure:
    """What is predicted for tracks that truly have a label: rows are the truth, columns the prediction.

    The diagonal has recall. Elsewhere only tracks count that have the row's label and lack the column's, so a high
    value means that the row's label is taken for the column's, not that both are there.

    Parameters
    ----------
    truth : [tracks, labels].
    predictions : bool [tracks, labels].
    """
    chosen = most_frequent((truth == 1).sum(axis=0), MAX_CELLS)
    truth, predictions = truth[:, chosen], predictions[:, chosen]
    present, absent = (truth == 1).astype(int), (truth == 0).astype(int)
    diagonal = np.eye(len(chosen), dtype=bool)
    counts = np.where(diagonal, present.T @ (present * predictions), present.T @ (absent * predictions))
    shares = counts / np.maximum(np.where(diagonal, present.T @ present, present.T @ absent), 1)
    labels = [names[number] for number in chosen]
    return pair_matrix(counts, shares, labels, "wrongly predicted, on the diagonal correctly", "truly present")


def pair_matrix(counts: np.ndarray, shares: np.ndarray, names: Sequence[str], across: str, down: str) -> Figure:
    """A square of coloured shares (0 to 1; none where NaN), with the counts of tracks if they can be read."""
    figure, [[axes]] = new_figure(5.4)
    image = axes.imshow(shares, "Blues", vmin=0, vmax=1)
    if len(names) <= CELLS_WITH_TEXT:
        across += " (number of tracks in the cells)"
        style = {"ha": "center", "va": "center", "fontsize": min(9, 105 / len(names))}
        for (row, column), count in np.ndenumerate(counts):
            axes.text(column, row, f"{count}", color="white" if shares[row, column] > 0.5 else "black", **style)
    style = {"parse_math": False, "fontsize": min(9, 200 / len(names))}
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", **style)
    axes.set_yticks(range(len(names)), names, **style)
    axes.set(xlabel=across, ylabel=down)
    axes.spines[:].set_visible(False)
    add_colour_bar(figure, image, axes, "share of the row's tracks")
    return figure
