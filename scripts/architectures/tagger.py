"""Taggers of patches: the one for COALA's thousand Freesound tags, and a lean one."""

from collections.abc import Sequence

from torch import nn

from scripts.architectures.short_chunk import GlobalPool
from scripts.common.errors import ConfigError
from scripts.models import Network, register

COALA_STAGES = ((64, 2), (128, 2), (256, 2), (256, 3))  # channels, and by how much mels and frames are pooled


@register("coala_tagger")
class CoalaTagger(Network):
    """Batch normalisation, 4 x (convolution 3 x 3, batch normalisation, ReLU, max-pooling), a hidden layer of 4,096.

    With 1,000 classes and 96 x 96 patches it has 21,839,466 parameters, nine tenths of them after the convolutions.

    Parameters
    ----------
    classes : number of logits.
    frames, mels : size of the input, at least 24 each.
    in_channels : channels of the input.
    width : units of the hidden layer, which is also the embedding.
    dropout : probability, before the hidden layer.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 96,
        in_channels: int = 1,
        width: int = 4096,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if min(mels, frames) < 24:
            raise ConfigError(f"input of {mels} mels x {frames} frames; coala_tagger needs at least 24 of each")
        layers: list[nn.Module] = [nn.BatchNorm2d(in_channels)]
        inputs = in_channels
        for outputs, pool in COALA_STAGES:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers.append(nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.MaxPool2d(pool), nn.ReLU()))
            mels, frames, inputs = mels // pool, frames // pool, outputs
        hidden = [nn.Dropout(dropout), nn.Linear(inputs * mels * frames, width), nn.ReLU()]
        self.backbone = nn.Sequential(*layers, nn.Flatten(), *hidden)
        self.head = nn.Linear(width, classes)


@register("lean_tagger")
class LeanTagger(Network):
    """Batch normalisation, 5 x (convolution 3 x 3, max-pooling 2, ReLU, batch normalisation), a global pooling.

    Normalising after pooling takes a quarter of the time. With 1,000 classes it has 650,314 parameters; an instrument
    note of 64 mels x 87 frames takes 27 million MACs.

    Parameters
    ----------
    classes : number of logits.
    frames, mels : size of the input, at least 32 each with five stages; any length from there on is accepted later.
    in_channels : channels of the input.
    channels : output channels of the stages; the embedding has the last one's.
    pool : over mels and frames, "average", "max" or "average_max", which is the sum of both.
    dropout : probability, before the head.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 96,
        in_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        pool: str = "average_max",
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        min_size = 2 ** len(channels)
        if min(mels, frames) < min_size:
            raise ConfigError(f"input of {mels} mels x {frames} frames; {len(channels)} stages need {min_size} of each")
        ends = zip((in_channels, *channels[:-1]), channels, strict=True)
        stages = (
            nn.Sequential(
                nn.Conv2d(*pair, 3, padding=1), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), nn.BatchNorm2d(pair[1])
            )
            for pair in ends
        )
        self.backbone = nn.Sequential(nn.BatchNorm2d(in_channels), *stages, GlobalPool(pool))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels[-1], classes))
