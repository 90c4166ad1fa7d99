"""The cache: values, faults, restarts, other parameters, extension."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile

from scripts.audio.build_cache import build_cache
from scripts.audio.cache import MelCache, cache_folder
from scripts.audio.decoding import decoder_version
from scripts.audio.features import make_transform
from scripts.audio.spec import MelSpec
from scripts.common.errors import CacheError, TableError
from scripts.common.storage import read_csv, write_csv
from scripts.config.experiments import EXPERIMENTS
from scripts.utils import flags
from scripts.utils.mels import main as mels_command
from tests.corpus import SPEC, SPEC_FLAGS, make_corpus, write_track

KILLED = """
import os, signal, sys
from scripts.common import engines
from scripts.utils.mels import main

parallel_map = engines.parallel_map

def die_after(*arguments):
    for number, result in enumerate(parallel_map(*arguments), 1):
        yield result
        if number == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

engines.parallel_map = die_after
main(sys.argv[2:])
"""


def librosa_mel(waveform: np.ndarray, spec: MelSpec) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.hop_length, n_mels=spec.n_mels
    )
    return librosa.power_to_db(mel, top_db=spec.top_db)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def arguments(folder: Path, root: Path, *more: str) -> list[str]:
    tables = ["--csv", str(folder / "metadata_ensemble.csv"), "--full-csv", str(folder / "metadata_30_secs.csv")]
    return [*tables, "--output-root", str(root), "--workers", "2", *SPEC_FLAGS, *more]


def flags_of(changes: dict) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]


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


def test_damaged_file_is_used_as_far_as_it_goes_and_its_row_says_so(tmp_path):
    table, audio = make_corpus(tmp_path, 4, ".flac"), tmp_path / "audio"
    for number, share in ((0, 0.6), (1, 0.19)):
        content = (audio / f"00000{number}.flac").read_bytes()
        (audio / f"00000{number}.flac").write_bytes(content[: round(share * len(content))])
    tone = 0.3 * np.sin(np.arange(40_000))
    soundfile.write(audio / "000002.flac", np.column_stack([tone, -tone]), 8000)
    cache = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    statuses, reasons, seconds = (cache.rows[name].tolist() for name in ("status", "reason", "seconds"))
    assert statuses == ["ok", "short", "cancelled", "ok"]
    assert reasons[0] == f"damaged after {seconds[0]:.1f} s" and 2.5 < seconds[0] < 3.5
    assert reasons[1] == f"less than 1 s, damaged after {seconds[1]:.1f} s"
    assert reasons[2:] == ["the channels cancel", ""]
    assert cache.rows["clips"].tolist() == [3, 0, 0, 5]
    assert "damaged" in MelCache.open(cache.folder, SPEC).rows["reason"].iloc[0]


# --- other kinds, other clips -------------------------------------------------------------------------------


def librosa_power(waveform: np.ndarray, spec: MelSpec) -> np.ndarray:
    power = np.abs(librosa.stft(waveform.astype(float), n_fft=spec.n_fft, hop_length=spec.hop_length)) ** 2
    return librosa.power_to_db(power, top_db=spec.top_db)


def test_power_spectrogram_of_overlapping_clips_agrees_with_librosa(tmp_path):
    table = make_corpus(tmp_path, 3)
    spec = dataclasses.replace(SPEC, kind="linear", clip_overlap=0.5)
    cache = build_cache(table, tmp_path / "mels", spec, workers=1)
    assert cache.folder.name.startswith("8000hz_257linear_")
    assert (cache.tracks.shape, cache.clips.shape) == ((3, 257, 157), (3, 9, 257, 32))
    waveform, _ = librosa.load(table["file_path"][1], sr=SPEC.sample_rate)
    half_step = 2.0**-5  # float16 between 32 and 64
    np.testing.assert_allclose(cache.tracks[1], librosa_power(waveform, spec), atol=half_step)
    for clip in range(9):
        piece = waveform[clip * 4000 : clip * 4000 + 8000]
        np.testing.assert_allclose(cache.clips[1, clip], librosa_power(piece, spec), atol=half_step)


@pytest.mark.parametrize(("kind", "shape"), [("mfcc", (20,)), ("stack", (3, 32))])
def test_arrays_have_channels_only_where_there_are_several(tmp_path, kind, shape):
    table, spec = make_corpus(tmp_path, 3), dataclasses.replace(SPEC, kind=kind)
    cache = build_cache(table, tmp_path / "mels", spec, workers=1)
    assert (cache.tracks.shape, cache.clips.shape) == ((3, *shape, 157), (3, 5, *shape, 32))
    waveform, _ = librosa.load(table["file_path"][2], sr=SPEC.sample_rate)
    np.testing.assert_array_equal(cache.clips[2, 4], make_transform(spec)(waveform[32_000:]).astype(np.float16))


def test_one_clip_as_long_as_the_track(tmp_path):
    """Both arrays are of one length, and must not share a file."""
    spec = dataclasses.replace(SPEC, clip_seconds=5.0)
    cache = build_cache(make_corpus(tmp_path, 3), tmp_path / "mels", spec, workers=1)
    assert {path.name for path in cache.folder.rglob("*.npy")} == {"5s.npy", "5s_clips.npy"}
    assert (cache.tracks.shape, cache.clips.shape) == ((3, 32, 157), (3, 1, 32, 157))
    np.testing.assert_array_equal(cache.clips[:, 0], cache.tracks)
    assert cache.rows["clips"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(("seconds", "clips"), [(5.0, 19), (2.0, 8), (1.25, 5), (1.24, 4), (0.5, 2)])
def test_clips_with_half_their_audio_are_counted_with_overlap(tmp_path, seconds, clips):
    """Clips start every 0.25 s and last 0.5 s: the last to count starts 0.25 s before the end."""
    table, spec = make_corpus(tmp_path, 3), dataclasses.replace(SPEC, clip_seconds=0.5, clip_overlap=0.5)
    write_track(Path(table["file_path"][0]), 500, 0, seconds)
    assert build_cache(table[:1], tmp_path / "mels", spec, workers=1).rows["clips"].tolist() == [clips]


def test_waveforms_are_cached_as_their_samples(tmp_path):
    table, spec = make_corpus(tmp_path, 3), dataclasses.replace(SPEC, kind="waveform", clip_overlap=0.5)
    cache = build_cache(table, tmp_path / "mels", spec, workers=1)
    assert cache.folder.name.startswith("8000hz_1waveform_")
    assert (cache.tracks.shape, cache.clips.shape) == ((3, 1, 40_000), (3, 9, 1, 8000))
    assert json.loads((cache.folder / "spec.json").read_text())["unit"] == "amplitude"
    waveform, _ = soundfile.read(table["file_path"][1], dtype="float32")
    np.testing.assert_array_equal(cache.tracks[1, 0], waveform.astype(np.float16))
    np.testing.assert_array_equal(cache.clips[1, 3, 0], waveform[12_000:20_000].astype(np.float16))


def test_loudest_clip_alone_is_cached(tmp_path):
    """Its frames are those of the track's spectrogram, which at its edges see what lies beyond the clip."""
    table = make_corpus(tmp_path, 3)
    spec = dataclasses.replace(SPEC, clip_overlap=0.75, selection="loudest", ending="repeat")
    waveform, rate = soundfile.read(table["file_path"][0])
    waveform[18_432:26_624] *= 3  # of the track's 157 frames, 256 samples apart, those from 72 on; 8 between clips
    soundfile.write(table["file_path"][0], waveform, rate)
    write_track(Path(table["file_path"][1]), 500, 0, seconds=1.2)
    cache = build_cache(table, tmp_path / "mels", spec, workers=1)
    assert cache.clips.shape == (3, 1, 32, 32)
    assert cache.rows["clips"].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(cache.clips[0, 0], cache.tracks[0, :, 72:104])


