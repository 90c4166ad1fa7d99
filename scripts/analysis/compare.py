"""Set runs side by side that were tested on the same tracks: intervals, and whether they differ at all."""

import itertools
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scripts.analysis import flags
from scripts.common.cli import command
from scripts.common.errors import ConfigError
from scripts.common.plotting import save
from scripts.common.storage import write_csv, write_text
from scripts.config.run import ROOT, Run
from scripts.metrics.multi_label import centred_interval, multi_label_draws
from scripts.metrics.single_label import bootstrap_interval, mcnemar
from scripts.reports.markdown import markdown_table, with_interval
from scripts.reports.predictions import check_tested, read_predictions, read_saved, with_intervals
from scripts.reports.score_figures import comparison

SEED = re.compile(r"-seed\d+$")


class SingleLabelTest:
    """The test of a run that gives a track one label.

    Parameters
    ----------
    run : its report has predictions.csv.
    test : what its test.json holds.
    """

    DRAWN = {"track_accuracy": "track accuracy", "clip_accuracy": "clip accuracy"}  # in the figure, with intervals
    SCORES = DRAWN | {"macro_f1": "macro F1", "ece": "ECE"}
    ABOUT_PAIRS = "p: McNemar's exact test; in brackets: 95 % bootstrap intervals"
    OTHER_TRUTH = "another genre"

    def __init__(self, run: Run, test: dict[str, Any]) -> None:
        table = read_predictions(run.report / "predictions.csv")
        self.name, self.test, self.predictions = run.name, test, table.set_index("track_id").sort_index()

    @property
    def truth(self) -> pd.Series:
        """The genre of each track, by `track_id`."""
        return self.predictions["genre"]

    @property
    def correct(self) -> np.ndarray:
        """bool [tracks]."""
        return (self.truth == self.predictions["predicted"]).to_numpy()

    @property
    def agrees(self) -> bool:
        """Whether test.json and the predictions are of the same test."""
        return abs(self.correct.mean() - self.test["track_accuracy"]) < 1e-9

    @property
    def row(self) -> dict[str, Any]:
        """The run's row of the comparison; a KeyError or TypeError where test.json is incomplete."""
        test = self.test
        others = {"macro_f1": test["macro_f1"], "ece": test["calibration"]["ece"]}
        return with_intervals(self.name, test, self.DRAWN) | others | {key: test[key] for key in ("chance", "majority")}

    def difference(self, other: "Tested") -> dict[str, float]:
        """The difference in track accuracy with its interval, the tracks that only one gets right, and McNemar's p."""
        assert isinstance(other, SingleLabelTest)  # see `check_same_tracks`
        difference = self.correct.astype(int) - other.correct
        low, high = bootstrap_interval(difference)
        row = {"difference": difference.mean(), "difference_low": low, "difference_high": high}
        row |= {"only_first": (difference == 1).sum(), "only_second": (difference == -1).sum()}
        return row | {"p": mcnemar(self.correct, other.correct)}

    @staticmethod
    def show_pair(row: pd.Series) -> dict[str, str]:
        return {
            "difference in track accuracy": with_interval(row, "difference", "+.3f"),
            "right only in first, second": f"{row['only_first']}, {row['only_second']}",
        }

    @staticmethod
    def describe(table: pd.DataFrame) -> str:
        """The scores of guessing."""
        majority = sorted({f"{value:.3f}" for value in table["majority"]})
        return f"chance {table['chance'][0]:.3f}, majority {', '.join(majority)}"

    @classmethod
    def figure(cls, table: pd.DataFrame) -> Figure:
        return comparison(table, cls.DRAWN, {name: table[name][0] for name in ("chance", "majority")})


