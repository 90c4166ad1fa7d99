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
    changes = ["epochs=10", "learning_rate=1", "grad_clip=0.5", "spec.n_mels=64", "model.norm=batch"]
    changed = get_experiment("fma_cnn_3s").changed([*changes, "patience=null", "device=cpu"])
    training = changed.training
    assert (training.epochs, changed.optimizer.learning_rate, training.grad_clip, training.patience) == (
        10,
        1,
        0.5,
        None,
    )
    assert changed.features.spec.n_mels == 64
    assert changed.model.keywords == {"norm": "batch", "pool": "flatten"}
    assert get_experiment("fma_cnn_3s").features.spec.n_mels == 128


def test_the_network_inside_a_network_may_have_its_earlier_name():
    inside = {"of": "lora", "settings": {"of": "ast"}}
    old = {"name": "own", "table": "own.csv", "cache": "mels", "model": "fluffy", "model_settings": inside}
    assert Experiment.from_dict(old).model.keywords == {"network": "lora", "settings": {"network": "ast"}}
    experiment = get_experiment("irmas_ast_lora").changed(["model.of=wav2vec2"])
    assert experiment.model.keywords["network"] == "wav2vec2"


def test_earlier_names_of_settings_are_taken():
    changes = ["fold.of=3", "fold.number=1", "spec.hop=256", "spec.least_seconds=0.5", "mix.least=2", "mix.how=sum"]
    changed = get_experiment("philharmonia_polyphony").changed(changes)
    assert changed.data.fold.num_folds == 3
    assert (changed.features.spec.hop_length, changed.features.spec.min_seconds) == (256, 0.5)
    assert changed.mix["min_sources"] == 2 and changed.mix["mode"] == "sum"
    assert Experiment.from_dict(changed.as_dict()) == changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epochs", "has no '='"),
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=many", 'training.epochs is "many"; it should be a valid integer'),
        ("epochs=1.5", "training.epochs is 1.5"),
        ("epochs=-1", "greater than or equal to 0"),
        ("batch_size=true", "training.batch_size is true"),
        ("training.epoch=3", "did you mean 'epochs'"),
        ("spec.mels=3", "unknown setting 'mels'"),
        ("scheduler=cosin", "did you mean 'cosine'"),
        ("unit=song", "unknown unit"),
        ("model=3", "model is 3; it should be a valid dictionary$"),
        ("augment.mixup=3", "augment.mixup is 3"),
        ("seed=-1", "training.seed is -1"),
        ("threads=0", "training.threads is 0"),
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
        assert demo.data.table.startswith("data/demo/") and demo.data.cache == "data/demo/mels"
        assert (demo.model.name, demo.model.keywords, demo.features.spec) == (
            real.model.name,
            real.model.keywords,
            real.features.spec,
        )


def test_labels_are_a_list_of_names():
    experiment = get_experiment("philharmonia_polyphony")
    assert experiment.changed(['labels=["bell", "brass"]']).data.labels == ["bell", "brass"]
    for text in ("bell", "[1, 2]", '{"bell": 1}', "true"):
        with pytest.raises(ConfigError, match="data.labels.* is .*; it should be a valid"):
            experiment.changed([f"labels={text}"])
