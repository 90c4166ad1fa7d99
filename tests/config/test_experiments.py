"""Experiments: changing settings from text, replaying them, the demo twins."""

import json

import pytest

from scripts.common.errors import ConfigError
from scripts.config.experiment import Experiment
from scripts.config.experiments import EXPERIMENTS, get_experiment


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_survives_json(name):
    experiment = EXPERIMENTS[name]
    assert Experiment.from_dict(json.loads(json.dumps(experiment.as_dict()))) == experiment


def test_changes_reach_every_level():
    changes = ["epochs=10", "learning_rate=1", "grad_clip=0.5", "spec.n_mels=64", "model_settings.norm=batch"]
    changed = get_experiment("fma_cnn_3s").changed([*changes, "patience=null", "device=cpu"])
    assert (changed.epochs, changed.learning_rate, changed.grad_clip, changed.patience) == (10, 1.0, 0.5, None)
    assert changed.spec.n_mels == 64
    assert changed.model_settings == {"norm": "batch", "pool": "flatten"}
    assert get_experiment("fma_cnn_3s").spec.n_mels == 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epochs", "has no '='"),
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=many", "epochs=many"),
        ("epochs=1.5", "epochs=1.5"),
        ("epochs=-1", "at least 0"),
        ("batch_size=true", "batch_size=true"),
        ("spec.mels=3", "unknown setting 'mels'"),
        ("scheduler=cosin", "did you mean 'cosine'"),
        ("unit=song", "unknown unit"),
        ("model_settings=3", "model_settings=3"),
    ],
)
def test_wrong_changes_say_what_is_allowed(change, message):
    with pytest.raises(ConfigError, match=message):
        get_experiment("fma_cnn_3s").changed([change])


def test_unknown_experiment_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'fma_cnn_3s'"):
        get_experiment("fma_cnn3s")


def test_demo_twins_differ_in_data_only():
    for name in ("cnn_30s", "cnn_3s"):
        real, demo = get_experiment(f"fma_{name}"), get_experiment(f"demo_{name}")
        assert demo.table.startswith("data/demo/") and demo.cache == "data/demo/mels"
        assert (demo.model, demo.model_settings, demo.spec) == (real.model, real.model_settings, real.spec)


def test_labels_are_a_list_of_names():
    experiment = get_experiment("philharmonia_polyphony")
    assert experiment.changed(['labels=["bell", "brass"]']).labels == ["bell", "brass"]
    for text in ("bell", "[1, 2]", '{"bell": 1}', "true"):
        with pytest.raises(ConfigError, match="labels=.*: not of the kind list"):
            experiment.changed([f"labels={text}"])
