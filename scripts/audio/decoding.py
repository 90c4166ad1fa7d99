"""Audio files to waveforms: decode, mix down, resample, pad or cut, slice into clips."""

import contextlib
import functools
import importlib.util
import itertools
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from scripts.common.errors import AudioError

SUFFIXES = {".mp3", ".wav", ".flac", ".ogg", ".au", ".aif", ".aiff", ".opus", ".m4a", ".aac", ".wma", ".mp4"}
LOUDEST = 1e6  # amplitude; 1 is full scale
SILENCE = 1e-3  # amplitude, -60 dB of full scale
SILENT_SHARE = 0.95  # of the samples
FAINT = 5e-4  # amplitude of the noise under a short track
RESAMPLER_TAIL = 0.1  # seconds decoded beyond the cut, so that the cut does not see the resampler's edge
BLOCK = 2**24  # samples of all channels that are decoded at a time: 30 s of nearly anything
MOST_CHANNELS, RATES = 64, (1_000, 768_000)
# files of sound alone: a playlist could name other files and addresses
FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,flac,matroska,mov,mp3,mpegts,ogg,tta,wav,wv"
FFMPEG = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
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
    try:
        waveform = read_waveform(path, sample_rate, wanted)
    except MemoryError:
        raise AudioError(path, "long", "more audio than the memory holds", "cut it into shorter files") from None
    if not len(waveform):
        raise AudioError(path, "unreadable", "it holds no audio", LEAVE_OUT)
    if seconds is not None:
        waveform = waveform[: round(seconds * sample_rate)]
    if not is_sound(waveform):
        raise AudioError(path, "unreadable", "it holds samples that are NaN, infinite or absurdly great", LEAVE_OUT)
    return waveform


def read_waveform(path: Path, sample_rate: int, seconds: float | None) -> np.ndarray:
    """As `decode`, which checks more; perhaps a little more than `seconds`, perhaps nothing."""
    if not os.access(path, os.R_OK):
        raise AudioError(
            path, "unreadable", "no permission to read it", "give yourself the right to it, or leave it out"
        )
    try:
        with quiet_decoder:
            file = soundfile.SoundFile(os.fsencode(path))
        with file:
            check_format(path, file.channels, file.samplerate)
            return join(read_blocks(file, seconds), file.samplerate, sample_rate)
    except (soundfile.SoundFileError, RuntimeError) as error:
        return read_with_ffmpeg(path, sample_rate, seconds, getattr(error, "error_string", str(error)))


def check_format(path: Path, channels: int, rate: int) -> None:
    """Refuse what a damaged or malicious header announces and no recording has."""
    if not 1 <= channels <= MOST_CHANNELS or not RATES[0] <= rate <= RATES[1]:
        reason = (
            f"its header announces {channels} channels at {rate} Hz, not 1-{MOST_CHANNELS} at {RATES[0]}-{RATES[1]}"
        )
        raise AudioError(path, "unreadable", reason, LEAVE_OUT)


def read_blocks(file: soundfile.SoundFile, seconds: float | None) -> Iterator[np.ndarray]:
    """Samples as float32 [samples, channels], unchanged; in one block unless there are many, whatever is announced."""
    left = sys.maxsize if seconds is None else int(seconds * file.samplerate)
    asked = BLOCK // file.channels
    while left > 0:
        with quiet_decoder:
            block = file.read(min(asked, left), dtype="float32", always_2d=True)
        if len(block):
            yield block
        left = left - asked if len(block) == asked else 0


def read_with_ffmpeg(path: Path, sample_rate: int, seconds: float | None, first_error: str) -> np.ndarray:
    """As `read_waveform`, through PyAV; `first_error` is what libsndfile said."""
    if importlib.util.find_spec("av") is None:
        reason = f"not audio that libsndfile can read ({first_error.rstrip('.')})"
        raise AudioError(path, "unreadable", reason, "`pip install av` for m4a, aac, wma and video, or leave it out")
    import av

    try:
        with av.open(str(path.absolute()), options=FFMPEG) as container:
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise ValueError("no decoder for it")
            check_format(path, stream.channels, stream.rate or 0)
            return join(read_stream(container, stream, seconds), stream.rate, sample_rate)
    except (av.error.FFmpegError, IndexError, ValueError, OSError):
        reason = "not audio that libsndfile or FFmpeg can read"
        raise AudioError(path, "unreadable", reason, LEAVE_OUT) from None


