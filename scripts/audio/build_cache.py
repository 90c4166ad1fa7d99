"""Filling a cache: which shards are missing, and making them, on as many cores as there are.

Killed at any moment and started again it makes the shards that are not there yet, and ends with the same bytes.
"""

import json
import math
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from scripts.audio.cache import (
    MelCache,
    cache_folder,
    in_natural_order,
    list_shards,
    read_record,
    read_rows,
    spec_record,
)
from scripts.audio.decoding import decoder_version
from scripts.audio.layout import SHARDS, TRACKS, array_paths, array_shapes
from scripts.audio.shards import CHECKSUMS, SEALED, Shard, Track, make_shard, remove_leftovers, seal, shard_name
from scripts.audio.spec import NUMERICS, MelSpec
from scripts.audio.stacked import TYPE, npy_bytes
from scripts.common.engines import Engine
from scripts.common.errors import CacheError, TableError
from scripts.common.storage import in_bytes, write_json

IDENTITY = ["file", "size", "mtime_ns"]  # a track is cached anew when one of these changes
MOST_TRACKS, FEWEST_SHARDS = 128, 64  # of a shard; of a table that has so many tracks
BLOCK = 2**22  # bytes that are read at a time
TIMED = 50  # tracks after which the time for the rest is estimated


def build_cache(
    tracks: pd.DataFrame,
    root: str | Path,
    spec: MelSpec | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    engine: Engine | None = None,
) -> MelCache:
    """Cache the tracks of a table and open the result.

    Tracks of an earlier table stay in the cache; those that an older version decoded, and this one might decode
    otherwise, are made again, and so are damaged shards; stderr says so.

    Parameters
    ----------
    tracks : with `track_id` and `file_path`, a row per track or per clip.
    root : folder of the caches; this one gets a folder of its own in it, see `cache_folder`.
    spec : of the spectrograms; default: that of the main task.
    workers : processes; default: one a core.
    overwrite : start anew instead of keeping what is there.
    engine : that makes the shards; default: the cores of this machine.

    Raises
    ------
    TableError : no file of the table exists.
    CacheError : the folder holds other files under the same track ids, or was made by another decoder or another
        version of the spectrograms; or the disk is too full for them.
    ClusterError : a machine of the engine does not see the files, or dies again and again.
    """
    spec, engine = spec or MelSpec(), engine or Engine()
    folder, files = cache_folder(root, spec), list_files(tracks)
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    old = open_whole(folder, spec)
    missing = find_missing(files, old)
    if old and missing.empty:
        return old
    shards = plan_shards(folder, missing, len(files), spec)
    say_what_is_needed(folder, spec, len(missing), len(files))
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    engine.check_shared(folder, missing["file"].tolist())
    if old is None:
        write_json(folder / "spec.json", spec_record(spec, decoder_version()))
    fill(shards, engine, workers)
    remove_leftovers(folder)
    return MelCache.open(folder, spec)


def open_whole(folder: Path, spec: MelSpec) -> MelCache | None:
    """The cache as far as it is there, without what killed processes have left and without damaged shards."""
    remove_leftovers(folder)
    for shard in list_shards(folder):
        damage = find_damage(shard, spec) if shard != folder else ""
        if damage:
            print(f"{shard}: {damage}; it is made again", file=sys.stderr)
            shutil.rmtree(shard)
    if not list_shards(folder):
        return None
    return MelCache.read(folder, spec)


def find_damage(shard: Path, spec: MelSpec) -> str:
    """What is wrong with a shard, "" if nothing is.

    A file that still has the time of change that it was given is taken to be as it was written, if it has its size;
    the checksum of any other, as copying leaves it, is computed.
    """
    try:
        sums = json.loads((shard / CHECKSUMS).read_text())
        if checksum(shard / TRACKS) != sums[TRACKS]:
            return f"{TRACKS} has another checksum"
        count = len(read_rows(shard, shard))
        for path, shape in zip(array_paths(shard, spec), array_shapes(spec), strict=True):
            stat = path.stat()
            if stat.st_size != npy_bytes((count, *shape)):
                return f"{path.name} has {stat.st_size:,} bytes, not {npy_bytes((count, *shape)):,}"
            if stat.st_mtime_ns != SEALED and checksum(path) != sums[path.name]:
                return f"{path.name} has another checksum"
        seal(shard)
    except (OSError, ValueError, KeyError, TypeError, CacheError) as error:
        return str(error)
    return ""


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    total = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            total = zlib.crc32(block, total)
    return total


def list_files(tracks: pd.DataFrame) -> pd.DataFrame:
    """One row per track of a table: track_id, file, size, mtime_ns; raises a TableError if no file exists."""
    tracks = tracks.drop_duplicates("track_id")
    stats = [file_identity(path) for path in tracks["file_path"]]
    if all(size < 0 for _, size, _ in stats):
        raise TableError(f"none of the {len(stats)} audio files exists, such as {stats[0][0]}; correct file_path")
    files = pd.DataFrame(stats, columns=IDENTITY)
    files.insert(0, "track_id", tracks["track_id"].astype(str).to_numpy())
    return files


