"""The networks: sizes, switches, and the same function as the textbook's order of layers."""

import subprocess
import sys

import pytest
import torch

from benchmarks import plain
from scripts.analysis.networks import main, summarise
from scripts.common.errors import ConfigError
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


def test_more_input_channels():
    model = build_model("cnn4", 5, 40, 32, in_channels=3)
    assert count_parameters(model) - count_parameters(build_model("cnn4", 5, 40, 32)) == 2 * 9 * 16
    assert model(torch.randn(2, 3, 32, 40)).shape == (2, 5)


def test_average_pooling_takes_any_length():
    model = build_model("cnn4", 5, 64, pool="average").eval()
    assert model(torch.randn(1, 1, 128, 200)).shape == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cnn_4"}, "did you mean 'cnn4'"),
        ({"name": "cnn4", "norms": "batch"}, "did you mean 'norm'"),
        ({"name": "cnn4", "norm": "layer"}, "unknown norm 'layer'"),
        ({"name": "cnn4", "frames": 10}, "128 mels x 10 frames"),
        ({"name": "cnn4", "width": 0}, "a layer of size 0"),
        ({"name": "cnn4", "width": "wide"}, "cnn4 cannot be built with {'width': 'wide'}"),
    ],
)
def test_wrong_settings_say_what_is_allowed(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_model(**{"classes": 8, "frames": 259, **arguments})


def test_importing_the_models_imports_no_heavy_library():
    code = "import sys, scripts.models; print(sorted({'timm', 'transformers', 'torchvision'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- python -m scripts networks -------------------------------------------------------------------------------


def test_summary_counts_what_can_be_worked_out_by_hand():
    table = summarise(["cnn4", "mlp"], 8, 64, 32, torch.device("cpu")).set_index("name")
    convolutions = 9 * (32 * 64 * 16 + 16 * 32 * 16 * 32 + 8 * 16 * 32 * 64 + 4 * 8 * 64 * 128)
    assert table.loc["cnn4", "macs"] == convolutions + 128 * 2 * 4 * 128 + 128 * 8
    assert table.loc["mlp", "macs"] == 32 * 64 * 256 + 256 * 64 + 64 * 8
    assert table.loc["mlp", "parameters"] == table.loc["mlp", "macs"] + 256 + 64 + 8
    assert (table["ms_per_clip"] > 0).all()


def test_the_command_sorts_by_parameters(capsys):
    main(["short_chunk", "cnn4", "secnn", "--classes", "5", "--frames", "40", "--mels", "32", "--markdown"])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[2:5]] == ["cnn4", "secnn", "short_chunk"]
    assert [int(line[1].replace(",", "")) for line in lines[2:5]] == sorted(
        count_parameters(build_model(name, 5, 40, 32)) for name in ("cnn4", "secnn", "short_chunk")
    )
    assert "cpu" in lines[-1][0]


def test_the_module_is_the_command():
    arguments = [sys.executable, "-m", "scripts", "networks", "mlp", "cnn4", "--frames", "32", "--mels", "32"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()[:3]] == ["network", "cnn4", "mlp"]


def test_an_unknown_name_is_one_line(refusal):
    assert "did you mean 'secnn'" in refusal(main, ["secn"])
