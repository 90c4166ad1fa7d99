"""An experiment's data: its table joined with its cache, and who is in which part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.audio.cache import MelCache
from scripts.common.distributed import rank, ranks
from scripts.common.errors import ConfigError, TableError
from scripts.common.machine import choose_device
from scripts.config.experiment import Experiment
from scripts.loading.loader import Items, Loader, load_items
from scripts.tables import leaks as leak_checks
from scripts.tables import splits
from scripts.tables.label_matrix import label_matrix, label_names
from scripts.tables.label_table import LABELS, PARTS, check_columns, class_names, read_table
from scripts.tables.overrides import apply_overrides

VALUES_PER_TEST_BATCH = 64 * 128 * 259  # 64 clips of 3 s, or as much in whole tracks


def data_settings(experiment: Experiment) -> tuple[Any, ...]:
    """Of an experiment, what its data follows from."""
    return experiment.task, experiment.data, experiment.features, experiment.test.metric


@dataclass(frozen=True)
class Data:
    """What an experiment is trained and scored on.

    Attributes
    ----------
    items : of all usable tracks.
    left_out : tracks that are not usable, with `split`, `status` and `reason`.
    classes : names of the genres by class number, or of the labels in their order.
    fingerprint : of the split, over all tracks of the table.
    labels : fingerprint of the labels of all tracks, corrected by the overrides.
    leaks : what the split is known to leak, one line each.
    table : one row per track of the table, with the `split` it is in.
    """

    items: Items
    left_out: pd.DataFrame
    classes: list[str]
    fingerprint: str
    labels: str
    leaks: list[str]
    table: pd.DataFrame

    @classmethod
    def load(cls, experiment: Experiment) -> "Data":
        """Read the experiment's table and open its cache.

        Raises
        ------
        TableError, CacheError : one is missing or does not fit, or a part of the split is empty.
        """
        rows, table, classes = read_split(experiment)
        fingerprint, leaks = splits.fingerprint(table), leak_checks.describe_leaks(rows)
        table = corrected(table, experiment)
        labels = read_labels(table, classes, experiment)
        items, left_out = read_items(table, labels, experiment)
        for part in PARTS:
            if not (items.tracks["split"] == part).any() and (part, experiment.test.metric) != ("validation", "last"):
                raise TableError(
                    f"{experiment.data.table}: no usable track in {part}; choose another --split of `metadata`"
                )
        return cls(items, left_out, classes, fingerprint, label_fingerprint(table, experiment), leaks, table)

    @property
    def used(self) -> pd.DataFrame:
        """The rows of `table` that are usable."""
        return self.table[self.table["track_id"].isin(self.items.tracks["track_id"])]

    @property
    def evaluation_batch(self) -> int:
        rows, frames = self.items.array.shape[-2:]
        return max(1, VALUES_PER_TEST_BATCH // (rows * frames))

    def scoring_loader(self, experiment: Experiment, part: str) -> Loader:
        """All clips of a part, or this rank's share of its tracks, in order and unchanged."""
        device = choose_device(experiment.training.device)
        items, normalisation = self.items.part(part), experiment.features.normalise
        return Loader(
            items, self.evaluation_batch, device=device, normalisation=normalisation, rank=rank(), ranks=ranks()
        )


def read_split(experiment: Experiment) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The experiment's table as it is and with one row per track, both with their final split, and its classes.

    Raises
    ------
    TableError, ConfigError : as `read_rows` and `deal_out`.
    """
    rows = read_rows(experiment)
    table = rows.drop_duplicates("track_id")
    classes = experiment.data.labels or names_of(table, experiment.task)
    table = deal_out(table, experiment)
    rows = table if experiment.data.fold else rows[rows["track_id"].isin(table["track_id"])]
    return rows, table, classes


def read_unlabelled(experiment: Experiment, parts: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The experiment's table and, one row per track, what it has of some parts; all is "train" in one without split.

    Raises
    ------
    TableError, ConfigError : the table is missing or wrong, or cannot be dealt out in the experiment's folds.
    """
    rows = read_table(experiment.data.table, ["track_id"])
    if "split" not in rows:
        rows = rows.assign(split="train")
    needed_to_fold = LABELS[experiment.task] if experiment.data.fold else []
    check_columns(Path(experiment.data.table), rows, ["split", *needed_to_fold])
    table = deal_out(rows.drop_duplicates("track_id"), experiment)
    rows = table if experiment.data.fold else rows[rows["track_id"].isin(table["track_id"])]
    return rows, table[table["split"].isin(parts)]


