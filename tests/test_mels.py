"""The cache: values, faults, restarts, other parameters, extension."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from scripts.cache import MelCache, cache_folder
from scripts.errors import CacheError, TableError
from scripts.features import MelSpec
from scripts.utils.mels import build_cache, write_files
from scripts.utils.mels import main as mels_command
from tests.corpus import SPEC, SPEC_FLAGS, make_corpus, write_track


def librosa_mel(waveform: np.ndarray, spec: MelSpec) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.hop, n_mels=spec.n_mels
    )
    return librosa.power_to_db(mel, top_db=spec.top_db)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def arguments(folder: Path, root: Path, *more: str) -> list[str]:
    tables = ["--csv", str(folder / "metadata_ensemble.csv"), "--full-csv", str(folder / "metadata_30_secs.csv")]
    return [*tables, "--output-root", str(root), "--workers", "2", *SPEC_FLAGS, *more]


def test_values_agree_with_librosa_for_tracks_and_clips(tmp_path):
    table = make_corpus(tmp_path, 3)
    cache = build_cache(table, tmp_path / "mels", SPEC, workers=2)
    half_step = 2.0**-5  # float16 between 32 and 64
    for track, path in zip(table["track_id"], table["file_path"], strict=True):
        waveform, _ = librosa.load(path, sr=SPEC.sample_rate)
        row = cache.rows.loc[track, "row"]
        np.testing.assert_allclose(cache.tracks[row], librosa_mel(waveform, SPEC), atol=half_step)
        for clip in range(5):
            piece = waveform[clip * 8000 : (clip + 1) * 8000]
            np.testing.assert_allclose(cache.clips[row, clip], librosa_mel(piece, SPEC), atol=half_step)


def test_every_fault_gets_its_row_and_reason(tmp_path):
    table, audio = make_corpus(tmp_path, 9), tmp_path / "audio"
    (audio / "000000.wav").write_bytes(b"")
    (audio / "000001.wav").write_text("<html>not found</html>")
    soundfile.write(audio / "000002.wav", np.zeros(40_000), 8000)
    write_track(audio / "000003.wav", 300, 3, seconds=0.4)
    (audio / "000004.wav").unlink()
    soundfile.write(audio / "000005.wav", np.full(40_000, np.nan, np.float32), 8000, subtype="FLOAT")
    write_track(audio / "000006.wav", 300, 6, seconds=2.6)
    rows = build_cache(table, tmp_path / "mels", SPEC, workers=2).rows
    statuses = ["unreadable", "unreadable", "silent", "short", "missing", "unreadable", "ok", "ok", "ok"]
    assert rows["status"].tolist() == statuses
    assert rows["clips"].tolist() == [0, 0, 0, 0, 0, 0, 3, 5, 5]
    assert (rows.loc[rows["status"] != "ok", "reason"] != "").all()
    assert rows.loc["6", "seconds"] == pytest.approx(2.6)


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000, 96_000])
def test_other_sample_rates_and_six_channels(tmp_path, rate):
    table = make_corpus(tmp_path, 3)
    time = np.arange(5 * rate) / rate
    tone = np.sin(2 * np.pi * 700 * time)[:, None] * np.linspace(0.1, 0.6, 6)
    soundfile.write(table["file_path"][0], tone, rate)
    cache = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    loudest = cache.tracks[0].astype(float).mean(axis=1).argmax()
    assert librosa.mel_frequencies(34, fmin=0, fmax=4000)[loudest + 1] == pytest.approx(700, abs=80)


def test_long_track_is_cut_and_padding_is_silence(tmp_path):
    table = make_corpus(tmp_path, 3)
    write_track(Path(table["file_path"][0]), 500, 0, seconds=60)
    write_track(Path(table["file_path"][1]), 500, 0, seconds=2)
    cache = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert cache.rows["clips"].tolist()[:2] == [5, 2]
    assert cache.rows["seconds"].tolist()[:2] == [5.0, 2.0]
    assert (cache.clips[1, 3] == cache.clips[1, 3].min()).all()


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    make_corpus(tmp_path, 60)
    command = [sys.executable, "scripts/utils/mels.py"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    mels_command(arguments(tmp_path, whole))
    for lines in (1, 20, 45):
        process = subprocess.Popen([*command, *arguments(tmp_path, broken)], stderr=subprocess.DEVNULL)
        journal = cache_folder(broken, SPEC).with_name(cache_folder(broken, SPEC).name + ".partial") / "journal.jsonl"
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < lines):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert journal.exists(), "killed before the end"
    journal.write_bytes(journal.read_bytes()[:-7])  # a line cut in the middle
    mels_command(arguments(tmp_path, broken))
    assert contents(cache_folder(broken, SPEC)) == contents(cache_folder(whole, SPEC))
    assert [path.name for path in broken.iterdir()] == [cache_folder(broken, SPEC).name]


def test_a_second_start_changes_nothing(tmp_path):
    table = make_corpus(tmp_path, 6)
    folder = build_cache(table, tmp_path / "mels", SPEC, workers=1).folder
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_new_and_changed_files_are_cached_and_the_others_kept(tmp_path):
    table = make_corpus(tmp_path, 9)
    first = build_cache(table[:6], tmp_path / "mels", SPEC, workers=1)
    kept = np.array(first.clips[2])
    write_track(Path(table["file_path"][0]), 3000, 99)
    Path(table["file_path"][1]).unlink()
    second = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    fresh = build_cache(table, tmp_path / "fresh", SPEC, workers=1)
    assert contents(second.folder) == contents(fresh.folder)
    assert second.rows.loc["1", "status"] == "missing"
    np.testing.assert_array_equal(second.clips[2], kept)


def test_a_smaller_table_keeps_the_other_tracks(tmp_path):
    table = make_corpus(tmp_path, 6)
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert len(build_cache(table[:2], tmp_path / "mels", SPEC, workers=1).rows) == 6


def test_another_parameter_gets_another_folder_and_is_named(tmp_path):
    table = make_corpus(tmp_path, 3)
    other = MelSpec(**(SPEC.as_dict() | {"n_mels": 24}))
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    with pytest.raises(CacheError, match="n_mels is 32, not 24"):
        MelCache.open(tmp_path / "mels", other)
    build_cache(table, tmp_path / "mels", other, workers=1)
    assert MelCache.open(tmp_path / "mels", SPEC).tracks.shape[1] == 32
    assert MelCache.open(tmp_path / "mels", other).tracks.shape[1] == 24


def test_another_dataset_under_the_same_ids_is_refused(tmp_path):
    table = make_corpus(tmp_path / "a", 3)
    other = make_corpus(tmp_path / "b", 3)
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    with pytest.raises(CacheError, match="choose another --output-root"):
        build_cache(other, tmp_path / "mels", SPEC, workers=1)
    assert build_cache(other, tmp_path / "mels", SPEC, 1, overwrite=True).rows["file"].iloc[0] == other["file_path"][0]


def test_rows_of_two_decoders_are_never_mixed(tmp_path):
    table = make_corpus(tmp_path, 6)
    folder = build_cache(table[:3], tmp_path / "mels", SPEC, workers=1).folder
    record = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps(record | {"decoder": "another 1.0"}))
    assert len(build_cache(table[:3], tmp_path / "mels", SPEC, workers=1).rows) == 3
    with pytest.raises(CacheError, match="decoded by another 1.0"):
        build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert len(build_cache(table, tmp_path / "mels", SPEC, 1, overwrite=True).rows) == 6


@pytest.mark.parametrize("damage", ["spec", "array", "rows", "gone"])
def test_damaged_cache_is_refused(tmp_path, damage):
    folder = build_cache(make_corpus(tmp_path, 3), tmp_path / "mels", SPEC, workers=1).folder
    if damage == "spec":
        (folder / "spec.json").write_text("{")
    elif damage == "array":
        (folder / "1s.npy").write_bytes(b"nothing")
    elif damage == "rows":
        np.save(folder / "1s.npy", np.zeros((2, 5, 32, 32), np.float16))
    else:
        shutil.rmtree(folder)
    with pytest.raises(CacheError):
        MelCache.open(tmp_path / "mels", SPEC)


def test_no_file_at_all_is_an_error_and_leaves_nothing(tmp_path):
    table = make_corpus(tmp_path, 3).assign(file_path="nowhere.mp3")
    with pytest.raises(TableError, match="none of the 3 audio files exists"):
        build_cache(table, tmp_path / "mels", SPEC)
    assert not (tmp_path / "mels").exists()


def test_layout_files_writes_one_array_per_track_and_clip(tmp_path):
    table = make_corpus(tmp_path, 3)
    write_track(Path(table["file_path"][0]), 500, 0, seconds=2)
    cache = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    folder = write_files(cache)
    assert {path.name for path in folder.glob("0*")} == {"0.npy", "0_1.npy", "0_2.npy"}
    assert len(list(folder.iterdir())) == 3 + 6 * 2
    np.testing.assert_array_equal(np.load(folder / "1_3.npy"), cache.clips[1, 2])


def test_record_says_what_made_it(tmp_path):
    cache = build_cache(make_corpus(tmp_path, 3), tmp_path / "mels", SPEC, workers=1)
    record = json.loads((cache.folder / "spec.json").read_text())
    assert MelSpec(**record["spec"]) == SPEC
    assert f"soundfile {soundfile.__version__}" in record["decoder"]
