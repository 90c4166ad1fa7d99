"""Training: learning, exactness, resuming, checkpoints, logs, errors."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks import plain
from scripts.common.errors import CheckpointError, ConfigError, EnsembleError, TrainingError
from scripts.config.experiment import TrainingSettings
from scripts.config.run import Run
from scripts.evaluate import evaluate
from scripts.loading.experiment_data import Data
from scripts.loading.loader import Loader
from scripts.models import build_model
from scripts.train import train, train_or_keep
from scripts.trainer import Trainer
from scripts.training.checkpoints import load_checkpoint, save_checkpoint
from tests.corpus import make_experiment

pytestmark = pytest.mark.usefixtures("quick_reports")

KILLED = """
import os, signal, sys
from scripts import trainer
from scripts.__main__ import main

name, count = sys.argv[1], int(sys.argv[2])
save = trainer.save_checkpoint

def save_or_die(path, state):
    global count
    count -= path.name == name
    if not count:
        path.with_name(f".{path.name}.{os.getpid()}.tmp").write_bytes(b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
    save(path, state)

trainer.save_checkpoint = save_or_die
main(["train", *sys.argv[3:]])
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("corpus"), epochs=3)


@pytest.fixture(scope="module")
def finished(experiment, tmp_path_factory):
    """A finished run and what it returned."""
    root = tmp_path_factory.mktemp("runs")
    return Run("small", root), train(experiment, root=root)


def make_trainer(run: Run | None = None, model=None, **settings) -> Trainer:
    model = model or build_model("cnn4", 3, 32, 32)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    settings = TrainingSettings(device="cpu", **settings)
    return Trainer(model, torch.nn.functional.cross_entropy, optimizer, settings=settings, run=run)


def weights(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.checkpoints.iterdir())}


def test_learns_pitch(finished):
    _, summary = finished
    assert summary["track_accuracy"] == 1.0
    assert summary["tracks"] == 3 and summary["items"] == 15


def test_run_folder_is_complete(finished):
    run, summary = finished
    assert set(weights(run)) == {"best.pt", "last.pt"}
    report = json.loads((run.report / "test.json").read_text())
    assert report["track_accuracy"] == summary["track_accuracy"]
    assert report["machine"]["torch"] == torch.__version__ and report["seed"] == 0
    assert report["split"] == run.load_config()["split"]
    history = pd.read_csv(run.report / "metrics.csv")
    assert history["epoch"].tolist() == [1, 2, 3] and (history["train_loss"].diff().dropna() < 0).all()
    assert {path.name for path in run.report.glob("*.png")} >= {"confusion_matrix.png", "training_curves.png"}


def test_predictions_table_repeats_the_score(finished):
    run, summary = finished
    table = pd.read_csv(run.report / "predictions.csv")
    np.testing.assert_allclose(table.filter(like="p_").sum(axis=1), 1, atol=1e-5)
    assert (table["genre"] == table["predicted"]).mean() == summary["track_accuracy"]
    assert (table.filter(like="p_").idxmax(axis=1).str.removeprefix("p_") == table["predicted"]).all()


def test_tensorboard_has_the_promised_tags(finished):
    events = EventAccumulator(str(finished[0].logs))
    events.Reload()
    scalars = {f"train/{name}" for name in ("batch_loss", "epoch_loss", "epoch_accuracy", "learning_rate")}
    scalars |= {"train/samples_per_second", "test/loss", "test/accuracy", "test/clip_accuracy"}
    scalars |= {f"validation/{name}" for name in ("loss", "clip_accuracy", "track_accuracy")}
    assert scalars <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["test/confusion_matrix"]
    assert "config/text_summary" in events.Tags()["tensors"]
    assert len(events.Scalars("validation/loss")) == 3


