"""Prediction on files: the same numbers as the test, any length, reasons for what cannot be used."""

import csv
import dataclasses
import io
import json
import os
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts import predict as predict_script
from scripts.audio.decoding import count_clips, fit_length, slice_clips
from scripts.audio.features import make_transform
from scripts.audio.normalise import normalise
from scripts.audio.spec import ENDINGS
from scripts.common.errors import AudioError, CheckpointError, ConfigError
from scripts.config.run import Run
from scripts.inference.playlist import seen_from, sort_rows, write_playlist
from scripts.inference.predict_folder import FilePredictor, Row, Table, audio_files, select_labels
from scripts.inference.predictor import Predictor
from scripts.predict import format_row, print_line
from scripts.predict import main as predict_command
from tests.corpus import GENRES, SPEC, write_track


def test_a_test_track_gets_the_probabilities_of_the_report(genre_run):
    table = pd.read_csv(genre_run.report / "predictions.csv", dtype={"track_id": "str"})
    predictor = Predictor(genre_run)
    for row in table.to_dict("records"):
        path = genre_run.root.parent / "audio" / f"{int(row['track_id']):06d}.wav"
        expected = [row[f"p_{name}"] for name in GENRES]
        np.testing.assert_allclose(predictor(path).probabilities, expected, atol=2e-3)


def test_predictions_are_float32s_whatever_training_computed_with(genre_run, tmp_path, monkeypatch):
    write_track(tmp_path / "song.wav", 700, 5, seconds=3)
    asked = genre_run.experiment().updated(precision="bfloat16")
    monkeypatch.setattr(Run, "experiment", lambda run: asked)
    predictor = Predictor(genre_run)
    file = predictor.prepare(tmp_path / "song.wav")
    values = torch.from_numpy(make_transform(SPEC)(file.waveforms).astype(np.float16))
    with torch.inference_mode():
        expected = genre_run.load_model()(normalise(values)).numpy()
    np.testing.assert_allclose(predictor.outputs(file.waveforms)[:, : len(predictor.names)], expected, atol=1e-5)


@pytest.mark.parametrize(("seconds", "windows"), [(1.0, 1), (1.4, 1), (1.6, 2), (7.0, 7), (90.0, 90)])
def test_any_length(genre_run, tmp_path, seconds, windows):
    write_track(tmp_path / "song.wav", 200, 5, seconds=seconds)
    prediction = Predictor(genre_run)(tmp_path / "song.wav")
    assert len(prediction.starts) == len(prediction.windows) == windows
    assert prediction.probabilities.sum() == pytest.approx(1)
    assert GENRES[prediction.windows[0].argmax()] == "Low"  # the last window may be half silence


def test_windows_follow_the_music(genre_run, tmp_path):
    for name, pitch in (("low", 200), ("high", 1800)):
        write_track(tmp_path / f"{name}.wav", pitch, 1, seconds=4)
    parts = [soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("low", "high")]
    soundfile.write(tmp_path / "both.wav", np.concatenate(parts), 8000)
    prediction = Predictor(genre_run)(tmp_path / "both.wav")
    assert prediction.starts.tolist() == list(range(8))
    assert [GENRES[number] for number in prediction.windows.argmax(1)] == ["Low"] * 4 + ["High"] * 4


def test_overlap_gives_more_windows(genre_run, tmp_path):
    write_track(tmp_path / "song.wav", 200, 5, seconds=5)
    assert Predictor(genre_run, overlap=0.5)(tmp_path / "song.wav").starts.tolist() == [i / 2 for i in range(9)]
    with pytest.raises(ConfigError, match="overlap is 1"):
        Predictor(genre_run, overlap=1)


def test_files_that_cannot_be_used(genre_run, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 8000)
    write_track(tmp_path / "short.wav", 200, 5, seconds=0.1)
    (tmp_path / "page.mp3").write_text("<html></html>")
    predictor = Predictor(genre_run)
    statuses = {"silent.wav": "silent", "short.wav": "short", "page.mp3": "unreadable", "none.mp3": "missing"}
    for name, status in statuses.items():
        with pytest.raises(AudioError) as caught:
            predictor(tmp_path / name)
        assert caught.value.status == status


