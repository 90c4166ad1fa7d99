"""A dataset's files -> the label table, one row per track. `python -m scripts.datasets` lists the datasets."""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: let `import scripts` work
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd

from scripts.cli import command
from scripts.datasets import DATASETS, fma, get_dataset
from scripts.errors import ConfigError, TableError
from scripts.labels import label_names
from scripts.storage import write_csv

FMA_FLAGS = {"metadata": Path("data/fma_metadata"), "audio": Path("data/fma_small"), "subset": "small"}


def write_label_table(metadata: Path, audio: Path, output: Path, subset: str = "small") -> pd.DataFrame:
    """Write the label table of FMA's `tracks.csv` and return it.

    Raises
    ------
    TableError : no `tracks.csv`, or none of its files is in the audio folder.
    """
    table = fma.label_table(metadata, audio, subset)
    check_files(table, audio, f"run `python scripts/utils/download.py {subset}` or give another --audio")
    return write_table(table, output)


def write_dataset_table(name: str, root: Path | None, output: Path, options: dict[str, str]) -> pd.DataFrame:
    """Write the label table of the dataset of this name and return it.

    Raises
    ------
    ConfigError : unknown dataset or option.
    TableError : the root does not hold the dataset, or none of its audio files.
    """
    dataset = get_dataset(name)
    table = dataset.label_table(root, **options)
    if dataset.has_audio:
        check_files(table, root or dataset.root, f"see `python -m scripts.datasets {name}`, or give another --root")
    return write_table(table, output)


def check_files(table: pd.DataFrame, folder: str | Path, remedy: str) -> None:
    if not any(Path(path).is_file() for path in table["file_path"]):
        first = table["file_path"].iloc[0]
        raise TableError(f"{folder}: holds none of the {len(table)} audio files, such as {first}; {remedy}")


def write_table(table: pd.DataFrame, output: Path) -> pd.DataFrame:
    """Write the table and print what is in it."""
    write_csv(output, table)
    missing = sum(not Path(path).is_file() for path in table["file_path"])
    print(f"{output}: {len(table)} tracks of {describe_labels(table)}, {missing} without a file")
    return table


def describe_labels(table: pd.DataFrame) -> str:
    if "genre" in table:
        return f"{table['genre'].nunique()} genres"
    return f"{len(label_names(table))} labels"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="fma", help=f"{', '.join(DATASETS)}; default: fma")
    parser.add_argument("--root", type=Path, help="where the dataset lies; default: data for fma, data/gtzan for gtzan")
    parser.add_argument(
        "--output", type=Path, default=Path("data/labeled_tracks.csv"),
        help="the label table; default: data/labeled_tracks.csv",
    )  # fmt: skip
    parser.add_argument(
        "--option", action="extend", default=[], nargs="+", metavar="NAME=VALUE", dest="options",
        help="of the dataset, such as subset=medium; `python -m scripts.datasets NAME` lists them",
    )  # fmt: skip
    group = parser.add_argument_group("FMA, with its metadata and audio in any two folders, instead of --root")
    add = group.add_argument
    for name, text in {"metadata": "folder of tracks.csv", "audio": "folder of 000/000002.mp3 and so on"}.items():
        add(f"--{name}", type=Path, default=argparse.SUPPRESS, help=f"{text}; default: {FMA_FLAGS[name]}")
    add(
        "--subset", choices=fma.SUBSETS, default=argparse.SUPPRESS,
        help="each holds the ones before it; default: small",
    )  # fmt: skip
    return parser.parse_args(argv)


def parse_options(texts: list[str]) -> dict[str, str]:
    """["name=value", ...] -> {name: value}."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--option {name!r} has no value; give it as name=value")
    return {name: value for name, _, value in pairs}


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    options = parse_options(args.options)
    given = {name: getattr(args, name) for name in FMA_FLAGS if name in args}
    if not given:
        write_dataset_table(args.dataset, args.root, args.output, options)
    elif args.dataset == "fma" and args.root is None and not options:
        write_label_table(output=args.output, **FMA_FLAGS | given)
    else:
        raise ConfigError(f"--{min(given)} is for FMA alone, without --root and --option; leave it or them out")


if __name__ == "__main__":
    main()
