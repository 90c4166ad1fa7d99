"""Light CNN with nine layers and Max-Feature-Map in place of ReLU."""

import torch
from torch import nn

from scripts.models import Network, flatten_or_average, register

# (size of the kernel, channels after Max-Feature-Map) of each layer; every stage ends in a max-pooling by 2
STAGES = (((5, 48),), ((1, 48), (3, 96)), ((1, 96), (3, 192)), ((1, 192), (3, 128), (1, 128), (3, 128)))


class MaxFeatureMap(nn.Module):
    """The larger of channel i and channel i + n: [batch, 2 n, ...] -> [batch, n, ...]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.maximum(*x.chunk(2, dim=1))


@register("lcnn")
class LCNN(Network):
    """Light CNN-9.

    X. Wu, R. He, Z. Sun, T. Tan. A Light CNN for Deep Face Representation with Noisy Labels. IEEE Transactions on
    Information Forensics and Security 13(11), 2018.

    Parameters
    ----------
    classes : number of logits.
    frames, mels : size of the input, at least 16 each.
    in_channels : channels of the input.
    pool : "flatten" feeds every position of the last stage to the hidden layer; "average" feeds each channel's mean.
    width : units of the hidden layer after Max-Feature-Map, which is the embedding.
    dropout : probability, before the head.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        pool: str = "flatten",
        width: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        vector, positions = flatten_or_average(pool, mels, frames, len(STAGES))
        layers, inputs = [], in_channels
        for stage in STAGES:
            for kernel, outputs in stage:
                layers += [nn.Conv2d(inputs, 2 * outputs, kernel, padding=kernel // 2), MaxFeatureMap()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        hidden = nn.Linear(inputs * positions, 2 * width)
        self.backbone = nn.Sequential(*layers, *vector, hidden, MaxFeatureMap())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
