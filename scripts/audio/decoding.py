"""Audio files to waveforms: decode, mix down, resample, pad or cut, slice into clips.

What a file's header announces is not believed; what the file holds counts. libsndfile decodes what it can, and is fast.
Where fewer samples came than were wanted, FFmpeg looks through the file, and decodes it if there is more.
"""

import contextlib
import functools
import io
import itertools
import math
import mmap
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import soundfile
import soxr

from scripts.audio.ffmpeg import (
    MOST_CHANNELS,
    RATES,
    SLACK,
    Frames,
    Source,
    Stretch,
    is_recording,
    look_through,
    open_ffmpeg,
    promised,
)
from scripts.audio.spec import MelSpec
from scripts.common.errors import AudioError

# how files are called that libsndfile or FFmpeg reads
# fmt: off
SUFFIXES = {
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc", ".nist",
    ".sph", ".paf", ".svx", ".8svx", ".ircam", ".pvf", ".avr", ".sds", ".flac", ".ogg", ".oga", ".ogv", ".opus",
    ".spx", ".mp1", ".mp2", ".mp3", ".mpa", ".mpga", ".aac", ".adts", ".ac3", ".amr", ".m4a", ".m4b", ".m4r", ".mp4",
    ".m4v", ".mov", ".3gp", ".3g2", ".mka", ".mkv", ".webm", ".weba", ".wma", ".wmv", ".asf", ".avi", ".ts", ".mts",
    ".m2ts", ".ape", ".wv", ".tta", ".eac3", ".ec3", ".dts", ".flv", ".f4v",
}
# fmt: on
LOUDEST = 1e6  # amplitude; 1 is full scale
SILENCE = 1e-3  # amplitude, -60 dB of full scale
LOUD_SHARE = 0.05  # of the samples: silence has no more
FAINT = 5e-4  # amplitude of the noise under a short track
RESAMPLER_TAIL = 0.1  # seconds decoded beyond the cut, so that the cut does not see the resampler's edge
BLOCK = 2**24  # samples of all channels that are decoded at a time: 30 s of nearly anything
GLANCE = 2**16  # samples that are looked at at a time: they stay in a core's cache
# formats of which FFmpeg, too, gives nothing if their recorder was killed: where the samples are, and their order
UNFINISHED: dict[str, tuple[Callable[[bytes], int], str]] = {
    "AIFF": (lambda content: content.find(b"SSND") + 16, "BIG"),
    "AU": (lambda content: int.from_bytes(content[4:8], "big"), "BIG"),
    "RF64": (lambda content: content.find(b"data") + 8, "LITTLE"),
}
PAGE = 27 + 255 + 255**2  # bytes of the longest of Ogg
UNKNOWN_SIZE = 2**31 - 2**16  # bytes; recorders announce from here on what they do not know yet
RULES = 3  # rises whenever something is decoded otherwise than before
LEAVE_OUT = "leave it out or replace it"
NO_AUDIO, INVALID = "it holds no audio", "it holds samples that are NaN, infinite or absurdly great"
UNREADABLE = (soundfile.SoundFileError, av.error.FFmpegError, RuntimeError, IndexError, ValueError, OSError)
CANCELLED = ("cancelled", "the channels cancel", "turn one of them round, or leave the others out")
SILENT = ("silent", "below -60 dB nearly throughout", "give a file with sound")
EMPTY = np.empty(0, np.float32)

Mix = Callable[[np.ndarray], np.ndarray]  # [samples, channels] -> [samples]


class Wanted(NamedTuple):
    """What is asked of a file: `decode`'s arguments, and what makes one channel of several."""

    path: Path
    sample_rate: int
    seconds: float | None
    mix: Mix

    def is_enough(self, seconds: float) -> bool:
        return self.seconds is not None and seconds >= self.seconds


class Decoded(NamedTuple):
    """A waveform, float32 [samples], and the second of its file after which there is damage; None: there is none."""

    waveform: np.ndarray
    damage: float | None = None

    @property
    def note(self) -> str:
        """The damage in words, "" if there is none."""
        return "" if self.damage is None else f"damaged after {self.damage:.1f} s"


