"""Networks side by side on the same input, each for some of the labels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from scripts.common.errors import ConfigError
from scripts.models import Network, build_model, register


class SideBySide(Network):
    """Networks on the same input, whose heads `join` makes one.

    Parameters
    ----------
    networks : of embeddings of the same width; they lose their heads.
    join : what makes `head` of these.
    """

    def __init__(self, networks: list[Network], join: Callable[[list[nn.Module]], nn.Module]) -> None:
        super().__init__()
        heads = [network.head for network in networks]
        for network in networks:
            network.head = nn.Identity()
        self.backbones = nn.ModuleList(networks)
        self.head = join(heads)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, in_channels, mels, frames] -> [batch, width], the networks' embeddings one after another."""
        return torch.cat([network(x) for network in self.backbones], dim=1)  # without their heads


class SeparateHeads(nn.Module):
    """Embeddings one after another -> the logits that each head makes of its own, one after another."""

    def __init__(self, heads: list[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def each(self, embeddings: torch.Tensor) -> list[torch.Tensor]:
        """The logits of each head."""
        parts = embeddings.chunk(len(self.heads), dim=1)
        return [head(part) for head, part in zip(self.heads, parts, strict=True)]

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.each(embeddings), dim=1)


@register("parallel_mobilenets")
class ParallelNetworks(SideBySide):
    """Independent networks, MobileNetV3-large unless told otherwise, that share out the labels.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input.
    network : name of their architecture.
    nets : how many; consecutive labels are dealt out evenly, the first networks get those that are left over. None is
        one network for each label.
    settings : keywords of each network.

    Raises
    ------
    ConfigError : no network, more networks than labels, or what `build_model` raises.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        network: str = "mobilenetv3_large",
        nets: int | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        nets = classes if nets is None else nets
        if not 1 <= nets <= classes:
            raise ConfigError(f"nets={nets} for {classes} labels; give at least 1 network and at least 1 label to each")
        size = {"frames": frames, "mels": mels, "in_channels": in_channels}
        shares = [classes // nets + (net < classes % nets) for net in range(nets)]
        super().__init__([build_model(network, share, **size, **(settings or {})) for share in shares], SeparateHeads)
