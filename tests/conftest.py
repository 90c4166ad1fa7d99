"""Audio files made on the spot."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def tone_samples(seconds: float, rate: int, channels: int = 1, frequency: float = 440.0) -> np.ndarray:
    """A tone in each channel, each higher and softer than the last, and faint noise: float32 [samples, channels]."""
    time = np.arange(round(seconds * rate))[:, None] / rate
    channel = np.arange(1, channels + 1)
    noise = np.random.default_rng(channels).normal(0, 0.01, (len(time), channels))
    return (0.5 / channel * np.sin(2 * np.pi * frequency * channel * time) + noise).astype(np.float32)


@pytest.fixture
def tone(tmp_path: Path) -> Callable[..., Path]:
    """`tone("a.mp3", seconds=2.0, rate=44_100, channels=1, frequency=440.0)` writes the file below `tmp_path`."""

    def write(name: str, seconds: float = 2.0, rate: int = 44_100, channels: int = 1, frequency: float = 440.0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone_samples(seconds, rate, channels, frequency), rate)
        return path

    return write