def test_command_prints_json_and_goes_on_after_a_bad_file(genre_run, tmp_path, capsys):
    good, bad = tmp_path / "ein schönes Lied.wav", tmp_path / "bad.wav"
    write_track(good, 200, 5, seconds=3)
    bad.write_bytes(b"")
    with pytest.raises(SystemExit) as stopped:
        predict_command(
            [str(bad), str(good), "--run", genre_run.name, "--runs", str(genre_run.root), "--json", "--top", "2"]
        )
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert Path(line["file"]) == good and line["windows"] == 3
    assert list(line["probabilities"])[0] == "Low" and len(line["probabilities"]) == 2
    assert "bad.wav: the file is empty" in err and "1 of 2 files" in err
    assert stopped.value.code == 2


# --- windows ------------------------------------------------------------------------------------------------


def cutter(run: Run, overlap: float = 0.0, **settings) -> Predictor:
    """A predictor whose spectrograms have other settings; it can cut, not predict."""
    predictor = Predictor(run, overlap)
    predictor.experiment = predictor.experiment.updated(spec=dataclasses.replace(SPEC, **settings))
    return predictor


@pytest.fixture(scope="module")
def cutters(genre_run) -> list[Predictor]:
    settings = [{"ending": ending} for ending in ENDINGS] + [{"clip_seconds": 0.93}, {"track_seconds": 5.4}]
    whole = [cutter(genre_run, **one) for one in settings]
    return [*whole, *(cutter(genre_run, 0.5, **one, clip_overlap=0.5) for one in settings)]


@given(data=st.data())
def test_windows_of_a_short_file_are_the_clips_of_the_cache(cutters, data) -> None:
    predictor = data.draw(st.sampled_from(cutters))
    spec = predictor.experiment.features.spec
    half_clips = st.integers(1, 2 * spec.track_samples // spec.clip_samples).map(lambda n: n * spec.clip_samples // 2)
    samples = data.draw(st.integers(1, spec.track_samples) | half_clips)
    waveform = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    clips = slice_clips(fit_length(waveform, spec.track_samples, spec.ending), spec.clip_samples, spec.clip_step)
    expected = clips[: max(1, count_clips(samples, spec.clip_samples, spec.clip_starts))]
    starts, windows = predictor.cut(waveform)
    assert starts.tolist() == list(spec.clip_starts[: len(expected)])
    np.testing.assert_array_equal(windows, expected)


def test_windows_overlap_as_in_the_test(genre_run):
    assert Predictor(genre_run).overlap == 0
    config = genre_run.load_config()
    config["experiment"]["features"]["spec"]["clip_overlap"] = 0.25
    other = dataclasses.replace(genre_run, root=genre_run.root.parent / "overlapping")
    other.report.mkdir(parents=True, exist_ok=True)
    other.config_path.write_text(json.dumps(config | {"run": other.name}))
    other.checkpoints.mkdir(parents=True, exist_ok=True)
    (other.checkpoints / "best.pt").write_bytes((genre_run.checkpoints / "best.pt").read_bytes())
    assert Predictor(other).overlap == 0.25 and Predictor(other, 0.5).overlap == 0.5


def test_overlapping_windows_of_a_long_file_share_its_memory(genre_run, tmp_path):
    write_track(tmp_path / "long.wav", 200, 5, seconds=240)
    predictor = Predictor(genre_run, overlap=0.95)
    predictor.prepare(tmp_path / "long.wav")
    tracemalloc.start()
    file = predictor.prepare(tmp_path / "long.wav")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    waveform = 240 * 8000 * 4
    assert file.waveforms.nbytes > 19 * waveform
    assert held < 1.2 * waveform and peak < 3.2 * waveform


def test_longest_file(genre_run, tmp_path):
    write_track(tmp_path / "song.wav", 200, 5, seconds=3)
    assert Predictor(genre_run, longest=3.0)(tmp_path / "song.wav").seconds == 3
    with pytest.raises(AudioError, match="longer than 2.9 s") as caught:
        Predictor(genre_run, longest=2.9)(tmp_path / "song.wav")
    assert caught.value.status == "long"


# --- several files, several threads -------------------------------------------------------------------------


@pytest.fixture
def songs(tmp_path) -> list[Path]:
    """Nine tracks of 1 to 9 s, High, Low, Mid, High, ..."""
    paths = [tmp_path / "songs" / f"{number}.wav" for number in range(9)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        write_track(path, [1800, 200, 700][number % 3], number, seconds=number + 1)
    return paths


@pytest.mark.parametrize("at_once", [1, 7])
def test_files_in_common_batches_get_what_each_gets_alone(genre_run, songs, monkeypatch, at_once):
    predictor = Predictor(genre_run)
    alone = [predictor(path) for path in songs]
    monkeypatch.setattr("scripts.inference.predictor.WINDOWS_AT_ONCE", at_once)
    together = predictor.predict([predictor.prepare(path) for path in songs])
    for one, other in zip(alone, together, strict=True):
        assert (one.path, one.seconds, one.names) == (other.path, other.seconds, other.names)
        np.testing.assert_array_equal(one.starts, other.starts)
        np.testing.assert_allclose(one.windows, other.windows, atol=2e-3)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=2e-3)


def test_threads_get_their_own_answers(genre_run, songs):
    predictor = Predictor(genre_run)
    alone = [predictor(path).probabilities for path in songs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda path: predictor(path).probabilities, songs * 4))
    np.testing.assert_array_equal(found, alone * 4)


