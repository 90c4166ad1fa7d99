"""Corrections of a table's labels, for training alone: validation and test stay what every other run is scored on."""

from pathlib import Path

import pandas as pd

from scripts.common.errors import TableError
from scripts.tables.label_matrix import NONE, join, label_matrix, label_names, split_names
from scripts.tables.label_table import LABELS, class_names, read_table


def apply_overrides(table: pd.DataFrame, path: str | Path, task: str) -> pd.DataFrame:
    """The table with the corrections of a CSV, such as `scripts.analysis.label_issues` writes; prints what it did.

    Rows of validation and test tracks are counted and passed over: a cross-validation tests every track, and each of
    its folds trains on others, so one file has to do for all parts.

    Parameters
    ----------
    table : one row per track, with its final `split`, and `genre` and `class`, or `labels` and maybe `absent`.
    path : CSV with track_id, `genre` or `labels` (all of a track's), and leave_out: 1 drops the track, 0 gives it this
        genre or these labels. What was known of a track stays known: a label that is taken off becomes absent. Rows
        of tracks that the table lacks are counted and passed over, as corrected sounds that are not merged in.
    task : "single_label" or "multi_label".

    Raises
    ------
    TableError : a missing file or column, an empty cell, a track twice, a genre, label or leave_out that is unknown,
        or no track that is known; names the file, its row and the value.
    """
    column = LABELS[task][0]
    rows = read_overrides(Path(path), column)
    check_overrides(rows, table, Path(path), column)
    lacking = (~rows["track_id"].isin(table["track_id"])).sum()
    mine = table["track_id"].isin(rows["track_id"])
    train = mine & (table["split"] == "train")
    dropped = train & table["track_id"].isin(rows.loc[rows["leave_out"] == 1, "track_id"])
    changed = train & ~dropped
    correct = relabel if task == "multi_label" else change_genre
    new = table.loc[changed, "track_id"].map(rows.set_index("track_id")[column])
    print(
        f"{path}: {changed.sum()} training tracks relabelled, {dropped.sum()} left out; "
        f"{(mine & ~train).sum()} tracks of validation and test not touched"
        + (f"; {lacking} passed over that the table lacks" if lacking else "")
    )
    return correct(table, new)[~dropped].reset_index(drop=True)


def read_overrides(path: Path, column: str) -> pd.DataFrame:
    """The CSV, each track once, with `leave_out` 0 or 1; raises as `apply_overrides`."""
    rows = read_table(path, ["track_id", column, "leave_out"])
    leave_out = pd.to_numeric(rows["leave_out"], errors="coerce")
    refuse(~leave_out.isin([0, 1]), rows["leave_out"], path, "write 1 to leave the track out, else 0")
    refuse(rows["track_id"].duplicated(), rows["track_id"], path, "it has that track before; delete one of the rows")
    return rows.assign(leave_out=leave_out)


def check_overrides(rows: pd.DataFrame, table: pd.DataFrame, path: Path, column: str) -> None:
    """The table has some of the tracks, and of those every genre or label; raises as `apply_overrides`."""
    lacking = ~rows["track_id"].isin(table["track_id"])
    remedy = "put new sounds into it first (python -m scripts merge --help), or give the overrides of this table"
    refuse(lacking & lacking.all(), rows["track_id"], path, f"the table lacks it, and all others; {remedy}")
    if column == "labels":
        label_matrix(rows[["labels"]].mask(lacking, NONE), label_names(table), path)
    else:
        genres = class_names(table)
        wrong = ~lacking & ~rows["genre"].isin(genres)
        refuse(wrong, rows["genre"], path, f"the table has {', '.join(genres)}; write one of them")


def refuse(wrong: pd.Series, values: pd.Series, path: Path, remedy: str) -> None:
    """A TableError on the first row that is wrong, with its value."""
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise TableError(f"{path}: row {row + 2} has {values.name} {str(values.iloc[row])!r}; {remedy}")


def change_genre(table: pd.DataFrame, new: pd.Series) -> pd.DataFrame:
    """The table with other genres, and their class numbers, in the rows of `new`."""
    numbers, result = {name: number for number, name in enumerate(class_names(table))}, table.copy()
    result.loc[new.index, "genre"] = new
    result.loc[new.index, "class"] = new.map(numbers)
    return result


def relabel(table: pd.DataFrame, new: pd.Series) -> pd.DataFrame:
    """The table with other labels in the rows of `new`; of those known before, the others become absent."""
    result = table.copy()
    if "absent" in table:
        old = table.loc[new.index]
        cells = zip(old["labels"], old["absent"], new, strict=True)
        known = [({*split_names(given), *split_names(absent)}, split_names(cell)) for given, absent, cell in cells]
        result.loc[new.index, "absent"] = [join(before - set(now)) for before, now in known]
    result.loc[new.index, "labels"] = new
    return result
