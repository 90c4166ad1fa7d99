"""FMA's metadata and audio folder -> the label table, one row per track."""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: let `import scripts` work
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd

from scripts.cli import command
from scripts.datasets import fma
from scripts.errors import TableError
from scripts.storage import write_csv


def write_label_table(metadata: Path, audio: Path, output: Path, subset: str = "small") -> pd.DataFrame:
    """Write the label table of FMA's `tracks.csv` and return it.

    Raises
    ------
    TableError : no `tracks.csv`, or none of its files is in the audio folder.
    """
    table = fma.label_table(metadata, audio, subset)
    found = table["file_path"].map(lambda path: Path(path).is_file())
    if not found.any():
        raise TableError(
            f"{audio}: holds none of the {len(table)} audio files, such as {table['file_path'].iloc[0]}; "
            f"run `python scripts/utils/download.py {subset}` or give another --audio"
        )
    write_csv(output, table)
    print(f"{output}: {len(table)} tracks of {table['genre'].nunique()} genres, {(~found).sum()} without a file")
    return table


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--metadata", type=Path, default=Path("data/fma_metadata"), help="folder of tracks.csv")
    parser.add_argument("--audio", type=Path, default=Path("data/fma_small"), help="folder of 000/000002.mp3 and so on")
    parser.add_argument("--output", type=Path, default=Path("data/labeled_tracks.csv"), help="the label table")
    parser.add_argument("--subset", choices=fma.SUBSETS, default="small", help="each holds the ones before it")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    write_label_table(args.metadata, args.audio, args.output, args.subset)


if __name__ == "__main__":
    main()