def read_rows(experiment: Experiment) -> pd.DataFrame:
    """The experiment's table, if it says of each track what the experiment's task needs.

    Raises
    ------
    TableError : as `read_table`; or the table is of the other task.
    """
    rows, needed = read_table(experiment.data.table, ["track_id", "split"]), LABELS[experiment.task]
    for task, columns in LABELS.items():
        if task != experiment.task and not set(needed) <= set(rows) and set(columns) <= set(rows):
            raise TableError(
                f"{experiment.data.table}: a {task} table (column {columns[0]}), but {experiment.name} has "
                f"task={experiment.task}; give another table, or an experiment with task={task}"
            )
    check_columns(Path(experiment.data.table), rows, set(needed))
    return rows


def names_of(table: pd.DataFrame, task: str) -> list[str]:
    """The classes by their numbers, or all labels in alphabetical order."""
    return class_names(table) if task == "single_label" else label_names(table)


def corrected(table: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The table with the experiment's overrides, if it has some; raises TableError as `apply_overrides`."""
    overrides = experiment.data.overrides
    return apply_overrides(table, overrides, experiment.task) if overrides else table


def label_fingerprint(table: pd.DataFrame, experiment: Experiment) -> str:
    """As that of the split, of what the table says of the tracks."""
    return splits.fingerprint(table, table.columns.intersection([*LABELS[experiment.task], "absent"]))


def read_labels(table: pd.DataFrame, names: list[str], experiment: Experiment) -> np.ndarray:
    """What each track of the table has: int64 [tracks] or float32 [tracks, labels]."""
    return (
        table["class"].to_numpy()
        if experiment.task == "single_label"
        else label_matrix(table, names, experiment.data.table)
    )


def read_items(table: pd.DataFrame, labels: np.ndarray, experiment: Experiment) -> tuple[Items, pd.DataFrame]:
    """Spectrograms from the cache, COALA's ready-made patches, or rows of a table of features."""
    if experiment.data.unit == "row":
        from scripts.loading.feature_rows import load_rows

        return load_rows(table, experiment.data.cache, experiment.features.columns)
    if experiment.data.unit == "patch":
        from scripts.loading.coala_patches import load_patches

        return load_patches(table, labels, experiment.data.cache, experiment.shape)
    return load_items(
        table, MelCache.open(experiment.data.cache, experiment.features.spec), experiment.data.unit, labels
    )


def deal_out(table: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The tracks that the experiment takes of its table, one row each, with the final split.

    Raises
    ------
    ConfigError, TableError : as `in_fold`; `limit` or `train_share` leaves none of some class.
    """
    limit, fold, share = experiment.data.limit, experiment.data.fold, experiment.data.train_share
    if limit is not None:
        table = at_most(table, limit, f"limit={limit}")
    if fold:
        table = in_fold(table, validation=experiment.test.metric != "last", **fold.model_dump())
    if share < 1:
        train = table[table["split"] == "train"]
        train = at_most(train, round(share * len(train)), f"train_share={share:g}")
        table = table[table["split"].ne("train") | table["track_id"].isin(train["track_id"])]
    return table


def at_most(table: pd.DataFrame, count: int, setting: str) -> pd.DataFrame:
    """As `splits.stratified_subset`; a TableError if `setting` leaves fewer tracks than parts and classes."""
    strata = splits.strata_of(table).nunique()
    if count < strata:
        raise TableError(
            f"{setting} leaves {count} of {len(table)} tracks; give one that leaves at least {strata}, for one of each "
            "part and class"
        )
    return splits.stratified_subset(table, count)


def in_fold(
    table: pd.DataFrame, num_folds: int, number: int, seed: int = 0, by: str = "track", validation: bool = True
) -> pd.DataFrame:
    """The table with its split replaced: fold `number` for test, the next one for validation, if wanted.

    Raises
    ------
    ConfigError, TableError : no such fold, or the table cannot be dealt out so.
    """
    if not 0 <= number < num_folds:
        raise ConfigError(f"fold {number} of {num_folds}; folds are numbered 0 to {num_folds - 1}")
    if validation and num_folds == 2:
        raise ConfigError("2 folds, one to test on and one to validate on, leave none to train on; set metric=last")
    folds = splits.k_folds(table, num_folds, seed, by)
    split = np.where(folds == number, "test", "train").astype(object)
    if validation:
        split[folds == (number + 1) % num_folds] = "validation"
    return table.assign(split=split)