def test_notes_shorter_than_a_clip(tmp_path):
    table, spec = make_corpus(tmp_path, 3), dataclasses.replace(SPEC, min_seconds=0.3, ending="repeat")
    for path, seconds in zip(table["file_path"], (0.31, 0.29, 2.6), strict=True):
        write_track(Path(path), 500, 0, seconds)
    cache = build_cache(table, tmp_path / "mels", spec, workers=1)
    assert cache.rows["status"].tolist() == ["ok", "short", "ok"]
    assert cache.rows["reason"].tolist() == ["", "less than 0.3 s", ""]
    assert cache.rows["clips"].tolist() == [1, 0, 3]
    waveform, _ = librosa.load(table["file_path"][0], sr=SPEC.sample_rate)
    expected = librosa_mel(np.resize(waveform, 8000), SPEC)  # the note again and again
    np.testing.assert_allclose(cache.clips[0, 0], expected, atol=2.0**-5)


def test_record_without_later_fields_is_opened(tmp_path):
    folder = build_cache(make_corpus(tmp_path, 3), tmp_path / "mels", SPEC, workers=1).folder
    record = json.loads((folder / "spec.json").read_text())
    for name in ("kind", "n_mfcc", "clip_overlap", "ending", "selection", "min_seconds"):
        del record["spec"][name]
    record["spec"]["hop"] = record["spec"].pop("hop_length")
    (folder / "spec.json").write_text(json.dumps(record))
    assert MelCache.open(tmp_path / "mels", SPEC).spec == SPEC


