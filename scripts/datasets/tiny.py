"""Audio of the tiny generated datasets: a tone with faint noise, whose pitch tells the class."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000  # Hz
SECONDS = 1.5


def write_tone(path: Path, kind: int, seed: int = 0, seconds: float = SECONDS) -> None:
    """Write a tone in the format of the path's suffix; `kind` 0, 1, 2, ... is the class, `seed` the track."""
    rng, time = np.random.default_rng([kind, seed]), np.arange(round(seconds * RATE)) / RATE
    pitch = 200 * 1.3**kind * rng.uniform(0.97, 1.03)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time) + rng.normal(0, 0.02, len(time)), RATE)
