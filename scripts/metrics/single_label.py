"""Scores with their direction and their uncertainty."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

DRAWS = 10_000  # of the bootstrap
ORDERS = 50  # random orders of a track's clips


@dataclass(frozen=True)
class Metric:
    """A column of the training history that chooses the best epoch, its direction, and the tasks that have it."""

    name: str
    higher_is_better: bool
    tasks: tuple[str, ...] = ("single_label", "multi_label")

    @property
    def mode(self) -> str:
        """As torch's plateau scheduler wants it."""
        return "max" if self.higher_is_better else "min"

    @property
    def worst(self) -> float:
        return float("-inf") if self.higher_is_better else float("inf")

    def improves(self, value: float, best: float) -> bool:
        return value > best if self.higher_is_better else value < best


METRICS = {
    "track_accuracy": Metric("validation_track_accuracy", True, ("single_label",)),
    "clip_accuracy": Metric("validation_clip_accuracy", True, ("single_label",)),
    "macro_f1": Metric("validation_macro_f1", True, ("multi_label",)),
    "mean_average_precision": Metric("validation_mean_average_precision", True, ("multi_label",)),
    "loss": Metric("validation_loss", False),
    "last": Metric("epoch", True),
}


# --- scores -------------------------------------------------------------------------------------------------


def per_genre(labels: np.ndarray, predictions: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Precision, recall, F1 and number of tracks of each genre; 0 where nothing was predicted.

    Parameters
    ----------
    labels, predictions : int [tracks], class numbers.
    names : of the classes, by their numbers.
    """
    rows = precision_recall_fscore_support(labels, predictions, labels=range(len(names)), zero_division=0)
    return pd.DataFrame(dict(zip(["precision", "recall", "f1", "tracks"], rows, strict=True)), index=names)


def macro_f1(table: pd.DataFrame) -> float:
    """The mean F1 of the genres that have tracks in a table of `per_genre`; the others cannot be scored."""
    return float(table.loc[table["tracks"] > 0, "f1"].mean())


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """How often each label, int [tracks], got each prediction, int [tracks]: int [true class, predicted class]."""
    return confusion_matrix(labels, predictions, labels=range(classes))


def track_means(values: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """The mean over each track's clips: [clips, classes], and the track 0, 1, ... of each clip -> [tracks, classes]."""
    sums = np.zeros((tracks.max() + 1, values.shape[1]))
    np.add.at(sums, tracks, values)
    return sums / np.bincount(tracks)[:, None]


def correct_by_clips(
    logits: np.ndarray, tracks: np.ndarray, labels: np.ndarray, max_clips: int, seed: int = 0
) -> np.ndarray:
    """How often each track is correct when 1, 2, ... `max_clips` of its clips are averaged, over random orders of them.

    A track with fewer clips uses all it has. The mean over tracks is the track accuracy by number of clips.

    Parameters
    ----------
    logits : [clips, classes].
    tracks : [clips], which track each clip is of.
    labels : [tracks].
    max_clips : the greatest number of clips.
    seed : of the orders.

    Returns
    -------
    float [tracks, max_clips], each the share of the orders.
    """
    generator, counts = np.random.default_rng(seed), np.bincount(tracks, minlength=len(labels))
    correct, starts = np.zeros((len(labels), max_clips)), np.cumsum(counts) - counts
    for _ in range(ORDERS):
        order = np.lexsort((generator.random(len(tracks)), tracks))
        sums = np.cumsum(np.vstack([np.zeros(logits.shape[1]), logits[order]]), axis=0)
        for clips in range(1, max_clips + 1):
            totals = sums[starts + np.minimum(counts, clips)] - sums[starts]
            correct[:, clips - 1] += totals.argmax(1) == labels
    return correct / ORDERS


# --- uncertainty --------------------------------------------------------------------------------------------


def resampled_sums(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Sums over tracks drawn with replacement, as many as there are: [tracks, ...] -> float [DRAWS, ...].

    Tracks are drawn, never clips: clips of one track are not independent. All columns see the same draws, so
    differences between them are paired.
    """
    values, generator = np.asarray(values, float), np.random.default_rng(seed)
    tracks = len(values)
    draws = (np.bincount(generator.integers(0, tracks, tracks), minlength=tracks) for _ in range(DRAWS))
    return np.stack([times @ values for times in draws])


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap draws (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(values: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` [tracks]."""
    return interval(resampled_sums(values, seed) / len(values), level)


def accuracy_intervals(correct: np.ndarray, hits: np.ndarray, clips: np.ndarray, curve: np.ndarray) -> dict[str, Any]:
    """95 % bootstrap intervals over tracks, all from the same draws, as a report holds them.

    Of track accuracy, clip accuracy, what averaging gains (their difference), and accuracy by number of clips.

    Parameters
    ----------
    correct : bool [tracks], whether the mean of the clips is correct.
    hits, clips : int [tracks], how many of a track's clips are correct, and how many it has.
    curve : [tracks, max_clips], see `correct_by_clips`.
    """
    sums = resampled_sums(np.column_stack([correct, hits, clips, curve]))
    track, clip, by_clips = sums[:, 0] / len(correct), sums[:, 1] / sums[:, 2], sums[:, 3:] / len(correct)
    return {
        "track_accuracy_interval_95": interval(track),
        "clip_accuracy_interval_95": interval(clip),
        "gain_over_clips_interval_95": interval(track - clip),
        "accuracy_by_clips_intervals_95": [interval(draws) for draws in by_clips.T],
    }


# --- two systems on the same tracks -------------------------------------------------------------------------


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p of McNemar's exact test that two systems are equally good.

    Only the tracks count on which one is correct and the other is not (Q. McNemar, Psychometrika 12, 1947; Dietterich,
    Neural Computation 10, 1998, section 3.1). Without any, p is 1.

    Parameters
    ----------
    first, second : bool [tracks], whether each system is correct on a track.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    only_first, differing = int((first & ~second).sum()), int((first != second).sum())
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0
