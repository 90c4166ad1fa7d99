"""MusiCNN: tall filters for timbre and long ones for rhythm, with the published weights of music taggers."""

import functools
import re
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from scripts.audio.spec import MelSpec
from scripts.common.cli import require
from scripts.common.errors import CheckpointError, ConfigError, DownloadError
from scripts.common.storage import sha256
from scripts.models import Network, register

SPEC = MelSpec(
    sample_rate=16_000, n_fft=512, hop_length=256, n_mels=96, top_db=200, mel_scale="htk", pad_mode="reflect"
)  # of the published networks; their decibels have no floor, so it lies below all that is possible
TALL, LONG = (0.7, 0.4), (129, 65, 33)  # filters' heights as shares of the mels, and lengths in frames
TALL_CHANNELS, LONG_CHANNELS, LENGTH = 204, 51, 7  # and the length of the tall ones
WIDTH = 200


class Weights(NamedTuple):
    """Published weights: where they are from, their SHA-256, what they were trained on, and their licence."""

    url: str
    sha256: str
    trained_on: str
    licence: str = "MIT"


AUTHORS = "https://github.com/minzwon/sota-music-tagging-models/raw/master/models"
PUBLISHED = {
    "jamendo": Weights(
        f"{AUTHORS}/jamendo/musicnn/best_model.pth",
        "66280f4859376377c47f64313c7ac889a3201fdb06a01bf6e94ac6e619081bb5",
        "MTG-Jamendo, 50 tags; its artists publish under free licences and may be in FMA too",
    ),
    "mtat": Weights(
        f"{AUTHORS}/mtat/musicnn/best_model.pth",
        "0a7ac8aa3daab3a1c59cae16a771b0bfa4064ac94502ebc990a5c32a2771e189",
        "MagnaTagATune, 50 tags; its artists publish under free licences and may be in FMA too",
    ),
}
FOLDER = Path("data/weights")


@register("musicnn")
class MusiCNN(Network):
    """Filters as tall as most mels or as long as seconds, three convolutions over time, and pooling over all of it.

    J. Pons, X. Serra. musicnn: Pre-trained Convolutional Neural Networks for Music Audio Tagging. Late-breaking demo,
    ISMIR 2019. In the form, and with the weights, of M. Won, A. Ferraro, D. Bogdanov, X. Serra. Evaluation of CNN-based
    Automatic Music Tagging Models. SMC 2020. The published weights were trained on 3 s in `SPEC`, decibels that are not
    normalised.

    Parameters
    ----------
    classes : number of logits.
    frames : of a clip; any other length is accepted later.
    mels : 96 with published weights.
    in_channels : channels of the input; 1 with published weights.
    pretrained : a name of `PUBLISHED` takes those weights, fetched into data/weights if they are not there; a path
        takes them from a file. Their head is taken too where `classes` is 50, the tags they were trained on.
    dropout : probability, before the head.

    Raises
    ------
    ConfigError : published weights, and another number of mels or channels than theirs.
    DownloadError, CheckpointError : as `find_weights`.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 96,
        in_channels: int = 1,
        pretrained: str = "",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if pretrained and (mels, in_channels) != (SPEC.n_mels, 1):
            raise ConfigError(
                f"input of {mels} mels in {in_channels} channels; the pretrained weights of musicnn are for "
                f"{SPEC.n_mels} mels in 1 channel"
            )
        self.spec_bn = nn.BatchNorm2d(in_channels)
        tall = (TallFilters(in_channels, int(share * mels)) for share in TALL)
        self.layers = nn.ModuleList([*tall, *(LongFilters(in_channels, length) for length in LONG)])
        channels = len(TALL) * TALL_CHANNELS + len(LONG) * LONG_CHANNELS
        self.layer1, self.layer2, self.layer3 = (Convolution(inputs, 64, LENGTH) for inputs in (channels, 64, 64))
        self.dense1 = nn.Linear(2 * (channels + 3 * 64), WIDTH)
        self.bn = nn.BatchNorm1d(WIDTH)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(WIDTH, classes))
        if pretrained:
            load_published(self, read_weights(find_weights(pretrained)))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, in_channels, mels, frames] in dB -> [batch, 200]."""
        x = torch.cat(self.stages(x), 1)
        return torch.relu(self.bn(self.dense1(torch.cat([x.amax(2), x.mean(2)], 1))))

    def hidden_layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The filters' answers (561 a frame), and those of the three convolutions over time (64 each)."""
        return [stage.transpose(1, 2) for stage in self.stages(x)]

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """[batch, in_channels, mels, frames] -> four times [batch, channels, frames]."""
        x = self.spec_bn(x)
        x = torch.cat([layer(x) for layer in self.layers], 1)
        first = self.layer1(x)
        second = first + self.layer2(first)
        return [x, first, second, second + self.layer3(second)]


