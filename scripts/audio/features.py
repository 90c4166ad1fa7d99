"""Waveforms to log-mel spectrograms and their siblings: the only place with spectral arithmetic.

NumPy, ducc0 and numba (and SciPy for cepstra alone), so that a caching worker starts at once and needs little memory.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import ducc0
import numba
import numpy as np

from scripts.audio.spec import MelSpec
from scripts.common.errors import ConfigError

FLOOR_POWER = 1e-10  # the smallest power before the logarithm, -100 dB
EPSILON = np.finfo(np.float32).eps  # added to a magnitude before its logarithm
FRAMES_AT_ONCE = 32  # side by side: a step of the FFT handles as many as a register holds; they stay in a core's cache
SAMPLES_AT_ONCE = 16
LONGEST_IN_FLOAT32 = 2048  # samples of an FFT; a longer one rounds too often
REALS = ("float32", "float64")
FRAME_TYPES = [f"void(float32[:, ::1], {x}[::1], int64, int64, int64, int64, {x}[:, ::1])" for x in REALS]
SUM_TYPES = "void(float32[:, ::1], int64[::1], int64[::1], float32[::1], int64, int64, float32[:, ::1])"


def make_transform(spec: MelSpec) -> Callable[[np.ndarray], np.ndarray]:
    """What turns waveforms float32 [..., samples] into `spec.kind`: float32 [..., (channels,) rows, frames].

    Raises a ConfigError for kind "picture", which no waveform has.

    >>> make_transform(MelSpec(kind="stack"))(np.zeros((10, 132_300), np.float32)).shape
    (10, 3, 128, 259)
    """
    if spec.kind == "picture":
        raise ConfigError("kind=picture is read from pictures, and no sound becomes one; give a run of another kind")
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

    Hann window, centred frames with zeros beyond the ends (or the waveform backwards, by `spec.pad_mode`), 10·log10,
    floor `spec.top_db` below each spectrogram's maximum: what librosa's `power_to_db(abs(stft) ** 2)` computes in
    double precision, within 1e-3 dB.
    """

    precision: type[np.floating[Any]] = np.float64  # of the FFT: float32 loses bins far below a frame's loudest

    def __init__(self, spec: MelSpec) -> None:
        self.spec = spec
        self.bands = spec.n_fft // 2 + 1
        self.window = hann(spec.n_fft).astype(self.precision)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """float32 [..., samples] -> float32 [..., rows, frames]."""
        leading, samples = waveform.shape[:-1], waveform.shape[-1]
        flat = np.asarray(waveform, np.float32).reshape(math.prod(leading), samples)
        half = self.spec.n_fft // 2
        mode: Any = self.spec.pad_mode
        padded = np.pad(flat, ((0, 0), (half, half)), mode)
        values = self.values(self.power(padded, self.spec.frames(samples))).swapaxes(0, 1)
        return values.reshape(*leading, *values.shape[1:])

    def power(self, padded: np.ndarray, frames: int) -> np.ndarray:
        """Waveforms with half a window more at both ends [waveforms, samples] -> linear power.

        The result is float32 [bands, waveforms, frames]. The frames of all waveforms are handled side by side, as many
        as a block holds; the last block is not cut, since a lone frame would be rounded in another way.
        """
        result = np.empty((self.bands, len(padded) * frames), np.float32)
        block = np.zeros((self.spec.n_fft, FRAMES_AT_ONCE), self.precision)
        power = np.empty((self.spec.n_fft // 2 + 1, FRAMES_AT_ONCE), np.float32)
        for first in range(0, result.shape[1], FRAMES_AT_ONCE):
            width = min(FRAMES_AT_ONCE, result.shape[1] - first)
            take_frames(padded, self.window, self.spec.hop_length, frames, first, width, block)
            ducc0.fft.r2r_fftpack(block, (0,), real2hermitian=True, forward=True, out=block, nthreads=1)
            square(block, power)
            self.collect(power, first, width, result)
        return result.reshape(self.bands, len(padded), frames)

    def collect(self, power: np.ndarray, first: int, width: int, result: np.ndarray) -> None:
        """Write the power [bins, frames] of the first `width` frames into the columns of `result` from `first` on."""
        result[:, first : first + width] = power[:, :width]

    def values(self, power: np.ndarray) -> np.ndarray:
        """Linear power [bands, waveforms, frames] -> [rows, waveforms, frames] in dB (other kinds: their own unit)."""
        np.maximum(power, FLOOR_POWER, out=power)
        np.log10(power, out=power)
        power *= 10
        return np.maximum(power, power.max((0, 2), keepdims=True) - self.spec.top_db, out=power)


class LogMel(LogPower):
    """Waveforms -> log-mel spectrograms in dB.

    The power spectrum of `LogPower` through `mel_filters` before the logarithm: what librosa's
    `melspectrogram` and `power_to_db` compute (McFee et al., SciPy 2015), within 1e-3 dB; 70 dB and more below a pure
    tone, within 5e-3 dB.

    >>> LogMel(MelSpec())(np.zeros((10, 132_300), np.float32)).shape
    (10, 128, 259)
    """

    precision: type[np.floating[Any]] = np.float32  # a mel band adds up more than float32 loses

    def __init__(self, spec: MelSpec) -> None:
        if spec.n_fft > LONGEST_IN_FLOAT32:
            self.precision = np.float64
        super().__init__(spec)
        self.bands = spec.n_mels
        filters = mel_filters(spec)
        self.lowest = (filters != 0).argmax(axis=1)
        self.ends = np.count_nonzero(filters, axis=1).cumsum()
        self.weights = filters[filters != 0]

    def collect(self, power: np.ndarray, first: int, width: int, result: np.ndarray) -> None:
        """As `LogPower.collect`, of the mel bands."""
        add_up(power, self.lowest, self.ends, self.weights, first, width, result)


class Mfcc(LogMel):
    """Waveforms -> mel-frequency cepstral coefficients, from the zeroth.

    The orthonormal DCT-II of each frame's log-mel (Davis and Mermelstein, IEEE Trans. ASSP 1980): what librosa's
    `mfcc` computes, within 1e-3.
    """

    def __init__(self, spec: MelSpec) -> None:
        import scipy.fft

        super().__init__(spec)
        self.dct = scipy.fft.dct

    def values(self, power: np.ndarray) -> np.ndarray:
        """[mels, waveforms, frames] -> [coefficients, waveforms, frames]."""
        return self.dct(super().values(power), norm="ortho", axis=0)[: self.spec.n_mfcc]


class LogMagnitude(LogMel):
    """Waveforms -> the natural logarithm of mel spectrograms of the magnitude, without a floor.

    What librosa's `melspectrogram` with power 1 and NumPy's `log(mel + eps)` compute, within 1e-3: the front end of
    COALA (X. Favory et al., arXiv:2006.08386, 2020).
    """

    precision = np.float64

    def collect(self, power: np.ndarray, first: int, width: int, result: np.ndarray) -> None:
        """As `LogMel.collect`, of the magnitude."""
        super().collect(np.sqrt(power, out=power), first, width, result)

    def values(self, power: np.ndarray) -> np.ndarray:
        """[mels, waveforms, frames], of the magnitude -> its logarithm."""
        return np.log(power + EPSILON)


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


@numba.njit(FRAME_TYPES, nogil=True, cache=True)
def take_frames(
    padded: np.ndarray, window: np.ndarray, hop: int, frames: int, first: int, width: int, block: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Windowed frames side by side: block [n_fft, frames], from frame number `first` of all waveforms' frames.

    A few samples of each frame at a time, so that what is read and what is written stays in the first-level cache.
    """
    whole = len(window) // SAMPLES_AT_ONCE * SAMPLES_AT_ONCE
    for column in range(width):
        start, waveform = (first + column) % frames * hop, padded[(first + column) // frames]
        for i in range(whole, len(window)):
            block[i, column] = waveform[start + i] * window[i]
    for sample in range(0, whole, SAMPLES_AT_ONCE):
        part = window[sample : sample + SAMPLES_AT_ONCE]
        for column in range(width):
            start = (first + column) % frames * hop + sample
            samples = padded[(first + column) // frames, start : start + SAMPLES_AT_ONCE]
            for i in range(SAMPLES_AT_ONCE):
                block[sample + i, column] = samples[i] * part[i]


@numba.njit([f"void({x}[:, ::1], float32[:, ::1])" for x in REALS], nogil=True, cache=True)
def square(spectra: np.ndarray, power: np.ndarray) -> None:  # pragma: no cover - compiled
    """Power [bins, ...] of spectra as FFTPACK packs them [n_fft, frames]: r0, r1, i1, r2, i2, ..., r(n_fft / 2)."""
    width, last = spectra.shape[1], len(power) - 1
    for j in range(width):
        power[0, j] = spectra[0, j] * spectra[0, j]
        power[last, j] = spectra[2 * last - 1, j] * spectra[2 * last - 1, j]
    for k in range(1, last):
        real, imaginary, row = spectra[2 * k - 1], spectra[2 * k], power[k]
        for j in range(width):
            row[j] = real[j] * real[j] + imaginary[j] * imaginary[j]


@numba.njit(SUM_TYPES, nogil=True, cache=True)
def add_up(
    power: np.ndarray,
    lowest: np.ndarray,
    ends: np.ndarray,
    weights: np.ndarray,
    first: int,
    width: int,
    result: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Each mel band's sum of power [bins, frames], weighted by its filter, which covers few bins."""
    begin = 0
    for mel in range(len(ends)):
        row = result[mel, first : first + width]
        row[:] = 0
        bins = power[lowest[mel] : lowest[mel] + ends[mel] - begin]
        for i in range(len(bins)):
            weight, values = weights[begin + i], bins[i]
            for j in range(width):
                row[j] += values[j] * weight
        begin = ends[mel]


def to_half(values: np.ndarray) -> np.ndarray:
    """float32 [...] -> float16 [...], rounded as NumPy does, in a fraction of its time."""
    values = np.require(values, np.float32, ["C", "W"])
    halves = np.empty(values.shape, np.uint16)
    halve(values.reshape(-1), halves.reshape(-1))
    return halves.view(np.float16)


@numba.njit("void(float32[::1], uint16[::1])", nogil=True, cache=True)
def halve(values: np.ndarray, halves: np.ndarray) -> None:  # pragma: no cover - compiled
    """The bits of float16 numbers: round to nearest, ties to even; then what is too small, no number, or too large."""
    bits = values.view(np.uint32)
    for i in range(len(values)):
        size = bits[i] & np.uint32(0x7FFFFFFF)
        half = (size - np.uint32(0x37FFF001) + ((size >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
        if size < 0x38800000:
            half = np.uint32(np.rint(np.abs(values[i]) * np.float32(2**24)))
        elif size > 0x7F800000:
            half = max(np.uint32(0x7C01), np.uint32(0x7C00) | (size >> np.uint32(13)) & np.uint32(0x3FF))
        elif size >= 0x47800000:
            half = np.uint32(0x7C00)
        halves[i] = half | (bits[i] >> np.uint32(16)) & np.uint32(0x8000)


def hann(length: int) -> np.ndarray:
    """The periodic Hann window, float64 [length]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def mel_filters(spec: MelSpec) -> np.ndarray:
    """Triangles between `mel_points`: float32 [mels, bins]; of equal area for Slaney's scale, of height 1 for HTK's."""
    bins, points = np.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1), mel_points(spec)
    low, centre, high = (points[i : spec.n_mels + i, None] for i in range(3))
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles if spec.mel_scale == "htk" else triangles * 2 / (high - low)).astype(np.float32)


def mel_points(spec: MelSpec) -> np.ndarray:
    """Where mel filters begin, have their middles and end, evenly spaced on the mel scale: Hz, float64 [mels + 2]."""
    low, high = (hz_to_mel(hz, spec.mel_scale) for hz in (spec.f_min, spec.top_frequency))
    return mel_to_hz(np.linspace(low, high, spec.n_mels + 2), spec.mel_scale)


LINEAR_STEP = 200 / 3  # Hz per mel below 1 kHz
BREAK_HZ, BREAK_MEL = 1000.0, 15.0
LOG_STEP = np.log(6.4) / 27  # 27 mels from 1 kHz to 6.4 kHz
HTK_HZ, HTK_STEP = 700.0, np.log(10) / 2595


def hz_to_mel(hz: float, scale: str) -> float:
    """Slaney's scale, linear below 1 kHz and logarithmic above, or HTK's, which bends smoothly.

    Slaney, "Auditory Toolbox" version 2 (1998); Young et al., "The HTK Book" (2006), equation 5.13.
    """
    if scale == "htk":
        return np.log1p(hz / HTK_HZ) / HTK_STEP
    return hz / LINEAR_STEP if hz < BREAK_HZ else BREAK_MEL + np.log(hz / BREAK_HZ) / LOG_STEP


def mel_to_hz(mel: np.ndarray, scale: str) -> np.ndarray:
    """The inverse of `hz_to_mel`, for arrays."""
    if scale == "htk":
        return HTK_HZ * np.expm1(mel * HTK_STEP)
    return np.where(mel < BREAK_MEL, mel * LINEAR_STEP, BREAK_HZ * np.exp(LOG_STEP * (mel - BREAK_MEL)))
