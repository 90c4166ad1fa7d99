"""A run's three folders, and getting its experiment and network back from them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.common.cli import pick
from scripts.common.cpu_pooling import use_cpu_kernels
from scripts.common.errors import CheckpointError, ConfigError
from scripts.common.storage import write_json
from scripts.config.experiment import Experiment
from scripts.metrics.familiarity import Familiarity
from scripts.models import Network, build_model
from scripts.training.checkpoints import load_checkpoint, load_weights

ROOT = Path("runs")


@dataclass(frozen=True)
class Run:
    """One execution of an experiment, called `<experiment>` or `<experiment>-<tag>`, below the folder `root`."""

    name: str
    root: Path = ROOT

    @classmethod
    def of(cls, experiment: Experiment, tag: str = "", root: str | Path = ROOT) -> "Run":
        """The run `<experiment>`, or `<experiment>-<tag>`."""
        return cls(f"{experiment.name}-{tag}" if tag else experiment.name, Path(root))

    @property
    def logs(self) -> Path:
        return self.root / "logs" / self.name

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints" / self.name

    @property
    def report(self) -> Path:
        return self.root / "reports" / self.name

    @property
    def config_path(self) -> Path:
        return self.report / "config.json"

    def exists(self) -> bool:
        return self.config_path.exists()

    def save_config(self, experiment: Experiment, **facts: Any) -> None:
        """Write `config.json`: the experiment, and what else is known: classes, fingerprints, inherited leaks."""
        write_json(self.config_path, {"run": self.name, "experiment": experiment.as_dict(), **facts})

    def load_config(self) -> dict[str, Any]:
        """`config.json` of a finished or unfinished run.

        Raises
        ------
        ConfigError : no such run (the nearest is suggested), or a damaged file.
        """
        if not self.exists():
            known = sorted(path.parent.name for path in self.root.glob("reports/*/config.json"))
            if not known:
                raise ConfigError(f"no run in {self.root}/; train one first (python -m scripts train --help)")
            pick("run", self.name, known)
        return read_config(self.config_path)

    def experiment(self) -> Experiment:
        return Experiment.from_dict(self.load_config()["experiment"])

    def load_model(self, checkpoint: str = "best.pt", device: str | torch.device = "cpu") -> Network:
        """The run's network with the weights of one of its checkpoints, ready for prediction; raises as `load`."""
        return self.load(checkpoint, device)[0]

    def load(self, checkpoint: str = "best.pt", device: str | torch.device = "cpu") -> tuple[Network, int]:
        """The network, as `load_model`, and the epoch its weights are of.

        Raises
        ------
        ConfigError, CheckpointError : there is no such run or checkpoint, or it is damaged.
        """
        config = self.load_config()
        model = make_model(without_download(self.experiment()), len(config["classes"]))
        path = self.checkpoints / checkpoint
        if not self.checkpoints.is_dir():
            raise CheckpointError(f"{self.checkpoints}: this run has no checkpoints; train it again")
        if not path.is_file():
            there = ", ".join(sorted(file.name for file in self.checkpoints.glob("*.pt"))) or "none"
            raise CheckpointError(
                f"{path}: no such checkpoint; there are {there} (a training with keep_epochs=N keeps every N-th epoch)"
            )
        state = load_checkpoint(path)
        load_weights(model, state, path)
        use_cpu_kernels(model)
        return model.to(device).to(memory_format=torch.channels_last).eval(), state["epoch"]

    def thresholds(self) -> np.ndarray | None:
        """The probability from which on each label is predicted, float64 [labels]; None where a track has one label."""
        if self.experiment().task == "single_label":
            return None
        path = self.checkpoints / "best.pt"
        stored = {str(name): value for name, value in load_checkpoint(path).get("thresholds", {}).items()}
        thresholds = np.array([stored.get(name, 0.5) for name in self.load_config()["classes"]], float)
        if not np.isfinite(thresholds).all():
            raise CheckpointError(f"{path}: holds thresholds that are no numbers; score the run again")
        return thresholds

    def familiarity(self) -> Familiarity | None:
        """What tells sounds that are unlike those of training; None of a run that was scored without it.

        Raises
        ------
        CheckpointError : no checkpoint, or one that is damaged.
        """
        path = self.checkpoints / "best.pt"
        stored = load_checkpoint(path).get("familiarity")
        try:
            return Familiarity.from_tensors(stored) if stored else None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(f"{path}: holds a damaged familiarity ({error}); score the run again") from None


def without_download(experiment: Experiment) -> Experiment:
    """The same without pretrained weights, where a checkpoint's are to replace them anyway."""
    return experiment.updated(
        {f"model.{name}": value for name, value in random_weights(experiment.model.keywords).items()}
    )


def random_weights(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings, also those of a network inside the network, with `pretrained` off."""
    inside = {key: random_weights(value) if key == "settings" and value else value for key, value in settings.items()}
    return inside | {"pretrained": False} if "pretrained" in inside else inside


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a `config.json`; a ConfigError says what is wrong with it."""
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
        if "pretext" in config:
            remedy = "start a training from it with --set initial=runs/checkpoints/RUN/last.pt"
            raise ConfigError(f"{path}: a pretraining, which has no classes; {remedy}")
        maker = next((name for name in ("classical", "label_svm", "blend") if name in config), None)
        if maker:
            raise ConfigError(f"{path}: written by `{maker}`, which has no network; see its test.json")
        classes = [str(name) for name in config["classes"]]  # older runs hold numbers, true, false and null
        return {"experiment": config["experiment"], "classes": classes, "split": config["split"]}
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the config.json of a run (runs/reports/RUN/)") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a run's config.json ({error}); give that of another run") from None


def make_model(experiment: Experiment, classes: int) -> Network:
    """The experiment's network, with weights drawn from torch's generator."""
    rows, frames = experiment.shape
    channels = {"in_channels": experiment.features.spec.channels} if experiment.features.spec.channels > 1 else {}
    return build_model(experiment.model.name, classes, frames, rows, **channels, **experiment.model.keywords)
