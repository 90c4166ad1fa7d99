"""Checked sounds, with the labels that people gave them, into the table of the next training: its training part."""

import sys
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts merge`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("merge")

import pandas as pd

from scripts.common.cli import command
from scripts.common.errors import TableError
from scripts.common.lock import locked
from scripts.common.storage import write_csv
from scripts.tables.file_identity import file_keys
from scripts.tables.label_matrix import join, label_names, split_names
from scripts.tables.label_table import LABELS, NEEDED_TO_CACHE, check_columns, class_names, read_table
from scripts.tables.overrides import change_genre, relabel
from scripts.tables.splits import OTHERWISE, fingerprint, has_official_folds, known_ids
from scripts.utils import flags
from scripts.utils.metadata import repeat_clips

HELD_OUT = ("validation", "test")


def merge(source: Path, corrections: Path, output: Path) -> pd.DataFrame:
    """Write the table with the sounds in its training part; returns it, and prints what became of them.

    A sound that is a training track already, by its id or as a file of the same content, gives that one its labels;
    others become new training tracks. Genres keep their numbers, and all else of the table stays as it is. So that
    scores stay comparable and honest, sounds that are validation or test tracks, or by an artist of such, are left out.

    Parameters
    ----------
    source : metadata with a split, a row per track or per clip.
    corrections : label table of the sounds, such as `corrections` exports: with `genre`, or with `labels` if `source`
        has those. Sounds of a genre that `source` lacks are left out, labels that it lacks are taken off.
    output : the CSV; may be `source`.

    Raises
    ------
    TableError : a table is missing or wrong, one is for one label a track and the other for several, or a genre would
        lose its last track.
    """
    with locked(output, wait=True):
        table = read_table(source, [*NEEDED_TO_CACHE, "split"])
        task = "multi_label" if "labels" in table else "single_label"
        check_columns(source, table, LABELS[task])
        sounds = known_labels(read_sounds(corrections, task), table, task)
        sounds = sounds.assign(track=tracks_of(sounds, table))
        part = sounds["track"].map(table.drop_duplicates("track_id").set_index("track_id")["split"])
        artists = known_ids(table[table["split"].isin(HELD_OUT)], "artist_id").dropna()
        new = part.isna() & ~known_ids(sounds, "artist_id").isin(artists)
        merged = relabelled(table, sounds[part == "train"], task)
        if new.any():
            merged = pd.concat([merged, new_rows(sounds[new], table, task)], ignore_index=True)
        write_csv(output, merged)
    print(
        f"{output}: {new.sum()} new training tracks, {(part == 'train').sum()} corrected; left out: "
        f"{part.isin(HELD_OUT).sum()} that are validation or test tracks, {(part.isna() & ~new).sum()} by an artist "
        f"of those; split {fingerprint(merged)}"
    )
    if new.any() and has_official_folds(merged):
        print(f"the new tracks are in none of the official folds: to cross-validate, {OTHERWISE}")
    return merged


def read_sounds(path: Path, task: str) -> pd.DataFrame:
    """The label table of the sounds, of each file the last row; raises TableError."""
    sounds = read_table(path, NEEDED_TO_CACHE)
    column, other = LABELS[task][0], LABELS["single_label" if task == "multi_label" else "multi_label"][0]
    if column not in sounds and other in sounds:
        raise TableError(
            f"{path}: has {other}, but the table to merge it with has {column}; give the export with those"
        )
    check_columns(path, sounds, [column])
    files = pd.Series(file_keys(sounds["file_path"], contents=True), sounds.index)
    return sounds[~files.duplicated(keep="last")]


def known_labels(sounds: pd.DataFrame, table: pd.DataFrame, task: str) -> pd.DataFrame:
    """Without the sounds of genres, or without the labels, that the table lacks; prints which."""
    if task == "single_label":
        known = sounds["genre"].isin(class_names(table))
        if not known.all():
            lacking = ", ".join(sorted(sounds.loc[~known, "genre"].unique()))
            print(f"{(~known).sum()} sounds left out, since the table lacks their genre: {lacking}")
        return sounds[known]
    known, given = set(label_names(table)), sounds["labels"].map(split_names)
    if unknown := sorted(set(given.explode().dropna()) - known):
        print(f"labels taken off, since the table lacks them: {', '.join(unknown)}")
    return sounds.assign(labels=[join(known.intersection(names)) for names in given])


def tracks_of(sounds: pd.DataFrame, table: pd.DataFrame) -> list[str | None]:
    """The id of the track that each sound is, by its own id or as a file of the same content; None of a new one."""
    tracks = table.drop_duplicates("track_id")
    keys = file_keys([*tracks["file_path"], *sounds["file_path"]], contents=True)
    track_of = dict(zip(keys, tracks["track_id"], strict=False))
    ids = set(tracks["track_id"])
    pairs = zip(sounds["track_id"], keys[len(tracks) :], strict=True)
    return [track if track in ids else track_of.get(key) for track, key in pairs]


def relabelled(table: pd.DataFrame, sounds: pd.DataFrame, task: str) -> pd.DataFrame:
    """The table with the labels of the sounds in the rows of their tracks; a TableError if a genre loses all of its."""
    labels = sounds.drop_duplicates("track", keep="last").set_index("track")[LABELS[task][0]]
    new = table["track_id"].map(labels).dropna()
    if task == "multi_label":
        return relabel(table, new)
    result = change_genre(table, new)
    if lost := set(table["genre"]) - set(result["genre"]):
        raise TableError(f"no track of {min(lost)} would be left; check the corrections, or take that genre out before")
    return result


def new_rows(sounds: pd.DataFrame, table: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows of the table's columns for tracks that it lacks; a sound's labels are complete, so all others are absent."""
    rows = sounds.reindex(columns=table.columns.drop("clip", errors="ignore")).assign(split="train")
    if task == "single_label":
        rows["class"] = rows["genre"].map({name: number for number, name in enumerate(class_names(table))})
    elif "absent" in table:
        names = label_names(table)
        rows["absent"] = [join(set(names).difference(split_names(cell))) for cell in rows["labels"]]
    if "clips" in table:
        rows["clips"] = table["clips"].max()
    return repeat_clips(rows, int(table["clip"].max()))[table.columns] if "clip" in table else rows


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.merge(argv)
    merge(args.table, args.corrections, args.output)
