"""Calibration error against hand-worked cases; the temperature where the true one is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import log_loss

from scripts.metrics.calibration import TEMPERATURES, calibrate, calibration_error, fit_temperature, reliability

seeds = st.integers(0, 2**32 - 1)


def draw_labels(probabilities: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A class for each row, drawn with the row's probabilities."""
    return (probabilities.cumsum(axis=1) < generator.random((len(probabilities), 1))).sum(axis=1)


def test_calibration_error_by_hand():
    """Five bins: three tracks at 0.7 of which one is right, two at 0.9 of which both are, one at 0.6 that is wrong."""
    sure = np.array([0.7, 0.7, 0.7, 0.9, 0.9, 0.6])
    probabilities, labels = np.column_stack([sure, 1 - sure]), np.array([0, 1, 1, 0, 0, 1])
    table = reliability(probabilities, labels, bins=5)
    assert table["tracks"].tolist() == [1, 3, 2]
    np.testing.assert_allclose(table["low"], [0.4, 0.6, 0.8])
    np.testing.assert_allclose(table["accuracy"], [0, 1 / 3, 1])
    expected = (1 * 0.6 + 3 * (0.7 - 1 / 3) + 2 * 0.1) / 6
    assert calibration_error(table) == pytest.approx(expected)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    table = reliability(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), np.array([0, 0]), bins=2)
    assert table[["low", "high", "tracks"]].to_numpy().tolist() == [[0, 0.5, 1], [0.5, 1, 1]]
    assert calibration_error(table) == pytest.approx(0.25)


@given(seed=seeds, classes=st.integers(2, 6), tracks=st.integers(1, 80), scale=st.floats(0, 50))
def test_calibration_error_is_a_share_and_counts_every_track(seed, classes, tracks, scale):
    generator = np.random.default_rng(seed)
    probabilities = softmax(scale * generator.normal(size=(tracks, classes)), axis=1)
    table = reliability(probabilities, generator.integers(0, classes, tracks))
    assert table["tracks"].sum() == tracks
    assert 0 <= calibration_error(table) <= 1
    assert ((table["low"] - 1e-9 <= table["confidence"]) & (table["confidence"] <= table["high"] + 1e-9)).all()


@given(seed=seeds, right=st.integers(0, 40), wrong=st.integers(0, 40))
def test_one_confidence_gives_its_distance_to_the_accuracy(seed, right, wrong):
    if not right + wrong:
        return
    probabilities = np.tile([0.15, 0.7, 0.15], (right + wrong, 1))
    labels = np.random.default_rng(seed).permutation(np.repeat([1, 0], [right, wrong]))
    error = calibration_error(reliability(probabilities, labels))
    assert error == pytest.approx(abs(right / (right + wrong) - 0.7))


@pytest.mark.parametrize("share", [0.55, 0.75, 0.95])
def test_temperature_in_closed_form(share):
    """Logits (2, 0), and the first class right in `share` of the tracks: 2 / T = ln(share / (1 - share))."""
    labels = np.repeat([0, 1], np.round([share * 1000, (1 - share) * 1000]).astype(int))
    found = fit_temperature(np.tile([2.0, 0.0], (1000, 1)), labels)
    assert found == pytest.approx(2 / np.log(share / (1 - share)), rel=1e-4)


def log_loss_at(temperature: float, logits: np.ndarray, labels: np.ndarray) -> float:
    return log_loss(labels, softmax(logits / temperature, axis=1), labels=range(logits.shape[1]))


@given(seed=seeds, scale=st.floats(0.1, 10))
def test_temperature_has_the_lowest_likelihood_loss(seed, scale):
    """And there is none only where the lowest loss of all temperatures is at an end."""
    generator = np.random.default_rng(seed)
    logits, labels = scale * generator.normal(size=(60, 3)), generator.integers(0, 3, 60)
    found = fit_temperature(logits, labels)
    tried = [log_loss_at(other, logits, labels) for other in np.geomspace(*TEMPERATURES, 50)]
    if found is None:
        assert np.argmin(tried) in (0, 49)
    else:
        assert TEMPERATURES[0] < found < TEMPERATURES[1]
        assert log_loss_at(found, logits, labels) <= min(tried) + 1e-9


RIGHT = np.eye(3)[[0, 1, 2, 0]]
NO_OPTIMUM = {
    "every track right": (4 * RIGHT, [0, 1, 2, 0]),
    "every track wrong": (4 * RIGHT, [1, 2, 0, 1]),
    "logits that say nothing": (np.zeros((4, 3)), [0, 1, 2, 0]),
    "no track": (np.zeros((0, 3)), np.zeros(0, int)),
    "too sure by more than 20": (2000 * np.array([[1, 0], [1, 0], [1, 0]]), [0, 0, 1]),
    "too unsure by more than 20": (np.array([[1, 0]] * 9) / 100, [0] * 8 + [1]),
}


@pytest.mark.parametrize("case", NO_OPTIMUM)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_a_fit_that_ends_on_a_bound_is_none(case):
    logits, labels = NO_OPTIMUM[case]
    assert fit_temperature(logits, np.asarray(labels)) is None


def test_too_sure_a_network_is_corrected_on_other_tracks():
    generator = np.random.default_rng(2)
    logits = generator.normal(size=(8000, 5))
    labels = draw_labels(softmax(logits, axis=1), generator)
    summary = calibrate(4 * logits[4000:], labels[4000:], (4 * logits[:4000], labels[:4000]))
    assert summary["ece"] > 0.2
    assert summary["ece_scaled"] < 0.04
    assert sum(row["tracks"] for row in summary["reliability_scaled"]) == 4000


def test_without_validation_there_is_one_error():
    summary = calibrate(np.array([[1.0, 0.0]]), np.array([0]))
    assert set(summary) == {"bins", "ece", "reliability"}
    assert summary["ece"] == pytest.approx(1 / (1 + np.e))


def test_a_temperature_that_validation_does_not_tell_scales_nothing():
    summary = calibrate(np.array([[1.0, 0.0]]), np.array([0]), (3 * RIGHT, np.array([0, 1, 2, 0])))
    assert set(summary) == {"bins", "ece", "reliability", "temperature", "temperature_note"}
    assert summary["temperature"] is None
    assert summary["temperature_note"].startswith("temperature not identified")
