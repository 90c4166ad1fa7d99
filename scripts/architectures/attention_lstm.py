"""Recurrent networks over the frames of a spectrogram, pooled over time by attention."""

from collections.abc import Sequence

import torch
from torch import nn

from scripts.architectures.heads import AttentionPooling, DeepHead
from scripts.models import Network, register


@register("attention_lstm")
class AttentionLSTM(Network):
    """Batch normalisation of each row (mel or coefficient), LSTM over the frames, attention pooling, `DeepHead`.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input; any number of frames is accepted later. The rows of all channels
        together are one step of the LSTM.
    width : of the LSTM in each direction, and of the attention's hidden layer.
    layers : of the LSTM.
    bidirectional : whether a second LSTM runs backwards; the embedding has the outputs of both.
    widths : units of the head's hidden layers.
    dropout : probability, between the layers of the LSTM and after each hidden layer of the head.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        width: int = 128,
        layers: int = 2,
        bidirectional: bool = False,
        widths: Sequence[int] = (),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        rows = in_channels * mels
        recurrent = Recurrent(rows, width, layers, bidirectional, dropout)
        self.backbone = nn.Sequential(nn.Flatten(1, 2), nn.BatchNorm1d(rows), recurrent)
        self.head = DeepHead(recurrent.width, widths, classes, dropout)


@register("conv_lstm")
class ConvLSTM(Network):
    """Convolution blocks, the mean over the rows that are left, LSTM over the frames, attention pooling, `DeepHead`.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input; any size is accepted later.
    channels : output channels of the blocks, each of which leaves a quarter of the rows and half of the frames.
    width, layers, bidirectional, widths, dropout : as of `AttentionLSTM`.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64, 128),
        width: int = 64,
        layers: int = 2,
        bidirectional: bool = False,
        widths: Sequence[int] = (),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        ends = zip((in_channels, *channels[:-1]), channels, strict=True)
        recurrent = Recurrent(channels[-1], width, layers, bidirectional, dropout)
        self.backbone = nn.Sequential(
            *(block(*pair) for pair in ends), nn.AdaptiveAvgPool2d((1, None)), nn.Flatten(1, 2), recurrent
        )
        self.head = DeepHead(recurrent.width, widths, classes, dropout)


class Recurrent(nn.Module):
    """LSTM and attention pooling: [batch, inputs, frames] -> [batch, width in both directions]."""

    def __init__(self, inputs: int, width: int, layers: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.width = 2 * width if bidirectional else width
        self.lstm = nn.LSTM(inputs, width, layers, batch_first=True, bidirectional=bidirectional, dropout=between)
        self.pool = AttentionPooling(self.width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        device = "cpu" if x.is_meta else x.device.type  # shapes alone know no autocast
        with torch.autocast(device, enabled=False):  # not every processor has an LSTM of bfloat16
            steps, _ = self.lstm(x.float().transpose(1, 2))
        return self.pool(steps)


def block(inputs: int, outputs: int) -> nn.Sequential:
    """[batch, inputs, rows, frames] -> [batch, outputs, rows / 4, frames / 2], rounded up."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 5, padding=2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(),
        nn.MaxPool2d((4, 2), ceil_mode=True),
    )
