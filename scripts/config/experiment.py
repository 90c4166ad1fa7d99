"""What an experiment is: a complete setting, from the table to the learning rate, in groups, and checked."""

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from scripts.audio.augment import complete
from scripts.audio.normalise import NORMALISATIONS
from scripts.audio.spec import MelSpec
from scripts.audio.spectrogram_mixing import complete as complete_mix
from scripts.audio.spectrogram_mixing import rename
from scripts.common.cli import pick
from scripts.common.errors import ConfigError
from scripts.metrics.multi_label import AGGREGATIONS
from scripts.metrics.single_label import METRICS
from scripts.metrics.thresholds import RULES
from scripts.training.losses import ON_EMBEDDINGS
from scripts.training.optim import CLOSURE_OPTIMIZERS, LOSSES, OPTIMIZERS, SCHEDULERS, SOFT_LOSSES
from scripts.training.weight_average import KINDS as AVERAGES

UNITS = ("clip", "crop", "track", "patch", "row")
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]


def one_of(kind: str, known: Iterable[str]) -> AfterValidator:
    """What checks a name that is one of several; another one is refused with the nearest of them."""
    known = tuple(known)
    return AfterValidator(lambda name: pick(kind, name, known))


class Settings(BaseModel):
    """A group of settings, never changed; a name that it does not have is refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Choice(Settings):
    """The name of a network, a loss, ..., the settings that all of its kind have, and its own keywords."""

    model_config = ConfigDict(extra="allow")

    name: str

    @property
    def keywords(self) -> dict[str, Any]:
        """What the one that is called `name` is made with."""
        return copy.deepcopy(self.model_extra or {})


class Fold(Settings):
    """One of several folds, in place of the table's split: `number` of `num_folds`, dealt out with `seed` by `by`."""

    num_folds: int = Field(validation_alias=AliasChoices("num_folds", "of"))
    number: int
    seed: int = 0
    by: str = "track"


class DataSettings(Settings):
    """Where the tracks, their labels and their spectrograms are.

    Attributes
    ----------
    table : metadata CSV with the split.
    cache : folder of the dataset's caches; of unit "patch" the folder of the HDF5 files; of unit "row"
        a CSV of features, or the folder of GTZAN's public table.
    unit : what the network sees: "clip", "crop" (trained on clips cut anywhere from the tracks, tested on the fixed
        ones), "track", "patch" of COALA's HDF5 files, or "row" of a table of features; testing averages a track's
        clips.
    labels : of several labels a track, the names in the order of the logits; none: all of the table, in alphabetical
        order.
    overrides : a CSV that corrects labels of training tracks, see `scripts.tables.overrides`.
    limit : a quick try: at most so many tracks, the same share of each part and class, see `splits.stratified_subset`;
        None takes all.
    fold : replaces the table's split by one of several folds.
    train_share : train on this share of the training tracks, above 0, up to 1, of each class the same; smaller shares
        are parts of greater ones, and validation and test stay whole.
    allow_leak : train although the split is known to leak; the report says so.
    """

    table: str
    cache: str
    unit: Annotated[str, one_of("unit", UNITS)] = "clip"
    labels: list[str] = []
    overrides: str = ""
    limit: Positive | None = None
    fold: Fold | None = None
    train_share: float = Field(default=1.0, gt=0, le=1)
    allow_leak: bool = False

    @property
    def subset(self) -> dict[str, Any]:
        """Of `limit` and `train_share` those that leave something out, for reports."""
        return self.model_dump(include={"limit", "train_share"}, exclude_defaults=True)


class FeatureSettings(Settings):
    """What the network is given of a sound.

    Attributes
    ----------
    spec : parameters of the spectrograms.
    normalise : "item", "image", "power" or "none", see `scripts.audio.normalise`.
    columns : how many the table of features has, for unit "row".
    """

    spec: Annotated[MelSpec, BeforeValidator(MelSpec.of)] = MelSpec()
    normalise: Annotated[str, one_of("normalise", NORMALISATIONS)] = "item"
    columns: Whole = 0


