"""Classical classifiers on tables of features: the baselines that a network has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from scripts.baselines import flags
from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import write_json
from scripts.config.run import Run
from scripts.datasets import gtzan_features
from scripts.loading.feature_rows import join, list_sources, read_sources
from scripts.loading.loader import Items
from scripts.reports.markdown import mean_and_deviation
from scripts.reports.single_label import describe_summary, predictions_table, scores_of, summarise, write_report
from scripts.tables.label_table import NEEDED_TO_TRAIN, class_names, read_table
from scripts.tables.leaks import describe_leaks
from scripts.tables.splits import choose_folds, fingerprint, k_folds
from scripts.training.classifiers import CLASSIFIERS, make_classifier

GTZAN = {"gtzan": "30s", "gtzan_clips": "3s"}  # the public tables, as values of --features
FLOOR = 1e-3  # smallest probability whose logarithm is taken

# --- data ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureData:
    """Tracks with their features.

    Attributes
    ----------
    tracks : all tracks that are in a part, with `track_id, genre, class, split`.
    items : of those that have features; `items.array` is float64 [rows, features].
    tests : the parts to test, each after training on all others: "test", or every fold.
    classes : genre names by class number.
    """

    tracks: pd.DataFrame
    items: Items
    tests: list[str]
    classes: list[str]

    @classmethod
    def load(
        cls,
        features: str | Sequence[str],
        table: Path,
        root: Path,
        folds: int | None = None,
        by: str | None = None,
        seed: int = 0,
    ) -> "FeatureData":
        """Join tables of features (see `read_sources`) with metadata, or read a public table (`GTZAN`) below `root`.

        With `folds` or `by` the split becomes that of `k_folds`; the other one is as in `choose_folds`.

        Raises
        ------
        ConfigError : folds that cannot be.
        TableError : a table is missing or wrong, no track has features, or a genre has none to train or test on.
        """
        sources = list_sources(features)
        public = GTZAN.keys() & set(sources)
        if public and len(sources) > 1:
            raise ConfigError(f"{min(public)} has tracks of its own; give it without other --features")
        if public:
            rows = gtzan_features.read_features(root, GTZAN[sources[0]])
            tracks = rows[NEEDED_TO_TRAIN]
        else:
            tracks, rows = read_table(table, NEEDED_TO_TRAIN), read_sources(sources)
        tracks, tests = tracks.drop_duplicates("track_id", ignore_index=True), ["test"]
        if folds or by:
            folds, by = choose_folds(tracks, folds, by)
            tests = [f"fold {number}" for number in range(folds)]
            tracks = tracks.assign(split=[tests[number] for number in k_folds(tracks, folds, seed, by)])
        tracks = tracks[tracks["split"].notna()].reset_index(drop=True)
        data = cls(tracks, join(tracks, rows, ", ".join(sources)), tests, class_names(tracks))
        for name in tests:
            data.check(name)
        return data

    def check(self, test: str) -> None:
        mine = (self.items.tracks["split"] == test).to_numpy()
        missing = set(range(len(self.classes))) - set(self.items.tracks.loc[~mine, "class"])
        if missing or not mine.any():
            what = f"no track of {self.classes[min(missing)]!r} to train on" if missing else "no track in it"
            raise TableError(f"{test}: {what}; describe more tracks, or make the metadata with another --split")

    @property
    def tested(self) -> np.ndarray:
        """bool [tracks of items]."""
        return self.items.tracks["split"].isin(self.tests).to_numpy()

    @property
    def left_out(self) -> pd.DataFrame:
        """The tracks to be tested that have no features, with `status`."""
        known = self.tracks["track_id"].isin(self.items.tracks["track_id"])
        return self.tracks[~known & self.tracks["split"].isin(self.tests)].assign(status="without features")

    @property
    def leaks(self) -> list[str]:
        """What is known to leak from the tracks trained on to those tested."""
        parts = [np.where(self.tracks["split"] == name, "test", "train") for name in self.tests]
        return list(dict.fromkeys(line for part in parts for line in describe_leaks(self.tracks.assign(split=part))))


# --- training and testing -----------------------------------------------------------------------------------


def score_classifier(
    data: FeatureData, run: Run, classifier: str, seed: int = 0, balanced: bool = False
) -> dict[str, Any]:
    """Train and test `make_classifier(classifier, seed, balanced)`, write the run's report and print it.

    Parameters
    ----------
    data : features, labels and the parts to test.
    run : whose report is written.
    classifier, seed, balanced : as for `make_classifier`.

    Returns
    -------
    What test.json holds; "folds" has the clip and track accuracy of each fold.

    Raises
    ------
    ConfigError : an unknown classifier, or one that cannot be balanced.
    """
    logits = score_rows(data, classifier, seed, balanced)
    items = data.items.select(data.tested)
    scores = scores_of(logits[data.tested[data.items.track]], items.track, items.tracks["class"].to_numpy())
    train = data.items if len(data.tests) > 1 else data.items.select(~data.tested)
    summary = summarise(scores, items, train, data.classes, data.left_out)
    facts = {"run": run.name, "part": "test", "split": fingerprint(data.tracks), "leaks": data.leaks, "seed": seed}
    facts |= {"classifier": classifier, "features": data.items.array.shape[1]}
    if len(data.tests) > 1:
        facts["folds"] = fold_accuracies(data, logits)
    write_report(run.report, facts, summary, predictions_table(scores, items, data.classes), data.classes)
    print(describe_test(facts, summary))
    return facts | summary


def score_rows(data: FeatureData, classifier: str, seed: int, balanced: bool) -> np.ndarray:
    """Class scores of each row that is tested, by a classifier trained on all other parts; NaN elsewhere.

    Returns
    -------
    float64 [rows, classes].
    """
    items, logits = data.items, np.full((len(data.items), len(data.classes)), np.nan)
    for name in data.tests:
        mine = (items.tracks["split"] == name).to_numpy()[items.track]
        model = make_classifier(classifier, seed, balanced).fit(items.array[~mine], items.labels[~mine])
        logits[mine] = class_scores(model, items.array[mine])
    return logits


def class_scores(model: Pipeline, values: np.ndarray) -> np.ndarray:
    """Decision values, or logarithms of probabilities where there are none: float64 [rows, classes].

    Their softmax is a probability for "logistic", "lda", "boosting" and trees; for "svm" only an order.
    """
    if not hasattr(model, "decision_function"):
        return np.log(np.maximum(model.predict_proba(values), FLOOR))
    scores = model.decision_function(values)
    return scores if scores.ndim == 2 else np.stack([-scores, scores], axis=1) / 2


def fold_accuracies(data: FeatureData, logits: np.ndarray) -> dict[str, list[float]]:
    """Clip and track accuracy of each fold."""
    split = data.items.tracks["split"].to_numpy()
    parts = {name: data.items.part(name) for name in data.tests}
    folds = [
        scores_of(logits[split[data.items.track] == name], part.track, part.tracks["class"].to_numpy())
        for name, part in parts.items()
    ]
    return {kind: [getattr(fold, kind) for fold in folds] for kind in ("track_accuracy", "clip_accuracy")}


def describe_test(facts: dict[str, Any], summary: dict[str, Any]) -> str:
    """The report for the screen."""
    lines = [f"{facts['run']}, {facts['features']} features, split {facts['split']}", describe_summary(summary)]
    for kind, values in facts.get("folds", {}).items():
        lines.append(f"{len(values)} folds: {kind.replace('_', ' ')} {mean_and_deviation(values)} (sd over folds)")
    return "\n".join(lines + [f"leak: {line}" for line in facts["leaks"]])


# --- the command --------------------------------------------------------------------------------------------


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.classical(argv)
    pick("classifier", args.classifier, CLASSIFIERS)
    data = FeatureData.load(args.features, args.table, args.root, args.folds, args.by, args.seed)
    run = Run(f"classical_{args.classifier}" + (f"-{args.tag}" if args.tag else ""), args.runs)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    config = {"run": run.name, "classical": settings, "classes": data.classes, "split": fingerprint(data.tracks)}
    write_json(run.config_path, config)
    score_classifier(data, run, args.classifier, args.seed, args.balanced)
