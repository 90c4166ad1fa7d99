"""One's own audio listed in a CSV: a row for each track, with its file and its class."""

import functools
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.common.storage import find_path, read_csv
from scripts.datasets.contract import Dataset, finish_table
from scripts.datasets.tiny import write_tone
from scripts.tables.file_identity import one_row_a_file
from scripts.tables.label_table import PARTS, is_unicode

# role -> column names that are taken for it, the likeliest first; case does not matter
GUESSES = {
    "path": ("file_path", "path", "filepath", "file", "filename", "file_name", "audio", "audio_path", "fname"),
    "label": ("genre", "label", "category", "class_name", "class", "target", "instrument"),
    "artist": ("artist_id", "artist", "artist_name", "performer", "speaker"),
    "album": ("album_id", "album", "album_title"),
    "split": ("split", "subset", "partition"),
    "fold": ("fold",),
    "track": ("track_id", "track", "id"),
}
NEEDED = ("path", "label")
PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def read_listing(root: Path, **options: str) -> pd.DataFrame:
    """One row for each row of a CSV, in its order.

    Relative audio paths are looked up from the CSV's folder. Without a column of track ids, the path without its
    suffix is the id. Of rows with the same file and label one is left. Classes are numbered in alphabetical order.

    Parameters
    ----------
    root : the CSV, or a folder that holds just one.
    options : `path_column`, `label_column`, ...: which column plays that role; "" for none; default: guessed.
    """
    path = find_csv(root)
    listing = read_csv(path, {*GUESSES["path"], options.get("path_column", "").strip().lower()})
    columns = choose_columns(path, list(listing), options)
    rows = track_rows(path, listing, columns).assign(genre=listing[columns["label"]])
    return finish_table(one_row_a_file(rows, path), path)


def track_rows(path: Path, listing: pd.DataFrame, columns: dict[str, str | None]) -> pd.DataFrame:
    """All that a label table says about each row of a CSV but for its labels."""
    check_filled(path, listing, columns)
    roles = {role: listing[column] if column else None for role, column in columns.items()}
    paths = listing[columns["path"]].map(lambda text: find_path(text, path.parent))
    check_encoding(path, paths)
    rows = {
        "track_id": [without_suffix(text) for text in join_all(Path(), paths)]
        if roles["track"] is None
        else roles["track"],
        "file_path": join_all(path.parent, paths),
        "artist_id": roles["artist"],
        "album_id": roles["album"],
        "split": None if roles["split"] is None else parts(path, roles["split"]),
    }
    if roles["fold"] is not None:
        rows["fold"] = roles["fold"]
    return pd.DataFrame(rows, listing.index)


def without_suffix(path: str) -> str:
    """The path without what `pathlib` calls its suffix."""
    dot = path.rfind(".")
    return path[:dot] if path.rfind("/") + 1 < dot < len(path) - 1 else path


def join_all(folder: Path, paths: Iterable[str]) -> list[str]:
    """`(folder / path).as_posix()` of each path; of those in one folder it is worked out once."""

    @functools.cache
    def place(inner: str) -> str:
        return (folder / inner / "*").as_posix().removesuffix("*")

    split = (os.path.split(path) for path in paths)
    return [
        place(inner) + name if name not in ("", ".") else (folder / inner / name).as_posix() for inner, name in split
    ]


def find_csv(root: Path) -> Path:
    """`root` itself, or the one CSV in it."""
    if root.is_file():
        return root
    found = sorted(root.glob("*.csv"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise TableError(f"{root}: a folder with one CSV is needed, it holds {names}; give the CSV itself as --root")
    return found[0]


def choose_columns(
    path: Path, columns: list[str], options: dict[str, str], roles: dict[str, tuple[str, ...]] = GUESSES
) -> dict[str, str | None]:
    """The column of each role: the one asked for, or else the likeliest there is; None if there is none.

    Raises
    ------
    ConfigError : a column was asked for that is not there.
    TableError : no column can be taken for the audio paths or for the labels.
    """
    chosen = {}
    for role, guesses in roles.items():
        given = options.get(f"{role}_column")
        if given is None:
            known = {name.lower(): name for name in reversed(columns)}
            given = next((known[guess] for guess in guesses if guess in known), "")
        elif given:
            pick("column", given, columns)
        chosen[role] = given or None
        if role in NEEDED and not given:
            raise TableError(
                f"{path}: no column looks like the {role} ({', '.join(guesses)}); it has {', '.join(columns)}; "
                f"give --option {role}_column=NAME (--dataset multi_table reads several labels for a track)"
            )
    return chosen


def check_filled(path: Path, listing: pd.DataFrame, columns: dict[str, str | None]) -> None:
    """Raise a TableError that names the first row without a path, a label or a track id."""
    for role in (*NEEDED, "track"):
        column = columns.get(role)
        if column and listing[column].isna().any():
            row = int(listing[column].isna().to_numpy().argmax())
            raise TableError(f"{path}: row {row + 2} has no {column}; fill it in or delete the row")


def check_encoding(path: Path, files: pd.Series) -> None:
    """Raise a TableError that names the first file that is not there because the CSV is in another encoding."""
    for row, text in enumerate(files):
        if not is_unicode(text) and not (path.parent / text).exists():
            raise TableError(f"{path}: row {row + 2}: no file {text!r}, which is not UTF-8; save the table in UTF-8")


def parts(path: Path, column: pd.Series) -> pd.Series:
    """A column of names such as "training" or "val" in the words train, validation, test; empty stays empty."""
    found = column.str.strip().str.lower().map(PART_NAMES)
    wrong = found.isna() & column.notna()
    if wrong.any():
        raise TableError(
            f"{path}: {column.name} {column[wrong].iloc[0]!r} is not one of {', '.join(PARTS)}; correct it, "
            "or give another --option split_column=NAME (split_column= for none)"
        )
    return found


def make_tiny(root: Path) -> None:
    """A listing of twelve tracks of two classes by six artists, with a split."""
    rows = []
    for number in range(12):
        kind, name = number % 2, f"audio/{number:02d}.flac"
        label, artist = ("calm", "wild")[kind], number // 2
        write_tone(root / name, kind, number)
        rows.append((name, label, f"artist {artist}", ("training", "val", "test")[artist % 3]))
    pd.DataFrame(rows, columns=["filename", "label", "artist", "subset"]).to_csv(root / "listing.csv", index=False)


DATASET = Dataset(
    name="table",
    title="A CSV with a row for each track",
    citation="your own audio: cite where it comes from",
    licence="that of your files",
    url="your own disk",
    size="any",
    root="data/own.csv",
    layout=("<name>.csv, with a column of audio paths (relative to the CSV's folder, or absolute) and one of labels",),
    reader=read_listing,
    make_tiny=make_tiny,
    options={
        f"{role}_column": f"column of the {role}s; guessed: {', '.join(guesses)}" for role, guesses in GUESSES.items()
    },
)