def read_stream(container, stream, seconds: float | None) -> Iterator[np.ndarray]:
    """As `read_blocks`, from an audio stream of an open PyAV container."""
    import av

    planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    left = sys.maxsize if seconds is None else int(seconds * stream.rate)
    blocks, held = [], 0
    for frame in itertools.chain(sound_frames(container, stream), [None]):
        for block in planar.resample(frame):
            blocks.append(block.to_ndarray().T)
            held += len(blocks[-1])
        if held and (held >= min(left, BLOCK // stream.channels) or frame is None):
            yield np.concatenate(blocks)[:left]
            left, blocks, held = left - held, [], 0
        if left <= 0:
            break


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


def join(blocks: Iterator[np.ndarray], rate: int, sample_rate: int) -> np.ndarray:
    """Blocks [samples, channels] at `rate` Hz -> mono [samples] at `sample_rate` Hz, the same in however many blocks.

    Of many only the result grows, in place.
    """
    first, second = next(blocks, np.empty((0, 1), np.float32)), next(blocks, None)
    if second is None:
        return resample(mix_down(first), rate, sample_rate)
    waveform = np.empty(0, np.float32)
    convert = soxr.ResampleStream(rate, sample_rate, 1, "float32", "HQ").resample_chunk
    for block in itertools.chain([first, second], blocks, [first[:0]]):
        part = mix_down(block)
        part = part if rate == sample_rate else convert(part, last=not len(part))
        waveform.resize(len(waveform) + len(part), refcheck=False)
        waveform[len(waveform) - len(part) :] = part
    return waveform


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
    """Cut to `samples`, or go on after the end with zeros or another of `spec.ENDINGS`.

    "repeat" plays the waveform [length] again and again, "hold" its last sample, "reflect" plays it backwards,
    forwards, ..., without its turning points twice; "noise" goes on with zeros and lays faint noise over everything.
    """
    if len(waveform) >= samples:
        return waveform[:samples]
    return np.pad(waveform, (0, samples - len(waveform)), PADDING[ending])


def lay_noise(padded: np.ndarray, *_: object) -> None:
    """Add uniform noise in [0, 5e-4) in place, the same each time, as COALA did (X. Favory et al., ICML 2020 workshop).

    NumPy's padding calls it with what is padded with zeros.
    """
    padded += FAINT * np.random.default_rng(0).random(len(padded), np.float32)


# ending -> NumPy's padding
PADDING = {"zeros": "constant", "repeat": "wrap", "hold": "edge", "reflect": "reflect", "noise": lay_noise}


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


def is_sound(waveform: np.ndarray) -> bool:
    """True if all samples are numbers that one can compute with; the dot product spares most files the second look."""
    with np.errstate(all="ignore"):
        return bool(waveform @ waveform < LOUDEST**2 or (np.abs(waveform) < LOUDEST).all())


def is_silent(waveform: np.ndarray) -> bool:
    """True if nearly all samples stay below -60 dB of full scale."""
    parts = (waveform[start : start + BLOCK] for start in range(0, len(waveform), BLOCK))
    return sum(np.count_nonzero(np.abs(part) < SILENCE) for part in parts) >= SILENT_SHARE * len(waveform)


def duration(path: str | Path) -> float:
    """Seconds of audio that the file's header announces; NaN where it cannot be read."""
    with quiet_decoder, contextlib.suppress(soundfile.SoundFileError, RuntimeError, OSError):
        return round(soundfile.info(os.fsencode(path)).duration, 3)
    return float("nan")


@functools.cache
def decoder_version() -> str:
    """What decodes here, for the cache's record: the same file may decode differently elsewhere."""
    return f"soundfile {soundfile.__version__}, {soundfile.__libsndfile_version__}, soxr {soxr.__version__}"
