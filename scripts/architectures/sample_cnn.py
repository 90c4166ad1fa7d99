"""Sample-level CNN: small convolutions on the waveform itself, each of which leaves a third of the time steps."""

from collections.abc import Sequence

from torch import nn

from scripts.common.errors import ConfigError
from scripts.models import Network, register

STEP = 3  # samples of each filter, and of each pooling


@register("sample_cnn")
class SampleCNN(Network):
    """Convolutions of three samples on waveforms, as a spectrogram of kind waveform holds them.

    J. Lee, J. Park, K. L. Kim, J. Nam. Sample-Level Deep Convolutional Neural Networks for Music Auto-Tagging Using Raw
    Waveforms. SMC 2017. With the defaults and 59,049 samples, 2.7 s at 22,050 Hz, it is their 3^9 model but for the
    mean over the time steps that are left, which takes clips of any length, and the last convolution, which is not
    normalised, as a batch of one clip would leave it a single value.

    Parameters
    ----------
    classes : number of logits.
    frames : samples of a clip, at least 3; any length is accepted later.
    mels, in_channels : rows and channels of the input, both 1.
    channels : output channels: of the first convolution, which moves by three samples, of the blocks that each pool
        three steps into one, and of the last convolution, of one step, whose mean is the embedding.
    width : factor on all of `channels`.
    dropout : probability, before the head.

    Raises
    ------
    ConfigError : the input is no waveform or too short, or there are no two layers with channels.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 1,
        in_channels: int = 1,
        channels: Sequence[int] = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512),
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        widths = [round(width * count) for count in channels]
        if len(widths) < 2 or min(widths) < 1:
            raise ConfigError(f"channels={tuple(channels)}, width={width}; give two layers or more, each of 1 or more")
        if (mels, in_channels) != (1, 1) or frames < STEP:
            raise ConfigError(
                f"clips of {frames} samples, {mels} rows and {in_channels} channels; sample_cnn takes mono waveforms, "
                f"1 row in 1 channel, of at least {STEP} samples: choose the spectrogram kind waveform"
            )
        first, *blocks, last = zip([1, *widths[:-1]], widths, strict=True)
        self.backbone = nn.Sequential(
            nn.Flatten(1, 2),
            *convolution(*first, stride=STEP, padding=0),
            *(nn.Sequential(*convolution(*ends), nn.MaxPool1d(STEP, ceil_mode=True)) for ends in blocks),
            nn.Conv1d(*last, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1], classes))


def convolution(
    inputs: int, outputs: int, stride: int = 1, padding: int = 1
) -> tuple[nn.Conv1d, nn.BatchNorm1d, nn.ReLU]:
    return nn.Conv1d(inputs, outputs, STEP, stride, padding), nn.BatchNorm1d(outputs), nn.ReLU()
