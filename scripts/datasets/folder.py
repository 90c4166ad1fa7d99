"""One's own audio: a folder for each class."""

import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scripts.audio.decoding import SUFFIXES, passed_over
from scripts.common.errors import TableError
from scripts.datasets.contract import Dataset, finish_table
from scripts.datasets.tiny import write_tone
from scripts.tables.file_identity import identity, one_row_a_file


def read_folder(root: Path) -> pd.DataFrame:
    """One row for each audio file in a folder of `root`, sorted by class and path.

    The class is the folder right below `root`; folders in it may be nested. `track_id` is the path below `root`
    without its suffix, such as "jazz/live/so_what". Of links and copies in the same class one is left. Hidden files
    and folders are passed over; other files that are not called as audio, or are in no class, are counted on stderr.

    Raises
    ------
    TableError : no folders, one without audio, or a file that is in two of them.
    """
    return finish_table(one_row_a_file(find_tracks(root), root), root)


def find_tracks(root: Path) -> pd.DataFrame:
    """`track_id, file_path, genre` of every audio file in the folders of `root`, links and copies included."""
    folders = sorted(path for path in visible(root) if path.is_dir())
    if not folders:
        raise TableError(f"{root}: holds no folders; put the audio into one folder for each class, or give --root")
    rows = [
        (path.relative_to(root).with_suffix("").as_posix(), path.as_posix(), folder.name)
        for folder in folders
        for path in audio_files(folder)
    ]
    others = {path.as_posix() for path in walk(root)}.difference(path for _, path, _ in rows)
    if others:
        print(f"{root}: {passed_over(others)}", file=sys.stderr)
    return pd.DataFrame(rows, columns=["track_id", "file_path", "genre"])


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
    """The files at any depth; each folder once, whatever links lead to it, and by its own path if it lies below."""
    seen, waiting = set(), deque([folder])
    while waiting:
        place = waiting.popleft()
        if (here := identity(str(place))) in seen:
            continue
        seen.add(here)
        for path in visible(place):
            if not path.is_dir():
                yield path
            elif path.is_symlink():
                waiting.append(path)
            else:
                waiting.appendleft(path)


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
