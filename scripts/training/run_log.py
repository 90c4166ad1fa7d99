"""A run's curves for TensorBoard, and its line on the screen after each epoch."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from scripts.common.cli import require
from scripts.common.errors import ConfigError
from scripts.metrics.test_scores import Scores

TAGS = {
    "train/epoch_loss": "train_loss",
    "train/epoch_accuracy": "train_clip_accuracy",
    "train/learning_rate": "learning_rate",
    "train/samples_per_second": "samples_per_second",
}  # where a column of the history is shown; those of the validation go below validation/
VALIDATION = "validation_"


class RunLog:
    """Writes event files below `folder`; None writes nothing."""

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = folder
        self.writer: SummaryWriter | None = None

    def open(self, config_text: str = "", steps: int = 0) -> None:
        """Begin, or go on after so many steps; `config_text` is Markdown for the page of texts."""
        if self.folder is None:
            return
        self.writer = SummaryWriter(self.folder, purge_step=steps + 1 if steps else None, flush_secs=5)
        if config_text:
            self.writer.add_text("config", config_text)

    def add(self, values: dict[str, float], step: int) -> None:
        if self.writer:
            for tag, value in values.items():
                self.writer.add_scalar(tag, value, step)

    def add_epoch(self, row: dict[str, float]) -> None:
        """A row of the training history."""
        values = {tag: row[column] for tag, column in TAGS.items() if column in row}
        values |= {f"validation/{name}": value for name, value in validation(row).items()}
        self.add(values, int(row["epoch"]))

    def add_test(self, scores: Scores, epoch: int, figures: dict[str, Figure]) -> None:
        """The final test: test/loss, test/accuracy (per track) or test/macro_f1 and so on, and figures by name."""
        self.open()
        values = scores.as_row()
        if "track_accuracy" in values:
            values["accuracy"] = values.pop("track_accuracy")
        self.add({f"test/{name}": value for name, value in values.items()}, epoch)
        if self.writer:
            for name, figure in figures.items():
                self.writer.add_figure(f"test/{name}", figure, epoch)
        self.close()

    def close(self) -> None:
        if self.writer:
            self.writer.close()
            self.writer = None


@contextlib.contextmanager
def mirrored(mode: str, name: str, folder: Path, settings: dict[str, Any]) -> Iterator[None]:
    """Send what TensorBoard is shown meanwhile to Weights & Biases, too, as a run of the project `audio`.

    Parameters
    ----------
    mode : "online"; or "offline", which writes below `folder`/wandb what `wandb sync` sends later.
    name, settings : of the run.
    folder : of all runs.

    Raises
    ------
    ConfigError : the package is missing, or there is no way to the server.
    """
    require("wandb", what=f"wandb={mode}")
    import wandb

    try:
        mirror = wandb.init(project="audio", name=name, dir=folder, mode=mode, config=settings, sync_tensorboard=True)
    except wandb.Error as error:
        raise ConfigError(f"wandb={mode}: {error}; log in with `wandb login`, or set wandb=offline") from None
    with mirror:
        yield


def validation(row: dict[str, float]) -> dict[str, float]:
    """The scores of the validation in a row of the history, by their plain names."""
    return {name.removeprefix(VALIDATION): value for name, value in row.items() if name.startswith(VALIDATION)}


def describe_epoch(row: dict[str, float], improved: bool) -> str:
    """One line for the screen."""
    parts = [f"epoch {row['epoch']:3d}  train loss {row['train_loss']:.3f}"]
    if "train_clip_accuracy" in row:
        parts[0] += f"  clip {row['train_clip_accuracy']:.3f}"
    scores = "  ".join(f"{short(name)} {value:.3f}" for name, value in validation(row).items())
    parts += [f"validation {scores}"] if scores else []
    parts.append(f"{row['samples_per_second']:.0f} samples/s{'  best' if improved else ''}")
    return "  |  ".join(parts)


def short(name: str) -> str:
    return name.removesuffix("_accuracy").replace("mean_average_precision", "mAP").replace("_", " ")
