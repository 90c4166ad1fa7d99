"""Losses against torch, torchvision, timm and hand-worked numbers; nothing may depend on unknown labels."""

import importlib.util
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.loss import AsymmetricLossMultiLabel
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import sigmoid_focal_loss

from scripts.common.errors import ConfigError, TableError
from scripts.training.losses import MULTI_LABEL, ON_EMBEDDINGS, FamilyLoss, positive_weights, read_families
from scripts.training.optim import make

NAMES = ["cello", "flute", "trumpet", "tuba", "violin"]
FAMILIES = {"strings": ["cello", "violin"], "woodwind": ["flute"], "brass": ["trumpet", "tuba"]}
NAN = float("nan")
# strings: present, absent, unknown; woodwind: unknown, present, absent; brass: present, unknown, unknown
Y = torch.tensor([[NAN, NAN, 1, NAN, 1], [0, 1, 0, NAN, 0], [NAN, 0, NAN, NAN, 0]])
KNOWN = ~Y.isnan()
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def families(tmp_path: Path) -> Path:
    path = tmp_path / "families.json"
    path.write_text(json.dumps(FAMILIES))
    return path


@pytest.fixture(params=MULTI_LABEL)
def multi_label(request: pytest.FixtureRequest, families: Path) -> nn.Module:
    """Each of the losses, with weights."""
    names = (NAMES, families) if request.param == "family" else ()
    return MULTI_LABEL[request.param](*names, pos_weight=[1, 2, 0.5, 3, 1])


