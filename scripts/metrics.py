"""Scores with their direction and their uncertainty."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

DRAWS = 10_000  # of the bootstrap
ORDERS = 50  # random orders of a track's clips


@dataclass(frozen=True)
class Metric:
    """A column of the training history that chooses the best epoch, and its direction."""

    name: str
    higher_is_better: bool

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
    "track_accuracy": Metric("validation_track_accuracy", True),
    "clip_accuracy": Metric("validation_clip_accuracy", True),
    "loss": Metric("validation_loss", False),
}


def bootstrap_interval(values: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` [tracks] (Efron and Tibshirani, 1993).

    Tracks are drawn, never clips: clips of one track are not independent.
    """
    values = np.asarray(values, float)
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def per_genre(labels: np.ndarray, predictions: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Precision, recall, F1 and number of tracks of each genre; 0 where nothing was predicted."""
    rows = precision_recall_fscore_support(labels, predictions, labels=range(len(names)), zero_division=0)
    return pd.DataFrame(dict(zip(["precision", "recall", "f1", "tracks"], rows, strict=True)), index=names)


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts [true class, predicted class]."""
    return confusion_matrix(labels, predictions, labels=range(classes))


def accuracy_by_clips(
    logits: np.ndarray, tracks: np.ndarray, labels: np.ndarray, most: int, seed: int = 0
) -> np.ndarray:
    """Track accuracy when only 1, 2, ... `most` clips of each track are averaged.

    Each count is the mean over random orders of the clips; a track with fewer clips uses all it has.

    Parameters
    ----------
    logits : [clips, classes], tracks : [clips], which track each clip is of; labels : [tracks].

    Returns
    -------
    float [most].
    """
    generator, counts = np.random.default_rng(seed), np.bincount(tracks, minlength=len(labels))
    correct = np.zeros(most)
    for _ in range(ORDERS):
        order = np.lexsort((generator.random(len(tracks)), tracks))
        sums = np.cumsum(np.vstack([np.zeros(logits.shape[1]), logits[order]]), axis=0)
        starts = np.cumsum(counts) - counts
        for clips in range(1, most + 1):
            totals = sums[starts + np.minimum(counts, clips)] - sums[starts]
            correct[clips - 1] += np.mean(totals.argmax(1) == labels)
    return correct / ORDERS
