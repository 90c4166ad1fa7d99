"""Several processes that train one network: what one process does, in shares; errors, kills and going on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scripts.common.errors import ConfigError
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.loading.experiment_data import Data
from scripts.train import check_ranks, train
from scripts.training.checkpoints import load_checkpoint
from tests.corpus import CHORDS, make_chords, make_experiment

ROOT = Path(__file__).resolve().parents[1]
KILLED = """
import os, signal, sys
from pathlib import Path
from scripts.__main__ import main
from scripts.trainer import Trainer

killed, train = Path(sys.argv[1]), Trainer.train

def train_or_die(trainer, loader, epoch):
    if epoch == 3 and os.environ["RANK"] == "1" and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return train(trainer, loader, epoch)

Trainer.train = train_or_die
main(["train", *sys.argv[2:]])
"""
OTHER_VERSION = """
import atexit, os, sys
import torch
from scripts.__main__ import main

atexit.register(os.abort)  # as torch's threads do by chance where a process group still stands
torch.__version__ = "2." + os.environ["RANK"]
main(["train", *sys.argv[1:]])
"""
EXACT = {"threads": 1, "precision": "float32", "model": {"name": "cnn4", "norm": "none", "dropout": 0.0}}
EXACT["optimizer"] = {"name": "Adam", "eps": 1e-6}  # below, it makes steps of what rounding leaves of a gradient of 0
OF_CLOCK = "samples_per_second"


def start(ranks: int, *arguments: object) -> list[str]:
    """The command that starts so many ranks on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return [*launcher, *map(str, arguments)]


def script(folder: Path, text: str) -> Path:
    """A file that finds the project's modules wherever it lies."""
    path = folder / "script.py"
    path.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{text}")
    return path


def train_flags(experiment: Experiment, root: Path, *more: str) -> list[object]:
    """The flags of `train` for an experiment that has no name of its own."""
    config = root.with_suffix(".json")
    config.write_text(json.dumps({"experiment": experiment.as_dict(), "classes": [], "split": ""}))
    return ["--config", config, "--runs", root, *more]


def assert_same_run(run: Run, other: Run) -> None:
    """Weights within 1e-5, and history and test as far as their numbers follow from the weights."""
    for name in ("best.pt", "last.pt"):
        one, two = (load_checkpoint(each.checkpoints / name)["model"] for each in (run, other))
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    one, two = (pd.read_csv(each.report / "metrics.csv").drop(columns=OF_CLOCK) for each in (run, other))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4, atol=1e-5)
    one, two = (json.loads((each.report / "test.json").read_text()) for each in (run, other))
    assert_same_numbers(one, two)
    one, two = (pd.read_csv(each.report / "predictions.csv") for each in (run, other))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4, atol=1e-5)


def assert_same_numbers(one: object, two: object) -> None:
    """The same, but for the last digits of numbers."""
    if isinstance(one, dict) and isinstance(two, dict):
        assert one.keys() == two.keys()
        for key in one.keys() - {"machine"}:
            assert_same_numbers(one[key], two[key])
    elif isinstance(one, list) and isinstance(two, list):
        assert len(one) == len(two)
        for first, second in zip(one, two, strict=True):
            assert_same_numbers(first, second)
    elif isinstance(one, float) and isinstance(two, float):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    else:
        assert one == two


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return make_experiment(tmp_path_factory.mktemp("corpus"), **EXACT)


def test_two_ranks_equal_one_process(experiment, tmp_path):
    train(experiment, root=tmp_path / "one")
    command = start(2, "-m", "scripts.train", *train_flags(experiment, tmp_path / "two"))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert_same_run(Run("small", tmp_path / "one"), Run("small", tmp_path / "two"))
    assert done.stdout.count("epoch   2") == 1 and "2 ranks share each batch of 8" in done.stdout


def test_three_ranks_equal_one_process_whatever_is_trained(experiment, tmp_path):
    """Uneven and empty shares, weights of classes and labels, unknown labels, mixing, crops, frozen parts, averages."""
    table = make_chords(tmp_path / "chords", absent=True)
    chords = Experiment(name="chords", table=str(table), cache=str(table.parent / "mels"), epochs=2, **CHORDS)
    chords = chords.updated(EXACT, batch_size=7, learning_rate=1e-3)
    loss = {"name": "CrossEntropyLoss", "class_weights": "balanced", "label_smoothing": 0.1}
    augment = {"mixup": {}, "tempo": {}, "frequency_mask": {}}
    average, sgd = {"name": "ema"}, {"name": "SGD"}
    committee = {"name": "committee", "network": "cnn4", "settings": {"dropout": 0.0}}
    experiments = [
        experiment.updated(name="weights", loss=loss, batch_size=29, grad_clip=0.1, scheduler="OneCycleLR"),
        experiment.updated(name="mixup", unit="crop", augment=augment, batch_size=59, average=average),
        experiment.updated(name="frozen", frozen_epochs=1, sampling="balanced", optimizer=sgd, model=committee),
        chords.updated(name="unknown", loss={"name": "focal", "class_weights": "balanced"}),
        chords.updated(name="mixed", mix={"max_sources": 2}, scheduler="plateau", patience=1),
    ]
    (tmp_path / "all.json").write_text(json.dumps([one.as_dict() for one in experiments]))
    subprocess.run(start(3, "-m", "tests.rank_runs", tmp_path / "all.json", tmp_path / "three"), check=True)
    for one in experiments:
        train(one, root=tmp_path / "one")
        assert_same_run(Run(one.name, tmp_path / "one"), Run(one.name, tmp_path / "three"))


def test_a_killed_rank_ends_all_and_they_go_on(experiment, tmp_path):
    """What dropout draws in each rank goes on, too: the weights are those of a training that nobody killed."""
    changed = experiment.updated({"epochs": 4, "model.dropout": 0.3, "model.norm": "batch", "metric": "loss"})
    path, killed = script(tmp_path, KILLED), tmp_path / "killed"
    command = start(2, path, killed, *train_flags(changed, tmp_path / "broken", "--resume"))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode and "SIGKILL" in done.stderr and "epoch   2" in done.stdout
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "epoch   2" not in done.stdout and done.stdout.count("epoch   4") == 1
    subprocess.run(start(2, path, killed, *train_flags(changed, tmp_path / "whole")), check=True)
    for name in ("best.pt", "last.pt"):
        one, two = (tmp_path / root / "checkpoints" / "small" / name for root in ("whole", "broken"))
        assert one.read_bytes() == two.read_bytes()


def test_ranks_with_different_versions_of_torch_are_refused_in_a_line(experiment, tmp_path):
    command = start(2, script(tmp_path, OTHER_VERSION), *train_flags(experiment, tmp_path / "runs"))
    done = subprocess.run(command, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: rank 1 has torch 2.1, rank 0 has 2.0; give all ranks the same"]
    assert done.returncode and "exitcode  : 2" in done.stderr and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 2}, "3 ranks for batches of 2 items; start fewer"),
        ({"loss": "triplet"}, "loss=triplet compares the embeddings of a whole batch"),
        ({"loss": "arcface"}, "loss=arcface compares"),
    ],
)
def test_what_ranks_cannot_share_is_refused(experiment, monkeypatch, changes, message):
    data = Data.load(experiment)
    monkeypatch.setattr("scripts.train.ranks", lambda: 3)
    check_ranks(experiment, data)
    with pytest.raises(ConfigError, match=message):
        check_ranks(experiment.updated(changes), data)
