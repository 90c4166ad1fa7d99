"""The taggers of patches: sizes by hand, layers against plain ones, and what they learn."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from scripts.common.errors import ConfigError
from scripts.models import build_model, count_parameters


def outline(name: str, classes: int = 1000, frames: int = 96, mels: int = 96, **settings) -> nn.Module:
    """The network on the meta device, which computes no values."""
    with torch.device("meta"):
        return build_model(name, classes, frames, mels, **settings)


def test_parameters_of_the_published_tagger() -> None:
    assert count_parameters(outline("coala_tagger", in_channels=1)) == 21_839_466


def test_lean_tagger_has_at_most_a_tenth_of_them() -> None:
    convolutions = sum(9 * inputs * outputs + 3 * outputs for inputs, outputs in PAIRS)
    assert count_parameters(outline("lean_tagger")) == 2 + convolutions + 257 * 1000 <= 2_183_946


PAIRS = [(1, 16), (16, 32), (32, 64), (64, 128), (128, 256)]


def test_a_note_takes_less_than_40_million_macs() -> None:
    with FlopCounterMode(display=False) as counter:
        outline("lean_tagger", 15, 87, 64)(torch.zeros(1, 1, 64, 87, device="meta"))
    sizes = [(64, 87), (32, 43), (16, 21), (8, 10), (4, 5)]
    expected = sum(9 * i * o * mels * frames for (i, o), (mels, frames) in zip(PAIRS, sizes, strict=True)) + 256 * 15
    assert counter.get_total_flops() == 2 * expected < 2 * 40e6


def test_logits_of_the_published_tagger_by_plain_layers() -> None:
    """ReLU before pooling, as published; no sigmoid, which is in the loss."""
    torch.manual_seed(0)
    model = build_model("coala_tagger", 5, 30, 26, width=7).eval()
    first, *stages = [layer for layer in model.backbone if isinstance(layer, nn.Sequential | nn.BatchNorm2d)]
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2)
    clips = torch.rand(2, 1, 26, 30)
    x = first(clips)
    for (convolution, norm, *_), pool in zip(stages, (2, 2, 2, 3), strict=True):
        x = F.max_pool2d(norm(F.conv2d(x, convolution.weight, convolution.bias, padding=1)).relu(), pool)
    assert x.shape == (2, 256, 1, 1)
    (hidden,) = [layer for layer in model.backbone if isinstance(layer, nn.Linear)]
    expected = model.head(hidden(x.flatten(1)).relu())
    torch.testing.assert_close(model(clips), expected)
    assert [layer.p for layer in model.backbone if isinstance(layer, nn.Dropout)] == [0.25]


def test_published_tagger_needs_24_mels_and_frames() -> None:
    with pytest.raises(ConfigError, match="23 mels x 96 frames; coala_tagger needs at least 24"):
        build_model("coala_tagger", 8, 96, 23)


def test_lean_tagger_by_plain_layers() -> None:
    torch.manual_seed(0)
    model = build_model("lean_tagger", 3, 20, 16, channels=(4, 6), pool="average").train()
    first, *stages, _ = model.backbone
    clips = torch.rand(5, 1, 16, 20)
    x = first(clips)
    for convolution, _, norm in stages:
        x = norm(F.max_pool2d(F.conv2d(x, convolution.weight, convolution.bias, padding=1).relu(), 2))
    assert x.shape == (5, 6, 4, 5)
    torch.testing.assert_close(model.embed(clips), x.mean((2, 3)))


def test_lean_tagger_needs_a_row_and_a_frame_after_its_stages() -> None:
    with pytest.raises(ConfigError, match="31 mels x 87 frames; 5 stages need 32 of each"):
        build_model("lean_tagger", 3, 87, 31)


@pytest.mark.parametrize(("mels", "frames"), [(64, 87), (96, 96), (33, 200)])
def test_lean_tagger_takes_any_size(mels: int, frames: int) -> None:
    model = outline("lean_tagger", 3, 87, 64)
    assert model(torch.zeros(2, 1, mels, frames, device="meta")).shape == (2, 3)
    assert model.embed(torch.zeros(2, 1, mels, frames, device="meta")).shape == (2, 256)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("coala_tagger", {"width": 32, "dropout": 0.0}), ("lean_tagger", {"channels": [8, 16], "dropout": 0.0})],
)
def test_training_lowers_the_loss_and_moves_every_weight(name: str, settings: dict) -> None:
    torch.manual_seed(0)
    model = build_model(name, 2, 24, 24, **settings)
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]] * 2)
    x = torch.rand(8, 1, 24, 24) * 0.2
    x[:, 0, 3:6] += y[:, :1, None]
    x[:, 0, 15:18] += y[:, 1:, None]
    start, losses = copy.deepcopy(model.state_dict()), []
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(12):
        losses.append(F.binary_cross_entropy_with_logits(model(x), y))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2
    assert not [key for key, weight in model.named_parameters() if torch.equal(weight, start[key])]
