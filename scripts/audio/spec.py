"""Every parameter of the spectrograms, with checks."""

import dataclasses
import hashlib
import json
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.common.cli import pick
from scripts.common.errors import ConfigError

NUMERICS = 2  # rises whenever a spectrogram is computed otherwise than before
KINDS = ("mel", "linear", "mfcc", "stack", "log_magnitude", "waveform", "picture")
AS_SAMPLED = ("waveform", "picture")  # kinds with a frame for each sample
ENDINGS = ("zeros", "repeat", "hold", "reflect", "noise")
SELECTIONS = ("all", "loudest")
EXCERPTS = ("start", "middle", "spread")
MEL_SCALES = ("slaney", "htk")
PAD_MODES = ("constant", "reflect")
POSITIVE = ("sample_rate", "n_fft", "hop_length", "n_mels", "n_mfcc", "clip_seconds", "track_seconds", "top_db")
WHOLE = ("sample_rate", "n_fft", "hop_length", "n_mels", "n_mfcc")
FLOATS = ("f_min", "f_max", "top_db", "track_seconds", "clip_seconds", "clip_overlap", "min_seconds")
# more than any use of them, and less than what no memory holds
LARGEST = {"sample_rate": 2**22, "n_fft": 2**18, "n_mels": 2**12, "track_samples": 2**30}
LARGEST_ARRAY = 2**29  # values of a track's spectrogram, of its clips, or of the mel filters
# older caches' fingerprints know nothing of these
LATER = (
    "kind", "n_mfcc", "clip_overlap", "ending", "selection", "min_seconds", "excerpt", "mel_scale", "pad_mode",
)  # fmt: skip
OLD_NAMES = {"hop": "hop_length", "least_seconds": "min_seconds"}  # of earlier versions, in files


