"""A dataset's files -> the label table, one row per track. `python -m scripts datasets` lists the datasets."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts labeled_tracks`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("labeled_tracks")

import pandas as pd

from scripts.common.cli import command
from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import write_csv
from scripts.datasets import get_dataset
from scripts.tables.label_matrix import label_names
from scripts.tables.label_table import describe_similar
from scripts.utils import flags


def write_label_table(name: str, root: str | Path | None, output: Path, /, **options: str) -> pd.DataFrame:
    """Write the label table of a dataset and return it; prints what is in it.

    Parameters
    ----------
    name : of the dataset, one of `DATASETS`.
    root : where it lies; None for its usual place.
    output : the CSV.
    options : of the dataset, such as subset="medium".

    Raises
    ------
    ConfigError : unknown dataset or option.
    TableError : the root does not hold the dataset, or none of its audio files.
    """
    dataset = get_dataset(name)
    table = dataset.label_table(root, **options)
    there = list(map(os.path.isfile, table["file_path"]))
    if dataset.has_audio and not any(there):
        raise TableError(
            f"{root or dataset.root}: holds none of the {len(table)} audio files, such as "
            f"{table['file_path'].iloc[0]}; see `python -m scripts datasets {name}`, or give another --root"
        )
    write_csv(output, table)
    multi_label = "labels" in table
    names = label_names(table) if multi_label else table["genre"].unique()
    labels = f"{len(names)} {'labels' if multi_label else 'genres'}"
    print(f"{output}: {len(table)} tracks of {labels}, {there.count(False)} without a file")
    for line in describe_similar(names):
        print(line)
    return table


def parse_options(texts: list[str]) -> dict[str, str]:
    """["name=value", ...] -> {name: value}."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--option {name!r} has no value; give it as name=value")
    return {name: value for name, _, value in pairs}


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.labeled_tracks(argv)
    write_label_table(args.dataset, args.root, args.output, **parse_options(args.options))