def test_earlier_names_of_flags_are_taken():
    given = flags.mels(["--hop=256", "--least-seconds=0.3"])
    assert (given.hop_length, given.min_seconds) == (256, 0.3)


# --- tables and files ---------------------------------------------------------------------------------------


def test_one_table_with_a_row_a_track_is_enough(tmp_path, monkeypatch, capsys):
    make_corpus(tmp_path, 3)
    (tmp_path / "data").mkdir()
    full, ensemble = tmp_path / "metadata_30_secs.csv", tmp_path / "data" / "metadata_ensemble.csv"
    ensemble.write_text("track_id,file_path\nof another dataset,x.mp3\n")
    monkeypatch.chdir(tmp_path)
    mels_command(["--full-csv", str(full), "--output-root", "mels", "--workers", "1", *SPEC_FLAGS])
    assert "3 tracks: 3 ok" in capsys.readouterr().out


def test_default_table_alone_and_with_its_pair(tmp_path, monkeypatch, refusal):
    make_corpus(tmp_path / "data", 3)
    ensemble = tmp_path / "data" / "metadata_ensemble.csv"
    monkeypatch.chdir(tmp_path)
    flags = ["--output-root", "mels", "--workers", "1", *SPEC_FLAGS]
    ensemble.write_text(ensemble.read_text() + "\n".join(ensemble.read_text().splitlines()[1:4]))  # 8 rows of track 0
    mels_command(flags)
    ensemble.write_text("track_id,file_path\nof another dataset,x.mp3\n")
    assert "is in only one of" in refusal(mels_command, flags, after=("3 of 3 tracks to cache",))
    ensemble.unlink()
    mels_command(flags)
    assert "no such table" in refusal(mels_command, ["--csv", str(ensemble), *flags])


