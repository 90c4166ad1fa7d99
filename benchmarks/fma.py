"""One row of the README's table for FMA-small: split, cache, train with several seeds, test, print the row.

    python -m benchmarks.fma fma_cnn_3s official --seeds 0 1 2
    python -m benchmarks.fma best_scratch random80 --seeds 0 1 2

Needs FMA's two archives (scripts/utils/download.py metadata, then small). Started again, it goes on where it was.
"""

import argparse
from pathlib import Path

import numpy as np

from scripts.audio.build_cache import build_cache
from scripts.common.cli import command
from scripts.config.experiments import get_experiment
from scripts.config.run import Run
from scripts.metrics.single_label import bootstrap_interval
from scripts.reports.markdown import mean_and_deviation
from scripts.reports.predictions import read_predictions
from scripts.train import train_seeds
from scripts.utils.labeled_tracks import write_label_table
from scripts.utils.metadata import write_metadata

SPLITS = ("official", "random80")


def measure(name: str, split: str, seeds: list[int], data: Path = Path("data"), runs: Path = Path("runs")) -> str:
    """Train and test the experiment on the split with each seed; the row in Markdown."""
    labels, tracks, clips = (data / f"{stem}_{split}.csv" for stem in ("labels", "tracks", "clips"))
    experiment = get_experiment(name)
    write_label_table("fma", data, labels)
    build_cache(write_metadata(labels, clips, tracks, split), experiment.data.cache, experiment.features.spec)
    table = tracks if experiment.data.unit == "track" else clips
    leaky = split == "random80"
    experiment = experiment.updated(table=str(table), allow_leak=leaky)
    reports = train_seeds(experiment, seeds, split, runs, resume=True)
    cells = describe(reports, correct_by_track([Run(report["run"], runs) for report in reports]))
    return f"| `{name}` | FMA-small, {split} | {cells} |"


def correct_by_track(runs: list[Run]) -> np.ndarray:
    """The share of the runs that are right about each test track: float [tracks]."""
    tables = [read_predictions(run.report / "predictions.csv") for run in runs]
    return np.mean([table["genre"] == table["predicted"] for table in tables], axis=0)


def describe(reports: list[dict], correct: np.ndarray) -> str:
    """`clip accuracy | track accuracy (interval)`, means and deviations over the seeds, interval over the tracks."""
    names = ("clip_accuracy", "track_accuracy")
    clip, track = (mean_and_deviation([report[name] for report in reports]) for name in names)
    low, high = bootstrap_interval(correct)
    return f"{clip} | {track} ({low:.3f}–{high:.3f})"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=("fma_cnn_3s", "best_scratch"))
    parser.add_argument("split", choices=SPLITS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    print(measure(args.experiment, args.split, args.seeds))


if __name__ == "__main__":
    main()
