"""Waveforms to log-mel spectrograms and their siblings: the only place with spectral arithmetic.

NumPy, ducc0 and numba (and SciPy for cepstra alone), so that a caching worker starts at once and needs little memory.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ducc0
import numba
import numpy as np

from scripts.audio import ENDINGS
from scripts.cli import pick
from scripts.errors import ConfigError

FLOOR_POWER = 1e-10  # the smallest power before the logarithm, -100 dB
FRAMES_AT_ONCE = 128  # whose power is multiplied with the mel filters
PAIRS_AT_ONCE = 16  # windowed pairs and their spectra fit into a core's second-level cache
MELS_AT_ONCE = 16  # neighbouring mel filters share a short range of frequency bins
KERNEL = {"nogil": True, "cache": True}

KINDS = ("mel", "linear", "mfcc", "stack")
POSITIVE = ("sample_rate", "n_fft", "hop", "n_mels", "n_mfcc", "clip_seconds", "track_seconds", "top_db")
FLOATS = ("f_min", "f_max", "top_db", "track_seconds", "clip_seconds", "clip_overlap")
LATER = ("kind", "n_mfcc", "clip_overlap", "ending")  # older caches' fingerprints know nothing of these


@dataclass(frozen=True)
class MelSpec:
    """Every parameter that changes a number of the spectrograms.

    Attributes
    ----------
    sample_rate : Hz.
    n_fft, hop : window and step between frames, in samples.
    n_mels, f_min, f_max : number of mel filters and their range in Hz (None: up to half the sample rate); a linear
        spectrogram has none.
    top_db : each spectrogram's range below its own maximum.
    track_seconds, clip_seconds : lengths.
    kind : "mel", log-mel; "linear", the power spectrogram in dB with its n_fft // 2 + 1 bins; "mfcc", the first
        `n_mfcc` cepstral coefficients of the log-mel; "stack", log-mels with windows of n_fft, n_fft / 2 and
        n_fft / 4 samples as three channels.
    clip_overlap : share of a clip that the next one repeats, at least 0 and below 1.
    ending : what completes a track shorter than `track_seconds`: "zeros", "repeat" (the track again), "hold" (its
        last sample) or "reflect" (the track backwards).

    Raises
    ------
    ConfigError : a value that is not allowed.
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
    kind: str = "mel"
    n_mfcc: int = 20
    clip_overlap: float = 0.0
    ending: str = "zeros"

    def __post_init__(self) -> None:
        for name in FLOATS:
            if getattr(self, name) is not None:  # 80 and 80.0 are one parameter, not two
                object.__setattr__(self, name, float(getattr(self, name)))
        for name in POSITIVE:
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        pick("kind", self.kind, KINDS)
        pick("ending", self.ending, ENDINGS)
        check_lengths(self)
        check_rows(self)

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
    def clip_step(self) -> int:
        """Samples from the start of a clip to that of the next."""
        return max(1, round(self.clip_samples * (1 - self.clip_overlap)))

    @property
    def clip_starts(self) -> range:
        """The sample at which each clip of a track starts."""
        return range(0, self.track_samples - self.clip_samples + 1, self.clip_step)

    @property
    def clips_per_track(self) -> int:
        return len(self.clip_starts)

    def frames(self, samples: int) -> int:
        """Columns of a centred spectrogram of so many samples."""
        return 1 + samples // self.hop

    @property
    def rows(self) -> int:
        """Mel bands, frequency bins or cepstral coefficients."""
        return {"linear": self.n_fft // 2 + 1, "mfcc": self.n_mfcc}.get(self.kind, self.n_mels)

    @property
    def channels(self) -> int:
        """Spectrograms per item: arrays have an axis for them, before the rows, only if they are more than one."""
        return 3 if self.kind == "stack" else 1

    @property
    def track_shape(self) -> tuple[int, int]:
        """Rows and frames."""
        return self.rows, self.frames(self.track_samples)

    @property
    def clip_shape(self) -> tuple[int, int]:
        """Rows and frames."""
        return self.rows, self.frames(self.clip_samples)

    def as_dict(self) -> dict:
        return dataclasses.asdict(self)

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that differ whenever a parameter does."""
        default = {field.name: field.default for field in dataclasses.fields(self)}
        told = {name: value for name, value in self.as_dict().items() if name not in LATER or value != default[name]}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


def check_lengths(spec: MelSpec) -> None:
    if spec.clip_samples < 1:
        raise ConfigError(f"a clip of {spec.clip_seconds} s holds no sample; make it longer")
    if spec.track_seconds < spec.clip_seconds:
        raise ConfigError(f"a track of {spec.track_seconds} s is shorter than a clip of {spec.clip_seconds} s")
    if not 0 <= spec.clip_overlap < 1:
        raise ConfigError(f"clip_overlap is {spec.clip_overlap}; it must be at least 0 and below 1")


def check_rows(spec: MelSpec) -> None:
    divisor = 8 if spec.kind == "stack" else 2  # a quarter of it must be even
    if spec.n_fft % divisor:
        raise ConfigError(f"n_fft is {spec.n_fft}; for kind {spec.kind} it must be a multiple of {divisor}")
    if not 0 <= spec.f_min < spec.top_frequency <= spec.sample_rate / 2:
        raise ConfigError(f"mel range {spec.f_min}-{spec.top_frequency} Hz; it must lie in 0-{spec.sample_rate / 2}")
    if spec.kind == "mfcc" and spec.n_mfcc > spec.n_mels:
        raise ConfigError(f"n_mfcc is {spec.n_mfcc}; there are no more coefficients than mel bands, {spec.n_mels}")


def make_transform(spec: MelSpec) -> Callable[[np.ndarray], np.ndarray]:
    """What turns waveforms float32 [..., samples] into `spec.kind`: float32 [..., (channels,) rows, frames].

    >>> make_transform(MelSpec(kind="stack"))(np.zeros((10, 132_300), np.float32)).shape
    (10, 3, 128, 259)
    """
    return {"mel": LogMel, "linear": LogPower, "mfcc": Mfcc, "stack": MelStack}[spec.kind](spec)


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
            result[place] = self.decibel(waveform[place])
        return result.swapaxes(-1, -2)

    def decibel(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, rows], in dB."""
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
        padded = np.pad(waveform, (spec.n_fft // 2, spec.n_fft // 2 + spec.hop))
        power = np.empty((FRAMES_AT_ONCE, spec.n_fft // 2 + 1), np.float32)
        for start in range(0, frames, FRAMES_AT_ONCE):
            stop = min(start + FRAMES_AT_ONCE, frames)
            for first in range(start, stop, PAIRS_AT_ONCE * 2):
                pairs = min(PAIRS_AT_ONCE, (stop - first + 1) // 2)
                self.pair_power(padded[first * spec.hop :], power[first - start : first - start + 2 * pairs])
            yield slice(start, stop), power[: stop - start]

    def pair_power(self, waveform: np.ndarray, power: np.ndarray) -> None:
        """Fill power [frames, bins] from the beginning of [samples], two frames by one complex FFT.

        It is double: float32 loses bins far below a frame's loudest.
        """
        pairs = np.empty((len(power) // 2, self.spec.n_fft), np.complex128)
        pack(waveform, self.window, self.spec.hop, pairs)
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

    def decibel(self, waveform: np.ndarray) -> np.ndarray:
        """[samples] -> [frames, coefficients]."""
        return self.dct(super().decibel(waveform), norm="ortho")[:, : self.spec.n_mfcc]


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
