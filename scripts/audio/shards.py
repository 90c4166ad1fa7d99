"""Making shards of a cache: a worker decodes the files of one and writes their rows; it is there whole or not at all.

Nothing is locked. Two processes may make the same shard, as its name tells what is in it: one renames its folder
first, the other deletes its own.
"""

import contextlib
import csv
import functools
import hashlib
import io
import json
import os
import shutil
import socket
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from scripts.audio.decoding import (
    check_silence,
    count_clips,
    cut_excerpt,
    decode_with_note,
    decoder_version,
    fit_length,
    slice_clips,
)
from scripts.audio.features import loudest_clip, make_transform, to_half
from scripts.audio.layout import SHARDS, TRACKS, USABLE, array_paths, array_shapes
from scripts.audio.pictures import read_picture
from scripts.audio.spec import NUMERICS, MelSpec
from scripts.audio.stacked import TYPE, npy_header
from scripts.common.errors import AudioError
from scripts.common.memory import keep_freed_memory

CHECKSUMS = "checksums.json"
SEALED = 10**18  # ns, in 2001: the time of change of a shard's files; they have another once somebody has written there


class Track(NamedTuple):
    """A file to cache: what it is called, where it lies, its size in bytes and its time of change in ns."""

    track_id: str
    file: str
    size: int
    mtime_ns: int


class Row(NamedTuple):
    """What a shard holds of a track: its row of tracks.csv, but for the number, and spectrograms if it is usable."""

    record: dict[str, Any]
    track: np.ndarray | None = None
    clips: np.ndarray | None = None


class Shard(NamedTuple):
    """A shard to make: its place, its tracks, and their spectrograms' parameters."""

    path: Path
    tracks: Sequence[Track]
    spec: MelSpec


def shard_name(generation: int, tracks: Sequence[Track]) -> str:
    """The name of a shard's folder: it tells the tracks, and what decodes and computes here."""
    content = repr([tuple(track) for track in tracks]) + f"{decoder_version()}, {NUMERICS}"
    return f"{generation}-{hashlib.sha256(content.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def make_shard(shard: Shard) -> int:
    """Cache the tracks of a shard, unless it is there; returns how many they are."""
    if not shard.path.is_dir():
        rows = (cache_track(track, shard.spec) for track in shard.tracks)
        write_shard(shard.path, shard.spec, len(shard.tracks), rows)
    return len(shard.tracks)


def write_shard(path: Path, spec: MelSpec, count: int, rows: Iterable[Row]) -> None:
    """Write a shard of so many rows."""
    with new_shard(path) as folder:
        fill_folder(folder, spec, count, rows)


@contextlib.contextmanager
def new_shard(path: Path) -> Iterator[Path]:
    """A folder to write a shard's files to, aside; it becomes `path` when they are complete."""
    owner = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    folder = path.with_name(f".{path.name}.{owner}")
    folder.mkdir()  # and not those above, which a machine lacks that does not share them
    try:
        yield folder
        folder.rename(path)
    except OSError:
        if not path.is_dir():  # another process has been faster
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill_folder(folder: Path, spec: MelSpec, count: int, rows: Iterable[Row]) -> None:
    """Write the arrays, tracks.csv and their checksums."""
    paths, shapes, records = array_paths(folder, spec), array_shapes(spec), []
    with RowWriter(paths[0], count, shapes[0]) as tracks, RowWriter(paths[1], count, shapes[1]) as clips:
        for number, row in enumerate(rows):
            tracks.write(row.track)
            clips.write(row.clips)
            records.append({"row": number, **row.record})
    table = table_bytes(records)
    (folder / TRACKS).write_bytes(table)
    sums = {paths[0].name: tracks.checksum, paths[1].name: clips.checksum, TRACKS: zlib.crc32(table)}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=2) + "\n")
    seal(folder)


def seal(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, ns=(SEALED, SEALED))


