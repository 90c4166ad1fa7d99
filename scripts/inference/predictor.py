"""The probabilities of audio files of any length, by a trained run that is loaded once."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, softmax

from scripts.audio.features import make_transform
from scripts.audio.normalise import normalise
from scripts.common.errors import AudioError, ConfigError
from scripts.common.machine import choose_device, in_float32
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.inference.windows import Facts, FrontEnd, Part, Windows, sees_clips
from scripts.loading.coala_patches import read_ranges
from scripts.metrics.familiarity import is_unfamiliar
from scripts.metrics.multi_label import aggregate

WINDOWS_AT_ONCE, SECONDS_AT_ONCE = 32, 96  # in a batch, at most; a CPU is no faster with more, and needs more memory


@dataclass(frozen=True)
class Prediction:
    """Probabilities of one file: the windows' logits averaged, then softmax; of several labels each its own.

    Attributes
    ----------
    path : path of the file.
    seconds : length of the audio.
    starts : float [windows], where each window begins, s.
    windows : float [windows, classes], probabilities in each window.
    probabilities : float [classes], in the whole file.
    names : names of the classes or labels.
    thresholds : float [labels], of several labels a track: the probability from which on each is predicted.
    note : what is wrong with the file, such as "damaged after 2.4 s"; "" if nothing is.
    distance : of the file from the training sounds, in parts of the largest at which it counts as one of their kind;
        None where the run does not know. Three decimals.
    """

    path: str
    seconds: float
    starts: np.ndarray
    windows: np.ndarray
    probabilities: np.ndarray
    names: list[str]
    thresholds: np.ndarray | None = None
    note: str = ""
    distance: float | None = None

    @property
    def unfamiliar(self) -> bool:
        """It is unlike all that the run was trained on: none of its labels."""
        return is_unfamiliar(self.distance)

    @property
    def labels(self) -> list[str]:
        """The predicted ones, likeliest first: all that reach their thresholds; of one label a track the likeliest.

        None of a file that is unfamiliar.
        """
        if self.unfamiliar:
            return []
        if self.thresholds is None:
            return [self.top(1)[0][0]]
        reached = self.probabilities >= self.thresholds
        return [self.names[number] for number in np.argsort(-self.probabilities) if reached[number]]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, best first."""
        order = np.argsort(-self.probabilities)[:count]
        return [(self.names[number], float(self.probabilities[number])) for number in order]


