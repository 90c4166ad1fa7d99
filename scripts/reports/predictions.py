"""What runs have saved of their tests: test.json, and the probabilities of each track of test and validation."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from scripts.common.cli import pick
from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import read_csv, to_numbers
from scripts.config.run import Run
from scripts.loading.loader import Items
from scripts.metrics.test_scores import MultiLabelScores, Scores, make_scores
from scripts.reports import multi_label, single_label
from scripts.tables.label_matrix import label_matrix

FILES = {"test": "predictions.csv", "validation": "predictions_validation.csv"}
NUMBERS = ("clips", "repeat", "fold")
KEPT = ("track_id", "genre", "labels", "absent")
# of a test.json, what the predictions do not hold
COPIED = {"single_label": ("majority", "left_out"), "multi_label": ("baselines", "left_out", "threshold_rule")}
FLOOR = 1e-7  # of probabilities whose logarithm is taken; saved as 0.000000


@dataclass(frozen=True)
class SavedPredictions:
    """Predictions for the tracks of one part.

    Attributes
    ----------
    tracks : one row per track: `track_id` and `genre`, or `labels` and perhaps `absent`.
    names : of the classes or labels.
    probabilities : float64 [tracks, names].
    source : what error messages call them.
    """

    tracks: pd.DataFrame
    names: list[str]
    probabilities: np.ndarray
    source: str = "the predictions"

    @property
    def task(self) -> str:
        return "multi_label" if "labels" in self.tracks else "single_label"

    @cached_property
    def truth(self) -> np.ndarray:
        """Class numbers, int64 [tracks], or labels, float32 [tracks, names] with 1, 0 and NaN for unknown.

        Raises
        ------
        TableError : a genre or label that has no probability.
        """
        if self.task == "multi_label":
            return label_matrix(self.tracks, self.names, self.source)
        unknown = ~self.tracks["genre"].isin(self.names)
        if unknown.any():
            genre = self.tracks.loc[unknown, "genre"].iloc[0]
            raise TableError(f"{self.source}: has no column p_{genre} for the genre {genre!r}; score the run again")
        return self.tracks["genre"].map(self.names.index).to_numpy()

    @property
    def likelihoods(self) -> np.ndarray:
        """The probability that was given to what is true: float64 [tracks], or [known entries] of labels."""
        probabilities = np.clip(self.probabilities, FLOOR, 1 - FLOOR)
        if self.task == "single_label":
            return probabilities[np.arange(len(self.truth)), self.truth]
        return np.where(self.truth == 1, probabilities, 1 - probabilities)[~np.isnan(self.truth)]

    @property
    def scores(self) -> Scores:
        """As reports take them: each track as a single clip, with logits that give back its probabilities."""
        probabilities, tracks = np.clip(self.probabilities, FLOOR, 1 - FLOOR), np.arange(len(self.tracks))
        logits = np.log(probabilities) if self.task == "single_label" else logit(probabilities)
        loss = float(-np.log(self.likelihoods).mean())
        return make_scores(loss, logits, self.truth, tracks, logits, self.truth)

    @property
    def items(self) -> Items:
        """One a track."""
        rows, tracks = np.arange(len(self.tracks)), self.tracks.assign(items=1)
        if self.task == "single_label":
            tracks["class"] = self.truth
        return Items(self.probabilities, rows, self.truth, rows, tracks)

    def table(self, summary: dict[str, Any]) -> pd.DataFrame:
        """What a file of predictions holds."""
        return predictions_table(self.scores, self.items, self.names, summary)


def predictions_table(scores: Scores, items: Items, names: list[str], summary: dict[str, Any]) -> pd.DataFrame:
    """What a file of predictions holds of the outcome of a part; `summary` has the thresholds of several labels."""
    if isinstance(scores, MultiLabelScores):
        return multi_label.predictions_table(scores, items, names, summary)
    return single_label.predictions_table(scores, items, names)


def describe_test(test: dict[str, Any]) -> str:
    """What a test.json holds, in a few lines for the screen."""
    return multi_label.describe_summary(test) if "baselines" in test else single_label.describe_summary(test)


def read_saved(run: Run, part: str = "test") -> SavedPredictions:
    """The predictions of a run for "test" or "validation", in the order of track ids.

    Raises
    ------
    ConfigError : the run has saved none, or the file is damaged.
    """
    path = run.report / FILES[pick("part", part, FILES)]
    again = f"score the run again (python -m scripts evaluate {run.name}) or leave it out"
    try:
        table = read_predictions(path)
        table = table.sort_values("track_id", ignore_index=True)
        columns = [column for column in table if column.startswith("p_")]
        if "repeat" in table and not table.duplicated(["repeat", "track_id"]).any():
            means = table.groupby("track_id")[columns].transform("mean")  # of a repeated cross-validation
            table = table.assign(**means).drop_duplicates("track_id", ignore_index=True)
        probabilities = table[columns].to_numpy(float)
    except FileNotFoundError:
        raise ConfigError(f"{path}: {run.name} has saved no predictions of its {part} part; {again}") from None
    except (TableError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: no file of predictions ({error}); {again}") from None
    complete = columns and {"genre", "labels"} & set(table) and table["track_id"].is_unique
    if not complete or not ((probabilities >= 0) & (probabilities <= 1)).all():
        what = "needs a row per track with genre or labels, and a column p_NAME, 0 to 1, for each of them"
        raise ConfigError(f"{path}: {what}; {again}")
    tracks = table[[column for column in KEPT if column in table]]
    return SavedPredictions(tracks, [column.removeprefix("p_") for column in columns], probabilities, str(path))


def read_predictions(path: Path) -> pd.DataFrame:
    """The predictions.csv or clips.csv of a run; ids and names are text, whatever they look like.

    Raises
    ------
    FileNotFoundError, TableError : there is none, or it is no such table.
    """
    table = read_csv(path)
    return to_numbers(path, table, [name for name in table if name in NUMBERS or name.startswith(("p_", "l_"))])


def check_tested(run: Run) -> None:
    """A ConfigError if the run has no test.json; the nearest run that has one is suggested."""
    known = sorted(path.parent.name for path in run.root.glob("reports/*/test.json"))
    if not known:
        raise ConfigError(f"no tested run in {run.root}/; train one first (python -m scripts train --help)")
    pick("tested run", run.name, known)


def with_intervals(name: str, test: dict[str, Any], scores: Iterable[str]) -> dict[str, Any]:
    """A run's row of a table: run, split, tracks, and each score of its test.json with <score>_low and <score>_high.

    Raises
    ------
    KeyError, TypeError : test.json is incomplete.
    """
    row = {"run": name, "split": test["split"], "tracks": test["tracks"]}
    for score in scores:
        low, high = test[f"{score}_interval_95"]
        row |= {score: test[score], f"{score}_low": low, f"{score}_high": high}
    return row


def read_test(run: Run) -> dict[str, Any]:
    """What a run's test.json holds of its split, its leaks and the no-audio baselines.

    Raises
    ------
    ConfigError : there is none (the nearest run that has one is suggested), or it is damaged or out of date.
    """
    check_tested(run)
    path = run.report / "test.json"
    try:
        test = json.loads(path.read_text(encoding="utf-8"))
        task = "multi_label" if "baselines" in test else "single_label"
        return {name: test[name] for name in ("split", "leaks", *COPIED[task])}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: damaged or out of date ({error}); score the run again (python -m scripts evaluate {run.name})"
        ) from None
