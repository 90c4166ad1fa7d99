"""Waveforms to log-mel spectrograms: the only place with spectral arithmetic.

NumPy, ducc0 and numba alone, so that a caching worker starts at once and needs little memory.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import ducc0
import numba
import numpy as np

from scripts.errors import ConfigError

FLOOR_POWER = 1e-10  # the smallest mel power before the logarithm, -100 dB
FRAMES_AT_ONCE = 128  # whose power is multiplied with the mel filters
PAIRS_AT_ONCE = 16  # windowed pairs and their spectra fit into a core's second-level cache
MELS_AT_ONCE = 16  # neighbouring mel filters share a short range of frequency bins
KERNEL = {"nogil": True, "cache": True}


@dataclass(frozen=True)
class MelSpec:
    """Every parameter that changes a number of the spectrograms.

    Lengths are in samples (`n_fft`, `hop`) or seconds (`track_seconds`, `clip_seconds`); frequencies in Hz.
    `top_db` limits each spectrogram's range below its own maximum.
    """

    sample_rate: int = 44_100
    n_fft: int = 2048
    hop: int = 512
    n_mels: int = 128
    f_min: float = 0.0
    f_max: float | None = None
    top_db: float = 80.0
    track_seconds: float = 30.0
    clip_seconds: float = 3.0

    def __post_init__(self) -> None:
        for name in ("f_min", "f_max", "top_db", "track_seconds", "clip_seconds"):
            if getattr(self, name) is not None:  # 80 and 80.0 are one parameter, not two
                object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("sample_rate", "n_fft", "hop", "n_mels", "clip_seconds", "track_seconds", "top_db"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        if self.clip_samples < 1:
            raise ConfigError(f"a clip of {self.clip_seconds} s holds no sample; make it longer")
        if self.track_seconds < self.clip_seconds:
            raise ConfigError(f"a track of {self.track_seconds} s is shorter than a clip of {self.clip_seconds} s")
        if self.n_fft % 2:
            raise ConfigError(f"n_fft is {self.n_fft}; it must be even")
        if not 0 <= self.f_min < self.top_frequency <= self.sample_rate / 2:
            raise ConfigError(
                f"mel range {self.f_min}-{self.top_frequency} Hz; it must lie in 0-{self.sample_rate / 2}"
            )

    @property
    def top_frequency(self) -> float:
        return self.sample_rate / 2 if self.f_max is None else self.f_max

    @property
    def track_samples(self) -> int:
        return round(self.track_seconds * self.sample_rate)

    @property
    def clip_samples(self) -> int:
        return round(self.clip_seconds * self.sample_rate)

    @property
    def clips_per_track(self) -> int:
        return self.track_samples // self.clip_samples

    def frames(self, samples: int) -> int:
        """Columns of a centred spectrogram of so many samples."""
        return 1 + samples // self.hop

    @property
    def track_shape(self) -> tuple[int, int]:
        return self.n_mels, self.frames(self.track_samples)

    @property
    def clip_shape(self) -> tuple[int, int]:
        return self.n_mels, self.frames(self.clip_samples)

    def as_dict(self) -> dict:
        return dataclasses.asdict(self)

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that differ whenever a parameter does."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:8]


class LogMel:
    """Waveforms -> log-mel spectrograms in dB.

    Hann window, centred frames with zeros beyond the ends, power spectrum, Slaney mel filters,
    10·log10, floor `spec.top_db` below each spectrogram's maximum: what librosa's `melspectrogram` and
    `power_to_db` compute (McFee et al., SciPy 2015), within 1e-3 dB.

    >>> LogMel(MelSpec())(np.zeros((10, 132_300), np.float32)).shape
    (10, 128, 259)
    """

    def __init__(self, spec: MelSpec) -> None:
        self.spec = spec
        self.window = hann(spec.n_fft)
        self.bands = group_filters(mel_filters(spec), MELS_AT_ONCE)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """float32 [..., samples] -> float32 [..., mels, frames]."""
        waveform = np.asarray(waveform, np.float32)
        leading, samples = waveform.shape[:-1], waveform.shape[-1]
        result = np.empty((*leading, self.spec.frames(samples), self.spec.n_mels), np.float32)
        for place in np.ndindex(leading):
            result[place] = self.decibel(waveform[place])
        return result.swapaxes(-1, -2)

    def decibel(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, mels], in dB."""
        mel = self.mel_power(waveform)
        np.maximum(mel, FLOOR_POWER, out=mel)
        np.log10(mel, out=mel)
        mel *= 10
        return np.maximum(mel, mel.max() - self.spec.top_db, out=mel)

    def mel_power(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, mels], linear power."""
        spec, frames = self.spec, self.spec.frames(len(waveform))
        padded = np.pad(waveform, (spec.n_fft // 2, spec.n_fft // 2 + spec.hop))
        power = np.empty((FRAMES_AT_ONCE, spec.n_fft // 2 + 1), np.float32)
        mel = np.empty((frames, spec.n_mels), np.float32)
        for start in range(0, frames, FRAMES_AT_ONCE):
            block = mel[start : start + FRAMES_AT_ONCE]
            for first in range(0, len(block), PAIRS_AT_ONCE * 2):
                pairs = min(PAIRS_AT_ONCE, (len(block) - first + 1) // 2)
                self.pair_power(padded[(start + first) * spec.hop :], power[first : first + 2 * pairs])
            for mels, bins, weights in self.bands:
                np.matmul(power[: len(block), bins], weights, out=block[:, mels])
        return mel

    def pair_power(self, waveform: np.ndarray, power: np.ndarray) -> None:
        """Fill power [frames, bins] from the beginning of [samples], two frames by one complex FFT.

        It is double: float32 loses bins far below a frame's loudest.
        """
        pairs = np.empty((len(power) // 2, self.spec.n_fft), np.complex128)
        pack(waveform, self.window, self.spec.hop, pairs)
        unpack(ducc0.fft.c2c(pairs, axes=(1,), nthreads=1), power)


@numba.njit("void(float32[::1], float64[::1], int64, complex128[:, ::1])", **KERNEL)
def pack(waveform, window, hop, pairs):  # pragma: no cover - compiled
    """Windowed frames, even ones as real parts and odd ones as imaginary parts."""
    for pair in range(len(pairs)):
        start = 2 * pair * hop
        for i in range(len(window)):
            pairs[pair, i] = complex(waveform[start + i] * window[i], waveform[start + hop + i] * window[i])


@numba.njit("void(complex128[:, ::1], float32[:, ::1])", **KERNEL)
def unpack(spectra, power):  # pragma: no cover - compiled
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
