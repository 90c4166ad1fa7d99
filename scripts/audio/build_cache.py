"""Filling a cache: workers decode each file once and write its rows; a journal says which are done.

Killed at any moment and started again it goes on where it was, and ends with the same bytes.
"""

import dataclasses
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
from tqdm import tqdm

from scripts.audio.cache import USABLE, MelCache, array_paths, array_shapes, cache_folder, spec_record
from scripts.audio.decoding import (
    check_silence,
    count_clips,
    cut_excerpt,
    decode_with_note,
    decoder_version,
    fit_length,
    slice_clips,
)
from scripts.audio.features import loudest_clip, make_transform
from scripts.audio.spec import MelSpec
from scripts.common.errors import AudioError, CacheError, TableError
from scripts.common.lock import locked
from scripts.common.memory import keep_freed_memory
from scripts.common.parallel import parallel_map
from scripts.common.storage import csv_bytes, in_bytes, write_csv, write_json

IDENTITY = ["file", "size", "mtime_ns"]  # a track is cached anew when one of these changes
JOURNAL = "journal.jsonl"
PARTIAL, OLD = ".partial", ".old"  # endings of the folder that is being filled, and of the one it replaces
TIMED = 50  # tracks after which the time for the rest is estimated


# --- one track, in a worker ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Worker:
    """What a worker process keeps: the transform and the two arrays it writes rows of."""

    spec: MelSpec
    transform: Callable[[np.ndarray], np.ndarray]
    arrays: tuple["RowWriter", ...]


class RowWriter:
    """Writes rows of an existing .npy file in place, without mapping it into memory."""

    def __init__(self, path: Path) -> None:
        array = np.load(path, mmap_mode="r")
        self.offset, self.row_bytes = array.offset, array[:1].nbytes
        self.file = open(path, "r+b", buffering=0)  # noqa: SIM115 - open as long as the worker lives

    def write(self, row: int, values: np.ndarray) -> None:
        self.file.seek(self.offset + row * self.row_bytes)
        data = np.ascontiguousarray(values, np.float16).data.cast("B")
        while data:
            data = data[self.file.write(data) :]


worker: Worker


def start(folder: Path, spec: MelSpec) -> None:
    global worker
    keep_freed_memory()
    worker = Worker(spec, make_transform(spec), tuple(map(RowWriter, array_paths(folder, spec))))


def cache_track(job: tuple[int, str]) -> dict[str, Any]:
    """Cache one file into its row; returns how it went: row, seconds, clips, status, reason."""
    row, path = job
    spec, (tracks, clips), seconds = worker.spec, worker.arrays, 0.0
    try:
        decoded = decode_with_note(path, spec.sample_rate, spec.decoded_seconds)
        waveform = cut_excerpt(decoded.waveform, spec)
        seconds = round(len(waveform) / spec.sample_rate, 3)
        if len(waveform) < spec.min_samples:
            reasons = [f"less than {spec.min_samples / spec.sample_rate:g} s", decoded.note]
            raise AudioError(path, "short", ", ".join(filter(None, reasons)), "give a longer file")
        check_silence(path, waveform, spec.decoded_seconds, lambda other: cut_excerpt(other, spec, 44_100))
    except AudioError as error:
        return {"row": row, "seconds": seconds, "clips": 0, "status": error.status, "reason": error.reason}
    padded = fit_length(waveform, spec.track_samples, spec.ending)
    whole = worker.transform(padded)
    tracks.write(row, whole)
    if spec.selection == "loudest":
        clips.write(row, loudest_clip(whole, spec))
    else:
        clips.write(row, worker.transform(slice_clips(padded, spec.clip_samples, spec.clip_step)))
    count = max(1, count_clips(len(waveform), spec.clip_samples, spec.clip_starts))
    count = min(count, spec.clips_per_track)
    return {"row": row, "seconds": seconds, "clips": count, "status": USABLE, "reason": decoded.note}


# --- all tracks ---------------------------------------------------------------------------------------------


