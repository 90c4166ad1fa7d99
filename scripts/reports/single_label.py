"""A run's report: test.json, predictions.csv, and figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from scripts.common.errors import TrainingError
from scripts.common.machine import describe
from scripts.common.plotting import save
from scripts.common.storage import write_csv, write_json
from scripts.loading.loader import Items
from scripts.metrics.calibration import calibrate
from scripts.metrics.single_label import (
    accuracy_intervals,
    confusion,
    correct_by_clips,
    macro_f1,
    per_genre,
    track_means,
)
from scripts.metrics.test_scores import SingleLabelScores
from scripts.reports import score_figures
from scripts.reports.figures import accuracy_by_clips, confusion_matrix, f1_per_genre, training_curves

TOP_K = 3


def summarise(
    scores: SingleLabelScores,
    items: Items,
    train: Items,
    names: list[str],
    left_out: pd.DataFrame,
    validation: SingleLabelScores | None = None,
    top_k: int = TOP_K,
) -> dict[str, Any]:
    """All numbers of a test.

    Parameters
    ----------
    scores, items : the outcome, and the items of the part that was scored.
    train : the training items, for the majority baseline.
    names : of the classes.
    left_out : the tracks of this part that the cache could not use, with `status`.
    validation : the outcome on the validation part, for the temperature; without it there is none.
    top_k : how many guesses a track gets; at most one fewer than there are classes.

    Raises
    ------
    TrainingError : a logit is not finite.
    """
    if not np.isfinite(scores.logits).all():
        raise TrainingError("logits are not finite; train again with a lower learning rate or grad_clip=1")
    held_out = (validation.logits, validation.labels) if validation else None
    majority = np.bincount(train.tracks["class"], minlength=len(names)).argmax()
    genres = per_genre(scores.labels, scores.predictions, names)
    summary = {
        "tracks": len(scores.labels),
        "items": len(items),
        "left_out": left_out["status"].value_counts().to_dict(),
        "clip_accuracy": scores.clip_accuracy,
        "track_accuracy": scores.track_accuracy,
        "loss": scores.loss,
        "chance": 1 / len(names),
        "majority": float(np.mean(scores.labels == majority)),
        "macro_f1": macro_f1(genres),
        "top_k": top_k_summary(scores, min(top_k, max(1, len(names) - 1))),
        "calibration": calibrate(scores.logits, scores.labels, held_out),
        "per_genre": genres.round(4).to_dict("index"),
        "confusion": confusion(scores.labels, scores.predictions, len(names)).tolist(),
    }
    return summary | averaging(scores, int(items.tracks["items"].max()))


def scores_of(logits: np.ndarray, tracks: np.ndarray, labels: np.ndarray) -> SingleLabelScores:
    """The outcome of clip logits [clips, classes] whose tracks are [clips] and their labels [tracks]."""
    means = track_means(logits, tracks)
    return SingleLabelScores(
        loss=float(log_loss(labels, softmax(means, axis=1), labels=range(logits.shape[1]))),
        clip_accuracy=float(np.mean(logits.argmax(1) == labels[tracks])),
        track_accuracy=float(np.mean(means.argmax(1) == labels)),
        clip_logits=logits,
        clip_tracks=tracks,
        logits=means,
        labels=labels,
    )


def top_k_summary(scores: SingleLabelScores, k: int) -> dict[str, Any]:
    """The share of tracks whose label is among the k with the highest logits."""
    if k == 1:  # scikit-learn's wants one column of two classes
        return {"k": k, "track_accuracy": scores.track_accuracy}
    labels = range(scores.logits.shape[1])
    return {"k": k, "track_accuracy": top_k_accuracy_score(scores.labels, scores.logits, k=k, labels=labels)}


def averaging(scores: SingleLabelScores, max_clips: int) -> dict[str, Any]:
    """What the averaging of up to `max_clips` clips gains, with 95 % bootstrap intervals over tracks.

    A track's prediction is the mean of its clips' logits; the mean of their probabilities is scored once beside it.
    """
    hits = scores.clip_logits.argmax(axis=1) == scores.labels[scores.clip_tracks]
    correct = scores.predictions == scores.labels
    counts = np.bincount(scores.clip_tracks, weights=hits), np.bincount(scores.clip_tracks)
    curve = correct_by_clips(scores.clip_logits, scores.clip_tracks, scores.labels, max_clips)
    probabilities = track_means(softmax(scores.clip_logits, axis=1), scores.clip_tracks)
    return {
        **accuracy_intervals(correct, *counts, curve),
        "gain_over_clips": scores.track_accuracy - scores.clip_accuracy,
        "track_accuracy_mean_of_probabilities": float(np.mean(probabilities.argmax(axis=1) == scores.labels)),
        "accuracy_by_clips": curve.mean(axis=0).tolist(),
    }


def predictions_table(scores: SingleLabelScores, items: Items, names: list[str]) -> pd.DataFrame:
    """One row per track: its id, clips, genre, predicted genre and the probability of each genre."""
    probabilities = softmax(scores.logits, axis=1)
    table = items.tracks[["track_id", "items", "genre"]].rename(columns={"items": "clips"})
    table["predicted"] = [names[number] for number in scores.predictions]
    return table.join(pd.DataFrame(probabilities, columns=[f"p_{name}" for name in names]).round(6))


def clips_table(scores: SingleLabelScores, items: Items, names: list[str]) -> pd.DataFrame:
    """One row per clip: its track's id and genre, and the logit of each genre."""
    table = items.tracks[["track_id", "genre"]].iloc[scores.clip_tracks].reset_index(drop=True)
    return table.join(pd.DataFrame(scores.clip_logits, columns=[f"l_{name}" for name in names]).round(5))


