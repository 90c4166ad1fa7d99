"""Folds, seeds, leaks, and the training options that reach across a whole run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scripts.common.errors import ConfigError, TableError
from scripts.config.run import Run, make_model
from scripts.crossval import cross_validate
from scripts.evaluate import evaluate
from scripts.loading.experiment_data import Data
from scripts.tables.splits import k_folds
from scripts.train import describe_spread, train, train_seeds
from scripts.train import main as train_command
from scripts.trainer import Trainer
from scripts.training.checkpoints import load_checkpoint
from tests.corpus import make_experiment

pytestmark = pytest.mark.usefixtures("quick_reports")

OPTIONS = {
    "unit": "crop",
    "optimizer": "AdamW",
    "weight_decay": 0.01,
    "scheduler": "OneCycleLR",
    "loss.label_smoothing": 0.1,
    "class_weights": "balanced",
    "augment": {"mixup": {}, "noise": {}, "pitch": {}, "time_shift": {}, "frequency_mask": {"width": 4}},
    "average": {"name": "ema", "decay": 0.9},
    "grad_clip": 1.0,
}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("corpus"), epochs=2)


@pytest.fixture(scope="module")
def validated(experiment, tmp_path_factory):
    """Two repeats of three folds: the folder of the runs, and what came back."""
    root = tmp_path_factory.mktemp("runs")
    last = experiment.updated(metric="last", epochs=1, allow_leak=True)
    return last, root, cross_validate(last, 3, 2, "track", 5, root=root)


def test_every_track_is_tested_once_a_repeat(validated):
    experiment, root, summary = validated
    table = pd.read_csv(root / "reports" / "small-folds" / "predictions.csv")
    assert table.groupby("repeat")["track_id"].nunique().tolist() == [18, 18]
    assert not table.duplicated(["repeat", "track_id"]).any()
    tracks = pd.read_csv(experiment.data.table).drop_duplicates("track_id", ignore_index=True)
    for repeat in range(2):
        expected = dict(zip(tracks["track_id"], k_folds(tracks, 3, seed=5 + repeat), strict=True))
        mine = table[table["repeat"] == repeat]
        assert dict(zip(mine["track_id"], mine["fold"], strict=True)) == expected


def test_pooled_scores_are_those_of_the_predictions(validated):
    _, root, summary = validated
    table = pd.read_csv(root / "reports" / "small-folds" / "predictions.csv")
    correct = table["genre"] == table["predicted"]
    assert summary["track_accuracy"] == pytest.approx(correct.mean())
    assert summary["track_accuracy_per_repeat"] == pytest.approx([correct[:18].mean(), correct[18:].mean()])
    low, high = summary["track_accuracy_interval_95"]
    assert low <= summary["track_accuracy"] <= high
    folds = [json.loads(path.read_text())["track_accuracy"] for path in root.glob("reports/*/test.json")]
    assert summary["fold_sd"] == pytest.approx(np.std(folds, ddof=1))


def test_resuming_keeps_what_is_finished(validated):
    experiment, root, summary = validated
    before = {path: path.stat().st_mtime_ns for path in root.glob("checkpoints/*/*")}
    assert cross_validate(experiment, 3, 2, "track", 5, root=root, resume=True) == summary
    assert {path: path.stat().st_mtime_ns for path in root.glob("checkpoints/*/*")} == before


@pytest.mark.parametrize(
    ("changes", "folds", "by", "message"),
    [
        (["learning_rate=0.5", "epochs=3"], 6, "track", "another split, data.fold.num_folds, optimizer.learning_rate;"),
        ([], 3, "artist", "another split, data.fold.by;"),
        (["augment.noise={}", "spec.top_db=60"], 3, "track", "another features.spec.top_db, augment.noise;"),
        (["epochs=2", "scheduler=cosine"], 3, "track", "another scheduler.name;"),
    ],
)
def test_resuming_mixes_no_other_settings_in(validated, changes, folds, by, message):
    experiment, root, _ = validated
    pooled = (root / "reports" / "small-folds" / "predictions.csv").read_bytes()
    with pytest.raises(ConfigError, match=f"run small-r5f0 was started with {message}.*--tag NAME.*--overwrite"):
        cross_validate(experiment.changed(changes), folds, 2, by, 5, root=root, resume=True)
    assert (root / "reports" / "small-folds" / "predictions.csv").read_bytes() == pooled


def test_resuming_notices_that_the_table_has_changed(validated, tmp_path):
    experiment, root, _ = validated
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    table = pd.read_csv(experiment.data.table, dtype={"track_id": str})
    text = Path(experiment.data.table).read_text()
    try:
        table[table["track_id"] != "0"].to_csv(experiment.data.table, index=False)
        with pytest.raises(ConfigError, match="another split"):
            cross_validate(experiment, 3, 2, "track", 5, root=tmp_path, resume=True)
    finally:
        Path(experiment.data.table).write_text(text)


def test_resuming_notices_that_labels_were_corrected(validated, tmp_path):
    experiment, root, _ = validated
    overrides = tmp_path / "overrides.csv"
    overrides.write_text("track_id,genre,leave_out\n0,Low,0\n")
    given = experiment.updated(overrides=str(overrides))
    train_seeds(given, [3], root=tmp_path)
    (before,) = train_seeds(given, [3], root=tmp_path, resume=True)
    overrides.write_text("track_id,genre,leave_out\n17,Low,0\n")
    with pytest.raises(ConfigError, match="small-seed3 was started with another labels"):
        train_seeds(given, [3], root=tmp_path, resume=True)
    shutil.copytree(root, tmp_path / "runs")
    text = Path(experiment.data.table).read_text()
    table = pd.read_csv(experiment.data.table, dtype=str)
    table.loc[table["track_id"] == "0", ["genre", "class"]] = ["Mid", "2"]
    try:
        table.to_csv(experiment.data.table, index=False)
        with pytest.raises(ConfigError, match="another (split, )?labels"):
            cross_validate(experiment, 3, 2, "track", 5, root=tmp_path / "runs", resume=True)
    finally:
        Path(experiment.data.table).write_text(text)


def test_no_track_is_pooled_twice(validated, tmp_path):
    experiment, root, _ = validated
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    shutil.copy(*(tmp_path / "reports" / name / "predictions.csv" for name in ("small-r5f0", "small-r5f1")))
    with pytest.raises(TableError, match="tested in two folds"):
        cross_validate(experiment, 3, 2, "track", 5, root=tmp_path, resume=True)


def test_official_folds_come_first(experiment, tmp_path, capsys):
    table = pd.read_csv(experiment.data.table, dtype={"track_id": str})
    table["fold"] = [f"{int(track) // 3 % 2 + 9}" for track in table["track_id"]]  # 9 and 10, in this order
    table.assign(artist_id=None).to_csv(tmp_path / "folds.csv", index=False)
    folded = experiment.updated(table=str(tmp_path / "folds.csv"), metric="last", epochs=1)
    for wrong in ({"repeats": 2}, {"fold_seed": 1}, {"folds": 3}):
        with pytest.raises(ConfigError, match="2 official folds are not dealt out anew|3 folds, but.*has 2 of its own"):
            cross_validate(folded, root=tmp_path, **wrong)
    summary = cross_validate(folded, root=tmp_path)
    assert "--by official, since the dataset has folds of its own" in capsys.readouterr().out
    assert summary["folds"] == 2
    pooled = pd.read_csv(tmp_path / "reports" / "small-folds" / "predictions.csv", dtype={"track_id": str})
    expected = table.drop_duplicates("track_id").set_index("track_id")["fold"].map({"9": 0, "10": 1})
    assert pooled.set_index("track_id")["fold"].to_dict() == expected.to_dict()


def test_known_artists_stay_whole_unless_asked_otherwise(experiment, tmp_path, capsys):
    last = experiment.updated(metric="last", epochs=1)
    cross_validate(last, folds=2, root=tmp_path)
    assert "--by artist, since the artists are known" in capsys.readouterr().out
    pooled = pd.read_csv(tmp_path / "reports" / "small-folds" / "predictions.csv")
    assert (pooled["fold"].groupby(pooled["track_id"] // 3).nunique() == 1).all()  # an artist has three tracks
    with pytest.raises(TableError, match="by an artist who is also in train.*--allow-leak"):
        cross_validate(last, folds=2, by="track", tag="tracks", root=tmp_path)


def test_a_fold_can_be_scored_again_from_its_config(validated):
    _, root, _ = validated
    run = Run("small-r5f1", root)
    before = json.loads((run.report / "test.json").read_text())
    assert evaluate(run)["track_accuracy"] == before["track_accuracy"]


def test_the_next_fold_validates_unless_the_last_epoch_is_taken(experiment):
    fold = {"num_folds": 3, "number": 2, "seed": 0, "by": "track"}
    chosen = Data.load(experiment.updated(fold=fold)).items.tracks
    last = Data.load(experiment.updated(fold=fold, metric="last")).items.tracks
    folds = k_folds(chosen, 3, seed=0)
    assert set(chosen.loc[folds == 0, "split"]) == {"validation"}
    assert set(last["split"]) == {"train", "test"}
    assert (chosen.loc[folds == 2, "split"] == "test").all()


@pytest.mark.parametrize(("number", "message"), [(3, "numbered 0 to 2"), (-1, "numbered 0 to 2")])
def test_a_fold_that_is_not_there(experiment, number, message):
    with pytest.raises(ConfigError, match=message):
        Data.load(experiment.updated(fold={"num_folds": 3, "number": number}))


def test_seeds_are_runs_of_their_own(experiment, tmp_path, capsys):
    reports = train_seeds(experiment.updated(epochs=1), [3, 4], root=tmp_path)
    assert [report["seed"] for report in reports] == [3, 4]
    assert (tmp_path / "reports" / "small-seed4" / "test.json").is_file()
    assert "2 seeds: track accuracy" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="run small-seed3 was started with another optimizer.learning_rate;"):
        train_seeds(experiment.updated(epochs=1, learning_rate=0.5), [3, 4], root=tmp_path, resume=True)


def test_folds_on_devices_are_those_of_one_process(experiment, tmp_path):
    given, devices = experiment.updated(epochs=1, threads=1, allow_leak=True), ["cpu", "cpu"]
    for name, places in (("one", []), ("two", devices)):
        cross_validate(given, 3, 1, "track", root=tmp_path / name, devices=places)
    one, two = (sorted((tmp_path / name).glob("checkpoints/*/*.pt")) for name in ("one", "two"))
    assert len(one) == 6 and [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    one, two = (tmp_path / name / "reports" / "small-folds" / "predictions.csv" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_devices_without_seeds_are_refused(experiment, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_command(["--experiment", "fma_cnn_3s", "--devices", "cpu,cpu"])
    assert "--devices is for --seeds; one training goes over several by torchrun" in capsys.readouterr().err


def test_spread_by_hand():
    reports = [{"track_accuracy": value, "clip_accuracy": 0.5} for value in (0.7, 0.8, 0.9)]
    assert describe_spread(reports) == "track accuracy 0.800 ± 0.100, clip accuracy 0.500 ± 0.000"


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_averaged_weights_resume_to_the_same(experiment, tmp_path, average):
    settings = {**OPTIONS, "average": {"name": average}, "scheduler": "cosine", "warmup_epochs": 1}
    options = experiment.updated(epochs=4, **settings)
    train(options, "whole", tmp_path)
    interrupted = Run("small-cut", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_until(options, interrupted, tmp_path, epoch=3)
    train(options, "cut", tmp_path, resume=True)
    for name in ("best.pt", "last.pt"):
        assert same(weights(Run("small-whole", tmp_path), name), weights(interrupted, name))


def train_until(experiment, run: Run, root, epoch: int) -> None:
    """Train, and break off after an epoch's checkpoint is there."""

    class Stopped(Trainer):
        def save(self, number, improved):
            super().save(number, improved)
            if number == epoch:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.train.Trainer", Stopped)
        train(experiment, "cut", root)