def build_cache(
    tracks: pd.DataFrame,
    root: str | Path,
    spec: MelSpec | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> MelCache:
    """Cache the tracks of a table and open the result.

    Tracks of an earlier table stay in the cache; those that an older version decoded, and this one might decode
    otherwise, are made again, and stderr says so.

    Parameters
    ----------
    tracks : with `track_id` and `file_path`, a row per track or per clip.
    root : folder of the caches; this one gets a folder of its own in it, see `cache_folder`.
    spec : of the spectrograms; default: that of the main task.
    workers : processes; default: one a core.
    overwrite : start anew instead of keeping what is there.

    Raises
    ------
    TableError : no file of the table exists.
    CacheError : the folder holds other files under the same track ids, or was made by another decoder; or the disk is
        too full for the spectrograms.
    BusyError : another process is filling the folder.
    """
    spec = spec or MelSpec()
    folder, files = cache_folder(root, spec), list_files(tracks)
    with locked(folder):
        return fill_folder(folder, files, spec, workers, overwrite)


def fill_folder(folder: Path, files: pd.DataFrame, spec: MelSpec, workers: int | None, overwrite: bool) -> MelCache:
    """As `build_cache`, while no other process does the same; `files` : of `list_files`."""
    partial = beside(folder, PARTIAL)
    for leftover in (folder, partial, beside(folder, OLD)) if overwrite else ():
        shutil.rmtree(leftover, ignore_errors=True)
    publish(folder)
    old = MelCache.read(folder, spec) if (folder / "spec.json").is_file() else None
    plan, again, columns = make_plan(files, old), old.outdated() if old else [], ["track_id", *IDENTITY]
    if old and not again and plan[columns].to_csv() == old.rows.reset_index()[columns].to_csv():
        return old
    if old and not old.is_by_same_libraries:
        raise CacheError(
            f"{folder}: decoded by {old.decoder}; adding tracks by {decoder_version()} would mix the two; "
            "give --overwrite to cache all of it again"
        )
    if old and again:
        print(f"{old.describe_outdated(again)} and are made again", file=sys.stderr)
    needed, free = disk_space(partial, spec, len(plan))
    if needed > free:
        raise CacheError(
            f"{folder}: {len(plan):,} tracks need {in_bytes(needed)} of disk, {in_bytes(free)} are free; make room, or "
            "give another --output-root, or fewer tracks (--limit)"
        )
    prepare(partial, spec, plan)
    if old:
        copy_rows(partial, plan, old, again)
    tracks = f"{len(plan) - len(journal_rows(partial)):,} of {len(plan):,} tracks to cache"
    print(f"{tracks}; the cache needs {in_bytes(needed)} of disk, {in_bytes(free)} are free", file=sys.stderr)
    fill(partial, spec, plan, workers)
    finish(partial, folder, plan)
    return MelCache.open(folder, spec)


def beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)


def list_files(tracks: pd.DataFrame) -> pd.DataFrame:
    """One row per track of a table: track_id, file, size, mtime_ns; raises a TableError if no file exists."""
    tracks = tracks.drop_duplicates("track_id")
    stats = [file_identity(path) for path in tracks["file_path"]]
    if all(size < 0 for _, size, _ in stats):
        raise TableError(f"none of the {len(stats)} audio files exists, such as {stats[0][0]}; correct file_path")
    files = pd.DataFrame(stats, columns=IDENTITY)
    files.insert(0, "track_id", tracks["track_id"].astype(str).to_numpy())
    return files


def make_plan(files: pd.DataFrame, old: MelCache | None) -> pd.DataFrame:
    """One row per track to be in the cache, numbers in its id by value: row, track_id, file, size, mtime_ns."""
    plan = files
    if old:
        kept = old.rows.reset_index()[["track_id", *IDENTITY]]
        refuse_other_dataset(plan, kept, old.folder)
        plan = pd.concat([plan, kept]).drop_duplicates("track_id")
    plan = plan.sort_values(
        "track_id",
        key=lambda ids: ids.str.replace(r"\d+", lambda digits: digits.group().zfill(20), regex=True),
        ignore_index=True,
    )
    plan.insert(0, "row", range(len(plan)))
    return plan


def file_identity(path: str) -> tuple[str, int, int]:
    """Path, size in bytes and time of change in ns; -1 for both if there is no such file."""
    try:
        stat = os.stat(path)
    except OSError:
        return Path(path).as_posix(), -1, -1
    return Path(path).as_posix(), stat.st_size, stat.st_mtime_ns


def refuse_other_dataset(plan: pd.DataFrame, kept: pd.DataFrame, folder: Path) -> None:
    both = plan.merge(kept, on="track_id", suffixes=("", "_old"))
    moved = both[both["file"] != both["file_old"]]
    if len(moved):
        first = moved.iloc[0]
        raise CacheError(
            f"{folder}: track {first['track_id']} is {first['file_old']} there and {first['file']} in the table; "
            "choose another --output-root for another dataset, or give --overwrite"
        )


