"""The genre, or the labels, of audio files of any length, by a trained run.

python -m scripts.predict song.mp3 other.wav --run fma_cnn_3s --top 3
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit

from scripts.audio import decode, fit_length, is_silent
from scripts.cli import command, positive_int
from scripts.config.experiment import Experiment
from scripts.errors import AudioError, ConfigError
from scripts.features import loudest_clip, make_transform
from scripts.hardware import autocast, choose_device, choose_precision
from scripts.metrics import softmax
from scripts.normalising import normalise
from scripts.patches import read_ranges, scale
from scripts.runs import ROOT, Run
from scripts.tag_metrics import aggregate

WINDOWS_AT_ONCE = 64


@dataclass(frozen=True)
class Prediction:
    """Probabilities of one file: the windows' logits averaged, then softmax; of several labels each its own.

    Attributes
    ----------
    path : the file. seconds : of audio. starts : float [windows], s, where each window begins.
    windows : float [windows, classes], probabilities of each window.
    probabilities : float [classes], of the whole file. names : of the classes or labels.
    thresholds : of several labels, float [labels], from which probability on each counts as found.
    """

    path: str
    seconds: float
    starts: np.ndarray
    windows: np.ndarray
    probabilities: np.ndarray
    names: list[str]
    thresholds: np.ndarray | None = None

    @property
    def found(self) -> list[str]:
        """The labels whose probability reaches its threshold, the likeliest first; one genre is always found."""
        if self.thresholds is None:
            return [self.top(1)[0][0]]
        reached = self.probabilities >= self.thresholds
        return [self.names[number] for number in np.argsort(-self.probabilities) if reached[number]]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, best first."""
        order = np.argsort(-self.probabilities)[:count]
        return [(self.names[number], float(self.probabilities[number])) for number in order]


class Predictor:
    """A run, loaded once, for any number of files."""

    def __init__(self, run: Run, overlap: float = 0.0) -> None:
        """`overlap` is the share of a window that the next one repeats, 0 up to but not including 1."""
        if not 0 <= overlap < 1:
            raise ConfigError(f"overlap is {overlap}; it must be at least 0 and below 1")
        self.experiment: Experiment = run.experiment()
        if self.experiment.unit == "row":
            raise ConfigError(f"{run.name} reads a table of features, not audio; give a run on spectrograms")
        self.names: list[str] = run.load_config()["classes"]
        self.device = choose_device(self.experiment.device)
        self.precision = choose_precision(self.experiment.precision, self.device)
        self.model = run.load_model(device=self.device)
        self.thresholds = run.thresholds()
        self.transform = make_transform(self.experiment.spec)
        self.ranges = read_ranges(self.experiment.cache) if self.experiment.unit == "patch" else None
        self.overlap = overlap

    def __call__(self, path: str | Path) -> Prediction:
        """Predict one file.

        Raises
        ------
        AudioError : it cannot be decoded, is silent, or is shorter than the spec allows.
        """
        spec = self.experiment.spec
        waveform = decode(path, spec.sample_rate)
        seconds = len(waveform) / spec.sample_rate
        if len(waveform) < spec.least_samples:
            reason = f"{seconds:.1f} s of audio, less than {spec.least_samples / spec.sample_rate:g} s"
            raise AudioError(path, "short", reason, "give a longer file")
        if is_silent(waveform):
            raise AudioError(path, "silent", "silent nearly throughout", "give a file with sound")
        starts, windows = self.cut(waveform)
        logits = np.concatenate(
            [self.logits(windows[i : i + WINDOWS_AT_ONCE]) for i in range(0, len(windows), WINDOWS_AT_ONCE)]
        )
        windows, whole = self.probabilities(logits)
        return Prediction(str(path), seconds, starts / spec.sample_rate, windows, whole, self.names, self.thresholds)

    def probabilities(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of each window and of the whole file, from logits [windows, classes]."""
        if self.experiment.task == "single":
            return softmax(logits), softmax(logits.mean(axis=0, dtype=np.float64))
        return expit(logits), aggregate(logits, np.zeros(len(logits), int), self.experiment.aggregation)[0]

    def cut(self, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Starts in samples, and windows [windows, samples]; a last one with less than half of its audio is dropped.

        A window is as long as a clip, or as a track where the network sees tracks or the loudest clip of each.
        """
        spec = self.experiment.spec
        clips = self.experiment.unit in ("clip", "crop") and spec.selection == "all"
        length = spec.clip_samples if clips else spec.track_samples
        step = max(1, round(length * (1 - self.overlap)))
        starts = np.arange(0, max(1, len(waveform) - length // 2), step)
        return starts, np.stack([fit_length(waveform[start : start + length], length, spec.ending) for start in starts])

    @torch.inference_mode()
    def logits(self, windows: np.ndarray) -> np.ndarray:
        """[windows, samples] -> float32 [windows, classes]. Rounded to float16 first, as in the cache."""
        values = torch.from_numpy(self.values(windows).astype(np.float16)).to(self.device)
        with autocast(self.device, self.precision):
            return self.model(normalise(values, self.experiment.normalise)).float().cpu().numpy()

    def values(self, windows: np.ndarray) -> np.ndarray:
        """[windows, samples] -> [windows, (channels,) rows, frames], as the cache or the patches hold them."""
        spec, values = self.experiment.spec, self.transform(windows)
        if spec.selection == "loudest" and self.experiment.unit != "track":
            values = np.stack([loudest_clip(track, spec) for track in values])
        return values if self.ranges is None else scale(values, self.ranges)


def show(prediction: Prediction, top: int, as_json: bool) -> str:
    best = prediction.top(top)
    if as_json:
        return json.dumps(
            {
                "file": prediction.path,
                "seconds": round(prediction.seconds, 3),
                "windows": len(prediction.starts),
                "found": prediction.found,
                "probabilities": {name: round(value, 4) for name, value in best},
            },
            ensure_ascii=False,
        )
    found = "" if prediction.thresholds is None else f"{', '.join(prediction.found) or 'nothing found'} | "
    return f"{prediction.path}: {found}" + ", ".join(f"{name} {value:.1%}" for name, value in best)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="audio files of any length from one clip up")
    parser.add_argument("--run", required=True, help="name of a trained run, as in runs/reports/")
    parser.add_argument("--top", type=positive_int, default=3, help="how many genres or labels to print; default: 3")
    parser.add_argument(
        "--overlap", type=float, default=0.0, help="share of a window that the next repeats; default: 0"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--runs", type=Path, default=ROOT, metavar="FOLDER", help="default: runs")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    predictor, failed = Predictor(Run(args.run, args.runs), args.overlap), 0
    for path in args.files:
        try:
            print(show(predictor(path), args.top, args.json), flush=True)
        except AudioError as error:
            print(f"skipped: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise ConfigError(f"{failed} of {len(args.files)} files could not be predicted; the reasons stand above")


if __name__ == "__main__":
    main()