def with_network(keywords: Any) -> Any:
    """The keywords of a model in which the network inside it is called `network`; earlier versions called it `of`."""
    if not isinstance(keywords, dict):
        return keywords
    inside = {name: with_network(value) if name == "settings" else value for name, value in keywords.items()}
    return {"network" if name == "of" else name: value for name, value in inside.items()}


class ModelSettings(Choice):
    """A network of `build_model`, and its keywords.

    Attributes
    ----------
    initial : a checkpoint whose weights, but for the head, the training starts from.
    """

    name: str = "cnn4"
    initial: str = ""

    @model_validator(mode="before")
    @classmethod
    def rename(cls, values: Any) -> Any:
        """Earlier names of settings."""
        return with_network(values)


class LossSettings(Choice):
    """For one label a track CrossEntropyLoss or MultiMarginLoss of torch; for several "bce", "focal", "asymmetric" or
    "family"; for both, if each training track has one label, "arcface" or "triplet", see `scripts.training.losses`;
    and its keywords, such as label_smoothing=0.1.

    Attributes
    ----------
    class_weights : "none", or "balanced" for weights inverse to how often a class occurs; of several labels, weights
        of the presences, see `scripts.training.losses.positive_weights`.
    """

    name: str = "CrossEntropyLoss"
    class_weights: Literal["none", "balanced"] = "none"


class OptimizerSettings(Choice):
    """A class of torch.optim, and its keywords.

    Attributes
    ----------
    learning_rate, weight_decay : its "lr" and "weight_decay".
    """

    name: Annotated[str, one_of("optimizer", sorted(OPTIMIZERS.keys() - CLOSURE_OPTIMIZERS))] = "Adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = 0.0


class SchedulerSettings(Choice):
    """ "none", "cosine" (to zero over the epochs), "plateau" (a tenth after 3 epochs without progress) or a class of
    torch.optim.lr_scheduler, and its keywords.

    Attributes
    ----------
    warmup_epochs : the learning rate first rises for so many epochs.
    """

    name: Annotated[str, one_of("scheduler", SCHEDULERS)] = "none"
    warmup_epochs: Whole = 0


class AverageSettings(Choice):
    """ "none", "ema" or "swa" weights, see `scripts.training.weight_average`, and its keyword."""

    name: Annotated[str, one_of("average", AVERAGES)] = "none"


class TrainingSettings(Settings):
    """How long and in which portions, with which random numbers, and where.

    Attributes
    ----------
    epochs : 0 tests the weights that the training would start from.
    batch_size : items.
    sampling : "even", each item once an epoch, or "balanced", drawn so that rare labels come as often as others.
    frozen_epochs : so many epochs train the head alone, the rest everything.
    grad_clip : greatest norm of the gradient; None does not clip.
    patience : epochs without improvement before training stops; None trains all epochs.
    keep_epochs : also keep the weights of every so many epochs; 0 keeps those of the best and of the last one alone.
    seed : of weights, dropout, augmentation and the order of batches.
    device, precision, threads : "auto" and None take what the machine has; "cuda:1" is the second GPU; `precision` is
        that of training alone.
    deterministic : take the forms of torch's operations that give the same bits each time, also on a GPU.
    wandb : whether Weights & Biases is shown what TensorBoard is, see `training.run_log.mirrored`.
    """

    epochs: Whole = 5
    batch_size: Positive = 16
    sampling: Literal["even", "balanced"] = "even"
    frozen_epochs: Whole = 0
    grad_clip: float | None = None
    patience: Positive | None = None
    keep_epochs: Whole = 0
    seed: Whole = 0
    device: str = "auto"
    precision: str = "auto"
    threads: Positive | None = None
    deterministic: bool = False
    wandb: Literal["off", "offline", "online"] = "off"


