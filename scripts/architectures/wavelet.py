"""A bank of wavelets that do not learn, from waveforms to scalograms, in front of any network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scripts.audio.features import FLOOR_POWER
from scripts.audio.normalise import standardise
from scripts.common.cli import pick
from scripts.common.errors import ConfigError
from scripts.models import Network, build_model, register

PERIODS = 5  # of the lowest frequency, that the kernel must hold


def gaussian_pulse(ratio: np.ndarray) -> np.ndarray:
    """A Gaussian around the centre frequency that falls to half at a quarter above and below it."""
    return 2.0 ** -(((ratio - 1) / 0.25) ** 2)


def derivative_of_gaussian(ratio: np.ndarray) -> np.ndarray:
    """The first derivative of a Gaussian in time."""
    return ratio * np.exp((1 - ratio**2) / 2)


def ricker(ratio: np.ndarray) -> np.ndarray:
    """The second derivative of a Gaussian in time, the Mexican hat."""
    return derivative_of_gaussian(ratio) ** 2


# Gain at a frequency, given as its ratio to the wavelet's centre frequency, where it is 1
WAVELETS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pulse": gaussian_pulse,
    "derivative": derivative_of_gaussian,
    "ricker": ricker,
}


@register("wavelet")
class WaveletNetwork(Network):
    """A fixed bank of wavelets on waveforms, and any network on the scalogram that it gives.

    Parameters
    ----------
    classes : number of logits.
    frames : samples of the waveform. mels : 1.
    in_channels : channels of the waveform; each gets a scalogram.
    network : name of the network behind the bank, which sees `filters` rows.
    settings : its keywords.
    wavelet, filters, kernel, stride, sample_rate, f_min, f_max : see `WaveletBank`.

    Raises
    ------
    ConfigError : an input of more than one row, or what `WaveletBank` and `build_model` raise.
    """

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 1,
        in_channels: int = 1,
        network: str = "cnn4",
        settings: dict[str, Any] | None = None,
        wavelet: str = "pulse",
        filters: int = 128,
        kernel: int = 2048,
        stride: int = 512,
        sample_rate: int = 16_000,
        f_min: float = 60.0,
        f_max: float = 7500.0,
    ) -> None:
        super().__init__()
        if mels != 1:
            raise ConfigError(
                f"items of {mels} rows; the wavelets need waveforms, so set the spectrogram's kind to waveform"
            )
        self.bank = WaveletBank(wavelet, filters, kernel, stride, sample_rate, f_min, f_max)
        columns = self.bank(torch.zeros(1, 1, 1, frames)).shape[3]
        base = build_model(network, classes, columns, filters, in_channels=in_channels, **(settings or {}))
        self.backbone, self.head, base.head = base, base.head, nn.Identity()

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, in_channels, 1, samples] -> [batch, width]."""
        return self.backbone(self.bank(x))


class WaveletBank(nn.Module):
    """Waveforms -> the magnitude of their wavelet transform in dB, each item with zero mean and unit deviation.

    The wavelets are analytic, without negative frequencies, so that the magnitude does not depend on the phase of a
    tone at the moment it is taken. One of high frequency is shorter than `stride` and leaves out what lies between.
    S. Mallat. A Wavelet Tour of Signal Processing. 3rd edition, 2009, section 4.3.

    Parameters
    ----------
    wavelet : one of `WAVELETS`.
    filters : how many, with centre frequencies evenly spaced on a logarithmic scale, so that their widths are too.
    kernel, stride : length of the filters and step between frames, in samples.
    sample_rate : of the waveform in Hz.
    f_min, f_max : lowest and highest centre frequency in Hz.

    Raises
    ------
    ConfigError : an unknown wavelet, or frequencies that the kernel cannot hold or the sample rate does not reach.
    """

    filters: torch.Tensor

    def __init__(
        self, wavelet: str, filters: int, kernel: int, stride: int, sample_rate: int, f_min: float, f_max: float
    ) -> None:
        super().__init__()
        pick("wavelet", wavelet, WAVELETS)
        lowest, highest = PERIODS * sample_rate / kernel, sample_rate / 2
        if not 0 < lowest <= f_min <= f_max <= highest:
            raise ConfigError(
                f"wavelets from {f_min:g} to {f_max:g} Hz; a kernel of {kernel} samples at {sample_rate} Hz "
                f"allows {lowest:g} to {highest:g} Hz"
            )
        self.stride = stride
        centres = np.geomspace(f_min, f_max, filters) / sample_rate
        self.register_buffer("filters", make_filters(WAVELETS[wavelet], centres, kernel), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, 1, samples] -> float32 [batch, channels, filters, frames]."""
        waveform = x.float().flatten(0, 2).unsqueeze(1)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would drown what is soft
            parts = F.conv1d(waveform, self.filters, stride=self.stride, padding=self.filters.shape[2] // 2)
        power = parts.square().unflatten(1, (2, -1)).sum(1).clamp(min=FLOOR_POWER)
        return standardise(10 * power.log10().unflatten(0, x.shape[:2]))


def make_filters(gain: Callable[[np.ndarray], np.ndarray], centres: np.ndarray, kernel: int) -> torch.Tensor:
    """All wavelets' real parts, then their imaginary parts: float32 [2 * filters, 1, kernel].

    `centres` [filters] are their frequencies in cycles per sample. A tone of amplitude 1 at one of them gives that
    filter's magnitude 1.
    """
    frequencies = np.fft.fftfreq(kernel)
    spectra = 2 * np.where(frequencies > 0, gain(frequencies / centres[:, None]), 0)
    wavelets = np.fft.fftshift(np.fft.ifft(spectra), axes=1)
    return torch.from_numpy(np.concatenate([wavelets.real, wavelets.imag]).astype(np.float32)).unsqueeze(1)