class Predictor:
    """A run, loaded once, for any number of files; several threads may use it at a time."""

    def __init__(self, run: Run, overlap: float | None = None, longest: float | None = None) -> None:
        """Load the run's best weights.

        Parameters
        ----------
        overlap : the share of a window that the next one repeats, 0 up to but not including 1; default: as in the test.
        longest : seconds; a longer file is refused. Default: no limit.

        Raises
        ------
        ConfigError, CheckpointError : there is no such run, it takes no audio, or its checkpoint is damaged.
        """
        if overlap is not None and not 0 <= overlap < 1:
            raise ConfigError(f"overlap is {overlap}; it must be at least 0 and below 1")
        self.experiment: Experiment = run.experiment()
        if self.experiment.data.unit == "row":
            raise ConfigError(f"{run.name} reads a table of features, not audio; give a run on spectrograms")
        self.names: list[str] = run.load_config()["classes"]
        self.device = choose_device(self.experiment.training.device)
        self.model = run.load_model(device=self.device)
        self.thresholds, self.familiarity = run.thresholds(), run.familiarity()
        self.transform = make_transform(self.experiment.features.spec)
        self.ranges = read_ranges(self.experiment.data.cache) if self.experiment.data.unit == "patch" else None
        spec = self.experiment.features.spec
        default = spec.clip_overlap if sees_clips(spec, self.experiment.data.unit) else 0.0
        self.overlap = default if overlap is None else overlap
        self.longest, self.lock = longest, threading.Lock()

    @property
    def front_end(self) -> FrontEnd:
        data, spec = self.experiment.data, self.experiment.features.spec
        return FrontEnd(spec, data.unit, self.overlap, self.longest, self.ranges)

    def __call__(self, path: str | Path) -> Prediction:
        """Predict one file, of any length in the same memory; raises as `prepare`."""
        outputs = defaultdict(list)
        for part in self.front_end.parts(path, self.windows_at_once):
            if isinstance(part, Part):
                outputs[part.take].append(self.forward(part.values))
            else:
                facts = part
        return self.prediction(facts, np.concatenate(outputs[facts.take]))

    def prepare(self, path: str | Path) -> Windows:
        """Decode a whole file and cut it into windows; raises as `FrontEnd.prepare`."""
        return self.front_end.prepare(path)

    def predict(self, files: Sequence[Windows]) -> list[Prediction]:
        """Predict several files at a time, their windows in common batches."""
        waveforms, size = [window for file in files for window in file.waveforms], self.windows_at_once
        batches = (np.stack(waveforms[start : start + size]) for start in range(0, len(waveforms), size))
        outputs = np.concatenate([self.outputs(batch) for batch in batches])
        ends = np.cumsum([len(file.waveforms) for file in files])[:-1]
        return [self.prediction(file, part) for file, part in zip(files, np.split(outputs, ends), strict=True)]

    def prediction(self, file: Facts, outputs: np.ndarray) -> Prediction:
        """Of one file, from what `forward` gives for its windows.

        Raises
        ------
        AudioError : the network's answer is no number.
        """
        windows, whole = self.probabilities(outputs)
        distance = round(float(outputs[:, -1].mean(dtype=np.float64)), 3) if self.familiarity else None
        if not (np.isfinite(windows).all() and np.isfinite(whole).all()):
            raise AudioError(file.path, "overflow", "the network's answer is no number", "train the run again")
        facts = self.names, self.thresholds, file.note, distance
        return Prediction(file.path, file.seconds, file.starts, windows, whole, *facts)

    def probabilities(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of each window and of the whole file, from what `forward` gives for the windows."""
        logits = outputs[:, : len(self.names)]
        if self.experiment.task == "single_label":
            return softmax(logits, axis=1), softmax(logits.mean(axis=0, dtype=np.float64))
        return expit(logits), aggregate(logits, np.zeros(len(logits), int), self.experiment.test.aggregation)[0]

    @property
    def window_samples(self) -> int:
        return self.front_end.window_samples

    @property
    def windows_at_once(self) -> int:
        """How many the network takes in one batch: 32 of 3 s, no more audio in longer ones."""
        longest = SECONDS_AT_ONCE * self.experiment.features.spec.sample_rate // self.window_samples
        return max(1, min(WINDOWS_AT_ONCE, longest))

    def cut(self, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `FrontEnd.cut`."""
        return self.front_end.cut(waveform)

    def outputs(self, windows: np.ndarray) -> np.ndarray:
        """[windows, samples] -> as `forward`."""
        return self.forward(self.values(windows))

    def forward(self, values: np.ndarray) -> np.ndarray:
        """float16 [windows, (channels,) rows, frames] -> logits, float32 [windows, classes].

        Where the run has its training's `familiarity`, one more column has the windows' distances.
        """
        batch = torch.from_numpy(values).to(self.device)
        with self.lock, torch.inference_mode(), in_float32(self.device):
            x = normalise(batch, self.experiment.features.normalise)
            if self.familiarity is None:
                return self.model(x).float().cpu().numpy()
            embeddings = self.model.embed(x)
            logits = self.model.head(embeddings).float().cpu().numpy()
        # behind the network's own numbers may stand statistics of the spectrogram, which tell less here
        own = embeddings[:, : len(self.familiarity.mean)].float().cpu().numpy()
        distances = self.familiarity.distances(own)
        return np.column_stack([logits, distances.astype(np.float32)])

    def values(self, windows: np.ndarray) -> np.ndarray:
        """As `FrontEnd.values`."""
        return self.front_end.values(windows)
