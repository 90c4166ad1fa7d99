"""Multi-label scores against scikit-learn, what perfect, random and constant predictors must get, and cases by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn import metrics as sklearn_metrics

from scripts.common.errors import ConfigError, TableError
from scripts.metrics.multi_label import (
    AGGREGATIONS,
    BASELINES,
    aggregate,
    batch_mean_macro_f1,
    drawn_average_precision,
    multi_label_intervals,
    multi_label_scores,
    per_label,
)

NAN = np.nan
seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, tracks: int, labels: int, unknown: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, probabilities with ties, and thresholds."""
    generator = np.random.default_rng(seed)
    truth = (generator.random((tracks, labels)) < generator.random(labels)).astype(float)
    probabilities = np.round((generator.random((tracks, labels)) + truth) / 2, 1)
    truth[generator.random(truth.shape) < unknown] = NAN
    return truth, probabilities, generator.random(labels)


def scikit_learn(truth: np.ndarray, probabilities: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Of labels that all have positives and negatives; nothing is unknown."""
    scores = {
        "f1_samples": sklearn_metrics.f1_score(truth, predictions, average="samples", zero_division=1),
        "hamming_accuracy": 1 - sklearn_metrics.hamming_loss(truth, predictions),
        "subset_accuracy": sklearn_metrics.accuracy_score(truth, predictions),
        "ranking_average_precision": sklearn_metrics.label_ranking_average_precision_score(truth, probabilities),
    }
    for average in ("micro", "macro"):
        for name in ("f1", "precision", "recall"):
            score = getattr(sklearn_metrics, f"{name}_score")
            scores[f"{name}_{average}"] = score(truth, predictions, average=average, zero_division=0)
        scores[f"roc_auc_{average}"] = sklearn_metrics.roc_auc_score(truth, probabilities, average=average)
        name, score = f"average_precision_{average}", sklearn_metrics.average_precision_score
        scores[name] = score(truth, probabilities, average=average)
    return scores


def numbers(scores: dict) -> dict:
    """The scores without the counts of labels."""
    return {name: value for name, value in scores.items() if not name.startswith("labels_")}


def counts(scores: dict) -> tuple[int, ...]:
    return tuple(scores[f"labels_{name}"] for name in ("scored", "without_positives", "without_negatives"))


# --- scikit-learn -------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(seed=seeds, tracks=st.integers(1, 40), labels=st.integers(2, 6))
def test_scores_are_scikit_learns_where_all_is_known(seed, tracks, labels):
    truth, probabilities, thresholds = draw(seed, tracks, labels)
    truth = np.vstack([truth, np.ones(labels), np.zeros(labels)])  # each label has positives and negatives
    probabilities = np.vstack([probabilities, np.full((2, labels), 0.5)])
    expected = scikit_learn(truth, probabilities, probabilities >= thresholds)
    assert numbers(multi_label_scores(truth, probabilities, thresholds)) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=15)
@given(seed=seeds, tracks=st.integers(1, 30), labels=st.integers(1, 5))
def test_labels_are_scored_on_what_is_known_of_them(seed, tracks, labels):
    truth, probabilities, thresholds = draw(seed, tracks, labels, unknown=0.3)
    table = per_label(truth, probabilities, thresholds)
    for label, row in table.iterrows():
        known = ~np.isnan(truth[:, label])
        mine, scores = truth[known, label].astype(int), probabilities[known, label]
        assert (row["positives"], row["known"]) == (mine.sum(), known.sum())
        if mine.any():
            expected = sklearn_metrics.precision_recall_fscore_support(
                mine, scores >= thresholds[label], average="binary", zero_division=0
            )
            assert row[["precision", "recall", "f1"]].tolist() == pytest.approx(expected[:3], abs=1e-9)
            expected = sklearn_metrics.average_precision_score(mine, scores)
            assert row["average_precision"] == pytest.approx(expected, abs=1e-9)
        else:
            assert row[["precision", "recall", "f1", "roc_auc", "average_precision"]].isna().all()
        if 0 < mine.sum() < len(mine):
            assert row["roc_auc"] == pytest.approx(sklearn_metrics.roc_auc_score(mine, scores), abs=1e-9)
        else:
            assert np.isnan(row["roc_auc"])


@settings(max_examples=15)
@given(seed=seeds)
def test_unknown_entries_have_no_influence(seed):
    truth, probabilities, thresholds = draw(seed, 20, 4, unknown=0.3)
    truth[0, :] = [1, 0, 1, 0]
    other = np.where(np.isnan(truth), 1 - probabilities, probabilities)
    scores = multi_label_scores(truth, probabilities, thresholds)
    assert multi_label_scores(truth, other, thresholds) == pytest.approx(scores, abs=1e-12, nan_ok=True)
    extra = np.vstack([truth, np.full(4, NAN)]), np.vstack([probabilities, np.ones(4)])
    assert multi_label_scores(*extra, thresholds) == pytest.approx(scores, abs=1e-12, nan_ok=True)


def test_names_are_the_tables_index():
    table = per_label(np.array([[1.0, 0]]), np.array([[0.9, 0.1]]), np.array([0.5, 0.5]), ["cello", "oboe"])
    assert table.index.tolist() == ["cello", "oboe"]
    assert table["positives"].tolist() == [1, 0]


# --- cases by hand ------------------------------------------------------------------------------------------


def test_scores_by_hand():
    """Three tracks of three labels, thresholds 0.5, one entry unknown.

    Labels: hits 1, 1, 0 of 2, 1, 0 predicted and 1, 2, 0 present. The ranking of the first track is 1st; that of the
    second has its labels at places 1 and 2 of two; the third has none.
    """
    truth = np.array([[1, 0, 0], [NAN, 1, 0], [0, 1, 0]])
    probabilities = np.array([[0.9, 0.3, 0.2], [0.95, 0.8, 0.4], [0.7, 0.4, 0.1]])
    scores = multi_label_scores(truth, probabilities, np.full(3, 0.5))
    assert scores["f1_micro"] == pytest.approx(2 * 2 / (3 + 3))
    assert (scores["precision_micro"], scores["recall_micro"]) == pytest.approx((2 / 3, 2 / 3))
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert (scores["precision_macro"], scores["recall_macro"]) == pytest.approx((3 / 4, 3 / 4))
    assert scores["f1_samples"] == pytest.approx((1 + 1 + 0) / 3)
    assert scores["hamming_accuracy"] == pytest.approx(6 / 8)
    assert scores["subset_accuracy"] == pytest.approx(2 / 3)
    assert scores["roc_auc_macro"] == pytest.approx((1 + 1) / 2)
    assert scores["average_precision_macro"] == pytest.approx((1 + 1) / 2)
    assert scores["ranking_average_precision"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert counts(scores) == (2, 1, 0)


@settings(max_examples=15)
@given(seed=seeds, labels=st.integers(1, 4))
def test_a_perfect_predictor_gets_one_everywhere(seed, labels):
    truth, *_ = draw(seed, 15, labels, unknown=0.2)
    truth = np.vstack([truth, np.ones(labels), np.zeros(labels)])
    scores = multi_label_scores(truth, np.where(truth == 1, 0.8, 0.3), np.full(labels, 0.5))
    assert numbers(scores) == dict.fromkeys(numbers(scores), 1)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_predictor_gets_the_prevalence(value):
    """Labels of 1, 2 and 3 of 4 tracks: all predicted, or none."""
    truth = np.array([[1.0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
    shares = np.array([1, 2, 3]) / 4
    scores = multi_label_scores(truth, np.full((4, 3), value), np.full(3, 0.5))
    assert (scores["roc_auc_micro"], scores["roc_auc_macro"]) == (0.5, 0.5)
    assert (scores["average_precision_micro"], scores["average_precision_macro"]) == pytest.approx((0.5, 0.5))
    assert scores["ranking_average_precision"] == pytest.approx((1 + 2 / 3 + 1 / 3 + 1) / 4)
    assert scores["hamming_accuracy"] == 0.5
    assert (scores["precision_micro"], scores["recall_micro"]) == (0.5 * value, value)
    assert (scores["precision_macro"], scores["recall_macro"]) == (shares.mean() * value, value)
    assert scores["f1_micro"] == pytest.approx(value * 2 / 3)
    assert scores["f1_macro"] == pytest.approx(value * np.mean(2 * shares / (1 + shares)))
    assert scores["subset_accuracy"] == 1 / 4
    assert scores["f1_samples"] == pytest.approx(np.mean([1, 4 / 5, 1 / 2, 0]) if value else 1 / 4)


def test_labels_without_positives_are_masked_and_counted():
    truth = np.array([[1.0, 0, NAN, 1], [0, 0, NAN, 1]])
    probabilities = np.array([[0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.1, 0.9]])
    scores = multi_label_scores(truth, probabilities, np.full(4, 0.5))
    assert counts(scores) == (2, 2, 2)
    for name in ("f1_macro", "precision_macro", "recall_macro", "roc_auc_macro", "average_precision_macro"):
        assert scores[name] == 1, name
    assert scores["precision_micro"] == 3 / 4, "a false alarm of a masked label counts among all entries"


def test_nothing_present_anywhere():
    truth = np.zeros((3, 2))
    scores = multi_label_scores(truth, np.array([[0.1, 0.2], [0.1, 0.9], [0.3, 0.3]]), np.full(2, 0.5))
    for name in ("f1_micro", "f1_macro", "roc_auc_micro", "average_precision_macro", "recall_micro"):
        assert np.isnan(scores[name]), name
    assert (scores["hamming_accuracy"], scores["subset_accuracy"]) == pytest.approx((5 / 6, 2 / 3))
    assert (scores["f1_samples"], scores["labels_scored"]) == pytest.approx((2 / 3, 0))


def test_everything_present():
    truth = np.ones((2, 2))
    scores = multi_label_scores(truth, np.array([[0.9, 0.1], [0.8, 0.7]]), np.full(2, 0.5))
    assert (scores["average_precision_micro"], scores["average_precision_macro"]) == (1, 1)
    assert np.isnan([scores["roc_auc_micro"], scores["roc_auc_macro"]]).all()
    assert (scores["precision_macro"], scores["recall_macro"]) == pytest.approx((1, 3 / 4))
    assert scores["labels_without_negatives"] == 2


def test_one_label_is_scikit_learns_binary_case():
    truth, probabilities, thresholds = draw(3, 30, 1)
    scores, predictions = multi_label_scores(truth, probabilities, thresholds), probabilities >= thresholds
    expected = sklearn_metrics.f1_score(truth[:, 0], predictions[:, 0])
    assert (scores["f1_micro"], scores["f1_macro"]) == pytest.approx((expected, expected), abs=1e-9)
    expected = sklearn_metrics.accuracy_score(truth[:, 0], predictions[:, 0])
    assert (scores["hamming_accuracy"], scores["subset_accuracy"]) == pytest.approx((expected, expected), abs=1e-9)
    assert scores["roc_auc_micro"] == scores["roc_auc_macro"]
    assert scores["ranking_average_precision"] == 1


def test_a_probability_at_its_threshold_is_predicted():
    assert multi_label_scores(np.array([[1.0], [0]]), np.array([[0.5], [0.49]]), np.array([0.5]))["f1_micro"] == 1


def test_a_part_of_which_nothing_is_known_is_an_error():
    with pytest.raises(TableError, match="no track of this part has a known label"):
        multi_label_scores(np.full((2, 2), NAN), np.zeros((2, 2)), np.full(2, 0.5))


# --- the number of the instrument source --------------------------------------------------------------------


def test_batch_mean_by_hand():
    """Batches of two: the first has F1 1 and 2/3, the second 0 (absent) and 1, the last, of one track, 0 and 0."""
    truth = np.array([[1.0, 1], [0, 0], [0, 1], [0, 1], [1, 0]])
    predictions = np.array([[1, 1], [0, 1], [0, 1], [0, 1], [0, 0]], bool)
    own, perfect = batch_mean_macro_f1(truth, predictions, 2)
    assert own == pytest.approx(np.mean([(1 + 2 / 3) / 2, 1 / 2, 0]))
    assert perfect == pytest.approx(np.mean([1, 1 / 2, 1 / 2]))


@settings(max_examples=15)
@given(seed=seeds, batch_size=st.integers(3, 50))
def test_batch_mean_is_scikit_learns_macro_f1_of_each_batch(seed, batch_size):
    truth, probabilities, thresholds = draw(seed, 40, 3)
    predictions = probabilities >= thresholds
    batches = [slice(start, start + batch_size) for start in range(0, 40, batch_size)]
    each = [sklearn_metrics.f1_score(truth[b], predictions[b], average="macro", zero_division=0) for b in batches]
    assert batch_mean_macro_f1(truth, predictions, batch_size)[0] == pytest.approx(np.mean(each))


def test_a_perfect_predictor_falls_short_of_one_in_small_batches():
    truth = np.eye(4)
    assert [batch_mean_macro_f1(truth, truth == 1, size) for size in (1, 2, 4)] == [(0.25, 0.25), (0.5, 0.5), (1, 1)]


# --- baselines ----------------------------------------------------------------------------------------------


def test_baselines():
    train = np.array([[1, NAN, 0], [1, 1, NAN], [0, NAN, NAN], [0, NAN, NAN]])
    assert BASELINES["all_zero"](train, 2).tolist() == [[0, 0, 0]] * 2
    assert BASELINES["prevalence"](train, 2).tolist() == [[0.5, 1, 0]] * 2
    assert BASELINES["prevalence"](np.full((2, 1), NAN), 1).tolist() == [[0]]


# --- uncertainty --------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(seed=seeds, unknown=st.sampled_from([0.0, 0.3]))
def test_drawn_average_precision_is_that_of_the_drawn_tracks(seed, unknown):
    truth, probabilities, _ = draw(seed, 25, 1, unknown)
    times = np.random.default_rng(seed).integers(0, 3, (25, 4))
    found = drawn_average_precision(truth[:, 0], probabilities[:, 0], times.astype(np.float32))
    for value, column in zip(found, times.T, strict=True):
        drawn = np.repeat(np.arange(25), column * ~np.isnan(truth[:, 0]))
        if truth[drawn].any():
            expected = sklearn_metrics.average_precision_score(truth[drawn, 0], probabilities[drawn, 0])
            assert value == pytest.approx(expected, abs=1e-6)
        else:
            assert np.isnan(value)


def test_intervals_are_as_wide_as_scores_of_other_samples_vary():
    """The scores of 50 fresh samples from the same source spread as one sample's bootstrap says."""
    fresh = []
    generator = np.random.default_rng(0)
    for _ in range(51):
        truth = (generator.random((150, 3)) < 0.3).astype(float)
        probabilities = special.expit(generator.normal(size=truth.shape) + 2 * truth - 1)
        fresh.append((truth, probabilities, np.full(3, 0.5)))
    intervals, scores = multi_label_intervals(*fresh[0]), [multi_label_scores(*sample) for sample in fresh[1:]]
    for name in ("f1_micro", "f1_macro", "average_precision_macro"):
        low, high = intervals[f"{name}_interval_95"]
        assert low < multi_label_scores(*fresh[0])[name] < high
        assert high - low == pytest.approx(4 * np.std([score[name] for score in scores]), rel=0.25), name


def test_intervals_lie_around_the_score_where_labels_are_rare():
    """Drawn tracks repeat, so the average precision of labels with one or two positives rises with the draws."""
    generator = np.random.default_rng(0)
    truth = (generator.random((200, 800)) < 0.01).astype(float)
    case = truth, generator.random(truth.shape) + 0.3 * truth, np.full(800, 0.5)
    low, high = multi_label_intervals(*case)["average_precision_macro_interval_95"]
    assert (low + high) / 2 == pytest.approx(multi_label_scores(*case)["average_precision_macro"], abs=0.004)


def test_intervals_of_perfect_and_unscorable_systems():
    truth = np.array([[1.0, 0], [0, 1]] * 10)
    assert set(multi_label_intervals(truth, truth, np.full(2, 0.5)).values()) == {(1.0, 1.0)}
    nothing = multi_label_intervals(np.zeros((5, 2)), np.zeros((5, 2)), np.full(2, 0.5))
    assert np.isnan(list(nothing.values())).all()


# --- from clips to tracks -----------------------------------------------------------------------------------

LOGITS, TRACKS = np.array([[0.0, 2], [5, -5], [2, 0], [1, 1]]), np.array([0, 1, 0, 0])


def by_hand(how: str, logits: np.ndarray) -> np.ndarray:
    """[labels] of one track's clips."""
    probabilities = 1 / (1 + np.exp(-logits))
    weights = np.exp(logits) / np.exp(logits).sum(axis=0)
    sums = probabilities.sum(axis=0)
    return {
        "mean": 1 / (1 + np.exp(-logits.mean(axis=0))),
        "mean_probability": probabilities.mean(axis=0),
        "max": probabilities.max(axis=0),
        "normalised_sum": sums / sums.max(),
        "attention": (weights * probabilities).sum(axis=0),
    }[how]


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_aggregation_by_hand_in_any_order_of_clips(how):
    expected = [by_hand(how, LOGITS[[0, 2, 3]]), by_hand(how, LOGITS[[1]])]
    np.testing.assert_allclose(aggregate(LOGITS, TRACKS, how), expected, atol=1e-12)


@given(seed=seeds)
def test_attention_lies_between_mean_and_maximum(seed):
    logits, tracks = np.random.default_rng(seed).normal(size=(12, 3)) * 4, np.repeat([0, 1, 2], 4)
    low, middle, high = (aggregate(logits, tracks, how) for how in ("mean_probability", "attention", "max"))
    assert (low <= middle + 1e-12).all() and (middle <= high + 1e-12).all()


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_extreme_logits_stay_probabilities(how):
    logits = np.float32([[-2000, 2000, -2000], [2000, -2000, -2000], [-2000, -2000, -2000]])
    found = aggregate(logits, np.array([0, 0, 1]), how)
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()


def test_unknown_aggregation_is_named():
    with pytest.raises(ConfigError, match="unknown aggregation 'maximum'.*normalised_sum"):
        aggregate(LOGITS, TRACKS, "maximum")
