"""Scores against scikit-learn and hand-worked cases."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from scripts.metrics import METRICS, accuracy_by_clips, bootstrap_interval, confusion, per_genre


def test_interval_agrees_with_the_binomial_distribution():
    correct = np.repeat([1, 0], [480, 320])
    low, high = bootstrap_interval(correct)
    expected = stats.binom.ppf([0.025, 0.975], 800, 0.6) / 800
    np.testing.assert_allclose([low, high], expected, atol=0.004)


def test_interval_of_a_perfect_score_is_a_point():
    assert bootstrap_interval(np.ones(20)) == (1.0, 1.0)


def test_per_genre_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 4, 200), generator.integers(0, 3, 200)
    table = per_genre(labels, predictions, ["a", "b", "c", "d"])
    np.testing.assert_allclose(table["f1"], f1_score(labels, predictions, average=None, zero_division=0))
    assert table["tracks"].sum() == 200
    assert table.loc["d", "precision"] == 0


def test_confusion_counts_true_in_rows():
    counts = confusion(np.array([0, 0, 1]), np.array([1, 0, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_directions():
    assert METRICS["loss"].improves(0.5, METRICS["loss"].worst)
    assert METRICS["loss"].improves(0.4, 0.5) and not METRICS["loss"].improves(0.6, 0.5)
    assert METRICS["track_accuracy"].improves(0.6, 0.5) and not METRICS["track_accuracy"].improves(0.5, 0.5)
    assert (METRICS["loss"].mode, METRICS["track_accuracy"].mode) == ("min", "max")


def test_accuracy_by_clips_ends_at_the_track_accuracy_and_starts_at_the_clip_accuracy():
    generator, tracks, labels = np.random.default_rng(0), np.repeat(np.arange(300), 10), np.arange(300) % 4
    logits = generator.normal(size=(3000, 4)) + np.eye(4)[labels[tracks]]
    curve = accuracy_by_clips(logits, tracks, labels, 10)
    means = logits.reshape(300, 10, 4).mean(1)
    assert curve[-1] == pytest.approx(np.mean(means.argmax(1) == labels))
    assert curve[0] == pytest.approx(np.mean(logits.argmax(1) == labels[tracks]), abs=0.02)
    assert curve[0] < curve[2] < curve[9]


def test_accuracy_by_clips_uses_all_of_a_short_track():
    logits, tracks = np.array([[0.0, 1.0], [3.0, 0.0], [1.0, 0.0]]), np.array([0, 1, 1])
    assert accuracy_by_clips(logits, tracks, np.array([1, 0]), 3).tolist() == [1, 1, 1]
