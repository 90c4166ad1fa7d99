"""What is said before tracks are cached, and which part of a track is."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import soundfile

from scripts.audio.build_cache import build_cache, find_damage
from scripts.audio.cache import MelCache, list_shards
from scripts.audio.compact import compact, dead_bytes
from scripts.audio.shards import table_bytes
from scripts.audio.spec import MelSpec
from scripts.common.errors import CacheError, ConfigError
from scripts.common.storage import csv_bytes
from scripts.utils.mels import main as mels_command
from tests.corpus import SPEC, SPEC_FLAGS, make_corpus, make_experiment, write_track

BYTES = 2 * (32 * 157 + 5 * 32 * 32)  # of a track: float16 of the whole and of its five clips


def set_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = namedtuple("usage", "total used free")(10**12, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_says_how_much_disk_is_needed_and_refuses_where_it_is_not_there(tmp_path, monkeypatch, capsys):
    table = make_corpus(tmp_path, 6)
    set_free(monkeypatch, 6 * BYTES - 1)
    with pytest.raises(CacheError, match="6 tracks need 122kB of disk, 122kB are free; make room"):
        build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert not (tmp_path / "mels").exists()
    set_free(monkeypatch, 6 * BYTES)
    folder = build_cache(table[:3], tmp_path / "mels", SPEC, workers=1).folder
    assert "3 of 3 tracks to cache; they need 60.9kB of disk, 122kB are free" in capsys.readouterr().err
    arrays = [np.load(path, mmap_mode="r") for path in folder.rglob("*.npy")]
    assert sum(array.nbytes for array in arrays) == 3 * BYTES
    set_free(monkeypatch, 10 * BYTES)
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert "3 of 6 tracks to cache" in capsys.readouterr().err
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert "to cache" not in capsys.readouterr().err


def test_the_rest_is_estimated_after_the_first_tracks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("scripts.audio.build_cache.TIMED", 3)
    table = make_corpus(tmp_path, 5)
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert "for the other 2 tracks" in capsys.readouterr().err


def test_a_limited_cache_is_what_a_limited_experiment_takes(tmp_path, capsys):
    from scripts.train import train

    experiment = make_experiment(tmp_path, epochs=1)
    flags = ["--full-csv", experiment.data.table, "--output-root", str(tmp_path / "few"), "--limit", "12"]
    mels_command([*flags, "--workers", "1", *SPEC_FLAGS])
    limited = experiment.updated(limit=12, cache=str(tmp_path / "few"))
    capsys.readouterr()
    report = train(limited, root=tmp_path / "runs")
    assert report["limit"] == 12 and report["tracks"] == 3
    assert "6 train, 3 validation, 3 test tracks" in (out := capsys.readouterr().out)
    assert f"split {report['split']}, limit=12" in out


def write_noise(path: str, seconds: float, silent: slice = slice(0)) -> np.ndarray:
    waveform = np.random.default_rng(0).normal(0, 0.1, round(seconds * 8000)).astype(np.float32)
    waveform[silent] = 0
    soundfile.write(path, waveform, 8000, subtype="FLOAT")
    return waveform


@pytest.mark.parametrize(
    ("excerpt", "starts"),  # of the clips of 1 s that are taken of 11 s at 8 kHz
    [
        ("start", [0, 8000, 16_000, 24_000, 32_000]),
        ("middle", [24_000, 32_000, 40_000, 48_000, 56_000]),
        ("spread", [0, 20_000, 40_000, 60_000, 80_000]),
    ],
)
def test_the_excerpt_of_a_longer_file_is_cached(tmp_path, excerpt, starts):
    table, spec = make_corpus(tmp_path, 3), dataclasses.replace(SPEC, kind="waveform", excerpt=excerpt)
    waveform, short = write_noise(table["file_path"][0], 11), write_noise(table["file_path"][1], 3)
    cache = build_cache(table, tmp_path / "mels", spec, workers=1)
    pieces = [waveform[start : start + 8000].astype(np.float16) for start in starts]
    np.testing.assert_array_equal(cache.clips[0, :, 0], pieces)
    np.testing.assert_array_equal(cache.tracks[0, 0], np.concatenate(pieces))
    np.testing.assert_array_equal(cache.tracks[1, 0], np.pad(short, (0, 16_000)).astype(np.float16))
    assert cache.rows["clips"].tolist() == [5, 3, 5] and cache.rows["seconds"].tolist() == [5, 3, 5]


def test_a_file_with_a_silent_excerpt_is_silent(tmp_path):
    table, silent = make_corpus(tmp_path, 3)[:1], slice(20_000, 70_000)
    write_noise(table["file_path"][0], 11, silent)
    for excerpt, status in (("middle", "silent"), ("start", "ok"), ("spread", "ok")):
        spec = dataclasses.replace(SPEC, excerpt=excerpt)
        assert build_cache(table, tmp_path / "mels", spec, workers=1).rows["status"].tolist() == [status]


def test_excerpts_have_caches_of_their_own_and_the_start_keeps_its_name():
    fingerprints = {excerpt: MelSpec(excerpt=excerpt).fingerprint() for excerpt in ("start", "middle", "spread")}
    assert fingerprints["start"] == "23283e5d" and len(set(fingerprints.values())) == 3
    with pytest.raises(ConfigError, match="did you mean 'middle'"):
        MelSpec(excerpt="midle")
    with pytest.raises(ConfigError, match="excerpt=spread with clip_overlap=0.5"):
        MelSpec(excerpt="spread", clip_overlap=0.5)


def test_compacted_cache_shows_the_same_and_holds_nothing_else(tmp_path):
    table = make_corpus(tmp_path, 130)
    folder = build_cache(table, tmp_path / "mels", SPEC, workers=1).folder
    for number in (0, 1, 2, 5):  # all three of one shard, one of another
        write_track(tmp_path / "audio" / f"{number:06d}.wav", 3000, 99)
    before = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert dead_bytes(before) == 4 * BYTES
    compact(before)
    after = MelCache.open(tmp_path / "mels", SPEC)
    assert dead_bytes(after) == 0
    size = sum(path.stat().st_size for path in folder.rglob("5s.npy"))
    assert size == 130 * 2 * 32 * 157 + 128 * len(list_shards(folder))
    pd.testing.assert_frame_equal(after.rows, before.rows)
    np.testing.assert_array_equal(after.tracks, build_cache(table, tmp_path / "fresh", SPEC, workers=1).tracks)
    assert not any(find_damage(shard, SPEC) for shard in list_shards(folder))
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert dead_bytes(MelCache.open(tmp_path / "mels", SPEC)) == 0


@pytest.mark.parametrize("name", ["a.wav", 'a, "b"\n.wav', "a\rb.wav", os.fsdecode(b"caf\xe9.wav"), "€"])
def test_a_shards_table_has_the_bytes_that_pandas_would_write(name):
    records = [
        {"row": row, "file": text, "seconds": seconds, "mtime_ns": 10**18 + row, "reason": ""}
        for row, (text, seconds) in enumerate([(name, 29.977), ("b.wav", 30.0), ("-", 0.0), (" ", 0.001)])
    ]
    assert table_bytes(records) == csv_bytes(pd.DataFrame(records))


def test_a_worker_starts_without_pandas_and_torch():
    code = "import sys, scripts.audio.shards; print(sorted({'pandas', 'torch', 'librosa'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