def write_report(
    folder: Path, facts: dict[str, Any], summary: dict[str, Any], predictions: pd.DataFrame, names: list[str]
) -> None:
    """Write test.json, predictions.csv and the figures of a run.

    `facts` are what the numbers are of: run, split and its fingerprint, seed, best epoch.
    """
    write_csv(folder / "predictions.csv", predictions)
    for name, figure in draw(folder, summary, names).items():
        save(figure, folder / f"{name}.png")
    write_json(folder / "test.json", facts | summary | {"machine": describe()})


def draw(folder: Path, summary: dict[str, Any], names: list[str]) -> dict[str, Figure]:
    """The figures of a report, by file name."""
    figures = {
        "confusion_matrix": confusion_matrix(np.array(summary["confusion"]), names),
        "f1_per_genre": f1_per_genre(pd.DataFrame(summary["per_genre"]).T),
        "reliability": draw_calibration(summary["calibration"]),
    }
    if (folder / "metrics.csv").is_file():
        history = {folder.name: pd.read_csv(folder / "metrics.csv")}
        figures["training_curves"] = training_curves(history, summary["chance"])
    if len(summary["accuracy_by_clips"]) > 1:
        bands = {folder.name: summary["accuracy_by_clips_intervals_95"]}
        curves = {folder.name: summary["accuracy_by_clips"]}
        figures["accuracy_by_clips"] = accuracy_by_clips(curves, bands)
    return figures


def draw_calibration(calibration: dict[str, Any]) -> Figure:
    """The reliability diagram before and, if one was fitted, after the temperature."""
    tables = {f"as trained: ECE {calibration['ece']:.3f}": calibration["reliability"]}
    if calibration.get("temperature"):
        name = f"temperature {calibration['temperature']:.2f}: ECE {calibration['ece_scaled']:.3f}"
        tables[name] = calibration["reliability_scaled"]
    return score_figures.reliability({name: pd.DataFrame(rows) for name, rows in tables.items()})


def describe_summary(summary: dict[str, Any]) -> str:
    """The scores in a few lines for the screen; the baselines are always among them."""
    left_out = ", ".join(f"{count} {status}" for status, count in summary["left_out"].items()) or "none"
    lines = [
        f"track accuracy {with_interval(summary, 'track_accuracy')}, {summary['tracks']} tracks)"
        f"   clip accuracy {with_interval(summary, 'clip_accuracy')}, {summary['items']} items)",
        f"top-{summary['top_k']['k']} track accuracy {summary['top_k']['track_accuracy']:.3f}"
        f"   macro F1 {summary['macro_f1']:.3f}   {describe_calibration(summary['calibration'])}",
        f"chance {summary['chance']:.3f}   majority {summary['majority']:.3f}   left out: {left_out}",
    ]
    if len(summary["accuracy_by_clips"]) > 1:
        lines.insert(1, describe_averaging(summary))
    return "\n".join(lines)


def with_interval(summary: dict[str, Any], name: str) -> str:
    low, high = summary[f"{name}_interval_95"]
    return f"{summary[name]:.3f} (95 % interval {low:.3f}-{high:.3f}"


def describe_averaging(summary: dict[str, Any]) -> str:
    return (
        f"averaging clips gains {with_interval(summary, 'gain_over_clips')})"
        f"   mean of probabilities: track accuracy {summary['track_accuracy_mean_of_probabilities']:.3f}"
    )


def describe_calibration(calibration: dict[str, Any]) -> str:
    text = f"ECE {calibration['ece']:.3f}"
    if "temperature" not in calibration:
        return text
    if calibration["temperature"] is None:
        return f"{text}, {calibration['temperature_note']}"
    scaled = f"{calibration['ece_scaled']:.3f} at temperature {calibration['temperature']:.2f}"
    return f"{text}, {scaled} (fitted on validation)"
