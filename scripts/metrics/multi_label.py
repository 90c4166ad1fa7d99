"""Scores of systems that give a track several labels, computed once over all tracks (or clips) of a part.

The truth is float [rows, labels] with 1 present, 0 absent and NaN unknown; probabilities are float [rows, labels]; a
label is predicted where its probability reaches its threshold. Unknown entries are left out of every score, and a
label that has no positives among its known entries is left out of the means over labels: it cannot be scored.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, roc_auc_score

from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.metrics.single_label import interval, track_means

SCORES = ["precision", "recall", "f1", "roc_auc", "average_precision"]  # of a label
DRAWS = 400  # of the bootstrap


# --- counts -------------------------------------------------------------------------------------------------


def outcomes(truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """bool [3, rows, labels]: correctly predicted, predicted, and present; all False where the truth is unknown."""
    present, predicted = truth == 1, predictions & ~np.isnan(truth)
    return np.stack([present & predicted, predicted, present])


def f1(hits: np.ndarray, predicted: np.ndarray, present: np.ndarray, *, empty: float = 0.0) -> np.ndarray:
    """F1 from counts of `outcomes`, of any shape; `empty` where nothing is predicted or present."""
    either = predicted + present
    return np.where(either > 0, 2 * hits / np.maximum(either, 1), empty)


def precision_recall_f1(hits: np.ndarray, predicted: np.ndarray, present: np.ndarray) -> np.ndarray:
    """[3, ...] from counts of `outcomes`; NaN where nothing is present, precision 0 where nothing is predicted."""
    scores = [hits / np.maximum(predicted, 1), hits / np.maximum(present, 1), f1(hits, predicted, present)]
    return np.where(present > 0, scores, np.nan)


# --- scores -------------------------------------------------------------------------------------------------


def roc_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Over the known entries of arrays of any shape; NaN unless some are present and some absent."""
    known = ~np.isnan(truth)
    varied = (truth == 1).any() and (truth == 0).any()
    return float(roc_auc_score(truth[known], probabilities[known])) if varied else float("nan")


