"""Label tables and metadata files: reading them with checks, and the columns they share."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from scripts.common.errors import TableError

PARTS = ("train", "validation", "test")
LABEL_COLUMNS = ["track_id", "file_path", "genre", "class", "artist_id", "album_id", "split", "duration_s"]
MULTI_LABEL_COLUMNS = ["track_id", "file_path", "labels", "artist_id", "album_id", "split", "duration_s"]
COLUMNS = {"single": LABEL_COLUMNS, "multi": MULTI_LABEL_COLUMNS}
LABELS = {"single": ["genre", "class"], "multi": ["labels"]}  # what a table of each task says of a track
NEEDED_TO_CACHE = ["track_id", "file_path"]
NEEDED_TO_TRAIN = ["track_id", "genre", "class", "split"]


def read_table(path: str | Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a CSV and check that it has `columns`, at least one row, and sound values in the known columns.

    Raises
    ------
    TableError : the file is missing or no CSV, a column is missing, or a value is wrong (row and value named).
    """
    path = Path(path)
    if not path.is_file():
        raise TableError(f"{path}: no such table; make it first (README, step by step)")
    try:
        table = pd.read_csv(path, dtype={"track_id": "str", "artist_id": "str", "album_id": "str"})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not a CSV table ({error}); correct it or make it again") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise TableError(f"{path}: its rows have more fields than its header; correct it or make it again")
    check_columns(path, table, columns)
    return table


def read_csv(path: Path) -> pd.DataFrame:
    """Any CSV, all columns as text; raises a TableError if it is none."""
    try:
        return pd.read_csv(path, dtype=str)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not a CSV table ({error}); save it as CSV in UTF-8") from None


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
    for name in {*columns} & {"track_id", "file_path", "genre", "class", "labels", "split"}:
        if table[name].isna().any():
            row = int(table[name].isna().to_numpy().argmax())
            remedy = "write - for none of them" if name == "labels" else "fill it in or delete the row"
            raise TableError(f"{path}: row {row + 2} has no {name}; {remedy}")
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
