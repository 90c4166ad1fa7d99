"""Set runs side by side that were tested on the same tracks: intervals, and whether they differ at all.

    python -m scripts.compare fma_cnn_3s fma_cnn_30s
    python -m scripts.compare wide-seed0 wide-seed1 deep-seed0 deep-seed1 --group --out runs/compare/depth

Prints, and writes as compare.csv, compare.md and compare.png: track and clip accuracy with 95 % bootstrap intervals
over tracks, macro F1 and the calibration error (ECE) of each run, beside chance and the majority baseline. Each pair
of runs is tested on the same tracks: McNemar's exact test, corrected after Holm for more than two runs, and the
bootstrap interval of the difference. Runs must have been tested (python -m scripts.evaluate RUN).
"""

import argparse
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.cli import command, pick
from scripts.errors import ConfigError
from scripts.metrics import bootstrap_interval, holm, mcnemar
from scripts.runs import ROOT, Run
from scripts.storage import write_csv, write_text
from scripts.utils.score_figures import comparison
from scripts.utils.visualisation import save

SCORES = ["track_accuracy", "clip_accuracy", "macro_f1", "ece"]
ABOUT_PAIRS = (
    "Pairs on the same tracks (p: McNemar's exact test; in brackets: 95 % bootstrap intervals). They tell how far "
    "other test tracks could change the outcome; how far another seed could, only several seeds tell."
)
SEED = re.compile(r"-seed\d+$")


@dataclass(frozen=True)
class Tested:
    """A run's test.json, and its predictions with `track_id` as index, sorted."""

    name: str
    test: dict[str, Any]
    predictions: pd.DataFrame

    @property
    def correct(self) -> np.ndarray:
        """bool [tracks]."""
        return (self.predictions["genre"] == self.predictions["predicted"]).to_numpy()


def read_tested(run: Run) -> Tested:
    """The report of a run.

    Raises
    ------
    ConfigError : there is no report (the nearest run that has one is suggested), or it is damaged or out of date.
    """
    known = sorted(path.parent.name for path in run.root.glob("reports/*/test.json"))
    if not known:
        raise ConfigError(f"no tested run in {run.root}/; train one first (python -m scripts.train --help)")
    pick("tested run", run.name, known)
    try:
        test = json.loads((run.report / "test.json").read_text(encoding="utf-8"))
        check_single(run, test)
        table = pd.read_csv(run.report / "predictions.csv", dtype={"track_id": str}, keep_default_na=False)
        tested = Tested(run.name, test, table.set_index("track_id").sort_index())
        describe_run(tested)
        agree = abs(tested.correct.mean() - test["track_accuracy"]) < 1e-9
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise ConfigError(f"{run.report}: the report is incomplete ({error}); {how_to_write(run.name)}") from None
    if not agree:
        what = "test.json and predictions.csv are of different tests"
        raise ConfigError(f"{run.report}: {what}; {how_to_write(run.name)}")
    return tested


def check_single(run: Run, test: dict[str, Any]) -> None:
    """Paired tests are of tracks that are right or wrong, not partly right."""
    if "f1_macro" in test:
        raise ConfigError(
            f"{run.name} gives a track several labels, which are not compared track by track; see the intervals in "
            f"{run.report}/test.json, or runs side by side with python -m scripts.blend"
        )


def how_to_write(name: str) -> str:
    return f"write it again (python -m scripts.evaluate {name})"


def describe_run(tested: Tested) -> dict[str, Any]:
    """A run's row of the comparison."""
    test = tested.test
    row = {"run": tested.name, "split": test["split"], "tracks": test["tracks"]}
    for level in ("track", "clip"):
        row[f"{level}_accuracy"] = test[f"{level}_accuracy"]
        row[f"{level}_low"], row[f"{level}_high"] = test[f"{level}_accuracy_interval_95"]
    scores = {"macro_f1": test["macro_f1"], "ece": test["calibration"]["ece"]}
    return row | scores | {"chance": test["chance"], "majority": test["majority"]}


def check_same_tracks(first: Tested, second: Tested) -> None:
    """Paired tests need the same tracks with the same genres.

    Raises
    ------
    ConfigError : how many tracks differ, and some of them.
    """
    one, other = first.predictions["genre"], second.predictions["genre"]
    differing = one.index.symmetric_difference(other.index).tolist()
    what = f"{len(differing)} tracks were tested by only one of them"
    if not differing:
        differing = one.index[one != other].tolist()
        what = f"{len(differing)} tracks have another genre"
    if differing:
        raise ConfigError(
            f"{first.name} (split {first.test['split']}) and {second.name} (split {second.test['split']}) cannot be "
            f"compared: {what}, such as {', '.join(differing[:3])}; train both on one split (metadata.py with the "
            "same --split and --seed) and caches of the same tracks"
        )


