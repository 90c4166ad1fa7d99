"""Sweeps: the space as text, the search on validation alone, going on after a kill."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from scripts.common.errors import ConfigError
from scripts.config.run import Run
from scripts.loading.experiment_data import Data, data_settings
from scripts.sweep import finished, main, open_storage, optimize_one, parse_space, sweep
from scripts.tables.splits import fingerprint
from tests.corpus import make_experiment

optuna = pytest.importorskip("optuna")


def test_three_forms_of_a_range():
    space = parse_space(["learning_rate=log:1e-4:1e-2", "epochs=2:5", "model.norm=none,batch"])
    assert space["learning_rate"] == (1e-4, 1e-2, True)
    assert space["epochs"] == (2, 5, False)
    assert space["model.norm"] == ["none", "batch"]


@pytest.mark.parametrize("text", ["epochs", "epochs=3", "epochs=5:2", "learning_rate=log:0:1", "epochs=log:1,2"])
def test_other_forms_are_refused(text):
    with pytest.raises(ConfigError, match="give NAME=LOW:HIGH"):
        parse_space([text])


def test_searches_validation_and_goes_on_where_it_stopped(tmp_path):
    experiment = make_experiment(tmp_path, epochs=1, metric="loss")
    space = parse_space(["learning_rate=1e-30,0.003"])
    first = sweep(experiment, space, trials=2, root=tmp_path / "runs")
    best = sweep(experiment, space, trials=5, root=tmp_path / "runs")
    assert (first["trials"], best["trials"]) == (2, 5)
    assert best["settings"] == ["learning_rate=0.003"]  # the other one learns nothing
    folder = tmp_path / "runs" / "sweeps" / "small"
    assert len(list(folder.glob("reports/trial*/metrics.csv"))) == 5
    assert not list(folder.glob("reports/*/test.json")) and not list(folder.glob("checkpoints/*"))


def test_data_is_loaded_anew_where_a_swept_setting_changes_it(tmp_path):
    experiment = make_experiment(tmp_path, epochs=1, metric="loss")
    table = pd.read_csv(experiment.data.table, dtype=str)
    swapped = table["split"].replace({"test": "validation", "validation": "test"})
    table.assign(split=swapped).to_csv(tmp_path / "swapped.csv", index=False)
    sweep(experiment, {"table": [experiment.data.table, str(tmp_path / "swapped.csv")]}, 4, root=tmp_path / "runs")
    configs = [json.loads(path.read_text()) for path in tmp_path.glob("runs/sweeps/small/reports/*/config.json")]
    found = {(Path(config["experiment"]["data"]["table"]).name, config["split"]) for config in configs}
    expected = {
        Path(name).name: fingerprint(pd.read_csv(name, dtype=str))
        for name in (experiment.data.table, tmp_path / "swapped.csv")
    }
    assert found == set(expected.items())


def test_data_depends_on_its_settings_alone(tmp_path):
    experiment, read = make_experiment(tmp_path, fold={"num_folds": 3, "number": 1, "by": "artist"}), set()

    class Watched:
        def __getattr__(self, name):
            read.add(name)
            return getattr(experiment, name)

    Data.load(Watched())
    assert read == {"task", "data", "features", "test"}
    for change in ({"overrides": "other.csv"}, {"fold.number": 2}, {"spec.n_mels": 40}, {"metric": "last"}):
        assert data_settings(experiment.updated(change)) != data_settings(experiment)
    assert data_settings(experiment.updated(learning_rate=1.0)) == data_settings(experiment)


def test_a_study_keeps_to_its_experiment_ranges_and_table(tmp_path):
    experiment = make_experiment(tmp_path, epochs=1, metric="loss")
    sweep(experiment, {"batch_size": [8, 16]}, 1, root=tmp_path)
    for changed, space, name in ((experiment.changed(["epochs=2"]), {"batch_size": [8, 16]}, "training.epochs"),
                                 (experiment, {"batch_size": [8, 32]}, "space.batch_size")):  # fmt: skip
        with pytest.raises(ConfigError, match=f"study.db was started with another {name}; .*--tag NAME"):
            sweep(changed, space, 2, root=tmp_path)
    table = pd.read_csv(experiment.data.table, dtype=str)
    table.loc[table["track_id"] == "0", ["genre", "class"]] = ["Mid", "2"]
    table.to_csv(experiment.data.table, index=False)
    with pytest.raises(ConfigError, match="study.db was started with another labels; "):
        sweep(experiment, {"batch_size": [8, 16]}, 2, root=tmp_path)


def test_devices_share_a_study(tmp_path):
    experiment = make_experiment(tmp_path, epochs=1, metric="loss")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"experiment": experiment.as_dict(), "classes": [], "split": ""}))
    flags = ["--config", str(config), "--runs", str(tmp_path), "--trials", "3", "--space", "batch_size=8,16"]
    main([*flags, "--devices", "cpu,cpu"])
    assert sorted(states(tmp_path / "sweeps" / "small")) == [(number, "COMPLETE") for number in range(3)]


WORKER = """
import sys
from pathlib import Path
from scripts import sweep
from scripts.config.experiment import Experiment
from scripts.config.run import read_config

