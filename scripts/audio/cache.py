"""Opening a cache of spectrograms, with checks."""

import csv
import dataclasses
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.audio.decoding import decoder_version, library_version
from scripts.audio.ffmpeg import SLACK
from scripts.audio.layout import SHARDS, TRACKS, USABLE, array_paths, array_shapes
from scripts.audio.spec import NUMERICS, MelSpec
from scripts.audio.stacked import StackedArray, npy_bytes
from scripts.common.errors import CacheError, ConfigError
from scripts.common.storage import CELL, TABLE_TEXT

NUMBERS = ("row", "size", "mtime_ns", "seconds", "clips")  # columns of tracks.csv; the others are text
MAKE_AGAIN = "damaged; delete its folder, and run the command that made it again"
COUNTED = (".wav", ".aif", ".aiff", ".au")  # libsndfile knows how much they hold
BY_LIBSNDFILE = (".mp3", ".flac", ".ogg", ".oga", ".opus")  # it believes what these announce
WARNED: set[str] = set()  # folders of caches whose outdated tracks have been named
HOW_TO_CACHE = "python -m scripts mels --help"


def cache_folder(root: str | Path, spec: MelSpec) -> Path:
    """The folder below `root` of the cache with these parameters: another parameter, another folder."""
    return Path(root) / f"{spec.sample_rate}hz_{spec.rows}{spec.kind}_{spec.fingerprint()}"


@dataclass(frozen=True)
class MelCache:
    """An opened cache.

    Attributes
    ----------
    spec : the parameters of its spectrograms.
    rows : one row per track, indexed by `track_id`; `row` counts into the arrays, `clips` holds how many of the
        track's clips have at least half a clip of audio, `status` is "ok" or why the track is left out.
    tracks : float16 [tracks, (channels,) rows, frames], dB.
    clips : float16 [tracks, clips, (channels,) rows, frames], dB.
    """

    folder: Path
    spec: MelSpec
    rows: pd.DataFrame
    tracks: StackedArray
    clips: StackedArray

    @classmethod
    def open(cls, root: str | Path, spec: MelSpec | None = None) -> "MelCache":
        """Open the cache with these parameters (default: the main task's) below `root`, or at `root` itself.

        Raises
        ------
        CacheError : there is none, it is damaged, or its parameters differ (the fields are named).
        """
        cache = cls.read(root, spec)
        warn_outdated(cache)
        return cache

    @classmethod
    def read(cls, root: str | Path, spec: MelSpec | None = None) -> "MelCache":
        """As `open`, and says nothing of tracks that are outdated."""
        spec = spec or MelSpec()
        folder = find_folder(Path(root), spec)
        check_spec(folder, spec)
        shards = list_shards(folder)
        rows, counts, order = stack_rows(folder, shards)
        arrays, files = [], zip(*(array_paths(shard, spec) for shard in shards), strict=True)
        for paths, shape in zip(files, array_shapes(spec), strict=True):
            check_sizes(paths, counts, shape)
            arrays.append(StackedArray(paths, counts, shape, order))
        return cls(folder, spec, rows, *arrays)

    def outdated(self) -> list[str]:
        """Ids of tracks that an older version decoded and that this one might decode otherwise.

        With the same libraries these are the ones that were refused, that FFmpeg reads, or that gave less than was
        wanted in a format whose header is not to be trusted.
        """
        older = self.rows["decoder"] != decoder_version()
        if not older.any() or self.other_libraries():
            return []
        suffixes = self.rows["file"].str.lower().str.extract(r"(\.\w+)$", expand=False)
        is_full = self.rows["seconds"] >= (self.spec.decoded_seconds or np.inf) - SLACK / 96_000
        is_same = suffixes.isin(COUNTED) | suffixes.isin(BY_LIBSNDFILE) & is_full
        there = self.rows["file"].map(os.path.isfile)
        return self.rows.index[older & there & ~(is_same & (self.rows["status"] == USABLE))].tolist()

    def other_libraries(self) -> str:
        """What decoded tracks with other libraries than those of today; "" if nothing did."""
        decoders = self.rows["decoder"].drop_duplicates()
        return next((one for one in decoders if not f"{one}, ".startswith(f"{library_version()}, ")), "")

    def describe_outdated(self, tracks: Sequence[str]) -> str:
        named = ", ".join(tracks[:3]) + ", ..." * (len(tracks) > 3)
        return f"{self.folder}: {len(tracks)} of {len(self.rows)} tracks ({named}) were decoded by an older version"

    def counts(self) -> dict[str, int]:
        """How many tracks there are of each status, "ok" first."""
        counts = self.rows["status"].value_counts().to_dict()
        return {USABLE: counts.pop(USABLE, 0), **dict(sorted(counts.items()))}