def some_logits(seed: int = 0, shape: tuple[int, ...] = (3, 5), scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [8, 4] and labels without unknown ones."""
    return some_logits(seed, (8, 4)), (some_logits(seed + 1, (8, 4)) > 0).double()


def value_and_gradient(loss: nn.Module, logits: torch.Tensor, y: torch.Tensor) -> tuple[float, torch.Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, y)
    value.backward()
    return value.item(), logits.grad


# --- all losses on several labels -------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [-3.0, 50.0, float("inf"), NAN])
def test_unknown_entries_change_nothing(multi_label, other):
    logits = some_logits()
    value, gradient = value_and_gradient(multi_label, logits, Y)
    changed_value, changed = value_and_gradient(multi_label, logits.masked_fill(~KNOWN, other), Y)
    assert value == changed_value > 0
    assert torch.equal(gradient, changed)
    assert (gradient[~KNOWN] == 0).all()
    assert (gradient[KNOWN] != 0).any()


def test_gradients_are_those_of_the_function(multi_label):
    soft = Y.double() * 0.9 + 0.05
    for y in (Y, soft):
        assert torch.autograd.gradcheck(lambda logits, y=y: multi_label(logits, y), some_logits().requires_grad_())


def test_nothing_known_is_zero_and_can_be_trained_on(multi_label):
    value, gradient = value_and_gradient(multi_label, some_logits(), torch.full((3, 5), NAN))
    assert value == 0
    assert (gradient == 0).all()


def test_extreme_logits_keep_finite_gradients(multi_label):
    y = torch.tensor([[0.0, 1, 0, 1, 0], [1, 0, 1, 0, 1]])
    for size in (20.0, 100.0, 1000.0):
        value, gradient = value_and_gradient(multi_label, torch.full((2, 5), size) * torch.tensor([[1], [-1]]), y)
        assert np.isfinite(value)
        assert gradient.isfinite().all()


def test_has_no_parameters_and_no_state_of_its_own(multi_label):
    assert not list(multi_label.parameters())
    assert not multi_label.state_dict()


# --- each by itself ---------------------------------------------------------------------------------------------


def test_bce_is_torchs_on_the_known_entries():
    logits, pos_weight = some_logits(), torch.tensor([1.0, 2, 0.5, 3, 1])
    weights = pos_weight.expand(3, 5)[KNOWN]
    expected = binary_cross_entropy_with_logits(logits[KNOWN], Y[KNOWN].double(), pos_weight=weights)
    assert MULTI_LABEL["bce"](pos_weight)(logits, Y).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", ["bce", "focal"])
def test_label_smoothing_moves_targets_towards_a_half(name):
    logits = some_logits()
    targets = torch.where(Y == 1, 0.9, 0.1).masked_fill(~KNOWN, NAN)
    settings = {"gamma": 0} if name == "focal" else {}
    smoothed = MULTI_LABEL[name](label_smoothing=0.2, **settings)(logits, Y)
    assert smoothed.item() == pytest.approx(MULTI_LABEL["bce"]()(logits, targets).item())


@given(seeds, st.floats(0.1, 5), st.none() | st.floats(0, 1))
def test_focal_is_torchvisions(seed, gamma, alpha):
    logits, y = drawn(seed)
    expected = sigmoid_focal_loss(logits, y, -1 if alpha is None else alpha, gamma, "mean")
    assert MULTI_LABEL["focal"](gamma, alpha)(logits, y).item() == pytest.approx(expected.item(), rel=1e-9)


@given(seeds)
def test_focal_with_gamma_0_is_bce(seed):
    logits, y = drawn(seed)
    y[0] = torch.tensor([0.2, 0.7, NAN, 0.5])
    pos_weight = [2.0, 1, 0.3, 1]
    expected = MULTI_LABEL["bce"](pos_weight)(logits, y).item()
    assert MULTI_LABEL["focal"](0, pos_weight=pos_weight)(logits, y).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.1, 0.5])
def test_focal_below_1_is_finite_where_single_precision_rounds(gamma):
    logits, y = torch.tensor([[20.0, -120.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    value, gradient = value_and_gradient(MULTI_LABEL["focal"](gamma), logits, y)
    assert gradient.isfinite().all()
    assert value == pytest.approx(0.5**gamma * np.log(2) / 3, rel=1e-5)


@given(seeds, st.floats(0, 5), st.floats(0, 5), st.sampled_from([0, 0.05, 0.3]))
def test_asymmetric_is_timms(seed, gamma_neg, gamma_pos, clip):
    logits, y = drawn(seed)
    logits, y, pos_weight = logits.float(), y.float(), torch.tensor([1.0, 2, 0.5, 3])
    reference = AsymmetricLossMultiLabel(gamma_neg, gamma_pos, clip, reduction="mean", pos_weight=pos_weight)
    loss = MULTI_LABEL["asymmetric"](gamma_neg, gamma_pos, clip, pos_weight=pos_weight)
    assert loss(logits, y).item() == pytest.approx(reference(logits, y).item(), rel=1e-4)


def test_asymmetric_by_hand():
    loss = MULTI_LABEL["asymmetric"]()  # p 0.5 where absent counts as 0.45; p below 0.05 as 0
    logits, y = torch.tensor([[0.0, -4.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    expected = (-(0.45**4) * np.log(0.55) + 0 - np.log(0.5)) / 3
    assert loss(logits, y).item() == pytest.approx(expected)


def test_asymmetric_still_pulls_at_a_sure_false_positive():
    """log(1 - p) held above a floor would have no gradient here."""
    _, gradient = value_and_gradient(MULTI_LABEL["asymmetric"](clip=0), torch.tensor([[30.0]]), torch.zeros(1, 1))
    assert gradient.item() == pytest.approx(1, rel=1e-4)


def test_family_by_hand(families):
    logits = torch.tensor([[9.0, 9, 1, 9, -1], [0, 2, -2, 9, 3], [9, -1, 9, 9, 1]])
    known_families = [(-1, 1), (1, 1), (3, 0), (2, 1), (-1, 0)]  # strings and brass; strings and woodwind; woodwind
    highest, present = (torch.tensor(values, dtype=torch.float) for values in zip(*known_families, strict=True))
    bce = MULTI_LABEL["bce"](pos_weight=[1.0, 1, 1, 1, 2])(logits, Y)
    expected = bce + 0.7 * binary_cross_entropy_with_logits(highest, present)
    loss = FamilyLoss(NAMES, families, alpha=0.7, pos_weight=[1.0, 1, 1, 1, 2])
    assert loss(logits, Y).item() == pytest.approx(expected.item())


def test_family_of_a_label_in_two_families(tmp_path):
    path = tmp_path / "families.json"
    path.write_text('{"a": ["x", "y"], "b": ["y"]}')
    logits, y = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 1.0]])
    expected = binary_cross_entropy_with_logits(logits, y) + binary_cross_entropy_with_logits(logits, torch.ones(1, 2))
    assert FamilyLoss(["x", "y"], path, alpha=1)(logits, y).item() == pytest.approx(expected.item())


# --- weights and families ---------------------------------------------------------------------------------------


def test_positive_weights_by_hand():
    y = torch.tensor([[1, 1, 0, NAN], [0, 1, 0, NAN], [0, 1, NAN, NAN], [0, NAN, 1, NAN]])
    assert positive_weights(y).tolist() == [3, 1, 2, 1]


def test_families_of_a_csv_are_those_of_json(tmp_path, families):
    path = tmp_path / "families.csv"
    path.write_text("family,labels\nstrings,cello;violin\nwoodwind,flute\nbrass,trumpet\nbrass,tuba\n")
    assert read_families(path) == read_families(families) == FAMILIES


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("f.json", '{"brass": ["trumpt"]}', "f.json: family 'brass': unknown label 'trumpt'; did you mean 'trumpet'"),
        ("f.csv", "family,labels\nbrass,horn\n", "f.csv: family 'brass': unknown label 'horn'"),
        ("f.json", '{"brass": ["tuba", "trumpet"]}', "f.json: the label 'cello' is in none of brass"),
        ("f.json", '{"brass": []}', "f.json: family 'brass' has \\[\\]"),
        ("f.json", '{"brass": "tuba"}', "f.json: family 'brass' has 'tuba'"),
        ("f.json", '{"brass": [1]}', "f.json: family 'brass' has \\[1\\]"),
        ("f.json", "[]", "f.json: holds no families"),
        ("f.json", "{", "f.json: not a JSON file"),
        ("f.csv", "family,labels\nbrass,\n", "f.csv: family 'brass' has \\[\\]"),
        ("f.csv", "family,members\nbrass,tuba\n", "f.csv: has the columns family, members"),
        ("f.csv", "family,labels\n", "f.csv: holds no families"),
    ],
)
def test_wrong_families_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=message):
        FamilyLoss(NAMES, tmp_path / name)


# --- on embeddings ----------------------------------------------------------------------------------------------


def batch_of_embeddings() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings [6, 4], logits [6, 3] and classes."""
    return some_logits(1, (6, 4)).float(), some_logits(2, (6, 3)).float(), torch.tensor([0, 0, 1, 1, 2, 2])


def test_arcface_by_hand():
    loss = ON_EMBEDDINGS["arcface"](3, 4, metric_weight=0.5, margin=30, scale=10)
    embeddings, logits, y = batch_of_embeddings()
    (directions,) = (parameter.detach().double() for parameter in loss.parameters())
    unit = nn.functional.normalize(embeddings.double(), dim=1) @ nn.functional.normalize(directions, dim=0)
    angles = unit.arccos()
    angles[range(6), y] += np.pi / 6
    assert (angles < np.pi).all()  # beyond, the loss is continued in another way
    expected = nn.functional.cross_entropy(logits, y) + 0.5 * nn.functional.cross_entropy(10 * angles.cos(), y)
    assert loss(embeddings, logits, y).item() == pytest.approx(expected.item(), rel=1e-4)


def test_triplet_by_hand():
    embeddings, logits, y = batch_of_embeddings()
    unit = (embeddings / embeddings.norm(dim=1, keepdim=True)).numpy()
    violations = []
    for anchor, near, far in itertools.product(range(6), repeat=3):
        if anchor != near and y[anchor] == y[near] != y[far]:
            distances = [np.linalg.norm(unit[anchor] - unit[other]) for other in (near, far)]
            violations.append(max(0, distances[0] - distances[1] + 0.3))
    assert 0 < np.count_nonzero(violations) < len(violations)
    expected = nn.functional.cross_entropy(logits, y) + 2 * sum(violations) / np.count_nonzero(violations)
    loss = ON_EMBEDDINGS["triplet"](3, 4, metric_weight=2, margin=0.3)
    assert loss(embeddings, logits, y).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("name", ON_EMBEDDINGS)
def test_losses_on_embeddings_train_the_embeddings_and_the_head(name):
    torch.manual_seed(0)
    loss = ON_EMBEDDINGS[name](3, 4)
    embeddings, logits, y = batch_of_embeddings()
    learnt = [embeddings.requires_grad_(), logits.requires_grad_(), *loss.parameters()]
    optimizer, values = torch.optim.SGD(learnt, 0.01), []
    for _ in range(20):
        optimizer.zero_grad()
        values.append(loss(embeddings, logits, y))
        values[-1].backward()
        assert all(tensor.grad.abs().sum() > 0 for tensor in learnt)
        optimizer.step()
    assert loss.on_embeddings
    assert values[-1] < values[0]


def test_arcface_comes_back_from_its_state():
    first, second = (ON_EMBEDDINGS["arcface"](3, 4) for _ in range(2))
    batch = batch_of_embeddings()
    assert first(*batch) != second(*batch)
    second.load_state_dict(first.state_dict())
    assert first(*batch) == second(*batch)


@pytest.mark.parametrize("name", ON_EMBEDDINGS)
def test_weights_of_classes_are_those_of_cross_entropy(name):
    weight = torch.tensor([1.0, 2, 3])
    loss = ON_EMBEDDINGS[name](3, 4, metric_weight=0, weight=weight)
    embeddings, logits, y = batch_of_embeddings()
    expected = nn.functional.cross_entropy(logits, y, weight)
    assert loss(embeddings, logits, y).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", ON_EMBEDDINGS)
def test_a_row_with_one_label_counts_as_its_class(name):
    """Against the same embeddings with class numbers; unknown labels are neither the class nor in the cross entropy."""
    loss = ON_EMBEDDINGS[name](3, 4, metric_weight=2)
    embeddings, logits, classes = batch_of_embeddings()
    y = nn.functional.one_hot(classes, 3).float()
    metric = (loss(embeddings, logits, classes) - nn.functional.cross_entropy(logits, classes)).item()
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, y).item()
    assert loss(embeddings, logits, y).item() == pytest.approx(entropy + metric, rel=1e-5)
    entropy = nn.functional.binary_cross_entropy_with_logits(logits[y == 1], y[y == 1]).item()
    unknown = torch.where(y == 1, y, NAN)
    assert loss(embeddings, logits, unknown).item() == pytest.approx(entropy + metric, rel=1e-5)


