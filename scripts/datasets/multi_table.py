"""One's own audio listed in a CSV, with several labels for a track: a column of names, or a column of 0/1 for each."""

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import read_csv
from scripts.datasets.contract import Dataset, finish_table
from scripts.datasets.table import GUESSES, choose_columns, find_csv, track_rows
from scripts.datasets.tiny import write_tone
from scripts.tables.file_identity import one_row_a_file
from scripts.tables.label_matrix import NONE, SEPARATOR, join, label_matrix, label_names

# as in the table of single labels
ROLES = {role: guesses for role, guesses in GUESSES.items() if role != "label"} | {
    "labels": ("labels", "tags", "instruments"),
    "absent": ("absent",),
    "genre": ("genre",),
}
FLAGS = {"0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0}


def read_multi_listing(root: Path, label_columns: str = "", **options: str) -> pd.DataFrame:
    """One row for each row of a CSV, in its order; paths and ids are those of the dataset "table".

    Labels are read from a column of names if there is one, and from columns of 0 and 1 otherwise. In these an empty
    cell means that it is not known whether the track has the label; with names all that are not there are absent,
    unless a column `absent` says which are.

    Parameters
    ----------
    root : the CSV, or a folder that holds just one.
    label_columns : names of 0/1 columns, joined by ","; default: all columns of 0, 1 and empty cells.
    options : `path_column`, `labels_column`, ...: which column plays that role; "" for none; default: guessed.
    """
    if label_columns and options.get("labels_column"):
        raise ConfigError("labels_column names one column of names, label_columns those of 0 and 1; give one of them")
    path = find_csv(root)
    listing = read_csv(path, {*GUESSES["path"], options.get("path_column", "").strip().lower()})
    columns = choose_columns(path, list(listing), options, ROLES)
    rows = track_rows(path, listing, columns)
    if columns["genre"]:
        rows["genre"] = listing[columns["genre"]]
    if columns["labels"] and not label_columns:
        roles = [role for role in ("labels", "absent") if columns[role]]
        labels = pd.DataFrame({role: joined(path, listing[columns[role]]) for role in roles})
        label_matrix(labels, label_names(labels), path)  # no name both present and absent
    else:
        chosen = [pick("column", name.strip(), listing) for name in label_columns.split(",") if name.strip()]
        labels = from_flags(path, listing[chosen or guess_flags(path, listing, columns)])
    return finish_table(one_row_a_file(rows.join(labels), path), path)


def joined(path: Path, column: pd.Series) -> pd.Series:
    """Cells of names joined by ";", or by "," if the column has no ";", in the form of a label table.

    Raises
    ------
    TableError : an empty cell.
    """
    empty = column.fillna("").str.strip(" ;,") == ""
    if empty.any():
        raise TableError(
            f"{path}: row {int(empty.to_numpy().argmax()) + 2} has no {column.name}; write names joined by "
            f"{SEPARATOR!r}, {NONE!r} for none of them, or delete the row"
        )
    separator = SEPARATOR if column.str.contains(SEPARATOR).any() else ","
    names = column.str.split(separator).map(lambda cell: {name.strip() for name in cell} - {"", NONE})
    return names.map(join)


def guess_flags(path: Path, listing: pd.DataFrame, columns: dict[str, str | None]) -> list[str]:
    """The columns without another role in which 0 and 1 prevail: a mistyped cell is then found, not passed over."""
    others = listing.drop(columns=[name for name in columns.values() if name])
    flags = [name for name in others if others[name].dropna().str.strip().isin(FLAGS).mean() > 0.5]
    if not flags:
        raise TableError(
            f"{path}: no column of names ({', '.join(ROLES['labels'])}) and none of 0 and 1; it has "
            f"{', '.join(listing)}; give --option labels_column=NAME or label_columns=NAME,NAME"
        )
    return flags


def from_flags(path: Path, flags: pd.DataFrame) -> pd.DataFrame:
    """`labels` and, if something is unknown, `absent` from columns of 0, 1 and empty cells.

    Raises
    ------
    TableError : another value, or a name that a label table cannot hold.
    """
    names, values = np.array(list(flags)), numbers(path, flags)
    try:
        join(names)
    except TableError as error:
        raise TableError(f"{path}: {error}") from None
    table = pd.DataFrame({"labels": [join(names[row == 1]) for row in values]}, flags.index)
    if np.isnan(values).any():
        table["absent"] = [join(names[row == 0]) for row in values]
    return table


def numbers(path: Path, flags: pd.DataFrame) -> np.ndarray:
    """float [rows, labels]: 1, 0 and NaN for an empty cell."""
    text = flags.apply(lambda column: column.fillna("").str.strip())
    values = text.apply(lambda column: column.map(FLAGS)).to_numpy(float)
    rows, columns = np.nonzero(np.isnan(values) & (text != "").to_numpy())
    if len(rows):
        value, name = text.iloc[rows[0], columns[0]], flags.columns[columns[0]]
        raise TableError(
            f"{path}: row {rows[0] + 2} has {value!r} for {name}; a label is 1, 0 or empty (not known): correct it, or "
            "say which columns are labels: --option label_columns=NAME,NAME"
        )
    return values


def make_tiny(root: Path) -> None:
    """A listing of twelve tracks by six artists with three labels, some of them not known, and a split."""
    rows = []
    for number in range(12):
        name, artist = f"audio/{number:02d}.flac", number // 2
        write_tone(root / name, number % 3, number)
        flags = ("" if number % 4 == 3 else number % 2, 1 - number % 2, int(number % 3 == 0))
        rows.append((name, *flags, f"artist {artist}", ("training", "val", "test")[artist % 3]))
    columns = ["filename", "drums", "flute", "voice", "artist", "subset"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "listing.csv", index=False)


DATASET = Dataset(
    name="multi_table",
    title="A CSV with several labels for each track",
    citation="your own audio: cite where it comes from",
    licence="that of your files",
    url="your own disk",
    size="any",
    root="data/own.csv",
    layout=(
        "<name>.csv, with a column of audio paths (relative to the CSV's folder, or absolute), and either a column of "
        "names joined by ; or , (- for none), or a column for each label: 1, 0 or empty (not known)",
    ),
    reader=read_multi_listing,
    make_tiny=make_tiny,
    task="multi_label",
    options={f"{role}_column": f"column of the {role}; guessed: {', '.join(names)}" for role, names in ROLES.items()}
    | {"label_columns": "columns of 0 and 1, joined by commas; guessed: those of mostly 0 and 1"},
)
