"""Uploads that mean harm, or that broke on the way, from a seed; encoders alone add a date or number of their own."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

REFUSED = {400, 413, 415, 422}
ANY = REFUSED | {200}  # damaged audio may still be audio
HOURS = 3
NAMES = (
    "../../../etc/passwd", "/etc/cron.d/evil", "..\\..\\evil.wav", "%2e%2e%2fevil.wav", "evil\x00.wav", "", ".", "..",
    "a" * 3000 + ".wav", "CON", "-rf", "$(touch evil).wav", "evil.wav; rm -rf /", "ev\u202eil.wav", "🎵.wav", "<b>.wav",
    "~/evil.wav", "http://127.0.0.1/evil.wav", "pipe:0", "concat:a|b", "%d.wav", "evil.wav/", "//evil/share", "\udcff",
)  # fmt: skip
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"


@dataclass(frozen=True)
class Hostile:
    """`kind`, in a word; the file `name` that the client claims; its bytes; and the statuses that are right."""

    kind: str
    name: bytes
    data: bytes
    statuses: frozenset[int]


def hostile_files(secret: Path, seed: int = 0, count: int = 200) -> list[Hostile]:
    """Of every kind in turn; `secret` is an audio file of the server that none of them may get at."""
    random, endless = np.random.default_rng(seed), long_silence()
    kinds = makers(random, secret, endless)
    return [one for _, one in zip(range(count), turns(kinds), strict=False)]


def turns(kinds: dict[str, tuple[Callable[[], bytes | tuple[str, bytes]], set[int]]]) -> Iterator[Hostile]:
    while True:
        for kind, (make, statuses) in kinds.items():
            made = make()
            name, data = made if isinstance(made, tuple) else (f"{kind}.wav", made)
            yield Hostile(kind, name.encode(errors="surrogateescape"), data, frozenset(statuses))


def makers(
    random: np.random.Generator, secret: Path, endless: bytes
) -> dict[str, tuple[Callable[[], bytes | tuple[str, bytes]], set[int]]]:
    """Each kind: what makes one, and the statuses that are right."""
    names = iter(NAMES * 10)
    return {
        "path": (lambda: (next(names), sound(random)), {200}),
        "truncated": (lambda: cut(random, sound(random, pick(random, "WAV", "FLAC", "OGG", "MP3"))), ANY),
        "flipped": (lambda: flip(random, sound(random, pick(random, "WAV", "FLAC", "OGG", "MP3", "AIFF"))), ANY),
        "header_bomb": (lambda: header(random, size=0xFFFF_FFFF), ANY),
        "channels": (lambda: header(random, channels=pick(random, 0, 1000, 65_535)), REFUSED),
        "rate": (lambda: header(random, rate=pick(random, 0, 1, 2**31 - 1, 2**32 - 1)), REFUSED),
        "flac_bomb": (lambda: flac_bomb(sound(random, "FLAC")), ANY),
        "nan": (lambda: spoil(random, pick(random, np.nan, np.inf, -np.inf)), {415}),
        "huge": (lambda: spoil(random, 3e38), {415}),
        "silence": (lambda: ("night.flac", endless), {413}),
        "empty": (lambda: b"", {415}),
        "tiny": (lambda: random.bytes(int(random.integers(1, 60))), {415}),
        "head": (lambda: sound(random)[:44], {415, 422}),
        "noise": (lambda: random.bytes(int(random.integers(1000, 100_000))), ANY),
        "html": (lambda: ("song.mp3", b"<!doctype html><html><script>alert(1)</script></html>" * 50), {415}),
        "zip": (lambda: zipped("../../evil.wav", sound(random)), {415}),
        "zip_bomb": (lambda: zipped("zeros.wav", bytes(10**7)), {415}),
        "gzip": (lambda: gzip.compress(sound(random)), {415}),
        "image": (lambda: b"\x89PNG\r\n\x1a\n" + random.bytes(2000), {415}),
        "program": (lambda: b"\x7fELF" + random.bytes(2000), {415}),
        "playlist": (lambda: ("list.m3u8", PLAYLIST.format(secret).encode()), {415}),
        "remote": (lambda: ("list.m3u8", PLAYLIST.format("http://127.0.0.1:9/evil.wav").encode()), {415}),
        "concat": (lambda: ("list.txt", f"ffconcat version 1.0\nfile {secret}\n".encode()), {415}),
        "session": (lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n", {415}),
    }


def pick(random: np.random.Generator, *values):
    return values[random.integers(len(values))]


def sound(random: np.random.Generator, kind: str = "WAV") -> bytes:
    """Two seconds of a tone, as a file."""
    time, buffer = np.arange(2 * 8000) / 8000, io.BytesIO()
    soundfile.write(buffer, 0.4 * np.sin(2 * np.pi * random.uniform(200, 2000) * time), 8000, format=kind)
    return buffer.getvalue()


def cut(random: np.random.Generator, data: bytes) -> bytes:
    return data[: random.integers(1, len(data))]


def flip(random: np.random.Generator, data: bytes) -> bytes:
    """Some bytes are others."""
    changed = bytearray(data)
    for place in random.integers(len(data), size=10):
        changed[place] = random.integers(256)
    return bytes(changed)


def header(
    random: np.random.Generator, channels: int = 1, rate: int = 8000, size: int | None = None, samples: int = 4000
) -> bytes:
    """A WAV of 16 bits whose header announces what it likes."""
    data = random.bytes(2 * samples)
    align = 2 * channels % 65_536
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * align % 2**32, align, 16)
    size = len(data) if size is None else size
    total = min(size + 36, 0xFFFF_FFFF)
    return b"RIFF" + struct.pack("<I", total) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack(
        "<I", size
    ) + data  # fmt: skip


def flac_bomb(data: bytes) -> bytes:
    """A FLAC that announces 2^36 - 1 samples: the last 36 bits of bytes 18 to 25."""
    return data[:21] + bytes([data[21] | 0x0F]) + b"\xff\xff\xff\xff" + data[26:]


def spoil(random: np.random.Generator, value: float) -> bytes:
    """A WAV of floats, some of them that value."""
    samples, buffer = random.normal(0, 0.1, 16_000).astype(np.float32), io.BytesIO()
    samples[random.integers(0, 16_000, 5)] = value
    soundfile.write(buffer, samples, 8000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def long_silence() -> bytes:
    """Three hours in a few hundred kilobytes."""
    buffer, minute = io.BytesIO(), np.zeros(60 * 8000, np.int16)
    with soundfile.SoundFile(buffer, "w", 8000, 1, format="FLAC") as file:
        for _ in range(HOURS * 60):
            file.write(minute)
    return buffer.getvalue()


def multipart(name: bytes, data: bytes, boundary: bytes = b"boundary-of-the-test") -> bytes:
    """A body with one file, whose name is sent as it is."""
    quoted = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    head = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n' % (boundary, quoted)
    return head + data + b"\r\n--" + boundary + b"--\r\n"
