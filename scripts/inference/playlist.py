"""Playlists in extended M3U, UTF-8."""

import os
from collections.abc import Iterable
from pathlib import Path

from scripts.common.storage import write_text
from scripts.inference.predict_folder import Row


def sort_rows(rows: Iterable[Row], only: str = "") -> list[Row]:
    """The files to play: those in which `only` was found, the likeliest first, or all in which something was.

    All come by the first name that was found, in alphabetical order, and then the likeliest first.
    """
    if only:
        return sorted((row for row in rows if only in row.found), key=lambda row: -row.probabilities[only])
    return sorted((row for row in rows if row.found), key=lambda row: (row.found[0], -row.probabilities[row.found[0]]))


def write_playlist(path: Path, rows: Iterable[Row]) -> int:
    """Write the files in their order, with paths relative to the playlist; returns how many.

    Files whose names hold a line break or are not UTF-8 cannot stand in it and are left out.
    """
    entries = [entry(row, path.parent) for row in rows if can_stand(row.file)]
    write_text(path, "\n".join(["#EXTM3U", *entries]) + "\n")
    return len(entries)


def can_stand(file: str) -> bool:
    return not {*"\r\n"} & {*file} and file.encode("utf-8", "ignore").decode() == file


def entry(row: Row, folder: Path) -> str:
    """Its length in whole seconds and its title, and where it is."""
    place = Path(os.path.relpath(row.file, folder)).as_posix()
    place = f"./{place}" if place.startswith("#") else place
    return f"#EXTINF:{round(row.seconds)},{Path(row.file).stem}\n{place}"
