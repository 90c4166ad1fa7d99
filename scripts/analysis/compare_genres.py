"""Runs that give a track one genre, side by side: what `scripts.analysis.compare` says of them."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scripts.config.run import Run
from scripts.metrics.single_label import bootstrap_interval, mcnemar
from scripts.reports.markdown import with_interval
from scripts.reports.predictions import with_intervals
from scripts.reports.score_figures import comparison

SCORES = {"track_accuracy": "track accuracy", "clip_accuracy": "clip accuracy", "macro_f1": "macro F1", "ece": "ECE"}
DRAWN = ("track_accuracy", "clip_accuracy")  # in the figure, with their intervals
ABOUT_PAIRS = "p: McNemar's exact test; in brackets: 95 % bootstrap intervals"


@dataclass(frozen=True)
class Tested:
    """A run's test.json, and its predictions with `track_id` as index, sorted."""

    name: str
    test: dict[str, Any]
    predictions: pd.DataFrame

    @property
    def correct(self) -> np.ndarray:
        """bool [tracks]."""
        return (self.truth == self.predictions["predicted"]).to_numpy()

    @property
    def truth(self) -> pd.Series:
        """The genre of each track."""
        return self.predictions["genre"]

    @property
    def agrees(self) -> bool:
        """test.json and the predictions are of the same test."""
        return abs(self.correct.mean() - self.test["track_accuracy"]) < 1e-9

    @property
    def row(self) -> dict[str, Any]:
        """The run's row of the comparison; raises a KeyError or TypeError where test.json is incomplete."""
        test = self.test
        others = {"macro_f1": test["macro_f1"], "ece": test["calibration"]["ece"]}
        guesses = {"chance": test["chance"], "majority": test["majority"]}
        return with_intervals(self.name, test, DRAWN) | others | guesses


def read(run: Run, test: dict[str, Any]) -> Tested:
    """The predictions that belong to a run's test.json."""
    table = pd.read_csv(run.report / "predictions.csv", dtype={"track_id": str}, keep_default_na=False)
    return Tested(run.name, test, table.set_index("track_id").sort_index())


def compare_pairs(runs: list[Tested]) -> pd.DataFrame:
    """A row for each pair: the difference in track accuracy, its 95 % interval, and p of McNemar's test.

    Returns
    -------
    Columns first, second, difference (first minus second), difference_low, difference_high, only_first and
    only_second (tracks that only one of them gets right), p.
    """
    rows = []
    for first, second in itertools.combinations(runs, 2):
        right, other = first.correct, second.correct
        difference = right.astype(int) - other
        row = {"first": first.name, "second": second.name, "difference": difference.mean()}
        row["difference_low"], row["difference_high"] = bootstrap_interval(difference)
        row |= {"only_first": (difference == 1).sum(), "only_second": (difference == -1).sum()}
        rows.append(row | {"p": mcnemar(right, other)})
    return pd.DataFrame(rows)


def describe(table: pd.DataFrame) -> str:
    """How much guessing would get."""
    majority = sorted({f"{value:.3f}" for value in table["majority"]})
    return f"chance {table['chance'][0]:.3f}, majority {', '.join(majority)}"


def show_pair(row: pd.Series) -> dict[str, str]:
    return {
        "difference in track accuracy": with_interval(row, "difference", "+.3f"),
        "right only in first, second": f"{row['only_first']}, {row['only_second']}",
    }


def figure(table: pd.DataFrame) -> Figure:
    scores, lines = {score: SCORES[score] for score in DRAWN}, ("chance", "majority")
    return comparison(table, scores, {name: table[name][0] for name in lines})
