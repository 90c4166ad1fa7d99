"""What comes after a backbone: pooling over time by attention, and heads with hidden layers."""

import functools
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F


class AttentionPooling(nn.Module):
    """The mean over time, weighted by softmax(w2 tanh(W1 h)) of each step h.

    D. Bahdanau, K. Cho, Y. Bengio. Neural Machine Translation by Jointly Learning to Align and Translate. ICLR 2015,
    appendix A.1.2, without a decoder's state.

    Parameters
    ----------
    width : of each step.
    units : rows of W1.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, units), nn.Tanh(), nn.Linear(units, 1, bias=False))

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        """[batch, time, width] -> [batch, width]."""
        weights = self.score(steps).float().softmax(1)
        return (weights * steps).sum(1)


class DeepHead(nn.Sequential):
    """Layer normalisation, ReLU and a linear layer, as often as needed: [batch, inputs] -> logits [batch, outputs].

    Parameters
    ----------
    inputs : width of the embedding.
    widths : units of the hidden layers, such as [1000, 500]; none are needed.
    outputs : number of logits.
    dropout : probability, after each hidden layer, never on the logits.
    """

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int, dropout: float = 0.2) -> None:
        super().__init__(*deep_layers(nn.LayerNorm, nn.Linear, [inputs, *widths, outputs], dropout))


class LabelHeads(nn.Sequential):
    """A `DeepHead` with one logit for each label, all computed at once: [batch, inputs] -> [batch, labels].

    Parameters
    ----------
    inputs : width of the embedding, which all heads share.
    widths : units of each head's hidden layers.
    labels : number of heads.
    dropout : probability, after each hidden layer, never on the logits.
    """

    def __init__(self, inputs: int, widths: Sequence[int], labels: int, dropout: float = 0.2) -> None:
        norm, linear = (functools.partial(layer, labels) for layer in (LabelNorm, LabelLinear))
        super().__init__(*deep_layers(norm, linear, [inputs, *widths, 1], dropout))
        self.labels = labels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.expand(self.labels, -1, -1)).squeeze(2).T  # type: ignore[no-untyped-call]


class LabelNorm(nn.Module):
    """A layer normalisation for each label, with its own scale and shift: [labels, batch, width] -> the same."""

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(labels, 1, width))
        self.bias = nn.Parameter(torch.zeros(labels, 1, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class LabelLinear(nn.Module):
    """A linear layer for each label, with first weights as of `nn.Linear`: [labels, batch, inputs] -> [.., outputs]."""

    def __init__(self, labels: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(labels, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(labels, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


def deep_layers(
    norm: Callable[[int], nn.Module], linear: Callable[[int, int], nn.Module], sizes: Sequence[int], dropout: float
) -> list[nn.Module]:
    """Normalisation, ReLU, linear layer from each size to the next, and dropout between."""
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [norm(inputs), nn.ReLU(), linear(inputs, outputs), nn.Dropout(dropout)]
    return layers[:-1]
