"""The distance to training embeddings: against scikit-learn and SciPy, and through a checkpoint's tensors."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from scripts.metrics.familiarity import Familiarity, is_unfamiliar


def test_distances_are_mahalanobis_of_standardised_embeddings():
    generator = np.random.default_rng(0)
    known = generator.normal(size=(40, 6)) @ generator.normal(size=(6, 6)) + 3
    unseen = generator.normal(size=(5, 6))
    mean, scale = known.mean(axis=0), known.std(axis=0)
    precision = np.linalg.inv(LedoitWolf().fit((known - mean) / scale).covariance_)
    expected = [mahalanobis((one - mean) / scale, np.zeros(6), precision) for one in unseen]
    np.testing.assert_allclose(Familiarity.fit(known).distances(unseen), expected, rtol=1e-6)


def test_the_threshold_is_two_and_a_half_deviations_above_the_mean_track():
    known = Familiarity(np.zeros(1), np.eye(1)).with_threshold(np.array([[1.0], [3.0], [4.0]]), np.array([0, 0, 1]))
    assert known.threshold == pytest.approx(3 + 2.5 * np.sqrt(2))  # tracks at 2 and 4
    again = Familiarity.from_tensors(known.as_tensors())
    np.testing.assert_allclose(again.distances(np.array([[known.threshold]])), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="no numbers"):
        Familiarity.from_tensors(known.as_tensors() | {"mean": known.as_tensors()["mean"] * np.nan})


def test_constant_columns_and_unknown_distances():
    known = Familiarity.fit(np.column_stack([np.random.default_rng(0).normal(size=20), np.ones(20)]))
    assert np.isfinite(known.distances(np.array([[0.0, 1.0]]))).all()
    assert not is_unfamiliar(None) and not is_unfamiliar(1.0) and is_unfamiliar(1.001)


def test_the_threshold_of_training_is_of_tracks_that_were_left_out():
    """Two folds of two tracks: by hand, each one's distance to the Gaussian of the other."""
    values, tracks = np.random.default_rng(0).normal(size=(24, 3)), np.repeat([5, 9], 12)
    first, second = values[:12], values[12:]
    means = [Familiarity.fit(second).distances(first).mean(), Familiarity.fit(first).distances(second).mean()]
    expected = np.mean(means) + 2.5 * np.std(means, ddof=1)
    known = Familiarity.fit_in_folds(values, tracks)
    assert known.threshold == pytest.approx(expected)
    np.testing.assert_allclose(known.mean, values.mean(axis=0))
