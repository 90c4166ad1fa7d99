"""LoRA: a pretrained network stays as it is and learns through small matrices beside its attention's."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from scripts.architectures.heads import AttentionPooling
from scripts.common.cli import require
from scripts.common.errors import ConfigError
from scripts.models import Network, build_model, register


@register("lora")
class Lora(Network):
    """Any network with low-rank adapters; only these, its pooling by attention and its head learn.

    E. J. Hu et al. LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022. With its first weights it answers as
    the network without adapters does. Its weights are saved whole, so that a checkpoint needs no other file.

    Parameters
    ----------
    classes : number of logits.
    frames, mels, in_channels : size of the input.
    network : name of the network.
    settings : its keywords, such as {"pretrained": True}.
    rank : of the product of the two matrices that is added to each weight matrix.
    alpha : the product is multiplied by alpha / rank.
    dropout : probability, of the adapters' input.
    targets : ends of the names of the layers that get adapters; the defaults are the queries and values of the
        attention in AST and wav2vec2.

    Raises
    ------
    ConfigError : no layer of such a name, another value that peft refuses, or what `build_model` raises.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 1,
        in_channels: int = 1,
        network: str = "ast",
        settings: dict[str, Any] | None = None,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        targets: Sequence[str] = ("q_proj", "v_proj"),
    ) -> None:
        super().__init__()
        if network == "lora":
            raise ConfigError("adapters of adapters (network=lora); give another network, such as network=ast")
        require("peft", what="this network")
        from peft import LoraConfig, inject_adapter_in_model

        base = build_model(network, classes, frames, mels, in_channels=in_channels, **(settings or {}))
        self.head, base.head = base.head, nn.Identity()
        adapters = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets))  # type: ignore[arg-type]
        self.backbone = inject_adapter_in_model(adapters, base)
        self.freeze_base()

    def freeze_base(self) -> None:
        """Take all weights of the network but the new ones out of training."""
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_("lora_" in name)
        for module in self.backbone.modules():
            if isinstance(module, AttentionPooling):
                module.requires_grad_(True)
