"""Short-chunk CNN: a stack of residual blocks, each of which halves mels and frames, and a global pooling."""

from collections.abc import Sequence

import torch
from torch import nn

from scripts.common.cli import pick
from scripts.common.errors import ConfigError
from scripts.models import Network, register

POOLS = {"average": "fastavg", "max": "fastmax", "average_max": "fastavgmax"}  # names in timm


@register("short_chunk")
class ShortChunkCNN(Network):
    """Residual CNN for clips of a few seconds; takes any number of mels and frames.

    M. Won, A. Ferraro, D. Bogdanov, X. Serra. Evaluation of CNN-based Automatic Music Tagging Models. SMC 2020.
    The widths of the paper are `channels=(128, 128, 256, 256, 256, 256, 512)` with `pool="max"`: 1,015 million MACs
    for a 3 s clip where the defaults need 545. Unlike theirs, this one has a stem before the blocks, shortcuts that
    average instead of convolving 3 x 3, and no hidden layer before the head.

    Parameters
    ----------
    classes : number of logits.
    frames, mels : size of the input; any length is accepted later.
    in_channels : channels of the input.
    channels : output channels of each stage; there are as many stages, and the embedding has the last one's channels.
    width : factor on all of `channels`.
    blocks : residual blocks in each stage; the first of them halves mels and frames.
    stem_stride : 1 or 2, of the first convolution; 2 makes everything after it four times cheaper.
    pool : over mels and frames, "average", "max" or "average_max", which is the sum of both.
    dropout : probability, before the head.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512),
        width: float = 1.0,
        blocks: int = 1,
        stem_stride: int = 2,
        pool: str = "average_max",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        widths = [round(width * count) for count in channels]
        if not widths or min(*widths, blocks, stem_stride) < 1:
            raise ConfigError(
                f"channels={tuple(channels)}, width={width}, blocks={blocks}, stem_stride={stem_stride}; "
                "give at least one stage, and at least 1 of each"
            )
        ends = zip(widths[:1] + widths[:-1], widths, strict=True)
        self.backbone = nn.Sequential(
            nn.Sequential(*convolution(in_channels, widths[0], stem_stride), nn.ReLU(inplace=True)),
            *(stage(inputs, outputs, blocks) for inputs, outputs in ends),
            GlobalPool(pool),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1], classes))


class ResidualBlock(nn.Module):
    """relu(two convolutions 3 x 3 + shortcut); the shortcut averages before its 1 x 1 convolution.

    T. He et al. Bag of Tricks for Image Classification with Convolutional Neural Networks. CVPR 2019, figure 2c.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(inputs, outputs, stride), nn.ReLU(inplace=True), *convolution(outputs, outputs)
        )
        average = nn.AvgPool2d(stride, ceil_mode=True)
        plain = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if plain else nn.Sequential(average, *convolution(inputs, outputs, kernel=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, inputs, mels, frames] -> [batch, outputs, mels / stride, frames / stride], rounded up."""
        return torch.relu(self.body(x) + self.shortcut(x))


class GlobalPool(nn.Module):
    """[batch, channels, mels, frames] -> [batch, channels], by one of `POOLS`."""

    def __init__(self, pool: str) -> None:
        from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d  # takes a second to import

        super().__init__()
        self.pool = SelectAdaptivePool2d(pool_type=POOLS[pick("pool", pool, POOLS)], flatten=True)
        self.scale = 2 if pool == "average_max" else 1  # timm halves the sum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.pool(x)


def stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """So many residual blocks, the first with stride 2."""
    rest = (ResidualBlock(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(ResidualBlock(inputs, outputs, 2), *rest)


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution that keeps the size but for its stride, and its batch normalisation."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
