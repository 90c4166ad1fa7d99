"""FFmpeg by PyAV: the frames of a file's sound, and how long its packets and its header say that it is."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

# files of sound alone: a playlist could name other files and addresses
FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpegts,ogg,tta,voc,wav,wv"
FFMPEG = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
SLACK = 3 * 1152  # samples by which counts differ that agree: three frames of an MP3, such as its delay and its padding
# FFmpeg's formats that write their duration down; elsewhere it is an estimate
PROMISING = {"ape", "asf", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "tta", "wv"}
ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
FRAME_COUNT = rb"(?:(?:Xing|Info)\0{3}[\1\3\5\7\x09\x0b\x0d\x0f]|VBRI.{10})(.{4})"
MOST_CHANNELS, RATES = 64, (1_000, 768_000)
PLANES = 8  # of a frame; PyAV 18 reads on behind the last of more

Source = Path | io.BytesIO  # a file, or a part of one
Stretch = tuple[int, np.ndarray]  # sample rate, [samples, channels]


def open_ffmpeg(source: Source) -> av.container.InputContainer:
    if isinstance(source, Path):
        return av.open(str(source.absolute()), "r", options=FFMPEG)
    source.seek(0)
    return av.open(source, "r", options=FFMPEG)


def is_recording(channels: int, rate: int) -> bool:
    return 1 <= channels <= MOST_CHANNELS and RATES[0] <= rate <= RATES[1]


class Frames:
    """The decoded frames of a stream; damaged packets are passed over.

    Attributes
    ----------
    seconds : of sound that came.
    fault : the second at which something first could not be read or was not there; None: nowhere.
    ended : there are no more. broken_off : the last of them could not be read.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.AudioStream) -> None:
        self.container, self.stream = container, stream
        self.seconds, self.ended, self.broken_off = 0.0, False, False
        self.fault: float | None = None

    def __iter__(self) -> Iterator[Stretch]:
        """Frames in the format that each has: a stream may change its rate and its channels on the way."""
        packets = self.container.demux(self.stream)
        while not self.ended:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                self.ended = True
            except av.error.FFmpegError:
                self.note_fault()
                self.broken_off = True
            else:
                for frame in frames:
                    yield from self.take(frame)

    def take(self, frame: av.AudioFrame) -> Iterator[Stretch]:
        rate = frame.sample_rate
        try:
            samples = as_float(frame) if is_recording(frame.layout.nb_channels, rate) else None
        except (av.error.FFmpegError, ValueError):
            samples = None
        if samples is None:
            self.note_fault()
            return
        # of these formats, FLAC alone numbers its samples
        if self.stream.codec_context.name == "flac" and (frame.time or 0) > self.seconds + SLACK / rate:
            self.note_fault()
        self.seconds, self.broken_off = self.seconds + frame.samples / rate, False
        yield rate, samples

    def note_fault(self) -> None:
        if self.fault is None:
            self.fault = self.seconds


def as_float(frame: av.AudioFrame) -> np.ndarray:
    """float32 [samples, channels], full scale at 1."""
    if frame.format.name.startswith("s64"):  # which NumPy is not given
        (frame,) = av.AudioResampler("dbl", frame.layout, frame.sample_rate).resample(frame)
    if frame.format.is_planar and frame.layout.nb_channels > PLANES:
        (frame,) = av.AudioResampler(frame.format.packed, frame.layout, frame.sample_rate).resample(frame)
    samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    offset, scale = (128, 2**7) if samples.dtype == np.uint8 else (0, 2 ** (8 * samples.itemsize - 1))
    return ((samples.astype(np.float64) - offset) / scale).astype(np.float32)


class Survey(NamedTuple):
    """Seconds of sound in a file's packets, and those that its header promises; 0: none, nothing."""

    held: float
    promised: float


def look_through(source: Source) -> Survey:
    """Count a file's packets, without decoding them. An MP3 or AAC file also counts its encoder's delay."""
    held, pledge, end = 0.0, 0.0, None
    try:
        with open_ffmpeg(source) as container:
            stream = container.streams.audio[0]
            pledge, tick = promised(container, stream), float(stream.time_base or 0)
            for packet in container.demux(stream):
                if container.format.name == "aac":
                    held += adts_seconds(packet)
                    continue
                length, start = packet.duration or 0, packet.pts
                if end is not None and start is not None and abs(start - end) == 1:
                    held += (start - end) * tick  # of the packet before: some formats round each to milliseconds
                held, end = held + length * tick, None if start is None else start + length
    except (av.error.FFmpegError, IndexError, ValueError, OSError):
        pass  # it goes as far as it goes
    return Survey(held, pledge)


def adts_seconds(packet: "av.Packet[av.AudioStream]") -> float:
    """Length of an ADTS packet by the rate in its own header (ISO/IEC 13818-7, 6.2.1); FFmpeg takes the first one's."""
    index = memoryview(packet)[2] >> 2 & 15 if packet.size > 2 else 15
    return 1024 / ADTS_RATES[index] if index < len(ADTS_RATES) else 0.0


def promised(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """Seconds of sound that the header promises, 0 if it does not."""
    if container.format.name == "mp3" and stream.rate:
        return promised_frames(Path(container.name)) * (1152 if stream.rate >= 32_000 else 576) / stream.rate
    if container.format.name not in PROMISING:
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


def promised_frames(path: Path) -> int:
    """How many frames follow by an MP3 file's first one, if that is of the kind called Xing, Info or VBRI; else 0."""
    with open(path, "rb") as file:
        mark = file.read(10)
        tag = 10 + sum(byte << shift for byte, shift in zip(mark[6:], (21, 14, 7, 0), strict=True))
        file.seek(tag if mark.startswith(b"ID3") else 0)
        found = re.search(FRAME_COUNT, file.read(4096), re.DOTALL)
    return int.from_bytes(found[1], "big") if found else 0
