"""What becomes of decibels before a network sees them: a choice of loading, not of the cache."""

from collections.abc import Callable

import torch

from scripts.common.cli import pick

ROUNDING = 1e-5  # of the mean: a smaller deviation is no more than the rounding of sums
GREYS = 255


def standardise(x: torch.Tensor) -> torch.Tensor:
    """[batch, ...] in dB -> float32 with zero mean and unit deviation each; a constant one becomes zeros."""
    flat = x.float().flatten(1)
    mean = flat.mean(1, keepdim=True)
    centred = flat.sub(mean)  # torch.std_mean takes four times as long on a CPU
    deviation = centred.square().mean(1, keepdim=True).sqrt()
    return centred.div_(deviation.where(deviation > ROUNDING * mean.abs(), torch.inf)).view(x.shape)


def as_image(x: torch.Tensor) -> torch.Tensor:
    """[batch, ...] in dB -> 256 grey levels from each one's least (0) to its greatest (1) value; a constant is 0."""
    flat = x.float().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    width = (high - low).where(high > low, torch.inf)
    return flat.sub(low).div_(width).mul_(GREYS).round_().div_(GREYS).view(x.shape)


def as_power(x: torch.Tensor) -> torch.Tensor:
    """[batch, ...] in dB -> linear power."""
    return torch.pow(10, x.float() / 10)


NORMALISATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "item": standardise,
    "image": as_image,
    "power": as_power,
    "none": torch.Tensor.float,
}


def normalise(x: torch.Tensor, method: str = "item") -> torch.Tensor:
    """Normalise cached values, each item by itself.

    Parameters
    ----------
    x : [batch, rows, frames] or [batch, channels, rows, frames], dB.
    method : "item" (zero mean, unit deviation), "image" (256 grey levels), "power" (linear) or "none" (dB).

    Returns
    -------
    float32 [batch, channels, rows, frames].
    """
    x = NORMALISATIONS[pick("normalisation", method, NORMALISATIONS)](x)
    return x.unsqueeze(1) if x.ndim == 3 else x
