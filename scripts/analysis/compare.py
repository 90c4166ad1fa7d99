"""Set runs side by side that were tested on the same tracks: intervals, and whether they differ at all."""

import json
import re
from pathlib import Path
from types import ModuleType

import pandas as pd

from scripts.analysis import compare_genres, compare_tags, flags
from scripts.common.cli import command
from scripts.common.errors import ConfigError
from scripts.common.storage import write_csv, write_text
from scripts.config.run import ROOT, Run
from scripts.reports.markdown import markdown_table, with_interval
from scripts.reports.predictions import check_tested
from scripts.utils.visualisation import save

ABOUT_PAIRS = (
    "Pairs on the same tracks ({}). They tell how far other test tracks could change the outcome; how far another "
    "seed could, only several seeds tell."
)
SEED = re.compile(r"-seed\d+$")
Tested = compare_genres.Tested | compare_tags.Tested


def kind_of(tested: Tested) -> ModuleType:
    """The module that compares runs such as this one."""
    return compare_tags if isinstance(tested, compare_tags.Tested) else compare_genres


def read_tested(run: Run) -> Tested:
    """The report of a run.

    Raises
    ------
    ConfigError : there is no report (the nearest run that has one is suggested), or it is damaged or out of date.
    """
    check_tested(run)
    again = f"write it again (python -m scripts.evaluate {run.name})"
    try:
        test = json.loads((run.report / "test.json").read_text(encoding="utf-8"))
        tested = (compare_tags if "f1_macro" in test else compare_genres).read(run, test)
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
        what = f"{len(differing)} tracks have {'another genre' if one.name == 'genre' else 'other labels'}"
    if differing:
        raise ConfigError(
            f"{first.name} (split {first.test['split']}) and {second.name} (split {second.test['split']}) cannot be "
            f"compared: {what}, such as {', '.join(differing[:3])}; train both on one split (metadata.py with the "
            "same --split and --seed) and caches of the same tracks"
        )


def group_seeds(table: pd.DataFrame, scores: list[str]) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of the scores over the seeds of an experiment.

    Runs called <name>-seed0, <name>-seed1, ... are one group; a run without a seed in its name is its own.
    """
    groups = table.groupby(table["run"].str.replace(SEED, "", regex=True).rename("group"), sort=False)
    columns = {}
    for score in scores:
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
    kind, table = kind_of(runs[0]), pd.DataFrame([run.row for run in runs])
    text = as_text(kind, table, kind.compare_pairs(runs), group)
    folder = Path(root) / "compare" if out is None else Path(out)
    write_csv(folder / "compare.csv", table)
    write_text(folder / "compare.md", text)
    save(kind.figure(table), folder / "compare.png")
    print(f"{text}\n{folder}: compare.csv, compare.md, compare.png")
    return table


def as_text(kind: ModuleType, table: pd.DataFrame, pairs: pd.DataFrame, group: bool) -> str:
    """Markdown that is legible on the screen, too."""
    rows = [show_run(row, kind.SCORES) for _, row in table.iterrows()]
    parts = [f"{table['tracks'][0]} tracks; {kind.describe(table)}.", markdown_table(rows)]
    if group:
        groups = group_seeds(table, list(kind.SCORES))
        rows = [show_group(row, kind.SCORES) for _, row in groups.iterrows()]
        parts += ["Mean ± standard deviation over seeds:", markdown_table(rows)]
    if len(pairs) > 1:
        from statsmodels.stats.multitest import multipletests  # takes a second to import

        pairs = pairs.assign(p_holm=multipletests(pairs["p"], method="holm")[1])
    rows = [show_pair(row, kind.show_pair(row)) for _, row in pairs.iterrows()]
    return "\n\n".join([*parts, ABOUT_PAIRS.format(kind.ABOUT_PAIRS), markdown_table(rows)]) + "\n"


def show_run(row: pd.Series, scores: dict[str, str]) -> dict[str, str]:
    shown = {title: with_interval(row, score) for score, title in scores.items()}
    return {"run": row["run"], "split": row["split"], **shown}


def show_group(row: pd.Series, scores: dict[str, str]) -> dict[str, str]:
    spread = {score: "" if row["runs"] == 1 else f" ± {row[f'{score}_sd']:.3f}" for score in scores}
    shown = {title: f"{row[score]:.3f}{spread[score]}" for score, title in scores.items()}
    return {"group": row["group"], "runs": str(row["runs"]), **shown}


def show_pair(row: pd.Series, differences: dict[str, str]) -> dict[str, str]:
    shown = {"first": row["first"], "second": row["second"], **differences, "p": f"{row['p']:.2g}"}
    return shown | ({"p (Holm)": f"{row['p_holm']:.2g}"} if "p_holm" in row else {})


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.compare(argv)
    compare(args.names, args.runs, args.out, args.group)
