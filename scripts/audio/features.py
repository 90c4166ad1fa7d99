"""Waveforms to log-mel spectrograms and their siblings: the only place with spectral arithmetic.

NumPy, ducc0 and numba (and SciPy for cepstra alone), so that a caching worker starts at once and needs little memory.
"""

import dataclasses
from collections.abc import Callable, Iterator

import ducc0
import numba
import numpy as np

from scripts.audio.spec import MelSpec

FLOOR_POWER = 1e-10  # the smallest power before the logarithm, -100 dB
EPSILON = np.finfo(np.float32).eps  # added to a magnitude before its logarithm
FRAMES_AT_ONCE = 128  # whose power is multiplied with the mel filters
PAIRS_AT_ONCE = 16  # windowed pairs and their spectra fit into a core's second-level cache
MELS_AT_ONCE = 16  # neighbouring mel filters share a short range of frequency bins


def make_transform(spec: MelSpec) -> Callable[[np.ndarray], np.ndarray]:
    """What turns waveforms float32 [..., samples] into `spec.kind`: float32 [..., (channels,) rows, frames].

    >>> make_transform(MelSpec(kind="stack"))(np.zeros((10, 132_300), np.float32)).shape
    (10, 3, 128, 259)
    """
    if spec.kind == "waveform":
        return as_row
    kinds: dict[str, type[LogPower | MelStack]] = {
        "mel": LogMel, "linear": LogPower, "mfcc": Mfcc, "stack": MelStack, "log_magnitude": LogMagnitude,
    }  # fmt: skip
    return kinds[spec.kind](spec)


def as_row(waveform: np.ndarray) -> np.ndarray:
    """[..., samples] -> float32 [..., 1, samples]."""
    return np.asarray(waveform, np.float32)[..., None, :]


def loudest_clip(values: np.ndarray, spec: MelSpec) -> np.ndarray:
    """The loudest clip [..., rows, clip's frames] of a track's spectrogram [..., rows, frames], a view of it.

    A clip starts every `spec.clip_step` samples, to the nearest frame. The loudest has the greatest sum of its values,
    which are logarithms; of a waveform, of their squares. Of several, it is the first. (So X. Favory et al. chose the
    patches of COALA, "Learning Semantically Enriched Audio Representations", arXiv:2006.08386, 2020.)
    """
    width, step = spec.clip_shape[1], max(1, round(spec.clip_step / spec.frame_step))
    sums = np.lib.stride_tricks.sliding_window_view(levels(values, spec.kind), width)[::step].sum(axis=1)
    start = step * int(sums.argmax())
    return values[..., start : start + width]


def levels(values: np.ndarray, kind: str) -> np.ndarray:
    """How loud each frame is, float64 [frames]; the zeroth cepstral coefficient is the sum of the log-mel."""
    if kind == "waveform":
        values = np.square(values, dtype=np.float64)
    rows = values[..., :1, :] if kind == "mfcc" else values
    return rows.sum(axis=tuple(range(rows.ndim - 1)), dtype=np.float64)


