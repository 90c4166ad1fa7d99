"""Figures of multi-label systems show their data at the right places, and nothing is cut off."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from scripts.metrics.multi_label import per_label
from scripts.reports import multi_label_figures as tag_figures
from tests.figures import assert_nothing_is_cut_off, tick_labels

NAN = np.nan
NAMES = ["cello", "flute", "oboe"]
TRUTH = np.array([[1, 1, 0], [1, 0, 1], [1, 0, NAN], [0, 1, 0], [0, 0, 1]])


def legend_labels(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def cells(axes) -> np.ndarray:
    """The numbers written in the cells."""
    size = len(axes.get_xticks())
    counts = {text.get_position()[::-1]: int(text.get_text()) for text in axes.texts}
    return np.array([[counts[row, column] for column in range(size)] for row in range(size)])


def draw(tracks: int, labels: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Truth, probabilities and names."""
    generator = np.random.default_rng(0)
    truth = (generator.random((tracks, labels)) < 0.3).astype(float)
    truth[generator.random(truth.shape) < 0.1] = NAN
    probabilities = (generator.random(truth.shape) + np.nan_to_num(truth)) / 2
    return truth, probabilities, [f"acoustic instrument {number}" for number in range(labels)]


# --- scores -------------------------------------------------------------------------------------------------


def test_bars_are_of_labels_that_can_be_scored() -> None:
    probabilities = np.array([[0.9, 0.1, 0.1], [0.9, 0.1, 0.1]])
    table = per_label(np.array([[1.0, 1, 0], [1, 0, 0]]), probabilities, np.full(3, 0.5), NAMES)
    (axes,) = tag_figures.f1_per_label(table).axes
    assert tick_labels(axes.yaxis) == ["flute (1)", "cello (2)"]
    assert [bar.get_width() for bar in axes.patches] == [0, 1]
    assert axes.get_ylabel() == "label (tracks)"


def test_bars_of_a_large_vocabulary_are_of_the_labels_with_the_most_tracks() -> None:
    scores = dict.fromkeys(["precision", "recall", "f1"], np.linspace(0, 1, 100))
    table = pd.DataFrame(scores | {"positives": np.arange(100)}, [f"label {number}" for number in range(100)])
    (axes,) = tag_figures.f1_per_label(table).axes
    assert tick_labels(axes.yaxis) == [f"label {number} ({number})" for number in range(60, 100)]


def test_curves_have_the_areas_that_their_legend_says() -> None:
    truth, probabilities, names = draw(60, 2)
    truth, names = np.column_stack([truth, np.ones(60)]), [*names, "always there"]
    probabilities = np.column_stack([probabilities, np.linspace(0, 1, 60)])
    figure = tag_figures.ranking_curves(truth, probabilities, names)
    roc, precision = figure.axes
    known = ~np.isnan(truth)
    parts = [(truth[known], probabilities[known])]
    parts += [(truth[known[:, i], i], probabilities[known[:, i], i]) for i in range(2)]
    assert [line.get_linewidth() for line in precision.lines] == [2.2, 1, 1], "one that is always present has no curve"
    curves = [line for line in roc.lines if len(line.get_xdata()) > 2]
    for part, rates, line in zip(parts, curves, precision.lines, strict=True):
        assert np.trapezoid(rates.get_ydata(), rates.get_xdata()) == pytest.approx(roc_auc_score(*part))
        steps = -np.diff(line.get_xdata()) @ line.get_ydata()[:-1]
        assert steps == pytest.approx(average_precision_score(*part))
    areas = [f"{roc_auc_score(*part):.3f}, {average_precision_score(*part):.3f}" for part in parts]
    titles = ["all labels (micro)", *names[:2]]
    assert legend_labels(figure) == [f"{title}: {area}" for title, area in zip(titles, areas, strict=True)]
    assert len(tag_figures.ranking_curves(*draw(30, 21)).axes[1].lines) == 1, "of more than 20 labels there is none"


def test_histograms_part_present_from_absent_and_show_the_threshold() -> None:
    truth = np.array([[1.0, 0], [1, 0], [0, 1], [NAN, 0]])
    probabilities = np.array([[0.97, 0.02], [0.52, 0.03], [0.12, 0.92], [0.72, 0.47]])
    figure = tag_figures.score_histograms(truth, probabilities, np.array([0.3, 0.6]), NAMES[:2])
    for axes, threshold, name in zip(figure.axes, (0.3, 0.6), NAMES, strict=False):
        (line,) = axes.lines
        assert (line.get_xdata()[0], axes.get_title()) == (threshold, name)
    absent, present = figure.axes[0].containers
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in present if bar.get_height()}
    assert heights == {0.95: 0.5, 0.5: 0.5}
    assert {round(bar.get_x(), 2): bar.get_height() for bar in absent if bar.get_height()} == {0.1: 1}
    assert legend_labels(figure) == ["label absent", "label present", "threshold"]


