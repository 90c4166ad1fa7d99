"""Optimisers, schedules, losses and averaged weights by name."""

import copy

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from scripts.common.errors import ConfigError
from scripts.training.optim import (
    CLOSURE_OPTIMIZERS,
    OPTIMIZERS,
    SCHEDULERS,
    class_weights,
    goes_by_batch,
    make_loss,
    make_optimizer,
    make_scheduler,
    same_schedule,
)
from scripts.training.weight_average import WeightAverage

NEEDS = {"CyclicLR": {"cycle_momentum": False}, "StepLR": {"step_size": 2}, "MultiStepLR": {"milestones": [2]}}
NEEDS |= {"ExponentialLR": {"gamma": 0.9}, "CosineAnnealingWarmRestarts": {"T_0": 2}}
SPARSE = {"SparseAdam"}  # for sparse gradients
MATRICES = {"Muon"}  # for matrices alone


def sgd(learning_rate: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.ones(2, 2))], learning_rate)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - CLOSURE_OPTIMIZERS - SPARSE - MATRICES))
def test_every_optimizer_learns(name):
    layer = nn.Linear(4, 1)
    optimizer = make_optimizer(layer.parameters(), name, 0.01)
    before = copy.deepcopy(layer.state_dict())
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.ones(2, 4)).sum().backward()
        optimizer.step()
    assert not torch.equal(before["weight"], layer.weight)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_steps(name):
    settings = NEEDS.get(name, {})
    scheduler = make_scheduler(sgd(), name, settings, epochs=4, steps=5)
    if scheduler is None:
        assert name == "none"
        return
    rates = []
    for _ in range(20 if goes_by_batch(scheduler) else 6):
        scheduler.optimizer.step()
        scheduler.step(*[0.0] * ("latea" in type(scheduler).__name__))
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
    constant = name == "ConstantLR" and len(set(rates)) == 1
    assert len(set(rates)) > 1 or constant, rates


def rates(name: str, settings: dict, epochs: int, steps: int, warmup: int) -> list[float]:
    """The learning rate of each batch of a whole training."""
    scheduler = make_scheduler(optimizer := sgd(), name, settings, epochs, steps, warmup)
    found = []
    for number in range(epochs * steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler and (goes_by_batch(scheduler) or (number + 1) % steps == 0):
            scheduler.step(*[0.0] * ("latea" in type(scheduler).__name__))
    return found


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, NEEDS.get(name, {})) for name in SCHEDULERS] + [("cosine", {"T_max": 7}), ("PolynomialLR", {"power": 2})],
)
def test_more_epochs_keep_the_schedule_only_where_they_change_no_learning_rate(name, settings, warmup):
    if warmup and name in ("plateau", "ReduceLROnPlateau", "OneCycleLR", "CyclicLR"):
        return
    short, long = (rates(name, settings, epochs, 3, warmup) for epochs in (5, 9))
    assert same_schedule(name, settings, warmup, 5, 9) == (long[: len(short)] == short)


def test_one_cycle_may_not_end_before_the_training():
    with pytest.raises(ConfigError, match="ends after 10 batches, and the training has 12"):
        make_scheduler(sgd(), "OneCycleLR", {"total_steps": 10}, epochs=4, steps=3)


def test_cosine_ends_at_zero_after_a_warmup():
    optimizer = sgd()
    scheduler = make_scheduler(optimizer, "cosine", {}, epochs=6, steps=1, warmup_epochs=2)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(6):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[4:] == pytest.approx([np.cos(np.pi * k / 4) / 2 + 0.5 for k in (2, 3, 4)], abs=1e-7)


def test_warmup_alone_rises_and_stays():
    optimizer = sgd()
    scheduler = make_scheduler(optimizer, "none", {}, epochs=6, steps=1, warmup_epochs=2)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_optimizer([nn.Parameter(torch.ones(1))], "Adan", 1), "did you mean 'Adam'"),
        (lambda: make_optimizer([nn.Parameter(torch.ones(1))], "SGD", 1, 0, {"momentun": 1}), "did you mean 'mom"),
        (lambda: make_optimizer([nn.Parameter(torch.ones(1))], "Adam", 1, 0, {"betas": [2, 2]}), "optimizer Adam"),
        (lambda: make_optimizer([nn.Parameter(torch.ones(1))], "Rprop", 1, 0.1), "no weight decay"),
        (lambda: make_scheduler(sgd(), "StepLR", {}, 1, 1), "step_size"),
        (lambda: make_scheduler(sgd(), "StepLR", {"size": 1}, 1, 1), "did you mean 'step_size'"),
        (lambda: make_scheduler(sgd(), "OneCycleLR", {}, 1, 1, 1), "no warm-up"),
        (lambda: make_loss("CrossEntropy", {}), "did you mean 'CrossEntropyLoss'"),
        (lambda: make_loss("CrossEntropyLoss", {"smoothing": 0.1}), "did you mean 'label_smoothing'"),
        (lambda: make_loss("CrossEntropyLoss", {"reduction": "sum"}), "drop its setting"),
    ],
)
def test_wrong_names_and_settings_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_class_weights_agree_with_scikit_learn():
    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights(torch.from_numpy(labels), 3).tolist() == pytest.approx(expected)


def test_label_smoothing_by_hand():
    loss = make_loss("CrossEntropyLoss", {"label_smoothing": 0.3})
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_probabilities = logits.log_softmax(1)[0]
    expected = -(0.8 * log_probabilities[0] + 0.1 * log_probabilities[1] + 0.1 * log_probabilities[2])
    assert loss(logits, torch.tensor([0])).item() == pytest.approx(expected.item())


def walk(average: WeightAverage, layer: nn.Linear, values: list[float], steps: int = 1) -> None:
    """Set the weight to each value in turn, one epoch each."""
    for epoch, value in enumerate(values, 1):
        layer.weight.data.fill_(value)
        for _ in range(steps):
            average.after_step(layer)
        average.after_epoch(layer, epoch)


def test_ema_by_hand():
    layer = nn.Linear(1, 1)
    average = WeightAverage(layer, "ema", {"decay": 0.5}, epochs=3)
    walk(average, layer, [1.0, 2.0, 4.0])
    first = 1.0
    second = first + (1 - 2 / 11) * (2 - first)
    third = second + (1 - 3 / 12) * (4 - second)
    assert average.tested(layer).weight.item() == pytest.approx(third)


def test_swa_is_the_mean_of_the_last_epochs():
    layer = nn.Linear(1, 1)
    average = WeightAverage(layer, "swa", {"start": 0.5}, epochs=4)
    walk(average, layer, [100.0, 100.0])
    assert average.tested(layer) is layer
    average.after_epoch(layer.requires_grad_(True), 3)
    layer.weight.data.fill_(50.0)
    average.after_epoch(layer, 4)
    assert average.tested(layer).weight.item() == pytest.approx(75)


def test_wrong_share_is_named():
    with pytest.raises(ConfigError, match="below 1"):
        WeightAverage(nn.Linear(1, 1), "ema", {"decay": 1.5}, 1)
