"""Labels that look like numbers, truth values or nothing: the same text from folders and lists to the last command."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from scripts.__main__ import main
from scripts.apps.api.server import LoadedRun, create_app
from scripts.config.experiment import Experiment
from scripts.datasets.tiny import write_tone
from scripts.inference.predictor import Predictor
from scripts.inference.registry import find_run
from scripts.tables.label_table import read_table
from scripts.tables.overrides import apply_overrides
from scripts.train import train
from tests.corpus import CHORDS, SPEC_FLAGS

pytestmark = pytest.mark.usefixtures("quick_reports")

SPEC = [f"spec.{flag.removeprefix('--').replace('-', '_')}" for flag in SPEC_FLAGS]
SMALL = ["table=clips.csv", "cache=mels", "epochs=1", "metric=last", "device=cpu", "threads=1", "batch_size=8", *SPEC]


def make_tables() -> None:
    main(["metadata", "--input", "labels.csv", "--output", "clips.csv", "--full-output", "tracks.csv"])
    tables = ["--full-csv=tracks.csv", "--csv=clips.csv", "--output-root=mels"]
    main(["mels", *tables, "--workers=1", *SPEC_FLAGS])


def use(run: str, names: list[str]) -> None:
    """What is done with a trained run; its names stand in all that comes of it."""
    assert json.loads(Path(f"runs/reports/{run}/config.json").read_text())["classes"] == names
    main(["predict", "songs", "--run", run, "--out", "found.csv", "--playlist", "list.m3u8", "--only", names[1]])
    with open("found.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[-len(names) :] == [f"p_{name}" for name in names]
    assert {row[header.index("status")] for row in rows} == {"ok"}
    main(["registry", "add", run, "--name", "model"])
    run = find_run("model@1")
    with TestClient(create_app([LoadedRun("model", run, Predictor(run))]), base_url="http://localhost") as client:
        sound = next(Path("songs").rglob("0.wav"))
        answer = client.post("/predict", files=[("files", ("0.wav", sound.read_bytes()))]).json()
    assert f'"{names[0]}"' in json.dumps(answer)
    main(["export", "--model", "model@1", "--safetensors", "--output", "exported"])
    assert json.loads(Path("exported/config.json").read_text())["classes"] == names


def test_genres_stay_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["01", "1", "Drum; Bass", "None", "nan"]
    for kind, name in enumerate(names):
        for number in range(10):
            write_tone(Path("songs", name, f"{number}.wav"), kind, number)
    main(["labeled_tracks", "--dataset", "folder", "--root", "songs", "--output", "labels.csv"])
    make_tables()
    assert sorted(set(read_table("clips.csv", ["genre"])["genre"])) == names
    main(["crossval", "--experiment", "fma_cnn_3s", "--folds", "2", "--set", *SMALL])
    pooled = pd.read_csv("runs/reports/fma_cnn_3s-folds/predictions.csv", dtype=str, keep_default_na=False)
    assert sorted(pooled["genre"]) == sorted(names * 10) and set(pooled["predicted"]) <= set(names)
    use("fma_cnn_3s-r0f0", names)
    main(["label_issues", "fma_cnn_3s-folds", "--relabel", "--share", "0.2"])
    path = "runs/reports/fma_cnn_3s-folds/overrides.csv"
    corrected = apply_overrides(read_table("tracks.csv", ["genre"]).assign(split="train"), path, "single_label")
    assert sorted(set(corrected["genre"])) == names


def test_labels_stay_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells, rows = ("1", "01; None", "NA", "-"), []
    for number in range(40):
        write_tone(Path("songs", f"{number}.wav"), number % 4, number)
        rows.append(f"songs/{number}.wav,{cells[number % 4]}\n")
    Path("list.csv").write_text("\ufeffFile_Path , Tags\n" + "".join(rows))
    main(["labeled_tracks", "--dataset", "multi_table", "--root", "list.csv", "--output", "labels.csv"])
    with open("labels.csv", newline="") as file:
        assert {row["labels"] for row in csv.DictReader(file)} == {"1", "01;None", "NA", "-"}
    make_tables()
    train(Experiment(name="tags", table="clips.csv", cache="mels", epochs=1, **CHORDS), root=Path("runs"))
    use("tags", ["01", "1", "NA", "None"])
