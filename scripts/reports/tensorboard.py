"""What TensorBoard shows beside curves: a run's settings with its scores, its embeddings, its mistakes to listen to."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from scripts.audio.decoding import decode
from scripts.common.errors import AudioError
from scripts.common.machine import in_float32
from scripts.config.experiment import Experiment
from scripts.loading.loader import Loader
from scripts.metrics.test_scores import Scores, TagScores
from scripts.tables.label_matrix import join
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table
from scripts.trainer import Trainer

MISTAKES = 8
HEADLINES = ("clip_accuracy", "macro_f1", "f1_macro", "f1_micro", "average_precision_macro")
LISTENING_RATE = 22_050  # Hz
OF_THE_MACHINE = {"cache", "device", "precision", "threads"}  # settings that no score should depend on


class Board:
    """Writes into a run's log; a context manager, since the log is complete once it is closed.

    Parameters
    ----------
    log_dir : folder of the run's event files.
    epoch : the step that everything is logged at.
    """

    def __init__(self, log_dir: Path, epoch: int) -> None:
        self.log_dir, self.epoch = Path(log_dir), epoch
        self.writer = SummaryWriter(log_dir)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def add_settings(self, experiment: Experiment, summary: dict[str, Any]) -> None:
        """One row for the run in the table of hyperparameters, with the final scores of its test."""
        scores = {f"test/{name}": summary[name] for name in HEADLINES if name in summary}
        if "track_accuracy" in summary:
            scores |= {"test/accuracy": summary["track_accuracy"], "test/ece": summary["calibration"]["ece"]}
        for part in hparams(main_settings(experiment) | {"split": summary["split"]}, scores):
            self.writer.file_writer.add_summary(part)
        for tag, value in scores.items():
            self.writer.add_scalar(tag, value, self.epoch)

    def add_embeddings(self, trainer: Trainer, loader: Loader) -> None:
        """The embedding of each track, the mean over its clips, with its id and genre or labels, for the projector."""
        shutil.rmtree(self.log_dir / f"{self.epoch:05d}", ignore_errors=True)  # of an earlier call
        said = said_of(loader.items.tracks)
        tracks = loader.items.tracks[["track_id", said]]
        vectors = embed_tracks(trainer, loader)
        self.writer.add_embedding(vectors, tracks.to_numpy().tolist(), None, self.epoch, "test_tracks", ["track", said])

    def add_mistakes(
        self, scores: Scores | TagScores, tracks: pd.DataFrame, names: list[str], experiment: Experiment
    ) -> tuple[int, int]:
        """The audio of the worst mistakes, at most `MISTAKES`: those it is surest of, or with the most wrong labels.

        Returns
        -------
        How many of them could be decoded from the `file_path` of the experiment's table, and how many there are.
        """
        paths = file_paths(experiment.table)
        chosen, heard = surest_mistakes(scores), 0
        for rank, number in enumerate(chosen, 1):
            track = tracks.iloc[number]
            guess = said_by(scores, number, names)
            told = f"{track[said_of(tracks)]}, taken for {guess}, track {track['track_id']}"
            heard += self.add_audio(f"mistakes/{rank} {told}", paths.get(track["track_id"], ""), experiment)
        return heard, len(chosen)

    def add_audio(self, tag: str, path: str, experiment: Experiment) -> bool:
        """Log a file as mono; False if it cannot be decoded."""
        try:
            samples = decode(path, LISTENING_RATE, experiment.spec.track_seconds)
        except AudioError:
            return False
        self.writer.add_audio(tag, torch.from_numpy(samples)[None], self.epoch, LISTENING_RATE)
        return True


def main_settings(experiment: Experiment) -> dict[str, int | float | str]:
    """The settings of a run as the table of hyperparameters wants them: numbers stay, all else becomes text."""
    numeric = {entry.name for entry in dataclasses.fields(experiment) if entry.type in (int, float)}
    values = {name: value for name, value in experiment.as_dict().items() if name not in OF_THE_MACHINE}
    return {name: value if name in numeric else as_text(value) for name, value in values.items()}


def as_text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={inner}" for name, inner in value.items())
    return str(value)


@torch.inference_mode()
def embed_tracks(trainer: Trainer, loader: Loader) -> np.ndarray:
    """The mean of `model.embed` over each track's clips: float32 [tracks, width]."""
    trainer.model.eval()
    sums, counts = None, np.zeros(len(loader.items.tracks))
    for x, _, track in trainer.batches(loader, 0, "embed"):
        with in_float32(trainer.device):
            vectors = trainer.model.embed(trainer.place(x)).float().cpu().numpy()
        sums = np.zeros((len(counts), vectors.shape[1])) if sums is None else sums
        np.add.at(sums, track.cpu().numpy(), vectors)
        np.add.at(counts, track.cpu().numpy(), 1)
    return (sums / counts[:, None]).astype(np.float32)


def said_of(tracks: pd.DataFrame) -> str:
    """The column with what a table says of its tracks."""
    return "labels" if "labels" in tracks else "genre"


def said_by(scores: Scores | TagScores, number: int, names: list[str]) -> str:
    """The class or labels that a network finds in a track."""
    if isinstance(scores, Scores):
        return names[scores.predictions[number]]
    return join(name for name, logit in zip(names, scores.logits[number], strict=True) if logit >= 0)


def surest_mistakes(scores: Scores | TagScores, most: int = MISTAKES) -> list[int]:
    """Positions of the wrongly classified tracks, the one with the highest probability, or most wrong labels, first."""
    if isinstance(scores, TagScores):
        errors = ((scores.logits >= 0) != scores.labels) & ~np.isnan(scores.labels)
        worst = np.argsort(-errors.sum(axis=1), kind="stable")[:most]
        return [int(number) for number in worst if errors[number].any()]
    wrong = np.flatnonzero(scores.predictions != scores.labels)
    sureness = softmax(scores.logits[wrong], axis=1).max(axis=1)
    return wrong[np.argsort(-sureness, kind="stable")][:most].tolist()


def file_paths(table: str | Path) -> dict[str, str]:
    """The audio file of each track of a metadata table."""
    rows = read_table(table, NEEDED_TO_CACHE).drop_duplicates("track_id")
    return dict(zip(rows["track_id"], rows["file_path"], strict=True))