def decode(path: str | Path, sample_rate: int, seconds: float | None = None) -> np.ndarray:
    """Read a file as a mono waveform.

    Channels are averaged; another sample rate is converted by soxr (HQ). WAV, FLAC, OGG, MP3, AU and AIFF are
    read by libsndfile, everything else by FFmpeg, and so is a file of which libsndfile leaves something out. One that
    changes its rate or its channels on the way is read throughout, a damaged one as far as it goes.

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
    return decode_with_note(path, sample_rate, seconds).waveform


def decode_with_note(path: str | Path, sample_rate: int, seconds: float | None = None) -> Decoded:
    """As `decode`, and says where the file is damaged, if it is in what was read."""
    path = Path(path)
    check_there(path)
    try:
        waveform, damage = read_source(path, Wanted(path, sample_rate, seconds, mix_down))
    except MemoryError:
        raise AudioError(path, "long", "more audio than the memory holds", "cut it into shorter files") from None
    if not len(waveform):
        raise AudioError(path, "unreadable", NO_AUDIO, LEAVE_OUT)
    if seconds is not None:
        waveform = waveform[: round(seconds * sample_rate)]
    if not is_valid(waveform):
        raise AudioError(path, "unreadable", INVALID, LEAVE_OUT)
    return Decoded(waveform, damage)


def decode_takes(path: str | Path, sample_rate: int, seconds: float | None = None) -> Iterator["Take"]:
    """As `decode`, in blocks, so that memory does not grow with the length; the samples are the same.

    There is one take, unless it turns out at its end that FFmpeg reads more of the file: another one follows, from the
    beginning. The last one of which `samples` is not 0 when all are read is the file's.

    Parameters
    ----------
    path, sample_rate : as of `decode`.
    seconds : about so much is read, from the beginning, and not less; None reads everything.

    Yields
    ------
    Take, to be read to its end before the next one is asked for.

    Raises
    ------
    AudioError : as `decode`, after the last take too.
    """
    path = Path(path)
    check_there(path)
    read = []
    for take in takes(path, Wanted(path, sample_rate, seconds, mix_down)):
        yield take
        read.append(take)
    if not any(take.samples for take in read):
        raise AudioError(path, "unreadable", NO_AUDIO, LEAVE_OUT)
    if not [take.valid for take in read if take.samples][-1]:
        raise AudioError(path, "unreadable", INVALID, LEAVE_OUT)


def check_there(path: Path) -> None:
    if not path.is_file():
        raise AudioError(path, "missing", "no such file", "check the path or make the table again")
    if path.stat().st_size == 0:
        raise AudioError(path, "unreadable", "the file is empty (0 bytes)", LEAVE_OUT)
    if not os.access(path, os.R_OK):
        remedy = "give yourself the right to it, or leave it out"
        raise AudioError(path, "unreadable", "no permission to read it", remedy)


# --- by libsndfile, by FFmpeg, or link by link --------------------------------------------------------------


class Take:
    """The sound of a file as one decoder gives it, to be read once, by `waveform` or by `blocks`.

    Attributes
    ----------
    samples : how many came so far; 0 if the take does not count, as the decoder failed or another one read no less.
    valid : no sample of the blocks is NaN, infinite or absurdly great.
    damage : as of `Decoded`, once there are no more takes.
    error : what kept the decoder from going on.
    """

    def __init__(self, stretches: Iterator[Stretch], wanted: Wanted) -> None:
        self.stretches, self.wanted = stretches, wanted
        self.samples, self.valid = 0, True
        self.damage: float | None = None
        self.error: Exception | None = None

    @property
    def note(self) -> str:
        """As of `Decoded`."""
        return Decoded(EMPTY, self.damage).note

    def read(self) -> Iterator[Stretch]:
        try:
            yield from self.stretches
        except UNREADABLE as error:
            self.error = error

    def waveform(self) -> np.ndarray:
        """All of it, float32 [samples]."""
        whole = join(self.read(), self.wanted)
        self.samples = len(whole)
        return whole

    def blocks(self) -> Iterator[np.ndarray]:
        """The same, float32 [samples] at a time."""
        for rate, run in itertools.groupby(self.read(), itemgetter(0)):
            for block in convert(map(itemgetter(1), run), rate, self.wanted):
                self.samples += len(block)
                self.valid = self.valid and is_valid(block)
                yield block


def read_source(source: Source, wanted: Wanted) -> Decoded:
    """As `decode_with_note`, which checks more, of a file or a part of one; perhaps a little more than was wanted."""
    read = [(take, take.waveform()) for take in takes(source, wanted)]
    counting = [Decoded(waveform, take.damage) for take, waveform in read if take.samples]
    return counting[-1] if counting else Decoded(EMPTY)


def takes(source: Source, wanted: Wanted) -> Iterator[Take]:
    """As `decode_takes`, which checks more."""
    first, slack, trusted, is_torn = Take(iter(()), wanted), 0.0, False, False
    try:
        with open_soundfile(source) as file:
            check_format(wanted.path, file.channels, file.samplerate)
            yield (first := Take(read_blocks(file, wanted.seconds), wanted))
            slack, trusted, is_torn = SLACK / file.samplerate, is_counted(file), lacks_samples(file)
    except (soundfile.SoundFileError, RuntimeError) as error:
        first.error = error
    if first.error:
        first.samples = 0  # FFmpeg may know it
    came = first.samples / wanted.sample_rate
    if first.samples and (trusted or wanted.is_enough(came + slack)):
        first.damage = came if is_torn and not wanted.is_enough(came) else None
        return
    links = ogg_links(source)
    if links:
        first.samples = 0
        yield from read_links(links, wanted)
        return
    if not first.samples:
        yield from read_with_ffmpeg(source, wanted)
        return
    survey = look_through(source)
    if survey.held > came + slack:
        with contextlib.suppress(AudioError):
            for other in read_with_ffmpeg(source, wanted):
                yield other
            if other.samples > (came + slack) * wanted.sample_rate:
                return
            other.samples = 0
    first.damage = came if survey.promised > came + slack or lacks_page_end(source) else None


def read_links(links: list[bytes], wanted: Wanted) -> Iterator[Take]:
    """The take of a chained Ogg file: each link is a file of its own, and may have its own format."""
    damage: list[float] = []
    yield (take := Take(join_links(links, wanted, damage), wanted))
    take.damage = next(iter(damage), None)


def join_links(links: list[bytes], wanted: Wanted, damage: list[float]) -> Iterator[Stretch]:
    """Each link's sound at the wanted rate; the seconds at which something is damaged are added to `damage`."""
    length = 0.0
    for link in links:
        left = None if wanted.seconds is None else wanted.seconds + RESAMPLER_TAIL - length
        try:
            waveform, broken = read_source(io.BytesIO(link), wanted._replace(seconds=left))
        except AudioError:
            waveform, broken = EMPTY, 0.0
        if broken is not None:
            damage.append(length + broken)
        yield wanted.sample_rate, waveform[:, None]
        length += len(waveform) / wanted.sample_rate
        if wanted.is_enough(length):
            break


