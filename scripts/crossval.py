"""Cross-validation: train on all folds but one, test on that one, until every track has been tested."""

if __name__ == "__main__":  # as `python -m scripts crossval`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("crossval")

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.common.cli import command
from scripts.common.distributed import run_each
from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import write_csv, write_json
from scripts.config import flags
from scripts.config.experiment import Experiment
from scripts.config.experiments import chosen_experiment
from scripts.config.run import ROOT, Run
from scripts.loading.experiment_data import read_rows
from scripts.metrics.single_label import bootstrap_interval
from scripts.reports.predictions import read_predictions
from scripts.reports.single_label import averaging, describe_averaging, scores_of
from scripts.tables.splits import choose_folds
from scripts.train import describe_spread, train_or_keep


def cross_validate(
    experiment: Experiment,
    folds: int | None = None,
    repeats: int = 1,
    by: str | None = None,
    fold_seed: int = 0,
    tag: str = "",
    root: Path = ROOT,
    resume: bool = False,
    overwrite: bool = False,
    devices: Sequence[str] = (),
) -> dict[str, Any]:
    """Train and test `folds` x `repeats` times, as the runs `<name>-<tag>-r<repeat>f<fold>`.

    Repeat r deals the tracks out with the seed `fold_seed` + r. Writes cross_validation.json and the pooled
    predictions.csv (a row per track and repeat) below `<root>/reports/<name>-<tag>-folds/`.

    Parameters
    ----------
    folds, by : as for `splits.choose_folds`.
    devices : trains so many folds at once, see `run_each`.

    Returns
    -------
    What cross_validation.json holds: clip and track accuracy of each repeat over all of its tracks, their mean, the
    bootstrap interval over tracks (each track's mean over the repeats), and what averaging clips gains. With several
    labels a track: mean and standard deviation over the folds of macro F1, micro F1 and mAP, since each fold has
    thresholds of its own.

    Raises
    ------
    ProjectError : as `train`; a class has fewer tracks (artists) than there are folds; official folds are to be dealt
        out anew; or `resume` finds runs of other folds or settings.
    """
    folds, by = choose_folds(read_rows(experiment).drop_duplicates("track_id"), folds, by)
    if by == "official" and (repeats > 1 or fold_seed):
        raise ConfigError(
            f"{experiment.data.table}: its {folds} official folds are not dealt out anew; leave out --repeats and "
            "--fold-seed, or choose --by artist or --by track"
        )
    prefix, jobs, tested = f"{tag}-" if tag else "", [], []
    for seed, number in itertools.product(range(fold_seed, fold_seed + repeats), range(folds)):
        fold, name = {"num_folds": folds, "number": number, "seed": seed, "by": by}, f"{prefix}r{seed}f{number}"
        jobs.append((experiment.updated(fold=fold), name, root, resume, overwrite))
        tested.append(Run.of(experiment, name, root).report)
    reports = run_each(train_or_keep, jobs, devices, experiment.training.device)
    reports = [report | {"repeat": place // folds} for place, report in enumerate(reports)]
    folder = Run.of(experiment, f"{prefix}folds", root).report
    pooled = pool(tested, folds, folder)
    if experiment.task == "multi_label":
        summary = summarise_multi_label(pooled, reports)
    else:
        clips = [read_predictions(one / "clips.csv") for one in tested[:folds]]
        summary = summarise(pooled, reports) | what_averaging_gains(clips)
    write_csv(folder / "predictions.csv", pooled)
    write_json(folder / "cross_validation.json", {"by": by, "fold_seed": fold_seed, **summary})
    print(describe(experiment.name, summary, reports))
    return summary


def pool(tested: list[Path], folds: int, folder: Path) -> pd.DataFrame:
    """The predictions of all repeats' folds, with the columns repeat and fold; `folder` is named in the TableError."""
    tables = [
        read_predictions(report / "predictions.csv").assign(repeat=place // folds, fold=place % folds)
        for place, report in enumerate(tested)
    ]
    pooled = pd.concat(tables, ignore_index=True)
    if pooled.duplicated(["repeat", "track_id"]).any():
        raise TableError(f"{folder}: a track was tested in two folds; cross-validate anew, with another --tag")
    return pooled


def what_averaging_gains(folds: list[pd.DataFrame]) -> dict[str, Any]:
    """What averaging clips gains in one repeat, from the clips.csv of its folds, see `single_label.averaging`."""
    clips = pd.concat(folds, ignore_index=True)
    tracks, _ = pd.factorize(clips["track_id"])
    logits = clips.filter(regex="^l_")
    names = [name.removeprefix("l_") for name in logits]
    labels = clips["genre"].map(names.index).groupby(tracks).first().to_numpy()
    scores = scores_of(logits.to_numpy(), tracks, labels)
    return {"first_repeat": averaging(scores, int(np.bincount(tracks).max()))}


def summarise(predictions: pd.DataFrame, reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Scores of the pooled predictions (columns track_id, genre, predicted, repeat, fold)."""
    correct = predictions["genre"] == predictions["predicted"]
    per_repeat = correct.groupby(predictions["repeat"]).mean()
    clips = pd.DataFrame(reports)
    clips = clips.assign(correct=clips["clip_accuracy"] * clips["items"]).groupby("repeat")[["correct", "items"]].sum()
    per_clip = clips["correct"] / clips["items"]
    return {
        "tracks": int(predictions["track_id"].nunique()),
        "folds": int(predictions["fold"].nunique()),
        "repeats": len(per_repeat),
        "track_accuracy": float(per_repeat.mean()),
        "track_accuracy_interval_95": bootstrap_interval(correct.groupby(predictions["track_id"]).mean().to_numpy()),
        "track_accuracy_per_repeat": per_repeat.round(6).tolist(),
        "clip_accuracy": float(per_clip.mean()),
        "clip_accuracy_per_repeat": per_clip.round(6).tolist(),
        "fold_sd": float(np.std([report["track_accuracy"] for report in reports], ddof=1)),
    }


def summarise_multi_label(predictions: pd.DataFrame, reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Scores of runs with several labels a track, over their folds."""
    scores = pd.DataFrame(reports)[["f1_macro", "f1_micro", "average_precision_macro"]].astype(float)
    return {
        "tracks": int(predictions["track_id"].nunique()),
        "folds": int(predictions["fold"].nunique()),
        "repeats": int(predictions["repeat"].nunique()),
        **scores.mean().to_dict(),
        **scores.std(ddof=1).add_suffix("_sd").to_dict(),
    }


def describe(name: str, summary: dict[str, Any], reports: list[dict[str, Any]]) -> str:
    """The scores in a few lines for the screen."""
    head = f"{name}: {summary['repeats']} x {summary['folds']} folds, {summary['tracks']} tracks"
    folds = f"folds: {describe_spread(reports)}"
    if "track_accuracy" not in summary:
        return f"{head}\n{folds}"
    low, high = summary["track_accuracy_interval_95"]
    repeats = ", ".join(f"{value:.3f}" for value in summary["track_accuracy_per_repeat"])
    return (
        f"{head}\npooled: track accuracy {summary['track_accuracy']:.3f} (95 % interval {low:.3f}-{high:.3f}; repeats "
        f"{repeats}), clip accuracy {summary['clip_accuracy']:.3f}\n"
        f"{folds}\n{describe_averaging(summary['first_repeat'])}"
    )


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.crossval(argv)
    settings = args.folds, args.repeats, args.by, args.fold_seed, args.tag, args.runs, args.resume, args.overwrite
    cross_validate(chosen_experiment(args), *settings, args.devices)
