"""A run's report: test.json, predictions.csv, and figures."""

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.hardware import describe
from scripts.metrics import accuracy_by_clips, bootstrap_interval, confusion, per_genre
from scripts.storage import write_csv, write_json
from scripts.trainer import Scores
from scripts.utils import visualisation
from scripts.utils.data_loading import Items


def summarise(scores: Scores, items: Items, train: Items, names: list[str], left_out: pd.DataFrame) -> dict:
    """All numbers of a test.

    Parameters
    ----------
    scores, items : the outcome, and the items of the part that was scored.
    train : the training items, for the majority baseline.
    names : of the classes.
    left_out : the tracks of this part that the cache could not use, with `status`.
    """
    correct = scores.predictions == scores.labels
    majority = np.bincount(train.tracks["class"], minlength=len(names)).argmax()
    most = int(items.tracks["items"].max())
    by_clips = accuracy_by_clips(scores.clip_logits, scores.clip_tracks, scores.labels, most)
    return {
        "tracks": len(scores.labels),
        "items": len(items),
        "left_out": left_out["status"].value_counts().to_dict(),
        "clip_accuracy": scores.clip_accuracy,
        "track_accuracy": scores.track_accuracy,
        "track_accuracy_interval_95": bootstrap_interval(correct),
        "loss": scores.loss,
        "chance": 1 / len(names),
        "majority": float(np.mean(scores.labels == majority)),
        "accuracy_by_clips": by_clips.tolist(),
        "per_genre": per_genre(scores.labels, scores.predictions, names).round(4).to_dict("index"),
        "confusion": confusion(scores.labels, scores.predictions, len(names)).tolist(),
    }


def predictions_table(scores: Scores, items: Items, names: list[str]) -> pd.DataFrame:
    """One row per track: its id, clips, genre, predicted genre and the probability of each genre."""
    probabilities = softmax(scores.logits)
    table = items.tracks[["track_id", "items", "genre"]].rename(columns={"items": "clips"})
    table["predicted"] = [names[number] for number in scores.predictions]
    return table.join(pd.DataFrame(probabilities, columns=[f"p_{name}" for name in names]).round(6))


def softmax(logits: np.ndarray) -> np.ndarray:
    """[..., classes] -> probabilities."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def write_report(folder: Path, facts: dict, summary: dict, predictions: pd.DataFrame, names: list[str]) -> None:
    """Write test.json, predictions.csv and the figures of a run.

    `facts` says what the numbers are of: run, split and its fingerprint, seed, best epoch.
    """
    write_csv(folder / "predictions.csv", predictions)
    for name, figure in draw(folder, summary, names).items():
        visualisation.save(figure, folder / f"{name}.png")
    write_json(folder / "test.json", facts | summary | {"machine": describe()})


def draw(folder: Path, summary: dict, names: list[str]) -> dict:
    """The figures of a report, by file name."""
    figures = {
        "confusion_matrix": visualisation.confusion_matrix(np.array(summary["confusion"]), names),
        "f1_per_genre": visualisation.f1_per_genre(pd.DataFrame(summary["per_genre"]).T),
    }
    if (folder / "metrics.csv").is_file():
        history = {folder.name: pd.read_csv(folder / "metrics.csv")}
        figures["training_curves"] = visualisation.training_curves(history, summary["chance"])
    if len(summary["accuracy_by_clips"]) > 1:
        figures["accuracy_by_clips"] = visualisation.accuracy_by_clips({folder.name: summary["accuracy_by_clips"]})
    return figures


def describe_summary(summary: dict) -> str:
    """The scores in two lines for the screen."""
    low, high = summary["track_accuracy_interval_95"]
    left_out = ", ".join(f"{count} {status}" for status, count in summary["left_out"].items()) or "none"
    return (
        f"track accuracy {summary['track_accuracy']:.3f} "
        f"(95 % interval {low:.3f}-{high:.3f}, {summary['tracks']} tracks)"
        f"   clip accuracy {summary['clip_accuracy']:.3f} ({summary['items']} items)\n"
        f"chance {summary['chance']:.3f}   majority {summary['majority']:.3f}   left out: {left_out}"
    )
