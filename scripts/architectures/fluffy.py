"""Any network with another head: one with hidden layers, or one for each label (Fluffy)."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from scripts.architectures.heads import DeepHead, LabelHeads
from scripts.models import Network, build_model, embedding_width, register


@register("deep_head")
class DeepHeadNetwork(Network):
    """The embeddings of any network with a `DeepHead` in place of its own head.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input.
    network : name of the network.
    settings : its keywords.
    widths : units of the head's hidden layers, such as [1000, 500].
    dropout : probability, after each of them.

    Raises
    ------
    ConfigError : what `build_model` raises.
    """

    make_head: type[nn.Module] = DeepHead

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        network: str = "cnn4",
        settings: dict[str, Any] | None = None,
        widths: Sequence[int] = (),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        base = build_model(network, classes, frames, mels, in_channels=in_channels, **(settings or {}))
        self.backbone, base.head = base, nn.Identity()
        inputs = embedding_width(base, in_channels, mels, frames)
        self.head = self.make_head(inputs, widths, classes, dropout)


@register("fluffy")
class Fluffy(DeepHeadNetwork):
    """The embeddings of any network with a `DeepHead` of its own for each label; `widths` are those of each head."""

    make_head = LabelHeads