class MultiLabelTest:
    """The test of a run that gives a track several labels; made as `SingleLabelTest` is, errors as of `read_saved`."""

    DRAWN = {"f1_macro": "macro F1", "average_precision_macro": "mAP"}  # in the figure, and compared in pairs
    SCORES = DRAWN | {"f1_micro": "micro F1"}
    ABOUT_PAIRS = "in brackets: 95 % intervals of the same bootstrap draws for both; p: of the difference in macro F1"
    OTHER_TRUTH = "other labels"
    ROUNDING = 0.005  # of macro F1, where a saved probability lies just at its threshold

    def __init__(self, run: Run, test: dict[str, Any]) -> None:
        self.name, self.test, self.saved = run.name, test, read_saved(run)

    @property
    def truth(self) -> pd.Series:
        """The labels of each track, and those known to be absent, as text by `track_id`."""
        given = self.saved.tracks.set_index("track_id")
        return given["labels"] + "; not " + given["absent"] if "absent" in given else given["labels"]

    @cached_property
    def draws(self) -> dict[str, np.ndarray]:
        """Each score of all tracks and of bootstrap draws: float [1 + draws]; the draws of all runs are the same."""
        thresholds = np.array([self.test["thresholds"][name] for name in self.saved.names])
        return multi_label_draws(self.saved.truth, self.saved.probabilities, thresholds)

    @property
    def agrees(self) -> bool:
        """Whether test.json and the predictions are of the same test."""
        return abs(self.draws["f1_macro"][0] - self.test["f1_macro"]) < self.ROUNDING

    @property
    def row(self) -> dict[str, Any]:
        """The run's row of the comparison; a KeyError or TypeError where test.json is incomplete."""
        baseline = self.test["baselines"]["prevalence"]["f1_macro"]
        return with_intervals(self.name, self.test, self.SCORES) | {"prevalence": baseline}

    def difference(self, other: "Tested") -> dict[str, float]:
        """The differences in macro F1 and mAP, <score>, <score>_low and <score>_high, and p of that in macro F1."""
        assert isinstance(other, MultiLabelTest)  # see `check_same_tracks`
        row: dict[str, float] = {}
        for score in self.DRAWN:
            difference = self.draws[score] - other.draws[score]
            low, high = centred_interval(difference, minimum=-1)
            row |= {score: difference[0], f"{score}_low": low, f"{score}_high": high}
        return row | {"p": bootstrap_p(self.draws["f1_macro"] - other.draws["f1_macro"])}

    @classmethod
    def show_pair(cls, row: pd.Series) -> dict[str, str]:
        return {f"difference in {title}": with_interval(row, score, "+.3f") for score, title in cls.DRAWN.items()}

    @staticmethod
    def describe(table: pd.DataFrame) -> str:
        """The score of a no-audio baseline."""
        return f"macro F1 of the labels' frequencies {table['prevalence'][0]:.3f}"

    @classmethod
    def figure(cls, table: pd.DataFrame) -> Figure:
        return comparison(table, cls.DRAWN, {"macro F1 of frequencies": table["prevalence"][0]}, "score")


Tested = SingleLabelTest | MultiLabelTest


def read_tested(run: Run) -> Tested:
    """The report of a run.

    Raises
    ------
    ConfigError : there is no report (the nearest run that has one is suggested), or it is damaged or out of date.
    """
    check_tested(run)
    again = f"write it again (python -m scripts evaluate {run.name})"
    try:
        test = json.loads((run.report / "test.json").read_text(encoding="utf-8"))
        tested = (MultiLabelTest if "f1_macro" in test else SingleLabelTest)(run, test)
        agrees = tested.row and tested.agrees
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise ConfigError(f"{run.report}: the report is incomplete ({error}); {again}") from None
    if not agrees:
        raise ConfigError(f"{run.report}: test.json and predictions.csv are of different tests; {again}")
    return tested


def check_same_tracks(first: Tested, second: Tested) -> None:
    """Paired tests need the same tracks with the same genres or labels.

    Raises
    ------
    ConfigError : how many tracks differ, and some of them; or one run gives genres and the other labels.
    """
    if type(first) is not type(second):
        raise ConfigError(
            f"{first.name} and {second.name} cannot be compared: one gives a track a genre, the other "
            "several labels; give runs of one kind"
        )
    one, other = first.truth, second.truth
    differing = one.index.symmetric_difference(other.index).tolist()
    what = f"{len(differing)} tracks were tested by only one of them"
    if not differing:
        differing = one.index[one != other].tolist()
        what = f"{len(differing)} tracks have {first.OTHER_TRUTH}"
    if differing:
        raise ConfigError(
            f"{first.name} (split {first.test['split']}) and {second.name} (split {second.test['split']}) cannot be "
            f"compared: {what}, such as {', '.join(differing[:3])}; train both on one split (`metadata` with the "
            "same --split and --seed) and caches of the same tracks"
        )


# --- what is compared ---------------------------------------------------------------------------------------


