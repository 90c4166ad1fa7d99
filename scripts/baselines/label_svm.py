"""A support vector machine for each label, on tables of descriptors: what a network for several labels has to beat."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm

from scripts.baselines import flags
from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import write_csv, write_json
from scripts.config.run import Run
from scripts.loading.feature_rows import join, list_sources, read_sources
from scripts.loading.loader import Items
from scripts.metrics.single_label import track_means
from scripts.metrics.test_scores import MultiLabelScores, mean_over_labels
from scripts.reports.multi_label import describe_summary, predictions_table, summarise, track_labels, write_report
from scripts.reports.predictions import FILES, FLOOR
from scripts.tables.label_matrix import label_matrix, label_names
from scripts.tables.label_table import PARTS, read_table
from scripts.tables.leaks import describe_leaks
from scripts.tables.splits import fingerprint
from scripts.training.classifiers import calibrate_svm

KERNELS = ("rbf", "linear")


# --- machines -----------------------------------------------------------------------------------------------


def make_svm(kernel: str = "rbf", C: float = 1) -> Pipeline:
    """A new machine; it standardises features by the mean and deviation of the rows that it is fitted to.

    Raises
    ------
    ConfigError : an unknown kernel, or a C that is not above 0.
    """
    pick("kernel", kernel, KERNELS)
    if not 0 < C < math.inf:
        raise ConfigError(f"C is {C}; it must be a number above 0")
    return make_pipeline(StandardScaler(), SVC(kernel=kernel, C=C))


def label_probabilities(machine: Pipeline, train: Items, values: np.ndarray) -> np.ndarray:
    """The probability of each label for each row, by machines that are fitted to the tracks where the label is known.

    A label that fewer than two of these tracks have, or lack, gets for all rows the share of them that have it.

    Parameters
    ----------
    machine : of `make_svm`.
    train : items with features [rows, features], and labels with 1, 0 and NaN for unknown.
    values : float [rows, features].

    Returns
    -------
    float64 [rows, labels].
    """
    columns = []
    for truth in tqdm(track_labels(train).T, "fitting", unit=" labels", disable=None):
        present, absent = (truth == 1).sum(), (truth == 0).sum()
        if min(present, absent) < 2:
            columns.append(np.full(len(values), present / max(1, present + absent)))
            continue
        known = ~np.isnan(truth)
        items = train.select(known)
        model = calibrate_svm(machine, items.array[items.index], items.track, truth[known])
        columns.append(model.predict_proba(values)[:, 1])
    return np.stack(columns, axis=1)


# --- data ---------------------------------------------------------------------------------------------------


def read_items(table: pd.DataFrame, names: list[str], source: Path, features: Path | Sequence[Path]) -> Items:
    """The descriptors of those tracks of a multi-label table that have some, with their labels.

    Raises
    ------
    TableError : labels or descriptors are wrong, or a part has no track with descriptors.
    """
    truth = label_matrix(table, names, source)
    named = ", ".join(list_sources(features))
    items = join(table.assign(**{"class": 0}), read_sources(features), named)
    for part in PARTS:
        if not (items.tracks["split"] == part).any():
            raise TableError(f"{named}: has no {part} track of {source}; describe more tracks, or split them anew")
    truth = truth[table["track_id"].isin(items.tracks["track_id"])]
    return dataclasses.replace(items, labels=truth[items.track])


# --- training and testing -----------------------------------------------------------------------------------


def score_machines(
    table: Path, features: Path | Sequence[Path], run: Run, kernel: str = "rbf", C: float = 1
) -> dict[str, Any]:
    """Fit and test a machine for each label of a table, write the run's report and print it.

    Parameters
    ----------
    table : multi-label metadata CSV with the split.
    features : tables of descriptors or folders of embeddings, see `read_sources`.
    run : whose report is written.
    kernel, C : as for `make_svm`.

    Returns
    -------
    What test.json holds; "constant" names the labels whose probability is the same for every track.

    Raises
    ------
    ConfigError : an unknown kernel or a wrong C.
    TableError : a table is missing or wrong, or a part has no track with descriptors.
    """
    machine = make_svm(kernel, C)
    tracks = read_table(table, ["track_id", "labels", "split"]).drop_duplicates("track_id", ignore_index=True)
    names = label_names(tracks)
    items = read_items(tracks, names, table, features)
    probabilities = label_probabilities(machine, items.part("train"), np.asarray(items.array))
    constant = [name for name, column in zip(names, probabilities.T, strict=True) if np.ptp(column) == 0]
    settings = {"table": str(table), "features": ", ".join(list_sources(features)), "kernel": kernel, "C": C}
    split = fingerprint(tracks)
    facts = {"run": run.name, "part": "test", "split": split, "leaks": describe_leaks(tracks), "constant": constant}
    write_json(run.config_path, {"run": run.name, "label_svm": settings, "classes": names, "split": split})
    summary = write_scores(run, facts | settings, tracks, items, probabilities, names)
    print(f"{run.name}, {items.array.shape[1]} features, split {split}\n{describe_summary(summary)}")
    print(*[f"same probability for all tracks: {name}" for name in constant], sep="\n")
    return facts | settings | summary


def write_scores(
    run: Run, facts: dict[str, Any], tracks: pd.DataFrame, items: Items, probabilities: np.ndarray, names: list[str]
) -> dict[str, Any]:
    """Score test and validation, write the report and return its numbers."""
    scores = {part: score_part(items, probabilities, part) for part in FILES}
    parts = {part: items.part(part) for part in PARTS}
    missing = (tracks["split"] == "test") & ~tracks["track_id"].isin(items.tracks["track_id"])
    left_out = tracks[missing].assign(status="without features")
    summary = summarise(scores["test"], parts["test"], parts["train"], names, left_out, scores["validation"])
    write_report(run.report, facts, summary, scores["test"], parts["test"], names)
    table = predictions_table(scores["validation"], parts["validation"], names, summary)
    write_csv(run.report / FILES["validation"], table)
    return summary


def score_part(items: Items, probabilities: np.ndarray, part: str) -> MultiLabelScores:
    """The outcome of a part; `probabilities` [rows, labels] are of all items."""
    mine, chosen = (items.tracks["split"] == part).to_numpy(), items.part(part)
    logits = logit(np.clip(probabilities[mine[items.track]], FLOOR, 1 - FLOOR))
    means, truth = track_means(logits, chosen.track), track_labels(chosen)
    loss = float(np.nanmean(np.logaddexp(0, means) - truth * means))  # binary cross entropy
    return MultiLabelScores(loss, *mean_over_labels(truth, means), logits, chosen.track, means, truth)


# --- the command --------------------------------------------------------------------------------------------


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.label_svm(argv)
    run = Run(f"label_svm_{args.kernel}" + (f"-{args.tag}" if args.tag else ""), args.runs)
    score_machines(args.table, args.features, run, args.kernel, args.C)
