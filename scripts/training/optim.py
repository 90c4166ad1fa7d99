"""Optimisers, learning-rate schedules and losses of torch, by name and with keywords."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import torch
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from scripts.common.cli import pick
from scripts.common.errors import ConfigError
from scripts.training.losses import MULTI_LABEL, ON_EMBEDDINGS


def classes_of(module: Any, base: type) -> dict[str, type]:
    """The public classes of a module that derive from `base`, by name."""
    classes = {name: kind for name, kind in vars(module).items() if inspect.isclass(kind)}
    return {name: kind for name, kind in classes.items() if issubclass(kind, base) and kind is not base}


OPTIMIZERS = classes_of(optim, optim.Optimizer)
CLOSURE_OPTIMIZERS = {"LBFGS"}  # they call the model several times a step
SHORT_NAMES = {"cosine": "CosineAnnealingLR", "plateau": "ReduceLROnPlateau"}
COMPOSED = {"ChainedScheduler", "SequentialLR", "LambdaLR", "MultiplicativeLR"}  # cannot be written in JSON
TORCH_SCHEDULERS = {
    name: kind
    for name, kind in classes_of(lr_scheduler, LRScheduler).items()
    if not name.startswith("_") and name not in COMPOSED
}
SCHEDULERS = ("none", *SHORT_NAMES, *TORCH_SCHEDULERS)
PER_BATCH = {"OneCycleLR", "CyclicLR"}
TORCH_LOSSES = {name: getattr(nn, name) for name in ("CrossEntropyLoss", "MultiMarginLoss")}
LOSSES: dict[str, dict[str, type[nn.Module]]] = {
    "single_label": TORCH_LOSSES | ON_EMBEDDINGS,
    "multi_label": MULTI_LABEL | ON_EMBEDDINGS,
}
SOFT_LOSSES = ("CrossEntropyLoss", "bce", "focal", "asymmetric")  # which take shares of labels


def make(kind: str, name: str, target: type, settings: dict[str, Any], *arguments: Any, **defaults: Any) -> Any:
    """`target(*arguments, **defaults, **settings)`, with errors that name the wrong keyword.

    Raises
    ------
    ConfigError : a keyword that `target` does not have, or a value that it refuses.
    """
    allowed = list(inspect.signature(target).parameters)
    for keyword in settings:
        pick(f"setting of {kind} {name}", keyword, allowed[len(arguments) :])
    try:
        return target(*arguments, **{**defaults, **settings})
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{kind} {name} with {defaults | settings}: {error}; correct its settings") from None


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    name: str,
    learning_rate: float,
    weight_decay: float = 0.0,
    settings: dict[str, Any] | None = None,
) -> optim.Optimizer:
    """Any optimiser of `torch.optim` by its class name, fused where it can be.

    Parameters
    ----------
    parameters : what it changes.
    name, settings : of the class, such as "Adam", and its other keywords.
    learning_rate, weight_decay : its "lr" and "weight_decay".

    Raises
    ------
    ConfigError : unknown name or keyword, or a value the optimiser refuses.
    """
    target = OPTIMIZERS[pick("optimizer", name, sorted(OPTIMIZERS.keys() - CLOSURE_OPTIMIZERS))]
    parameters, known = list(parameters), inspect.signature(target).parameters
    defaults: dict[str, Any] = {"lr": learning_rate}
    if "weight_decay" in known:
        defaults["weight_decay"] = weight_decay
    elif weight_decay:
        raise ConfigError(f"optimizer {name} has no weight decay; set weight_decay=0")
    if "fused" in known and parameters[0].device.type != "mps":
        defaults["fused"] = True
    return make("optimizer", name, target, settings or {}, parameters, **defaults)


def make_scheduler(
    optimizer: optim.Optimizer,
    name: str,
    settings: dict[str, Any],
    epochs: int,
    steps: int,
    warmup_epochs: int = 0,
    mode: str = "max",
) -> LRScheduler | ReduceLROnPlateau | None:
    """A schedule of `torch.optim.lr_scheduler` by name, with the length of the training where it depends on that.

    Parameters
    ----------
    optimizer : whose learning rate it changes.
    name : "none", "cosine" (to zero over the epochs), "plateau" (a tenth after 3 epochs without progress) or a class
        name; OneCycleLR and CyclicLR go by batches, all others by epochs.
    settings : its keywords.
    epochs : of the training.
    steps : batches per epoch.
    warmup_epochs : the learning rate first rises in equal steps for so many epochs.
    mode : "max" or "min", the direction of what a plateau scheduler watches.

    Raises
    ------
    ConfigError : unknown name or keyword, a refused value, a schedule that ends before the training does, or a warm-up
        where the schedule allows none.
    """
    name = SHORT_NAMES.get(pick("scheduler", name, SCHEDULERS), name)
    if warmup_epochs and (name in PER_BATCH or name == "ReduceLROnPlateau"):
        raise ConfigError(f"{name} takes no warm-up; set warmup_epochs=0 or choose another scheduler")
    defaults = schedule_defaults(name, optimizer.param_groups[0]["lr"], epochs, steps, warmup_epochs, mode)
    rest = None
    if name != "none":
        rest = make("scheduler", name, TORCH_SCHEDULERS[name], settings, optimizer, **defaults)
    if rest and name == "OneCycleLR" and rest.total_steps < epochs * steps:
        raise ConfigError(
            f"OneCycleLR ends after {rest.total_steps} batches, and the training has {epochs * steps}; leave "
            "total_steps out of the scheduler, or raise it"
        )
    if not warmup_epochs:
        return rest
    rise = lr_scheduler.LinearLR(optimizer, 1 / (warmup_epochs + 1), total_iters=warmup_epochs)
    return lr_scheduler.SequentialLR(optimizer, [rise, rest], [warmup_epochs]) if rest else rise


def schedule_defaults(
    name: str, learning_rate: float, epochs: int, steps: int, warmup_epochs: int, mode: str
) -> dict[str, Any]:
    """The keywords of torch's scheduler `name` that follow from the training; the settings go before them."""
    length = max(1, epochs - warmup_epochs)
    defaults: dict[str, dict[str, Any]] = {
        "CosineAnnealingLR": {"T_max": length},
        "PolynomialLR": {"total_iters": length},
        "LinearLR": {"start_factor": 1.0, "end_factor": 0.1, "total_iters": length},
        "ReduceLROnPlateau": {"mode": mode, "patience": 3},
        "OneCycleLR": {"max_lr": learning_rate, "total_steps": epochs * steps},
        "CyclicLR": {"base_lr": learning_rate / 10, "max_lr": learning_rate, "step_size_up": 2 * steps},
    }
    return defaults.get(name, {})


