"""Which paths lead to the same sound: a file is who it is, not how it is reached."""

import contextlib
import functools
import hashlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from scripts.common.errors import TableError

BLOCK = 4096  # bytes from the middle of a file, which tell nearly all different files apart


def file_keys(paths: Iterable[str], contents: bool = False) -> list[str]:
    """A text that is the same for each path that leads to the same file, whatever links lie between.

    Parameters
    ----------
    paths : of files, which need not be there; what is not there is known by its real path.
    contents : whether files of equal content are one, except empty ones. Only files of equal size are opened.

    Returns
    -------
    One for each path, in order.
    """
    paths, real_folder = list(paths), functools.cache(os.path.realpath)
    found = [key_and_size(path, real_folder) for path in paths]
    if not contents:
        return [key for key, _ in found]
    files = {key: path for (key, _), path in zip(found, paths, strict=True)}
    same: dict[str, str] = {}
    for group in alike(dict(found)):
        for part in alike(measure(group, files, middle)):
            for copies in alike(measure(part, files, digest)):
                same.update(dict.fromkeys(copies, copies[0]))
    return [same.get(key, key) for key, _ in found]


def identity(path: str) -> str:
    """Device and inode; of what is not there the real path."""
    return key_and_size(path)[0]


def key_and_size(path: str, real_folder: Callable[[str], str] = os.path.realpath) -> tuple[str, int | None]:
    """The `identity`, and the bytes, None of what is no file, or empty; `real_folder` may remember what it gave."""
    try:
        found = os.stat(path)
    except OSError:
        folder, name = os.path.split(path)
        if name in ("", ".", "..") or os.path.islink(path):  # noqa: PTH114 - twice as fast as a Path
            return os.path.realpath(path), None
        return f"{real_folder(folder).rstrip('/')}/{name}", None
    except ValueError:  # a NUL
        return path, None
    return f"{found.st_dev} {found.st_ino}", found.st_size or None if stat.S_ISREG(found.st_mode) else None


def measure(keys: list[str], files: dict[str, str], read: Callable[[str], bytes]) -> dict[str, bytes]:
    """What `read` gives of the files of these keys, those that cannot be read left out."""
    values = {}
    for key in keys:
        with contextlib.suppress(OSError, ValueError):
            values[key] = read(files[key])
    return values


def alike(values: Mapping[str, Hashable]) -> list[list[str]]:
    """The groups of at least two keys of equal values, None aside."""
    counts = Counter(values.values())
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for key, value in values.items():
        if value is not None and counts[value] > 1:
            groups[value].append(key)
    return list(groups.values())


def middle(path: str) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - BLOCK) // 2)
        return file.read(BLOCK)


def digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def one_row_a_file(rows: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """Each file once, by its own path rather than a link's; prints how many rows are left out.

    Parameters
    ----------
    rows : with `file_path` and `genre`, or `labels` and maybe `absent`.
    source : what error messages call the rows.

    Raises
    ------
    TableError : a file with two genres, or other labels at another place; names both.
    """
    keys = pd.Series(file_keys(rows["file_path"], contents=True), rows.index)
    repeated = rows[keys.duplicated(keep=False)]
    if repeated.empty:
        return rows
    linked = repeated["file_path"].map(lambda path: os.path.realpath(path) != os.path.normpath(Path.cwd() / path))
    repeated = repeated.loc[linked.sort_values(kind="stable").index]
    labels = repeated.columns.intersection(["labels", "absent"] if "labels" in repeated else ["genre"])
    left_out = []
    for _, places in repeated.groupby(keys.loc[repeated.index], sort=False):
        first = places.iloc[0]
        others = places[(places[labels] != first[labels]).any(axis=1)]
        if not others.empty:
            place = others.iloc[0]
            raise TableError(
                f"{source}: {first['file_path']} ({first[labels[0]]}) and {place['file_path']} ({place[labels[0]]}) "
                "are the same file with different labels; keep one of them"
            )
        left_out += [(index, path, first["file_path"]) for index, path in places["file_path"].iloc[1:].items()]
    indices, (path, *_), (own, *_) = zip(*left_out, strict=True)
    print(f"{source}: {len(left_out)} links to or copies of other files left out, such as {path} of {own}")
    return rows.drop(index=list(indices))
