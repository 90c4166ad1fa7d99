"""What `audio.features` computes, as torch modules that ONNX can express: windows of a waveform, their spectrograms.

The FFT is double, as there: a single one loses the bins far below a frame's loudest.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad

from scripts.audio.decoding import LOUD_SHARE, LOUDEST, SILENCE
from scripts.audio.features import EPSILON, FLOOR_POWER, MelStack, hann, mel_filters
from scripts.audio.spec import MelSpec
from scripts.common.errors import ConfigError

WITHOUT = "give --without-mel, which exports the network alone"


def make_front_end(spec: MelSpec) -> nn.Module:
    """`features.make_transform(spec)` for float32 [batch, samples]: the same values within 1e-3."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "waveform": lambda: nn.Unflatten(1, (1, -1)),
        "mel": lambda: log_mel(spec),
        "linear": lambda: nn.Sequential(Power(spec), Decibels(spec)),
        "mfcc": lambda: nn.Sequential(log_mel(spec), Product(dct_matrix(spec))),
        "stack": lambda: Channels([log_mel(transform.spec) for transform in MelStack(spec).transforms]),
        "log_magnitude": lambda: nn.Sequential(Power(spec), LogMagnitude(spec)),
    }
    if spec.kind not in kinds:
        raise ConfigError(f"kind={spec.kind} has no front end for sound; {WITHOUT}")
    return kinds[spec.kind]()


def log_mel(spec: MelSpec) -> nn.Module:
    return nn.Sequential(Power(spec), Product(mel_filters(spec)), Decibels(spec))


def dct_matrix(spec: MelSpec) -> np.ndarray:
    """The orthonormal DCT-II of `features.Mfcc`, [coefficients, mels]."""
    import scipy.fft

    return scipy.fft.dct(np.eye(spec.n_mels), norm="ortho", axis=0)[: spec.n_mfcc]


class Power(nn.Module):
    """[batch, samples] -> linear power [batch, bins, frames]."""

    window: torch.Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.pad_mode = spec.n_fft, spec.hop_length, spec.pad_mode
        self.register_buffer("window", torch.from_numpy(hann(spec.n_fft)))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        padded = pad(waveform.double(), (self.n_fft // 2, self.n_fft // 2), self.pad_mode)
        spectrum = torch.stft(
            padded, self.n_fft, self.hop_length, window=self.window, center=False, return_complex=True
        )
        return torch.view_as_real(spectrum).square().sum(-1).float()


class Product(nn.Module):
    """[batch, columns, frames] -> [batch, rows, frames], multiplied with a matrix [rows, columns]."""

    matrix: torch.Tensor

    def __init__(self, matrix: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.from_numpy(matrix.astype(np.float32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.matrix @ x


class Decibels(nn.Module):
    """Linear power [batch, rows, frames] -> dB, at most `top_db` below the maximum of each [rows, frames]."""

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.top_db = spec.top_db

    def forward(self, power: torch.Tensor) -> torch.Tensor:
        decibels = 10 * power.clamp(min=FLOOR_POWER).log10()
        return decibels.maximum(decibels.amax((1, 2), keepdim=True) - self.top_db)


class LogMagnitude(nn.Module):
    """Linear power [batch, bins, frames] -> the natural logarithm of the mel of the magnitude [batch, mels, frames]."""

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.filters = Product(mel_filters(spec))

    def forward(self, power: torch.Tensor) -> torch.Tensor:
        return (self.filters(power.sqrt()) + float(EPSILON)).log()


class Channels(nn.Module):
    """[batch, samples] -> [batch, channels, rows, frames], a channel from each front end."""

    def __init__(self, front_ends: list[nn.Module]) -> None:
        super().__init__()
        self.front_ends = nn.ModuleList(front_ends)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.stack([front_end(waveform) for front_end in self.front_ends], 1)


# --- whole recordings ---------------------------------------------------------------------------------------


class Usable(nn.Module):
    """[batch, samples] -> bool [batch, 1]: whether `scripts.predict` would take the recording.

    It refuses one that is shorter than `spec.min_samples`, holds a sample that is not finite or beyond 1e6, or is
    silent nearly throughout (`scripts.audio.decoding.is_silent`).
    """

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.min_samples = spec.min_samples

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        long = torch.full((1, 1), waveform.shape[1]) >= self.min_samples
        finite = (waveform.abs() < LOUDEST).all(1, keepdim=True)
        return long & finite & self.has_sound(waveform) & self.has_sound(waveform - waveform.mean(1, keepdim=True))

    @staticmethod
    def has_sound(waveform: torch.Tensor) -> torch.Tensor:
        """Whether enough samples are louder than silence: bool [batch, 1]."""
        return (waveform.abs() >= SILENCE).double().mean(1, keepdim=True) > LOUD_SHARE


# --- windows ------------------------------------------------------------------------------------------------


def bounce(place: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Forwards and backwards over so many samples, without the turning points twice."""
    period = (2 * length - 2).clamp(min=1)
    return torch.minimum(place % period, period - place % period) % length


# name -> which sample stands at each place of a completed waveform that has `length` [1] samples of its own
ENDINGS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "zeros": lambda place, length: place,
    "repeat": lambda place, length: place % length,
    "hold": lambda place, length: torch.minimum(place, length - 1),
    "reflect": bounce,
}


class Windows(nn.Module):
    """[batch, samples], any number of them, -> [batch, windows, window's samples], as `Predictor.cut`.

    Raises
    ------
    ConfigError : an ending that lays noise on short audio.
    """

    def __init__(self, spec: MelSpec, window: int, overlap: float) -> None:
        super().__init__()
        if spec.ending not in ENDINGS:
            raise ConfigError(f"spec.ending={spec.ending} lays noise on short audio, which a graph cannot; {WITHOUT}")
        self.track, self.window, self.ending = spec.track_samples, window, ENDINGS[spec.ending]
        self.step = max(1, round(window * (1 - overlap)))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        samples = waveform.shape[1]
        count = (torch.sym_max(1, self.stop(samples)) + self.step - 1) // self.step  # ONNX rounds towards zero
        place = torch.arange((count - 1) * self.step + self.window)
        place = self.ending(place, torch.full((1,), samples))
        completed = pad(waveform, (0, self.window))[:, place]
        if self.step == self.window:  # unfolding would write the number of each sample into the graph
            return completed.unflatten(1, (count, self.window))
        return completed.unfold(1, self.window, self.step)

    def stop(self, samples: int) -> int | torch.SymInt:
        """Before which sample the last window starts; without a branch, which would fix the length."""
        within_track = torch.sym_min(samples - (self.window - 1) // 2, self.track - self.window + 1)
        longer = torch.sym_min(1, torch.sym_max(0, samples - self.track))
        return longer * (samples - self.window // 2) + (1 - longer) * within_track