def open_soundfile(source: Source) -> soundfile.SoundFile:
    """Open with libsndfile; what follows a header that announces nothing is read as if it had none."""
    if not isinstance(source, Path):
        source.seek(0)
        return soundfile.SoundFile(source)
    file = soundfile.SoundFile(os.fsencode(source))
    if file.format == "VOC":
        file.close()
        raise soundfile.SoundFileError("libsndfile takes the heads of later blocks for samples")
    if file.frames or file.format not in UNFINISHED or not file.subtype.startswith(("PCM", "FLOAT", "DOUBLE")):
        return file
    with file:
        find_samples, endian = UNFINISHED[file.format]
        content = source.read_bytes()
        samples = io.BytesIO(content[find_samples(content) :])
        return soundfile.SoundFile(samples, "r", file.samplerate, file.channels, file.subtype, endian, "RAW")


def lacks_samples(file: soundfile.SoundFile) -> bool:
    """Its header announces more than there is, by libsndfile's log, and no size that an unfinished recording has."""
    found = re.search(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", file.extra_info, re.M)
    announced, held = map(int, found.groups()) if found else (0, 0)
    return announced < UNKNOWN_SIZE and file.frames * (announced - held) > SLACK * held


def is_counted(file: soundfile.SoundFile) -> bool:
    """libsndfile knows how many samples there are, and does not guess or believe the header."""
    return file.format not in ("MP3", "OGG", "FLAC") and not file.subtype.startswith("MPEG")


def check_format(path: Path, channels: int, rate: int) -> None:
    """Refuse what a damaged or malicious header announces and no recording has."""
    if not is_recording(channels, rate):
        reason = (
            f"its header announces {channels} channels at {rate} Hz, not 1-{MOST_CHANNELS} at {RATES[0]}-{RATES[1]}"
        )
        raise AudioError(path, "unreadable", reason, LEAVE_OUT)


def read_blocks(file: soundfile.SoundFile, seconds: float | None) -> Iterator[Stretch]:
    """Samples as float32, unchanged; in one block unless there are many, whatever is announced."""
    left = sys.maxsize if seconds is None else int((seconds + RESAMPLER_TAIL) * file.samplerate)
    asked = BLOCK // file.channels
    while left > 0:
        block = [file.read(min(asked, left), dtype="float32", always_2d=True)]
        left = left - asked if len(block[0]) == asked else 0
        if len(block[0]):
            yield file.samplerate, block.pop()  # which is not held here while the next one is read


def read_stream(frames: Iterable[Stretch], seconds: float | None) -> Iterator[Stretch]:
    """As `read_blocks`; a new block where the format changes."""
    left = math.inf if seconds is None else seconds + RESAMPLER_TAIL
    for (rate, channels), run in itertools.groupby(frames, lambda frame: (frame[0], frame[1].shape[1])):
        wanted = sys.maxsize if left == math.inf else int(left * rate)
        blocks, held = [], 0
        for _, samples in itertools.chain(run, [(rate, None)]):
            if samples is not None:
                blocks.append(samples)
                held += len(samples)
            if held and (samples is None or held >= min(wanted, BLOCK // channels)):
                blocks = [np.concatenate(blocks)[:wanted]]
                yield rate, blocks.pop()
                left, wanted, held = left - held / rate, wanted - held, 0
            if wanted <= 0:
                return


def read_with_ffmpeg(source: Source, wanted: Wanted) -> Iterator[Take]:
    """FFmpeg's take of a file, through PyAV."""
    take = Take(iter(()), wanted)
    try:
        with open_ffmpeg(source) as container:
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise ValueError("no decoder for it")
            check_format(wanted.path, stream.channels, stream.rate or 0)
            frames = Frames(container, stream)
            yield (take := Take(read_stream(frames, wanted.seconds), wanted))
            if take.error:
                raise take.error
            is_short = promised(container, stream) > frames.seconds + SLACK / stream.rate
            is_damaged = frames.ended and (is_short or frames.broken_off or lacks_page_end(source))
            take.damage = (frames.fault or frames.seconds) if is_damaged else None
    except UNREADABLE:
        take.samples = 0
        reason = "not audio that libsndfile or FFmpeg can read"
        raise AudioError(wanted.path, "unreadable", reason, LEAVE_OUT) from None


# --- Ogg ----------------------------------------------------------------------------------------------------


def ogg_links(source: Source) -> list[bytes]:
    """The links of a chained Ogg file, such as a recording of a radio; none of any other file.

    A link begins with the first pages of its streams (RFC 3533, 4 and 6).
    """
    if not isinstance(source, Path):
        return []  # a link is not looked into again
    with open(source, "rb") as file:
        if file.read(4) != b"OggS":
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            starts: list[int] = []
            end = 0
            for page in re.finditer(rb"OggS\0[\2\3\6\7].{20}(.)", content, re.DOTALL):
                if page.start() != end or not starts:
                    starts.append(page.start())
                segments = content[page.end() : page.end() + page[1][0]]
                end = page.end() + len(segments) + sum(segments)
            links = itertools.pairwise([*starts, len(content)]) if len(starts) > 1 else ()
            return [content[start:stop] for start, stop in links]


def lacks_page_end(source: Source) -> bool:
    """Of an Ogg file, the last page goes on behind its end."""
    with open(source, "rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, size - PAGE))
        page = file.read().rpartition(b"OggS\0")[2]
        return len(page) < 22 or len(page) < 22 + page[21] + sum(page[22 : 22 + page[21]])


# --- blocks to waveform -------------------------------------------------------------------------------------


def join(stretches: Iterator[Stretch], wanted: Wanted) -> np.ndarray:
    """Stretches, each at its own rate -> mono [samples] at the wanted one, one after the other."""
    runs = itertools.groupby(stretches, itemgetter(0))
    parts = [join_run(map(itemgetter(1), run), rate, wanted) for rate, run in runs]
    return parts[0] if len(parts) == 1 else np.concatenate([EMPTY, *parts])


def join_run(blocks: Iterator[np.ndarray], rate: int, wanted: Wanted) -> np.ndarray:
    """Blocks [samples, channels] at `rate` Hz -> mono [samples] at the wanted rate, the same in however many blocks.

    Of many only the result grows, in place.
    """
    first, second = next(blocks), next(blocks, None)
    if second is None:
        return resample(wanted.mix(first), rate, wanted.sample_rate)
    waveform = np.empty(0, np.float32)
    for part in convert(itertools.chain([first, second], blocks), rate, wanted):
        waveform.resize(len(waveform) + len(part), refcheck=False)
        waveform[len(waveform) - len(part) :] = part
    return waveform


def convert(blocks: Iterator[np.ndarray], rate: int, wanted: Wanted) -> Iterator[np.ndarray]:
    """Blocks [samples, channels] at `rate` Hz -> mono [samples] at the wanted rate, one after the other."""
    if rate == wanted.sample_rate:
        yield from map(wanted.mix, blocks)
        return
    resampler = soxr.ResampleStream(rate, wanted.sample_rate, 1, "float32", "HQ")
    for block in map(wanted.mix, blocks):
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(EMPTY, last=True)


def mix_down(samples: np.ndarray) -> np.ndarray:
    """[samples, channels] -> [samples], the mean of the channels.

    A dot product: `mean(axis=1)` takes 20 times as long on two interleaved channels.
    """
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    return samples @ np.full(channels, 1 / channels, np.float32)


def loudest_channel(samples: np.ndarray) -> np.ndarray:
    """[samples, channels] -> [samples], in which channels do not cancel."""
    return samples.max(axis=1)


def resample(waveform: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """[samples] at `rate` Hz -> [samples] at `sample_rate` Hz."""
    return waveform if rate == sample_rate else soxr.resample(waveform, rate, sample_rate, quality="HQ")


def fit_length(waveform: np.ndarray, samples: int, ending: str = "zeros") -> np.ndarray:
    """Cut a waveform, or complete it: [length] -> [samples].

    Parameters
    ----------
    waveform : float32 [length].
    samples : of the result.
    ending : what follows on the end: "zeros"; "repeat", the waveform again and again; "hold", its last sample;
        "reflect", the waveform backwards, forwards, ..., without its turning points twice; "noise", zeros, and faint
        noise over everything.
    """
    if len(waveform) >= samples:
        return waveform[:samples]
    return np.pad(waveform, (0, samples - len(waveform)), PADDING[ending])


def cut_excerpt(waveform: np.ndarray, spec: MelSpec, sample_rate: int | None = None) -> np.ndarray:
    """What a spec takes of a file, at most `spec.track_seconds`; all of a file that is no longer.

    Parameters
    ----------
    waveform : float32 [samples], the file as far as `spec.decoded_seconds`.
    sample_rate : of the waveform in Hz; default: the spec's.
    """
    rate = sample_rate or spec.sample_rate
    length, piece = round(spec.track_seconds * rate), round(spec.clip_seconds * rate)
    spare = len(waveform) - length
    if spec.excerpt == "spread" and spare > 0:
        starts = np.linspace(0, len(waveform) - piece, length // piece).round().astype(int)
        return np.concatenate([waveform[start : start + piece] for start in starts])
    start = max(0, spare) // 2 if spec.excerpt == "middle" else 0
    return waveform[start : start + length]


def lay_noise(padded: np.ndarray, *_: object) -> None:
    """Add uniform noise in [0, 5e-4) in place, the same each time, as COALA did (X. Favory et al., ICML 2020 workshop).

    NumPy's padding calls it with what is padded with zeros.
    """
    padded += FAINT * np.random.default_rng(0).random(len(padded), np.float32)


# ending -> NumPy's padding
PADDING: dict[str, Any] = {
    "zeros": "constant", "repeat": "wrap", "hold": "edge", "reflect": "reflect", "noise": lay_noise,
}  # fmt: skip


def slice_clips(waveform: np.ndarray, samples: int, step: int | None = None) -> np.ndarray:
    """Cut a waveform into whole clips: [length] -> [clips, samples], a view; a remainder is dropped.

    Parameters
    ----------
    samples : length of a clip.
    step : samples from the start of a clip to that of the next; default: `samples`, one clip after another.
    """
    if len(waveform) < samples:
        return np.empty((0, samples), waveform.dtype)
    return np.lib.stride_tricks.sliding_window_view(waveform, samples)[:: step or samples]


def count_clips(decoded: int, samples: int, starts: Iterable[int]) -> int:
    """How many of a padded track's clips hold at least half a clip of audio.

    Parameters
    ----------
    decoded : samples of the track itself.
    samples : of a clip.
    starts : the sample at which each clip begins.
    """
    return sum(2 * (decoded - start) >= samples for start in starts)


def is_valid(waveform: np.ndarray) -> bool:
    """True if all samples are numbers that one can compute with; the dot product spares most files the second look."""
    with np.errstate(all="ignore"):
        return bool(waveform @ waveform < LOUDEST**2 or (np.abs(waveform) < LOUDEST).all())


def is_silent(waveform: np.ndarray) -> bool:
    """True if nearly all samples stay within -60 dB of full scale of zero, or of their mean: an offset is no sound."""
    return any(loud_share(waveform, level, LOUD_SHARE) <= LOUD_SHARE for level in levels(waveform))


def quiet_share(waveform: np.ndarray) -> float:
    """Share of the samples that `is_silent` looks for."""
    return max(1 - loud_share(waveform, level) for level in levels(waveform))


def levels(waveform: np.ndarray) -> Iterator[float]:
    """What the samples of silence may lie around."""
    yield 0.0
    yield waveform.mean()


def loud_share(waveform: np.ndarray, level: float, enough: float = 1.0) -> float:
    """Share of the samples that leave the level; counted until it is more than `enough`, which in music is soon."""
    count = 0
    for start in range(0, len(waveform), GLANCE):
        count += int(np.count_nonzero(np.abs(waveform[start : start + GLANCE] - level) >= SILENCE))
        if count > enough * len(waveform):
            break
    return count / len(waveform)


def check_silence(
    path: str | Path,
    waveform: np.ndarray,
    seconds: float | None = None,
    cut: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> None:
    """Refuse a silent file.

    Parameters
    ----------
    path : of the file.
    waveform : float32 [samples], what `decode` made of it, or an excerpt of that.
    seconds : as `decode` was given them.
    cut : takes the same excerpt of a waveform at 44,100 Hz; default: all of it.

    Raises
    ------
    AudioError : it is silent nearly throughout, or the mean of its channels is, as they cancel.
    """
    if not is_silent(waveform):
        return
    loudest = Wanted(Path(path), 44_100, seconds, loudest_channel)
    if not is_silent(cut(read_source(loudest.path, loudest).waveform)):
        raise AudioError(path, *CANCELLED)
    raise AudioError(path, *SILENT)


class Loudness:
    """Watches a sound that comes in blocks: is it silent?

    Attributes
    ----------
    only : the block, while there is only one, which is not counted.
    samples, total : number of samples, and their sum.
    loud : number of samples at least `threshold` away from `level`.
    """

    def __init__(self, level: float = 0.0, threshold: float = SILENCE) -> None:
        self.level, self.threshold = level, threshold
        self.only: np.ndarray | None = None
        self.samples, self.total, self.loud = 0, 0.0, 0

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks, as they are."""
        for number, block in enumerate(blocks):
            if self.only is not None:
                self.count(self.only)
            if number:
                self.count(block)
            self.only = None if number else block
            yield block

    def count(self, block: np.ndarray) -> None:
        self.samples += len(block)
        for start in range(0, len(block), GLANCE):
            piece = block[start : start + GLANCE]
            self.total += float(piece.sum())
            self.loud += int(np.count_nonzero(np.abs(piece - self.level) >= self.threshold))

    @property
    def mean(self) -> float:
        return self.total / self.samples

    @property
    def is_quiet(self) -> bool:
        return self.loud <= LOUD_SHARE * self.samples


def check_silence_in_blocks(path: str | Path, sample_rate: int, seconds: float | None, found: Loudness) -> None:
    """As `check_silence`, of a file that `decode_takes` has read; rarely reads it again.

    Parameters
    ----------
    path, sample_rate, seconds : as `decode_takes` was given them.
    found : has watched the file's blocks, with a threshold of twice `SILENCE`: samples that are so far from zero leave
        a mean of no more than `SILENCE`, too.
    """
    if found.only is not None:
        check_silence(path, found.only, seconds)
    elif found.is_quiet or abs(found.mean) > SILENCE:
        if not is_silent_file(Wanted(Path(path), sample_rate, seconds, mix_down)):
            return
        if not is_silent_file(Wanted(Path(path), 44_100, seconds, loudest_channel)):
            raise AudioError(path, *CANCELLED)
        raise AudioError(path, *SILENT)


def is_silent_file(wanted: Wanted) -> bool:
    """As `is_silent`, of a file of any length."""
    about_zero = listen(wanted, 0.0)
    return about_zero.is_quiet or listen(wanted, about_zero.mean).is_quiet


def listen(wanted: Wanted, level: float) -> Loudness:
    """Count the take that counts."""
    counts = []
    for take in takes(wanted.path, wanted):
        counts.append((take, found := Loudness(level)))
        for block in take.blocks():
            found.count(block)
    return [found for take, found in counts if take.samples][-1]


def duration(path: str | Path) -> float:
    """Seconds of sound in a file; NaN where it cannot be read.

    The size of PCM says how long it is. Of anything else the packets are counted. The header counts where it agrees
    with them to three frames of an MP3, as it knows of delay and padding too; where it does not, the file is decoded.
    """
    try:
        return round(measure(Path(path)), 3)
    except (AudioError, OSError):
        return float("nan")


def measure(source: Source) -> float:
    """As `duration`, of a file or a part of one."""
    announced, slack, is_mp3 = 0.0, SLACK / 44_100, False
    with contextlib.suppress(soundfile.SoundFileError, RuntimeError), open_soundfile(source) as file:
        announced, slack, is_mp3 = file.frames / file.samplerate, SLACK / file.samplerate, file.format == "MP3"
        if is_counted(file) and announced:
            return announced
    links = ogg_links(source)
    if links:
        return float(np.nansum([measure(io.BytesIO(link)) for link in links]))
    held, pledge = look_through(source)
    if is_mp3 and not pledge:
        announced = 0.0  # it was a guess
    if not announced and not pledge:
        return held or float("nan")
    for seconds in filter(None, (announced, pledge)):
        if abs(seconds - held) <= slack:
            return seconds
    return len(read_source(source, Wanted(Path(), 44_100, None, mix_down)).waveform) / 44_100


def passed_over(paths: Iterable[str | Path]) -> str:
    """What a scan of a folder says about files that are not called as audio: "passed over 3 files: 2 .txt, 1 .jpg"."""
    kinds = Counter(Path(path).suffix.lower() or "without a suffix" for path in paths)
    named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))
    return f"passed over {kinds.total()} file{'s' * (kinds.total() > 1)}: {named}"


@functools.cache
def decoder_version() -> str:
    """What decodes here, for the cache's record: the same file may decode differently elsewhere."""
    return f"{library_version()}, PyAV {av.__version__}, rules {RULES}"


def library_version() -> str:
    """What decodes most files; the rest of `decoder_version` matters to those that FFmpeg reads or might read."""
    return f"soundfile {soundfile.__version__}, {soundfile.__libsndfile_version__}, soxr {soxr.__version__}"
