"""How far embeddings lie from those of training: what a sound has to stay under to be called by a training label.

The distance is Mahalanobis', from one Gaussian for all classes (K. Lee et al., "A Simple Unified Framework for
Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018, have a mean for each), of standardised
embeddings, with a covariance that is shrunk as O. Ledoit and M. Wolf have it (Journal of Multivariate Analysis 88,
2004), since there are often fewer clips than dimensions.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.model_selection import GroupKFold

DEVIATIONS = 2.5  # of the distances of tracks that were not fitted, above their mean
FOLDS = 5
SMALL = 1e-6  # share of the greatest deviation or variance, below which one is rounding


@dataclass(frozen=True)
class Familiarity:
    """Where training embeddings lie.

    Attributes
    ----------
    mean : float64 [width], of the embeddings.
    whitening : float64 [width, width], such that (x - mean) @ whitening has about unit covariance.
    threshold : the distance that is called 1.
    """

    mean: np.ndarray
    whitening: np.ndarray
    threshold: float = 1.0

    @classmethod
    def fit(cls, embeddings: np.ndarray) -> "Familiarity":
        """Of training clips, [clips, width], of which not all are the same."""
        x = np.asarray(embeddings, np.float64)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.maximum(scale, SMALL * scale.max())
        covariance, _ = ledoit_wolf((x - mean) / scale, assume_centered=True)
        variances, directions = np.linalg.eigh(covariance)
        whitening = directions / np.sqrt(np.maximum(variances, SMALL * variances.max()))
        return cls(mean, whitening / scale[:, None])

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """[clips, width] -> Mahalanobis' distance to the mean, in thresholds, float64 [clips]."""
        white = (np.asarray(embeddings, np.float64) - self.mean) @ self.whitening
        return np.linalg.norm(white, axis=1) / self.threshold

    def with_threshold(self, embeddings: np.ndarray, tracks: np.ndarray) -> "Familiarity":
        """The same, with a threshold from other clips [clips, width] of known kinds, and the track of each."""
        return dataclasses.replace(self, threshold=find_threshold(self.distances(embeddings) * self.threshold, tracks))

    @classmethod
    def fit_in_folds(cls, embeddings: np.ndarray, tracks: np.ndarray) -> "Familiarity":
        """Of training clips [clips, width] and the number of each one's track, of which there are two at least.

        The threshold follows from the distances of tracks that were left out of a fit, in up to five folds.
        """
        distances = np.empty(len(embeddings))
        for rest, left_out in GroupKFold(min(FOLDS, len(np.unique(tracks)))).split(embeddings, groups=tracks):
            distances[left_out] = cls.fit(embeddings[rest]).distances(embeddings[left_out])
        return dataclasses.replace(cls.fit(embeddings), threshold=find_threshold(distances, tracks))

    def as_tensors(self) -> dict[str, torch.Tensor]:
        """For a checkpoint, float32."""
        return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> "Familiarity":
        """What `as_tensors` gave; raises a KeyError or ValueError if something is missing, or no number."""
        mean, whitening, threshold = (tensors[field.name].double().numpy() for field in dataclasses.fields(cls))
        if not all(np.isfinite(value).all() for value in (mean, whitening, threshold)) or threshold <= 0:
            raise ValueError("values that are no numbers")
        return cls(mean, whitening, float(threshold))


def find_threshold(distances: np.ndarray, tracks: np.ndarray) -> float:
    """2.5 deviations above the mean of the tracks' distances, each the mean of its clips'.

    A quantile would be coarse where there are few tracks.
    """
    tracks = np.unique(tracks, return_inverse=True)[1]
    means = np.bincount(tracks, distances) / np.bincount(tracks)
    return float(means.mean() + DEVIATIONS * means.std(ddof=len(means) > 1))


def is_unfamiliar(distance: float | None) -> bool:
    """Whether a file's mean distance over its windows is above the threshold; not where it is None, unknown."""
    return distance is not None and distance > 1
