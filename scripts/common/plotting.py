"""What all figures share: their size, colours, axes and legends, and how they are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LegendLocType

from scripts.common.storage import write_aside

WIDTH = 6.4  # inches
DPI = 150  # 960 pixels wide
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito, 2008
GREY, GRID = "#888888", "#e6e6e6"
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 9}
ABOVE: Final = "outside upper center"
BELOW: Final = "outside lower center"
ACCURACY = "accuracy (share correct)"


def new_figure(
    height: float, rows: int = 1, columns: int = 1, title: str = "", share: bool = False
) -> tuple[Figure, np.ndarray]:
    """An empty figure, `height` in inches, and its Axes [rows, columns], which may share their axes."""
    figure = Figure((WIDTH, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    for axes in grid.flat:
        axes.spines[:].set_color(GREY)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(color=GREY, labelsize=9)
        axes.set_axisbelow(True)
    return figure, grid


def whole_numbers(axes: Axes) -> None:
    """No ticks between whole numbers on the x axis."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def colours(names: Sequence[str] | Mapping[str, object]) -> list[str]:
    """One colour for each name; after seven they come again."""
    return [COLOURS[number % len(COLOURS)] for number in range(len(names))]


def add_legend(
    figure: Figure, loc: LegendLocType, columns: int, handles: Sequence[Artist] | None = None, **settings: Any
) -> Legend:
    """A legend of what is drawn, or of `handles`, whose names are shown as they are, dollar signs included."""
    settings |= LEGEND | ({"handles": handles} if handles is not None else {})
    legend = figure.legend(loc=loc, ncols=columns, **settings)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend


def add_colour_bar(figure: Figure, image: AxesImage, panels: Axes | np.ndarray, label: str) -> None:
    """The scale of an image beside its panels."""
    bar = figure.colorbar(image, ax=panels, label=label, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(color=GREY, labelsize=9)


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG."""
    with write_aside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
