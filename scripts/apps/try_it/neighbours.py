"""The training tracks that a sound is nearest to, by what the network's head is given."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scripts.config.run import Run
from scripts.evaluate import BEST, check_split, tester
from scripts.loading.experiment_data import Data
from scripts.reports.tensorboard import embed_tracks, label_column
from scripts.tables.label_matrix import split_names

EPSILON = 1e-12


@dataclass(frozen=True)
class Neighbours:
    """The embeddings of a run's training tracks.

    Attributes
    ----------
    tracks : one row per track, with `track_id` and `label`, its genre or labels.
    mean : float32 [width], of all of them.
    directions : float32 [tracks, width], where each lies from the mean, of length 1.
    """

    tracks: pd.DataFrame
    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, run: Run) -> "Neighbours":
        """Embed the run's training tracks, from its cache.

        Raises
        ------
        ConfigError, TableError, CacheError, CheckpointError : no such run, or what it was trained on is missing,
            damaged, or now split otherwise.
        """
        experiment = run.experiment()
        data = Data.load(experiment)
        check_split(run, experiment, data)
        loader = data.scoring_loader(experiment, "train")
        tracks = loader.items.tracks
        column = label_column(tracks)
        labels = tracks[["track_id"]].assign(label=[describe_labels(cell, column) for cell in tracks[column]])
        return cls.from_vectors(labels, embed_tracks(tester(run, experiment, BEST)[0], loader))

    @classmethod
    def from_vectors(cls, tracks: pd.DataFrame, vectors: np.ndarray) -> "Neighbours":
        """From embeddings, float [tracks, width]."""
        mean = vectors.mean(axis=0)
        return cls(tracks.reset_index(drop=True), mean, directions(vectors - mean))

    def nearest(self, vector: np.ndarray, count: int = 5) -> pd.DataFrame:
        """The `count` tracks nearest to an embedding [width], the nearest first.

        Returns
        -------
        Columns track_id, label, and similarity: the cosine, as seen from the mean of the training tracks, -1 to 1.
        """
        similarity = self.directions @ directions(vector - self.mean)
        order = np.argsort(-similarity, kind="stable")[:count]
        return self.tracks.iloc[order].assign(similarity=similarity[order]).reset_index(drop=True)


def describe_labels(cell: str, column: str) -> str:
    """In words what stands in a table's column `genre` or `labels`."""
    return " + ".join(split_names(cell)) or "none of the labels" if column == "labels" else cell


def directions(vectors: np.ndarray) -> np.ndarray:
    """[..., width], each divided by its length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), EPSILON)
