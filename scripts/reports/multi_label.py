"""The report of a test with several labels a track: test.json, predictions.csv, clips.csv, and figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit

from scripts.common.machine import describe
from scripts.common.plotting import save
from scripts.common.storage import write_csv, write_json
from scripts.loading.loader import Items
from scripts.metrics.multi_label import (
    AGGREGATIONS,
    BASELINES,
    aggregate,
    average_precision,
    batch_mean_macro_f1,
    multi_label_intervals,
    multi_label_scores,
    outcomes,
    per_label,
    precision_recall_f1,
)
from scripts.metrics.test_scores import MultiLabelScores
from scripts.metrics.thresholds import best_thresholds, not_identified
from scripts.reports import multi_label_figures as figures
from scripts.tables.label_matrix import join

COMPARED = ("f1_macro", "f1_micro", "average_precision_macro", "hamming_accuracy")  # of aggregations and baselines
BATCH = 16  # of the score that depends on the batch size


def summarise(
    scores: MultiLabelScores,
    items: Items,
    train: Items,
    names: list[str],
    left_out: pd.DataFrame,
    validation: MultiLabelScores | None = None,
    aggregation: str = "mean",
    rule: str = "label",
) -> dict[str, Any]:
    """All numbers of a test.

    Parameters
    ----------
    scores, items : the outcome, and the items of the part that was scored.
    train : the training items, for the prevalence of each label.
    names : of the labels.
    left_out : the tracks of this part that the cache could not use, with `status`.
    validation : the outcome on the validation part, which the thresholds are chosen on; without it they are 1/2.
    aggregation : one of `AGGREGATIONS`, from clips to tracks.
    rule : of `best_thresholds`.
    """
    probabilities = aggregate(scores.clip_logits, scores.clip_tracks, aggregation)
    thresholds = choose(validation, aggregation, rule, len(names))
    by_label = per_label(scores.labels, probabilities, thresholds, names)
    clip_truth, clips = scores.labels[scores.clip_tracks], expit(scores.clip_logits)
    own, perfect = batch_mean_macro_f1(clip_truth, clips >= thresholds, BATCH)
    summary = {
        "tracks": len(scores.labels),
        "items": len(items),
        "left_out": left_out["status"].value_counts().to_dict(),
        "loss": scores.loss,
        "aggregation": aggregation,
        "threshold_rule": rule if validation else "half",
        "thresholds": dict(zip(names, thresholds.tolist(), strict=True)),
        "thresholds_not_identified": unsure_labels(validation, thresholds, aggregation, rule, names),
        **multi_label_scores(scores.labels, probabilities, thresholds),
        **multi_label_intervals(scores.labels, probabilities, thresholds),
        "clips": multi_label_scores(clip_truth, clips, thresholds),
        "aggregations": compare_aggregations(scores, validation, rule),
        "baselines": compare_baselines(scores.labels, track_labels(train), validation, rule),
        "batch_mean_f1": {"batch_size": BATCH, "f1_macro": own, "perfect_predictor": perfect},
        "per_label": by_label.round(4).to_dict("index"),
    }
    return without_nan(summary)


def choose(validation: MultiLabelScores | None, aggregation: str, rule: str, labels: int) -> np.ndarray:
    """Thresholds [labels] by the validation part, or 1/2 without one."""
    if validation is None:
        return np.full(labels, 0.5)
    probabilities = aggregate(validation.clip_logits, validation.clip_tracks, aggregation)
    return best_thresholds(validation.labels, probabilities, rule)


def unsure_labels(
    validation: MultiLabelScores | None, thresholds: np.ndarray, aggregation: str, rule: str, names: list[str]
) -> list[str]:
    """Labels whose threshold the validation part does not determine."""
    if validation is None:
        return []
    probabilities = aggregate(validation.clip_logits, validation.clip_tracks, aggregation)
    return [names[n] for n in np.flatnonzero(not_identified(validation.labels, probabilities, thresholds, rule))]


def compare_aggregations(
    scores: MultiLabelScores, validation: MultiLabelScores | None, rule: str
) -> dict[str, dict[str, float]]:
    """The main scores of each way from clips to tracks, each with thresholds of its own."""
    result = {}
    for aggregation in AGGREGATIONS:
        thresholds = choose(validation, aggregation, rule, scores.labels.shape[1])
        probabilities = aggregate(scores.clip_logits, scores.clip_tracks, aggregation)
        result[aggregation] = main_scores(scores.labels, probabilities, thresholds)
    return result


def compare_baselines(
    truth: np.ndarray, train: np.ndarray, validation: MultiLabelScores | None, rule: str
) -> dict[str, dict[str, float]]:
    """The main scores of the no-audio baselines; the prevalence's thresholds are chosen as the network's."""
    result = {}
    for name, baseline in BASELINES.items():
        thresholds = np.full(truth.shape[1], 0.5)
        if validation is not None and name != "all_zero":
            thresholds = best_thresholds(validation.labels, baseline(train, len(validation.labels)), rule)
        result[name] = main_scores(truth, baseline(train, len(truth)), thresholds)
    return result


def main_scores(truth: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    """Those of `COMPARED`, at a fraction of the time that `multi_label_scores` takes for a thousand labels."""
    predictions, known = probabilities >= thresholds, ~np.isnan(truth)
    counts = outcomes(truth, predictions)
    precisions = [average_precision(*label) for label in zip(truth.T, probabilities.T, strict=True)]
    return {
        "f1_macro": mean(precision_recall_f1(*counts.sum(axis=1))[2]),
        "f1_micro": float(precision_recall_f1(*counts.sum(axis=(1, 2)))[2]),
        "average_precision_macro": mean(precisions),
        "hamming_accuracy": float((predictions == truth)[known].mean()),
    }


def mean(values: Sequence[float]) -> float:
    """Without NaNs; NaN if nothing is left."""
    return float(pd.Series(values).mean())


def track_labels(items: Items) -> np.ndarray:
    """float32 [tracks, labels]."""
    return items.labels[np.unique(items.track, return_index=True)[1]]


def without_nan(values: Any) -> Any:
    """The same with None for each NaN, which JSON does not have."""
    if isinstance(values, dict):
        return {name: without_nan(value) for name, value in values.items()}
    if isinstance(values, tuple | list):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and np.isnan(values) else values


def predictions_table(
    scores: MultiLabelScores, items: Items, names: list[str], summary: dict[str, Any]
) -> pd.DataFrame:
    """One row per track: its id, clips, labels, the probability of each label, and those above their threshold."""
    probabilities = aggregate(scores.clip_logits, scores.clip_tracks, summary["aggregation"])
    thresholds = np.array(list(summary["thresholds"].values()))
    table = described(items.tracks).rename(columns={"items": "clips"})
    table = table.join(pd.DataFrame(probabilities, columns=[f"p_{name}" for name in names]).round(6))
    chosen = [join(np.array(names)[row]) for row in probabilities >= thresholds]
    return table.assign(predicted=chosen)


def clips_table(scores: MultiLabelScores, items: Items, names: list[str]) -> pd.DataFrame:
    """One row per clip: its track's id and labels, and the logit of each label."""
    table = described(items.tracks).drop(columns="items").iloc[scores.clip_tracks].reset_index(drop=True)
    return table.join(pd.DataFrame(scores.clip_logits, columns=[f"l_{name}" for name in names]).round(5))