def prepare(partial: Path, spec: MelSpec, plan: pd.DataFrame) -> None:
    """Make the folder that is being filled; one left by an earlier start is kept if its plan is the same."""
    record = spec_record(spec, decoder_version())
    if is_same_start(partial, record, plan):
        trim_journal(partial / JOURNAL)
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path, shape in zip(array_paths(partial, spec), array_shapes(spec), strict=True):
        np.lib.format.open_memmap(path, "w+", np.float16, (len(plan), *shape)).flush()
    write_json(partial / "spec.json", record)
    write_csv(partial / "plan.csv", plan)


def is_same_start(partial: Path, record: dict[str, Any], plan: pd.DataFrame) -> bool:
    try:
        stored = json.loads((partial / "spec.json").read_text())
        same_record = all(stored[name] == record[name] for name in ("fingerprint", "decoder"))
        return same_record and (partial / "plan.csv").read_bytes() == csv_bytes(plan)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def copy_rows(partial: Path, plan: pd.DataFrame, old: MelCache, again: Sequence[str]) -> None:
    """Take over the rows of tracks whose files have not changed since `old` was made, but for those made `again`."""
    merged = plan.merge(old.rows.reset_index(), on=["track_id", *IDENTITY], suffixes=("", "_old"))
    merged = merged[~merged["row"].isin(journal_rows(partial)) & ~merged["track_id"].isin(again)]
    writers = tuple(map(RowWriter, array_paths(partial, old.spec)))
    with open(partial / JOURNAL, "a") as journal:
        for new in merged.to_dict("records"):
            for writer, array in zip(writers, (old.tracks, old.clips), strict=True):
                writer.write(new["row"], array[new["row_old"]])
            note(journal, {name: new[name] for name in ("row", "seconds", "clips", "status", "reason")})


def fill(partial: Path, spec: MelSpec, plan: pd.DataFrame, workers: int | None) -> None:
    """Cache every row that the journal does not have yet."""
    done, started = journal_rows(partial), time.perf_counter()
    jobs = [(row, file) for row, file in zip(plan["row"], plan["file"], strict=True) if row not in done]
    results = parallel_map(cache_track, jobs, workers, start, (partial, spec))
    with open(partial / JOURNAL, "a") as journal:
        bar = tqdm(results, "caching", len(plan), initial=len(done), unit=" tracks", smoothing=0.1, disable=None)
        for count, record in enumerate(bar, 1):
            note(journal, record)
            if count == 1:
                started = time.perf_counter()  # the workers are there
            elif count == TIMED < len(jobs):
                left = (time.perf_counter() - started) / (count - 1) * (len(jobs) - count)
                bar.write(f"about {tqdm.format_interval(left)} for the other {len(jobs) - count:,} tracks", sys.stderr)


def disk_space(partial: Path, spec: MelSpec, tracks: int) -> tuple[int, int]:
    """Bytes that the arrays of so many tracks still need in the folder, and bytes that are free there."""
    whole = tracks * np.dtype(np.float16).itemsize * sum(map(math.prod, array_shapes(spec)))
    there = sum(path.stat().st_blocks * 512 for path in array_paths(partial, spec) if path.is_file())
    return max(0, whole - there), shutil.disk_usage(partial.parent).free


def note(journal: TextIO, record: dict[str, Any]) -> None:
    journal.write(json.dumps(record) + "\n")
    journal.flush()


def trim_journal(path: Path) -> None:
    """Drop a last line that a kill cut off."""
    whole, newline, _ = (path.read_bytes() if path.is_file() else b"").rpartition(b"\n")
    path.write_bytes(whole + newline)


def read_journal(partial: Path) -> Iterator[dict[str, Any]]:
    """The records of finished rows."""
    path = partial / JOURNAL
    return map(json.loads, path.read_text().splitlines() if path.is_file() else [])


def journal_rows(partial: Path) -> set[int]:
    return {record["row"] for record in read_journal(partial)}


def finish(partial: Path, folder: Path, plan: pd.DataFrame) -> None:
    """Write `tracks.csv` and give the whole folder its name, in place of an older one."""
    results = pd.DataFrame(read_journal(partial)).drop_duplicates("row")
    write_csv(partial / "tracks.csv", plan.merge(results, on="row"))
    publish(folder)


def publish(folder: Path) -> None:
    """Give a complete partial folder its name; called again, it sets right what a kill inside it has left."""
    old, partial = beside(folder, OLD), beside(folder, PARTIAL)
    if (partial / "tracks.csv").is_file():
        if folder.exists():
            os.replace(folder, old)
        for leftover in (JOURNAL, "plan.csv"):
            (partial / leftover).unlink(missing_ok=True)
        os.replace(partial, folder)
    if old.exists() and not folder.exists():
        os.replace(old, folder)
    shutil.rmtree(old, ignore_errors=True)
