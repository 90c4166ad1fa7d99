"""One's own audio: a folder for each class."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scripts.audio.decoding import SUFFIXES
from scripts.common.errors import TableError
from scripts.datasets.contract import Dataset, finish_table
from scripts.datasets.tiny import write_tone


def read_folder(root: Path) -> pd.DataFrame:
    """One row for each audio file in a folder of `root`, sorted by class and path.

    The class is the folder right below `root`; folders in it may be nested. `track_id` is the path below `root`
    without its suffix, such as "jazz/live/so_what". Hidden files and folders are passed over.
    """
    folders = sorted(path for path in visible(root) if path.is_dir())
    if not folders:
        raise TableError(f"{root}: holds no folders; put the audio into one folder for each class, or give --root")
    rows = [
        (path.relative_to(root).with_suffix("").as_posix(), path.as_posix(), folder.name)
        for folder in folders
        for path in audio_files(folder)
    ]
    return finish_table(pd.DataFrame(rows, columns=["track_id", "file_path", "genre"]), root)


def audio_files(folder: Path) -> list[Path]:
    """Audio files at any depth, sorted.

    Raises
    ------
    TableError : there is none.
    """
    files = sorted(path for path in walk(folder) if path.suffix.lower() in SUFFIXES)
    if not files:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise TableError(f"{folder}: a class without an audio file ({suffixes}); add some or move the folder away")
    return files


def walk(folder: Path) -> Iterator[Path]:
    for path in visible(folder):
        if path.is_dir():
            yield from walk(path)
        else:
            yield path


def visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise TableError(f"{folder}: not a folder; give the one that holds a folder for each class as --root")
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def make_tiny(root: Path) -> None:
    """Three classes of ten tracks in several formats, some nested, and files that are none."""
    suffixes = (".wav", ".flac", ".ogg", ".WAV", ".aiff")
    for kind, name in enumerate(("drone", "hum", "whistle")):
        for number in range(10):
            place = root / name / "live" if number % 2 else root / name
            write_tone(place / f"{number:02d}{suffixes[number % 5]}", kind, number)
        (root / name / ".hidden.wav").write_bytes(b"")
        (root / name / "notes.txt").write_text("not audio\n")


DATASET = Dataset(
    name="folder",
    title="A folder for each class",
    citation="your own audio: cite where it comes from",
    licence="that of your files",
    url="your own disk",
    size="any",
    root="data/own",
    layout=(
        "<class>/<track>.mp3; folders in a class may be nested; other suffixes: "
        + ", ".join(sorted(SUFFIXES - {".mp3"})),
    ),
    reader=read_folder,
    make_tiny=make_tiny,
)
