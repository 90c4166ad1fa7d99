"""What tests of figures look at."""

from matplotlib.axis import Axis
from matplotlib.figure import Figure


def tick_labels(axis: Axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def assert_nothing_is_cut_off(figure: Figure) -> None:
    figure.draw_without_rendering()
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= page.x1
    assert drawn.y1 <= page.y1
