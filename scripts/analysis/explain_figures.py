"""Figures of what a network sees: heat over spectrograms, and the map of its embeddings."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from scripts.audio.spec import MelSpec
from scripts.audio.spectrogram_axes import draw_mel, frequency_label
from scripts.common.plotting import BELOW, COLOURS, GREY, GRID, add_colour_bar, add_legend, new_figure

PANEL = 1.7  # inches, height
HEAT = LinearSegmentedColormap.from_list("heat", [(*to_rgb(COLOURS[1]), 0), (*to_rgb(COLOURS[1]), 0.75)])
MARKERS = "os^D"  # when the colours come again
MAX_GROUPS = 20  # with a colour of their own


def heat_maps(values: np.ndarray, heat: np.ndarray, spec: MelSpec, titles: Sequence[str], title: str = "") -> Figure:
    """A panel for each label: the spectrogram in grey, with the heat over it in orange.

    Parameters
    ----------
    values : [rows, frames], the spectrogram of kind `spec.kind`.
    heat : [labels, rows, frames], 0 to 1.
    titles : of the panels.
    title : of the figure.
    """
    figure, grid = new_figure(0.9 + PANEL * len(heat), len(heat), title=title, share=True)
    for axes, one, name in zip(grid[:, 0], heat, titles, strict=True):
        image = draw_mel(axes, values, spec)
        image.set_cmap("gray")
        layer = axes.imshow(one, HEAT, vmin=0, vmax=1, aspect="auto", origin="lower", extent=image.get_extent())
        axes.set_title(name, fontsize=9, loc="left", parse_math=False)
    figure.supxlabel("time from the start of the window (s)", fontsize=10)
    figure.supylabel(frequency_label(spec), fontsize=10)
    add_colour_bar(figure, layer, grid, "speaks for the label (1: the most in this window)")
    return figure


def embedding_map(points: np.ndarray, groups: Sequence[str], names: tuple[str, str], title: str = "") -> Figure:
    """Tracks as dots in a plane, a colour and mark for each group; rare groups beyond `MAX_GROUPS` are grey.

    Parameters
    ----------
    points : [tracks, 2]. groups : [tracks], such as genres. names : of the axes.
    """
    figure, [[axes]] = new_figure(5.6, title=title)
    given = pd.Series(list(groups))
    counts = given.value_counts()
    chosen = sorted(counts.index[:MAX_GROUPS])
    rest = ~given.isin(chosen).to_numpy()
    axes.plot(*points[rest].T, "o", color=GREY, markersize=3, alpha=0.5, label=f"{len(counts) - len(chosen)} others")
    for name, (marker, colour) in zip(chosen, product(MARKERS, COLOURS), strict=False):
        mine = (given == name).to_numpy()
        axes.plot(*points[mine].T, marker, color=colour, markersize=4, alpha=0.7, label=f"{name} ({counts[name]})")
    axes.set(xlabel=names[0], ylabel=names[1], aspect="equal", adjustable="datalim")
    axes.grid(color=GRID)
    add_legend(figure, BELOW, 4, axes.lines[0 if rest.any() else 1 :])
    return figure