def file_identity(path: str) -> tuple[str, int, int]:
    """Path, size in bytes and time of change in ns; -1 for both if there is no such file."""
    try:
        stat = os.stat(path)
    except OSError:
        return Path(path).as_posix(), -1, -1
    return Path(path).as_posix(), stat.st_size, stat.st_mtime_ns


def find_missing(files: pd.DataFrame, old: MelCache | None) -> pd.DataFrame:
    """The tracks that are not in the cache as they are now, in natural order.

    The columns are track_id, file, size, mtime_ns, and the generation of the shard to make, 0 of a track that was never
    cached. Raises a CacheError as `build_cache`.
    """
    if old is None:
        return in_natural_order(files.assign(generation=0))
    kept = old.rows.reset_index()[["track_id", *IDENTITY, "generation"]]
    kept["generation"] += 1
    refuse_other_dataset(files, kept, old.folder)
    again = old.outdated()
    if again:
        print(f"{old.describe_outdated(again)} and are made again", file=sys.stderr)
    unchanged = files.merge(kept, "left", ["track_id", *IDENTITY])["generation"].notna().to_numpy()
    changed = files[~unchanged].merge(kept[["track_id", "generation"]], "left").fillna({"generation": 0})
    repeated = kept[kept["track_id"].isin(again) & ~kept["track_id"].isin(changed["track_id"])]
    missing = pd.concat([changed, repeated]).astype({"generation": int})
    if len(missing):
        refuse_to_mix(old)
    return in_natural_order(missing)


def refuse_other_dataset(files: pd.DataFrame, kept: pd.DataFrame, folder: Path) -> None:
    both = files.merge(kept, on="track_id", suffixes=("", "_old"))
    moved = both[both["file"] != both["file_old"]]
    if len(moved):
        first = moved.iloc[0]
        raise CacheError(
            f"{folder}: track {first['track_id']} is {first['file_old']} there and {first['file']} in the table; "
            "choose another --output-root for another dataset, or give --overwrite"
        )


def refuse_to_mix(old: MelCache) -> None:
    """Spectrograms that other libraries or an earlier version of this project made do not stand beside new ones."""
    numerics, other = read_record(old.folder).get("numerics", 1), old.other_libraries()
    remedy = "would mix the two; give --overwrite to cache all of it again"
    if other:
        raise CacheError(f"{old.folder}: decoded by {other}; adding tracks by {decoder_version()} {remedy}")
    if numerics != NUMERICS:
        raise CacheError(f"{old.folder}: computed by version {numerics}; adding tracks by version {NUMERICS} {remedy}")


def plan_shards(folder: Path, missing: pd.DataFrame, tracks: int, spec: MelSpec) -> list[Shard]:
    """Shards of the missing tracks, of one size, so that those that are left after a kill are the same ones.

    Parameters
    ----------
    folder : of the cache.
    missing : of `find_missing`.
    tracks : number of tracks of the whole table, which decides the size.
    spec : of the spectrograms.
    """
    size = min(MOST_TRACKS, math.ceil(tracks / FEWEST_SHARDS))
    shards = []
    for start in range(0, len(missing), size):
        chunk = missing[start : start + size]
        rows = [Track(*row) for row in chunk[["track_id", *IDENTITY]].itertuples(index=False)]
        name = shard_name(chunk["generation"].max(), rows)
        shards.append(Shard(folder.absolute() / SHARDS / name, rows, spec))
    return shards


def say_what_is_needed(folder: Path, spec: MelSpec, missing: int, tracks: int) -> None:
    """A line on stderr; raises a CacheError if the disk has less room."""
    needed = missing * TYPE.itemsize * sum(map(math.prod, array_shapes(spec)))
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise CacheError(
            f"{folder}: {missing:,} tracks need {in_bytes(needed)} of disk, {in_bytes(free)} are free; make room, or "
            "give another --output-root, or fewer tracks (--limit)"
        )
    print(
        f"{missing:,} of {tracks:,} tracks to cache; they need {in_bytes(needed)} of disk, {in_bytes(free)} are free",
        file=sys.stderr,
    )


def fill(shards: Sequence[Shard], engine: Engine, workers: int | None) -> None:
    """Make all shards."""
    total, started, done = sum(len(shard.tracks) for shard in shards), time.perf_counter(), 0
    results: Iterable[int] = engine.map_jobs(make_shard, shards, workers)
    with tqdm(total=total, desc="caching", unit=" tracks", smoothing=0.1, disable=None) as bar:
        for count in results:
            bar.update(count)
            is_first, done = done < TIMED, done + count
            if is_first and TIMED <= done < total:
                left = (time.perf_counter() - started) / done * (total - done)
                bar.write(f"about {tqdm.format_interval(left)} for the other {total - done:,} tracks", sys.stderr)
