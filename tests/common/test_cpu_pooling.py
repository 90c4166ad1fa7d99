"""The fused kernel against torch's separate layers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.common.cpu_pooling import PoolReluDropout

FORMATS = [torch.float32, torch.bfloat16]


def torch_way(x: torch.Tensor) -> torch.Tensor:
    return F.relu(F.max_pool2d(x, 2))


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(2, 9), st.integers(2, 9)),
    dtype=st.sampled_from(FORMATS),
    seed=st.integers(0, 10_000),
)
def test_values_and_gradients_equal_torch(shape, dtype, seed):
    torch.manual_seed(seed)
    x = torch.randn(shape).round(decimals=1).to(dtype)  # rounded: equal values must go to the same input
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    layer = PoolReluDropout(0.5).eval()
    y = layer(ours)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    expected = torch_way(theirs)
    expected.backward(gradient)
    assert torch.equal(y, expected)
    assert torch.equal(layer(x), expected)  # without a gradient another kernel works
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
def test_special_values_are_passed_on_as_torch_does(dtype, value):
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    x[0, 1, 2, 3] = value
    x[1] = value
    for one in (x, x.clone().requires_grad_()):
        assert torch.equal(PoolReluDropout(0.0)(one).nan_to_num(7), torch_way(x).nan_to_num(7))


def test_dropout_zeroes_the_share_and_scales_the_rest():
    x = torch.rand(8, 16, 64, 64) + 0.5
    torch.manual_seed(1)
    y, kept_all = PoolReluDropout(0.2).train()(x), torch_way(x)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(0.8, abs=0.005)
    torch.testing.assert_close(y[kept], kept_all[kept] / 0.8)


def test_gradient_flows_only_through_kept_maxima():
    torch.manual_seed(2)
    x = torch.randn(2, 4, 8, 8).requires_grad_()
    y = PoolReluDropout(0.5).train()(x)
    y.sum().backward()
    assert x.grad.count_nonzero() == y.count_nonzero()
    assert set(x.grad.unique().tolist()) == {0.0, 2.0}


def test_mask_follows_torchs_seed_and_not_the_threads():
    x, layer = torch.rand(4, 16, 32, 32), PoolReluDropout(0.3).train()
    masks, threads = [], torch.get_num_threads()
    for count in (threads, 1):
        torch.set_num_threads(count)
        torch.manual_seed(5)
        masks.append(layer(x) != 0)
    torch.set_num_threads(threads)
    assert torch.equal(*masks)
    assert not torch.equal(layer(x) != 0, masks[0])


def test_neighbouring_masks_are_independent():
    x, layer = torch.ones(16, 16, 64, 64), PoolReluDropout(0.5).train()
    torch.manual_seed(3)
    first, second = ((layer(x) != 0).flatten().numpy().astype(float) for _ in range(2))
    limit = 5 / np.sqrt(len(first))
    assert abs(np.corrcoef(first, second)[0, 1]) < limit
    for shift in (1, 2, 16, 32 * 16):
        assert abs(np.corrcoef(first[shift:], first[:-shift])[0, 1]) < limit


def test_torch_keeps_its_number_of_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        layer = PoolReluDropout(0.2)
        layer(torch.randn(2, 4, 8, 8, requires_grad=True)).sum().backward()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_torch_keeps_its_number_of_threads_at_the_first_launch():
    """In a process of its own: numba launches its threads once."""
    lines = (
        "import torch",
        "from scripts.models import build_model",
        "torch.set_num_threads(1)",
        "build_model('cnn4', 8, 64, 32)(torch.zeros(2, 1, 32, 64))",
        "print(torch.get_num_threads())",
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", "; ".join(lines)], capture_output=True, text=True, cwd=root)
    assert result.stdout.strip() == "1"
