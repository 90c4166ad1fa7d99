"""Thresholds against every threshold there can be, and cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.common.errors import ConfigError
from scripts.metrics.thresholds import best_thresholds, not_identified

NAN = np.nan


def macro_f1(truth: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    """Over labels with positives, by the definition."""
    predicted, present = (probabilities >= threshold) & ~np.isnan(truth), truth == 1
    scores = 2 * (predicted & present).sum(axis=0) / np.maximum(predicted.sum(axis=0) + present.sum(axis=0), 1)
    return scores[present.any(axis=0)].mean()


@st.composite
def cases(draw) -> tuple[np.ndarray, np.ndarray]:
    """Few different probabilities, so that there are ties; some entries unknown; some labels without positives."""
    tracks, labels = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = generator.choice([0, 1, NAN], (tracks, labels), p=[0.5, 0.35, 0.15])
    return truth, generator.integers(0, draw(st.integers(1, 12)) + 1, (tracks, labels)) / 12


@given(cases())
def test_no_global_threshold_is_better(case):
    truth, probabilities = case
    thresholds = best_thresholds(truth, probabilities, "global")
    assert thresholds.shape == (truth.shape[1],)
    assert len(set(thresholds)) == 1
    if (truth == 1).any():
        brute = max(macro_f1(truth, probabilities, tried) for tried in np.arange(0, 1.01, 1 / 24))
        assert macro_f1(truth, probabilities, thresholds[0]) == pytest.approx(brute, abs=1e-12)


@given(cases())
def test_no_threshold_of_a_label_is_better(case):
    truth, probabilities = case
    found, fallback = best_thresholds(truth, probabilities, "label"), best_thresholds(truth, probabilities, "global")
    for label in range(truth.shape[1]):
        mine = truth[:, [label]], probabilities[:, [label]]
        if (mine[0] == 1).any():
            brute = max(macro_f1(*mine, tried) for tried in np.arange(0, 1.01, 1 / 24))
            assert macro_f1(*mine, found[label]) == pytest.approx(brute, abs=1e-12)
        else:
            assert found[label] == fallback[label]


def test_thresholds_by_hand():
    """0.5 parts the first label and 0.3 the second; together 0.5 gives 1 and 6/7, but 0.3 only 4/5 and 1."""
    truth = np.array([[1, 1], [1, 1], [0, 1], [0, 1], [0, 0]])
    probabilities = np.array([[0.9, 0.9], [0.6, 0.8], [0.4, 0.4], [0.1, 0.7], [0.1, 0.2]])
    np.testing.assert_allclose(best_thresholds(truth, probabilities, "label"), [0.5, 0.3])
    np.testing.assert_allclose(best_thresholds(truth, probabilities, "global"), [0.5, 0.5])
    np.testing.assert_array_equal(best_thresholds(truth, probabilities, "half"), [0.5, 0.5])


def test_the_highest_of_equally_good_thresholds():
    """The first alone, or all four: an F1 of 2/3 either way."""
    truth, probabilities = np.array([[1], [0], [0], [1]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    np.testing.assert_allclose(best_thresholds(truth, probabilities, "label"), [0.85])


def test_an_unknown_entry_decides_nothing():
    truth, probabilities = np.array([[1.0], [NAN], [NAN], [0]]), np.array([[0.8], [0.7], [0.9], [0.2]])
    np.testing.assert_allclose(best_thresholds(truth, probabilities, "label"), [0.5])


@pytest.mark.parametrize("low", [0.3, np.nextafter(0.3, 1)])
def test_neighbouring_floats_are_parted(low):
    """The middle rounds down to one of them for one pair, and up for the next."""
    high = np.nextafter(low, 1)
    (threshold,) = best_thresholds(np.array([[1], [0]]), np.array([[high], [low]]), "label")
    assert low < threshold <= high


def test_without_any_positive_it_is_a_half():
    for how in ("half", "global", "label"):
        assert best_thresholds(np.array([[0, NAN]]), np.array([[0.9, 0.9]]), how).tolist() == [0.5, 0.5]


def test_thresholds_that_the_tracks_do_not_tell():
    """Of five labels: told; no positive; no negative; told, because a lower track is absent; best predicted always."""
    truth = np.array([[1, 0, 1, 1, 0], [1, 0, 1, 1, 1], [0, NAN, 1, 0, 1], [0, 0, NAN, 0, 1]])
    probabilities = np.array([[0.9, 0.7, 0.5, 0.9, 0.9], [0.8, 0.6, 0.6, 0.2, 0.8], [0.3, 0.9, 0.7, 0.5, 0.7]])
    probabilities = np.vstack([probabilities, [0.2, 0.2, 0.1, 0.1, 0.6]])
    for how, expected in (("label", [False, True, True, False, True]), ("global", [False] * 5), ("half", [False] * 5)):
        thresholds = best_thresholds(truth, probabilities, how)
        assert not_identified(truth, probabilities, thresholds, how).tolist() == expected, how
    nothing = np.zeros((4, 2)), probabilities[:, :2]
    assert not_identified(*nothing, best_thresholds(*nothing, "global"), "global").all()


def test_all_present_is_predicted_from_zero_on():
    truth, probabilities = np.ones((2, 1)), np.array([[0.0], [0.4]])
    assert best_thresholds(truth, probabilities, "label").tolist() == [0]


def test_unknown_choice_is_named():
    with pytest.raises(ConfigError, match="'labels'; did you mean 'label'.*half, global, label"):
        best_thresholds(np.ones((1, 1)), np.ones((1, 1)), "labels")
