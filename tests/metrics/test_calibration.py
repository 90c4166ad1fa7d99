"""Calibration error against hand-worked cases; the temperature where the true one is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import log_loss

from scripts.metrics.calibration import (
    TEMPERATURES,
    calibrate,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)

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


def test_calibrated_labels_have_a_small_error():
    generator = np.random.default_rng(0)
    probabilities = softmax(generator.normal(size=(20_000, 5)), axis=1)
    assert calibration_error(reliability(probabilities, draw_labels(probabilities, generator))) < 0.02


def test_likelihood_is_scikit_learns():
    generator = np.random.default_rng(0)
    logits, labels = 3 * generator.normal(size=(50, 4)), generator.integers(0, 4, 50)
    expected = log_loss(labels, softmax(logits, axis=1), labels=range(4))
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.55, 0.75, 0.95])
def test_temperature_in_closed_form(share):
    """Logits (2, 0), and the first class right in `share` of the tracks: 2 / T = ln(share / (1 - share))."""
    labels = np.repeat([0, 1], np.round([share * 1000, (1 - share) * 1000]).astype(int))
    found = fit_temperature(np.tile([2.0, 0.0], (1000, 1)), labels)
    assert found == pytest.approx(2 / np.log(share / (1 - share)), rel=1e-4)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(true):
    generator = np.random.default_rng(1)
    logits = true * 1.5 * generator.normal(size=(20_000, 4))
    labels = draw_labels(softmax(logits / true, axis=1), generator)
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.05)


@given(seed=seeds, scale=st.floats(0.1, 10))
def test_temperature_has_the_lowest_likelihood_loss(seed, scale):
    generator = np.random.default_rng(seed)
    logits, labels = scale * generator.normal(size=(60, 3)), generator.integers(0, 3, 60)
    found = fit_temperature(logits, labels)
    assert TEMPERATURES[0] <= found <= TEMPERATURES[1]
    best = negative_log_likelihood(logits / found, labels)
    tried = [negative_log_likelihood(logits / other, labels) for other in np.geomspace(*TEMPERATURES, 50)]
    assert best <= min(tried) + 1e-6


def test_too_sure_a_network_is_corrected_on_other_tracks():
    generator = np.random.default_rng(2)
    logits = generator.normal(size=(8000, 5))
    labels = draw_labels(softmax(logits, axis=1), generator)
    temperature = fit_temperature(4 * logits[:4000], labels[:4000])
    summary = calibrate(4 * logits[4000:], labels[4000:], temperature)
    assert summary["ece"] > 0.2
    assert summary["ece_scaled"] < 0.04
    assert sum(row["tracks"] for row in summary["reliability_scaled"]) == 4000


def test_without_a_temperature_there_is_one_error():
    summary = calibrate(np.array([[1.0, 0.0]]), np.array([0]))
    assert set(summary) == {"bins", "ece", "reliability"}
    assert summary["ece"] == pytest.approx(1 / (1 + np.e))
