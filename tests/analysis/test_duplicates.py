"""The same recording twice: equal samples, and copies of another level, coding or start."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.analysis.duplicates import (
    MAX_BIT_ERRORS,
    Fingerprint,
    Index,
    band_levels,
    bit_errors,
    exact_duplicates,
    fingerprint,
    near_duplicates,
)
from scripts.audio.cache import MelCache
from scripts.audio.features import LogMel
from scripts.common.errors import CacheError
from tests.corpus import SPEC

RATE, SECONDS = SPEC.sample_rate, SPEC.track_seconds
NOTE = 0.2  # seconds
MEL = LogMel(SPEC)


def song(seed: int, seconds: float = SECONDS) -> np.ndarray:
    """Chords of three notes from one scale, a new one every 0.2 s, and faint noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(NOTE * RATE)) / RATE
    scale = 110 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17, 19, 21, 23, 24, 31]) / 12)
    chords = [np.sin(2 * np.pi * generator.choice(scale, (3, 1)) * time).sum(axis=0) for _ in range(30)]
    wave = np.concatenate(chords)[: round(seconds * RATE)]
    return (0.2 * wave + generator.normal(0, 0.01, len(wave))).astype(np.float32)


def mp3(samples: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.5)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def fitted(samples: np.ndarray) -> np.ndarray:
    return np.pad(samples, (0, max(0, SPEC.track_samples - len(samples))))[: SPEC.track_samples]


def cache_of(*songs: np.ndarray, **columns: list) -> MelCache:
    tracks = np.stack([MEL(fitted(samples)) for samples in songs]).astype(np.float16)
    rows = pd.DataFrame(
        {"row": range(len(songs)), "status": "ok", **columns}, index=[f"t{i}" for i in range(len(songs))]
    )
    return MelCache(Path("nowhere"), SPEC, rows, tracks, tracks[:, None])


def pairs(found: pd.DataFrame) -> list[tuple[str, str]]:
    return sorted(zip(found["track_id"], found["other_id"], strict=True))


# --- fingerprints -------------------------------------------------------------------------------------------


def test_bit_is_set_where_a_band_rises_more_than_the_next() -> None:
    decibel = np.zeros((32, 100), np.float32)
    bands = len(band_levels(decibel, SPEC))
    assert bands < 32  # what is below 2.5 kHz
    rising = decibel.copy()
    rising[0] = np.arange(100)
    falling = decibel.copy()
    falling[3] = -np.arange(100)
    assert set(fingerprint(rising, SPEC).bits) == {1 << 0}
    assert set(fingerprint(falling, SPEC).bits) == {1 << 2}
    assert fingerprint(rising, SPEC).width == bands - 1


def test_nothing_is_audible_in_silence() -> None:
    still = fingerprint(np.full((32, 100), -80, np.float16), SPEC)
    assert not still.audible.any()
    assert list(Index([still, still]).copies(1)) == []
    assert bit_errors(still, still, 0) == 1.0


@settings(max_examples=15)
@given(gain=st.floats(-40, 40), seed=st.integers(0, 99))
def test_level_changes_no_bit(gain: float, seed: int) -> None:
    decibel = np.random.default_rng(seed).normal(-40, 10, (32, 80))
    one, other = (fingerprint(level, SPEC) for level in (decibel, decibel + gain))
    assert bit_errors(one, other, 0) < 0.01  # rounding alone


