"""Five convolution blocks with squeeze-and-excitation."""

from collections.abc import Sequence

import torch
from torch import nn

from scripts.models import Network, flatten_or_average, register


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate in (0, 1) computed from the means of all channels.

    J. Hu, L. Shen, G. Sun. Squeeze-and-Excitation Networks. CVPR 2018, equations 2-4.

    Parameters
    ----------
    channels : of the input, which keeps its shape.
    reduction : the hidden layer has channels / reduction units, at least one.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        units = max(1, channels // reduction)
        self.gate = nn.Sequential(
            nn.Linear(channels, units, bias=False), nn.ReLU(), nn.Linear(units, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, mels, frames] -> the same shape."""
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


@register("secnn")
class SECNN(Network):
    """5 x (convolution 3 x 3, max-pooling 2, dropout, squeeze-and-excitation, ReLU), then one linear layer.

    Y. Xu, W. Zhou. A deep music genres classification model based on CNN with Squeeze & Excitation Block.
    APSIPA ASC 2020.

    Parameters
    ----------
    classes : number of logits.
    frames, mels : size of the input, at least 32 each with five blocks.
    in_channels : channels of the input.
    channels : output channels of the blocks.
    reduction : of the squeeze-and-excitation, which keeps at least one unit.
    pool : "flatten" feeds every position of the last block to the head; "average" feeds each channel's mean.
    dropout : probability, in each block. fc_dropout : before the head.
    bias : whether the head has one.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64, 128, 256, 128),
        reduction: int = 32,
        pool: str = "flatten",
        dropout: float = 0.25,
        fc_dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        vector, positions = flatten_or_average(pool, mels, frames, len(channels))
        ends = zip((in_channels, *channels[:-1]), channels, strict=True)
        self.backbone = nn.Sequential(*(block(*pair, reduction, dropout) for pair in ends), *vector)
        self.head = nn.Sequential(nn.Dropout(fc_dropout), nn.Linear(channels[-1] * positions, classes, bias=bias))


def block(inputs: int, outputs: int, reduction: int, dropout: float) -> nn.Sequential:
    """[batch, inputs, mels, frames] -> [batch, outputs, mels / 2, frames / 2]."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Dropout(dropout),
        SqueezeExcite(outputs, reduction),
        nn.ReLU(),
    )
