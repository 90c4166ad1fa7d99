"""Losses for several labels per track, which leave unknown labels out, and losses that shape the embeddings too."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torch.nn import functional

from scripts.common.cli import require
from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import read_csv
from scripts.tables.label_matrix import NONE, number_of, split_names

Weights = torch.Tensor | Sequence[float] | None

# --- several labels per track -----------------------------------------------------------------------------------


class BinaryCrossEntropy(nn.Module):
    """Binary cross entropy, the mean over the known entries of a batch; the base of all losses on several labels.

    Parameters
    ----------
    pos_weight : [labels], factors of the loss where a label is present, see `positive_weights`; None: 1.
    label_smoothing : share by which each target moves to 1/2 (Szegedy et al., CVPR 2016, for two outcomes).

    Raises
    ------
    ConfigError : a setting out of its range, or not as many weights as labels.
    """

    pos_weight: torch.Tensor

    def __init__(self, pos_weight: Weights = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = within("label_smoothing", label_smoothing, 0, 1)
        weights = as_weights(pos_weight)
        self.register_buffer("pos_weight", torch.ones(1) if weights is None else weights, persistent=False)

    def forward(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Both [batch, labels], y 1 present, 0 absent, soft between, NaN unknown -> scalar, 0 if nothing is known.

        Nothing depends on the logits of unknown entries.
        """
        if len(self.pos_weight) not in (1, logits.shape[-1]):
            raise ConfigError(f"pos_weight has {len(self.pos_weight)} values; give {logits.shape[-1]}, one a label")
        known = ~y.isnan()
        y = torch.where(known, y, 0).to(logits.dtype)
        y = y * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = self.entries(torch.where(known, logits, 0), y)
        return torch.where(known, losses, 0).sum() / known.sum().clamp(min=1)

    def entries(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The loss of each entry: both [batch, labels], without NaN -> [batch, labels]."""
        return functional.binary_cross_entropy_with_logits(logits, y, pos_weight=self.pos_weight, reduction="none")


class FocalLoss(BinaryCrossEntropy):
    """(1 - p_t)^gamma * cross entropy, with p_t the probability of what is true: hard entries weigh most.

    T.-Y. Lin et al. Focal Loss for Dense Object Detection. ICCV 2017. A soft target mixes the losses of present and
    absent. torchvision's has a gradient of NaN for gamma below 1 where a sigmoid rounds to 1.

    Parameters
    ----------
    gamma : 0 is binary cross entropy.
    alpha : factor of the loss where a label is present, with 1 - alpha where it is absent; None: 1 for both.
    """

    def __init__(
        self, gamma: float = 2.0, alpha: float | None = None, pos_weight: Weights = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(pos_weight, label_smoothing)
        self.gamma = within("gamma", gamma, 0)
        self.factors = (1, 1) if alpha is None else (within("alpha", alpha, 0, 1), 1 - alpha)

    def entries(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        present = focused(functional.logsigmoid(logits), self.gamma) * self.pos_weight
        absent = focused(functional.logsigmoid(-logits), self.gamma)
        return self.factors[0] * y * present + self.factors[1] * (1 - y) * absent


class AsymmetricLoss(BinaryCrossEntropy):
    """Focal loss with an exponent for absent and one for present labels; what is surely absent counts nothing.

    T. Ridnik et al. Asymmetric Loss For Multi-Label Classification. ICCV 2021; the defaults are the paper's.

    Parameters
    ----------
    gamma_neg, gamma_pos : exponents where a label is absent and where it is present.
    clip : the probability of a label that is absent is lowered by so much, to at least 0.
    """

    def __init__(
        self, gamma_neg: float = 4.0, gamma_pos: float = 0.0, clip: float = 0.05, pos_weight: Weights = None
    ) -> None:
        super().__init__(pos_weight)
        self.gamma_neg, self.gamma_pos = within("gamma_neg", gamma_neg, 0), within("gamma_pos", gamma_pos, 0)
        self.clip = within("clip", clip, 0, 1)

    def entries(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        log_absent = functional.logsigmoid(-logits)
        if self.clip:
            log_absent = (log_absent.exp() + self.clip).clamp(max=1).log()
        present = focused(functional.logsigmoid(logits), self.gamma_pos) * self.pos_weight
        return y * present + (1 - y) * focused(log_absent, self.gamma_neg)


class FamilyLoss(BinaryCrossEntropy):
    """Binary cross entropy over labels + alpha * the same over families of labels.

    A family's logit and label are the greatest of its known members. It is present if a member is, and unknown if none
    is present and any is unknown.

    Parameters
    ----------
    names : the labels, in the order of the logits; `pos_weight` is theirs, not the families'.
    families : a file, see `read_families`; each label needs a family.
    alpha : weight of the families.
    """

    membership: torch.Tensor

    def __init__(
        self, names: Sequence[str], families: str | Path, alpha: float = 0.3, pos_weight: Weights = None
    ) -> None:
        super().__init__(pos_weight)
        self.alpha, self.over_families = within("alpha", alpha, 0), BinaryCrossEntropy()
        self.register_buffer("membership", family_matrix(families, names), persistent=False)

    def forward(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        counted = self.membership & ~y.isnan()[..., None, :]
        highest = logits[..., None, :].masked_fill(~counted, -math.inf).amax(-1)
        members = y[..., None, :].masked_fill(~self.membership, 0)
        present = members.amax(-1).masked_fill((members == 1).any(-1), 1)  # amax is NaN if any member is
        return super().forward(logits, y) + self.alpha * self.over_families(highest, present)


def focused(log_p: torch.Tensor, gamma: float) -> torch.Tensor:
    """-(1 - p)^gamma * log p; the gradient stays finite where p rounds to 1."""
    wrong = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -(wrong**gamma) * log_p


def positive_weights(y: torch.Tensor) -> torch.Tensor:
    """For `pos_weight`: how many tracks are known to lack each label, for one known to have it.

    As the documentation of torch.nn.BCEWithLogitsLoss has it. To count the other labels' presences as absences,
    (all presences - presences of the label) / presences of the label, is the same only if each track has one label.

    Parameters
    ----------
    y : [tracks, labels] with 1 present, 0 absent, soft values between, NaN unknown.

    Returns
    -------
    float32 [labels]; 1 for a label that is never known present or never known absent.
    """
    present, absent = y.nansum(0), (1 - y).nansum(0)
    return torch.where((present > 0) & (absent > 0), absent / present, 1).float()


def as_weights(values: Weights) -> torch.Tensor | None:
    """float32 [labels or classes]; None stays None."""
    weights = None if values is None else torch.as_tensor(values, dtype=torch.float32)
    if weights is not None and (weights.ndim != 1 or not (weights.isfinite() & (weights > 0)).all()):
        raise ConfigError(f"weights {weights.tolist()}; give a list of numbers above 0, one for each label")
    return weights


# --- families of labels -----------------------------------------------------------------------------------------


def family_matrix(path: str | Path, names: Sequence[str]) -> torch.Tensor:
    """bool [families, labels]: which of `names` is in which family of a file.

    Raises a TableError for a label that is not among `names`, and for one of `names` in no family.
    """
    families, place = read_families(path), {name: number for number, name in enumerate(names)}
    result = torch.zeros(len(families), len(names), dtype=torch.bool)
    for row, (family, members) in enumerate(families.items()):
        result[row, [number_of(name, place, f"{path}: family {family!r}") for name in members]] = True
    for name in names:
        if not result[:, place[name]].any():
            raise TableError(f"{path}: the label {name!r} is in none of {', '.join(families)}; add it to a family")
    return result


def read_families(path: str | Path) -> dict[str, list[str]]:
    """The members of each family: JSON {family: [labels]}, or CSV with the columns family and labels (joined by ";").

    Raises
    ------
    TableError : the file is not of that form, or a family is empty.
    """
    path = Path(path)
    try:
        families = families_of_csv(path) if path.suffix.lower() == ".csv" else json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise TableError(f"{path}: not a JSON file ({error}); correct it") from None
    if not isinstance(families, dict) or not families:
        raise TableError(f"{path}: holds no families; write {{family: [labels], ...}}")
    for family, members in families.items():
        if not isinstance(members, list) or not members or not all(isinstance(name, str) for name in members):
            raise TableError(f"{path}: family {family!r} has {members!r}; give it a list of at least one label")
    return families


def families_of_csv(path: Path) -> dict[str, list[str]]:
    """A family may have several rows."""
    table = read_csv(path).fillna(NONE)
    if not {"family", "labels"} <= set(table):
        raise TableError(f"{path}: has the columns {', '.join(table)}; family and labels are needed")
    families: dict[str, list[str]] = {}
    for family, labels in zip(table["family"], table["labels"], strict=True):
        families.setdefault(family, []).extend(split_names(labels))
    return families


# --- losses on embeddings ---------------------------------------------------------------------------------------


class EmbeddingLoss(nn.Module):
    """Cross entropy of the logits, classes weighed by `weight`, + `metric_weight` * a loss on the embeddings.

    Where items have a row of labels, of which one is present, the cross entropy is binary, with `weight` as its
    `pos_weight`, and the label that is present is the class of the embedding.

    Its own parameters, if there are any, are to be trained and saved with the network's.

    Raises
    ------
    ConfigError : a setting out of its range, or pytorch-metric-learning is missing.
    """

    on_embeddings = True

    def __init__(self, metric_loss: nn.Module, metric_weight: float, weight: Weights) -> None:
        super().__init__()
        self.cross_entropy, self.metric_loss = nn.CrossEntropyLoss(as_weights(weight)), metric_loss
        self.binary_cross_entropy = BinaryCrossEntropy(weight)
        self.metric_weight = within("metric_weight", metric_weight, 0)

    def forward(self, embeddings: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """[batch, width], [batch, classes] and int64 [batch] or float32 [batch, classes] -> scalar."""
        if y.ndim == 2:
            entropy, y = self.binary_cross_entropy(logits, y), (y == 1).int().argmax(1)
        else:
            entropy = self.cross_entropy(logits, y)
        return entropy + self.metric_weight * self.metric_loss(embeddings, y)


class ArcFace(EmbeddingLoss):
    """Embeddings gather around a learnt direction of their class, with a margin in degrees to the other classes.

    J. Deng et al. ArcFace: Additive Angular Margin Loss for Deep Face Recognition. CVPR 2019. `width` is the
    embedding's, `scale` the factor on the cosines.
    """

    def __init__(
        self,
        classes: int,
        width: int,
        metric_weight: float = 1.0,
        margin: float = 28.6,
        scale: float = 64.0,
        weight: Weights = None,
    ) -> None:
        margin, scale = within("margin", margin, 0, 180), within("scale", scale, 0)
        super().__init__(metric_losses().ArcFaceLoss(classes, width, margin, scale), metric_weight, weight)


class Triplet(EmbeddingLoss):
    """Embeddings, scaled to length 1, come nearer to their class than to others, by a margin; mean over violations.

    F. Schroff, D. Kalenichenko, J. Philbin. FaceNet. CVPR 2015; all triplets of a batch: A. Hermans, L. Beyer,
    B. Leibe. In Defense of the Triplet Loss for Person Re-Identification. arXiv:1703.07737, 2017. Any width will do.
    """

    def __init__(
        self, classes: int, width: int, metric_weight: float = 1.0, margin: float = 0.2, weight: Weights = None
    ) -> None:
        margin = within("margin", margin, 0, 2)
        super().__init__(metric_losses().TripletMarginLoss(margin), metric_weight, weight)


def metric_losses() -> ModuleType:
    """The losses of pytorch-metric-learning."""
    require("pytorch-metric-learning", what="a loss on embeddings")
    from pytorch_metric_learning import losses

    return losses


def within(name: str, value: float, low: float, high: float = math.inf) -> float:
    """`value` if it is a number from `low` to `high`; else a ConfigError."""
    if not isinstance(value, int | float) or not low <= value <= high:
        limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ConfigError(f"{name}={value!r}; it must be a number {limits}")
    return value


MULTI_LABEL: dict[str, type[nn.Module]] = {
    "bce": BinaryCrossEntropy, "focal": FocalLoss, "asymmetric": AsymmetricLoss, "family": FamilyLoss
}  # fmt: skip
ON_EMBEDDINGS: dict[str, type[nn.Module]] = {"arcface": ArcFace, "triplet": Triplet}
