"""Label tables and metadata files: reading them with checks, and the columns they share."""

import itertools
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from scripts.common.errors import TableError
from scripts.common.storage import find_path, read_csv, to_numbers

PARTS = ("train", "validation", "test")
LABEL_COLUMNS = ["track_id", "file_path", "genre", "class", "artist_id", "album_id", "split", "duration_s"]
MULTI_LABEL_COLUMNS = ["track_id", "file_path", "labels", "artist_id", "album_id", "split", "duration_s"]
COLUMNS = {"single_label": LABEL_COLUMNS, "multi_label": MULTI_LABEL_COLUMNS}
LABELS = {"single_label": ["genre", "class"], "multi_label": ["labels"]}  # what a table of each task says of a track
NUMBERS = ("class", "clip", "clips", "duration_s")  # all other columns are text, whatever stands in them
NEEDED_TO_CACHE = ["track_id", "file_path"]
NEEDED_TO_TRAIN = ["track_id", "genre", "class", "split"]


def read_table(path: str | Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a CSV and check that it has `columns`, at least one row, and sound values in the known columns.

    Returns
    -------
    The table with `NUMBERS` as numbers and all other columns as text (see `read_csv`).

    Raises
    ------
    TableError : the file is missing or no CSV, a column is missing, or a value is wrong (row and value named).
    """
    path = Path(path)
    if not path.is_file():
        raise TableError(f"{path}: no such table; make it first (README, your own sounds)")
    table = read_csv(path)
    if "file_path" in table:
        table["file_path"] = table["file_path"].map(find_path, na_action="ignore")
    table = to_numbers(path, table, table.columns.intersection(NUMBERS))
    if "class" in table and (table["class"] % 1 == 0).all():
        table["class"] = table["class"].astype("int64")  # from 0.0 and 1.0, as spreadsheets may write them
    check_columns(path, table, columns)
    return table


def check_columns(path: Path, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """The columns are there and hold sound values; raises as `read_table`."""
    columns = list(columns)
    missing = [name for name in columns if name not in table]
    if missing:
        raise TableError(
            f"{path}: lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}; "
            "correct it or make it again"
        )
    if table.empty:
        raise TableError(f"{path}: holds no rows; correct it or make it again")
    for name in ("track_id", "file_path", "genre", "class", "labels", "split"):
        if name in columns and table[name].isna().any():
            row = int(table[name].isna().to_numpy().argmax())
            remedy = "write - for none of them" if name == "labels" else "fill it in or delete the row"
            raise TableError(f"{path}: row {row + 2} has no {name}; {remedy}")
    for name in table.columns.intersection(["genre", "labels", "absent"]):
        wrong = [label for label in table[name].dropna().unique() if not is_unicode(label)]
        if wrong:
            row = int(table[name].isin(wrong).to_numpy().argmax())
            raise TableError(f"{path}: row {row + 2} has a {name} that is not UTF-8; save the table in UTF-8")
    if "split" in columns:
        wrong = ~table["split"].isin(PARTS)
        if wrong.any():
            value = table.loc[wrong, "split"].iloc[0]
            raise TableError(f"{path}: split {value!r} is not one of {', '.join(PARTS)}; correct it")


def class_names(table: pd.DataFrame) -> list[str]:
    """Genre names in the order of their class numbers 0, 1, 2, ...

    Raises
    ------
    TableError : a class number with two genres, or numbers that leave a gap.
    """
    pairs = table[["class", "genre"]].drop_duplicates().sort_values("class")
    if pairs["class"].tolist() != list(range(len(pairs))) or pairs["genre"].duplicated().any():
        raise TableError(
            f"classes {pairs['class'].tolist()} of genres {pairs['genre'].tolist()} are not 0, 1, 2, ... one for each; "
            "make the label table again (python -m scripts labeled_tracks --help)"
        )
    return pairs["genre"].tolist()


def is_unicode(name: str) -> bool:
    """Whether a name holds no bytes that are not UTF-8; labels are, as reports and other programs have to show them."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def fold_name(name: str) -> str:
    """The same for names that differ in case, spaces, characters without width or the composing of letters alone."""
    if name.isascii():
        return " ".join(name.split()).casefold()
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", " ".join(seen.split())).casefold())


def describe_similar(names: Iterable[str]) -> list[str]:
    """A warning for each two labels that are the same to `fold_name`."""
    groups = itertools.groupby(sorted(set(names), key=lambda name: (fold_name(name), name)), fold_name)
    return [
        f"warning: the labels {first!r} and {second!r} differ in case or spaces alone; if they are one, write it alike"
        for _, group in groups
        for first, second in itertools.pairwise(group)
    ]