# --- the table ----------------------------------------------------------------------------------------------


def run_predict(run: Run, *args: object) -> None:
    predict_command([*map(str, args), "--run", run.name, "--runs", str(run.root)])


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    """File name -> row; each file stands once."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["file"] for row in rows}) == len(rows)
    return {Path(row["file"]).name: row for row in rows}


def test_folder_becomes_a_table(genre_run, songs, tmp_path, capsys):
    folder, out = songs[0].parent, tmp_path / "predictions.csv"
    (folder / "deeper").mkdir()
    songs[0].rename(folder / "deeper" / 'so, "what".WAV')
    (folder / "notes.txt").write_text("no music")
    (folder / ".hidden.mp3").write_bytes(b"")
    (folder / "page.mp3").write_text("<html></html>")
    run_predict(genre_run, folder, "--out", out)
    rows, predictor = read_rows(out), Predictor(genre_run)
    assert sorted(rows) == sorted(["page.mp3", 'so, "what".WAV', *(path.name for path in songs[1:])])
    assert rows["page.mp3"]["status"] == "unreadable" and "not audio" in rows["page.mp3"]["reason"]
    assert rows["page.mp3"]["p_Low"] == rows["page.mp3"]["labels"] == ""
    for name, row in rows.items():
        if row["status"] == "ok":
            expected = predictor(row["file"])
            assert [float(row[f"p_{genre}"]) for genre in GENRES] == pytest.approx(expected.probabilities, abs=2e-3)
            assert row["labels"] == expected.top(1)[0][0]
            assert int(row["size"]) == (folder / name if "so" not in name else folder / "deeper" / name).stat().st_size
    assert "1 of 10 files could not be predicted (1 unreadable)" in capsys.readouterr().out


def test_table_goes_on_where_it_was_killed(genre_run, songs, tmp_path, monkeypatch):
    out, whole, predicted = tmp_path / "predictions.csv", tmp_path / "whole.csv", []
    run_predict(genre_run, songs[0].parent, "--out", whole)
    true = FilePredictor.__call__

    def stopping(file_predictor: FilePredictor, path: str) -> list[Row]:
        if len(predicted) == 4:
            raise KeyboardInterrupt
        predicted.append(path)
        return true(file_predictor, path)

    monkeypatch.setattr(FilePredictor, "__call__", stopping)
    with pytest.raises(SystemExit):
        run_predict(genre_run, songs[0].parent, "--out", out)
    assert len(read_rows(out)) == 4
    written = out.read_bytes().replace(b",windows,labels,", b",windows,found,", 1)  # as an earlier version wrote it
    out.write_bytes(written[:-9])  # the fourth row was not written to its end
    monkeypatch.setattr(FilePredictor, "__call__", lambda one, path: predicted.append(path) or true(one, path))
    predicted.clear()
    run_predict(genre_run, songs[0].parent, "--out", out)
    assert predicted == [str(path) for path in songs[3:]]
    assert out.read_bytes() == whole.read_bytes()


def test_only_what_has_changed_is_predicted_again(genre_run, tag_run, songs, tmp_path, monkeypatch):
    out, predicted, true = tmp_path / "predictions.csv", [], FilePredictor.__call__
    note = lambda one, path: predicted.append(Path(path).name) or true(one, path)  # noqa: E731
    monkeypatch.setattr(FilePredictor, "__call__", note)
    run_predict(genre_run, *songs[:4], tmp_path / "gone.wav", "--out", out)
    write_track(songs[1], 1800, 1, seconds=2)
    os.utime(songs[2], (1, 1))
    write_track(tmp_path / "gone.wav", 200, 1)
    predicted.clear()
    run_predict(genre_run, *songs[:3], tmp_path / "gone.wav", "--out", out)
    assert predicted == ["1.wav", "2.wav", "gone.wav"]
    rows = read_rows(out)
    assert len(rows) == 5 and rows["1.wav"]["labels"] == "High" and rows["gone.wav"]["labels"] == "Low"
    predicted.clear()
    run_predict(genre_run, songs[0], "--out", out, "--overlap", "0.5")  # which changes the answers
    assert predicted == ["0.wav"]
    before = out.read_bytes()
    with pytest.raises(SystemExit):
        run_predict(tag_run, *songs[:3], "--out", out)
    assert out.read_bytes() == before


@pytest.fixture
def many(monkeypatch) -> None:
    """Two files are many."""
    monkeypatch.setattr(predict_script, "FEW_FILES", 1)


def test_many_files_get_what_each_gets_alone_in_the_same_order(genre_run, songs, tmp_path, monkeypatch, capsys):
    (songs[0].parent / "bad.mp3").write_text("<html></html>")
    run_predict(genre_run, songs[0].parent, "--out", tmp_path / "few.csv")
    monkeypatch.setattr(predict_script, "FEW_FILES", 1)
    run_predict(genre_run, songs[0].parent, "--out", tmp_path / "many.csv")
    few, many = (pd.read_csv(tmp_path / name) for name in ("few.csv", "many.csv"))
    pd.testing.assert_frame_equal(few, many, atol=2e-6)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run_predict(genre_run, songs[0].parent, "--top", "1")
    out, err = capsys.readouterr()
    assert [Path(line.split(": ")[0]) for line in out.splitlines()] == songs and "bad.mp3" in err


def test_a_killed_run_of_many_files_ends_with_the_same_bytes(genre_run, songs, tmp_path, many):
    out = tmp_path / "predictions.csv"
    run_predict(genre_run, songs[0].parent, "--out", out)
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    for count in (1, 5, 8):
        out.write_bytes(b"".join(lines[:count]) + lines[count][:9])
        run_predict(genre_run, songs[0].parent, "--out", out)
        assert out.read_bytes() == whole


def test_an_answer_does_not_hang_on_what_shares_its_batch(genre_run, songs, many):
    predict_file = FilePredictor(Predictor(genre_run), "m")
    paths = list(map(str, songs))
    forward, backward = (list(predict_file.in_processes(some)) for some in (paths, paths[::-1]))
    assert forward == backward[::-1]


@pytest.mark.parametrize("few", [1, 16])
def test_a_row_for_each_window(genre_run, songs, tmp_path, monkeypatch, few):
    monkeypatch.setattr(predict_script, "FEW_FILES", few)
    out, predictor = tmp_path / "windows.csv", Predictor(genre_run)
    (songs[0].parent / "bad.mp3").write_text("<html></html>")
    run_predict(genre_run, songs[0].parent, "--out", out, "--windows", "--overlap", "0.5")
    predictor.overlap, table, whole = 0.5, pd.read_csv(out), out.read_bytes()
    for path, rows in table[table["status"] == "ok"].groupby("file"):
        expected = predictor(path)
        assert rows["start_s"].tolist() == expected.starts.tolist()
        assert rows["end_s"].tolist() == [min(start + 1, expected.seconds) for start in expected.starts]
        assert set(rows["windows"]) == {len(rows)}
        np.testing.assert_allclose(rows[[f"p_{name}" for name in GENRES]], expected.windows, atol=2e-6)
        assert rows["labels"].tolist() == [GENRES[number] for number in expected.windows.argmax(1)]
    [bad] = table[table["status"] != "ok"].to_dict("records")
    assert Path(bad["file"]).name == "bad.mp3" and np.isnan(bad["start_s"])
    lines = whole.splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:20]) + lines[20][:9])  # killed within a file
    run_predict(genre_run, songs[0].parent, "--out", out, "--windows", "--overlap", "0.5")
    assert out.read_bytes() == whole
    with pytest.raises(SystemExit):
        run_predict(genre_run, songs[0].parent, "--out", out)


def test_a_line_for_each_window(genre_run, songs, capsys):
    run_predict(genre_run, songs[1], "--windows", "--json")
    lines = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [(line["start_s"], line["end_s"]) for line in lines] == [(0, 1), (1, 2)]
    run_predict(genre_run, songs[1], "--windows", "--top", "1")
    assert f"{songs[1]}, 1.0 to 2.0 s: Low" in capsys.readouterr().out


def test_labels_over_time_for_audacity(genre_run, songs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels" / "songs").mkdir(parents=True)
    (tmp_path / "songs" / "bad.mp3").write_text("<html></html>")
    (tmp_path / "labels" / "songs" / "bad.mp3.txt").write_text("of an earlier file")
    for _ in range(2):
        run_predict(genre_run, "songs", "--out", "labels", "--format", "audacity")
    names = sorted(path.name for path in (tmp_path / "labels" / "songs").iterdir())
    assert names == [f"{path.name}.txt" for path in songs]
    text = (tmp_path / "labels" / "songs" / "1.wav.txt").read_text()
    assert text == "0.000000\t1.000000\tLow\n1.000000\t2.000000\tLow\n"


def test_labels_over_time_for_raven(tag_run, tmp_path):
    table = pd.read_csv(tag_run.report / "predictions.csv", dtype=str)
    path = tag_run.root.parent / "audio" / f"{table['track_id'][0]}.wav"
    run_predict(tag_run, path, "--out", tmp_path / "labels", "--format", "raven", "--min-probability", "0")
    [found] = (tmp_path / "labels").rglob("*.selections.txt")
    assert found.relative_to(tmp_path / "labels") == Path(f"{path}.selections.txt").relative_to(path.anchor)
    rows, prediction = pd.read_csv(found, sep="\t"), Predictor(tag_run)(path)
    assert rows["Selection"].tolist() == list(range(1, len(rows) + 1)) and len(rows) == prediction.windows.size
    assert (rows["Begin Time (s)"] < rows["End Time (s)"]).all() and set(rows["View"]) == {"Spectrogram 1"}
    spec = tag_run.experiment().features.spec
    assert set(rows["Low Freq (Hz)"]) == {spec.f_min} and set(rows["High Freq (Hz)"]) == {spec.top_frequency}
    for window, (_, some) in enumerate(rows.groupby("Begin Time (s)")):
        expected = dict(zip(prediction.names, prediction.windows[window], strict=True))
        assert dict(zip(some["Label"], some["Probability"], strict=True)) == pytest.approx(expected, abs=2e-6)


def test_parquet(genre_run, songs, tmp_path):
    pytest.importorskip("pyarrow")
    songs[0].rename(songs[0].parent / os.fsdecode(b"caf\xe9.wav"))
    (songs[0].parent / "bad.mp3").write_text("<html></html>")
    out = tmp_path / "predictions.parquet"
    run_predict(genre_run, songs[0].parent, "--out", out, "--format", "parquet")
    found = pd.read_parquet(out)
    with open(f"{out}.csv", newline="", errors="surrogateescape") as file:
        expected = list(csv.DictReader(file))
    names = [row["file"].encode("utf-8", "backslashreplace").decode() for row in expected]
    assert found["file"].tolist() == names and r"/caf\udce9.wav" in "".join(names)
    assert list(found.columns) == list(expected[0])
    for name in ("seconds", *(f"p_{genre}" for genre in GENRES)):
        values = [float(row[name]) if row[name] else None for row in expected]
        assert found[name].replace({np.nan: None}).tolist() == values


def test_parquet_needs_its_package(genre_run, songs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        run_predict(genre_run, songs[0], "--out", tmp_path / "p.parquet", "--format", "parquet")
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.count("\n") == 1 and "pip install pyarrow" in err


def test_table_that_is_none_is_refused(genre_run, songs, tmp_path, refusal):
    out = tmp_path / "predictions.csv"
    out.write_text("track_id,genre\n1,Low\n")
    assert "give another --out" in refusal(run_predict, genre_run, songs[0], "--out", out)
    assert out.read_text() == "track_id,genre\n1,Low\n"


def test_name_that_is_not_utf8_stands_in_the_table(genre_run, songs, tmp_path, capsys):
    odd = songs[0].parent / os.fsdecode(b"caf\xe9.wav")
    songs[0].rename(odd)
    for _ in range(2):
        run_predict(genre_run, songs[0].parent, "--out", tmp_path / "odd.csv")
    assert os.fsencode(odd) in (tmp_path / "odd.csv").read_bytes()
    assert "0 files predicted, 9 were there" in capsys.readouterr().out
    run_predict(genre_run, odd)
    assert "caf" in capsys.readouterr().out


def test_folder_without_audio(tmp_path):
    with pytest.raises(ConfigError, match="holds no audio file"):
        audio_files([str(tmp_path)])


def test_each_file_once_and_no_links_to_folders(songs):
    folder = songs[0].parent
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    paths = [str(path) for path in songs]
    assert audio_files([paths[3], str(folder), paths[3]]) == [paths[3], *paths[:3], *paths[4:]]


# --- what is found, and playlists ---------------------------------------------------------------------------

LIKELY = {"a": 0.2, "b": 0.7, "c": 0.6}


@pytest.mark.parametrize(
    ("thresholds", "min_probability", "labels"),
    [
        (None, None, ["b"]),
        (None, 0.7, ["b"]),
        (None, 0.71, []),
        ({"a": 0.1, "b": 0.8, "c": 0.6}, None, ["c", "a"]),
        ({"a": 0.1, "b": 0.8, "c": 0.6}, 0.5, ["b", "c"]),
        ({"a": 0.9, "b": 0.9, "c": 0.9}, None, []),
    ],
)
def test_which_labels_are_predicted(thresholds, min_probability, labels):
    assert select_labels(LIKELY, thresholds, min_probability) == labels


def test_labels_reach_their_thresholds(tag_run, tmp_path, capsys):
    table = pd.read_csv(tag_run.report / "predictions.csv", dtype=str)
    paths = [tag_run.root.parent / "audio" / f"{track}.wav" for track in table["track_id"]]
    run_predict(tag_run, *paths, "--out", tmp_path / "tags.csv")
    found = [";".join(sorted(row["labels"].split("; "))) or "-" for row in read_rows(tmp_path / "tags.csv").values()]
    assert found == table["predicted"].tolist()
    run_predict(tag_run, *paths, "--out", tmp_path / "tags.csv", "--least", "0")
    assert all(len(row["labels"].split("; ")) == 3 for row in read_rows(tmp_path / "tags.csv").values())
    assert "0 files predicted" in capsys.readouterr().out


def test_playlist_of_one_genre(genre_run, songs, tmp_path):
    playlist = tmp_path / "lists" / "low.m3u8"
    run_predict(genre_run, songs[0].parent, "--playlist", playlist, "--only", "Low")
    lines = playlist.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#EXTM3U" and len(lines) == 7
    entries = dict(zip(lines[2::2], lines[1::2], strict=True))
    assert entries == {f"../songs/{n}.wav": f"#EXTINF:{n + 1},{n}" for n in (1, 4, 7)}
    predictor = Predictor(genre_run)
    chances = [predictor(playlist.parent / path).probabilities[1] for path in lines[2::2]]
    assert chances == sorted(chances, reverse=True)


def test_playlist_of_all(tmp_path):
    def row(file: str, **chances: float) -> Row:
        found = select_labels(chances, None, 0.5)
        return Row(str(tmp_path / file), 1, 1, "m", seconds=59.6, probabilities=chances, labels=found)

    rows = [
        row("1.mp3", Rock=0.6, Jazz=0.4),
        row("2.mp3", Rock=0.3, Jazz=0.7),
        row("#3.mp3", Rock=0.9, Jazz=0.1),
        row("line\nbreak.mp3", Rock=0.9, Jazz=0.1),
        row(os.fsdecode(b"\xe9.mp3"), Rock=0.9, Jazz=0.1),
        row("unsure.mp3", Rock=0.4, Jazz=0.4),
    ]
    assert write_playlist(tmp_path / "all.m3u8", sort_rows(rows)) == 3
    assert (tmp_path / "all.m3u8").read_text().splitlines() == [
        "#EXTM3U", "#EXTINF:60,2", "2.mp3", "#EXTINF:60,#3", "./#3.mp3", "#EXTINF:60,1", "1.mp3",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["#3.mp3", " lead.mp3", "http:x.mp3"])
def test_playlist_entries_are_no_comments_and_no_addresses(tmp_path, name):
    assert seen_from(tmp_path, str(tmp_path / name)) == f"./{name}"
    assert seen_from(tmp_path, str(tmp_path / "a" / name)) == f"a/{name}"


def test_playlist_names_files_as_seen_from_where_it_lies(tmp_path, monkeypatch):
    """A folder of playlists and one of music, both links to places of other depths."""
    for folder in ("disk/deep/lists", "music/of/mine", "home"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "home" / "lists").symlink_to(tmp_path / "disk" / "deep" / "lists")
    (tmp_path / "home" / "music").symlink_to(tmp_path / "music" / "of" / "mine")
    files = ["music/a.mp3", "music/# 5%.mp3", "here.mp3"]
    monkeypatch.chdir(tmp_path / "home")
    for file in files:
        Path(file).touch()
    rows = [Row(file, 1, 1, "m", probabilities={"a": 1.0}, labels=["a"]) for file in files]
    assert write_playlist(Path("lists/all.m3u8"), rows) == 3
    lines = Path("lists/all.m3u8").read_text().splitlines()[2::2]
    for line, file in zip(lines, files, strict=True):
        assert (tmp_path / "disk" / "deep" / "lists" / line).samefile(file)


def test_files_that_no_playlist_can_name_are_said(genre_run, songs, tmp_path, capsys):
    odd = ["line\nbreak.wav", "line\rbreak.wav", os.fsdecode(b"caf\xe9.wav")]
    for song, name in zip(songs, odd, strict=False):
        song.rename(song.with_name(name))
    for count in ("9 files predicted", "0 files predicted"):
        run_predict(genre_run, songs[0].parent, "--playlist", tmp_path / "a.m3u8", "--out", tmp_path / "p.csv")
        out, err = capsys.readouterr()
        assert count in out and "a.m3u8: 6 files, 3 left out" in out
        assert [name in err for name in (r"line\u000abreak", r"line\u000dbreak", r"caf\udce9")] == [True] * 3
        assert err.count("not in the playlist") == 3 == len([line for line in err.splitlines() if "rename it" in line])


def test_a_line_on_a_terminal_of_ascii_alone():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    print_line("é\x1b[1m\n" + os.fsdecode(b"\xe9.wav"), stream)
    assert stream.buffer.getvalue() == rb"\xe9\u001b[1m\u000a\udce9.wav" + b"\n"


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_wrong_with_a_file_that_is_used_is_said(as_json):
    row = Row("a.mp3", 1, 1, "m", reason="damaged after 2.4 s", probabilities={"a": 1.0}, labels=["a"])
    assert "damaged after 2.4 s" in format_row(row, 1, as_json, multi_label=False)
    assert "reason" not in format_row(dataclasses.replace(row, reason=""), 1, as_json, multi_label=False)


def test_json_of_a_name_that_is_not_utf8(capsys):
    row = Row(os.fsdecode(b"caf\xe9\n.wav"), 1, 1, "m", probabilities={"Ä": 1.0}, labels=["Ä"])
    print_line(format_row(row, 1, as_json=True, multi_label=False))
    out = capsys.readouterr().out
    facts = json.loads(out)
    assert out.count("\n") == 1 and "Ä" in out
    assert (facts["file"], facts["found"]) == (row.file, ["Ä"])


# --- names of files and labels ------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_of_the_table_is_a_formula(tmp_path, monkeypatch, start):
    monkeypatch.chdir(tmp_path)
    evil = f"{start}cmd|' /C calc'!A0"
    (tmp_path / "sub").mkdir()
    for place in (evil, f"sub/{evil}"):
        (tmp_path / place.replace("/C", "C")).with_suffix(".wav").touch()
    names, (first, second) = [evil, "'=quoted", "-1", "plain; one"], audio_files(["."])
    rows = [
        Row(first, 1, 2, f"{evil} 0", reason=evil, probabilities=dict.fromkeys(names, 0.5), labels=[name])
        for name in names[:3]
    ] + [Row(second, 1, 2, "m", probabilities=dict.fromkeys(names, 0.5), labels=["plain; one"])]
    for row in rows:
        table = Table(Path("p.csv"), names)
        with table.appending() as append:
            table.write([])
        with table.appending() as append:
            append([row])
        with open("p.csv", newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert not [cell for cell in cells if cell[0:1] in {*"=+-@\t\r\n＝"} and cell != "-1"]
        assert table.read() == {row.file: [row]} and Path(row.file).exists()


def relabelled(run: Run, folder: Path, classes: list) -> Run:
    """The run, as if its classes had been called so."""
    for place in ("reports", "checkpoints"):
        shutil.copytree(run.root / place / run.name, folder / place / run.name)
    other = Run(run.name, folder)
    config = json.loads(other.config_path.read_text(encoding="utf-8"))
    other.config_path.write_text(json.dumps(config | {"classes": classes}), encoding="utf-8")
    return other


@pytest.mark.parametrize("classes", [[0, 1, 2], [None, True, 1.5], ["01", "NA", "-"]])
def test_labels_that_are_no_words(genre_run, songs, tmp_path, capsys, classes):
    run, texts = relabelled(genre_run, tmp_path / "runs", classes), [*map(str, classes)]
    out, playlist = tmp_path / "p.csv", tmp_path / "p.m3u8"
    run_predict(run, *songs[:3], "--out", out, "--playlist", playlist, "--only", texts[1])
    assert [row["labels"] for row in read_rows(out).values()] == texts
    assert f"p_{texts[0]}" in out.read_text().splitlines()[0]
    assert playlist.read_text().splitlines()[2:] == ["songs/1.wav"]
    capsys.readouterr()
    run_predict(run, songs[0], "--json")
    assert json.loads(capsys.readouterr().out)["found"] == [texts[0]]


def test_a_genre_with_a_semicolon_is_one(genre_run, songs, tmp_path, capsys):
    run = relabelled(genre_run, tmp_path / "runs", ["Rock", "Drum; Bass", "Drum"])
    flac = tmp_path / "songs" / "1.flac"
    soundfile.write(flac, *soundfile.read(songs[1]))
    for count in (1, 0):
        arguments = ("--out", tmp_path / "p.csv", "--playlist", tmp_path / "p.m3u8", "--only", "Drum; Bass")
        run_predict(run, flac, *arguments, "--write-tags", "--yes")
        assert f"changed the genre in the metadata of {count} files" in capsys.readouterr().out
    assert read_rows(tmp_path / "p.csv")["1.flac"]["labels"] == "Drum; Bass"
    assert (tmp_path / "p.m3u8").read_text().splitlines()[2:] == ["songs/1.flac"]
    assert soundfile.SoundFile(flac).copy_metadata()["genre"] == "Drum; Bass"


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min-probability", "1.5"], "--min-probability is 1.5; give a probability from 0 to 1"),
        (["--longest", "nan"], "--longest is nan"),
        (["--only", "Low"], "give --playlist FILE.m3u8 too"),
        (["--yes"], "belong to --write-tags"),
        (["--format", "raven"], "--format raven is of what --out names"),
        (["--windows", "--playlist", "x.m3u8"], "--playlist need an answer for each file; leave out --windows"),
        (["--append"], "--append belong to --write-tags"),
        (["--write-tags"], "give --yes or --dry-run"),
        (["--playlist", "x.m3u8", "--only", "Lwo"], "did you mean 'Low'?"),
    ],
)
def test_flags_that_cannot_be(genre_run, tmp_path, refusal, monkeypatch, flags, message):
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    assert message in refusal(run_predict, genre_run, tmp_path / "none.mp3", *flags)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(genre_run, songs, tmp_path, refusal, value):
    run = relabelled(genre_run, tmp_path / "runs", GENRES)
    state = torch.load(run.checkpoints / "best.pt")
    next(iter(state["model"].values())).view(-1)[0] = value
    torch.save(state, run.checkpoints / "best.pt")
    with pytest.raises(CheckpointError, match="values that are no numbers"):
        run.load_model()
    refusal(run_predict, run, songs[0], "--out", tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("run_name", ["genre_run", "tag_run"])
def test_an_answer_that_is_no_number_is_a_failure(run_name, request, songs, tmp_path, monkeypatch, capsys):
    run, true = request.getfixturevalue(run_name), Predictor.forward
    monkeypatch.setattr(Predictor, "forward", lambda self, values: true(self, values) * np.float32("nan"))
    run_predict(run, songs[0], "--out", tmp_path / "p.csv", "--playlist", tmp_path / "p.m3u8")
    row = read_rows(tmp_path / "p.csv")["0.wav"]
    assert (row["status"], row["labels"]) == ("overflow", "") and (tmp_path / "p.m3u8").read_text() == "#EXTM3U\n"
    assert "1 of 1 files could not be predicted (1 overflow)" in capsys.readouterr().out


@pytest.mark.parametrize("field", ["sample_rate", "n_fft", "n_mels", "track_seconds"])
def test_settings_that_no_memory_holds(genre_run, songs, tmp_path, refusal, field):
    run = relabelled(genre_run, tmp_path / "runs", GENRES)
    config = json.loads(run.config_path.read_text())
    config["experiment"]["features"]["spec"][field] = 2**34
    run.config_path.write_text(json.dumps(config))
    assert "give at most" in refusal(run_predict, run, songs[0])