def test_long_track_is_cut_and_padding_is_silence(tmp_path):
    table = make_corpus(tmp_path, 3)
    write_track(Path(table["file_path"][0]), 500, 0, seconds=60)
    write_track(Path(table["file_path"][1]), 500, 0, seconds=2)
    cache = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert cache.rows["clips"].tolist()[:2] == [5, 2]
    assert cache.rows["seconds"].tolist()[:2] == [5.0, 2.0]
    assert (cache.clips[1, 3] == cache.clips[1, 3].min()).all()


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    """Overlapping clips of three channels."""
    changes, moments = {"kind": "stack", "clip_overlap": 0.5, "ending": "hold"}, (1, 20)
    make_corpus(tmp_path, 130)  # three tracks a shard
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    spec, flags = dataclasses.replace(SPEC, **changes), flags_of(changes)
    mels_command(arguments(tmp_path, whole, *flags))
    folder, made = cache_folder(broken, spec), 0
    for shards in moments:
        command = [sys.executable, "-c", KILLED, str(shards), *arguments(tmp_path, broken, *flags)]
        killed = subprocess.run(command, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        made += shards
        assert made <= len(MelCache.open(broken, spec).rows) // 3  # others may be done before their workers see it
    mels_command(arguments(tmp_path, broken, *flags))
    assert contents(folder) == contents(cache_folder(whole, spec))
    assert [path.name for path in broken.iterdir()] == [folder.name]
    assert {len(list(shard.iterdir())) for shard in (folder / "shards").iterdir()} == {4}


def test_number_of_workers_and_two_at_once_give_the_same_bytes(tmp_path):
    make_corpus(tmp_path, 70)
    alone, both = tmp_path / "alone", tmp_path / "both"
    mels_command(arguments(tmp_path, alone, "--workers", "1"))
    command = [sys.executable, "-m", "scripts", "mels", *arguments(tmp_path, both)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.wait(), process.stderr.close())[0] for process in processes] == [0, 0]
    assert contents(both) == contents(alone)


def test_a_second_start_changes_nothing(tmp_path):
    table = make_corpus(tmp_path, 6)
    folder = build_cache(table, tmp_path / "mels", SPEC, workers=1).folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_new_and_changed_files_are_cached_and_the_others_kept(tmp_path):
    table = make_corpus(tmp_path, 9)
    first = build_cache(table[:6], tmp_path / "mels", SPEC, workers=1)
    kept = np.array(first.clips[2])
    write_track(Path(table["file_path"][0]), 3000, 99)
    Path(table["file_path"][1]).unlink()
    second = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert contents(first.folder).items() <= contents(second.folder).items()
    assert_same(second, build_cache(table, tmp_path / "fresh", SPEC, workers=1))
    assert second.rows.loc["1", "status"] == "missing"
    np.testing.assert_array_equal(second.clips[2], kept)
    write_track(Path(table["file_path"][0]), 2000, 99)
    third = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert third.rows["generation"].tolist() == [2, 1, *[0] * 7]
    assert_same(third, build_cache(table, tmp_path / "fresh", SPEC, 1, overwrite=True))


def test_one_changed_file_does_not_throw_away_what_a_kill_has_left(tmp_path):
    table = make_corpus(tmp_path, 18)
    command = [sys.executable, "-c", KILLED, "12", *arguments(tmp_path, tmp_path / "mels")]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert len(MelCache.open(tmp_path / "mels", SPEC).rows) >= 12  # workers may have finished more than was counted
    write_track(Path(table["file_path"][17]), 3000, 99)
    before = {name: kept for name, kept in contents(tmp_path / "mels").items() if "/." not in name}  # whole shards
    after = contents(build_cache(table, tmp_path / "mels", SPEC, workers=1).folder.parent)
    assert {name: after[name] for name in before} == before


def assert_same(found: MelCache, expected: MelCache) -> None:
    """Both show the same tracks and spectrograms, whatever shards they are made of."""
    columns = ["row", "file", "size", "mtime_ns", "seconds", "clips", "status", "reason"]
    pd.testing.assert_frame_equal(found.rows[columns], expected.rows[columns])
    np.testing.assert_array_equal(found.tracks, expected.tracks)
    np.testing.assert_array_equal(found.clips, expected.clips)


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


def change_decoder(folder: Path, decoder: str) -> None:
    """As if it had decoded everything."""
    for path in folder.rglob("tracks.csv"):
        rows = read_csv(path).assign(decoder=decoder)
        write_csv(path, rows)
        sums = json.loads((path.parent / "checksums.json").read_text())
        sums["tracks.csv"] = zlib.crc32(path.read_bytes())
        (path.parent / "checksums.json").write_text(json.dumps(sums))


