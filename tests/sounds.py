"""Tagged sounds made on the spot, for tests of the store and of what stands on it."""

from pathlib import Path

import numpy as np
import soundfile
from matplotlib.image import imsave

from scripts.apps.store import Sound, Store


def make_sound(number: int, tags: tuple[str, ...] = ("high",), **changes) -> Sound:
    """The sound "test-<number>", made on the day of January 2026 that `number` is, with the labels high, low, mid."""
    probabilities = {label: 0.9 if label in tags else 0.1 for label in ("high", "low", "mid")}
    fields = {"title": f"Sound {number}", "url": f"https://example.org/{number}", "creator": "Mira", "licence": "CC0"}
    rest = {"created": f"2026-01-{number:02d}T12:00:00Z", "seconds": 0.5, "model": "chords"}
    return Sound(
        **{"key": f"test-{number}", **fields, **rest, "probabilities": probabilities, "tags": list(tags)} | changes
    )


def make_files(folder: Path, level: float = 0.5) -> tuple[Path, Path]:
    """A short WAV file of constant level, and a small picture, as a tagger hands them over."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "sound.wav", np.full(4000, level), 8000)
    imsave(folder / "picture.png", np.eye(8))
    return folder / "sound.wav", folder / "picture.png"


def add_sounds(store: Store, *sounds: Sound) -> None:
    for sound in sounds:
        store.add(sound, *make_files(store.folder / "given"))