@dataclass(frozen=True)
class MelSpec:
    """Every parameter that changes a number of the spectrograms.

    Attributes
    ----------
    sample_rate : Hz.
    n_fft, hop_length : window and step between frames, in samples.
    n_mels, f_min, f_max : number of mel filters and their range in Hz (None: up to half the sample rate); a linear
        spectrogram has none.
    top_db : each spectrogram's range below its own maximum.
    track_seconds, clip_seconds : lengths.
    kind : "mel", log-mel; "linear", the power spectrogram in dB with its n_fft // 2 + 1 bins; "mfcc", the first
        `n_mfcc` cepstral coefficients of the log-mel; "stack", log-mels with windows of n_fft, n_fft / 2 and
        n_fft / 4 samples as three channels; "log_magnitude", the natural logarithm of the mel of the magnitude, with
        no floor; "waveform", the samples themselves, one row of them; "picture", pictures of log-mels of `n_mels`
        rows, `sample_rate` frames a second and colours that span `top_db`, see `pictures.read_picture`.
    clip_overlap : share of a clip that the next one repeats, at least 0 and below 1.
    ending : what completes a track shorter than `track_seconds`: "zeros", "repeat" (the track again), "hold" (its
        last sample), "reflect" (the track backwards) or "noise" (zeros, under faint noise throughout).
    selection : which clips of a track there are: "all", or the "loudest" alone, see `features.loudest_clip`.
    min_seconds : a shorter track is left out; None leaves out what is shorter than a clip.
    excerpt : what is taken of a longer file: its "start", its "middle", or pieces "spread" evenly over it, each as long
        as a clip, so that each clip is one of them and whole tracks run over the cuts. All but "start" decode the whole
        file. Prediction takes all of a file in any case.
    mel_scale : of the mel filters, "slaney", triangles of equal area, or "htk", triangles of equal height.
    pad_mode : what lies beyond both ends of a waveform, in the frames that reach there: "constant", zeros, or
        "reflect", the waveform backwards.

    Raises
    ------
    ConfigError : a value that is not allowed.
    """

    sample_rate: int = 44_100
    n_fft: int = 2048
    hop_length: int = 512
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
    selection: str = "all"
    min_seconds: float | None = None
    excerpt: str = "start"
    mel_scale: str = "slaney"
    pad_mode: str = "constant"

    def __post_init__(self) -> None:
        for name in WHOLE:
            object.__setattr__(self, name, as_number(name, getattr(self, name), operator.index, "a whole number"))
        for name in FLOATS:
            if getattr(self, name) is not None:  # 80 and 80.0 are one parameter, not two
                object.__setattr__(self, name, as_number(name, getattr(self, name), float, "a number"))
        for name in POSITIVE:
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        for name, largest in LARGEST.items():
            if getattr(self, name) > largest:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at most {largest}")
        pick("kind", str(self.kind), KINDS)
        pick("ending", str(self.ending), ENDINGS)
        pick("selection", str(self.selection), SELECTIONS)
        pick("excerpt", str(self.excerpt), EXCERPTS)
        pick("mel_scale", str(self.mel_scale), MEL_SCALES)
        pick("pad_mode", str(self.pad_mode), PAD_MODES)
        check_lengths(self)
        check_rows(self)
        check_size(self)

    @property
    def top_frequency(self) -> float:
        return self.sample_rate / 2 if self.f_max is None else self.f_max

    @property
    def track_samples(self) -> int:
        return round(self.track_seconds * self.sample_rate)

    @property
    def decoded_seconds(self) -> float | None:
        """How much of a file is decoded to take the excerpt from; None: all of it."""
        return self.track_seconds if self.excerpt == "start" else None

    @property
    def clip_samples(self) -> int:
        return round(self.clip_seconds * self.sample_rate)

    @property
    def clip_step(self) -> int:
        """Samples from the start of a clip to that of the next."""
        return max(1, round(self.clip_samples * (1 - self.clip_overlap)))

    @property
    def min_samples(self) -> int:
        """Length of the shortest track that is not left out."""
        seconds = self.clip_seconds if self.min_seconds is None else self.min_seconds
        return max(1, round(seconds * self.sample_rate))

    @property
    def clip_starts(self) -> range:
        """The sample at which each clip of a track starts; one of them is the loudest."""
        return range(0, self.track_samples - self.clip_samples + 1, self.clip_step)

    @property
    def clips_per_track(self) -> int:
        return 1 if self.selection == "loudest" else len(self.clip_starts)

    def frames(self, samples: int) -> int:
        """Columns of a centred spectrogram of so many samples, or the samples themselves."""
        return samples if self.kind in AS_SAMPLED else 1 + samples // self.hop_length

    @property
    def frame_step(self) -> int:
        """Samples from a frame to the next."""
        return 1 if self.kind in AS_SAMPLED else self.hop_length

    @property
    def rows(self) -> int:
        """Mel bands, frequency bins or cepstral coefficients; 1 of samples."""
        return {"linear": self.n_fft // 2 + 1, "mfcc": self.n_mfcc, "waveform": 1}.get(self.kind, self.n_mels)

    @property
    def unit(self) -> str:
        """Of the values."""
        return {"log_magnitude": "natural log of the magnitude", "waveform": "amplitude"}.get(self.kind, "dB")

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

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, values: "MelSpec | dict[str, Any]") -> "MelSpec":
        """A spec as it is, or one made of what `as_dict` gives or gave; an unknown name raises a ConfigError."""
        if isinstance(values, MelSpec):
            return values
        if not isinstance(values, dict):
            raise ConfigError(f"spec is {values!r}; give its parameters by name, such as spec.n_mels=64")
        values = {OLD_NAMES.get(name, name): value for name, value in values.items()}
        for name in values:
            pick("setting", name, [field.name for field in dataclasses.fields(cls)])
        return cls(**values)

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that differ whenever a parameter does, and not with its name."""
        first_names = {name: old for old, name in OLD_NAMES.items()}
        values = {
            first_names.get(name, name): value
            for name, value in self.as_dict().items()
            if name not in LATER or value != getattr(MelSpec, name)
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def as_number(name: str, value: Any, convert: Callable[[Any], int | float], what: str) -> int | float:
    """`convert(value)`, or a ConfigError that says that it is not `what`."""
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is {value!r}; it must be {what}") from None


def check_lengths(spec: MelSpec) -> None:
    if spec.clip_samples < 1:
        raise ConfigError(f"a clip of {spec.clip_seconds} s holds no sample; make it longer")
    if spec.track_seconds < spec.clip_seconds:
        raise ConfigError(f"a track of {spec.track_seconds} s is shorter than a clip of {spec.clip_seconds} s")
    if not 0 <= spec.clip_overlap < 1:
        raise ConfigError(f"clip_overlap is {spec.clip_overlap}; it must be at least 0 and below 1")
    if spec.min_seconds is not None and not 0 < spec.min_seconds <= spec.track_seconds:
        raise ConfigError(f"min_seconds is {spec.min_seconds}; it must be above 0, up to track_seconds")
    if spec.excerpt == "spread" and spec.clip_overlap:
        raise ConfigError(f"excerpt=spread with clip_overlap={spec.clip_overlap}; its pieces are the clips: give 0")


def check_rows(spec: MelSpec) -> None:
    divisor = 8 if spec.kind == "stack" else 2  # a quarter of it must be even
    if spec.n_fft % divisor:
        raise ConfigError(f"n_fft is {spec.n_fft}; for kind {spec.kind} it must be a multiple of {divisor}")
    if not 0 <= spec.f_min < spec.top_frequency <= spec.sample_rate / 2:
        raise ConfigError(f"mel range {spec.f_min}-{spec.top_frequency} Hz; it must lie in 0-{spec.sample_rate / 2}")
    if spec.kind == "mfcc" and spec.n_mfcc > spec.n_mels:
        raise ConfigError(f"n_mfcc is {spec.n_mfcc}; there are no more coefficients than mel bands, {spec.n_mels}")


def check_size(spec: MelSpec) -> None:
    """Refuse what only together is more than a memory holds."""
    sizes = {
        "a track's spectrogram": math.prod(spec.track_shape) * spec.channels,
        "a track's clips": math.prod(spec.clip_shape) * spec.channels * spec.clips_per_track,
        "the mel filters": spec.n_mels * (spec.n_fft // 2 + 1),
    }
    for name, size in sizes.items():
        if size > LARGEST_ARRAY:
            raise ConfigError(
                f"{name} would have {size:,} values, more than {LARGEST_ARRAY:,}; "
                "take a smaller n_fft, n_mels or clip_overlap, a greater hop_length, or shorter tracks"
            )