def test_rows_of_two_decoders_are_never_mixed(tmp_path):
    table = make_corpus(tmp_path, 6)
    folder = build_cache(table[:3], tmp_path / "mels", SPEC, workers=1).folder
    change_decoder(folder, "another 1.0")
    assert len(build_cache(table[:3], tmp_path / "mels", SPEC, workers=1).rows) == 3
    with pytest.raises(CacheError, match="decoded by another 1.0"):
        build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert len(build_cache(table, tmp_path / "mels", SPEC, 1, overwrite=True).rows) == 6


def test_rows_of_two_versions_of_the_spectrograms_are_never_mixed(tmp_path):
    table = make_corpus(tmp_path, 6)
    folder = build_cache(table[:3], tmp_path / "mels", SPEC, workers=1).folder
    record = json.loads((folder / "spec.json").read_text())
    del record["numerics"]  # as records of the first one
    (folder / "spec.json").write_text(json.dumps(record))
    assert len(build_cache(table[:3], tmp_path / "mels", SPEC, workers=1).rows) == 3
    with pytest.raises(CacheError, match="computed by version 1; adding tracks by version 2 would mix the two"):
        build_cache(table, tmp_path / "mels", SPEC, workers=1)


def test_what_an_older_version_may_have_decoded_otherwise_is_made_again_and_named(tmp_path, capsys, monkeypatch):
    table, audio = make_corpus(tmp_path, 6), tmp_path / "audio"
    write_track(audio / "000001.wav", 500, 1, seconds=2)  # libsndfile knows how long it is
    write_track(audio / "000002.flac", 500, 2, seconds=2)
    write_track(audio / "000003.flac", 500, 3, seconds=6)
    write_track(audio / "000004.wav", 500, 4, seconds=0.2)
    table.loc[[2, 3], "file_path"] = [(audio / f"00000{number}.flac").as_posix() for number in (2, 3)]
    folder = build_cache(table, tmp_path / "mels", SPEC, workers=1).folder
    change_decoder(folder, decoder_version().partition(", PyAV")[0])
    monkeypatch.setattr("scripts.audio.cache.WARNED", set())
    capsys.readouterr()
    for _ in range(2):
        MelCache.open(tmp_path / "mels", SPEC)
    line = f"{folder}: 2 of 6 tracks (2, 4) were decoded by an older version"
    assert capsys.readouterr().err == f"{line}; the command that cached them makes them again\n"
    cache = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert f"{line} and are made again\n" in capsys.readouterr().err
    assert cache.rows["generation"].tolist() == [0, 0, 1, 0, 1, 0]
    assert_same(cache, build_cache(table, tmp_path / "fresh", SPEC, workers=1))
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert "older" not in capsys.readouterr().err


def test_packed_cache_of_an_earlier_version_is_one_shard(tmp_path):
    """The arrays and tracks.csv beside spec.json, without a decoder in each row; more tracks come in shards."""
    table = make_corpus(tmp_path, 5)
    cache = build_cache(table[:3], tmp_path / "mels", SPEC, workers=1)
    packed = tmp_path / "packed" / cache.folder.name
    packed.mkdir(parents=True)
    np.save(packed / "5s.npy", cache.tracks[:])
    np.save(packed / "1s.npy", cache.clips[:])
    write_csv(packed / "tracks.csv", cache.rows.reset_index().drop(columns=["decoder", "generation"]))
    shutil.copy(cache.folder / "spec.json", packed)
    assert_same(MelCache.open(packed, SPEC), cache)
    write_track(Path(table["file_path"][1]), 3000, 99)
    both = build_cache(table, tmp_path / "packed", SPEC, workers=1)
    assert both.rows["generation"].tolist() == [-1, 0, -1, 0, 0]
    assert_same(both, build_cache(table, tmp_path / "fresh", SPEC, workers=1))