def average_precision(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the steps of the precision-recall curve of known entries; NaN if none is present, 1 if all are."""
    known = ~np.isnan(truth)
    return float(average_precision_score(truth[known], probabilities[known])) if (truth == 1).any() else float("nan")


def ranking_precision(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """LRAP: how pure the labels ranked at least as high as each of a row's labels are; 1 for a row without labels."""
    ranked = np.where(np.isnan(truth), -1, probabilities)  # the unknown are behind all others
    return float(label_ranking_average_precision_score(truth == 1, ranked))


def per_label(
    truth: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """The scores of each label, in the order of the columns.

    Parameters
    ----------
    truth, probabilities : [rows, labels].
    thresholds : [labels].
    names : of the labels; default: their numbers.

    Returns
    -------
    Index name; columns precision, recall, f1, roc_auc, average_precision (NaN where a label cannot be scored),
    positives, and known, the number of entries that are not unknown.
    """
    counts = outcomes(truth, probabilities >= thresholds).sum(axis=1)
    labels = list(zip(truth.T, probabilities.T, strict=True))
    ranking = [[roc_auc(*label) for label in labels], [average_precision(*label) for label in labels]]
    table = pd.DataFrame([*precision_recall_f1(*counts), *ranking], SCORES, names).T
    return table.assign(positives=counts[2], known=(~np.isnan(truth)).sum(axis=0))


def multi_label_scores(truth: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> dict[str, Any]:
    """All scores of a part, as a report holds them: those of SCORES micro and macro, and others. NaN if undefined.

    mAP, which is the macro PR-AUC, is `average_precision_macro`. A row without labels for which none is predicted
    has an F1 of 1 among the samples. Rows of which nothing is known are left out.

    Parameters
    ----------
    truth, probabilities : [rows, labels].
    thresholds : [labels].

    Raises
    ------
    TableError : no row has a known label.
    """
    annotated = ~np.isnan(truth).all(axis=1)
    if not annotated.any():
        raise TableError("no track of this part has a known label; give `labels` or `absent` of some")
    truth, probabilities = truth[annotated], probabilities[annotated]
    known, predictions = ~np.isnan(truth), probabilities >= thresholds
    counts, correct = outcomes(truth, predictions), (predictions == truth) | ~known
    table = per_label(truth, probabilities, thresholds)
    macro, micro = table[SCORES].mean(), dict(zip(SCORES, precision_recall_f1(*counts.sum(axis=(1, 2))), strict=False))
    micro |= {"roc_auc": roc_auc(truth, probabilities), "average_precision": average_precision(truth, probabilities)}
    return {
        **{f"{name}_micro": float(micro[name]) for name in SCORES},
        **{f"{name}_macro": float(macro[name]) for name in SCORES},
        "f1_samples": float(f1(*counts.sum(axis=2), empty=1).mean()),
        "hamming_accuracy": float(correct[known].mean()),
        "subset_accuracy": float(correct.all(axis=1).mean()),
        "ranking_average_precision": ranking_precision(truth, probabilities),
        "labels_scored": int((table["positives"] > 0).sum()),
        "labels_without_positives": int((table["positives"] == 0).sum()),
        "labels_without_negatives": int((table["positives"] == table["known"]).sum()),
    }


def batch_mean_macro_f1(truth: np.ndarray, predictions: np.ndarray, batch_size: int) -> tuple[float, float]:
    """The mean over batches of macro F1, where a label that is not in a batch counts 0; for comparison only.

    It depends on the batch size and on the order of the rows. torchmetrics 0.11.4 gives it for a batch, and Lightning
    averages it over batches; published instrument scores were measured so.

    Returns
    -------
    That of the predictions, bool [rows, labels], and the greatest there can be: that of a perfect predictor.
    """
    starts = np.arange(0, len(truth), batch_size)
    pair = [outcomes(truth, guess).astype(int) for guess in (predictions, truth == 1)]
    own, perfect = (float(f1(*np.add.reduceat(counts, starts, axis=1)).mean()) for counts in pair)
    return own, perfect


# --- baselines ----------------------------------------------------------------------------------------------


def all_zero(train: np.ndarray, rows: int) -> np.ndarray:
    """No label at all: probabilities [rows, labels]."""
    return np.zeros((rows, train.shape[1]))


def prevalence(train: np.ndarray, rows: int) -> np.ndarray:
    """The share of the known training entries [tracks, labels] that have each label: probabilities [rows, labels]."""
    shares = (train == 1).sum(axis=0) / np.maximum((~np.isnan(train)).sum(axis=0), 1)
    return np.tile(shares, (rows, 1))


BASELINES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"all_zero": all_zero, "prevalence": prevalence}


# --- uncertainty --------------------------------------------------------------------------------------------


def multi_label_intervals(
    truth: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals over tracks of macro F1, micro F1 and mAP, see `multi_label_draws`."""
    draws = multi_label_draws(truth, probabilities, thresholds, seed)
    return {f"{name}_interval_95": centred_interval(scores) for name, scores in draws.items()}


def multi_label_draws(
    truth: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """Micro F1, macro F1 and mAP, each float [1 + draws]: of the tracks, then of bootstrap draws of as many of them.

    The draws are the same for any system that is tested on as many tracks. In each draw those labels count that have
    positives in it.
    """
    tracks = len(truth)
    draws = np.random.default_rng(seed).multinomial(tracks, np.full(tracks, 1 / tracks), DRAWS)
    times = np.vstack([np.ones(tracks), draws]).astype(np.float32)  # first of all, each track once
    counts = np.stack([times @ part.astype(np.float32) for part in outcomes(truth, probabilities >= thresholds)])
    labels, drawn = zip(truth.T, probabilities.T, strict=True), np.ascontiguousarray(times.T)
    precisions = np.stack([drawn_average_precision(*label, drawn) for label in labels], axis=1)
    return {
        "f1_micro": precision_recall_f1(*counts.sum(axis=2, dtype=float))[2],
        "f1_macro": mean_of_known(precision_recall_f1(*counts)[2]),
        "average_precision_macro": mean_of_known(precisions),
    }


def drawn_average_precision(truth: np.ndarray, probabilities: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Average precision of one label [tracks] in each draw; `times` [tracks, draws] says how often a track is drawn.

    Precision is looked at only where a positive is found, so rare labels take little time.
    """
    falling = np.where(np.isnan(truth), np.inf, -probabilities)  # the unknown are behind all others
    order = np.argsort(falling)
    falling, positives = falling[order], np.flatnonzero(truth[order] == 1)
    if not len(positives):
        return np.full(times.shape[1], np.nan)
    ends = np.unique(np.searchsorted(falling, falling[positives], side="right"))  # equal probabilities go together
    starts = np.concatenate([[0], ends[:-1]])
    reached = np.add.reduceat(times[order[: ends[-1]]], starts).cumsum(axis=0)
    found = np.add.reduceat(times[order[positives]], np.searchsorted(positives, starts))
    weighted, total = (found * found.cumsum(axis=0) / np.maximum(reached, 1)).sum(axis=0), found.sum(axis=0)
    return np.where(total > 0, weighted / np.maximum(total, 1), np.nan)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """The mean of each row without its NaNs; NaN if it has no more."""
    return pd.DataFrame(values).mean(axis=1).to_numpy()


def centred_interval(scores: np.ndarray, minimum: float = 0.0) -> tuple[float, float]:
    """Percentile interval, within `minimum` to 1, of draws moved so that their mean is the score, which comes first.

    In a draw tracks repeat, which lifts the average precision of rare labels above that of the tracks themselves.
    """
    score, draws = scores[0], scores[1:][~np.isnan(scores[1:])]
    low, high = interval(draws - draws.mean() + score) if len(draws) else (np.nan, np.nan)
    return float(np.clip(low, minimum, 1)), float(np.clip(high, minimum, 1))


# --- from clips to tracks -----------------------------------------------------------------------------------


def mean_logit(logits: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """The probability of the mean logit."""
    return expit(track_means(logits, tracks))


def mean_probability(logits: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    return track_means(expit(logits), tracks)


def track_maxima(values: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """The greatest of each track's clips: [clips, labels] -> [tracks, labels]."""
    result = np.full((tracks.max() + 1, values.shape[1]), -np.inf)
    np.maximum.at(result, tracks, values)
    return result


def maximum(logits: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """The probability of the surest clip of each label."""
    return expit(track_maxima(logits, tracks))


def normalised_sum(logits: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """The sum over clips, divided by that of the likeliest label, which gets 1 (Han, Kim and Lee, 2016)."""
    sums = track_means(expit(logits), tracks)
    return sums / np.maximum(sums.max(axis=1, keepdims=True), np.finfo(float).tiny)


def attention(logits: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """The mean of the probabilities, each clip weighing as much as the softmax of its logit over the clips says."""
    weights = np.exp(logits - track_maxima(logits, tracks)[tracks])
    return track_means(weights * expit(logits), tracks) / track_means(weights, tracks)


AGGREGATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": mean_logit,
    "mean_probability": mean_probability,
    "max": maximum,
    "normalised_sum": normalised_sum,
    "attention": attention,
}


def aggregate(clip_logits: np.ndarray, tracks: np.ndarray, method: str) -> np.ndarray:
    """Probabilities [tracks, labels] of tracks from the logits [clips, labels] of their clips.

    Parameters
    ----------
    clip_logits : [clips, labels].
    tracks : int [clips], the track 0, 1, ... of each clip.
    method : a name in AGGREGATIONS.

    Raises
    ------
    ConfigError : an unknown name.
    """
    return AGGREGATIONS[pick("aggregation", method, AGGREGATIONS)](np.asarray(clip_logits, float), tracks)
