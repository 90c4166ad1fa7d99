"""The networks: sizes, switches, and the same function as the textbook's order of layers."""

import pytest
import torch

from benchmarks import plain
from scripts.errors import ConfigError
from scripts.models import build_model, count_parameters


def copy_weights(source: torch.nn.Module, target: torch.nn.Module) -> None:
    for ours, theirs in zip(target.parameters(), source.parameters(), strict=True):
        ours.data.copy_(theirs.data)


def test_parameter_counts():
    assert count_parameters(build_model("cnn4", 8, 259)) == 2_195_464
    assert count_parameters(build_model("cnn4", 8, 2584)) == 97_152 + (164_864 + 1) * 128 + 129 * 8
    assert count_parameters(build_model("cnn4", 8, 2584, pool="average")) == 97_152 + 129 * 128 + 129 * 8
    assert count_parameters(build_model("cnn4", 8, 259, norm="batch")) == 2_195_464 + 2 * (16 + 32 + 64 + 128)


def test_same_function_as_the_plain_network():
    reference, model = plain.network(259, 8).eval(), build_model("cnn4", 8, 259).eval()
    copy_weights(reference, model)
    x = torch.randn(3, 1, 128, 259)
    torch.testing.assert_close(model(x), reference(x), atol=1e-5, rtol=1e-5)


def test_same_gradients_as_the_plain_network():
    reference, model = (net.train() for net in (plain.network(64, 4), build_model("cnn4", 4, 64, dropout=0.0)))
    for layer in reference:
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    copy_weights(reference, model)
    x, y = torch.randn(4, 1, 128, 64), torch.tensor([0, 1, 2, 3])
    for net in (reference, model):
        torch.nn.functional.cross_entropy(net(x), y).backward()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("pool", ["flatten", "average"])
def test_every_switch_gives_logits_and_embeddings(norm, pool):
    model = build_model("cnn4", 5, 40, 32, norm=norm, pool=pool, width=24)
    x = torch.randn(2, 1, 32, 40)
    assert model(x).shape == (2, 5)
    assert model.embed(x).shape == (2, 24)
    model.eval()
    torch.testing.assert_close(model.head(model.embed(x)), model(x))


def test_average_pooling_takes_any_length():
    model = build_model("cnn4", 5, 64, pool="average").eval()
    assert model(torch.randn(1, 1, 128, 200)).shape == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cnn5"}, "did you mean 'cnn4'"),
        ({"name": "cnn4", "norms": "batch"}, "did you mean 'norm'"),
        ({"name": "cnn4", "norm": "layer"}, "unknown norm 'layer'"),
        ({"name": "cnn4", "frames": 10}, "128 mels x 10 frames"),
    ],
)
def test_wrong_settings_say_what_is_allowed(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_model(**{"classes": 8, "frames": 259, **arguments})
