"""Runs that an earlier version trained and stored, in tests/archived_runs: they load, predict and score as then."""

import json
import shutil
from pathlib import Path

import pytest

from scripts.audio.build_cache import build_cache
from scripts.config.run import Run
from scripts.evaluate import evaluate
from scripts.inference.predictor import Predictor
from tests.corpus import SPEC, make_chords, make_corpus, write_track

ARCHIVE = Path(__file__).parent / "archived_runs"
ANSWERS = json.loads((ARCHIVE / "answers.json").read_text())
SCORES = {
    "archived_genres": ("clip_accuracy", "track_accuracy", "loss", "split"),
    "archived_labels": ("f1_macro", "f1_micro", "average_precision_macro", "split"),
}


@pytest.mark.parametrize("name", SCORES)
def test_predicts_as_when_it_was_stored(name, tmp_path):
    write_track(tmp_path / "tone.wav", 700.0, 99)
    answer = Predictor(Run(name, ARCHIVE))(tmp_path / "tone.wav")
    assert dict(answer.top(3)) == pytest.approx(ANSWERS[name], abs=1e-4)


@pytest.mark.parametrize("name", SCORES)
def test_scores_as_when_it_was_stored(name, tmp_path, monkeypatch):
    """Its table and cache are made anew; config.json names them relative to the folder that it was trained in."""
    if name == "archived_genres":
        build_cache(make_corpus(tmp_path / "data"), tmp_path / "data" / "mels", SPEC, workers=1)
    else:
        make_chords(tmp_path / "data")
    shutil.copytree(ARCHIVE, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "data")
    stored = json.loads((ARCHIVE / "reports" / name / "test.json").read_text())
    report = evaluate(Run(name, tmp_path / "runs"))
    assert {score: report[score] for score in SCORES[name]} == pytest.approx(
        {score: stored[score] for score in SCORES[name]}, abs=1e-4
    )
