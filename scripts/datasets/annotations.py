"""What the annotation files of several datasets share: checked columns, and the dataset's own folds as a split."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.common.storage import read_csv

AS_PUBLISHED = "take the file as it was published"


def read_annotations(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV with all columns as text, `columns` of them filled in every row.

    Raises
    ------
    TableError : no such file, no CSV, or a column or a value is missing (row named).
    """
    if not path.is_file():
        raise TableError(f"{path}: no such file; unpack the dataset's annotations there or give another --root")
    table = read_csv(path)
    missing = [name for name in columns if name not in table]
    if missing:
        raise TableError(f"{path}: lacks {', '.join(missing)}; it has {', '.join(table)}; {AS_PUBLISHED}")
    for name in columns:
        if table[name].isna().any():
            row = int(table[name].isna().to_numpy().argmax())
            raise TableError(f"{path}: row {row + 2} has no {name}; {AS_PUBLISHED}")
    return table


def check_values(path: Path, column: pd.Series, known: Iterable[str]) -> None:
    """Raise a TableError that names the first row whose value is not a known one."""
    known = list(known)
    check_rows(path, column, column.isin(known), f"one of {', '.join(known)}")


def check_rows(path: Path, column: pd.Series, good: pd.Series, needed: str) -> None:
    """Raise a TableError that names the first row whose value is not `good`, and what is `needed`."""
    if not good.all():
        row = int(good.to_numpy().argmin())
        raise TableError(
            f"{path}: row {row + 2} has {column.iloc[row]!r} for {column.name}, not {needed}; {AS_PUBLISHED}"
        )


def fold_split(path: Path, column: pd.Series, test: str, folds: Sequence[str]) -> pd.Series:
    """The part of each row: fold `test` is for testing, the next one (after the last, the first) for validation.

    Parameters
    ----------
    path : what error messages call the file.
    column : the fold of each row.
    test : one of `folds`.
    folds : all folds, in order.

    Raises
    ------
    ConfigError : unknown `test`.
    TableError : a row has another fold.
    """
    validation = folds[folds.index(pick("fold", test, folds)) - len(folds) + 1]
    check_values(path, column, folds)
    return column.map(dict.fromkeys(folds, "train") | {validation: "validation", test: "test"})
