"""What people corrected, for training: a label table of the sounds they looked at, and overrides of such a table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scripts.apps import flags
from scripts.apps.store import Store, StoredSound, StoreError
from scripts.common.cli import command
from scripts.common.storage import write_csv
from scripts.tables.label_matrix import join
from scripts.tables.label_table import MULTI_LABEL_COLUMNS

OVERRIDES, TABLE = "overrides.csv", "labels.csv"


def export(store: Store, folder: str | Path) -> list[Path]:
    """Write `overrides.csv` and `labels.csv` into the folder; returns their paths.

    Raises
    ------
    StoreError : nobody has corrected or confirmed a sound yet.
    """
    sounds = store.reviewed()
    if not sounds:
        raise StoreError(f"{store.folder}: no sound is corrected or confirmed yet; do so in the monitor first")
    tables = {OVERRIDES: overrides(sounds), TABLE: label_table(sounds)}
    for name, table in tables.items():
        write_csv(Path(folder) / name, table)
    return [Path(folder) / name for name in tables]


def overrides(sounds: Sequence[StoredSound]) -> pd.DataFrame:
    """A row per sound as `scripts.tables.overrides` takes it: track_id (the key), labels, leave_out 0; maybe genre."""
    table = pd.DataFrame({"track_id": [stored.sound.key for stored in sounds], "labels": cells(sounds), "leave_out": 0})
    return table.assign(genre=table["labels"]) if one_tag_each(sounds) else table


def label_table(sounds: Sequence[StoredSound]) -> pd.DataFrame:
    """A label table without a split, its artists the sounds' creators; maybe with genre and class."""
    columns = {
        "track_id": [stored.sound.key for stored in sounds],
        "file_path": [stored.audio.as_posix() for stored in sounds],
        "labels": cells(sounds),
        "artist_id": [stored.sound.creator for stored in sounds],
        "duration_s": [round(stored.sound.seconds, 3) for stored in sounds],
    }
    table = pd.DataFrame(columns).reindex(columns=MULTI_LABEL_COLUMNS)
    if not one_tag_each(sounds):
        return table
    return table.assign(genre=table["labels"], **{"class": table["labels"].rank(method="dense").astype(int) - 1})


def cells(sounds: Sequence[StoredSound]) -> list[str]:
    return [join(stored.tags) for stored in sounds]


def one_tag_each(sounds: Sequence[StoredSound]) -> bool:
    return all(len(stored.tags) == 1 for stored in sounds)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.corrections(argv)
    for path in export(Store(args.store), args.out or args.store / "exports"):
        print(path)