def test_config_json_replays_the_run(experiment, finished, tmp_path):
    command = ["-m", "scripts.train", "--config", str(finished[0].config_path), "--runs", str(tmp_path)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    assert weights(Run("small", tmp_path)) == weights(finished[0])


def test_another_seed_gives_other_weights(experiment, finished, tmp_path):
    train(experiment.changed(["seed=1", "epochs=1"]), root=tmp_path)
    other, first = (
        load_checkpoint(run.checkpoints / "best.pt")["model"] for run in (Run("small", tmp_path), finished[0])
    )
    assert not any(torch.equal(other[name], first[name]) for name in other if name.endswith("weight"))


def test_killed_and_resumed_equals_uninterrupted(experiment, tmp_path):
    changed, config = experiment.changed(["epochs=4", "scheduler=cosine", "keep_epochs=1"]), tmp_path / "config.json"
    whole, broken = Run("small", tmp_path / "whole"), Run("small", tmp_path / "broken")
    train(changed, root=whole.root)
    config.write_text(whole.config_path.read_text())
    flags = ["--config", str(config), "--runs", str(broken.root), "--resume"]
    for name, count in (("epoch_002.pt", 1), ("last.pt", 2)):
        killed = subprocess.run([sys.executable, "-c", KILLED, name, str(count), *flags], capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (broken.checkpoints / "epoch_004.pt").exists()
    train(changed, root=broken.root, resume=True)
    assert not [path for path in broken.checkpoints.iterdir() if path.suffix == ".tmp"]
    assert weights(broken) == weights(whole)
    histories = [pd.read_csv(run.report / "metrics.csv").drop(columns="samples_per_second") for run in (whole, broken)]
    pd.testing.assert_frame_equal(*histories)


def test_deterministic_forms_are_taken_where_the_settings_ask_for_it(experiment, finished, tmp_path):
    train(experiment.updated(deterministic=True, epochs=1), root=tmp_path)
    assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
    make_trainer()
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic


def test_weights_and_biases_is_shown_the_training_and_the_test(experiment, tmp_path, monkeypatch):
    """By a stand-in: its run is open before the first event file is made, and until the test is written."""
    with monkeypatch.context() as without, pytest.raises(ConfigError, match="needs the package wandb; install it"):
        without.setattr("importlib.util.find_spec", lambda name: None)
        train(experiment.updated(wandb="offline"), root=tmp_path)
    run, started = Run("small", tmp_path), []

    @contextlib.contextmanager
    def init(**given):
        started.append((given, list(run.logs.glob("events*"))))
        yield
        assert len(list(run.logs.glob("events*"))) == 2
        assert (run.report / "test.json").is_file()
        started.append("ended")

    package = types.ModuleType("wandb")
    package.Error, package.init, package.__spec__ = type("Error", (Exception,), {}), init, ModuleSpec("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", package)
    train(experiment.updated(wandb="offline", epochs=1), root=tmp_path)
    (given, before), ended = started
    assert (given["name"], given["mode"], given["dir"]) == ("small", "offline", tmp_path)
    assert given["sync_tensorboard"] is True and given["config"]["training"]["epochs"] == 1
    assert before == [] and ended == "ended"
    package.init = Mock(side_effect=package.Error("no API key"))
    with pytest.raises(ConfigError, match="wandb=online: no API key; log in with"):
        train(experiment.updated(wandb="online"), root=tmp_path, overwrite=True)


def test_an_operation_without_deterministic_form_is_named(experiment):
    class Puts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(1, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.flatten(1)[:, :1].clone().put_(torch.tensor([0]), torch.ones(1)))

    loader = Loader(Data.load(experiment).items, 8)
    with pytest.raises(TrainingError, match="torch's put_ has no such form on cpu; set deterministic=false"):
        make_trainer(model=Puts(), deterministic=True).fit(loader, None, "last")
    make_trainer(model=Puts(), epochs=1).fit(loader, None, "last")


def test_trains_as_the_plain_method_does():
    """Float32, no dropout, same weights, same batches: the losses of ten steps agree."""
    torch.manual_seed(0)
    reference, model = plain.network(64, 4), build_model("cnn4", 4, 64, dropout=0.0)
    for layer in reference:
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        ours.data.copy_(theirs.data)
    trainer = make_trainer(model=model, precision="float32")
    optimizer = torch.optim.Adam(reference.parameters(), 1e-3)
    for _ in range(10):
        x, y = torch.randn(8, 1, 128, 64), torch.randint(4, (8,))
        loss, *_ = trainer.step(x, y, y)
        assert loss == pytest.approx(plain.train_step(reference, optimizer, x, y), abs=2e-4)


def test_bfloat16_stays_close_to_float32():
    model, x = build_model("cnn4", 8, 259).eval(), torch.randn(4, 1, 128, 259)
    logits = [make_trainer(model=model, precision=name).forward(x).detach() for name in ("float32", "bfloat16")]
    assert (logits[0] - logits[1]).abs().max() < 0.02


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_ensemble_test_equals_the_plain_loop(experiment, precision):
    items = Data.load(experiment).items
    items = items.select((items.tracks["items"] == 5).to_numpy())
    trainer = make_trainer(precision=precision)
    scores = trainer.test(Loader(items, 16))
    trainer.model.eval()
    with torch.no_grad():
        logits = torch.cat([trainer.model(batch.x) for batch in Loader(items, 1)]).numpy()
    np.testing.assert_allclose(scores.logits, logits.reshape(-1, 5, 3).mean(1), atol=1e-5)
    assert scores.clip_accuracy == pytest.approx(np.mean(logits.argmax(1) == items.labels))


def test_a_plain_loader_works_and_an_incomplete_track_fails_by_name():
    x, y = torch.randn(20, 1, 32, 32), torch.zeros(20, dtype=torch.int64)
    track = torch.arange(20) // 10
    trainer = make_trainer()
    assert len(trainer.test([(x, y, track)]).labels) == 2
    with pytest.raises(EnsembleError, match="track 1 has 9 of 10 clips"):
        trainer.test([(x[:19], y[:19], track[:19])])


def test_loss_that_is_not_a_number_stops_and_names_the_tracks(experiment, tmp_path):
    loader = Loader(Data.load(experiment).items.part("train"), 4)
    run = Run("diverged", tmp_path)
    trainer = make_trainer(run, grad_clip=1.0, epochs=1)
    trainer.fit(loader, Loader(Data.load(experiment).items.part("validation"), 4))
    before = weights(run)
    next(trainer.model.parameters()).data.fill_(float("nan"))
    first = loader.items.tracks["track_id"][0]
    with pytest.raises(TrainingError, match=f"tracks {first}.*last good checkpoint"):
        trainer.train(loader, 2)
    assert weights(run) == before


def test_gradient_is_clipped():
    trainer = make_trainer(grad_clip=1e-3)
    trainer.step(torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    norm = torch.stack([parameter.grad.norm() for parameter in trainer.model.parameters()]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=0.01)


class Scripted(Trainer):
    """A trainer whose validation loss follows a list."""

    losses = [1.0, 0.5, 0.7, 0.6, 0.55, 0.4]

    def test(self, loader, epoch=0):
        scores = super().test(loader, epoch)
        return type(scores)(**{**vars(scores), "loss": self.losses[epoch - 1]})


def fit_scripted(run: Run, **settings) -> Scripted:
    x, y = torch.randn(10, 1, 32, 32), torch.zeros(10, dtype=torch.int64)
    model = build_model("cnn4", 3, 32, 32)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min", patience=1)
    settings = TrainingSettings(device="cpu", epochs=6, keep_epochs=2, **settings)
    trainer = Scripted(model, torch.nn.functional.cross_entropy, optimizer, scheduler, settings, run=run)
    trainer.fit([(x, y, y)], [(x, y, y)], metric="loss")
    return trainer


def test_best_is_the_lowest_loss_and_patience_stops(tmp_path):
    run = Run("scripted", tmp_path)
    trainer = fit_scripted(run, patience=3)
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3, 4, 5]
    assert trainer.best_epoch == 2
    saved = weights(run)
    assert saved["best.pt"] == saved["epoch_002.pt"]
    assert list(saved) == ["best.pt", "epoch_002.pt", "epoch_004.pt", "last.pt"]


def test_plateau_scheduler_sees_the_metric(tmp_path):
    rates = [row["learning_rate"] for row in fit_scripted(Run("scripted", tmp_path)).history]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_existing_run_is_not_touched(experiment, finished):
    before = weights(finished[0])
    with pytest.raises(ConfigError, match="--resume"):
        train(experiment, root=finished[0].root)
    with pytest.raises(ConfigError, match="started with another optimizer.learning_rate"):
        train(experiment.changed(["learning_rate=0.1"]), root=finished[0].root, resume=True)
    assert weights(finished[0]) == before


@pytest.mark.parametrize("scheduler", ["none", "StepLR"])
def test_more_epochs_go_on_as_if_they_had_been_asked_for_at_once(experiment, tmp_path, scheduler):
    settings = {"none": {}, "StepLR": {"step_size": 1, "gamma": 0.5}}[scheduler]
    changed = experiment.updated(epochs=3, scheduler={"name": scheduler} | settings)
    fresh, grown = Run("small", tmp_path / "fresh"), Run("small", tmp_path / "grown")
    train(changed, root=fresh.root)
    train(changed.updated(epochs=1), root=grown.root)
    config = json.loads(grown.config_path.read_text())
    del config["experiment"]["training"]["keep_epochs"], config["inherited"]  # as before these were there
    grown.config_path.write_text(json.dumps(config))
    train(changed, root=grown.root, resume=True)
    assert weights(grown) == weights(fresh)
    histories = [pd.read_csv(run.report / "metrics.csv").drop(columns="samples_per_second") for run in (fresh, grown)]
    pd.testing.assert_frame_equal(*histories)


@pytest.mark.parametrize(
    ("start", "changes", "message"),
    [
        ([], ["epochs=2"], "epochs=3, not 2; give as many or more"),
        (["scheduler=cosine"], ["epochs=5"], "the learning rates of the scheduler cosine depend on that number"),
        (["scheduler=OneCycleLR"], ["epochs=5"], "the learning rates of the scheduler OneCycleLR depend"),
        (["average=swa"], ["epochs=5"], "the weights that average=swa averages depend on that number"),
    ],
)
def test_more_epochs_are_refused_where_the_others_depend_on_them(experiment, tmp_path, start, changes, message):
    begun = experiment.changed(start)
    run, data = Run("small", tmp_path), Data.load(begun)
    run.save_config(begun, classes=data.classes, split=data.fingerprint)
    with pytest.raises(ConfigError, match=f"{message}.*--tag NAME.*--overwrite"):
        train(begun.changed(changes), root=tmp_path, resume=True)


def test_a_test_counts_no_longer_once_the_training_goes_on(experiment, finished, tmp_path):
    """Killed while it goes on, the run is not taken for a tested one."""
    shutil.copytree(finished[0].root, tmp_path, dirs_exist_ok=True)
    longer = experiment.changed(["epochs=4"])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", interrupted)
        train_or_keep(longer, "", tmp_path, resume=True, overwrite=False)
    assert not (tmp_path / "reports" / "small" / "test.json").exists()
    train_or_keep(longer, "", tmp_path, resume=True, overwrite=False)
    assert load_checkpoint(tmp_path / "checkpoints" / "small" / "last.pt")["epoch"] == 4


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_evaluate_repeats_the_test(finished):
    run, summary = finished
    assert evaluate(run)["track_accuracy"] == summary["track_accuracy"]
    assert evaluate(run, part="validation")["tracks"] == 3


def test_evaluate_refuses_another_split(experiment, finished, tmp_path):
    table = pd.read_csv(experiment.data.table, dtype={"track_id": "str"})
    swapped = table["split"].replace({"test": "validation", "validation": "test"})
    table.assign(split=swapped).to_csv(tmp_path / "other.csv", index=False)
    run = Run("small", tmp_path)
    config = finished[0].load_config()
    moved = experiment.changed([f'table="{tmp_path}/other.csv"'])
    run.save_config(moved, classes=config["classes"], split=config["split"])
    with pytest.raises(ConfigError, match="now has the split"):
        evaluate(run)


@pytest.mark.parametrize("damage", ["bytes", "foreign", "network", "gone"])
def test_wrong_checkpoint_is_told_in_one_line(experiment, finished, tmp_path, damage):
    run, config = Run("small", tmp_path), finished[0].load_config()
    run.save_config(experiment, classes=config["classes"], split=config["split"])
    run.checkpoints.mkdir(parents=True)
    path = run.checkpoints / "best.pt"
    if damage == "bytes":
        path.write_bytes((finished[0].checkpoints / "best.pt").read_bytes()[:5000])
    elif damage == "foreign":
        torch.save({"weights": Path("x")}, path)
    elif damage == "network":
        save_checkpoint(path, {"epoch": 1, "model": build_model("cnn4", 9, 99).state_dict()})
    with pytest.raises(CheckpointError, match="best.pt"):
        run.load_model()


def test_checkpoints_hold_plain_values_only(finished):
    state = torch.load(finished[0].checkpoints / "last.pt", weights_only=True)
    assert set(state) > {"model", "optimizer", "random", "best_epoch"}
    assert load_checkpoint(finished[0].checkpoints / "best.pt")["epoch"] == state["best_epoch"]
