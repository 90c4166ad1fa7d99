"""The named experiments on instruments and tags: single notes, mixtures of them, and published multi-label sets."""

from typing import Any

from scripts.config.experiment import Experiment
from scripts.config.preset import Preset
from scripts.spec import MelSpec

# a second of a note, three of them to a track; a shorter note is repeated
NOTES = MelSpec(
    sample_rate=22_050,
    n_fft=1024,
    hop=256,
    n_mels=64,
    track_seconds=2,
    clip_seconds=1,
    clip_overlap=0.5,
    ending="repeat",
    least_seconds=0.2,
)
ONE_CYCLE: dict[str, Any] = {
    "optimizer": "AdamW",
    "learning_rate": 3e-3,
    "weight_decay": 0.02,
    "scheduler": "OneCycleLR",
}
MASKS = {"frequency_mask": {"width": 8, "count": 2}, "time_mask": {"width": 10, "count": 2}}


def notes(name: str, **settings: Any) -> Experiment:
    """Single notes, one instrument each, by the lean network."""
    folder = f"data/{name.removesuffix('_notes')}"
    values = {
        "table": f"{folder}/metadata_ensemble.csv",
        "cache": f"{folder}/mels",
        "spec": NOTES,
        "model": "lean_tagger",
        "batch_size": 32,
        "epochs": 20,
        "metric": "last",
        **ONE_CYCLE,
        "augment": {"mixup": {"alpha": 0.3}, **MASKS},
    }
    return Experiment(name=name, **values | settings)


PRESETS = [
    Preset(
        notes("philharmonia_notes"),
        "15 orchestral instruments, single notes and phrases of the Philharmonia Orchestra",
        "-",
        "not run yet",
    ),
]
