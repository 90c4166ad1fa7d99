"""Figures of how far scores can be trusted: calibration, and runs side by side with their intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from scripts.common.plotting import ABOVE, ACCURACY, COLOURS, GREY, GRID, LEGEND, new_figure

BAR = 0.4  # of a bin


def reliability(tables: dict[str, pd.DataFrame]) -> Figure:
    """Reliability diagram: track accuracy against confidence, and how many tracks have which confidence.

    Parameters
    ----------
    tables : by legend entry, one or two tables of `scripts.metrics.calibration.reliability`.
    """
    figure, [[curve, counts]] = new_figure(3.5, columns=2)
    curve.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    for number, (name, table) in enumerate(tables.items()):
        style = {"color": COLOURS[number], "marker": "os"[number], "markersize": 4, "linewidth": 1.4}
        curve.plot(table["confidence"], table["accuracy"], label=name, clip_on=False, **style)
        width = (table["high"] - table["low"]) * BAR
        middle = (table["low"] + table["high"]) / 2 + (number - (len(tables) - 1) / 2) * width
        counts.bar(middle, table["tracks"], width, color=COLOURS[number])
    curve.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="mean confidence (0 to 1)", ylabel=f"track {ACCURACY}")
    counts.set(xlim=(0, 1), xlabel="confidence (0 to 1)", ylabel="number of tracks")
    for axes in (curve, counts):
        axes.grid(axis="both" if axes is curve else "y", color=GRID)
    figure.legend(handles=curve.lines, loc=ABOVE, ncols=3, **LEGEND)
    return figure


def comparison(table: pd.DataFrame, scores: dict[str, str], lines: dict[str, float], what: str = ACCURACY) -> Figure:
    """Two scores of runs with their 95 % intervals, the first run on top, beside the no-audio baselines.

    Parameters
    ----------
    table : a row per run; columns run, and of each score its value, <score>_low and <score>_high.
    scores : legend entry of each.
    lines : the scores of baselines by their legend entries.
    what : the scores are measured in.
    """
    figure, [[axes]] = new_figure(1.5 + 0.42 * len(table))
    rows, offsets = np.arange(len(table)), np.linspace(-0.14, 0.14, len(scores))
    looks = zip(scores.items(), offsets, COLOURS, "os", strict=False)
    handles = [draw_intervals(axes, table, score, rows + offset, look) for score, offset, *look in looks]
    for style, (name, value) in zip(("-", "--"), lines.items(), strict=False):
        handles.append(axes.axvline(value, color=GREY, linewidth=1, linestyle=style, label=name))
    axes.set_yticks(rows, table["run"], parse_math=False)
    axes.set(xlim=(0, 1.01), ylim=(len(table) - 0.5, -0.5), xlabel=f"{what}, with 95 % interval over tracks")
    axes.grid(axis="x", color=GRID)
    figure.legend(handles=handles, loc=ABOVE, ncols=4, **LEGEND)
    return figure


def draw_intervals(
    axes: Axes, table: pd.DataFrame, score: tuple[str, str], rows: np.ndarray, look: Sequence[str]
) -> ErrorbarContainer:
    """A mark and a bar from low to high for each run; `score` is its column and name, `look` its colour and mark."""
    (column, name), (colour, marker) = score, look
    values = table[column]
    reach = np.abs([values - table[f"{column}_low"], table[f"{column}_high"] - values])
    style: dict[str, Any] = {"color": colour, "linewidth": 1.4, "markersize": 5, "clip_on": False}
    return axes.errorbar(values, rows, xerr=reach, fmt=marker, label=name, **style)
