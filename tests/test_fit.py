"""`fit` from a folder to predictions, with small weights of the published form; and what it refuses."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from scripts.__main__ import main
from scripts.architectures.musicnn import PUBLISHED, Weights
from scripts.config.run import Run
from scripts.inference.predictor import Predictor
from scripts.loading import fitting
from tests.architectures.test_musicnn import random_state

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "weights.pth"
    torch.save(random_state(), path)
    published = Weights("http://127.0.0.1:9/nothing", hashlib.sha256(path.read_bytes()).hexdigest(), "noise")
    monkeypatch.setitem(PUBLISHED, "mtat", published)
    monkeypatch.chdir(tmp_path)
    return str(path)


def make_sounds(folder: Path, files: int = 5) -> None:
    """Tones and noises."""
    random, time = np.random.default_rng(0), np.arange(64_000) / 16_000
    for number in range(files):
        for name, sound in (("noise", random.normal(size=64_000)), ("tone", np.sin(2500 * (1 + number) * time))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name / f"{number}.wav", 0.1 * sound, 16_000)


def test_from_a_folder_to_predictions(weights: str, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    make_sounds(Path("sounds"))
    main(["fit", "sounds", "--weights", weights])
    said = capsys.readouterr().out
    assert (
        "Each of 10 tracks tested once, in 5 folds: track accuracy 1.000" in said
        and "predict FILE --run sounds" in said
    )
    test = json.loads(Path("runs/reports/sounds/test.json").read_text())
    assert test["track_accuracy"] == 1 and test["majority"] == 0.5
    predictor = Predictor(Run("sounds"))
    assert [predictor(f"sounds/{name}/0.wav").labels for name in ("noise", "tone")] == [["noise"], ["tone"]]

    # a second fit takes the embeddings that are there
    monkeypatch.setattr(fitting, "embed_values", lambda *_, **__: pytest.fail("embedded again"))
    main(["train", "--config", "runs/reports/sounds/config.json", "--tag", "svm", "--set", "model.classifier=svm"])
    assert Predictor(Run("sounds-svm"))("sounds/tone/1.wav").labels == ["tone"]


def test_from_a_table_of_several_labels(weights: str) -> None:
    make_sounds(Path("sounds"))
    files = sorted(Path("sounds").rglob("*.wav"))
    labels = [f"{path.parent.name};all" for path in files]
    pd.DataFrame({"path": files, "tags": labels}).to_csv("list.csv", index=False)
    main(["fit", "list.csv", "--weights", weights, "--classifier", "logistic"])
    assert set(Predictor(Run("list"))("sounds/tone/2.wav").labels) == {"all", "tone"}


def test_without_weights(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.fit.FEW_TRACKS", 0)  # no folds
    Path(weights).unlink()
    make_sounds(Path("sounds"))
    main(["fit", "sounds", "--weights", "none"])
    assert json.loads(Path("runs/reports/sounds/test.json").read_text())["leaks"] == []
    predictor = Predictor(Run("sounds"))
    assert [predictor(f"sounds/{name}/0.wav").labels for name in ("noise", "tone")] == [["noise"], ["tone"]]


def test_wrong_input_is_a_line(weights: str, refusal) -> None:
    make_sounds(Path("few"), 1)
    fit = ["fit", "few", "--weights", weights]
    assert "genre 'noise' has 1 tracks; this split needs at least 5" in refusal(main, fit)
    make_sounds(Path("single"))
    Path("single/tone").rename("tones")
    assert "all files are noise; a classifier needs" in refusal(main, ["fit", "single", "--weights", weights])
    assert not Path("runs").exists()
    Path("one/noise").mkdir(parents=True)
    assert "without an audio file" in refusal(main, ["fit", "one", "--weights", weights])
    assert "none: no such file or folder" in refusal(main, ["fit", "none", "--weights", weights])
    assert "no such file, nor published" in refusal(main, ["fit", "few", "--weights", "none.pth"])
    assert "the download failed" in (message := refusal(main, ["fit", "few", "--weights", "mtat"]))
    assert message.rstrip().endswith("or give --weights none, which does without them")
    Path("cut.pth").write_bytes(Path(weights).read_bytes()[:-9])
    assert "that of no published weights" in refusal(main, ["fit", "few", "--weights", "cut.pth"])
    assert "unknown classifier 'ldb'; did you mean 'lda'" in refusal(main, [*fit, "--classifier", "ldb"])
