"""A pretrained network that stays as it is, under a classical classifier fitted to its embeddings, in one graph."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from scripts.common.cli import pick
from scripts.common.errors import ConfigError
from scripts.models import Network, build_model, embedding_width, register

NEIGHBOURS = 5
CEPSTRA = 20
RANGE = 80.0  # dB below a spectrogram's maximum that its statistics see
LAGS = 1, 4  # frames between which a row's change is measured


@register("fitted")
class Fitted(Network):
    """A network whose head is not trained by gradients, but fitted to the embeddings of all training items at once.

    `scripts.training.classifiers.fit_head` fits it, and `train` calls it. The network's own head is left out.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input.
    network : name of the network; "row_statistics" (with `statistics` false) is none but these.
    settings : its keywords, such as {"pretrained": "jamendo"}.
    classifier : "lda" (linear discriminant, shrunk covariance), "logistic", "svm" (RBF kernel, one for each class
        against the others), "mlp" (one hidden layer; one for each label) or "nearest" (the five nearest items).
    statistics : how the rows of the spectrogram are spread and move stands beside the embedding, see `RowStatistics`.

    Raises
    ------
    ConfigError : an unknown classifier, a network that is itself fitted, or what `build_model` raises.
    """

    statistics: "RowStatistics | None"

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 96,
        in_channels: int = 1,
        network: str = "musicnn",
        settings: dict[str, Any] | None = None,
        classifier: str = "lda",
        statistics: bool = True,
    ) -> None:
        super().__init__()
        if network == "fitted":
            raise ConfigError("a fitted head on a fitted head (network=fitted); give another network, such as musicnn")
        self.classifier = pick("classifier", classifier, HEADS)
        self.network = build_model(network, classes, frames, mels, in_channels=in_channels, **(settings or {}))
        self.network.head = nn.Identity()
        self.statistics = RowStatistics(mels) if statistics else None
        self.network_width = embedding_width(self.network, in_channels, mels, frames)  # the rest are statistics
        self.width = embedding_width(self, in_channels, mels, frames)
        self.head = HEADS[classifier](self.width, classes)
        self.freeze_base()

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, in_channels, mels, frames] -> [batch, width]."""
        embedding: torch.Tensor = self.network.embed(x)
        return embedding if self.statistics is None else torch.cat([embedding, self.statistics(x)], 1)

    def freeze_base(self) -> None:
        """Nothing is trained by gradients."""
        self.requires_grad_(False)


class RowStatistics(nn.Module):
    """How the rows of a spectrogram, and its cepstra, are spread and move: 4 numbers of each, for each channel.

    What lies more than 80 dB below the maximum is raised to there, and the mean of all is taken away, so that the level
    does not count. Of each row, and of each of up to 20 cepstra (the orthonormal DCT-II over the rows): mean and
    standard deviation over frames, and the standard deviation of the change within one frame and within four.
    """

    cosines: torch.Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        order, row = torch.arange(min(CEPSTRA, rows))[:, None], torch.arange(rows)
        cosines = torch.cos(math.pi / rows * (row + 0.5) * order) * math.sqrt(2 / rows)
        cosines[0] /= math.sqrt(2)
        self.register_buffer("cosines", cosines, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, rows, frames] -> [batch, channels · (rows + cepstra) · 4]."""
        x = torch.maximum(x, x.amax((2, 3), keepdim=True) - RANGE)
        x = x - x.mean((2, 3), keepdim=True)
        rows = torch.cat([x, self.cosines @ x], 2)
        changes = (rows[..., min(lag, rows.shape[3] - 1) :] - rows[..., : max(1, rows.shape[3] - lag)] for lag in LAGS)
        spreads = (values.std(3, correction=0) for values in (rows, *changes))
        return torch.stack([rows.mean(3), *spreads], 3).flatten(1)


@register("row_statistics")
class RowStatisticsNetwork(Network):
    """`RowStatistics` under a linear layer: descriptors alone, as a network that a `Fitted` head can stand on.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input.
    """

    def __init__(self, classes: int, frames: int, mels: int = 128, in_channels: int = 1) -> None:
        super().__init__()
        self.statistics = RowStatistics(mels)
        self.head = nn.Linear(embedding_width(self, in_channels, mels, frames), classes)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, in_channels, mels, frames] -> [batch, in_channels · (mels + cepstra) · 4]."""
        return self.statistics(x)


