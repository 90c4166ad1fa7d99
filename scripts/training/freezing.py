"""Train the head alone: freeze the rest of a network, statistics of its normalisation included."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze_backbone(model: nn.Module) -> None:
    """Take everything but `model.head` out of training; use `train_mode` in place of `model.train()` from now on."""
    head = {id(parameter) for parameter in model.get_submodule("head").parameters()}
    for parameter in model.parameters():
        if id(parameter) not in head:
            parameter.requires_grad_(False)
            parameter.grad = None


def unfreeze(model: nn.Module) -> None:
    """Let every weight learn again, but for those that a part of the network never trains (`Lora.freeze_base`)."""
    model.requires_grad_(True)
    for module in model.modules():
        if freeze := getattr(module, "freeze_base", None):
            freeze()


def train_mode(model: nn.Module) -> None:
    """`model.train()`, but frozen batch normalisations keep to the statistics they have."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            learns = [weight.requires_grad for weight in module.parameters()]
            if learns and not any(learns):
                module.eval()
