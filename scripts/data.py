"""An experiment's data: its table joined with its cache, and who is in which part."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scripts import splits
from scripts.cache import MelCache
from scripts.config.experiment import Experiment
from scripts.errors import ConfigError, TableError
from scripts.hardware import choose_device
from scripts.tables import NEEDED_TO_TRAIN, PARTS, class_names, read_table
from scripts.utils.data_loading import Items, Loader, load_items

FRAMES_PER_TEST_BATCH = 64 * 259  # 64 clips of 3 s, or as much in whole tracks


@dataclass(frozen=True)
class Data:
    """What an experiment is trained and scored on.

    Attributes
    ----------
    items : of all usable tracks.
    left_out : tracks that are not usable, with `split`, `status` and `reason`.
    classes : genre names by class number.
    fingerprint : of the split, over all tracks of the table.
    leaks : what the split is known to leak, one line each.
    """

    items: Items
    left_out: pd.DataFrame
    classes: list[str]
    fingerprint: str
    leaks: list[str]

    @classmethod
    def load(cls, experiment: Experiment) -> "Data":
        """Read the experiment's table and open its cache.

        Raises
        ------
        TableError, CacheError : one is missing or does not fit, or a part of the split is empty.
        """
        rows = read_table(experiment.table, NEEDED_TO_TRAIN)
        table = rows.drop_duplicates("track_id", ignore_index=True)
        if experiment.fold:
            rows = table = in_fold(table, validation=experiment.metric != "last", **experiment.fold)
        items, left_out = read_items(table, experiment)
        for part in PARTS:
            if not (items.tracks["split"] == part).any() and (part, experiment.metric) != ("validation", "last"):
                raise TableError(
                    f"{experiment.table}: no usable track in {part}; choose another --split in metadata.py"
                )
        fingerprint, leaks = splits.fingerprint(table), splits.describe_leaks(rows)
        return cls(items, left_out, class_names(table), fingerprint, leaks)

    @property
    def evaluation_batch(self) -> int:
        return max(1, FRAMES_PER_TEST_BATCH // self.items.array.shape[-1])

    def scoring_loader(self, experiment: Experiment, part: str) -> Loader:
        """All clips of a part, in order and unchanged."""
        device = choose_device(experiment.device)
        return Loader(self.items.part(part), self.evaluation_batch, device=device, how=experiment.normalise)


def read_items(table: pd.DataFrame, experiment: Experiment) -> tuple[Items, pd.DataFrame]:
    """Spectrograms from the cache, or rows of a table of features."""
    if experiment.unit == "row":
        from scripts.rows import load_rows

        return load_rows(table, experiment.cache, experiment.features)
    return load_items(table, MelCache.open(experiment.cache, experiment.spec), experiment.unit)


def in_fold(
    table: pd.DataFrame, of: int, number: int, seed: int = 0, by: str = "track", validation: bool = True
) -> pd.DataFrame:
    """The table with its split replaced: fold `number` of `of` for test, the next one for validation, if wanted.

    Raises
    ------
    ConfigError, TableError : no such fold, or the table cannot be dealt out so.
    """
    if not 0 <= number < of:
        raise ConfigError(f"fold {number} of {of}; folds are numbered 0 to {of - 1}")
    folds = splits.k_folds(table, of, seed, by)
    split = np.where(folds == number, "test", "train").astype(object)
    if validation:
        split[folds == (number + 1) % of] = "validation"
    return table.assign(split=split)
