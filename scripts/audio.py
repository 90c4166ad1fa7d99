"""Audio files to waveforms: decode, mix down, resample, pad or cut, slice into clips."""

import contextlib
import functools
import importlib.util
import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from scripts.errors import AudioError

SUFFIXES = {".mp3", ".wav", ".flac", ".ogg", ".au", ".aif", ".aiff", ".opus", ".m4a", ".aac", ".wma", ".mp4"}
SILENCE = 1e-3  # amplitude, -60 dB of full scale
SILENT_SHARE = 0.95  # of the samples
FAINT = 5e-4  # amplitude of the noise under a short track
RESAMPLER_TAIL = 0.1  # seconds decoded beyond the cut, so that the cut does not see the resampler's edge
LEAVE_OUT = "leave it out or replace it"


def decode(path: str | Path, sample_rate: int, seconds: float | None = None) -> np.ndarray:
    """Read a file as a mono waveform.

    Channels are averaged; another sample rate is converted by soxr (HQ). WAV, FLAC, OGG, MP3, AU and AIFF are
    read by libsndfile, everything else by FFmpeg if the optional package `av` is there.

    Parameters
    ----------
    path : the file.
    sample_rate : of the result, in Hz.
    seconds : at most this much is read, from the beginning; None reads everything.

    Returns
    -------
    float32 [samples], finite, at least one sample.

    Raises
    ------
    AudioError : missing, empty, not audio, or with samples that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(path, "missing", "no such file", "check the path or make the table again")
    if path.stat().st_size == 0:
        raise AudioError(path, "unreadable", "the file is empty (0 bytes)", LEAVE_OUT)
    wanted = None if seconds is None else seconds + RESAMPLER_TAIL
    samples, rate = read_native(path, wanted)
    if not len(samples):
        raise AudioError(path, "unreadable", "it holds no audio", LEAVE_OUT)
    waveform = resample(mix_down(samples), rate, sample_rate)
    if seconds is not None:
        waveform = waveform[: round(seconds * sample_rate)]
    if not np.isfinite(waveform @ waveform) and not np.isfinite(waveform).all():
        raise AudioError(path, "unreadable", "it holds samples that are NaN or infinite", LEAVE_OUT)
    return waveform


def read_native(path: Path, seconds: float | None) -> tuple[np.ndarray, int]:
    """Samples as float32 [samples, channels] with their rate in Hz, unchanged."""
    if not os.access(path, os.R_OK):
        raise AudioError(
            path, "unreadable", "no permission to read it", "give yourself the right to it, or leave it out"
        )
    try:
        with quiet_decoder, soundfile.SoundFile(path) as file:
            frames = -1 if seconds is None else int(seconds * file.samplerate)
            return file.read(frames, dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, RuntimeError) as error:
        return read_with_ffmpeg(path, seconds, str(error))


def read_with_ffmpeg(path: Path, seconds: float | None, first_error: str) -> tuple[np.ndarray, int]:
    """As `read_native`, through PyAV; `first_error` is what libsndfile said."""
    if importlib.util.find_spec("av") is None:
        reason = f"not audio that libsndfile can read ({first_error.rstrip('.')})"
        raise AudioError(path, "unreadable", reason, "`pip install av` for m4a, aac, wma and video, or leave it out")
    import av

    try:
        with av.open(str(path)) as container:
            return read_stream(container, seconds)
    except (av.error.FFmpegError, IndexError, ValueError, OSError):
        reason = "not audio that libsndfile or FFmpeg can read"
        raise AudioError(path, "unreadable", reason, LEAVE_OUT) from None


def read_stream(container, seconds: float | None) -> tuple[np.ndarray, int]:
    """The first audio stream of an open PyAV container."""
    import av

    stream = container.streams.audio[0]
    planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    blocks, frames = [], 0
    for frame in itertools.chain(sound_frames(container, stream), [None]):
        for block in planar.resample(frame):
            blocks.append(block.to_ndarray().T)
            frames += len(blocks[-1])
        if seconds is not None and frames >= seconds * stream.rate:
            break
    samples = np.concatenate(blocks) if blocks else np.empty((0, 1), np.float32)
    return samples[: None if seconds is None else int(seconds * stream.rate)], stream.rate


def sound_frames(container, stream) -> Iterator:
    """The decoded frames of a PyAV stream; damaged packets are passed over."""
    import av

    for packet in container.demux(stream):
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()


class QuietStderr:
    """A context in which the process's stderr goes nowhere.

    The MP3 decoder writes its complaints about a broken file there, which the AudioError says. stderr is one for
    all threads: the first that comes in turns it away, the last that leaves turns it back, and what any other thread
    writes to it meanwhile is lost as well.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.kept = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                os.dup2(self.kept, 2)
                os.close(self.kept)