def compare_pairs(runs: list[Tested]) -> pd.DataFrame:
    """A row for each pair: the difference in track accuracy, its 95 % interval, and p of McNemar's test.

    Returns
    -------
    Columns first, second, difference (first minus second), low, high, only_first and only_second (tracks that only
    one of them gets right), p, p_holm (corrected for the number of pairs).
    """
    rows = []
    for first, second in itertools.combinations(runs, 2):
        right, other = first.correct, second.correct
        difference = right.astype(int) - other
        row = {"first": first.name, "second": second.name, "difference": difference.mean()}
        row["low"], row["high"] = bootstrap_interval(difference)
        row |= {"only_first": (difference == 1).sum(), "only_second": (difference == -1).sum()}
        rows.append(row | {"p": mcnemar(right, other)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"]))


def group_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of the scores over the seeds of an experiment.

    Runs called <name>-seed0, <name>-seed1, ... are one group; a run without a seed in its name is its own.
    """
    groups = table.groupby(table["run"].str.replace(SEED, "", regex=True).rename("group"), sort=False)
    columns = {}
    for score in SCORES:
        columns |= {score: groups[score].mean(), f"{score}_sd": groups[score].std()}
    return pd.DataFrame({"runs": groups.size(), **columns}).reset_index()


# --- what is written ----------------------------------------------------------------------------------------


def compare(names: list[str], root: Path = ROOT, out: Path | None = None, group: bool = False) -> pd.DataFrame:
    """Compare tested runs, print the outcome, and write compare.csv, compare.md and compare.png into `out`.

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
    table, pairs = pd.DataFrame([describe_run(run) for run in runs]), compare_pairs(runs)
    text = as_text(table, pairs, group_seeds(table) if group else None)
    folder = Path(root) / "compare" if out is None else Path(out)
    write_csv(folder / "compare.csv", table)
    write_text(folder / "compare.md", text)
    save(comparison(table), folder / "compare.png")
    print(f"{text}\n{folder}: compare.csv, compare.md, compare.png")
    return table


def as_text(table: pd.DataFrame, pairs: pd.DataFrame, groups: pd.DataFrame | None) -> str:
    """Markdown that is legible on the screen, too."""
    rows, first = [show_run(row) for _, row in table.iterrows()], table.iloc[0]
    majority = sorted({f"{value:.3f}" for value in table["majority"]})
    parts = [f"{first['tracks']} tracks; chance {first['chance']:.3f}, majority {', '.join(majority)}.", markdown(rows)]
    if groups is not None:
        parts += ["Mean ± standard deviation over seeds:", markdown([show_group(row) for _, row in groups.iterrows()])]
    parts += [ABOUT_PAIRS]
    parts += [markdown([show_pair(row, len(table) > 2) for _, row in pairs.iterrows()])]
    return "\n\n".join(parts) + "\n"


def show_run(row: pd.Series) -> dict[str, str]:
    levels = {
        f"{level} accuracy": f"{row[f'{level}_accuracy']:.3f} ({row[f'{level}_low']:.3f}-{row[f'{level}_high']:.3f})"
        for level in ("track", "clip")
    }
    return {"run": row["run"], "split": row["split"], **levels, "macro F1": f"{row['macro_f1']:.3f}",
            "ECE": f"{row['ece']:.3f}"}  # fmt: skip


def show_group(row: pd.Series) -> dict[str, str]:
    spread = {score: "" if row["runs"] == 1 else f" ± {row[f'{score}_sd']:.3f}" for score in SCORES}
    titles = {"macro_f1": "macro F1", "ece": "ECE"}
    scores = {titles.get(score, score.replace("_", " ")): f"{row[score]:.3f}{spread[score]}" for score in SCORES}
    return {"group": row["group"], "runs": str(row["runs"]), **scores}


def show_pair(row: pd.Series, corrected: bool) -> dict[str, str]:
    shown = {
        "first": row["first"],
        "second": row["second"],
        "difference in track accuracy": f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
        "right only in first, second": f"{row['only_first']}, {row['only_second']}",
        "p": f"{row['p']:.2g}",
    }
    return shown | ({"p (Holm)": f"{row['p_holm']:.2g}"} if corrected else {})


def markdown(rows: list[dict[str, str]]) -> str:
    """A table with its columns aligned."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="RUN", help="two or more, as in runs/reports/")
    parser.add_argument("--group", action="store_true", help="also mean ± sd over <name>-seed0, <name>-seed1, ...")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write; default: runs/compare")
    parser.add_argument("--runs", type=Path, default=ROOT, metavar="FOLDER", help="default: runs")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    compare(args.names, args.runs, args.out, args.group)


if __name__ == "__main__":
    main()
