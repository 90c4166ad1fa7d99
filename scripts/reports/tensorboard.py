"""What TensorBoard shows beside curves: a run's settings with its scores, its embeddings, the audio of its mistakes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from scripts.audio.decoding import cut_excerpt, decode
from scripts.common.errors import AudioError
from scripts.common.machine import in_float32
from scripts.config.experiment import Experiment, flat
from scripts.loading.loader import Loader
from scripts.metrics.test_scores import MultiLabelScores, Scores, SingleLabelScores
from scripts.tables.label_matrix import join
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table
from scripts.trainer import Trainer

MISTAKES = 8
HEADLINES = ("clip_accuracy", "macro_f1", "f1_macro", "f1_micro", "average_precision_macro")
AUDIO_RATE = 22_050  # Hz
OF_THE_MACHINE = {"data.cache", "training.device", "training.precision", "training.threads"}  # no score depends on them


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
        settings = {
            name: value if type(value) in (int, float) else str(value)  # what the table of hyperparameters can show
            for name, value in flat(experiment.as_dict()).items()
            if name not in OF_THE_MACHINE
        }
        for part in hparams(settings | {"split": summary["split"]}, scores):
            self.writer.file_writer.add_summary(part)  # type: ignore[attr-defined]
        for tag, value in scores.items():
            self.writer.add_scalar(tag, value, self.epoch)

    def add_embeddings(self, trainer: Trainer, loader: Loader) -> None:
        """The embedding of each track, the mean over its clips, with its id and genre or labels, for the projector."""
        shutil.rmtree(self.log_dir / f"{self.epoch:05d}", ignore_errors=True)  # of an earlier call
        column = label_column(loader.items.tracks)
        rows = loader.items.tracks[["track_id", column]].to_numpy().tolist()
        vectors = embed_tracks(trainer, loader)
        self.writer.add_embedding(vectors, rows, None, self.epoch, "test_tracks", ["track", column])

    def add_mistakes(
        self, scores: Scores, tracks: pd.DataFrame, names: list[str], experiment: Experiment
    ) -> tuple[int, int]:
        """The audio of the worst mistakes, at most `MISTAKES`: those it is surest of, or with the most wrong labels.

        Returns
        -------
        How many of them could be decoded from the `file_path` of the experiment's table, and how many there are.
        """
        paths = file_paths(experiment.data.table)
        chosen, decoded = surest_mistakes(scores), 0
        for rank, number in enumerate(chosen, 1):
            track = tracks.iloc[number]
            predicted = predicted_label(scores, number, names)
            title = f"{track[label_column(tracks)]}, taken for {predicted}, track {track['track_id']}"
            decoded += self.add_audio(f"mistakes/{rank} {title}", paths.get(track["track_id"], ""), experiment)
        return decoded, len(chosen)

    def add_audio(self, tag: str, path: str, experiment: Experiment) -> bool:
        """Log a file as mono; False if it cannot be decoded."""
        try:
            spec = experiment.features.spec
            samples = cut_excerpt(decode(path, AUDIO_RATE, spec.decoded_seconds), spec, AUDIO_RATE)
        except AudioError:
            return False
        self.writer.add_audio(tag, torch.from_numpy(samples)[None], self.epoch, AUDIO_RATE)
        return True


@torch.inference_mode()
def embed_tracks(trainer: Trainer, loader: Loader) -> np.ndarray:
    """The mean of `model.embed` over each track's clips: float32 [tracks, width]."""
    trainer.model.eval()
    sums, counts = np.zeros(0), np.zeros(len(loader.items.tracks))
    for x, _, track in trainer.batches(loader, 0, "embed"):
        with in_float32(trainer.device):
            vectors = trainer.model.embed(trainer.place(x)).float().cpu().numpy()
        sums = sums if sums.size else np.zeros((len(counts), vectors.shape[1]))
        np.add.at(sums, track.cpu().numpy(), vectors)
        np.add.at(counts, track.cpu().numpy(), 1)
    return (sums / counts[:, None]).astype(np.float32)


def label_column(tracks: pd.DataFrame) -> str:
    """The column of a table that has its tracks' labels."""
    return "labels" if "labels" in tracks else "genre"


def predicted_label(scores: Scores, number: int, names: list[str]) -> str:
    """The genre or labels that a network predicts for the track of that number."""
    if isinstance(scores, SingleLabelScores):
        return names[scores.predictions[number]]
    return join(name for name, logit in zip(names, scores.logits[number], strict=True) if logit >= 0)


def surest_mistakes(scores: Scores, count: int = MISTAKES) -> list[int]:
    """Numbers of the misclassified tracks, those with the highest probability, or the most wrong labels, first."""
    if isinstance(scores, MultiLabelScores):
        errors = ((scores.logits >= 0) != scores.labels) & ~np.isnan(scores.labels)
        worst = np.argsort(-errors.sum(axis=1), kind="stable")[:count]
        return [int(number) for number in worst if errors[number].any()]
    wrong = np.flatnonzero(scores.predictions != scores.labels)
    sureness = softmax(scores.logits[wrong], axis=1).max(axis=1)
    return wrong[np.argsort(-sureness, kind="stable")][:count].tolist()


def file_paths(table: str | Path) -> dict[str, str]:
    """The audio file of each track of a metadata table."""
    rows = read_table(table, NEEDED_TO_CACHE).drop_duplicates("track_id")
    return dict(zip(rows["track_id"], rows["file_path"], strict=True))
