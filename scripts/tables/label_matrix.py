"""Several labels per track: the text of a table's `labels` column, and the matrix that losses and scores take."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import ConfigError, TableError

SEPARATOR, NONE = ";", "-"


def join(names: Iterable[str]) -> str:
    """The text of a cell: names in alphabetical order, each once; "-" for none.

    Raises
    ------
    TableError : a name that would be read back as another, or as several.
    """
    names = sorted(set(names))
    for name in names:
        if SEPARATOR in name or name.strip() in ("", NONE) or name.strip() != name:
            raise TableError(
                f"the label {str(name)!r} cannot stand among several labels of a track, where {SEPARATOR!r} separates "
                f"and {NONE!r} says none; call it otherwise"
            )
    return SEPARATOR.join(names) or NONE


def split_names(text: str) -> list[str]:
    """The names of a cell, the inverse of `join`."""
    return [] if text.strip() == NONE else [name.strip() for name in text.split(SEPARATOR)]


def label_names(table: pd.DataFrame) -> list[str]:
    """All names in the columns `labels` and, if it is there, `absent`, in alphabetical order."""
    cells = pd.concat([table[column] for column in ("labels", "absent") if column in table])
    return sorted({name for text in cells.unique() for name in split_names(text)})


def label_matrix(table: pd.DataFrame, names: Sequence[str], source: str | Path = "the table") -> np.ndarray:
    """Which labels each row has.

    Parameters
    ----------
    table : with `labels`, names joined by ";" or "-" for none, and maybe `absent`, in the same form.
    names : the vocabulary; its order is that of the columns.
    source : what error messages call the table.

    Returns
    -------
    float32 [rows, labels]: 1 present, 0 absent, NaN unknown. Without the column `absent` nothing is unknown.

    Raises
    ------
    TableError : an empty cell, a name that the vocabulary lacks, or one that is both present and absent.
    """
    place = {name: number for number, name in enumerate(names)}
    present = read_column(table, "labels", place, source)
    if "absent" not in table:
        return present.astype(np.float32)
    absent = read_column(table, "absent", place, source)
    if (present & absent).any():
        row, label = np.argwhere(present & absent)[0]
        raise TableError(f"{source}: row {row + 2} has {names[label]!r} in labels and in absent; take it out of one")
    return np.where(present, 1, np.where(absent, 0, np.nan)).astype(np.float32)


def read_column(table: pd.DataFrame, column: str, place: dict[str, int], source: str | Path) -> np.ndarray:
    """bool [rows, labels] of a column of cells."""
    result = np.zeros((len(table), len(place)), bool)
    for row, text in enumerate(table[column]):
        if not isinstance(text, str) or not text.strip():
            raise TableError(f"{source}: row {row + 2} has an empty {column}; write {NONE!r} for none of the labels")
        for name in split_names(text):
            result[row, number_of(name, place, f"{source}: row {row + 2}, {column}")] = True
    return result


def number_of(name: str, place: dict[str, int], where: str) -> int:
    """The number of a label; a TableError that begins with `where` if `place` lacks it."""
    try:
        return place[pick("label", name, place)]
    except ConfigError as error:
        raise TableError(f"{where}: {error}") from None