def test_bit_errors_by_hand() -> None:
    one = Fingerprint(np.array([0b1111, 0b0011, 0b0101, 0b0000], np.uint32), np.ones(4, bool), 4)
    other = Fingerprint(np.array([0b0011, 0b0100, 0b1000], np.uint32), np.array([True, True, False]), 4)
    assert bit_errors(one, other, 1) == 1 / 8  # 0 and 1 bits of two frames; the third is not audible
    assert bit_errors(other, one, -1) == 1 / 8
    assert bit_errors(one, other, 3) == 1 / 2
    assert bit_errors(one, other, 4) == 1.0


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_index_finds_what_all_pairs_find(seed: int) -> None:
    """Against every pair at every offset."""
    generator = np.random.default_rng(seed)
    source = generator.integers(0, 2**16, (3, 400), dtype=np.uint32)
    prints = []
    for _ in range(6):
        start, track = generator.integers(0, 60), generator.integers(3)
        turned = 1 << generator.integers(0, 16, 300, dtype=np.uint32)
        bits = source[track, start : start + 300] ^ np.where(generator.random(300) < 0.5, turned, 0).astype(np.uint32)
        prints.append(Fingerprint(bits, np.ones(300, bool), 16))
    expected = {
        (track, other)
        for track in range(6)
        for other in range(track)
        if min(bit_errors(prints[other], prints[track], offset) for offset in range(-60, 61)) <= MAX_BIT_ERRORS
    }
    index = Index(prints)
    found = {(track, other) for track in range(6) for other, _, _ in index.copies(track)}
    assert found == expected


# --- near-duplicates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["level", "mp3", "start", "all"])
def test_copies_are_found(change: str) -> None:
    whole = song(1, SECONDS + 0.9)
    start = 0.7371 if change in ("start", "all") else 0.0
    copy = whole[round(start * RATE) :]
    copy = 0.3 * copy if change in ("level", "all") else copy
    copy = mp3(copy) if change in ("mp3", "all") else copy
    found = near_duplicates(cache_of(song(0), whole, song(2), copy, song(3)))
    assert pairs(found) == [("t3", "t1")]
    assert found["bit_errors"].iloc[0] < 0.2
    assert found["offset_s"].iloc[0] == pytest.approx(start, abs=0.15)  # MP3 coders add some 50 to 100 ms


@settings(max_examples=10)
@given(start=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_copy_may_start_up_to_a_second_later(start: float, seed: int) -> None:
    whole = song(seed, SECONDS + 1)
    found = near_duplicates(cache_of(whole[round(start * RATE) :], song(seed + 1), whole))
    assert pairs(found) == [("t2", "t0")]
    assert found["offset_s"].iloc[0] == pytest.approx(-start, abs=0.04)


def test_songs_of_one_generator_are_no_copies() -> None:
    assert near_duplicates(cache_of(*map(song, range(30)))).empty


def test_only_usable_and_wanted_tracks_are_compared() -> None:
    copies = [song(5)] * 4
    assert pairs(near_duplicates(cache_of(*copies, status=["ok", "ok", "silent", "ok"]))) == [
        ("t1", "t0"), ("t3", "t0"), ("t3", "t1"),
    ]  # fmt: skip
    assert pairs(near_duplicates(cache_of(*copies), ["t0", "t3"])) == [("t3", "t0")]
    assert near_duplicates(cache_of(*copies, status=["silent"] * 4)).empty


def test_other_kinds_of_spectrogram_are_refused() -> None:
    cache = cache_of(song(0))
    other = dataclasses.replace(cache, spec=dataclasses.replace(SPEC, kind="linear"))
    with pytest.raises(CacheError, match="kind linear.*need kind mel"):
        near_duplicates(other)


# --- exact duplicates ---------------------------------------------------------------------------------------


def test_files_with_equal_samples(tmp_path: Path) -> None:
    samples = np.round(song(0) * 2**15) / 2**15
    files = {"a.wav": samples, "b.flac": samples, "c.wav": 0.5 * samples, "d.wav": song(1), "e.wav": samples}
    for name, content in {**files, "f.wav": 0 * samples, "g.wav": 0 * samples}.items():
        soundfile.write(tmp_path / name, content, RATE)
    names = [*files, "f.wav", "g.wav", "missing.wav"]
    table = pd.DataFrame(
        {"track_id": [name[0] for name in names], "file_path": [f"{tmp_path}/{name}" for name in names]}
    )
    assert pairs(exact_duplicates(table, workers=1)) == [("b", "a"), ("e", "a")]
