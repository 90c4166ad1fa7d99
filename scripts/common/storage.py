"""Files that appear whole or not at all: written aside, then renamed; and tables as text, written and read alike."""

import contextlib
import csv
import functools
import hashlib
import json
import os
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from scripts.common.errors import TableError

# a file's name need not be UTF-8
TABLE_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
PATHS = ("file_path", "file")  # columns whose cells may begin and end with spaces
in_bytes = functools.partial(tqdm.format_sizeof, suffix="B")  # such as "1.53GB"
ROWS_AT_ONCE = 5_000  # of a table that is read
CELL = pd.StringDtype("python", na_value=np.nan)
pd.set_option("mode.string_storage", "python")  # pyarrow's texts, where it is installed, hold no names outside UTF-8


@contextlib.contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = os.fsencode(path.name)  # of 255 bytes at most
    name = path.name if len(encoded) <= 200 else hashlib.sha256(encoded).hexdigest()
    temporary = path.with_name(f".{name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    r"""Write `text` as UTF-8; a byte of a file's name that is not becomes \udc80 to \udcff, which JSON reads back."""
    with write_aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table so that `read_csv` gives back its text, file names that are not UTF-8 included."""
    with write_aside(path) as temporary:
        temporary.write_bytes(csv_bytes(table))


def csv_bytes(table: pd.DataFrame) -> bytes:
    """What `write_csv` writes."""
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # which csv leaves unquoted up to Python 3.12
        text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text.encode("utf-8", "surrogateescape")


def read_csv(path: str | Path, paths: Container[str] = PATHS) -> pd.DataFrame:
    """A CSV with each cell as the text that it is: nothing is taken for a number, a date or a missing value.

    Spaces around cells and names of columns are taken away; an empty cell is NaN. Columns without a name, such as the
    row numbers that pandas writes, are left out.

    Parameters
    ----------
    path : of the file, in UTF-8, with commas between its cells; other bytes, as a file's name may hold, are kept.
    paths : names of columns, in small letters, whose cells keep their spaces, for `find_path` to judge.

    Raises
    ------
    TableError : the file is empty or no CSV, has other separators than commas, a column twice, or a row with more
        cells than the header (row named). A row with fewer has its last ones empty.
    """
    number = 1
    block: list[list[str]] = []
    with open(path, **TABLE_TEXT | {"encoding": "utf-8-sig"}) as file:
        lines = filter(None, csv.reader(file, strict=True))
        try:
            header = [name.strip() for name in next(lines, [])]
            check_header(path, header)
            columns: dict[str, list[str | None]] = {name: [] for name in header}
            for number, cells in enumerate(lines, 2):
                if len(cells) > len(header):
                    raise TableError(
                        f"{path}: row {number} has {len(cells)} fields, the header {len(header)}; take out a "
                        "comma, or put quotes around a cell that holds one"
                    )
                block.append(cells + [""] * (len(header) - len(cells)) if len(cells) < len(header) else cells)
                if len(block) == ROWS_AT_ONCE:
                    add_cells(columns, header, block, paths)
                    block = []
            add_cells(columns, header, block, paths)
        except csv.Error as error:
            raise TableError(f"{path}: not a CSV table (row {number + 1}: {error}); correct it") from None
    columns.pop("", None)
    return pd.DataFrame(columns, dtype=CELL)


def add_cells(
    columns: dict[str, list[str | None]], header: list[str], rows: list[list[str]], paths: Container[str]
) -> None:
    """Add the rows' cells to the columns, cleaned; equal cells of a column are one object."""
    for name, cells in zip(header, zip(*rows, strict=True), strict=False):
        cleaned = {cell: clean(cell, name.lower() in paths) for cell in set(cells)}
        columns[name] += [cleaned[cell] for cell in cells]


def clean(cell: str, keep: bool) -> str | None:
    """The cell without the spaces around it, or, to `keep`, with them; None for an empty one."""
    text = cell.strip()
    return (cell if keep else text) if text else None


def check_header(path: str | Path, header: list[str]) -> None:
    """Raise a TableError if these cannot be the names of a table's columns."""
    if not any(header):
        raise TableError(f"{path}: empty, not a CSV table; its first row names the columns")
    if any("\0" in name for name in header):
        raise TableError(f"{path}: not a CSV table in UTF-8; save it as such")
    for separator, name in {";": "semicolons", "\t": "tabs"}.items():
        if len(header) == 1 and separator in header[0]:
            raise TableError(f"{path}: has {name} between its columns; save it with commas")
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise TableError(f"{path}: has the column {min(twice)} twice; rename one of them or take it out")


def to_numbers(path: str | Path, table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The table with the named columns of text as int64, or as float64 where a cell is empty, "nan" or no whole number.

    Raises
    ------
    TableError : no such column, or a cell that is no number (row and value named); `path` is the table's name there.
    """
    columns = {}
    for name in names:
        if name not in table:
            raise TableError(f"{path}: lacks the column {name}; it has {', '.join(table)}; make it again")
        columns[name] = pd.to_numeric(table[name], errors="coerce")
        unread = np.flatnonzero(columns[name].isna() & table[name].notna())
        for row, value in zip(unread, table[name].iloc[unread], strict=True):
            if value.lower() != "nan":
                raise TableError(f"{path}: row {row + 2} has {value!r} for {name}, which is no number; correct it")
    return table.assign(**columns)


def sha256(path: str | Path) -> str:
    """Of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_path(text: str, folder: str | Path = "") -> str:
    """A path of a table, relative to `folder`, without the spaces around it unless a file is called so with them."""
    stripped = text.strip()
    return text if stripped != text and Path(folder, text).exists() else stripped
