"""Max-pooling, ReLU and dropout of a convolution block, on the CPU in one pass over memory.

Torch takes three passes forward and three back, and eight bytes of index for every two-byte value; on two cores
that costs more than the convolutions. Here the maximum is taken on the bit patterns: for numbers that are not
negative, IEEE floats and signed integers of the same width have the same order, and ReLU replaces all others by
zero. So one kernel serves float32 and bfloat16. Values and gradients equal torch's exactly; the dropout mask is
a hash of (a seed drawn from torch's generator, the element's index), so it does not depend on threads.
"""

from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
Word = np.int32 | np.int16  # the bits of a number
NEGATIVE_INFINITY: dict[torch.dtype, Word] = {torch.float32: np.int32(-0x0080_0000), torch.bfloat16: np.int16(-0x0080)}
WITHOUT_SIGN: dict[torch.dtype, Word] = {torch.float32: np.int32(0x7FFF_FFFF), torch.bfloat16: np.int16(0x7FFF)}
DROPPED = np.uint8(4)  # 0-3: which of the four inputs was passed on
POOLING = repr(nn.MaxPool2d(2))
u32 = np.uint32


class PoolReluDropout(nn.Module):
    """Max-pooling 2 x 2, ReLU, dropout: [batch, channels, mels, frames] -> [batch, channels, mels / 2, frames / 2].

    Pooling before ReLU gives what ReLU before pooling gives, on a quarter of the numbers.

    Parameters
    ----------
    p : share of values set to zero in training; the others are divided by 1 - p.

    Raises
    ------
    ValueError : `p` is not at least 0 and below 1.
    """

    def __init__(self, p: float = 0.2) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout is {p}; give 0 up to, but not including, 1")
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.p if self.training else 0.0
        if x.device.type == "cpu" and x.dtype in BITS:
            return FusedPool.apply(x, p) if p or x.requires_grad else pool_and_relu(x)
        return F.dropout(F.relu(F.max_pool2d(x, 2)), p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def use_cpu_kernels(network: nn.Module) -> None:
    """Put one `PoolReluDropout` in the place of each ReLU, max-pooling 2 x 2 and dropout (if any) in a row.

    The network's weights keep their names, and its values and gradients stay what they were; only which values
    dropout chooses differs.
    """
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place in range(len(layers) - 1):
            relu, pooling, *rest = list(layers)[place : place + 3]
            if not isinstance(relu, nn.ReLU) or not isinstance(pooling, nn.MaxPool2d) or repr(pooling) != POOLING:
                continue
            dropout = rest[0] if rest and isinstance(rest[0], nn.Dropout) and rest[0].p < 1 else None
            layers[place] = PoolReluDropout(dropout.p if dropout else 0.0).train(layers.training)
            layers[place + 1] = nn.Identity()
            if dropout:
                layers[place + 2] = nn.Identity()


def pool_and_relu(x: torch.Tensor) -> torch.Tensor:
    """Max-pooling 2 x 2 and ReLU without a record for a gradient, which costs more than the rest."""
    use_torchs_threads()
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    y = empty_like(x, (batch, channels, height // 2, width // 2))
    pool_values(bits(x), bits(y), NEGATIVE_INFINITY[x.dtype], WITHOUT_SIGN[x.dtype])
    return y


class FusedPool(torch.autograd.Function):
    """The CPU's way, for tensors in channels-last memory (others are converted)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, p: float) -> torch.Tensor:
        use_torchs_threads()
        x = x.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = x.shape
        y = empty_like(x, (batch, channels, height // 2, width // 2))
        choice = torch.empty(y.shape, dtype=torch.uint8, memory_format=torch.channels_last)
        keys = torch.randint(0, 2**32, (2,)).tolist() if p else (0, 0)
        limit = round(p * 2**32)
        special = NEGATIVE_INFINITY[x.dtype], WITHOUT_SIGN[x.dtype]
        pool(bits(x), bits(y), to_channels_last(choice).numpy(), *special, u32(limit), *map(u32, keys))
        ctx.save_for_backward(choice)
        ctx.shape, ctx.p = x.shape, p
        return y.mul_(1 / (1 - p)) if p else y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        use_torchs_threads()
        (choice,) = ctx.saved_tensors
        if ctx.p:
            gradient = gradient * (1 / (1 - ctx.p))
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        result = empty_like(gradient, ctx.shape)
        unpool(bits(gradient), to_channels_last(choice).numpy(), bits(result))
        return result, None


def use_torchs_threads() -> None:
    """numba shares OpenMP with torch: its first launch, and another number of threads, would change torch's."""
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    torch.set_num_threads(threads)


def empty_like(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """[batch, channels, height, width] in channels-last memory -> [batch, height, width, channels]."""
    return x.detach().permute(0, 2, 3, 1)


def bits(x: torch.Tensor) -> np.ndarray:
    """The bit patterns as integers, sharing memory: [batch, height, width, channels]."""
    return to_channels_last(x).view(BITS[x.dtype]).numpy()


@numba.njit(inline="always")
def mix(h: u32) -> u32:
    """A bijective hash of 32 bits in which every input bit reaches every output bit."""
    h = u32((h ^ (h >> u32(16))) * u32(0x7FEB352D))
    h = u32((h ^ (h >> u32(15))) * u32(0x846CA68B))
    return u32(h ^ (h >> u32(16)))


@numba.njit(inline="always")
def positive_nan(value: Word, negative_infinity: Word, without_sign: Word) -> Word:
    """Take the sign off a NaN, so that it counts as larger than any number."""
    return value & without_sign if negative_infinity < value < 0 else value


@numba.njit(parallel=True, nogil=True, cache=True)
def pool(  # pragma: no cover - compiled
    x: np.ndarray,
    y: np.ndarray,
    choice: np.ndarray,
    negative_infinity: Word,
    without_sign: Word,
    limit: u32,
    key_a: u32,
    key_b: u32,
) -> None:
    """Each of the four loops over (frames, channels) is simple enough to become vector instructions."""
    batch, height, width, channels = y.shape
    for line in numba.prange(batch * height):
        b, i = line // height, line % height
        y[b, i], choice[b, i] = y.dtype.type(0), DROPPED
        for k in range(4):
            for j in range(width):
                for c in range(channels):
                    value = x[b, 2 * i + k // 2, 2 * j + k % 2, c]
                    value = positive_nan(value, negative_infinity, without_sign)
                    larger = value > y[b, i, j, c]
                    y[b, i, j, c] = value if larger else y[b, i, j, c]
                    choice[b, i, j, c] = np.uint8(k) if larger else choice[b, i, j, c]
        if limit > 0:
            drop(y[b, i], choice[b, i], u32(line * width * channels), limit, key_a, key_b)


@numba.njit(parallel=True, nogil=True, cache=True)
def pool_values(  # pragma: no cover - compiled
    x: np.ndarray, y: np.ndarray, negative_infinity: Word, without_sign: Word
) -> None:
    batch, height, width, channels = y.shape
    for line in numba.prange(batch * height):
        b, i = line // height, line % height
        upper, lower = x[b, 2 * i], x[b, 2 * i + 1]
        for j in range(width):
            for c in range(channels):
                first = positive_nan(upper[2 * j, c], negative_infinity, without_sign)
                second = positive_nan(upper[2 * j + 1, c], negative_infinity, without_sign)
                third = positive_nan(lower[2 * j, c], negative_infinity, without_sign)
                fourth = positive_nan(lower[2 * j + 1, c], negative_infinity, without_sign)
                y[b, i, j, c] = max(max(first, second), max(third, fourth), y.dtype.type(0))


@numba.njit(inline="always")
def drop(y: np.ndarray, choice: np.ndarray, start: u32, limit: u32, key_a: u32, key_b: u32) -> None:
    """Set to zero what a hash of the element's index and the keys chooses."""
    width, channels = y.shape
    for j in range(width):
        for c in range(channels):
            index = u32(start + u32(j * channels + c))
            dropped = mix(u32(mix(u32(index ^ key_a)) + key_b)) < limit
            y[j, c] = y.dtype.type(0) if dropped else y[j, c]
            choice[j, c] = DROPPED if dropped else choice[j, c]


@numba.njit(parallel=True, nogil=True, cache=True)
def unpool(gradient: np.ndarray, choice: np.ndarray, result: np.ndarray) -> None:  # pragma: no cover - compiled
    batch, height, width, channels = gradient.shape
    zero = result.dtype.type(0)
    for line in numba.prange(batch * height):
        b, i = line // height, line % height
        for k in range(4):
            for j in range(width):
                for c in range(channels):
                    value = gradient[b, i, j, c] if choice[b, i, j, c] == k else zero
                    result[b, 2 * i + k // 2, 2 * j + k % 2, c] = value
        result[b, 2 * i : 2 * i + 2, 2 * width :] = zero
        if i == height - 1:
            result[b, 2 * height :] = zero