quiet_decoder = QuietStderr()


def mix_down(samples: np.ndarray) -> np.ndarray:
    """[samples, channels] -> [samples], the mean of the channels.

    A dot product: `mean(axis=1)` takes 20 times as long on two interleaved channels.
    """
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    return samples @ np.full(channels, 1 / channels, np.float32)


def resample(waveform: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """[samples] at `rate` Hz -> [samples] at `sample_rate` Hz."""
    return waveform if rate == sample_rate else soxr.resample(waveform, rate, sample_rate, quality="HQ")


def fit_length(waveform: np.ndarray, samples: int, ending: str = "zeros") -> np.ndarray:
    """Cut to `samples`, or go on after the end with zeros or another of `ENDINGS`.

    "repeat" plays the waveform [length] again and again, "hold" its last sample, "reflect" plays it backwards,
    forwards, ..., without its turning points twice; "noise" goes on with zeros and lays faint noise over everything.
    """
    if len(waveform) >= samples:
        return waveform[:samples]
    return np.pad(waveform, (0, samples - len(waveform)), ENDINGS[ending])


def lay_noise(padded: np.ndarray, *_: object) -> None:
    """Add uniform noise in [0, 5e-4) in place, the same each time, as COALA did (X. Favory et al., ICML 2020 workshop).

    NumPy's padding calls it with what is padded with zeros.
    """
    padded += FAINT * np.random.default_rng(0).random(len(padded), np.float32)


# name -> NumPy's padding
ENDINGS = {"zeros": "constant", "repeat": "wrap", "hold": "edge", "reflect": "reflect", "noise": lay_noise}


def slice_clips(waveform: np.ndarray, samples: int, step: int | None = None) -> np.ndarray:
    """[length] -> [clips, samples]: whole clips that start every `step` samples, a remainder is dropped.

    `step` defaults to `samples`, one clip after another. The result is a view of the waveform.
    """
    if len(waveform) < samples:
        return np.empty((0, samples), waveform.dtype)
    return np.lib.stride_tricks.sliding_window_view(waveform, samples)[:: step or samples]


def count_clips(decoded: int, samples: int, starts: Iterable[int]) -> int:
    """How many of a padded track's clips hold at least half a clip of audio.

    `decoded` is the track's own length, `samples` a clip's, `starts` where its clips begin.
    """
    return sum(2 * (decoded - start) >= samples for start in starts)


def is_silent(waveform: np.ndarray) -> bool:
    """True if nearly all samples stay below -60 dB of full scale."""
    return bool(np.count_nonzero(np.abs(waveform) < SILENCE) >= SILENT_SHARE * len(waveform))


def duration(path: str | Path) -> float:
    """Seconds of audio that the file's header announces; NaN where it cannot be read."""
    with quiet_decoder, contextlib.suppress(soundfile.SoundFileError, RuntimeError, OSError):
        return round(soundfile.info(str(path)).duration, 3)
    return float("nan")


@functools.cache
def decoder_version() -> str:
    """What decodes here, for the cache's record: the same file may decode differently elsewhere."""
    return f"soundfile {soundfile.__version__}, {soundfile.__libsndfile_version__}, soxr {soxr.__version__}"