# --- heads --------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """What all heads share: they standardise embeddings by the mean and deviation of the training items.

    A number that was the same in all of these is passed over: its gain is 0. All they know are buffers; those of
    `SIZED_BY_FIT`, whose length fitting decides, take the size of what is loaded.
    """

    SIZED_BY_FIT: tuple[str, ...] = ()
    mean: torch.Tensor
    gain: torch.Tensor

    def __init__(self, width: int, **others: tuple[int, ...]) -> None:
        super().__init__()
        for name, size in {"mean": (width,), "gain": (width,), **others}.items():
            self.register_buffer(name, torch.ones(size))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        for name in self.SIZED_BY_FIT:
            if prefix + name in state:
                setattr(self, name, self.mean.new_empty(state[prefix + name].shape))
        super()._load_from_state_dict(state, prefix, *others)

    def standardise(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) * self.gain


class LinearHead(Head):
    """Linear discriminants or logistic regressions."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, weight=(classes, width), bias=(classes,))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width] -> logits [batch, classes]."""
        return nn.functional.linear(self.standardise(x), self.weight, self.bias)


class PerceptronHead(Head):
    """A hidden layer with ReLU: 64 units for all classes, or 64 of its own for each label."""

    SIZED_BY_FIT = ("hidden", "offset", "weight")
    hidden: torch.Tensor
    offset: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, hidden=(1, width), offset=(1,), weight=(classes, 1), bias=(classes,))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width] -> logits [batch, classes]."""
        units = nn.functional.linear(self.standardise(x), self.hidden, self.offset).relu()
        return nn.functional.linear(units, self.weight, self.bias)


class MachineHead(Head):
    """Support vector machines with an RBF kernel, and the lines that make log-odds of their scores."""

    SIZED_BY_FIT = ("vectors", "coefficients")
    vectors: torch.Tensor
    coefficients: torch.Tensor
    bias: torch.Tensor
    gamma: torch.Tensor
    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, width: int, classes: int) -> None:
        of_class: dict[str, tuple[int, ...]] = dict.fromkeys(("bias", "slope", "offset"), (classes,))
        super().__init__(width, vectors=(1, width), coefficients=(classes, 1), gamma=(), **of_class)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width] -> logits [batch, classes]."""
        kernel = torch.exp(-self.gamma * torch.cdist(self.standardise(x), self.vectors).square())
        scores = nn.functional.linear(kernel, self.coefficients, self.bias)
        return scores * self.slope + self.offset


class NeighbourHead(Head):
    """The log-odds that the nearest training items have a label, of those of which it is known.

    One that has it and one that lacks it are added: Laplace's rule of succession.
    """

    SIZED_BY_FIT = ("vectors", "present", "known")
    vectors: torch.Tensor
    present: torch.Tensor
    known: torch.Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, vectors=(1, width), present=(1, classes), known=(1, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width] -> logits [batch, classes]."""
        distances = torch.cdist(self.standardise(x), self.vectors)
        nearest = distances.topk(min(NEIGHBOURS, len(self.vectors)), largest=False).indices
        present, known = self.present[nearest].sum(1), self.known[nearest].sum(1)
        return torch.log(present + 1) - torch.log(known - present + 1)


HEADS: dict[str, Callable[[int, int], Head]] = {
    "lda": LinearHead, "logistic": LinearHead, "svm": MachineHead, "mlp": PerceptronHead,
    "nearest": NeighbourHead,
}  # fmt: skip