def table_bytes(records: Sequence[dict[str, Any]]) -> bytes:
    """What `write_csv` writes of these rows; without pandas, which takes longer to start than a few files to cache."""
    text = io.StringIO(newline="")
    has_returns = any("\r" in str(cell) for record in records for cell in record.values())
    writer = csv.DictWriter(
        text, list(records[0]), lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL
    )
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode("utf-8", "surrogateescape")


class RowWriter:
    """Writes the rows of a .npy file of float16 [rows, ...] one after another, and adds up their checksum."""

    def __init__(self, path: Path, count: int, shape: tuple[int, ...]) -> None:
        self.file, self.checksum = open(path, "wb", buffering=0), 0  # noqa: SIM115 - closed by __exit__
        self.nothing = np.zeros(shape, TYPE)
        self.put(npy_header((count, *shape)))

    def write(self, values: np.ndarray | None) -> None:
        """The next row; zeros if there are no values."""
        values = self.nothing if values is None else np.ascontiguousarray(values, TYPE)
        self.put(values.reshape(-1).view(np.uint8))

    def put(self, data: Any) -> None:
        self.checksum = zlib.crc32(data, self.checksum)
        left = memoryview(data)
        while left:
            left = left[self.file.write(left) :]

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


@functools.lru_cache(1)
def worker_transform(spec: MelSpec) -> Callable[[np.ndarray], np.ndarray]:
    """The transform of the process's shards, which are all of one spec."""
    keep_freed_memory()
    return make_transform(spec)


def cache_track(track: Track, spec: MelSpec) -> Row:
    """Decode a file and compute its spectrograms, or read them from its picture."""
    record = track._asdict() | {
        "seconds": 0.0,
        "clips": 0,
        "status": USABLE,
        "reason": "",
        "decoder": decoder_version(),
    }
    if spec.kind == "picture":
        return cache_picture(record, spec)
    transform = worker_transform(spec)
    try:
        decoded = decode_with_note(track.file, spec.sample_rate, spec.decoded_seconds)
        waveform = cut_excerpt(decoded.waveform, spec)
        record["seconds"] = round(len(waveform) / spec.sample_rate, 3)
        if len(waveform) < spec.min_samples:
            reasons = [f"less than {spec.min_samples / spec.sample_rate:g} s", decoded.note]
            raise AudioError(track.file, "short", ", ".join(filter(None, reasons)), "give a longer file")
        check_silence(track.file, waveform, spec.decoded_seconds, lambda other: cut_excerpt(other, spec, 44_100))
    except AudioError as error:
        return Row(record | {"status": error.status, "reason": error.reason})
    padded = fit_length(waveform, spec.track_samples, spec.ending)
    whole = transform(padded)
    if spec.selection == "loudest":
        clips = loudest_clip(whole, spec)
    else:
        clips = transform(slice_clips(padded, spec.clip_samples, spec.clip_step))
    count = max(1, count_clips(len(waveform), spec.clip_samples, spec.clip_starts))
    return Row(
        record | {"clips": min(count, spec.clips_per_track), "reason": decoded.note}, to_half(whole), to_half(clips)
    )


def cache_picture(record: dict[str, Any], spec: MelSpec) -> Row:
    """The whole picture, which lasts `track_seconds`, and the clips cut from it."""
    try:
        whole = read_picture(record["file"], spec)
    except AudioError as error:
        return Row(record | {"status": error.status, "reason": error.reason})
    if spec.selection == "loudest":
        clips = loudest_clip(whole, spec)
    else:
        clips = np.stack([whole[:, start : start + spec.clip_samples] for start in spec.clip_starts])
    return Row(record | {"seconds": spec.track_seconds, "clips": spec.clips_per_track}, whole, clips)


# --- what kills leave --------------------------------------------------------------------------------------


def remove_leftovers(folder: Path) -> None:
    """Delete what processes of this machine that are no more have left unfinished, and what others need no more."""
    for path in (folder / SHARDS).glob(".*"):
        _, name, *host, process, _ = path.name.split(".")
        is_dead = ".".join(host) == socket.gethostname() and not is_running(int(process))
        if is_dead or (folder / SHARDS / name).is_dir():
            shutil.rmtree(path, ignore_errors=True)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
