"""Networks: log-mel spectrogram -> one logit per class. `build_model` makes them by name.

python -m scripts networks                        what each network costs: parameters, MACs, milliseconds
python -m scripts networks cnn4 secnn --mels 64
"""

if __name__ == "__main__":  # as `python -m scripts networks`
    from scripts.__main__ import run_file

    run_file("networks")

import hashlib
import importlib
import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from scripts.audio.spec import MelSpec
from scripts.common.cli import pick
from scripts.common.errors import ConfigError

BAD_VALUE = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)  # what layers raise on nonsense


class Pretraining(NamedTuple):
    """How weights were trained that somebody has published: what `embed` needs to use them as they are.

    Attributes
    ----------
    weights : their name where they are from.
    spec : of the input.
    licence, trained_on : of the weights; the latter with a word where that may include a test set.
    normalisation : of the input, see `normalise`.
    architecture : settings in the config.json beside the weights that the network's `config` has to take over.
    """

    weights: str
    spec: MelSpec
    licence: str
    trained_on: str
    normalisation: str = "none"
    architecture: tuple[str, ...] = ()


class Network(nn.Module):
    """What all networks share: the logits are those of `head` on the embedding of `backbone`."""

    pretraining: Pretraining | None = None
    backbone: nn.Module
    head: nn.Module

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, mels, frames] -> [batch, width]."""
        return self.backbone(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, mels, frames] -> logits [batch, classes]."""
        return self.head(self.embed(x))

    def hidden_layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What each layer makes of [batch, channels, mels, frames]: [batch, positions, width], the first one first.

        Raises
        ------
        ConfigError : it is not known what this network's layers are.
        """
        raise ConfigError(f"{type(self).__name__} gives its last embedding alone; leave out --layer and --pool")


MODELS: dict[str, Callable[..., Network]] = {}


def register(name: str) -> Callable[[Callable[..., Network]], Callable[..., Network]]:
    """Make a network class known to `build_model` under `name`."""

    def remember(network: Callable[..., Network]) -> Callable[..., Network]:
        MODELS[name] = network
        return network

    return remember


def known_models() -> dict[str, Callable[..., Network]]:
    """All networks by name; imports every module of `scripts.architectures`, each of which registers its own."""
    for path in sorted(Path(__file__).with_name("architectures").glob("*.py")):
        if path.stem != "__init__":
            importlib.import_module(f"scripts.architectures.{path.stem}")
    return MODELS


def build_model(name: str, classes: int, frames: int, mels: int = 128, **kwargs: Any) -> Network:
    """Make a network for spectrograms of [mels, frames], with weights drawn from torch's generator.

    Every network has `embed(x [batch, channels, mels, frames]) -> [batch, width]` and a last submodule `head`, so
    that `forward(x) = head(embed(x))` are the logits [batch, classes]; the keyword `in_channels` (1) sets the
    channels of its input.

    Raises
    ------
    ConfigError : unknown name, a keyword the network does not have, or a value it does not allow.
    """
    models = known_models()
    network = models[pick("model", name, models)]
    allowed = list(inspect.signature(network).parameters)
    for keyword in kwargs:
        pick(f"setting of model {name}", keyword, allowed)
    try:
        model = network(classes=classes, frames=frames, mels=mels, **kwargs)
        if not all(parameter.numel() for parameter in model.parameters()):
            raise ValueError("a layer of size 0")
    except BAD_VALUE as error:
        raise ConfigError(f"model {name} cannot be built with {kwargs}: {error}; change these settings") from error
    return model


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def state_sha256(model: nn.Module) -> str:
    """Of the names and values of a network's tensors but those of its head, in hexadecimal digits."""
    total = hashlib.sha256()
    for name, values in model.state_dict().items():
        if not name.startswith("head."):
            total.update(name.encode() + values.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


@torch.no_grad()
def embedding_width(model: Network, *shape: int) -> int:
    """How many numbers the network's embedding of an item [channels, mels, frames] has, from one of zeros."""
    training, device = model.training, next(itertools.chain(model.parameters(), model.buffers())).device
    width = model.eval().embed(torch.zeros(1, *shape, device=device)).shape[1]
    model.train(training)
    return width


def flatten_or_average(pool: str, mels: int, frames: int, halvings: int) -> tuple[list[nn.Module], int]:
    """What turns the last feature maps into a vector, and how many numbers it leaves of each channel.

    Parameters
    ----------
    pool : "flatten" keeps every position, so the vector grows with the input; "average" keeps each channel's mean.
    mels, frames : of the network's input.
    halvings : how often it was pooled by 2 before.

    Raises
    ------
    ConfigError : another `pool`, or an input of which the poolings leave nothing.
    """
    pick("pool", pool, ("flatten", "average"))
    shrink = 2**halvings
    if min(mels, frames) < shrink:
        raise ConfigError(f"input of {mels} mels x {frames} frames; {halvings} blocks need at least {shrink} of each")
    if pool == "average":
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten()], 1
    return [nn.Flatten()], (mels // shrink) * (frames // shrink)


@register("cnn4")
class CNN4(Network):
    """The 4-block CNN: 4 x (convolution 3 x 3, ReLU, max-pooling 2, dropout), then a two-layer perceptron.

    With the defaults, 8 classes and 3 s clips (259 frames) it has 2,195,464 parameters.

    Parameters
    ----------
    classes : number of logits.
    frames, mels : size of the input, at least 16 each.
    norm : "none", or "batch" for batch normalisation after each convolution.
    pool : "flatten" feeds every position of the last block to the perceptron (its size grows with `frames`);
        "average" feeds each channel's mean.
    channels : output channels of the blocks.
    width : units of the hidden layer, which is also the embedding.
    dropout : probability, after each block.
    in_channels : channels of the input.
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
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        pick("norm", norm, ("none", "batch"))
        vector, positions = flatten_or_average(pool, mels, frames, len(channels))
        inputs = (in_channels, *channels[:-1])
        self.blocks = nn.Sequential(*(block(*ends, norm, dropout) for ends in zip(inputs, channels, strict=True)))
        self.hidden = nn.Sequential(*vector, nn.Linear(channels[-1] * positions, width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, in_channels, mels, frames] -> [batch, width]."""
        return self.hidden(self.blocks(x))


def block(inputs: int, outputs: int, norm: str, dropout: float) -> nn.Sequential:
    """Convolution, normalisation if asked for, ReLU, pooling, dropout."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1)]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(dropout))
