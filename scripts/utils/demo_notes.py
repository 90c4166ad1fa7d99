"""A small synthetic corpus of single notes, a folder for each of six rough instruments, to mix and to tell apart."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts demo_notes`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("demo_notes")

import numpy as np
import soundfile

from scripts.common.cli import command
from scripts.common.storage import write_aside
from scripts.utils import flags

RATE = 22_050  # Hz
SECONDS = 2.0
NOTES = 40  # of each instrument
LOWEST, HIGHEST = 48, 79  # MIDI numbers of the pitches, C3 to G5


@dataclass(frozen=True)
class Instrument:
    """How a note of it sounds.

    Attributes
    ----------
    partials : level of each partial, the fundamental first.
    ratios : their frequencies as multiples of the fundamental's; none: 1, 2, 3, ...
    attack : seconds until the note is at its loudest.
    decay : seconds in which it then falls to 1/e; high partials of a plucked string fall faster.
    vibrato : depth, as a share of the frequency, at 5.5 Hz.
    breath : level of the noise.
    """

    partials: Sequence[float]
    ratios: Sequence[float] = ()
    attack: float = 0.03
    decay: float = 20.0
    vibrato: float = 0.0
    breath: float = 0.0


def falling(count: int, power: float) -> list[float]:
    """Levels of `count` partials that fall with their number to the power."""
    return [number**-power for number in range(1, count + 1)]


INSTRUMENTS = {
    "bell": Instrument((1, 0.7, 0.5, 0.4, 0.3), (1, 2.76, 5.4, 8.93, 11.34), attack=0.002, decay=0.5),
    "brass": Instrument(falling(14, 0.7), attack=0.09),
    "flute": Instrument((1, 0.25, 0.06), attack=0.06, vibrato=0.004, breath=0.06),
    "fiddle": Instrument(falling(18, 1.0), attack=0.05, vibrato=0.009),
    "pluck": Instrument(falling(12, 0.8), attack=0.002, decay=0.35),
    "reed": Instrument([1, 0, 0.7, 0, 0.5, 0, 0.35, 0, 0.25, 0, 0.15], attack=0.04),
}


def make_demo_notes(root: str | Path, notes: int = NOTES, seed: int = 0) -> Path:
    """Write `<root>/<instrument>/<number>_<pitch>.flac`, 2 s each at 22,050 Hz; what is there already stays.

    Each note depends on the seed, its instrument and its number alone. Returns `root`.
    """
    root = Path(root)
    for place, (name, instrument) in enumerate(INSTRUMENTS.items()):
        for number in range(notes):
            generator = np.random.default_rng((seed, place, number))
            pitch = int(generator.integers(LOWEST, HIGHEST + 1))
            path = root / name / f"{number:03d}_{pitch}.flac"
            if not path.is_file():
                with write_aside(path) as temporary:
                    soundfile.write(temporary, note(instrument, pitch, generator), RATE, format="FLAC")
    return root


def note(instrument: Instrument, pitch: int, generator: np.random.Generator) -> np.ndarray:
    """A note of a MIDI pitch: float [samples], with drawn level, length, brightness, detuning and noise."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    frequency = 440 * 2 ** ((pitch - 69 + generator.normal(0, 0.1)) / 12)
    phase = frequency * (time - instrument.vibrato * np.cos(2 * np.pi * 5.5 * time) / (2 * np.pi * 5.5))
    brightness, ratios = generator.normal(0, 0.25), instrument.ratios or range(1, len(instrument.partials) + 1)
    sound = np.zeros(len(time))
    for level, ratio in zip(instrument.partials, ratios, strict=True):
        if ratio * frequency < RATE / 2:
            fall = np.exp(-time / instrument.decay * ratio**0.5)
            sound += level * ratio**brightness * fall * np.sin(2 * np.pi * ratio * phase + generator.uniform(0, 6))
    sound = sound / np.abs(sound).max() + instrument.breath * generator.normal(size=len(time))
    level, noise = 10 ** generator.uniform(-1.2, -0.3), 10 ** generator.uniform(-4, -2.5)
    return np.clip(
        level * sound * envelope(time, instrument, generator) + noise * generator.normal(size=len(time)), -1, 1
    )


def envelope(time: np.ndarray, instrument: Instrument, generator: np.random.Generator) -> np.ndarray:
    """A rise, and a release of 0.1 s at a drawn end: float [samples], 0 to 1."""
    end = generator.uniform(0.7, SECONDS)
    return np.clip(time / instrument.attack, 0, 1) * np.clip((end - time) / 0.1, 0, 1)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.demo_notes(argv)
    root = make_demo_notes(args.root, args.notes, args.seed)
    print(f"{root}: {args.notes} synthetic notes of each of {len(INSTRUMENTS)} instruments: {', '.join(INSTRUMENTS)}")
