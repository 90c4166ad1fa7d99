"""Audio files of any length to what a network sees, window by window.

Nothing here imports torch, so that processes that only decode start at once and need little memory.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.audio.decoding import (
    EMPTY,
    SILENCE,
    Loudness,
    check_silence,
    check_silence_in_blocks,
    decode_takes,
    decode_with_note,
    fit_length,
    slice_clips,
)
from scripts.audio.features import loudest_clip, make_transform, to_half
from scripts.audio.spec import MelSpec
from scripts.common.errors import AudioError

PIECE = 2**21  # samples that are cut into windows at a time
make_transform_once = functools.lru_cache(4)(make_transform)


@dataclass(frozen=True)
class Facts:
    """What is known of a file that is cut into windows.

    Attributes
    ----------
    path : path of the file.
    seconds : length of the audio.
    starts : float [windows], where each window begins, s.
    note : what is wrong with the file, such as "damaged after 2.4 s"; "" if nothing is.
    take : which attempt at decoding the file counts, see `Part`.
    """

    path: str
    seconds: float
    starts: np.ndarray
    note: str = ""
    take: int = 0


@dataclass(frozen=True, kw_only=True)
class Windows(Facts):
    """A file cut for the network.

    Attributes
    ----------
    waveforms : float32 [windows, samples], a view: windows that overlap share their memory.
    """

    waveforms: np.ndarray


@dataclass(frozen=True)
class Part:
    """Some windows of a file, as a cache holds them: float16 [windows, (channels,) rows, frames].

    `take` is the number of the attempt at decoding the file; the file's `Facts` say which one counts.
    """

    take: int
    values: np.ndarray


def whole(file: Windows, sample_rate: int) -> np.ndarray:
    """The waveform [samples] that overlapping windows were cut from; zeros where the last does not reach its end."""
    steps = np.diff(np.round(file.starts * sample_rate).astype(int))
    pieces = [window[:step] for window, step in zip(file.waveforms, steps, strict=False)]
    return fit_length(np.concatenate([*pieces, file.waveforms[-1]]), round(file.seconds * sample_rate))


def scale(patches: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """[..., mels, frames] in natural logarithms -> 0 to 1, each frame by its range; what lies outside is cut."""
    low, high = ranges
    return np.asarray(np.clip((patches - low) / (high - low), 0, 1))


@dataclass(frozen=True)
class FrontEnd:
    """All that stands before a network: decoding, cutting, spectrograms.

    Attributes
    ----------
    spec : of the spectrograms.
    unit : what the network sees, as of `DataSettings`.
    overlap : the share of a window that the next one repeats.
    longest : seconds; a longer file is refused. None: no limit.
    ranges : of COALA's patches, see `scale`; None where values stay as they are.
    """

    spec: MelSpec
    unit: str
    overlap: float
    longest: float | None = None
    ranges: np.ndarray | None = None

    @property
    def window_samples(self) -> int:
        return self.spec.clip_samples if sees_clips(self.spec, self.unit) else self.spec.track_samples

    @property
    def step(self) -> int:
        """Samples from the start of a window to that of the next."""
        return max(1, round(self.window_samples * (1 - self.overlap)))

    @property
    def decoded_seconds(self) -> float | None:
        """How much of a file is decoded to know whether it is too long."""
        return None if self.longest is None else self.longest + 1

    def prepare(self, path: str | Path) -> Windows:
        """Decode a whole file and cut it into windows.

        Raises
        ------
        AudioError : it cannot be decoded, is silent, shorter than the spec allows, or longer than `longest`.
        """
        decoded = decode_with_note(path, self.spec.sample_rate, self.decoded_seconds)
        self.check_length(path, len(decoded.waveform))
        check_silence(path, decoded.waveform, self.decoded_seconds)
        starts, windows = self.cut(decoded.waveform)
        rate, seconds = self.spec.sample_rate, len(decoded.waveform) / self.spec.sample_rate
        return Windows(str(path), seconds, starts / rate, decoded.note, waveforms=windows)

    def parts(self, path: str | Path, at_once: int) -> Iterator[Part | Facts]:
        """The same, and the spectrograms of at most `at_once` windows at a time; memory does not grow with the length.

        The windows are those of `prepare`, to the last digit. The `Facts` are the last of all, and it is before them
        that the file may turn out to be one that cannot be used.

        Raises
        ------
        AudioError : as of `prepare`.
        """
        read, rate = [], self.spec.sample_rate
        for number, take in enumerate(decode_takes(path, rate, self.decoded_seconds)):
            loudness, windows = Loudness(threshold=2 * SILENCE), 0
            for some in self.cut_blocks(loudness.watch(take.blocks()), at_once):
                windows += len(some)
                yield Part(number, self.values(some))
            read.append((number, take, loudness, windows))
        number, take, loudness, windows = [one for one in read if one[1].samples][-1]
        self.check_length(path, take.samples)
        check_silence_in_blocks(path, rate, self.decoded_seconds, loudness)
        yield Facts(str(path), take.samples / rate, np.arange(windows) * self.step / rate, take.note, number)

    def check_length(self, path: str | Path, samples: int) -> None:
        spec, longest, seconds = self.spec, self.longest, samples / self.spec.sample_rate
        if longest is not None and seconds > longest:
            raise AudioError(path, "long", f"longer than {longest:g} s", "cut it into shorter files")
        if samples < spec.min_samples:
            reason = f"{seconds:.1f} s of audio, less than {spec.min_samples / spec.sample_rate:g} s"
            raise AudioError(path, "short", reason, "give a longer file")

    def cut(self, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Starts in samples, and a view of the windows [windows, samples].

        Of a file no longer than a track, these are the clips that the cache keeps of it. Of a longer one, a last window
        is dropped if at most half of it is audio.
        """
        spec, length, step = self.spec, self.window_samples, self.step
        short = len(waveform) <= spec.track_samples
        stop = len(waveform) - length // 2
        if short:
            stop = min(len(waveform) - (length - 1) // 2, spec.track_samples - length + 1)
        starts = np.arange(0, max(1, stop), step)
        padded = fit_length(waveform, spec.track_samples if short else starts[-1] + length, spec.ending)
        return starts, slice_clips(padded, length, step)[: len(starts)]

    def cut_blocks(self, blocks: Iterable[np.ndarray], at_once: int) -> Iterator[np.ndarray]:
        """A waveform [samples] in blocks -> the windows that `cut` gives, [at most `at_once`, samples] at a time.

        Noise under a file that ends within a window lies under all of it: for such specs it is held as a whole.
        """
        length, step, ending = self.window_samples, self.step, self.spec.ending
        held = head = EMPTY
        came, streams = 0, ending != "noise"
        for piece in itertools.chain.from_iterable(map(in_pieces, blocks)):
            came += len(piece)
            held = np.concatenate([held, piece]) if len(held) else piece
            if ending == "repeat" and len(head) < length:
                head = held[:length].copy()
            used = 0
            while streams and came > self.spec.track_samples and len(held) - used >= (at_once - 1) * step + length:
                yield slice_clips(held[used:], length, step)[:at_once]
                used += at_once * step
            if used:
                held = held[used:].copy()
        if came <= self.spec.track_samples or not streams:
            _, windows = self.cut(held)
        else:
            starts = range(0, len(held) - length // 2, step)
            end = starts[-1] + length if starts else 0
            held = np.concatenate([held, head]) if ending == "repeat" else fit_length(held, end, ending)
            windows = slice_clips(held[:end], length, step)
        for first in range(0, len(windows), at_once):
            yield windows[first : first + at_once]

    def values(self, windows: np.ndarray) -> np.ndarray:
        """[windows, samples] -> float16 [windows, (channels,) rows, frames], as the cache or the patches hold them."""
        values = make_transform_once(self.spec)(windows)
        if self.spec.selection == "loudest" and self.unit != "track":
            values = np.stack([loudest_clip(track, self.spec) for track in values])
        return to_half(values if self.ranges is None else scale(values, self.ranges))


def in_pieces(block: np.ndarray) -> list[np.ndarray]:
    return np.split(block, range(PIECE, len(block), PIECE))


def sees_clips(spec: MelSpec, unit: str) -> bool:
    """A window is a clip; else the network sees tracks, or the loudest clip of each."""
    return unit in ("clip", "crop") and spec.selection == "all"
