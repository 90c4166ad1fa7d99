"""Runs that give a track several labels, side by side: what `scripts.analysis.compare` says of them."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scripts.config.run import Run
from scripts.metrics.multi_label import centred_interval, tag_draws
from scripts.reports.markdown import with_interval
from scripts.reports.predictions import Saved, read_saved, with_intervals
from scripts.reports.score_figures import comparison

SCORES = {"f1_macro": "macro F1", "average_precision_macro": "mAP", "f1_micro": "micro F1"}
DRAWN = ("f1_macro", "average_precision_macro")  # in the figure, and compared in pairs
BASELINE = "prevalence"
ABOUT_PAIRS = "in brackets: 95 % intervals of the same bootstrap draws for both; p: of the difference in macro F1"
ROUNDING = 0.005  # of macro F1, where a saved probability lies just at its threshold


@dataclass(frozen=True)
class Tested:
    """A run's test.json and saved predictions, in the order of track ids."""

    name: str
    test: dict[str, Any]
    saved: Saved

    @property
    def truth(self) -> pd.Series:
        """The labels of each track, and those known to be absent, as text by `track_id`."""
        given = self.saved.tracks.set_index("track_id")
        return given["labels"] + "; not " + given["absent"] if "absent" in given else given["labels"]

    @cached_property
    def draws(self) -> dict[str, np.ndarray]:
        """Each score of all tracks and of bootstrap draws: float [1 + draws]."""
        thresholds = np.array([self.test["thresholds"][name] for name in self.saved.names])
        return tag_draws(self.saved.truth, self.saved.probabilities, thresholds)

    @property
    def agrees(self) -> bool:
        """test.json and the predictions are of the same test."""
        return abs(self.draws["f1_macro"][0] - self.test["f1_macro"]) < ROUNDING

    @property
    def row(self) -> dict[str, Any]:
        """The run's row of the comparison; raises a KeyError or TypeError where test.json is incomplete."""
        baseline = self.test["baselines"][BASELINE]["f1_macro"]
        return with_intervals(self.name, self.test, SCORES) | {BASELINE: baseline}


def read(run: Run, test: dict[str, Any]) -> Tested:
    """The predictions that belong to a run's test.json; raises a ConfigError as `read_saved`."""
    return Tested(run.name, test, read_saved(run))


def compare_pairs(runs: list[Tested]) -> pd.DataFrame:
    """A row for each pair: the differences in macro F1 and mAP with 95 % intervals, and p of that in macro F1.

    Both runs of a pair are scored on the same bootstrap draws of tracks.

    Returns
    -------
    Columns first, second, and for both scores <score> (first minus second), <score>_low, <score>_high; p.
    """
    rows = []
    for first, second in itertools.combinations(runs, 2):
        row = {"first": first.name, "second": second.name}
        for score in DRAWN:
            difference = first.draws[score] - second.draws[score]
            row[score] = difference[0]
            row[f"{score}_low"], row[f"{score}_high"] = centred_interval(difference, least=-1)
        rows.append(row | {"p": bootstrap_p(first.draws["f1_macro"] - second.draws["f1_macro"])})
    return pd.DataFrame(rows)


def bootstrap_p(difference: np.ndarray) -> float:
    """Two-sided p that there is no difference: how often draws around 0 go as far as the first value.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 16.
    """
    found, draws = abs(difference[0]), difference[1:][~np.isnan(difference[1:])]
    return (1 + np.sum(np.abs(draws - draws.mean()) >= found)) / (1 + len(draws))


def describe(table: pd.DataFrame) -> str:
    """What answers without listening would get."""
    return f"macro F1 of the labels' frequencies {table[BASELINE][0]:.3f}"


def show_pair(row: pd.Series) -> dict[str, str]:
    return {f"difference in {SCORES[score]}": with_interval(row, score, "+.3f") for score in DRAWN}


def figure(table: pd.DataFrame) -> Figure:
    scores = {score: SCORES[score] for score in DRAWN}
    return comparison(table, scores, {"macro F1 of frequencies": table[BASELINE][0]}, "score")