config, root, blocks = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "blocks"
sweep.POLL, fit = 0.1, sweep.fit

def blocked(changed, data, run, overwrite):
    (run.checkpoints / "half.pt").parent.mkdir(parents=True)
    (run.checkpoints / "half.pt").touch()
    sys.stdin.read()

sweep.fit = blocked if blocks else fit
experiment = Experiment.from_dict(read_config(config)["experiment"])
sweep.sweep(experiment, {"batch_size": [8, 16]}, 2, root=root)
"""


def test_processes_share_a_study_and_one_is_killed(tmp_path):
    experiment = make_experiment(tmp_path, epochs=1, metric="loss")
    run, folder = Run("config", tmp_path), tmp_path / "sweeps" / "small"
    run.save_config(experiment, classes=[], split="")
    started = [
        subprocess.Popen([sys.executable, "-c", WORKER, run.config_path, tmp_path, how], stdin=subprocess.PIPE)
        for how in ("blocks", "works")
    ]
    blocking, working = started
    try:
        wait_until(lambda: folder.glob("checkpoints/*/half.pt"), *started)
        (half,) = folder.glob("checkpoints/*/half.pt")
        stuck = int(half.parent.name.removeprefix("trial"))
        wait_until(lambda: [state for _, state in states(folder) if state == "COMPLETE"], *started)
        assert dict(states(folder))[stuck] == "RUNNING" and working.poll() is None, "a living one is waited for"
        blocking.kill()
        blocking.wait()
        with sqlite3.connect(folder / "study.db", timeout=60) as database:  # long ago
            database.execute("update trial_heartbeats set heartbeat = '2020-01-01 00:00:00'")
        assert working.wait() == 0
    finally:
        for process in started:
            process.kill()
    assert sorted(state for _, state in states(folder)) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert dict(states(folder))[stuck] == "FAIL" and not half.exists()


def wait_until(condition, *processes):
    while not list(condition()):
        assert all(process.poll() is None for process in processes)


def states(folder):
    """Number and state of each trial."""
    with sqlite3.connect(folder / "study.db", timeout=60) as database:
        return database.execute("select number, state from trials").fetchall()


def test_a_trial_that_died_before_its_first_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.sweep.GRACE", 1)
    monkeypatch.setattr("scripts.sweep.POLL", 0.2)
    monkeypatch.setattr("scripts.sweep.fit", lambda *arguments, **options: pd.DataFrame({"validation_loss": [1.0]}))
    experiment = make_experiment(tmp_path, epochs=1, metric="loss")
    folder = tmp_path / "sweeps" / "small"
    folder.mkdir(parents=True)
    optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="small").ask()
    assert sweep(experiment, {"batch_size": [8, 16]}, 1, root=tmp_path)["trials"] == 1
    assert states(folder) == [(0, "FAIL"), (1, "COMPLETE")]


def test_a_trial_that_others_gave_up_does_not_count(tmp_path, capsys):
    study = optuna.create_study(storage=open_storage(tmp_path))

    def given_up(trial):
        study._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
        return 1.0

    optimize_one(study, given_up)
    assert "given up by another process" in capsys.readouterr().out and not finished(study)
    with pytest.raises(ValueError, match="of the training"):
        optimize_one(study, lambda trial: int("of the training"))


def test_needs_a_validation_score(tmp_path):
    experiment = make_experiment(tmp_path).updated(metric="last")
    with pytest.raises(ConfigError, match="looks at none"):
        sweep(experiment, {"epochs": (1, 2, False)}, 1, root=tmp_path)
