"""Tracks that are the same audio: exact copies by their samples, near copies by audio fingerprints of the cache.

A fingerprint has a number of up to 32 bits for each frame, each bit saying whether the level of a band rises
more than that of the next higher one (Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR
2002). A change of level leaves the bits alone; MP3 coding and a shift in time turn few of them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.ndimage import convolve1d

from scripts.audio.cache import MelCache
from scripts.audio.features import hz_to_mel
from scripts.audio.layout import USABLE
from scripts.audio.spec import MelSpec
from scripts.common.errors import CacheError
from scripts.common.parallel import parallel_map
from scripts.utils.verify import check_file

HIGHEST_HZ = 2500.0  # MP3 and old recordings keep what is below
BANDS = 33  # at most, for 32 bits
WINDOW_SECONDS = 0.37  # of the average over frames, as in the paper
LAG_SECONDS = 0.1  # over which a level's rise is measured
FLAT_DB = 0.01  # a level that moves less is silence or rounding
INDEX_STEP = 2  # every second frame is in the index, every frame is looked up
CROWD = 500  # places of a number in the index beyond which it is too common
CANDIDATES = 20  # likeliest (track, offset) pairs of a track that are compared in full
MAX_BIT_ERRORS = 0.25  # share of bits; tracks without a common recording are near 0.5
MIN_OVERLAP = 0.5  # of the shorter track's frames
COLUMNS = ["track_id", "other_id", "bit_errors", "offset_s"]


class Fingerprint(NamedTuple):
    """A track's bits: uint32 [frames], of which `width` are used; `audible` [frames] is false in silence."""

    bits: np.ndarray
    audible: np.ndarray
    width: int


def fingerprint(decibel: np.ndarray, spec: MelSpec) -> Fingerprint:
    """The fingerprint of a log-mel spectrogram [mels, frames] in dB made with `spec`."""
    per_second = spec.sample_rate / spec.hop_length
    window = np.hanning(round(WINDOW_SECONDS * per_second) + 2)[1:-1]
    lag = max(1, round(LAG_SECONDS * per_second))
    levels = convolve1d(band_levels(decibel, spec), window / window.sum(), axis=1, mode="nearest")
    rise = levels[:, lag:] - levels[:, :-lag]
    higher = rise[:-1] > rise[1:]
    weights = 2 ** np.arange(len(higher), dtype=np.uint32)
    return Fingerprint(weights @ higher, np.abs(rise).max(axis=0) > FLAT_DB, len(higher))


def band_levels(decibel: np.ndarray, spec: MelSpec) -> np.ndarray:
    """[mels, frames] -> float32 [bands, frames], the mean dB of neighbouring mels up to `HIGHEST_HZ`."""
    ends = spec.f_min, min(HIGHEST_HZ, spec.top_frequency), spec.top_frequency
    low, high, top = (hz_to_mel(hz, spec.mel_scale) for hz in ends)
    mels = max(2, int(spec.n_mels * (high - low) / (top - low)))
    edges = np.unique(np.linspace(0, mels, min(BANDS, mels) + 1).astype(int))
    sums = np.add.reduceat(decibel[:mels].astype(np.float32), edges[:-1], axis=0)
    return sums / np.diff(edges)[:, None]


