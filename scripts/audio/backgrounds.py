"""Recordings of other sounds, to lie behind those of a training set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scripts.audio.decoding import SUFFIXES, check_silence, decode
from scripts.audio.features import make_transform
from scripts.audio.spec import MelSpec
from scripts.common.errors import ConfigError

LONGEST = 60.0  # seconds that are taken of a recording
IN_ALL = 1800.0  # seconds that are taken of a folder


def read_backgrounds(folder: str, spec: MelSpec) -> Iterator[np.ndarray]:
    """Power spectrograms float32 [rows, frames] of the recordings in a folder, at any depth.

    Of each the first minute; where there is more than half an hour in all, recordings at random, always the same.
    Hidden files and folders are passed over.

    Raises
    ------
    ConfigError : no folder, or one that holds no recording.
    AudioError : a recording that cannot be decoded, or is silent.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ConfigError(f"{folder}: no such folder; name one that holds recordings")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not files:
        raise ConfigError(f"{folder}: holds no audio files; name a folder that holds recordings")
    transform, left = make_transform(spec), IN_ALL
    for number in np.random.default_rng(0).permutation(len(files)):
        waveform = decode(files[number], spec.sample_rate, LONGEST)
        check_silence(files[number], waveform)
        waveform = waveform[: round(left * spec.sample_rate)]
        yield 10 ** (transform(waveform) / 10)
        left -= len(waveform) / spec.sample_rate
        if left < 1:
            return
