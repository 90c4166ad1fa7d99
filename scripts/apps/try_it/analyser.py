"""All that the try-it page shows of a sound: probabilities, spectrogram, Grad-CAM, nearest training tracks."""

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from scripts.analysis.explain import grad_cam
from scripts.apps.try_it.neighbours import Neighbours
from scripts.audio.features import make_transform
from scripts.audio.normalise import normalise
from scripts.audio.spec import MelSpec
from scripts.common.errors import ConfigError, ProjectError
from scripts.common.machine import in_float32
from scripts.config.run import Run
from scripts.inference.predictor import Prediction, Predictor
from scripts.inference.windows import Windows, whole

FINER = 3  # times as many windows for the curves as for the answer
SILENCE = 1 / 6  # of the last window, at most; with more, the window before it has the sound already
LONGEST = 600.0  # seconds
TOP = 5
COLUMNS = 1000  # of a picture; more would not be seen
AT_ONCE = 16  # windows whose gradients are in memory
STILL_READING = "the training tracks are still being read; try again in a moment"


@dataclass(frozen=True)
class SoundAnalysis:
    """What a network finds in a sound.

    Attributes
    ----------
    prediction : as `scripts.inference.predictor.Predictor` gives it.
    curves : the same network on more windows, which overlap, for probabilities over time.
    window : length of a window, in seconds.
    spec : of the spectrogram.
    spectrogram : float32 [rows, columns] over the whole sound, 0 (quiet) to 1 (loud).
    names : the likeliest labels, at most `TOP`, best first.
    heat : float32 [names, rows, columns], Grad-CAM of each of them, 0 to 1; or why there is none.
    nearest : training tracks, as `Neighbours.nearest`; or why there are none.
    """

    prediction: Prediction
    curves: Prediction
    window: float
    spec: MelSpec
    spectrogram: np.ndarray
    names: list[str]
    heat: np.ndarray | str
    nearest: pd.DataFrame | str


