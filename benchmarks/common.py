"""What the benchmarks share: fresh processes, medians, generated data, the closing JSON line."""

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import soundfile

from scripts.common.parallel import available_cores

if TYPE_CHECKING:
    from scripts.loading.loader import Items

MELS, FRAMES, CLASSES = 128, 259, 8


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)` in a process of its own, so that no measurement inherits another's memory or threads."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compare(plain: Callable[[], float], ours: Callable[[], float], repeats: int) -> dict[str, float]:
    """Medians of two rates, measured in turns, and the median of their ratios; more is faster."""
    pairs = np.array([[plain(), ours()] for _ in range(repeats)])
    rates = np.median(pairs, axis=0)
    return {
        "plain": round(rates[0], 2),
        "ours": round(rates[1], 2),
        "ratio": round(np.median(pairs[:, 1] / pairs[:, 0]), 2),
    }


def report(name: str, unit: str, result: dict) -> dict:
    """Print the closing JSON line and return its content."""
    line = {"benchmark": name, "unit": unit, **result, "cores": available_cores()}
    print(json.dumps(line))
    return line


def parser(doc: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--repeats", type=int, default=3, help="measurements, of which the median counts")
    return made


def make_tracks(folder: Path, count: int, seconds: float = 30.0) -> list[Path]:
    """Stereo mp3s at 44.1 kHz: chords in noise."""
    generator, time = np.random.default_rng(0), np.arange(round(seconds * 44_100)) / 44_100
    paths = [folder / f"{number:03d}.mp3" for number in range(count)]
    for path in paths:
        tones = sum(np.sin(2 * np.pi * f * time + generator.random()) for f in generator.uniform(80, 4000, 6))
        noise = generator.standard_normal((len(time), 2))
        soundfile.write(path, 0.08 * (tones[:, None] + noise), 44_100)
    return paths


def make_items(folder: str, tracks: int) -> "Items":
    """Random packed clips on disk, ten a track, as a cache has them."""
    from scripts.loading.loader import Items  # with torch, which not all processes need

    path = Path(folder) / "clips.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float16, (tracks * 10, MELS, FRAMES))
    generator = np.random.default_rng(0)
    for row in range(len(array)):
        array[row] = generator.normal(-40, 15, array.shape[1:])
    array.flush()
    track = np.repeat(np.arange(tracks), 10)
    table = pd.DataFrame({"track_id": np.arange(tracks).astype(str), "class": np.arange(tracks) % CLASSES, "items": 10})
    return Items(np.load(path, mmap_mode="r"), np.arange(tracks * 10), track % CLASSES, track, table)


def make_files(folder: str, items: "Items") -> list[Path]:
    """The same clips, standardised, one float32 file each."""
    paths = [Path(folder) / f"{row}.npy" for row in range(len(items))]
    for row, path in enumerate(paths):
        clip = items.array[row].astype(np.float32)
        np.save(path, (clip - clip.mean()) / clip.std())
    return paths


def temporary_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="benchmark-")
