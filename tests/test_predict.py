"""Prediction on files: the same numbers as the test, any length, reasons for what cannot be used."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from scripts.errors import AudioError, ConfigError
from scripts.predict import main as predict_command
from scripts.predictor import Predictor
from scripts.runs import Run
from tests.corpus import GENRES, write_track


def test_a_test_track_gets_the_probabilities_of_the_report(genre_run):
    table = pd.read_csv(genre_run.report / "predictions.csv", dtype={"track_id": "str"})
    predictor = Predictor(genre_run)
    for row in table.to_dict("records"):
        path = genre_run.root.parent / "audio" / f"{int(row['track_id']):06d}.wav"
        expected = [row[f"p_{name}"] for name in GENRES]
        np.testing.assert_allclose(predictor(path).probabilities, expected, atol=2e-3)


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


def test_unknown_run_suggests_the_nearest(genre_run):
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        Predictor(Run("smal", genre_run.root))
    with pytest.raises(ConfigError, match="train one first"):
        Predictor(Run("small", genre_run.root / "nowhere"))


def test_a_run_on_a_table_of_features_hears_nothing(genre_run, tmp_path):
    rows = dataclasses.replace(genre_run.experiment(), unit="row", features=57, model="mlp", model_settings={})
    other = Run("rows", tmp_path)
    other.save_config(rows, GENRES, "0")
    with pytest.raises(ConfigError, match="reads a table of features"):
        Predictor(other)
