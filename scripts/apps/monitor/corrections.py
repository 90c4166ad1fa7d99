"""What people corrected, for training: label tables of the sounds they looked at, and overrides of such tables."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from scripts.apps import flags
from scripts.apps.store import FILE, Store, StoredSound, StoreError
from scripts.common.cli import command
from scripts.common.errors import TableError
from scripts.common.storage import write_csv
from scripts.tables.label_matrix import join
from scripts.tables.label_table import COLUMNS, LABELS

FILES = {"multi_label": ("labels.csv", "overrides.csv"), "single_label": ("genres.csv", "genre_overrides.csv")}


def export(store: Store, folder: str | Path) -> dict[Path, int]:
    """Write a label table and overrides for models of each task; returns what is written, with its number of sounds.

    Those of genres have the sounds with exactly one tag, the others all that anybody corrected or confirmed. Overrides
    have no tags that no model of the store knows. A file that would have no sound is not there afterwards.

    Raises
    ------
    StoreError : nobody has corrected or confirmed a sound yet.
    """
    sounds = store.reviewed()
    if not sounds:
        raise StoreError(f"{store.folder}: no sound is corrected or confirmed yet; do so in the monitor first")
    known, written = set(store.vocabulary()), {}
    of_models = [replace(stored, tags=[tag for tag in stored.tags if tag in known]) for stored in sounds]
    for task, names in FILES.items():
        changes = label_table(of_models, task)[["track_id", LABELS[task][0]]].assign(leave_out=0)
        for name, table in zip(names, (label_table(sounds, task), changes), strict=True):
            path = Path(folder) / name
            if table.empty:
                path.unlink(missing_ok=True)
            else:
                write_csv(path, table)
                written[path] = len(table)
    return written


def label_table(sounds: Sequence[StoredSound], task: str) -> pd.DataFrame:
    """A label table without a split, its artists the sounds' creators, of the sounds whose tags suit the task.

    Genres are numbered in the order of the model that gave the sound's tags, as far as they occur.
    """
    label = LABELS[task][0]
    rows = []
    for stored in sounds:
        cell = None
        if task == "multi_label":
            with contextlib.suppress(TableError):  # a genre such as "Drum; Bass" cannot stand in a list
                cell = join(stored.tags)
        elif len(stored.tags) == 1:
            [cell] = stored.tags
        if cell:
            facts = {"track_id": stored.sound.key, "file_path": stored.audio.as_posix(), label: cell}
            rows.append(facts | {"artist_id": stored.sound.creator, "duration_s": round(stored.sound.seconds, 3)})
    table = pd.DataFrame(rows).reindex(columns=COLUMNS[task])
    if task == "single_label":
        order = dict.fromkeys(name for stored in sounds for name in stored.sound.probabilities)
        used = [name for name in [*order, *sorted(set(table["genre"]) - {*order})] if name in set(table["genre"])]
        table["class"] = table["genre"].map({name: number for number, name in enumerate(used)})
    return table


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.corrections(argv)
    if not (args.store / FILE).is_file():
        raise StoreError(f"{args.store}: no store; give the folder that the tagger fills (--store)")
    for path, count in export(Store(args.store), args.out or args.store / "exports").items():
        print(f"{path}: {count} sounds")
