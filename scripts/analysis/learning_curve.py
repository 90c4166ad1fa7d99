"""A learning curve: the same network on shares of the training tracks, each tested on the same tracks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scripts.analysis.compare import Tested, read_tested
from scripts.common.cli import command
from scripts.common.errors import ConfigError
from scripts.common.plotting import ABOVE, COLOURS, GREY, GRID, LEGEND, new_figure, save
from scripts.common.storage import write_csv, write_text
from scripts.config import flags
from scripts.config.experiment import Experiment
from scripts.config.experiments import chosen_experiment
from scripts.config.run import ROOT, Run
from scripts.loading.experiment_data import Data
from scripts.reports.markdown import markdown_table, with_interval
from scripts.train import train_or_keep


def learning_curve(
    experiment: Experiment,
    shares: Sequence[float] = (0.25, 0.5, 1.0),
    tag: str = "",
    root: Path = ROOT,
    resume: bool = False,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Train on shares of the training tracks, as the runs `<name>-<tag>-share<percent>`, and test each.

    Smaller shares are parts of greater ones. Prints the scores and what they show, and writes learning_curve.csv, .md
    and .png below `<root>/reports/<name>-<tag>-curve/`.

    Parameters
    ----------
    shares : two or more, above 0, up to 1.
    tag, root, resume, overwrite : as for `train`; with `resume` the finished runs are kept.

    Returns
    -------
    What learning_curve.csv holds: a row a share, with `share`, `train_tracks` and the columns of `compare`.

    Raises
    ------
    ConfigError : fewer than two shares, or one that is not allowed; and as `train`.
    TableError : a share leaves a class without a training track; and as `train`.
    """
    experiments = [experiment.updated(train_share=share) for share in sorted(set(shares))]
    if len(experiments) < 2:
        raise ConfigError("a learning curve needs two or more different shares, such as --shares 0.5 1")
    rows, tests, prefix = [], [], f"{tag}-" if tag else ""
    for changed in experiments:
        share = changed.data.train_share
        name = f"{prefix}share{100 * share:g}"
        train_or_keep(changed, name, root, resume, overwrite)
        tests.append(read_tested(Run.of(changed, name, root)))
        tracks = len(Data.load(changed).items.part("train").tracks)
        rows.append({"share": share, "train_tracks": tracks, **tests[-1].row})
    table, scores = pd.DataFrame(rows), tests[-1].DRAWN
    text = as_text(table, tests)
    folder = Run.of(experiment, f"{prefix}curve", root).report
    write_csv(folder / "learning_curve.csv", table)
    write_text(folder / "learning_curve.md", text)
    save(draw(table, scores), folder / "learning_curve.png")
    print(f"{text}\n{folder}: learning_curve.csv, learning_curve.md, learning_curve.png")
    return table


def as_text(table: pd.DataFrame, tests: list[Tested]) -> str:
    """Markdown: the scores of each share, and in a sentence whether the last tracks have helped."""
    rows = [
        {"share": f"{row['share']:g}", "training tracks": f"{row['train_tracks']}"}
        | {title: with_interval(row, score) for score, title in tests[-1].DRAWN.items()}
        for _, row in table.iterrows()
    ]
    return f"{markdown_table(rows)}\n\n{conclusion(table, tests)}\n"


def conclusion(table: pd.DataFrame, tests: list[Tested]) -> str:
    """What the difference between the two greatest shares, on the same test tracks, says of more files."""
    score, title = next(iter(tests[-1].DRAWN.items()))
    difference = pd.Series(tests[-1].difference(tests[-2]))
    score = score if score in difference else "difference"
    before, after = table["train_tracks"].iloc[-2:]
    change = with_interval(difference, score, "+.3f")
    if difference[f"{score}_low"] > 0:
        shown = "the score still rises, so more files would probably help"
    elif difference[f"{score}_high"] < 0:
        shown = "the score falls, so more files of this kind alone would probably not help"
    else:
        shown = "the interval includes 0, so these test tracks do not show whether more files would help"
    return f"From {before} to {after} training tracks, {title} changes by {change}: {shown}."


def draw(table: pd.DataFrame, scores: dict[str, str]) -> Figure:
    """Scores with their 95 % intervals against the number of training tracks; `scores` : column and legend entry."""
    figure, [[axes]] = new_figure(3.4)
    for (column, name), colour, marker in zip(scores.items(), COLOURS, "os", strict=False):
        reach = np.abs([table[column] - table[f"{column}_low"], table[f"{column}_high"] - table[column]])
        style = {"color": colour, "fmt": f"{marker}-", "markersize": 5, "capsize": 3, "clip_on": False}
        axes.errorbar(table["train_tracks"], table[column], yerr=reach, label=name, **style)
    if "chance" in table:
        axes.axhline(table["chance"][0], color=GREY, linewidth=1, label="chance")
    axes.set_xscale("log")
    axes.set_xticks(table["train_tracks"], table["train_tracks"].astype(str))
    axes.minorticks_off()
    axes.set(ylim=(0, 1.02), ylabel=f"score on the {table['tracks'][0]} test tracks")
    axes.set_xlabel("training tracks (bars: 95 % intervals over test tracks)")
    axes.grid(color=GRID)
    figure.legend(loc=ABOVE, ncols=3, **LEGEND)
    return figure


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.learning_curve(argv)
    learning_curve(chosen_experiment(args), args.shares, args.tag, args.runs, args.resume, args.overwrite)