@pytest.mark.parametrize("damage", ["spec", "array", "rows", "table", "gone"])
def test_damaged_cache_is_refused(tmp_path, damage):
    folder = build_cache(make_corpus(tmp_path, 3), tmp_path / "mels", SPEC, workers=1).folder
    shard = sorted((folder / "shards").iterdir())[1]
    if damage == "spec":
        (folder / "spec.json").write_text("{")
    elif damage == "array":
        (shard / "1s.npy").write_bytes(b"nothing")
    elif damage == "rows":
        np.save(shard / "1s.npy", np.zeros((2, 5, 32, 32), np.float16))
    elif damage == "table":
        (shard / "tracks.csv").write_bytes(b"row,track_id\n0")
    else:
        shutil.rmtree(folder)
    with pytest.raises(CacheError):
        MelCache.open(tmp_path / "mels", SPEC)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda shard: flip(shard / "5s.npy", -100),
        lambda shard: flip(shard / "1s.npy", 3),
        lambda shard: flip(shard / "tracks.csv", -30),
        lambda shard: (shard / "1s.npy").write_bytes((shard / "1s.npy").read_bytes()[:-1]),
        lambda shard: (shard / "5s.npy").unlink(),
        lambda shard: (shard / "checksums.json").write_text("{"),
    ],
    ids=["a bit of a spectrogram", "a bit of a header", "a bit of the table", "cut off", "array lost", "sums lost"],
)
def test_damaged_shard_is_named_and_made_again(tmp_path, capsys, damage):
    table = make_corpus(tmp_path, 5)
    folder = build_cache(table, tmp_path / "mels", SPEC, workers=1).folder
    whole, shard = contents(folder), sorted((folder / "shards").iterdir())[2]
    damage(shard)
    capsys.readouterr()
    build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert f"{shard}: " in (said := capsys.readouterr().err) and "1 of 5 tracks to cache" in said
    assert contents(folder) == whole


def test_copied_cache_is_whole(tmp_path, capsys):
    """Copying changes the files' times, so that their checksums are computed, once."""
    table = make_corpus(tmp_path, 5)
    folder = build_cache(table, tmp_path / "mels", SPEC, workers=1).folder
    shutil.copytree(folder, tmp_path / "copy" / folder.name, copy_function=shutil.copyfile)
    capsys.readouterr()
    assert_same(build_cache(table, tmp_path / "copy", SPEC, workers=1), MelCache.open(folder, SPEC))
    assert capsys.readouterr().err == ""


def test_no_file_at_all_is_an_error_and_leaves_nothing(tmp_path):
    table = make_corpus(tmp_path, 3).assign(file_path="nowhere.mp3")
    with pytest.raises(TableError, match="none of the 3 audio files exists"):
        build_cache(table, tmp_path / "mels", SPEC)
    assert not (tmp_path / "mels").exists()


def test_record_says_what_made_it(tmp_path):
    cache = build_cache(make_corpus(tmp_path, 3), tmp_path / "mels", SPEC, workers=1)
    record = json.loads((cache.folder / "spec.json").read_text())
    assert MelSpec(**record["spec"]) == SPEC
    assert f"soundfile {soundfile.__version__}" in record["decoder"]


# --- of an experiment ---------------------------------------------------------------------------------------


def test_an_experiment_brings_its_table_its_folder_and_its_spectrograms(tmp_path, monkeypatch):
    """Of a table with rows per clip, --limit counts tracks; another table is taken if it is given."""
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "data" / "philharmonia", 9)
    experiment = EXPERIMENTS["philharmonia_notes"].updated(spec=SPEC)
    monkeypatch.setitem(EXPERIMENTS, "philharmonia_notes", experiment)
    mels_command(["--experiment", "philharmonia_notes", "--limit", "3"])
    assert len(MelCache.open("data/philharmonia/mels", SPEC).rows) == 3
    make_corpus(tmp_path / "other", 12)
    mels_command(["--experiment", "philharmonia_notes", "--full-csv", "other/metadata_30_secs.csv", "--overwrite"])
    assert len(MelCache.open("data/philharmonia/mels", SPEC).rows) == 12


def test_an_experiment_without_spectrograms_is_refused(tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    assert "gtzan_mlp_features reads no spectrograms of this kind" in refusal(
        mels_command, ["--experiment", "gtzan_mlp_features"]
    )
