"""A run as a folder in the layout of the Hugging Face hub: model.safetensors, config.json, README.md."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from scripts.common.cpu_pooling import use_cpu_kernels
from scripts.common.errors import CheckpointError
from scripts.common.storage import write_aside, write_json, write_text
from scripts.config.run import Run, make_model, read_config, without_download
from scripts.inference.model_card import read_report, write_card
from scripts.inference.predictor import Predictor
from scripts.models import Network
from scripts.training.checkpoints import check_finite

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
HEADER = """\
---
pipeline_tag: audio-classification
tags:
- audio
- music
---

"""
LOADING = """
## How to load

`config.json` has the labels, the thresholds and every setting; `model.safetensors` the weights. With the code that
trained it (docs/export.md):

```python
from scripts.exporting.hub import ExportedRun
from scripts.inference.predictor import Predictor

prediction = Predictor(ExportedRun.open("FOLDER"))("song.mp3")
```

The graphs in `onnx/`, if there are any, need ONNX Runtime alone; their metadata say what `config.json` does.
"""


def gather_facts(run: Run, predictor: Predictor) -> dict[str, Any]:
    """What a program has to know of a run, for `config.json` and for the metadata of a graph; plain values.

    `thresholds` has that of each label, and is None where a track has one label; a recording of less than `min_seconds`
    is refused; `window_seconds` is how much audio the network sees at a time, `overlap` the share of it that the next
    window repeats.
    """
    experiment, thresholds = predictor.experiment, predictor.thresholds
    return {
        "run": run.name,
        "task": experiment.task,
        "classes": predictor.names,
        "thresholds": None if thresholds is None else dict(zip(predictor.names, thresholds.tolist(), strict=True)),
        "sample_rate": experiment.features.spec.sample_rate,
        "min_seconds": experiment.features.spec.min_samples / experiment.features.spec.sample_rate,
        "window_seconds": predictor.window_samples / experiment.features.spec.sample_rate,
        "overlap": predictor.overlap,
        "aggregation": experiment.test.aggregation,
        "normalise": experiment.features.normalise,
        "spec": experiment.features.spec.as_dict(),
        "split": run.load_config()["split"],
    }


def write_hub_folder(run: Run, predictor: Predictor, folder: Path) -> list[Path]:
    """Write the weights, the configuration and the card; returns the files.

    Raises
    ------
    ConfigError : the run was not tested.
    """
    card = write_hub_card(run)
    with write_aside(folder / WEIGHTS) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_model(predictor.model, str(temporary), metadata={"format": "pt"})
        temporary.chmod(mode)  # safetensors keeps its files to their owner
    write_json(folder / CONFIG, gather_facts(run, predictor) | {"experiment": predictor.experiment.as_dict()})
    write_text(folder / CARD, card)
    return [folder / name for name in (WEIGHTS, CONFIG, CARD)]


def write_hub_card(run: Run) -> str:
    """The model card with the hub's header, and how to load the folder."""
    card = write_card(run, read_report(run), run.name, datetime.now(UTC).isoformat(timespec="seconds"))
    return HEADER + card.partition("\n## How to load")[0] + LOADING


@dataclass(frozen=True)
class ExportedRun(Run):
    """What `write_hub_folder` wrote, in place of a run: the folder `name` in `root`."""

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """The run in an exported folder.

        Raises
        ------
        ConfigError : there is none.
        """
        folder = Path(folder).absolute()
        read_config(folder / CONFIG)
        return cls(folder.name, folder.parent)

    @property
    def config_path(self) -> Path:
        return self.root / self.name / CONFIG

    def load(self, checkpoint: str = "best.pt", device: str | torch.device = "cpu") -> tuple[Network, int]:
        """The network with the best weights, the only ones here, ready for prediction; their epoch is not known, 0.

        Raises
        ------
        ConfigError, CheckpointError : a file of the folder is missing or damaged.
        """
        model = make_model(without_download(self.experiment()), len(self.load_config()["classes"]))
        path = self.config_path.with_name(WEIGHTS)
        try:
            load_model(model, path)
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: not the weights of {CONFIG} beside it ({reason}); export again") from None
        check_finite(model, path)
        use_cpu_kernels(model)
        return model.to(device).to(memory_format=torch.channels_last).eval(), 0

    def thresholds(self) -> np.ndarray | None:
        """As `Run.thresholds`."""
        named = json.loads(self.config_path.read_text(encoding="utf-8")).get("thresholds")
        return None if named is None else np.array([named[name] for name in self.load_config()["classes"]])

    def familiarity(self) -> None:
        """It is not exported."""
