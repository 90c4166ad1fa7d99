"""Playlists in extended M3U, UTF-8."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.common.storage import write_text
from scripts.inference.predict_folder import Row


def sort_rows(rows: Iterable[Row], only: str = "") -> list[Row]:
    """The files to play: those for which `only` was predicted, the likeliest first, or all with a predicted label.

    All are sorted by their first label, in alphabetical order, and then the likeliest first.
    """
    if only:
        return sorted((row for row in rows if only in row.labels), key=lambda row: -row.probabilities[only])
    labelled = [row for row in rows if row.labels]
    return sorted(labelled, key=lambda row: (row.labels[0], -row.probabilities[row.labels[0]]))


def write_playlist(path: Path, rows: Sequence[Row]) -> int:
    """Write the files in their order, with paths relative to the playlist; returns how many.

    Those whose paths cannot stand in it, see `can_stand`, are left out.
    """
    places = {row.file: seen_from(path.parent, row.file) for row in rows}
    entries = [
        f"#EXTINF:{round(row.seconds)},{Path(row.file).stem}\n{places[row.file]}"
        for row in rows
        if can_stand(places[row.file])
    ]
    write_text(path, "\n".join(["#EXTM3U", *entries]) + "\n")
    return len(entries)


def can_stand(place: str) -> bool:
    """A playlist in UTF-8, with a line for each path, can hold this one."""
    return not {*"\r\n"} & {*place} and place.encode("utf-8", "ignore").decode() == place


def seen_from(folder: Path, file: str) -> str:
    """The file's path relative to the folder, as both really lie on the disk, links to folders resolved.

    Absolute where there is no relative one, as between two drives of Windows.
    """
    place = Path(os.path.realpath(Path(file).parent), Path(file).name)
    try:
        place = Path(os.path.relpath(place, os.path.realpath(folder)))
    except ValueError:
        return place.as_posix()
    comment_space_or_address = re.match(r"#|\s|[^/]*:", place.as_posix())
    return f"./{place.as_posix()}" if comment_space_or_address else place.as_posix()