def warn_outdated(cache: MelCache) -> None:
    """One line about the tracks that should be made again, once for each cache."""
    key = str(cache.folder.resolve())
    tracks = cache.outdated() if key not in WARNED and multiprocessing.parent_process() is None else []
    WARNED.add(key)
    if tracks:
        print(f"{cache.describe_outdated(tracks)}; the command that cached them makes them again", file=sys.stderr)


def find_folder(root: Path, spec: MelSpec) -> Path:
    folder = root if (root / "spec.json").is_file() else cache_folder(root, spec)
    if list_shards(folder):
        return folder
    for other in sorted(root.glob("*/spec.json")) if root.is_dir() else []:
        check_spec(other.parent, spec)
    raise CacheError(f"{root}: no cache here; make it first ({HOW_TO_CACHE})")


def list_shards(folder: Path) -> list[Path]:
    """Folders with arrays and their tracks, those of later generations last."""
    packed = [folder] if (folder / TRACKS).is_file() else []
    return packed + sorted(folder.glob(f"{SHARDS}/[0-9]*-*"), key=lambda path: (generation(path), path.name))


def generation(shard: Path) -> int:
    """How many times a track of the shard had been made before, at most; -1 of a cache of an earlier version."""
    return int(shard.name.partition("-")[0]) if shard.parent.name == SHARDS else -1


def stack_rows(folder: Path, shards: Sequence[Path]) -> tuple[pd.DataFrame, list[int], np.ndarray]:
    """The newest row of each track of these shards, in natural order and indexed by it.

    Also how many rows each shard has, and where the newest ones are among all of them: what a `StackedArray` needs.
    """
    tables = [read_rows(shard, folder) for shard in shards]
    counts = [len(table) for table in tables]
    rows = pd.concat(tables, ignore_index=True)
    rows["row"], rows["generation"] = range(len(rows)), np.repeat([*map(generation, shards)], counts)
    rows = in_natural_order(rows.drop_duplicates("track_id", keep="last"))
    return rows.assign(row=range(len(rows))).set_index("track_id"), counts, rows["row"].to_numpy()


def read_rows(shard: Path, folder: Path) -> pd.DataFrame:
    """The table of a shard's tracks, in the order of its arrays."""
    path = shard / TRACKS
    try:
        with open(path, **TABLE_TEXT) as file:
            header, *lines = filter(None, csv.reader(file, strict=True))
        table = pd.DataFrame(lines, columns=header, dtype=CELL)
        table[list(NUMBERS)] = table[list(NUMBERS)].apply(pd.to_numeric)
    except (OSError, ValueError, KeyError, csv.Error):
        raise CacheError(f"{path}: {MAKE_AGAIN}") from None
    return table if "decoder" in table else table.assign(decoder=read_record(folder).get("decoder", "unknown"))


def in_natural_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Sorted by `track_id`, numbers in it by value: 2 comes before 10."""
    return rows.sort_values(
        "track_id",
        key=lambda ids: ids.str.replace(r"\d+", lambda digits: digits.group().zfill(20), regex=True),
        ignore_index=True,
    )


def check_spec(folder: Path, spec: MelSpec) -> None:
    """Raise a CacheError that names the fields in which the folder's parameters differ from `spec`."""
    wanted, made = spec.as_dict(), read_spec(folder).as_dict()
    differing = [f"{name} is {made[name]}, not {wanted[name]}" for name in wanted if wanted[name] != made[name]]
    if differing:
        raise CacheError(f"{folder}: made with other parameters: {'; '.join(differing)}; cache again ({HOW_TO_CACHE})")


def read_spec(folder: Path) -> MelSpec:
    """The parameters of a cache; a damaged spec.json raises a CacheError."""
    try:
        return MelSpec.of(read_record(folder)["spec"])
    except (KeyError, TypeError, ConfigError):
        raise damaged_record(folder) from None


def read_record(folder: Path) -> dict[str, Any]:
    """What `spec.json` holds; raises a CacheError if it is damaged."""
    try:
        record = json.loads((folder / "spec.json").read_text())
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise damaged_record(folder)
    return record


def damaged_record(folder: Path) -> CacheError:
    return CacheError(f"{folder}/spec.json: damaged; delete the folder and cache again ({HOW_TO_CACHE})")


def spec_record(spec: MelSpec, decoder: str) -> dict[str, Any]:
    """What `spec.json` holds."""
    return {
        "spec": dataclasses.asdict(spec),
        "fingerprint": spec.fingerprint(),
        "unit": spec.unit,
        "numerics": NUMERICS,
        "decoder": decoder,
    }


def check_sizes(paths: Sequence[Path], counts: Sequence[int], shape: tuple[int, ...]) -> None:
    """Raise a CacheError if a file is none with an array of so many rows of this shape."""
    for path, count in zip(paths, counts, strict=True):
        held, expected = path.stat().st_size if path.is_file() else 0, npy_bytes((count, *shape))
        if held != expected:
            raise CacheError(f"{path}: {held:,} bytes instead of {expected:,}; {MAKE_AGAIN}")
