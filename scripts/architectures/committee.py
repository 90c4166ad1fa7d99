"""Several networks of one kind, each with its own first weights, that vote."""

from typing import Any

import torch

from scripts.architectures.parallel import SeparateHeads, SideBySide
from scripts.common.errors import ConfigError
from scripts.models import build_model, register


@register("committee")
class Committee(SideBySide):
    """So many networks of the same architecture; the mean of their logits is the answer.

    They see the same batches and each learns from its own loss; their different first weights are enough to make
    them err differently (Lakshminarayanan, Pritzel, Blundell, NeurIPS 2017). Of one label a track, the mean of logits
    has the probabilities of the mean of log-probabilities; of several, it is the mean of each label's log-odds: the
    logarithmic opinion pool (Genest and Zidek, Statistical Science 1(1), 1986) either way.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input.
    network : name of the members' architecture.
    members : how many.
    settings : keywords of each member.

    Raises
    ------
    ConfigError : fewer than two members, or what `build_model` raises.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        network: str = "short_chunk",
        members: int = 3,
        settings: dict[str, Any] | None = None,
    ) -> None:
        if members < 2 or network == "committee":
            raise ConfigError(f"a committee of {members} x {network}; give at least 2 members of another architecture")
        size = {"frames": frames, "mels": mels, "in_channels": in_channels}
        super().__init__([build_model(network, classes, **size, **(settings or {})) for _ in range(members)], Vote)


class Vote(SeparateHeads):
    """Embeddings of all members -> their logits [members, batch, classes] in training, else one answer for all."""

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        logits = torch.stack(self.each(embeddings))
        return logits if self.training else logits.float().mean(0)
