"""Tracks whose labels are probably wrong, by predictions of networks that did not train on them."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.analysis import flags
from scripts.common.cli import command, require
from scripts.common.errors import ConfigError
from scripts.common.storage import write_csv
from scripts.config.run import Run
from scripts.reports.predictions import SavedPredictions, read_saved
from scripts.tables.label_matrix import join
from scripts.tables.label_table import LABELS

CUT_OFF = 0.1
SHOWN = 10  # rows on the screen


def label_issues(
    run: Run,
    part: str = "test",
    quality: float = CUT_OFF,
    share: float | None = None,
    cleanlab: bool = False,
    relabel: bool = False,
    output: Path | None = None,
) -> pd.DataFrame:
    """Write label_quality.csv and overrides.csv of a run, print the worst, and return the former (`quality_table`).

    Parameters
    ----------
    run : such as `<experiment>-folds`, whose "test" part is every track.
    part : "test" or "validation".
    quality : the greatest quality of an issue; or
    share : the share of tracks, the worst, that may be issues; or
    cleanlab : whether confident learning finds the issues.
    relabel : write `leave_out` 0, not 1.
    output : the file of overrides; default: overrides.csv beside label_quality.csv.

    Raises
    ------
    ConfigError, TableError : there are no valid predictions, a cut-off is not allowed, or cleanlab is missing.
    """
    saved = read_saved(run, part)
    suspects = confident_learning(saved) if cleanlab else below(saved, quality, share)
    table, path = quality_table(saved, suspects), output or run.report / "overrides.csv"
    issues = table[table["issue"] == 1]
    columns = ["track_id", LABELS[saved.task][0], "leave_out", "quality", "given"]
    write_csv(run.report / "label_quality.csv", table)
    write_csv(path, issues.assign(leave_out=int(not relabel))[columns])
    print(f"{run.name}: {describe(table)}\n{run.report / 'label_quality.csv'}: all of them\n{path}: the issues")
    return table


def given_labels(saved: SavedPredictions) -> np.ndarray:
    """[tracks, names]: what is given as 1 present, 0 absent, NaN unknown; of one genre a track, only the 1."""
    if saved.task == "multi_label":
        return saved.truth
    return np.where(saved.truth[:, None] == np.arange(len(saved.names)), 1, np.nan)


def self_confidence(saved: SavedPredictions) -> np.ndarray:
    """[tracks, names]: the probability of what each label says, 0 to 1; NaN where nothing is given."""
    return 1 - np.abs(given_labels(saved) - saved.probabilities)


# --- which labels are suspect: bool [tracks, names] -----------------------------------------------------------


def below(saved: SavedPredictions, quality: float = CUT_OFF, share: float | None = None) -> np.ndarray:
    """Labels of a quality up to `quality`, or up to that of the worst `share` of tracks, if something else is likelier.

    Raises
    ------
    ConfigError : either is not above 0, up to 1.
    """
    for name, value in (("quality", quality), ("share", share)):
        if value is not None and not 0 < value <= 1:
            raise ConfigError(f"{name} is {value}; it must be above 0, up to 1")
    confidence = self_confidence(saved)
    rival = 1 - confidence if saved.task == "multi_label" else saved.probabilities.max(axis=1, keepdims=True)
    if share is not None:
        worst = np.nanmin(confidence[has_known_label(saved)], axis=1)
        quality = float(np.quantile(worst, share, method="inverted_cdf"))
    return (confidence <= quality) & (confidence < rival)


def confident_learning(saved: SavedPredictions) -> np.ndarray:
    """What cleanlab's `find_label_issues` finds: among all genres, or for each label among the tracks that know it.

    A label that is present in, or absent from, all of those has no issue.

    Raises
    ------
    ConfigError : cleanlab is missing.
    """
    require("cleanlab", what="--cleanlab")
    given = given_labels(saved)
    if saved.task == "single_label":
        return (given == 1) & find_issues(saved.truth, saved.probabilities)[:, None]
    suspects = np.zeros(given.shape, bool)
    for label, known in enumerate(~np.isnan(given).T):
        labels, probability = given[known, label].astype(int), saved.probabilities[known, label]
        if len(np.unique(labels)) == 2:
            suspects[known, label] = find_issues(labels, np.column_stack([1 - probability, probability]))
    return suspects


def find_issues(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """bool [tracks], from class numbers [tracks] and probabilities [tracks, classes]."""
    from cleanlab.filter import find_label_issues

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)  # of rare classes
        return find_label_issues(labels, probabilities, n_jobs=1)


# --- what is written ------------------------------------------------------------------------------------------


def has_known_label(saved: SavedPredictions) -> np.ndarray:
    """bool [tracks]: whether anything is known of a track.

    Raises
    ------
    ConfigError : of none.
    """
    known = ~np.isnan(given_labels(saved)).all(axis=1)
    if not known.any():
        raise ConfigError(f"{saved.source}: no track has a known label; nothing can be checked")
    return known


def quality_table(saved: SavedPredictions, suspects: np.ndarray) -> pd.DataFrame:
    """One row per track of which something is known, the worst first.

    Parameters
    ----------
    suspects : bool [tracks, names], the labels that are issues.

    Returns
    -------
    Columns track_id, genre or labels (suggested), given, quality, issue (0 or 1), and with several labels a track
    suspect, the worst label, and suspect_is, "present" or "absent" as given.
    """
    confidence, column, keep = self_confidence(saved), LABELS[saved.task][0], has_known_label(saved)
    table = saved.tracks[["track_id"]].assign(**{column: suggest(saved, suspects), "given": saved.tracks[column]})
    table = table.assign(quality=np.nan, issue=suspects.any(axis=1).astype(int))
    table.loc[keep, "quality"] = np.nanmin(confidence[keep], axis=1).round(6)
    if saved.task == "multi_label":
        worst = np.where(np.isnan(confidence), np.inf, confidence).argmin(axis=1)
        present = saved.truth[np.arange(len(worst)), worst] == 1
        table = table.assign(suspect=np.array(saved.names)[worst], suspect_is=np.where(present, "present", "absent"))
    return table[keep].sort_values("quality", kind="stable", ignore_index=True)


def suggest(saved: SavedPredictions, suspects: np.ndarray) -> list[str]:
    """The cell of each track with its suspect labels corrected: the likeliest genre, or each turned around."""
    names = np.array(saved.names, object)
    if saved.task == "single_label":
        best = saved.probabilities.argmax(axis=1)
        return names[np.where(suspects.any(axis=1), best, saved.truth)].tolist()
    return [join(names[row]) for row in (saved.truth == 1) ^ suspects]


def describe(table: pd.DataFrame) -> str:
    """How many issues there are, of which labels, and the worst tracks."""
    issues = table[table["issue"] == 1]
    counts = issues["suspect" if "suspect" in table else "given"].value_counts()
    by_label = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
    head = f"{len(issues)} of {len(table)} tracks have a label issue ({len(issues) / len(table):.1%}): {by_label}"
    return f"{head}\n{table.head(SHOWN).to_string(index=False)}"


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.label_issues(argv)
    settings = args.quality, args.share, args.cleanlab, args.relabel, args.output
    label_issues(Run(args.run, args.runs), args.part, *settings)