def test_frozen_epochs_train_the_head_alone(experiment, tmp_path):
    settings = {"epochs": 2, "frozen_epochs": 1, "keep_epochs": 1, "model": {"name": "short_chunk", "width": 0.1}}
    frozen = experiment.updated(**settings)
    train(frozen, "frozen", tmp_path)
    run = Run("small-frozen", tmp_path)
    torch.manual_seed(frozen.training.seed)
    start = make_model(frozen, 3).state_dict()
    first, second = weights(run, "epoch_001.pt"), weights(run, "epoch_002.pt")
    backbone = [name for name in start if not name.startswith("head")]
    assert all(torch.equal(start[name], first[name]) for name in backbone)
    assert any(not torch.equal(start[name], first[name]) for name in start if name.startswith("head"))
    assert any(not torch.equal(first[name], second[name]) for name in backbone)


def test_a_leaking_split_is_refused_and_reported(experiment, tmp_path):
    table = pd.read_csv(experiment.data.table, dtype={"track_id": str})
    table.assign(artist_id=1).to_csv(tmp_path / "leaky.csv", index=False)
    leaky = experiment.updated(table=str(tmp_path / "leaky.csv"), epochs=1)
    with pytest.raises(TableError, match="give --allow-leak"):
        train(leaky, root=tmp_path)
    assert not (tmp_path / "reports" / "small").exists()
    report = train(leaky.updated(allow_leak=True), root=tmp_path)
    assert "artist" in report["leaks"][0]
    assert json.loads((tmp_path / "reports" / "small" / "test.json").read_text())["leaks"] == report["leaks"]


def weights(run: Run, name: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(run.checkpoints / name)["model"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