class TestSettings(Settings):
    """How an epoch and the test are scored.

    Attributes
    ----------
    metric : what validation selects by: "track_accuracy", "clip_accuracy" or "loss"; of several labels "macro_f1",
        "mean_average_precision" or "loss"; "last" takes the last epoch and needs no validation.
    aggregation : of several labels, from a track's clips to its probabilities, see
        `metrics.multi_label.AGGREGATIONS`.
    thresholds : of several labels, chosen on validation: "half" (1/2), "global" or "label", see `metrics.thresholds`.
    """

    metric: Annotated[str, one_of("metric", METRICS)] = "track_accuracy"
    aggregation: Annotated[str, one_of("aggregation", AGGREGATIONS)] = "mean"
    thresholds: Annotated[str, one_of("thresholds", RULES)] = "label"


class Experiment(Settings):
    """One complete setting; `config.json` of a run holds it.

    A setting's own name is enough where one is given, as no two groups share one: `Experiment(name="own",
    table="data/own.csv", cache="data/own", epochs=2, model="cnn4")`, and `learning_rate` or `model.width` in
    `updated` and `changed`.

    Attributes
    ----------
    name : of the experiment.
    task : "single_label", one a track, or "multi_label", any number of them.
    data, features, model, loss, optimizer, scheduler, average, training, test : groups of settings.
    augment : augmentations by name with their settings, see `scripts.audio.augment`.
    mix : of several labels, what adds other items to an item, see `scripts.audio.spectrogram_mixing`.

    Raises
    ------
    ConfigError : an unknown name (the nearest is suggested), a wrong value, or settings that do not go together.
    """

    name: str
    task: Literal["single_label", "multi_label"] = "single_label"
    data: DataSettings
    features: FeatureSettings = FeatureSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    average: AverageSettings = AverageSettings()
    augment: Annotated[dict[str, dict[str, Any]], AfterValidator(lambda settings: complete(settings) and settings)] = {}
    mix: Annotated[dict[str, Any], AfterValidator(rename)] = {}
    training: TrainingSettings = TrainingSettings()
    test: TestSettings = TestSettings()

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**in_groups({}, settings))
        except ValidationError as error:
            raise ConfigError(describe(error)) from None

    @model_validator(mode="after")
    def check(self) -> "Experiment":
        """Settings that do not go together raise a ConfigError that says which would."""
        task, metric, unit = self.task, self.test.metric, self.data.unit
        if (unit == "row") != (self.features.columns > 0):
            raise ConfigError(
                f"unit={unit} with columns={self.features.columns}; rows of features, and only they, have columns"
            )
        pick(f"loss of task {task}", self.loss.name, LOSSES[task])
        pick(f"metric of task {task}", metric, [name for name, one in METRICS.items() if task in one.tasks])
        if "mixup" in self.augment and self.loss.name not in SOFT_LOSSES:
            raise ConfigError(f"mixup needs one of the losses {', '.join(SOFT_LOSSES)}, not {self.loss.name}; drop one")
        if task == "multi_label" and unit == "row":
            raise ConfigError("rows of features have one label each; set unit=clip, or use python -m scripts classical")
        if task == "single_label" and (self.data.labels or self.mix):
            raise ConfigError("labels and mix are for task=multi_label; set it, or leave them out")
        if self.mix:
            complete_mix(self.mix)
            if self.loss.name in ON_EMBEDDINGS:
                raise ConfigError(f"loss={self.loss.name} is for items of one label, and mix makes several; drop one")
        if metric == "last" and (
            self.training.patience is not None or self.scheduler.name in ("plateau", "ReduceLROnPlateau")
        ):
            raise ConfigError("metric=last looks at no validation; drop patience and the plateau scheduler")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and frames of an item."""
        if self.data.unit == "row":
            return self.features.columns, 1
        spec = self.features.spec
        return spec.track_shape if self.data.unit == "track" else spec.clip_shape

    def as_dict(self) -> dict[str, Any]:
        """For JSON: a dictionary for each group."""
        return self.model_dump()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Experiment":
        """The inverse of `as_dict`; also of what earlier versions wrote, all settings on one level."""
        if not isinstance(values, dict):
            raise ConfigError(f"{values!r} is no experiment; give the config.json of a run")
        return cls(**upgraded(values) if "table" in values else values)

    def as_markdown(self) -> str:
        """A table of all settings."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in flat(self.as_dict()).items())
        return f"| setting | value |\n|---|---|\n{rows}"

    def updated(self, changes: dict[str, Any] | None = None, /, **more: Any) -> "Experiment":
        """A copy with other settings, by their own names or by paths such as "model.width".

        A name given to a group that has one (`model="cnn4"`) changes the name alone; a dictionary replaces the group.
        """
        return Experiment(**in_groups(self.as_dict(), (changes or {}) | more))

    def changed(self, assignments: list[str]) -> "Experiment":
        """As `updated`, from `name=value` texts: "spec.n_mels=64", "augment.mixup.alpha=0.3"."""
        return self.updated(parse_assignments(assignments))


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


