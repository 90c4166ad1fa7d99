"""What an experiment is: a complete setting, from the table to the learning rate."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from scripts.audio.augment import complete
from scripts.audio.normalise import NORMALISATIONS
from scripts.audio.spec import MelSpec
from scripts.audio.spectrogram_mixing import complete as complete_mix
from scripts.common.cli import pick
from scripts.common.errors import ConfigError
from scripts.metrics.multi_label import AGGREGATIONS
from scripts.metrics.single_label import METRICS
from scripts.metrics.thresholds import RULES
from scripts.training.optim import CLOSURE_OPTIMIZERS, LOSSES, OPTIMIZERS, SCHEDULERS, SOFT_LOSSES
from scripts.training.weight_average import KINDS as AVERAGES

NAMES: dict[str, tuple[str, ...]] = {
    "task": ("single", "multi"),
    "unit": ("clip", "crop", "track", "patch", "row"),
    "normalise": tuple(NORMALISATIONS),
    "optimizer": tuple(sorted(OPTIMIZERS.keys() - CLOSURE_OPTIMIZERS)),
    "scheduler": SCHEDULERS,
    "class_weights": ("none", "balanced"),
    "average": AVERAGES,
    "sampling": ("even", "balanced"),
    "metric": tuple(METRICS),
    "aggregation": tuple(AGGREGATIONS),
    "thresholds": tuple(RULES),
}


@dataclass(frozen=True)
class Experiment:
    """One complete setting; `config.json` of a run holds it.

    Attributes
    ----------
    name : of the experiment.
    table : metadata CSV with the split.
    task : "single", one genre a track, or "multi", any number of labels.
    labels : of task "multi", the names in the order of the logits; none: all of the table, in alphabetical order.
    cache : folder of the dataset's caches; of unit "patch" the folder of the HDF5 files; of unit "row"
        a CSV of features, or the folder of GTZAN's public table.
    unit : what the network sees: "clip", "crop" (trained on clips cut anywhere from the tracks, tested on the fixed
        ones), "track", "patch" of COALA's HDF5 files, or "row" of a table of features; testing averages a track's
        clips.
    spec : parameters of the spectrograms.
    features : how many columns the table of features has, for unit "row".
    normalise : "item", "image", "power" or "none", see `scripts.audio.normalise`.
    model, model_settings : name and keywords for `build_model`.
    epochs, batch_size : of the training.
    optimizer, optimizer_settings, learning_rate, weight_decay : a class of torch.optim and its keywords.
    scheduler, scheduler_settings : "none", "cosine" (to zero over the epochs), "plateau" (a tenth after 3 epochs
        without progress) or a class of torch.optim.lr_scheduler, and its keywords.
    warmup_epochs : the learning rate first rises for so many epochs.
    loss, loss_settings : of task "single" CrossEntropyLoss or MultiMarginLoss of torch, "arcface" or "triplet"; of
        task "multi" "bce", "focal", "asymmetric" or "family", see `scripts.training.losses`; and its keywords, such as
        label_smoothing=0.1.
    class_weights : "none", or "balanced" for weights inverse to how often a class occurs; of task "multi", weights
        of the presences, see `scripts.training.losses.positive_weights`.
    sampling : "even", each item once an epoch, or "balanced", drawn so that rare labels come as often as others.
    mix : of task "multi", what adds other items to an item, see `scripts.audio.spectrogram_mixing`.
    augment : augmentations by name with their settings, see `scripts.audio.augment`.
    average, average_settings : "none", "ema" or "swa" weights, see `scripts.training.weight_average`.
    frozen_epochs : so many epochs train the head alone, the rest everything.
    grad_clip : greatest norm of the gradient; None does not clip.
    patience : epochs without improvement before training stops; None trains all epochs.
    keep_epochs : also keep the weights of every so many epochs; 0 keeps those of the best and of the last one alone.
    aggregation : of task "multi", from a track's clips to its probabilities, see `metrics.multi_label.AGGREGATIONS`.
    thresholds : of task "multi", chosen on validation: "half" (1/2), "global" or "label", see `metrics.thresholds`.
    initial : a checkpoint whose weights, but for the head, the training starts from.
    overrides : a CSV that corrects labels of training tracks, see `scripts.tables.overrides`.
    metric : what validation selects by: "track_accuracy", "clip_accuracy" or "loss"; of task "multi" "macro_f1",
        "mean_average_precision" or "loss"; "last" takes the last epoch and needs no validation.
    fold : replaces the table's split by one of several folds: {"of": 5, "number": 0, "seed": 0, "by": "track"}.
    allow_leak : train although the split is known to leak; the report says so.
    seed : of weights, dropout, augmentation and the order of batches.
    device, precision, threads : "auto" and None take what the machine has; `precision` is that of training alone.
    """

    name: str
    table: str
    cache: str
    task: str = "single"
    labels: list[str] = field(default_factory=list)
    unit: str = "clip"
    spec: MelSpec = MelSpec()
    features: int = 0
    normalise: str = "item"
    model: str = "cnn4"
    model_settings: dict[str, Any] = field(default_factory=dict)
    epochs: int = 5
    batch_size: int = 16
    optimizer: str = "Adam"
    optimizer_settings: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    scheduler: str = "none"
    scheduler_settings: dict[str, Any] = field(default_factory=dict)
    warmup_epochs: int = 0
    loss: str = "CrossEntropyLoss"
    loss_settings: dict[str, Any] = field(default_factory=dict)
    class_weights: str = "none"
    sampling: str = "even"
    mix: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    average: str = "none"
    average_settings: dict[str, Any] = field(default_factory=dict)
    frozen_epochs: int = 0
    grad_clip: float | None = None
    patience: int | None = None
    keep_epochs: int = 0
    aggregation: str = "mean"
    thresholds: str = "label"
    initial: str = ""
    overrides: str = ""
    metric: str = "track_accuracy"
    fold: dict[str, Any] = field(default_factory=dict)
    allow_leak: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, known in NAMES.items():
            pick(name, getattr(self, name), known)
        if self.epochs < 0:
            raise ConfigError(f"epochs is {self.epochs}; it must be at least 0, which tests the weights it starts from")
        if self.keep_epochs < 0:
            raise ConfigError(
                f"keep_epochs is {self.keep_epochs}; give 0 for best and last alone, or every how many epochs"
            )
        for name in ("batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")
        if (self.unit == "row") != (self.features > 0):
            raise ConfigError(f"unit={self.unit} with features={self.features}; rows, and only they, have features")
        complete(self.augment)
        check_task(self)
        if self.metric == "last" and (self.patience is not None or self.scheduler in ("plateau", "ReduceLROnPlateau")):
            raise ConfigError("metric=last looks at no validation; drop patience and the plateau scheduler")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and frames of an item."""
        if self.unit == "row":
            return self.features, 1
        return self.spec.track_shape if self.unit == "track" else self.spec.clip_shape

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Experiment":
        """The inverse of `as_dict`.

        Raises
        ------
        ConfigError : an unknown or missing setting.
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in values:
            pick("setting", name, known)
        try:
            return cls(**{**values, "spec": MelSpec(**values["spec"])})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"incomplete settings ({error}); give the config.json of a run") from None

    def changed(self, assignments: list[str]) -> "Experiment":
        """A copy with `name=value` assignments; `spec.n_mels=64` and `augment.mixup.alpha=0.3` reach inside.

        Raises
        ------
        ConfigError : no "=", an unknown name (the nearest is suggested) or a value of the wrong type.
        """
        result = self
        for text in assignments:
            name, equals, value = text.partition("=")
            if not equals:
                raise ConfigError(f"--set {text!r} has no '='; write name=value, such as epochs=10")
            result = result.with_value(name.strip(), value.strip())
        return result

    def with_value(self, name: str, text: str) -> "Experiment":
        outer, _, inner = name.partition(".")
        pick("setting", outer, [entry.name for entry in dataclasses.fields(self)])
        if inner and isinstance(getattr(self, outer), dict):
            return dataclasses.replace(self, **{outer: with_key(getattr(self, outer), inner, parse(text))})
        if outer == "spec":
            return dataclasses.replace(self, spec=replaced(self.spec, inner, text))
        return replaced(self, outer, text)


@dataclass(frozen=True)
class Preset:
    """An experiment and where it stands.

    source : what it comes from, and what is done otherwise.
    reported : the source's own score, with its split.
    measured : the score here, with its split, or why there is none.
    """

    experiment: Experiment
    source: str
    reported: str
    measured: str


def check_task(experiment: Experiment) -> None:
    """Loss, metric and mixing suit the task; raises a ConfigError that says which would."""
    task = experiment.task
    pick(f"loss of task {task}", experiment.loss, LOSSES[task])
    pick(f"metric of task {task}", experiment.metric, [name for name, one in METRICS.items() if task in one.tasks])
    if "mixup" in experiment.augment and experiment.loss not in SOFT_LOSSES:
        raise ConfigError(f"mixup needs one of the losses {', '.join(SOFT_LOSSES)}, not {experiment.loss}; drop one")
    if task == "multi" and experiment.unit == "row":
        raise ConfigError("rows of features have one label each; set unit=clip, or use python -m scripts classical")
    if task == "single" and (experiment.labels or experiment.mix):
        raise ConfigError("labels and mix are for task=multi; set it, or leave them out")
    if experiment.mix:
        complete_mix(experiment.mix)


def with_key(settings: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """A copy with the value under `name`; "mixup.alpha" reaches one level further in."""
    outer, _, inner = name.partition(".")
    return settings | {outer: with_key(settings.get(outer, {}), inner, value) if inner else value}


def replaced(settings: Any, name: str, text: str) -> Any:
    """A copy of a dataclass with one field set from text, after a check of its type."""
    kinds = {entry.name: entry.type for entry in dataclasses.fields(settings)}
    kind, value = kinds[pick("setting", name, kinds)], parse(text)
    if kind is float or (kind == float | None and value is not None):
        value = float(value) if isinstance(value, int | float) else value
    (item,) = get_args(kind) if get_origin(kind) is list else (object,)
    kind = get_origin(kind) if get_origin(kind) in (dict, list) else kind
    fits = isinstance(value, kind) and (kind is not list or all(isinstance(one, item) for one in value))
    if (isinstance(value, bool) and kind is not bool) or not fits:
        raise ConfigError(f"{name}={text}: not of the kind {getattr(kind, '__name__', kind)}; give such a value")
    return dataclasses.replace(settings, **{name: value})


def parse(text: str) -> Any:
    """A JSON value, or the text itself."""
    try:
        return json.loads({"None": "null", "True": "true", "False": "false"}.get(text, text))
    except json.JSONDecodeError:
        return text