class Index:
    """The numbers of all fingerprints in order, each with its track (a position in `prints`) and frame.

    Memory grows with the number of frames; looking a track up costs a binary search for each of its frames.
    """

    def __init__(self, prints: Sequence[Fingerprint]) -> None:
        self.prints = prints
        frames = [np.flatnonzero(print_.audible[::INDEX_STEP]) * INDEX_STEP for print_ in prints]
        bits = np.concatenate([print_.bits[mine] for print_, mine in zip(prints, frames, strict=True)])
        order = np.argsort(bits, kind="stable")
        self.bits, self.frame = bits[order], np.concatenate(frames).astype(np.int32)[order]
        self.track = np.repeat(np.arange(len(prints), dtype=np.int32), [len(mine) for mine in frames])[order]

    def copies(self, track: int) -> Iterator[tuple[int, float, int]]:
        """Earlier tracks with the same recording: (track, share of differing bits, offset in frames)."""
        copies: dict[int, tuple[float, int]] = {}
        for other, offset in self.candidates(track):
            errors = bit_errors(self.prints[other], self.prints[track], offset)
            if errors <= MAX_BIT_ERRORS:
                copies[other] = min(copies.get(other, (1.0, 0)), (errors, offset))
        yield from ((other, errors, offset) for other, (errors, offset) in sorted(copies.items()))

    def candidates(self, track: int) -> list[tuple[int, int]]:
        """The (earlier track, offset in frames) pairs that most frames agree on."""
        frames = np.flatnonzero(self.prints[track].audible)
        bits = self.prints[track].bits[frames]
        first, last = np.searchsorted(self.bits, bits, "left"), np.searchsorted(self.bits, bits, "right")
        counts = np.where(last - first <= CROWD, last - first, 0)
        places = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        offsets = self.frame[places] - np.repeat(frames, counts)
        earlier = self.track[places] < track
        pairs = np.stack([self.track[places][earlier], offsets[earlier]])
        pairs, votes = np.unique(pairs, axis=1, return_counts=True)
        return [tuple(pair) for pair in pairs[:, np.argsort(-votes, kind="stable")[:CANDIDATES]].T.tolist()]


def bit_errors(one: Fingerprint, other: Fingerprint, offset: int) -> float:
    """The share of bits that differ when `other` starts `offset` frames into `one`; 1.0 with too small an overlap."""
    if offset < 0:
        one, other, offset = other, one, -offset
    frames = max(0, min(len(one.bits) - offset, len(other.bits)))
    audible = one.audible[offset : offset + frames] & other.audible[:frames]
    if audible.sum() < max(1, MIN_OVERLAP * min(one.audible.sum(), other.audible.sum())):
        return 1.0
    differing = np.bitwise_count(one.bits[offset : offset + frames] ^ other.bits[:frames])[audible]
    return float(differing.mean() / one.width)


def near_duplicates(cache: MelCache, track_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Pairs of tracks with the same recording, whatever its level, coding and start.

    All tracks are fingerprinted from the cache (13 kB for 30 s at the main task's parameters, beside 16 kB of index),
    and each is looked up in an index of all others; only the likeliest pairs are compared in full.

    Parameters
    ----------
    cache : of log-mels.
    track_ids : which of its tracks; None takes all usable ones.

    Returns
    -------
    One row per pair: track_id, other_id (the earlier one), bit_errors (share, 0 for equal spectrograms, near 0.5 for
    different music) and offset_s, where the track starts in the other, in seconds.

    Raises
    ------
    CacheError : it holds no log-mel spectrograms.
    """
    if cache.spec.kind != "mel":
        raise CacheError(f"{cache.folder}: holds spectrograms of kind {cache.spec.kind}; fingerprints need kind mel")
    rows = cache.rows if track_ids is None else cache.rows.loc[list(track_ids)]
    rows = rows[rows["status"] == USABLE]
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    index = Index([fingerprint(cache.tracks[row], cache.spec) for row in rows["row"]])
    seconds, ids = cache.spec.hop_length / cache.spec.sample_rate, rows.index
    pairs = [
        (ids[track], ids[other], errors, offset * seconds)
        for track in range(len(ids))
        for other, errors, offset in index.copies(track)
    ]
    return pd.DataFrame(pairs, columns=COLUMNS)


def exact_duplicates(tracks: pd.DataFrame, workers: int | None = None) -> pd.DataFrame:
    """Pairs of files with equal samples (mono, 44.1 kHz, first two minutes), in whatever lossless form.

    Files that are missing, unreadable or silent have no duplicates.

    Parameters
    ----------
    tracks : with `track_id` and `file_path`.
    workers : processes; None takes all cores.

    Returns
    -------
    One row for each file that repeats an earlier one: track_id, other_id (the first such file).
    """
    tracks = tracks[["track_id", "file_path"]].astype(str).drop_duplicates("track_id", ignore_index=True)
    jobs = [job for job in enumerate(tracks["file_path"]) if Path(job[1]).is_file()]
    looks = sorted(parallel_map(check_file, jobs, workers))
    first: dict[str, int] = {}
    pairs = [(look.position, first.setdefault(look.digest, look.position)) for look in looks if look.digest]
    ids = tracks["track_id"]
    return pd.DataFrame([(ids[i], ids[j]) for i, j in pairs if i != j], columns=COLUMNS[:2])
