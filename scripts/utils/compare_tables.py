"""How far two label tables agree about the same tracks: an annotation and its correction, or two annotators."""

import sys
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts compare_tables`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("compare_tables")

import numpy as np
import pandas as pd

from scripts.common.cli import command
from scripts.common.errors import TableError
from scripts.common.storage import write_csv
from scripts.tables.label_matrix import label_matrix, label_names
from scripts.tables.label_table import check_columns, describe_similar, read_table
from scripts.utils import flags

MEANING = {
    "exact": "of the tracks have the same labels in both",
    "at_least_one": "of the tracks share a label, or have none in both",
    "hamming": "of all pairs of a track and a label are judged alike",
    "jaccard": "labels in both / labels in either, mean over tracks",
}


def agreement(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """The shares of `MEANING`, each from 0 to 1; labels that either table does not know of a track are left out.

    Parameters
    ----------
    first, second : float [tracks, labels], 1 present, 0 absent, NaN unknown.
    """
    known = ~(np.isnan(first) | np.isnan(second))
    both, either = known & (first == 1) & (second == 1), known & ((first == 1) | (second == 1))
    alike = ~known | (first == second)
    sizes = either.sum(axis=1)
    jaccard = np.where(sizes > 0, both.sum(axis=1) / np.maximum(sizes, 1), 1.0)
    return {
        "exact": float(alike.all(axis=1).mean()),
        "at_least_one": float((both.any(axis=1) | (sizes == 0)).mean()),
        "hamming": float(alike[known].mean()),
        "jaccard": float(jaccard.mean()),
    }


def compare_tables(first: Path, second: Path, output: Path | None = None) -> dict[str, float]:
    """Print and return how far two tables agree about the tracks that stand in both.

    Parameters
    ----------
    first, second : label tables or metadata, with `labels` or `genre`; a genre counts as the only label.
    output : CSV of the tracks that differ, with `track_id` and the labels in the `first` and the `second` table.

    Raises
    ------
    TableError : a table is missing or wrong, or no track stands in both.
    """
    tables = [read_labels(path) for path in (first, second)]
    matrices = [matrix_of(path, table) for path, table in zip((first, second), tables, strict=True)]
    tracks = matrices[0].index.intersection(matrices[1].index)
    if tracks.empty:
        raise TableError(f"{first} and {second}: no track_id stands in both; give two tables of the same tracks")
    names = sorted({*matrices[0], *matrices[1]})
    values = [
        matrix.loc[tracks].reindex(columns=names, fill_value=np.nan if "absent" in table else 0.0).to_numpy()
        for matrix, table in zip(matrices, tables, strict=True)
    ]
    known = ~np.isnan(values[0] + values[1])
    if not known.any():
        raise TableError(f"{first} and {second}: no label of a track is known in both; nothing can be compared")
    print(f"{len(tracks)} tracks in both; {len(tables[0])} in {first}, {len(tables[1])} in {second}")
    for line in describe_similar(names):
        print(line)
    shares = agreement(*values)
    for name, share in shares.items():
        print(f"{name.replace('_', ' '):14}{share:.3f}  {MEANING[name]}")
    present = [known & (value == 1) for value in values]
    counts = {"first": present[0], "second": present[1], "both": present[0] & present[1]}
    print(pd.DataFrame({name: cells.sum(axis=0) for name, cells in counts.items()}, names).to_string())
    if output:
        differ = tracks[(known & (values[0] != values[1])).any(axis=1)]
        cells = {name: table.loc[differ, label_column(table)] for name, table in zip(counts, tables, strict=False)}
        write_csv(output, pd.DataFrame(cells, index=differ).rename_axis("track_id").reset_index())
        print(f"{output}: the {len(differ)} tracks that differ")
    return shares


def read_labels(path: Path) -> pd.DataFrame:
    """A table with `labels` or `genre`, a row a track, by `track_id`."""
    table = read_table(path, ["track_id"])
    if "labels" not in table and "genre" not in table:
        raise TableError(f"{path}: has neither labels nor genre; give a label table")
    check_columns(path, table, [label_column(table)])
    return table.drop_duplicates("track_id").set_index("track_id")


def label_column(table: pd.DataFrame) -> str:
    return "labels" if "labels" in table else "genre"


def matrix_of(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """1, 0 or NaN (unknown) for each track and label of the table."""
    if "labels" in table:
        names = label_names(table)
        return pd.DataFrame(label_matrix(table, names, path), table.index, names)
    return pd.get_dummies(table["genre"], dtype=float)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.compare_tables(argv)
    compare_tables(args.first, args.second, args.output)
