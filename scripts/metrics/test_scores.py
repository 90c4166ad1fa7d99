"""What a test found: the logits of clips and tracks, and the first scores of them."""

from dataclasses import dataclass

import numpy as np

from scripts.metrics.multi_label import average_precision, outcomes, precision_recall_f1


@dataclass(frozen=True)
class SingleLabelScores:
    """The outcome of a test with one label a track.

    Attributes
    ----------
    loss : the criterion on the tracks' mean logits.
    clip_accuracy, track_accuracy : scored per clip, and after averaging a track's clip logits.
    clip_logits : float32 [clips, classes]; clip_tracks : int64 [clips], the track of each.
    logits : float64 [tracks, classes], means; labels : int64 [tracks].
    """

    loss: float
    clip_accuracy: float
    track_accuracy: float
    clip_logits: np.ndarray
    clip_tracks: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """int64 [tracks]."""
        return self.logits.argmax(1)

    def as_row(self) -> dict[str, float]:
        """The numbers of a row of the training history."""
        return {"loss": self.loss, "clip_accuracy": self.clip_accuracy, "track_accuracy": self.track_accuracy}


@dataclass(frozen=True)
class MultiLabelScores:
    """The outcome of a test with several labels a track; entries that are unknown count nowhere.

    Attributes
    ----------
    loss : the criterion on the tracks' mean logits.
    macro_f1, mean_average_precision : over tracks, means over the labels that can be scored; F1 at a
        probability of 1/2.
    clip_logits : float32 [clips, labels]; clip_tracks : int64 [clips], the track of each.
    logits : float64 [tracks, labels], means; labels : float32 [tracks, labels], 1, 0 or NaN.
    """

    loss: float
    macro_f1: float
    mean_average_precision: float
    clip_logits: np.ndarray
    clip_tracks: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    def as_row(self) -> dict[str, float]:
        """The numbers of a row of the training history."""
        return {
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "mean_average_precision": self.mean_average_precision,
        }


Scores = SingleLabelScores | MultiLabelScores


def make_scores(
    loss: float,
    clip_logits: np.ndarray,
    clip_labels: np.ndarray,
    clip_tracks: np.ndarray,
    means: np.ndarray,
    labels: np.ndarray,
) -> Scores:
    """The scores that suit the labels: class numbers [tracks], or a matrix [tracks, labels]."""
    if labels.ndim == 2:
        return MultiLabelScores(loss, *mean_over_labels(labels, means), clip_logits, clip_tracks, means, labels)
    clip_accuracy = float(np.mean(clip_logits.argmax(1) == clip_labels))
    track_accuracy = float(np.mean(means.argmax(1) == labels))
    return SingleLabelScores(loss, clip_accuracy, track_accuracy, clip_logits, clip_tracks, means, labels)


def mean_over_labels(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Macro F1 at a probability of 1/2 and mean average precision over the labels with a known positive, or 0."""
    f1 = precision_recall_f1(*outcomes(labels, logits >= 0).sum(axis=1))[2]
    precisions = [average_precision(truth, values) for truth, values in zip(labels.T, logits.T, strict=True)]
    scored = ~np.isnan(f1)
    macro, mean = (float(np.mean(np.asarray(values)[scored])) if scored.any() else 0.0 for values in (f1, precisions))
    return macro, mean