def compare_pairs(runs: list[Tested]) -> pd.DataFrame:
    """A row for each pair: the names `first` and `second`, and the `difference` of the first to the second."""
    pairs = itertools.combinations(runs, 2)
    return pd.DataFrame([{"first": one.name, "second": other.name, **one.difference(other)} for one, other in pairs])


def bootstrap_p(difference: np.ndarray) -> float:
    """Two-sided p that there is no difference: how often draws around 0 go as far as the first value.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 16.
    """
    draws = difference[1:][~np.isnan(difference[1:])]
    return (1 + np.sum(np.abs(draws - draws.mean()) >= abs(difference[0]))) / (1 + len(draws))


def group_seeds(table: pd.DataFrame, scores: list[str]) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of the scores over the seeds of an experiment.

    Runs called <name>-seed0, <name>-seed1, ... are one group; a run without a seed in its name is its own.
    """
    groups = table.groupby(table["run"].str.replace(SEED, "", regex=True).rename("group"), sort=False)
    columns: dict[str, pd.Series] = {}
    for score in scores:
        columns |= {score: groups[score].mean(), f"{score}_sd": groups[score].std()}
    return pd.DataFrame({"runs": groups.size(), **columns}).reset_index()


# --- what is written ----------------------------------------------------------------------------------------


def compare(names: list[str], root: Path = ROOT, out: Path | None = None, group: bool = False) -> pd.DataFrame:
    """Compare tested runs, print the outcome, and write compare.csv, compare.md and compare.png into `out`.

    Parameters
    ----------
    names : of two or more runs that were tested on the same tracks.
    root : folder of the runs.
    out : folder of the files; default: `<root>/compare`.
    group : also mean and deviation over the seeds of an experiment.

    Returns
    -------
    What compare.csv holds: one row a run.

    Raises
    ------
    ConfigError : fewer than two runs, one without a report, or tests on different tracks.
    """
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"given: {' '.join(names)}; give two or more different runs")
    runs = [read_tested(Run(name, root)) for name in names]
    for other in runs[1:]:
        check_same_tracks(runs[0], other)
    kind, table = type(runs[0]), pd.DataFrame([run.row for run in runs])
    text = as_text(kind, table, compare_pairs(runs), group)
    folder = Path(root) / "compare" if out is None else Path(out)
    write_csv(folder / "compare.csv", table)
    write_text(folder / "compare.md", text)
    save(kind.figure(table), folder / "compare.png")
    print(f"{text}\n{folder}: compare.csv, compare.md, compare.png")
    return table


def as_text(kind: type[Tested], table: pd.DataFrame, pairs: pd.DataFrame, group: bool) -> str:
    """Markdown that is legible on the screen, too."""
    rows = [
        {"run": row["run"], "split": row["split"]}
        | {title: with_interval(row, score) for score, title in kind.SCORES.items()}
        for _, row in table.iterrows()
    ]
    parts = [f"{table['tracks'][0]} tracks; {kind.describe(table)}.", markdown_table(rows)]
    if group:
        groups = group_seeds(table, list(kind.SCORES))
        rows = [show_group(row, kind.SCORES) for _, row in groups.iterrows()]
        parts += ["Mean ± standard deviation over seeds:", markdown_table(rows)]
    rows = [
        {"first": row["first"], "second": row["second"], **kind.show_pair(row), "p": f"{row['p']:.2g}"}
        for _, row in pairs.iterrows()
    ]
    if len(pairs) > 1:
        from statsmodels.stats.multitest import multipletests  # takes a second to import

        corrected = multipletests(pairs["p"], method="holm")[1]
        rows = [row | {"p (Holm)": f"{p:.2g}"} for row, p in zip(rows, corrected, strict=True)]
    about = (
        f"Pairs on the same tracks ({kind.ABOUT_PAIRS}). They show how far other test tracks could change the outcome; "
        "how far another seed could, only several seeds show."
    )
    return "\n\n".join([*parts, about, markdown_table(rows)]) + "\n"


def show_group(row: pd.Series, scores: dict[str, str]) -> dict[str, str]:
    spread = {score: "" if row["runs"] == 1 else f" ± {row[f'{score}_sd']:.3f}" for score in scores}
    shown = {title: f"{row[score]:.3f}{spread[score]}" for score, title in scores.items()}
    return {"group": row["group"], "runs": str(row["runs"]), **shown}


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.compare(argv)
    compare(args.names, args.runs, args.out, args.group)