# --- pairs of labels ----------------------------------------------------------------------------------------


def test_co_occurrence_is_the_share_of_the_rows_tracks() -> None:
    """Cello and flute come together once, in 3 tracks of the cello and 2 of the flute.

    So do cello and oboe, in 2 tracks of the cello where the oboe is known.
    """
    axes, _ = tag_figures.co_occurrence(TRUTH, NAMES).axes
    assert cells(axes).tolist() == [[3, 1, 1], [1, 2, 0], [1, 0, 2]]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares.filled(NAN), [[NAN, 1 / 3, 1 / 2], [1 / 2, NAN, 0], [1 / 2, 0, NAN]])
    assert tick_labels(axes.xaxis) == tick_labels(axes.yaxis) == NAMES


def test_pairwise_confusion_has_the_truth_in_rows_and_the_prediction_in_columns() -> None:
    """The flute is predicted in both tracks that have the cello and lack the flute, the cello never wrongly.

    The oboe is predicted in the one track that has the cello and is known to lack the oboe, and rightly in another.
    """
    predictions = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]], bool)
    axes, _ = tag_figures.pairwise_confusion(TRUTH, predictions, NAMES).axes
    assert cells(axes).tolist() == [[2, 2, 1], [0, 1, 1], [0, 1, 1]]
    np.testing.assert_allclose(axes.images[0].get_array(), [[2 / 3, 1, 1], [0, 1 / 2, 1 / 2], [0, 1 / 2, 1 / 2]])
    assert (axes.get_ylabel(), axes.get_xlabel()[:17]) == ("truly present", "wrongly predicted")


def test_pairs_of_a_large_vocabulary_are_of_the_labels_with_the_most_tracks() -> None:
    truth = np.tri(40, 40)  # label 0 in all tracks, label 39 in one
    names = [str(number) for number in range(40)]
    for figure in (tag_figures.co_occurrence(truth, names), tag_figures.pairwise_confusion(truth, truth < 0, names)):
        axes = figure.axes[0]
        assert tick_labels(axes.yaxis) == names[:30]
        assert not axes.texts
        assert "in the cells" not in axes.get_xlabel()


# --- the page -----------------------------------------------------------------------------------------------


def bars(labels: int):
    truth, probabilities, names = draw(50, labels)
    return tag_figures.f1_per_label(per_label(truth, probabilities, np.full(labels, 0.5), names))


def histograms(labels: int):
    truth, probabilities, names = draw(50, labels)
    return tag_figures.score_histograms(truth, probabilities, np.full(labels, 0.5), names)


FIGURES = {
    "bars": bars,
    "curves": lambda labels: tag_figures.ranking_curves(*draw(50, labels)),
    "histograms": histograms,
    "co-occurrence": lambda labels: tag_figures.co_occurrence(draw(50, labels)[0], draw(50, labels)[2]),
}


@pytest.mark.parametrize("labels", [1, 20])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str, labels: int) -> None:
    assert_nothing_is_cut_off(FIGURES[name](labels))
    assert plt.get_fignums() == []


def test_names_with_dollar_signs_are_no_formulas() -> None:
    truth, probabilities, _ = draw(20, 2)
    names = ["$\\a$", "$x$"]
    figures = [
        tag_figures.ranking_curves(truth, probabilities, names),
        tag_figures.score_histograms(truth, probabilities, np.full(2, 0.5), names),
        tag_figures.co_occurrence(truth, names),
    ]
    for figure in figures:
        figure.draw_without_rendering()
    assert legend_labels(figures[0])[1].startswith("$\\a$: ")


def test_a_part_without_any_label_can_be_drawn() -> None:
    truth, probabilities = np.zeros((4, 3)), np.full((4, 3), 0.2)
    figures = [
        tag_figures.ranking_curves(truth, probabilities, NAMES),
        tag_figures.score_histograms(truth, probabilities, np.full(3, 0.5), NAMES),
        tag_figures.co_occurrence(truth, NAMES),
        tag_figures.pairwise_confusion(truth, probabilities > 0.1, NAMES),
        tag_figures.f1_per_label(per_label(truth, probabilities, np.full(3, 0.5), NAMES)),
    ]
    assert not figures[0].axes[1].lines
    assert not figures[-1].axes[0].patches