class LogPower:
    """Waveforms -> power spectrograms in dB, with the FFT's n_fft // 2 + 1 frequencies.

    Hann window, centred frames with zeros beyond the ends, 10·log10, floor `spec.top_db` below each spectrogram's
    maximum: what librosa's `power_to_db(abs(stft) ** 2)` computes in double precision, within 1e-3 dB.
    """

    def __init__(self, spec: MelSpec) -> None:
        self.spec = spec
        self.window = hann(spec.n_fft)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """float32 [..., samples] -> float32 [..., rows, frames]."""
        waveform = np.asarray(waveform, np.float32)
        leading, samples = waveform.shape[:-1], waveform.shape[-1]
        result = np.empty((*leading, self.spec.frames(samples), self.spec.rows), np.float32)
        for place in np.ndindex(leading):
            result[place] = self.values(waveform[place])
        return result.swapaxes(-1, -2)

    def values(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, rows], in dB (other kinds: in their own unit)."""
        power = self.power(waveform)
        np.maximum(power, FLOOR_POWER, out=power)
        np.log10(power, out=power)
        power *= 10
        return np.maximum(power, power.max() - self.spec.top_db, out=power)

    def power(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, bins], linear power."""
        return np.concatenate([power.copy() for _, power in self.blocks(waveform)])

    def blocks(self, waveform: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Some frames at a time and their linear power [frames, bins], which the next ones overwrite."""
        spec, frames = self.spec, self.spec.frames(len(waveform))
        padded = np.pad(waveform, (spec.n_fft // 2, spec.n_fft // 2 + spec.hop_length))
        power = np.empty((FRAMES_AT_ONCE, spec.n_fft // 2 + 1), np.float32)
        for start in range(0, frames, FRAMES_AT_ONCE):
            stop = min(start + FRAMES_AT_ONCE, frames)
            for first in range(start, stop, PAIRS_AT_ONCE * 2):
                pairs = min(PAIRS_AT_ONCE, (stop - first + 1) // 2)
                self.pair_power(padded[first * spec.hop_length :], power[first - start : first - start + 2 * pairs])
            yield slice(start, stop), power[: stop - start]

    def pair_power(self, waveform: np.ndarray, power: np.ndarray) -> None:
        """Fill power [frames, bins] from the beginning of [samples], two frames by one complex FFT.

        It is double: float32 loses bins far below a frame's loudest.
        """
        pairs = np.empty((len(power) // 2, self.spec.n_fft), np.complex128)
        pack(waveform, self.window, self.spec.hop_length, pairs)
        unpack(ducc0.fft.c2c(pairs, axes=(1,), nthreads=1), power)


class LogMel(LogPower):
    """Waveforms -> log-mel spectrograms in dB.

    The power spectrum of `LogPower` through Slaney's mel filters before the logarithm: what librosa's
    `melspectrogram` and `power_to_db` compute (McFee et al., SciPy 2015), within 1e-3 dB.

    >>> LogMel(MelSpec())(np.zeros((10, 132_300), np.float32)).shape
    (10, 128, 259)
    """

    def __init__(self, spec: MelSpec) -> None:
        super().__init__(spec)
        self.bands = group_filters(mel_filters(spec), MELS_AT_ONCE)

    def power(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, mels], linear power."""
        mel = np.empty((self.spec.frames(len(waveform)), self.spec.n_mels), np.float32)
        for place, power in self.blocks(waveform):
            for mels, bins, weights in self.bands:
                np.matmul(power[:, bins], weights, out=mel[place, mels])
        return mel


class Mfcc(LogMel):
    """Waveforms -> mel-frequency cepstral coefficients, from the zeroth.

    The orthonormal DCT-II of each frame's log-mel (Davis and Mermelstein, IEEE Trans. ASSP 1980): what librosa's
    `mfcc` computes, within 1e-3.
    """

    def __init__(self, spec: MelSpec) -> None:
        import scipy.fft

        super().__init__(spec)
        self.dct = scipy.fft.dct

    def values(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, coefficients]."""
        return self.dct(super().values(waveform), norm="ortho")[:, : self.spec.n_mfcc]


class LogMagnitude(LogMel):
    """Waveforms -> the natural logarithm of mel spectrograms of the magnitude, without a floor.

    What librosa's `melspectrogram` with power 1 and NumPy's `log(mel + eps)` compute, within 1e-3: the front end of
    COALA (X. Favory et al., arXiv:2006.08386, 2020).
    """

    def blocks(self, waveform: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """As `LogPower.blocks`, of linear magnitude."""
        for place, power in super().blocks(waveform):
            yield place, np.sqrt(power, out=power)

    def values(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, mels]."""
        return np.log(self.power(waveform) + EPSILON)


class MelStack:
    """Waveforms -> log-mels with windows of n_fft, n_fft / 2 and n_fft / 4 samples, as the channels of an image.

    Palanisamy et al., "Rethinking CNN Models for Audio Classification" (arXiv:2007.11154, 2020); with one hop for all
    three, so that none has to be stretched in time.
    """

    def __init__(self, spec: MelSpec) -> None:
        windows = (spec.n_fft, spec.n_fft // 2, spec.n_fft // 4)
        self.transforms = [LogMel(dataclasses.replace(spec, kind="mel", n_fft=window)) for window in windows]

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """float32 [..., samples] -> float32 [..., 3, mels, frames]."""
        return np.stack([transform(waveform) for transform in self.transforms], axis=-3)


@numba.njit("void(float32[::1], float64[::1], int64, complex128[:, ::1])", nogil=True, cache=True)
def pack(waveform: np.ndarray, window: np.ndarray, hop: int, pairs: np.ndarray) -> None:  # pragma: no cover - compiled
    """Windowed frames, even ones as real parts and odd ones as imaginary parts."""
    for pair in range(len(pairs)):
        start = 2 * pair * hop
        for i in range(len(window)):
            pairs[pair, i] = complex(waveform[start + i] * window[i], waveform[start + hop + i] * window[i])


@numba.njit("void(complex128[:, ::1], float32[:, ::1])", nogil=True, cache=True)
def unpack(spectra: np.ndarray, power: np.ndarray) -> None:  # pragma: no cover - compiled
    """The power of both frames: a real frame's spectrum is even in its real part and odd in its imaginary part."""
    last = spectra.shape[1]
    for pair in range(len(spectra)):
        for k in range(power.shape[1]):
            here, mirrored = spectra[pair, k], spectra[pair, last - k if k else 0]
            real, imaginary = here.real + mirrored.real, here.imag - mirrored.imag
            power[2 * pair, k] = (real * real + imaginary * imaginary) / 4
            real, imaginary = here.imag + mirrored.imag, mirrored.real - here.real
            power[2 * pair + 1, k] = (real * real + imaginary * imaginary) / 4


def hann(length: int) -> np.ndarray:
    """The periodic Hann window, float64 [length]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def mel_filters(spec: MelSpec) -> np.ndarray:
    """Triangles of equal area, evenly spaced on Slaney's mel scale: float32 [mels, bins].

    Slaney, "Auditory Toolbox" version 2 (1998).
    """
    bins = np.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1)
    mels = np.linspace(hz_to_mel(spec.f_min), hz_to_mel(spec.top_frequency), spec.n_mels + 2)
    low, centre, high = (mel_to_hz(mels)[i : spec.n_mels + i, None] for i in range(3))
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (high - low)).astype(np.float32)


LINEAR_STEP = 200 / 3  # Hz per mel below 1 kHz
BREAK_HZ, BREAK_MEL = 1000.0, 15.0
LOG_STEP = np.log(6.4) / 27  # 27 mels from 1 kHz to 6.4 kHz


def hz_to_mel(hz: float) -> float:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    return hz / LINEAR_STEP if hz < BREAK_HZ else BREAK_MEL + np.log(hz / BREAK_HZ) / LOG_STEP


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """The inverse of `hz_to_mel`, for arrays."""
    return np.where(mel < BREAK_MEL, mel * LINEAR_STEP, BREAK_HZ * np.exp(LOG_STEP * (mel - BREAK_MEL)))


def group_filters(filters: np.ndarray, size: int) -> list[tuple[slice, slice, np.ndarray]]:
    """Cut the sparse filter bank [mels, bins] into dense blocks (mels, bins, weights [bins, mels]).

    Multiplying block by block skips nearly all of the zeros.
    """
    blocks = []
    for start in range(0, len(filters), size):
        rows = filters[start : start + size]
        used = np.flatnonzero(rows.any(axis=0))
        bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
        blocks.append((slice(start, start + len(rows)), bins, np.ascontiguousarray(rows[:, bins].T)))
    return blocks
