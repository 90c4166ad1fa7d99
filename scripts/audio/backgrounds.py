"""Recordings of other sounds, to lie behind those of a training set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scripts.audio.decoding import SUFFIXES, decode
from scripts.audio.features import make_transform
from scripts.audio.spec import MelSpec
from scripts.common.errors import AudioError, ConfigError

LONGEST = 60.0  # seconds that are taken of a recording
IN_ALL = 1800.0  # seconds that are taken of a folder


def read_backgrounds(folder: str, spec: MelSpec) -> Iterator[np.ndarray]:
    """Power spectrograms float32 [rows, frames] of the recordings in a folder, at any depth.

    Of each the first minute; where there is more than half an hour in all, recordings at random, always the same.

    Raises
    ------
    ConfigError : a folder that holds no recording.
    AudioError : a recording that cannot be decoded, or is silent.
    """
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ConfigError(f"{folder}: no recordings there ({', '.join(sorted(SUFFIXES))}); name a folder that has some")
    transform, left = make_transform(spec), IN_ALL
    for number in np.random.default_rng(0).permutation(len(files)):
        waveform = decode(files[number], spec.sample_rate, min(LONGEST, left))
        power = 10 ** (transform(waveform) / 10)
        if power.min() == power.max():
            raise AudioError(files[number], "silent", "nothing but silence", "take it out of the backgrounds")
        yield power
        left -= len(waveform) / spec.sample_rate
        if left <= 0:
            return
