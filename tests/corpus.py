"""A small corpus for tests: tracks whose class is their pitch, a table with a split, a small spectrogram."""

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from scripts.audio.build_cache import build_cache
from scripts.audio.spec import MelSpec
from scripts.config.experiment import Experiment
from scripts.utils.metadata import repeat_clips

SPEC = MelSpec(sample_rate=8000, n_fft=512, hop_length=256, n_mels=32, track_seconds=5.0, clip_seconds=1.0)
SPEC_FLAGS = [
    "--sample-rate=8000", "--n-fft=512", "--hop-length=256", "--n-mels=32", "--track-seconds=5", "--clip-seconds=1",
]  # fmt: skip
GENRES = ["High", "Low", "Mid"]
PITCHES = [1800.0, 200.0, 700.0]
TONES = {"high": 1800.0, "low": 200.0, "mid": 700.0}
CHORDS = {
    "task": "multi_label",
    "model": {"name": "lean_tagger", "channels": [8, 16, 16]},
    "loss": "bce",
    "metric": "loss",
    "learning_rate": 1e-2,
    "batch_size": 8,
    "device": "cpu",
    "threads": 1,
    "spec": SPEC,
}


def make_corpus(folder: Path, tracks: int = 18, suffix: str = ".wav") -> pd.DataFrame:
    """Write the audio and both metadata files below `folder`; returns the table with a row a track."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(tracks):
        kind, path = number % 3, folder / "audio" / f"{number:06d}{suffix}"
        write_track(path, PITCHES[kind], number)
        part = {0: "test", 1: "validation"}.get(number // 3 % 6, "train")
        rows.append((number, path.as_posix(), GENRES[kind], kind, number // 3, number, part, 5.0))
    columns = ["track_id", "file_path", "genre", "class", "artist_id", "album_id", "split", "duration_s"]
    table = pd.DataFrame(rows, columns=columns).astype({"track_id": str})
    table.to_csv(folder / "metadata_30_secs.csv", index=False)
    repeat_clips(table, SPEC.clips_per_track).to_csv(folder / "metadata_ensemble.csv", index=False)
    return table


def write_track(path: Path, pitch: float, seed: int, seconds: float = 5.0, rate: int = 8000) -> None:
    generator, time = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * pitch * generator.uniform(0.9, 1.1) * time)
    soundfile.write(path, tone + generator.normal(0, 0.05, len(time)), rate)


def make_experiment(folder: Path, **settings) -> Experiment:
    """A corpus, its cache, and an experiment on both that takes a second to train."""
    build_cache(make_corpus(folder), folder / "mels", SPEC, workers=1)
    values = {"epochs": 2, "batch_size": 8, "device": "cpu", "threads": 2, "spec": SPEC, **settings}
    values = {"name": "small", "table": str(folder / "metadata_ensemble.csv"), "cache": str(folder / "mels"), **values}
    return Experiment(**values)


def make_chords(folder: Path, tracks: int = 48, absent: bool = False) -> Path:
    """Tracks of one or two tones and their multi-label table; every eighth holds none of them."""
    (folder / "audio").mkdir(parents=True)
    generator, names, rows = np.random.default_rng(0), list(TONES), []
    for number in range(tracks):
        chosen = [names[number % 3]] + [names[(number + 1) % 3]] * (number % 2)
        part = {0: "test", 1: "validation"}.get(number // 3 % 4, "train")
        chosen = [] if number % 8 == 0 else chosen
        time = np.arange(5 * 8000) / 8000
        sound = sum(0.2 * np.sin(2 * np.pi * TONES[name] * time) for name in chosen) + generator.normal(0, 0.02, 40_000)
        path = folder / "audio" / f"{number:03d}.wav"
        soundfile.write(path, sound, 8000)
        rows.append((f"{number:03d}", str(path), ";".join(sorted(chosen)) or "-", part))
    table = pd.DataFrame(rows, columns=["track_id", "file_path", "labels", "split"])
    if absent:
        table["absent"] = ["-" if "high" in labels else "high" for labels in table["labels"]]
    table.to_csv(folder / "metadata.csv", index=False)
    build_cache(table, folder / "mels", SPEC, workers=1)
    return folder / "metadata.csv"
