"""Sweeps: the space as text, the search on validation alone, going on after a kill."""

import dataclasses

import pytest

from scripts.common.errors import ConfigError
from scripts.sweep import finished, give_up_unfinished, parse_space, sweep
from tests.corpus import make_experiment

optuna = pytest.importorskip("optuna")


def test_three_forms_of_a_range():
    space = parse_space(["learning_rate=log:1e-4:1e-2", "epochs=2:5", "model_settings.norm=none,batch"])
    assert space["learning_rate"] == (1e-4, 1e-2, True)
    assert space["epochs"] == (2, 5, False)
    assert space["model_settings.norm"] == ["none", "batch"]


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


def test_a_killed_trial_does_not_count(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    study.tell(study.ask(), 1.0)
    study.ask()
    give_up_unfinished(study)
    assert len(finished(study)) == 1


def test_needs_a_validation_score(tmp_path):
    experiment = dataclasses.replace(make_experiment(tmp_path), metric="last")
    with pytest.raises(ConfigError, match="looks at none"):
        sweep(experiment, {"epochs": (1, 2, False)}, 1, root=tmp_path)