def test_triplet_of_one_class_is_cross_entropy():
    embeddings, logits, _ = batch_of_embeddings()
    y = torch.zeros(6, dtype=torch.long)
    expected = nn.functional.cross_entropy(logits, y)
    assert ON_EMBEDDINGS["triplet"](3, 4)(embeddings.requires_grad_(), logits, y).item() == expected.item()


# --- what a user can get wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bce", {"label_smoothing": 2}, "label_smoothing=2; it must be a number from 0 to 1"),
        ("bce", {"pos_weight": [1, -1]}, "above 0"),
        ("bce", {"pos_weight": 3}, "give a list"),
        ("bce", {"pos_weight": ["a"]}, "loss bce with"),
        ("bce", {"smoothing": 0.1}, "did you mean 'label_smoothing'"),
        ("focal", {"gamma": -1}, "gamma=-1; it must be a number at least 0"),
        ("focal", {"gamma": "2"}, "gamma='2'"),
        ("focal", {"alpha": 1.5}, "alpha=1.5"),
        ("asymmetric", {"clip": NAN}, "clip=nan"),
        ("arcface", {"margin": 200}, "margin=200"),
        ("triplet", {"metric_weight": -1}, "metric_weight=-1"),
    ],
)
def test_wrong_settings_are_named(name, settings, message):
    sizes = (3, 4) if name in ON_EMBEDDINGS else ()
    with pytest.raises(ConfigError, match=message):
        make("loss", name, (MULTI_LABEL | ON_EMBEDDINGS)[name], settings, *sizes)


def test_too_few_weights_are_told():
    with pytest.raises(ConfigError, match="pos_weight has 2 values; give 5"):
        MULTI_LABEL["bce"](pos_weight=[1.0, 2.0])(some_logits(), Y)


@pytest.mark.parametrize("name", ON_EMBEDDINGS)
def test_a_missing_library_says_what_to_do(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install pytorch-metric-learning"):
        ON_EMBEDDINGS[name](3, 4)
