"""The cache of spectrograms: what lies in its folder, and opening it with checks.

<root>/<sample rate>hz_<rows><kind>_<fingerprint>/       such as 44100hz_128mel_23283e5d
    30s.npy      float16 [tracks, rows, frames], dB      (30s and 3s stand for the lengths of the spec)
    3s.npy       float16 [tracks, clips, rows, frames], dB
    tracks.csv   row, track_id, file, size, mtime_ns, seconds, clips, status, reason
    spec.json    every parameter that changes a number, and what decoded the audio
Spectrograms of several channels have an axis for them before the rows; some kinds are not in dB, as spec.json says.
"""

import dataclasses
import functools
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
from scripts.audio.spec import MelSpec
from scripts.common.errors import CacheError
from scripts.common.storage import read_csv, to_numbers

USABLE = "ok"
NUMBERS = ("row", "size", "mtime_ns", "seconds", "clips")  # columns of tracks.csv; the others are text
COUNTED = (".wav", ".aif", ".aiff", ".au")  # libsndfile knows how much they hold
BY_LIBSNDFILE = (".mp3", ".flac", ".ogg", ".oga", ".opus")  # it believes what these announce
WARNED: set[str] = set()  # folders of caches whose outdated tracks have been named
HOW_TO_CACHE = "python -m scripts mels --help"


def cache_folder(root: str | Path, spec: MelSpec) -> Path:
    """The folder below `root` of the cache with these parameters: another parameter, another folder."""
    return Path(root) / f"{spec.sample_rate}hz_{spec.rows}{spec.kind}_{spec.fingerprint()}"


def array_paths(folder: Path, spec: MelSpec) -> tuple[Path, Path]:
    """The packed tracks and the packed clips."""
    tracks, clips = (f"{seconds:g}s" for seconds in (spec.track_seconds, spec.clip_seconds))
    return folder / f"{tracks}.npy", folder / f"{clips if clips != tracks else clips + '_clips'}.npy"


def array_shapes(spec: MelSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of one track's row in the packed tracks and the packed clips."""
    channels = (spec.channels,) if spec.channels > 1 else ()
    return (*channels, *spec.track_shape), (spec.clips_per_track, *channels, *spec.clip_shape)


@dataclass(frozen=True)
class MelCache:
    """An opened cache.

    Attributes
    ----------
    spec : the parameters of its spectrograms.
    rows : one row per track, indexed by `track_id`; `row` counts into the arrays, `clips` holds how many of the
        track's clips have at least half a clip of audio, `status` is "ok" or why the track is left out.
    tracks : float16 memory map [tracks, (channels,) rows, frames], dB.
    clips : float16 memory map [tracks, clips, (channels,) rows, frames], dB.
    """

    folder: Path
    spec: MelSpec
    rows: pd.DataFrame
    tracks: np.ndarray
    clips: np.ndarray

    @classmethod
    def open(cls, root: str | Path, spec: MelSpec | None = None) -> "MelCache":
        """Open the cache with these parameters (default: the main task's) below `root`, or at `root` itself.

        Raises
        ------
        CacheError : there is none, it is unfinished or damaged, or its parameters differ (the fields are named).
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
        path = folder / "tracks.csv"
        rows = to_numbers(path, read_csv(path), NUMBERS).fillna({"reason": ""})
        tracks, clips = (open_array(path, len(rows)) for path in array_paths(folder, spec))
        return cls(folder, spec, rows.set_index("track_id"), tracks, clips)

    @functools.cached_property
    def decoder(self) -> str:
        """What decoded the audio."""
        return json.loads((self.folder / "spec.json").read_text()).get("decoder", "an unknown version")

    @property
    def is_by_same_libraries(self) -> bool:
        return f"{self.decoder}, ".startswith(f"{library_version()}, ")

    def outdated(self) -> list[str]:
        """Ids of tracks that an older version decoded and that this one might decode otherwise.

        With the same libraries these are the ones that were refused, that FFmpeg reads, or that gave less than was
        wanted in a format whose header is not to be trusted.
        """
        if self.decoder == decoder_version() or not self.is_by_same_libraries:
            return []
        suffixes = self.rows["file"].str.lower().str.extract(r"(\.\w+)$", expand=False)
        is_full = self.rows["seconds"] >= (self.spec.decoded_seconds or np.inf) - SLACK / 96_000
        is_same = suffixes.isin(COUNTED) | suffixes.isin(BY_LIBSNDFILE) & is_full
        there = self.rows["file"].map(os.path.isfile)
        return self.rows.index[there & ~(is_same & (self.rows["status"] == USABLE))].tolist()

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
    if (root / "spec.json").is_file():
        return root
    folder = cache_folder(root, spec)
    if (folder / "spec.json").is_file():
        return folder
    others = sorted(root.glob("*/spec.json")) if root.is_dir() else []
    for other in others:
        check_spec(other.parent, spec)
    raise CacheError(f"{root}: no finished cache here; make it first ({HOW_TO_CACHE})")


def check_spec(folder: Path, spec: MelSpec) -> None:
    """Raise a CacheError that names the fields in which the folder's parameters differ from `spec`."""
    try:
        stored = read_spec(folder)
    except (ValueError, KeyError, TypeError):
        raise CacheError(f"{folder}/spec.json: damaged; delete the folder and cache again ({HOW_TO_CACHE})") from None
    wanted, made = spec.as_dict(), stored.as_dict()
    differing = [f"{name} is {made[name]}, not {wanted[name]}" for name in wanted if wanted[name] != made[name]]
    if differing:
        raise CacheError(f"{folder}: made with other parameters: {'; '.join(differing)}; cache again ({HOW_TO_CACHE})")


def read_spec(folder: Path) -> MelSpec:
    return MelSpec.of(json.loads((folder / "spec.json").read_text())["spec"])


def spec_record(spec: MelSpec, decoder: str) -> dict[str, Any]:
    """What `spec.json` holds."""
    return {"spec": dataclasses.asdict(spec), "fingerprint": spec.fingerprint(), "unit": spec.unit, "decoder": decoder}


def open_array(path: Path, rows: int) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise CacheError(f"{path}: cannot be read ({error}); delete its folder and cache again") from None
    if len(array) != rows:
        raise CacheError(f"{path}: {len(array)} rows where tracks.csv has {rows}; delete its folder and cache again")
    return array
