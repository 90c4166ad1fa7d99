"""Check every file of a table: missing, unreadable, damaged, silent, near-silent, short, or twice there?"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # as `python -m scripts verify`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("verify")

import numpy as np
import pandas as pd
from tqdm import tqdm

from scripts.audio.decoding import check_silence, decode_with_note, is_silent, quiet_share
from scripts.audio.spec import MelSpec
from scripts.common.cli import command
from scripts.common.errors import AudioError, TableError
from scripts.common.parallel import parallel_map
from scripts.common.storage import write_csv
from scripts.datasets.fma import KNOWN_DUPLICATES, KNOWN_FAULTS
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table
from scripts.utils import flags

SAMPLE_RATE = MelSpec().sample_rate
CLIP_SECONDS = MelSpec().clip_seconds
FULL_SECONDS = 29.0  # FMA's 30 s tracks are a little longer or shorter
SECONDS_READ = 120.0  # of each file, so that long ones need no more memory
QUIET_SHARE = 0.6  # of the samples
ROWS_SHOWN = 50


class Finding(NamedTuple):
    """One fault of one file."""

    track_id: str
    file_path: str
    fault: str
    detail: str


class FileCheck(NamedTuple):
    """What a worker found in the file at `position`: (fault, detail) pairs, and a digest of its samples.

    The digest is empty where there is nothing to compare: unreadable and silent files.
    """

    position: int
    faults: list[tuple[str, str]]
    digest: str


def verify_tracks(table: pd.DataFrame, workers: int | None = None) -> pd.DataFrame:
    """Decode the first two minutes of every file of a table.

    Files with equal samples (mono, 44.1 kHz) are duplicates; a later one is reported with the id of the first.

    Parameters
    ----------
    table : with `track_id` and `file_path`.
    workers : processes; default: one a core.

    Returns
    -------
    One row per fault, in the order of the table: track_id, file_path, fault, detail.

    Raises
    ------
    TableError : no file of the table exists.
    """
    tracks = table[["track_id", "file_path"]].astype(str).drop_duplicates("track_id", ignore_index=True)
    if not any(Path(path).is_file() for path in tracks["file_path"]):
        raise TableError(
            f"none of the {len(tracks)} audio files exists, such as {tracks['file_path'].iloc[0]}; correct file_path"
        )
    jobs = list(enumerate(tracks["file_path"]))
    checks = sorted(tqdm(parallel_map(check_file, jobs, workers), "verifying", len(jobs), unit=" tracks", disable=None))
    return pd.DataFrame(findings(tracks, checks), columns=Finding._fields)


def check_file(job: tuple[int, str]) -> FileCheck:
    """Decode the file at (position, path)."""
    position, path = job
    try:
        waveform, damage = decode_with_note(path, SAMPLE_RATE, SECONDS_READ)
    except AudioError as error:
        return FileCheck(position, [(error.status, error.reason)], "")
    faults = [*length_faults(waveform), *level_faults(path, waveform)]
    if damage is not None:
        faults.append(("damaged", f"after {damage:.1f} s"))
    digest = "" if is_silent(waveform) else hashlib.sha256(waveform.data).hexdigest()
    return FileCheck(position, faults, digest)


def length_faults(waveform: np.ndarray) -> Iterator[tuple[str, str]]:
    """At most one (fault, detail)."""
    seconds = len(waveform) / SAMPLE_RATE
    if seconds < CLIP_SECONDS:
        yield "short", f"{seconds:.1f} s, less than one clip of {CLIP_SECONDS:g} s"
    elif seconds < FULL_SECONDS:
        yield "short", f"{seconds:.1f} s"


def level_faults(path: str, waveform: np.ndarray) -> Iterator[tuple[str, str]]:
    """At most one (fault, detail)."""
    quiet = quiet_share(waveform)
    detail = f"{quiet:.0%} of the samples are below -60 dB"
    try:
        check_silence(path, waveform, SECONDS_READ)
    except AudioError as error:
        yield error.status, detail if error.status == "silent" else error.reason
    else:
        if quiet >= QUIET_SHARE:
            yield "near-silent", detail


def findings(tracks: pd.DataFrame, checks: Sequence[FileCheck]) -> Iterator[Finding]:
    """The faults of each file, and its duplicate among the files before it."""
    first: dict[str, int] = {}
    for (track, path), check in zip(tracks.itertuples(index=False), checks, strict=True):
        for fault, detail in check.faults:
            yield Finding(track, path, fault, detail + known_fault(track, path))
        original = first.setdefault(check.digest, check.position)
        if check.digest and original != check.position:
            pair = tracks.iloc[[original, check.position]]
            detail = f"the same audio as track {pair['track_id'].iloc[0]}"
            yield Finding(track, path, "duplicate", detail + known_duplicate(pair))


def known_fault(track: str, path: str) -> str:
    """What is published about FMA's track of this name, as a note to a fault that was found."""
    return f" (known in FMA: {KNOWN_FAULTS[track]})" if track in KNOWN_FAULTS and is_fma(track, path) else ""


def known_duplicate(pair: pd.DataFrame) -> str:
    ids = pair["track_id"].tolist()
    published = set(ids) in map(set, KNOWN_DUPLICATES) and all(map(is_fma, ids, pair["file_path"]))
    return " (known in FMA)" if published else ""


def is_fma(track: str, path: str) -> bool:
    """FMA's files are called by their ids in six digits."""
    return Path(path).stem == track.zfill(6)


def report(faults: pd.DataFrame, tracks: int) -> str:
    """Counts per fault, the first rows, and a closing line about `tracks` verified tracks."""
    counts = faults["fault"].value_counts()
    lines = [f"{fault:12}{count:6}" for fault, count in counts.items()]
    for row in faults.sort_values("fault", kind="stable")[:ROWS_SHOWN].itertuples():
        lines.append(f"{row.fault:12}{row.track_id:>8}  {row.file_path}  {row.detail}")
    if len(faults) > ROWS_SHOWN:
        lines.append(f"and {len(faults) - ROWS_SHOWN} more; --output FILE.csv writes all")
    lines.append(f"{tracks} tracks verified: {faults['track_id'].nunique()} with faults, {len(faults)} faults")
    return "\n".join(lines)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.verify(argv)
    table = read_table(args.csv, NEEDED_TO_CACHE)
    faults = verify_tracks(table, args.workers)
    print(report(faults, table["track_id"].nunique()))
    if args.output:
        write_csv(args.output, faults)
        print(f"{args.output}: {len(faults)} rows")
