"""Averaged weights: a moving average over steps (EMA), or a mean over the last epochs (SWA)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from scripts.common.errors import ConfigError

KINDS = ("none", "ema", "swa")
DEFAULTS: dict[str, dict[str, float]] = {"none": {}, "ema": {"decay": 0.999}, "swa": {"start": 0.75}}


class WeightAverage:
    """The average of a network's weights along its training; the average is what gets tested and saved.

    "ema" follows each step with a decay that grows to its setting `decay` (default 0.999), so that the first random
    weights are soon forgotten (Polyak and Juditsky, 1992). "swa" is the plain mean of the weights after each epoch
    beyond the share `start` (default 0.75) of the training (Izmailov et al., UAI 2018). The statistics of batch
    normalisation are averaged like weights.

    Raises
    ------
    ConfigError : a setting that is not between 0 and 1.
    """

    def __init__(self, model: nn.Module, kind: str, settings: dict[str, Any], epochs: int) -> None:
        self.first_epoch = first_averaged_epoch(kind, settings, epochs)
        settings = DEFAULTS[kind] | settings
        for name, value in settings.items():
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise ConfigError(f"{kind} with {name}={value!r}; it must be at least 0 and below 1")
        self.kind, self.settings = kind, settings
        average = ramped(settings["decay"]) if kind == "ema" else None
        self.averaged = AveragedModel(model, avg_fn=average, use_buffers=True)

    def after_step(self, model: nn.Module) -> None:
        if self.kind == "ema":
            self.averaged.update_parameters(model)

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        if self.kind == "swa" and epoch >= self.first_epoch:
            self.averaged.update_parameters(model)

    def tested(self, model: nn.Module) -> nn.Module:
        """What to test and save: the average, or the network itself as long as there is none."""
        return self.averaged.module if self.averaged.n_averaged else model

    def state_dict(self) -> dict[str, Any]:
        return self.averaged.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.averaged.load_state_dict(state)


def first_averaged_epoch(kind: str, settings: dict[str, Any], epochs: int) -> int:
    """From which epoch of so many on "swa" averages; 1 for the other kinds."""
    return int((DEFAULTS[kind] | settings).get("start", 0) * epochs) + 1


def ramped(decay: float) -> Callable[..., torch.Tensor]:
    """Averaging with a decay of (1 + n) / (10 + n) after n steps, at most `decay`."""

    def average(old: torch.Tensor, new: torch.Tensor, steps: torch.Tensor | int) -> torch.Tensor:
        weight = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
        return torch.lerp(old, new.to(old.dtype), weight) if old.is_floating_point() else new

    return average