class Convolution(nn.Module):
    """A convolution over time that keeps the length, its batch normalisation, and ReLU."""

    def __init__(self, inputs: int, outputs: int, length: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv1d(inputs, outputs, length, padding=length // 2), nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, inputs, frames] -> [batch, outputs, frames]."""
        return torch.relu(self.bn(self.conv(x)))


class LongFilters(Convolution):
    """Convolutions over the mean of all mels: [batch, inputs, mels, frames] -> [batch, 51, frames]."""

    def __init__(self, inputs: int, length: int) -> None:
        super().__init__(inputs, LONG_CHANNELS, length)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.mean(2))


class TallFilters(Convolution):
    """Convolutions over `height` mels, at their best place: [batch, inputs, mels, frames] -> [batch, 204, frames].

    At each place the mels are the channels of a convolution over time alone: one in two dimensions, with few channels,
    takes several times as long. In evaluation the normalisation is part of the filters, and each place is compared with
    the best before it, so that what is computed stays in a core's cache.
    """

    def __init__(self, inputs: int, height: int) -> None:
        super().__init__(inputs * height, TALL_CHANNELS, LENGTH)
        self.height = height

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = [x[:, :, low : low + self.height].flatten(1, 2) for low in range(x.shape[2] - self.height + 1)]
        if self.training:
            return super().forward(torch.cat(places)).unflatten(0, (len(places), -1)).amax(0)
        weight, bias = self.normalised_filters()
        values = (F.conv1d(place, weight, bias, padding=LENGTH // 2) for place in places)
        return torch.relu(functools.reduce(torch.maximum, values))

    def normalised_filters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and biases that give what the batch normalisation makes of the convolution in evaluation."""
        conv, bn = self.conv, self.bn
        mean, variance = cast("torch.Tensor", bn.running_mean), cast("torch.Tensor", bn.running_var)
        return fuse_conv_bn_weights(conv.weight, conv.bias, mean, variance, bn.eps, bn.weight, bn.bias)


# --- published weights --------------------------------------------------------------------------------------


def find_weights(name: str) -> Path:
    """The file of published weights called so, fetched if need be, or the one at this path.

    Raises
    ------
    ConfigError : neither a published name nor a file, or the package for downloads is missing.
    DownloadError : no connection, or what has arrived is not the published file.
    CheckpointError : the file that is there is not a published one.
    """
    if name not in PUBLISHED:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"weights {name!r}: no such file, nor published; give one of {', '.join(PUBLISHED)}")
        published_name(path)
        return path
    path = FOLDER / f"musicnn_{name}.pth"
    if not path.is_file():
        fetch(PUBLISHED[name].url, PUBLISHED[name].sha256, path)
    elif published_name(path) != name:
        raise CheckpointError(f"{path}: holds the weights {published_name(path)}; move it away")
    return path


def published_name(path: Path) -> str:
    """Which published weights a file holds, by its SHA-256; a CheckpointError if it holds none of them."""
    found = sha256(path)
    for name, weights in PUBLISHED.items():
        if weights.sha256 == found:
            return name
    raise CheckpointError(
        f"{path}: its SHA-256 is {found}, that of no published weights ({', '.join(PUBLISHED)}); it is damaged or "
        "another file: delete it, to have it fetched again, or give another"
    )


def fetch(url: str, sha256: str, path: Path) -> None:
    """Download a file, which appears whole or not at all."""
    require("pooch", what="fetching the weights")
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent)
    except (requests.RequestException, ValueError) as error:  # the latter of another sum
        cause = "it is another file" if isinstance(error, ValueError) else type(error).__name__
        raise DownloadError(
            f"{url}: the download failed ({cause}); connect to the internet and run the same command again, or "
            f"download it by hand to {path}"
        ) from None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dictionary of a published file."""
    return torch.load(path, map_location="cpu", weights_only=True)


def load_published(model: MusiCNN, state: dict[str, torch.Tensor]) -> None:
    """Give a network the weights of a published state dictionary, all of them, but for another number of classes' head.

    Its window and mel filters are those of `SPEC` and left out. Many weights of unused filters are subnormal numbers,
    which make processors slow: they become zeros.
    """
    front_end, head = ("spec.spectrogram.window", "spec.mel_scale.fb"), "head.1."
    own, tiny = model.state_dict(), torch.finfo(torch.float32).tiny
    named = {re.sub("^dense2[.]", head, name): values for name, values in state.items() if name not in front_end}
    if named[f"{head}bias"].shape != own[f"{head}bias"].shape:
        named |= {name: values for name, values in own.items() if name.startswith(head)}
    for name, values in named.items():
        flat = values.flatten(1, 2) if values.ndim == 4 else values  # the tall filters' only channel
        named[name] = flat.where(flat.abs() >= tiny, 0)
    model.load_state_dict(named)
