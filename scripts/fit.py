"""From a folder of sounds to a tested classifier in a minute: a classical head on a pretrained network's embeddings."""

if __name__ == "__main__":  # as `python -m scripts fit`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("fit")

import contextlib
import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.architectures.fitted import HEADS
from scripts.architectures.musicnn import PUBLISHED, find_weights
from scripts.audio.build_cache import build_cache
from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError, DownloadError, TableError
from scripts.config import flags
from scripts.config.experiments import get_experiment
from scripts.config.run import ROOT, Run
from scripts.crossval import cross_validate
from scripts.train import train
from scripts.utils.labeled_tracks import write_label_table
from scripts.utils.mels import summary
from scripts.utils.metadata import write_metadata

NO_WEIGHTS = "none"
TABLE = "metadata_ensemble.csv"
MULTI_LABEL = {"task": "multi_label", "loss": "bce"}
TAGS = {"labels", "tags", "instruments"}  # columns of a table with several labels a track
FEW_TRACKS = 100  # tested: their score is sure to about ± 10 points
WIDE = 0.2  # of an interval


def fit(
    source: Path,
    name: str = "",
    classifier: str = "lda",
    weights: str = "jamendo",
    folder: Path = Path("data/fit"),
    root: Path = ROOT,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fit and test a classifier of one's own sounds, as the run `name`; prints what was found and what to do next.

    Parameters
    ----------
    source : a folder with one of its name for each class, or a label table (CSV), see the datasets folder, table and
        multi_table.
    name : of the run; default: that of the source.
    classifier : "lda", "logistic", "svm", "mlp" or "nearest", see `scripts.architectures.fitted.Fitted`.
    weights : "jamendo", "mtat", or a file with one of them, of MusiCNN; "none" leaves it out: the classifier learns
        from statistics of the spectrogram alone.
    folder : tables and spectrograms go into `<folder>/<name>`.
    root : folder of the runs.
    overwrite : delete the run first, if it exists.

    Returns
    -------
    What test.json holds.

    Raises
    ------
    ConfigError : the run exists, or an unknown classifier.
    TableError : the source holds too few classes or files, or cannot be read.
    DownloadError, CheckpointError : the weights cannot be fetched, or are damaged.
    """
    if not source.exists():
        raise ConfigError(f"{source}: no such file or folder; give a folder with one for each class, or a table")
    pick("classifier", classifier, HEADS)
    name = name or source.resolve().stem
    if Run(name, root).exists() and not overwrite:
        raise ConfigError(f"the run {name} exists in {root}/; give --name for another, or --overwrite")
    experiment = get_experiment("statistics_head" if weights == NO_WEIGHTS else "musicnn_head")
    if weights != NO_WEIGHTS:
        path = fetch_weights(weights)
        weights = weights if weights in PUBLISHED else str(path)
        experiment = experiment.updated({"model.settings": {"pretrained": weights}})
    place = folder / name
    tracks = deal_out(source, place)
    settings: dict[str, Any] = {"name": name, "table": str(place / TABLE), "cache": str(place / "mels")}
    settings |= {"model.classifier": classifier} | (MULTI_LABEL if "labels" in tracks else {})
    experiment = experiment.updated(settings)
    print(summary(build_cache(tracks, experiment.data.cache, experiment.features.spec)))
    report = train(experiment, root=root, overwrite=overwrite)
    if experiment.task == "single_label" and report["tracks"] < FEW_TRACKS:
        with contextlib.redirect_stdout(io.StringIO()):
            folds = cross_validate(experiment, root=root, overwrite=True)
        print(f"{report['tracks']} test tracks say little. {judge(folds, report['majority'])}")
    print(f"try it:\n  python -m scripts predict FILE --run {name}\n  python -m scripts try_it --model {name}")
    return report


def fetch_weights(name: str) -> Path:
    try:
        return find_weights(name)
    except DownloadError as error:
        raise DownloadError(f"{error}; or give --weights {NO_WEIGHTS}, which does without them") from None


def deal_out(source: Path, place: Path) -> pd.DataFrame:
    """Write the label table and the metadata of the sounds into a folder; a row a track. Raises TableErrors."""
    labels = place / "labeled_tracks.csv"
    table = write_label_table(dataset_of(source), source, labels)
    if "labels" not in table and table["genre"].nunique() == 1:
        name = table["genre"][0]
        raise TableError(f"{source}: all files are {name}; a classifier needs two classes or more, add another folder")
    return write_metadata(labels, place / TABLE, place / "metadata_30_secs.csv")


def dataset_of(source: Path) -> str:
    """Which dataset reads it: "folder", "table", or "multi_table" of several labels a track."""
    if not source.is_file():
        return "folder"
    with open(source, encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file), [])
    return "multi_table" if TAGS & {column.strip().lower() for column in header} else "table"


def judge(folds: dict[str, Any], majority: float) -> str:
    """A cross-validated score, and what it shows."""
    low, high = folds["track_accuracy_interval_95"]
    score = (
        f"Each of {folds['tracks']} tracks tested once, in {folds['folds']} folds: track accuracy "
        f"{folds['track_accuracy']:.3f} (95 % interval {low:.3f}-{high:.3f})"
    )
    if low <= majority:
        return f"{score}. That may be no better than naming the commonest class ({majority:.3f}): it shows nothing yet."
    more = "; how much, more files would show" if high - low > WIDE else ""
    return f"{score}. That is better than naming the commonest class ({majority:.3f}){more}."


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.fit(argv)
    fit(args.source, args.name, args.classifier, args.weights, args.folder, args.runs, args.overwrite)