def same_schedule(name: str, settings: dict[str, Any], warmup_epochs: int, epochs: int, other: int) -> bool:
    """Whether trainings of so many epochs, and of `other`, have the same learning rates as far as both go."""
    name = SHORT_NAMES.get(name, name)
    one, two = (schedule_defaults(name, 1.0, number, 1, warmup_epochs, "max") | settings for number in (epochs, other))
    return one == two


def goes_by_batch(scheduler: LRScheduler | ReduceLROnPlateau | None) -> TypeGuard[LRScheduler]:
    """Whether the schedule is to be stepped after each batch instead of each epoch."""
    return type(scheduler).__name__ in PER_BATCH


def make_loss(
    name: str, settings: dict[str, Any], weights: torch.Tensor | None = None, names: Sequence[str] = (), width: int = 0
) -> nn.Module:
    """A loss by its name.

    Parameters
    ----------
    name : a class of torch.nn on (logits, labels), or a key of `scripts.training.losses`.
    settings : its keywords.
    weights : [classes] of the classes, or [labels] of the presences of labels.
    names : of the classes or labels, which some losses need to know.
    width : of the embedding, for the losses on embeddings.

    Raises
    ------
    ConfigError : unknown name or keyword, or a value the loss refuses.
    """
    known = {key: kind for losses in LOSSES.values() for key, kind in losses.items()}
    target = known[pick("loss", name, known)]
    if "reduction" in settings:
        raise ConfigError("the loss is a mean over the batch; drop its setting reduction")
    arguments: dict[str, Any] = {"names": list(names)} if name == "family" else {}
    if name in ON_EMBEDDINGS:
        arguments = {"classes": len(names), "width": width}
    if weights is not None:
        arguments["pos_weight" if name in MULTI_LABEL else "weight"] = weights
    return make("loss", name, target, settings, **arguments)


def class_weights(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """float32 [classes], inversely proportional to each class's frequency, 1 on average over the items.

    King and Zeng, Political Analysis 9 (2001), as scikit-learn's "balanced".
    """
    counts = torch.bincount(labels, minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())
