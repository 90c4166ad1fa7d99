"""Networks: log-mel spectrogram -> one logit per class. `build_model` makes them by name."""

import inspect
from collections.abc import Callable

import torch
from torch import nn

from scripts.cli import pick
from scripts.errors import ConfigError
from scripts.pooling import PoolReluDropout

MODELS: dict[str, Callable[..., nn.Module]] = {}


def register(name: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Make a network class known to `build_model` under `name`."""

    def remember(network: type[nn.Module]) -> type[nn.Module]:
        MODELS[name] = network
        return network

    return remember


def build_model(name: str, classes: int, frames: int, mels: int = 128, **kwargs) -> nn.Module:
    """Make a network for spectrograms of [mels, frames].

    Raises
    ------
    ConfigError : unknown name, a keyword the network does not have, or a value it does not allow.
    """
    network = MODELS[pick("model", name, MODELS)]
    allowed = list(inspect.signature(network).parameters)
    for keyword in kwargs:
        pick(f"setting of model {name}", keyword, allowed)
    return network(classes=classes, frames=frames, mels=mels, **kwargs)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@register("cnn4")
class CNN4(nn.Module):
    """The 4-block CNN: 4 x (convolution 3 x 3, max-pooling 2, ReLU, dropout), then a two-layer perceptron.

    With the defaults, 8 classes and 3 s clips (259 frames) it has 2,195,464 parameters.

    Parameters
    ----------
    classes : number of logits.
    frames, mels : size of the input, at least 16 each.
    norm : "none", or "batch" for batch normalisation after each convolution.
    pool : "flatten" feeds every position of the last block to the perceptron (its size grows with `frames`);
        "average" feeds each channel's mean.
    channels : of the blocks.
    width : of the hidden layer, which is also the embedding.
    dropout : after each block.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        norm: str = "none",
        pool: str = "flatten",
        channels: tuple[int, ...] = (16, 32, 64, 128),
        width: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        pick("norm", norm, ("none", "batch"))
        pick("pool", pool, ("flatten", "average"))
        shrink = 2 ** len(channels)
        if min(mels, frames) < shrink:
            raise ConfigError(
                f"input of {mels} mels x {frames} frames; {len(channels)} blocks need at least {shrink} of each"
            )
        inputs = (1, *channels[:-1])
        self.blocks = nn.Sequential(*(block(*ends, norm, dropout) for ends in zip(inputs, channels, strict=True)))
        squeeze = [nn.AdaptiveAvgPool2d(1)] if pool == "average" else []
        positions = 1 if squeeze else (mels // shrink) * (frames // shrink)
        self.hidden = nn.Sequential(*squeeze, nn.Flatten(), nn.Linear(channels[-1] * positions, width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 1, mels, frames] -> [batch, width]."""
        return self.hidden(self.blocks(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 1, mels, frames] -> logits [batch, classes]."""
        return self.head(self.embed(x))


def block(inputs: int, outputs: int, norm: str, dropout: float) -> nn.Sequential:
    """Convolution, normalisation if asked for, pooling, ReLU, dropout."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1)]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, PoolReluDropout(dropout))