class SoundAnalyser:
    """A run, loaded once, for any number of people at a time."""

    def __init__(self, run: Run) -> None:
        """Load the run; its training tracks are embedded meanwhile, in a thread.

        Raises
        ------
        ConfigError, CheckpointError : as `Predictor`.
        """
        self.run, self.predictor = run, Predictor(run, longest=LONGEST)
        window = self.predictor.window_samples
        step = max(1, round(window * (1 - self.predictor.overlap)) // FINER)
        self.predictor.overlap = 1 - step / window
        spec = self.predictor.experiment.features.spec
        self.spec = dataclasses.replace(spec, kind="mel") if spec.kind == "waveform" else spec
        self.transform = make_transform(self.spec)
        self.neighbours: Neighbours | str = STILL_READING

        def embed_training() -> None:
            try:
                self.neighbours = Neighbours.of(run)
            except (ProjectError, OSError) as error:
                self.neighbours = str(error)

        self.embedding = threading.Thread(target=embed_training, daemon=True)
        self.embedding.start()

    def analyse(self, path: str | Path) -> SoundAnalysis:
        """All about a file; raises an AudioError as `Predictor.prepare`."""
        file = self.predictor.prepare(path)
        values = self.transform(whole(file, self.spec.sample_rate))
        pixels = picture(values.reshape(-1, *values.shape[-2:])[0])
        # to within two samples, these are the windows of `scripts.predict` and of the test
        coarse = dataclasses.replace(file, starts=file.starts[::FINER], waveforms=file.waveforms[::FINER])
        prediction, curves = self.predictor.predict([coarse, drop_silent_windows(file, self.spec.sample_rate)])
        names = [name for name, _ in prediction.top(TOP)]
        batches = self.inputs(coarse.waveforms)
        heat, nearest = self.find_heat(batches, prediction, names, pixels.shape[1]), self.find_nearest(batches)
        window = self.predictor.window_samples / self.spec.sample_rate
        return SoundAnalysis(prediction, curves, window, self.spec, pixels, names, heat, nearest)

    def inputs(self, windows: np.ndarray) -> list[torch.Tensor]:
        """[windows, samples] -> what the network sees, in batches [<= AT_ONCE, channels, rows, frames]."""
        mode, device = self.predictor.experiment.features.normalise, self.predictor.device
        parts = (windows[i : i + AT_ONCE] for i in range(0, len(windows), AT_ONCE))
        values = (torch.from_numpy(self.predictor.values(part)).to(device) for part in parts)
        return [normalise(one, mode) for one in values]

    def find_heat(
        self, batches: Sequence[torch.Tensor], prediction: Prediction, names: list[str], columns: int
    ) -> np.ndarray | str:
        """[names, rows, columns]: Grad-CAM of all windows, each as strong as its probability; or why not."""
        spec = self.predictor.experiment.features.spec
        if spec.kind == "waveform" or spec.selection == "loudest":
            return "this network does not see the whole spectrogram"
        numbers = [prediction.names.index(name) for name in names]
        try:
            with self.predictor.lock:  # its hooks on the layers would also see other people's sounds
                heat = np.concatenate([grad_cam(self.predictor.model, x, numbers) for x in batches], axis=1)
        except ConfigError as error:
            return str(error)
        heat *= prediction.windows[:, numbers].T[:, :, None, None]
        return lay_out(heat, prediction.starts, prediction.seconds, spec.sample_rate / spec.hop_length, columns)

    @torch.inference_mode()
    def find_nearest(self, batches: Sequence[torch.Tensor]) -> pd.DataFrame | str:
        """The training tracks nearest to the mean embedding of the batches' windows, or why there are none."""
        neighbours, predictor = self.neighbours, self.predictor
        if isinstance(neighbours, str):
            return neighbours
        with predictor.lock, in_float32(predictor.device):
            vectors = torch.cat([predictor.model.embed(x).float() for x in batches])
        return neighbours.nearest(vectors.mean(0).cpu().numpy())


def drop_silent_windows(file: Windows, sample_rate: int) -> Windows:
    """The same without windows that end far beyond the sound, whose silence would count as well."""
    window = file.waveforms.shape[1] / sample_rate
    count = max(1, np.count_nonzero(file.starts + window <= file.seconds + SILENCE * window))
    return dataclasses.replace(file, starts=file.starts[:count], waveforms=file.waveforms[:count])


def picture(values: np.ndarray) -> np.ndarray:
    """[rows, frames] -> [rows, columns], the loudest of the frames that fall into a column; 0 to 1."""
    columns = min(COLUMNS, values.shape[1])
    starts = np.arange(columns) * values.shape[1] // columns
    values = np.maximum.reduceat(values, starts, axis=1)
    low, high = np.percentile(values, 2), values.max()
    return ((values - low) / max(high - low, 1e-6)).clip(0, 1)


def lay_out(heat: np.ndarray, starts: np.ndarray, seconds: float, frame_rate: float, columns: int) -> np.ndarray:
    """Windows on the time axis of a picture; where they overlap, the hotter one.

    Parameters
    ----------
    heat : float [labels, windows, rows, frames].
    starts : float [windows], s.
    seconds : length of the picture.
    frame_rate : frames in a second.
    columns : width of the picture.

    Returns
    -------
    float32 [labels, rows, columns], of each label 1 at its hottest.
    """
    result = np.zeros((len(heat), heat.shape[2], columns), np.float32)
    middles = (np.arange(columns) + 0.5) * seconds / columns
    for window, start in zip(heat.swapaxes(0, 1), starts, strict=True):
        frames = ((middles - start) * frame_rate).round().astype(int)
        inside = (frames >= 0) & (frames < heat.shape[3])
        result[:, :, inside] = np.maximum(result[:, :, inside], window[:, :, frames[inside]])
    return result / np.maximum(result.max(axis=(1, 2), keepdims=True), 1e-12)