GROUPS = {
    name: entry.annotation.model_fields
    for name, entry in Experiment.model_fields.items()
    if isinstance(entry.annotation, type) and issubclass(entry.annotation, Settings)
}
PLACES = {name: [group, name] for group, fields in GROUPS.items() for name in fields if name != "name"}


def in_groups(values: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Nested `values` with the settings set in it, whole groups before what is in them."""
    result, paths = copy.deepcopy(values), {}
    for name, value in settings.items():
        outer, *inner = name.split(".")
        path = [*PLACES.get(outer, [outer]), *inner]
        if isinstance(value, str) and "name" in GROUPS.get(name, {}):
            path.append("name")
        paths[tuple(path)] = value
    for (*folders, last), value in sorted(paths.items(), key=lambda item: len(item[0])):
        place = result
        for folder in folders:
            if not isinstance(place.get(folder), dict):
                place[folder] = {}
            place = place[folder]
        place[last] = value
    return result


def flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by their paths, such as "model.width"."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        result |= flat(value, f"{before}{name}.") if isinstance(value, dict) and value else {before + name: value}
    return result


def upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of an earlier version: one level, keywords beside the names, other names of the tasks."""
    settings: dict[str, Any] = {}
    for name, value in values.items():
        choice = name.removesuffix("_settings")
        if name == "features":
            settings["columns"] = value
        elif name == "fold":
            settings["fold"] = value or None
        elif choice != name:
            settings |= {f"{choice}.{key}": inner for key, inner in value.items()}
        else:
            settings[name] = f"{value}_label" if name == "task" and value in ("single", "multi") else value
    return settings


def describe(error: ValidationError) -> str:
    """One line on the first thing that is wrong."""
    first = error.errors()[0]
    *groups, name = (str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        pick("setting", name, GROUPS[groups[0]] if groups else [*Experiment.model_fields, *PLACES])
    where = ".".join([*groups, name])
    if first["type"] == "missing":
        return f"{where} is missing; give it, or take the config.json of a run"
    wanted = first["msg"].replace("Input", "it", 1).partition(" or instance of")[0]
    return f"{where} is {json.dumps(first['input'], default=str)}; {wanted}"


def parse_assignments(texts: Iterable[str], flag: str = "--set", example: str = "epochs=10") -> dict[str, Any]:
    """The values by their names, from `name=value` texts.

    Raises
    ------
    ConfigError : a text without "=", which names the `flag` and gives the `example`.
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{flag} {text!r} has no '='; write name=value, such as {example}")
        values[name.strip()] = parse(value.strip())
    return values


def parse(text: str) -> Any:
    """A JSON value, or the text itself."""
    try:
        return json.loads({"None": "null", "True": "true", "False": "false"}.get(text, text))
    except json.JSONDecodeError:
        return text
