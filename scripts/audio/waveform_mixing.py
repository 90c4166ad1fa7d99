"""One mixture of several audio files: a piece of each, made equally loud, added up or put one after another."""

import io
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import soundfile

from scripts.audio.decoding import check_silence, decode
from scripts.common.cli import pick
from scripts.common.errors import AudioError, ConfigError
from scripts.common.storage import write_aside

WAYS = ("sum", "concatenate")
PEAK = 0.9  # of every mixture; full scale is 1
LOUD_SHARE = 0.1  # of the power of a track's loudest piece is what each of its pieces has at least
SHORTEST = 0.1  # seconds
HIGHEST_RATE = 655_350  # Hz that FLAC knows


@dataclass(frozen=True)
class MixtureSettings:
    """What mixtures sound like.

    Attributes
    ----------
    mode : "sum", all files at once, or "concatenate", each for its share of the time, one after another.
    seconds : length of a mixture.
    sample_rate : Hz.
    spread : all files have the first one's mean power but for a gain of up to so many dB up or down.

    Raises
    ------
    ConfigError : a value that is not allowed.
    """

    mode: str = "sum"
    seconds: float = 2.0
    sample_rate: int = 44_100
    spread: float = 3.0

    def __post_init__(self) -> None:
        pick("way of mixing", self.mode, WAYS)
        if not SHORTEST <= self.seconds < math.inf:
            raise ConfigError(f"mixtures of {self.seconds} s; give at least {SHORTEST} s")
        if not 1 <= self.sample_rate <= HIGHEST_RATE:
            raise ConfigError(f"a sample rate of {self.sample_rate} Hz; give at most {HIGHEST_RATE}")
        if not 0 <= self.spread < math.inf:
            raise ConfigError(f"mixing with a spread of {self.spread} dB; give at least 0")

    @property
    def samples(self) -> int:
        return round(self.seconds * self.sample_rate)


class Job(NamedTuple):
    """A mixture: the file to write, the files to mix, and the seed of what is drawn."""

    path: str
    files: tuple[str, ...]
    seed: tuple[int, ...]


def write_mixture(settings: MixtureSettings, job: Job) -> None:
    """Write a FLAC file, whole or not at all.

    Raises
    ------
    AudioError : a file cannot be decoded.
    """
    file = io.BytesIO()
    soundfile.write(file, mixture(settings, job), settings.sample_rate, format="FLAC", subtype="PCM_16")
    with write_aside(job.path) as temporary:
        temporary.write_bytes(file.getvalue())


def mixture(settings: MixtureSettings, job: Job) -> np.ndarray:
    """float64 [samples], its peak at 0.9."""
    generator = np.random.default_rng(job.seed)
    samples = settings.samples if settings.mode == "sum" else math.ceil(settings.samples / len(job.files))
    pieces = [take_piece(decode(path, settings.sample_rate), samples, generator) for path in job.files]
    decibels = [0, *generator.uniform(-settings.spread, settings.spread, len(pieces) - 1)]
    level = 10 ** (np.array(decibels) / 20) / [np.sqrt(np.mean(piece**2)) for piece in pieces]
    pieces = level[:, None] * pieces
    mixed = pieces.sum(0) if settings.mode == "sum" else pieces.ravel()[: settings.samples]
    return mixed * (PEAK / np.abs(mixed).max())


def take_piece(waveform: np.ndarray, samples: int, generator: np.random.Generator) -> np.ndarray:
    """float64 [samples] from a drawn place, at which the waveform is not much softer than at its loudest.

    A waveform that is shorter starts at a drawn place in silence.
    """
    waveform, spare = waveform.astype(float), samples - len(waveform)
    if spare >= 0:
        before = generator.integers(spare + 1)
        return np.pad(waveform, (before, spare - before))
    energy = np.cumsum(np.pad(waveform**2, (1, 0)))
    energy = energy[samples:] - energy[:-samples]
    start = generator.choice(np.flatnonzero(energy >= LOUD_SHARE * energy.max()))
    return waveform[start : start + samples]


def find_fault(sample_rate: int, path: str) -> tuple[str, str]:
    """The path, and why it cannot be mixed in a word; "" if it can."""
    try:
        check_silence(path, decode(path, sample_rate))
    except AudioError as error:
        return path, error.status
    return path, ""