def described(tracks: pd.DataFrame) -> pd.DataFrame:
    return tracks[["track_id", "items", "labels", *(["absent"] if "absent" in tracks else [])]]


def write_report(
    folder: Path,
    facts: dict[str, Any],
    summary: dict[str, Any],
    scores: MultiLabelScores,
    items: Items,
    names: list[str],
) -> dict[str, Figure]:
    """Write test.json, predictions.csv, clips.csv and the figures of a run; returns the figures by name.

    `facts` are what the numbers are of: run, split and its fingerprint, seed, best epoch.
    """
    write_csv(folder / "predictions.csv", predictions_table(scores, items, names, summary))
    write_csv(folder / "clips.csv", clips_table(scores, items, names))
    figures = draw(scores, summary, names)
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")
    write_json(folder / "test.json", facts | summary | {"machine": describe()})
    return figures


def draw(scores: MultiLabelScores, summary: dict[str, Any], names: list[str]) -> dict[str, Figure]:
    """The figures of a report, by file name."""
    probabilities = aggregate(scores.clip_logits, scores.clip_tracks, summary["aggregation"])
    thresholds = np.array(list(summary["thresholds"].values()))
    predictions = probabilities >= thresholds
    return {
        "f1_per_label": figures.f1_per_label(pd.DataFrame(summary["per_label"], dtype=float).T),
        "ranking_curves": figures.ranking_curves(scores.labels, probabilities, names),
        "score_histograms": figures.score_histograms(scores.labels, probabilities, thresholds, names),
        "co_occurrence": figures.co_occurrence(scores.labels, names),
        "pairwise_confusion": figures.pairwise_confusion(scores.labels, predictions, names),
    }


def describe_summary(summary: dict[str, Any]) -> str:
    """The scores in a few lines for the screen; the baselines are always among them."""
    left_out = ", ".join(f"{count} {status}" for status, count in summary["left_out"].items()) or "none"
    masked, batch = summary["labels_without_positives"], summary["batch_mean_f1"]
    unsure = len(summary["thresholds_not_identified"])
    thresholds = summary["threshold_rule"] + f", not identified for {unsure} labels" * bool(unsure)
    aggregations = summary["aggregations"] if summary["items"] > summary["tracks"] else {}
    lines = [
        f"macro F1 {with_interval(summary, 'f1_macro')}   micro F1 {with_interval(summary, 'f1_micro')}",
        f"mAP {with_interval(summary, 'average_precision_macro')}   ROC-AUC {number(summary['roc_auc_macro'])}   "
        f"LRAP {number(summary['ranking_average_precision'])}   Hamming {summary['hamming_accuracy']:.3f}",
        f"{summary['tracks']} tracks, {summary['items']} items, left out: {left_out}; {summary['labels_scored']} "
        f"labels scored, {masked} without a positive here; thresholds: {thresholds}",
        *(f"{name.replace('_', ' ')} baseline: {describe_compared(row)}" for name, row in summary["baselines"].items()),
        *(f"clips to tracks by {name}: {describe_compared(row)}" for name, row in aggregations.items()),
        f"mean macro F1 of batches of {batch['batch_size']} clips {batch['f1_macro']:.3f}, where a perfect predictor "
        f"gets {batch['perfect_predictor']:.3f}: only to compare with scores that were reported so",
    ]
    return "\n".join(lines)


def describe_compared(row: dict[str, float]) -> str:
    macro, micro, precision, hamming = (number(row[name]) for name in COMPARED)
    return f"macro F1 {macro}, micro F1 {micro}, mAP {precision}, Hamming {hamming}"


def with_interval(summary: dict[str, Any], name: str) -> str:
    low, high = summary[f"{name}_interval_95"]
    return f"{number(summary[name])} (95 % interval {number(low)}-{number(high)})"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
