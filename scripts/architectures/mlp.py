"""A perceptron for tables of features."""

from collections.abc import Sequence

from torch import nn

from scripts.common.errors import ConfigError
from scripts.models import Network, register


@register("mlp")
class MLP(Network):
    """Hidden layers with ReLU and dropout on all numbers of the input at once.

    A table of n features is an input of [batch, 1, n, 1]: `mels` is n and `frames` 1. Standardise its columns.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input, whose product is the number of inputs.
    widths : units of the hidden layers; the last is the embedding.
    dropouts : probabilities, after each hidden layer.

    Raises
    ------
    ConfigError : not as many dropouts as widths, or no width.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        widths: Sequence[int] = (256, 64),
        dropouts: Sequence[float] = (0.4, 0.2),
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(dropouts):
            raise ConfigError(f"widths={widths} and dropouts={dropouts}; give one dropout for each width, at least one")
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = in_channels * mels * frames
        for width, dropout in zip(widths, dropouts, strict=True):
            layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
            inputs = width
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)
