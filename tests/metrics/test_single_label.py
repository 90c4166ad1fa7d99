"""Scores against scikit-learn and scipy, and hand-worked cases."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from scripts.common.errors import TrainingError
from scripts.metrics import single_label as metrics
from scripts.metrics.single_label import (
    METRICS,
    accuracy_intervals,
    bootstrap_interval,
    confusion,
    correct_by_clips,
    macro_f1,
    mcnemar,
    per_genre,
    track_means,
)
from scripts.reports.single_label import scores_of, summarise, top_k_summary

seeds = st.integers(0, 2**32 - 1)


# --- scores -------------------------------------------------------------------------------------------------


def test_per_genre_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 4, 200), generator.integers(0, 3, 200)
    table = per_genre(labels, predictions, ["a", "b", "c", "d"])
    np.testing.assert_allclose(table["f1"], f1_score(labels, predictions, average=None, zero_division=0))
    assert table["tracks"].sum() == 200
    assert table.loc["d", "precision"] == 0
    assert macro_f1(table) == pytest.approx(f1_score(labels, predictions, average="macro", zero_division=0))


def test_macro_f1_leaves_out_genres_without_tracks():
    labels, predictions = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    expected = f1_score(labels, predictions, labels=[0, 1], average="macro")
    assert macro_f1(per_genre(labels, predictions, ["a", "b", "c"])) == pytest.approx(expected)


def test_confusion_counts_true_in_rows():
    counts = confusion(np.array([0, 0, 1]), np.array([1, 0, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_top_k_by_hand():
    logits, labels = np.array([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 3, 2, 0]]), np.array([1, 1, 3])
    scores = scores_of(logits, np.arange(3), labels)
    assert [top_k_summary(scores, k)["track_accuracy"] for k in (1, 2, 3)] == [0, 1 / 3, 2 / 3]
    two = scores_of(logits[:, :2], np.arange(3), np.array([0, 1, 0]))
    assert top_k_summary(two, 1) == {"k": 1, "track_accuracy": 2 / 3}


def test_logits_that_are_not_finite_have_no_report():
    scores = dataclasses.replace(scores_of(np.eye(3), np.arange(3), np.arange(3)), logits=np.full((3, 3), np.nan))
    with pytest.raises(TrainingError, match="train again"):
        summarise(scores, items=None, train=None, names=["a", "b", "c"], left_out=None)


def test_track_means_in_any_order():
    values, tracks = np.array([[1.0, 0], [5, 5], [3, 4]]), np.array([1, 0, 1])
    assert track_means(values, tracks).tolist() == [[5, 5], [2, 2]]


def test_directions():
    assert METRICS["loss"].improves(0.5, METRICS["loss"].worst)
    assert METRICS["loss"].improves(0.4, 0.5) and not METRICS["loss"].improves(0.6, 0.5)
    assert METRICS["track_accuracy"].improves(0.6, 0.5) and not METRICS["track_accuracy"].improves(0.5, 0.5)
    assert (METRICS["loss"].mode, METRICS["track_accuracy"].mode) == ("min", "max")
    assert METRICS["last"].improves(3, 2) and METRICS["last"].name == "epoch"


def test_accuracy_by_clips_ends_at_the_track_accuracy_and_starts_at_the_clip_accuracy():
    generator, tracks, labels = np.random.default_rng(0), np.repeat(np.arange(300), 10), np.arange(300) % 4
    logits = generator.normal(size=(3000, 4)) + np.eye(4)[labels[tracks]]
    curve = correct_by_clips(logits, tracks, labels, 10).mean(axis=0)
    means = logits.reshape(300, 10, 4).mean(1)
    assert curve[-1] == pytest.approx(np.mean(means.argmax(1) == labels))
    assert curve[0] == pytest.approx(np.mean(logits.argmax(1) == labels[tracks]), abs=0.02)
    assert curve[0] < curve[2] < curve[9]


def test_accuracy_by_clips_uses_all_of_a_short_track():
    logits, tracks = np.array([[0.0, 1.0], [3.0, 0.0], [1.0, 0.0]]), np.array([0, 1, 1])
    assert correct_by_clips(logits, tracks, np.array([1, 1]), 3).tolist() == [[1, 1, 1], [0, 0, 0]]


# --- uncertainty --------------------------------------------------------------------------------------------


def test_interval_agrees_with_scipys_bootstrap():
    values = np.random.default_rng(3).exponential(size=60)
    found = bootstrap_interval(values, level=0.9)
    settings = {"n_resamples": 10_000, "confidence_level": 0.9, "method": "percentile", "rng": 1}
    expected = stats.bootstrap((values,), np.mean, **settings).confidence_interval
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_interval_of_a_perfect_score_is_a_point():
    assert bootstrap_interval(np.ones(20)) == (1.0, 1.0)


@settings(max_examples=8)
@given(seed=seeds, tracks=st.integers(2, 60), share=st.floats(0, 1))
def test_interval_holds_the_mean_and_stays_in_range(seed, tracks, share):
    correct = np.random.default_rng(seed).random(tracks) < share
    low, high = bootstrap_interval(correct)
    assert 0 <= low <= correct.mean() <= high <= 1


def test_clip_accuracy_is_as_uncertain_as_its_tracks():
    """All clips of a track alike: the interval over tracks is that of the tracks, not of ten times as many clips."""
    correct = np.repeat([1, 0], [60, 40])
    intervals = accuracy_intervals(correct, 10 * correct, np.full(100, 10), correct[:, None])
    assert intervals["clip_accuracy_interval_95"] == intervals["track_accuracy_interval_95"]
    assert intervals["accuracy_by_clips_intervals_95"] == [intervals["track_accuracy_interval_95"]]
    assert intervals["gain_over_clips_interval_95"] == (0.0, 0.0)


def test_the_gain_is_paired_and_clips_count_each():
    """Half of the tracks with 2 clips, half with 6; averaging is right where 1 of 2 or 5 of 6 clips are."""
    correct, hits, clips = np.ones(200), np.tile([1, 5], 100), np.tile([2, 6], 100)
    intervals = accuracy_intervals(correct, hits, clips, correct[:, None])
    low, high = intervals["clip_accuracy_interval_95"]
    assert low < 600 / 800 < high
    np.testing.assert_allclose(intervals["gain_over_clips_interval_95"], (1 - high, 1 - low))


def test_draws_are_the_same_for_all_columns():
    values = np.random.default_rng(0).random((30, 2))
    together = metrics.resampled_sums(values)
    assert together.shape == (metrics.DRAWS, 2)
    np.testing.assert_allclose(together[:, 1], metrics.resampled_sums(values[:, 1]))


# --- two systems on the same tracks -------------------------------------------------------------------------


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, first, second, neither]
    return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


def test_mcnemar_by_hand():
    """1 against 5 differing tracks: twice the chance of at most one head in six throws, 2 (1 + 6) / 64."""
    assert mcnemar(*outcomes(10, 1, 5, 7)) == pytest.approx(14 / 64)
    assert mcnemar(*outcomes(0, 0, 10, 3)) == pytest.approx(2 / 2**10)
    assert mcnemar(*outcomes(4, 0, 0, 5)) == 1


@given(st.tuples(*[st.integers(0, 40)] * 4))
def test_mcnemar_sees_only_differing_tracks_and_no_order(counts):
    both, first, second, neither = counts
    p = mcnemar(*outcomes(*counts))
    assert p == mcnemar(*outcomes(0, second, first, 0))
    tail = stats.binom.cdf(min(first, second), first + second, 0.5)
    assert p == pytest.approx(min(1, 2 * tail))


def test_interval_agrees_with_the_binomial_distribution():
    correct = np.repeat([1, 0], [480, 320])
    low, high = bootstrap_interval(correct)
    expected = stats.binom.ppf([0.025, 0.975], 800, 0.6) / 800
    np.testing.assert_allclose([low, high], expected, atol=0.004)
