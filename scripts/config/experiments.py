"""Every named experiment: a complete setting, from the table to the learning rate."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from scripts.cli import pick
from scripts.errors import ConfigError
from scripts.features import MelSpec

SCHEDULERS = ("none", "cosine", "plateau")


@dataclass(frozen=True)
class Experiment:
    """One complete setting; `config.json` of a run holds it.

    Attributes
    ----------
    name : of the experiment.
    table : metadata CSV with the split.
    cache : folder of the dataset's caches.
    unit : what the network sees, "clip" or "track"; testing averages a track's clips.
    spec : parameters of the spectrograms.
    model, model_settings : name and keywords for `build_model`.
    epochs, batch_size, learning_rate, weight_decay : of Adam.
    scheduler : "none", "cosine" (to zero over the epochs) or "plateau" (a tenth after 3 epochs without progress).
    grad_clip : greatest norm of the gradient; None does not clip.
    patience : epochs without improvement before training stops; None trains all epochs.
    metric : what validation selects by: "track_accuracy", "clip_accuracy" or "loss".
    seed : of weights, dropout and the order of batches.
    device, precision, threads : "auto" and None take what the machine has.
    """

    name: str
    table: str
    cache: str
    unit: str = "clip"
    spec: MelSpec = MelSpec()
    model: str = "cnn4"
    model_settings: dict[str, Any] = field(default_factory=dict)
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    scheduler: str = "none"
    grad_clip: float | None = None
    patience: int | None = None
    metric: str = "track_accuracy"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        pick("unit", self.unit, ("clip", "track"))
        pick("scheduler", self.scheduler, SCHEDULERS)
        pick("metric", self.metric, ("track_accuracy", "clip_accuracy", "loss"))
        for name in ("epochs", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")

    @property
    def shape(self) -> tuple[int, int]:
        """Mels and frames of an item."""
        return self.spec.clip_shape if self.unit == "clip" else self.spec.track_shape

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
        """A copy with `name=value` assignments; `spec.n_mels=64` and `model_settings.norm=batch` reach inside.

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
        if outer == "model_settings" and inner:
            return dataclasses.replace(self, model_settings=self.model_settings | {inner: parse(text)})
        if outer == "spec":
            return dataclasses.replace(self, spec=replaced(self.spec, inner, text))
        return replaced(self, outer, text)


def replaced(settings: Any, name: str, text: str) -> Any:
    """A copy of a dataclass with one field set from text, after a check of its type."""
    kinds = {entry.name: entry.type for entry in dataclasses.fields(settings)}
    kind, value = kinds[pick("setting", name, kinds)], parse(text)
    if kind is float or (kind == float | None and value is not None):
        value = float(value) if isinstance(value, int | float) else value
    if isinstance(value, bool) or not isinstance(value, dict if name == "model_settings" else kind):
        raise ConfigError(f"{name}={text}: not of the kind {getattr(kind, '__name__', kind)}; give such a value")
    return dataclasses.replace(settings, **{name: value})


def parse(text: str) -> Any:
    """A JSON value, or the text itself."""
    try:
        return json.loads({"None": "null", "True": "true", "False": "false"}.get(text, text))
    except json.JSONDecodeError:
        return text


def with_demo(*experiments: Experiment) -> dict[str, Experiment]:
    """The experiments by name, each with its twin on the synthetic demo corpus."""
    twins = [
        dataclasses.replace(
            experiment,
            name=f"demo_{experiment.name}",
            table=experiment.table.replace("data/", "data/demo/"),
            cache=experiment.cache.replace("data/", "data/demo/"),
            epochs=DEMO_EPOCHS,
        )
        for experiment in experiments
    ]
    return {experiment.name: experiment for experiment in [*experiments, *twins]}


DEMO_EPOCHS = 12
EXPERIMENTS = with_demo(
    Experiment(
        name="full_30s",
        table="data/metadata_30_secs.csv",
        cache="data/mels",
        unit="track",
        batch_size=4,
        model_settings={"norm": "none", "pool": "flatten"},
    ),
    Experiment(
        name="ensemble_3s",
        table="data/metadata_ensemble.csv",
        cache="data/mels",
        unit="clip",
        batch_size=16,
        model_settings={"norm": "none", "pool": "flatten"},
    ),
)


def get_experiment(name: str) -> Experiment:
    """The experiment called `name`; an unknown name raises a ConfigError that suggests the nearest one."""
    return EXPERIMENTS[pick("experiment", name, EXPERIMENTS)]
