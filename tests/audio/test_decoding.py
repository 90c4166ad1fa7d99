"""Decoding against librosa, faulty files, and the arithmetic of clips."""

import functools
import io
import os
import re
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from scripts.audio.decoding import (
    check_silence,
    count_clips,
    decode,
    decode_with_note,
    duration,
    fit_length,
    is_silent,
    mix_down,
    passed_over,
    slice_clips,
)
from scripts.audio.spec import ENDINGS
from scripts.common.errors import AudioError
from scripts.common.parallel import parallel_map
from scripts.datasets.folder import read_folder
from scripts.inference.predict_folder import audio_files
from tests.conftest import tone_samples

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n" * 20
NOISE = np.random.default_rng(0).bytes(20_000)
Tone = Callable[..., Path]


# --- sound files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "channels", "rate", "sample_rate"),
    [(suffix, 1, 44_100, 44_100) for suffix in ("wav", "flac", "ogg", "mp3", "aiff", "au")]
    + [(suffix, 2, 44_100, 22_050) for suffix in ("wav", "flac", "ogg", "mp3", "aiff", "au")]
    + [("wav", 1, rate, 44_100) for rate in (8_000, 16_000, 48_000, 96_000)]
    + [("wav", 6, 44_100, 44_100)],
)
def test_agrees_with_librosa(tone: Tone, suffix: str, channels: int, rate: int, sample_rate: int) -> None:
    assert_like_librosa(tone(f"a.{suffix}", rate=rate, channels=channels), sample_rate)


@pytest.mark.parametrize("name", ["with space.mp3", "Fête à Zürich.flac", "日本の歌.wav", "a'b\"c;$d.ogg", "no_suffix"])
def test_any_name_will_do(tone: Tone, name: str) -> None:
    path = tone("a.flac").rename(tone("a.flac").parent / name)
    assert_like_librosa(path, 44_100)


def assert_like_librosa(path: Path, sample_rate: int) -> None:
    expected, _ = librosa.load(path, sr=sample_rate, mono=True)
    found = decode(path, sample_rate)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("suffix", ["wav", "mp3"])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_beginning_is_the_same_as_of_the_whole(tone: Tone, suffix: str, rate: int) -> None:
    path = tone(f"a.{suffix}", rate=rate)
    beginning = decode(path, 44_100, seconds=0.75)
    assert len(beginning) == 33_075
    np.testing.assert_allclose(beginning, decode(path, 44_100)[:33_075], atol=1e-5)
    assert np.array_equal(decode(path, 44_100, seconds=30.0), decode(path, 44_100))


def encode(
    path: Path, codec: str, seconds: float, rate: int = 44_100, channels: int = 1, frequency: float = 440.0, **options
) -> Path:
    """A tone through FFmpeg."""
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono" if channels == 1 else "stereo")
        stream.bit_rate = 128_000
        samples, form = np.ascontiguousarray(tone_samples(seconds, rate, channels, frequency).T), "fltp"
        if codec == "flac":
            samples, form = (samples.T.reshape(1, -1) * 32767).astype(np.int16), "s16"
        frame = av.AudioFrame.from_ndarray(samples, format=form, layout=stream.layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            if packet.size:
                container.mux(packet)
    return path


def encode_m4a(path: Path, seconds: float) -> Path:
    return encode(path, "aac", seconds)


def test_twelve_channels_are_averaged(tmp_path: Path) -> None:
    samples = (tone_samples(1.0, 44_100, channels=12) * 2**14).astype(np.int16)
    with av.open(str(tmp_path / "a.wv"), "w") as container:
        stream = container.add_stream("wavpack", rate=44_100, layout="7.1.4")
        stream.format = "s16p"
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="7.1.4")
        frame.sample_rate = 44_100
        (frame,) = av.AudioResampler("s16p", "7.1.4", 44_100).resample(frame)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    np.testing.assert_allclose(decode(tmp_path / "a.wv", 44_100), samples.mean(axis=1) / 2**15, atol=1e-6)


def test_m4a_is_read_by_ffmpeg(tmp_path: Path) -> None:
    found = decode(encode_m4a(tmp_path / "a.m4a", 2.0), 44_100)
    assert len(found) == pytest.approx(2 * 44_100, abs=4096)
    spectrum = np.abs(np.fft.rfft(found[:44_100]))
    assert spectrum.argmax() == 440
    assert len(decode(tmp_path / "a.m4a", 22_050, seconds=1.0)) == 22_050


# --- faulty files -------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "a.mp3", tmp_path):  # a folder is no file
        with pytest.raises(AudioError, match="no such file") as caught:
            decode(path, 44_100)
        assert (caught.value.status, caught.value.path) == ("missing", str(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "0 bytes"), (HTML, "not audio"), (NOISE, "not audio"), (b"ID3", "not audio")],
    ids=["empty", "html", "noise", "tag"],
)
def test_file_without_audio(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(AudioError, match=reason) as caught:
        decode(tmp_path / "a.mp3", 44_100)
    assert caught.value.status == "unreadable"
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -1e7])
def test_samples_that_are_not_finite(tmp_path: Path, value: float) -> None:
    samples = tone_samples(1.0, 44_100)
    samples[1000] = value
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN, infinite or absurdly great"):
        decode(tmp_path / "a.wav", 44_100)


def test_wav_without_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.empty((0, 1)), 44_100)
    with pytest.raises(AudioError, match="no audio"):
        decode(tmp_path / "a.wav", 44_100)


def test_cut_off_mp3_gives_what_is_there(tone: Tone) -> None:
    path = tone("a.mp3")
    whole = decode(path, 44_100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    half = decode(path, 44_100)
    assert len(half) == pytest.approx(len(whole) / 2, rel=0.1)
    np.testing.assert_allclose(half[:40_000], whole[:40_000], atol=1e-5)


def test_duration(tone: Tone, tmp_path: Path) -> None:
    for suffix in ("wav", "flac", "ogg", "mp3", "aiff"):
        assert duration(tone(f"a.{suffix}", seconds=1.25)) == pytest.approx(1.25, abs=1e-3)
    assert duration(encode_m4a(tmp_path / "a.m4a", 1.25)) == pytest.approx(1.25, abs=0.03)
    (tmp_path / "b.mp3").write_bytes(HTML)
    assert np.isnan([duration(tmp_path / "b.mp3"), duration(tmp_path / "none.mp3")]).all()


BY_NAME = (
    "wav rf64 w64 aiff aifc au snd caf voc flac mp3 ogg oga opus nist paf m4a:aac m4b:aac mp4:aac mov:aac 3gp:aac "
    "aac:aac ac3:ac3 mp2:mp2 mpga:mp2 wma:wmav2 mka:libopus webm:libopus weba:libopus wv:wavpack tta:tta ts:aac "
    "avi:ac3 asf:wmav2 mkv:flac eac3:eac3 flv:aac"
)


@pytest.mark.parametrize("name", BY_NAME.split())
def test_what_is_read_by_name_is_found_in_folders(tmp_path: Path, name: str) -> None:
    suffix, _, codec = name.partition(":")
    path, written = tmp_path / f"a.{suffix}", {"oga": "OGG", "opus": "OGG", "aifc": "AIFF", "snd": "AU"}
    if codec:
        containers = {"mpga": "mp2", "m4b": "mp4", "mka": "matroska", "weba": "webm", "aac": "adts"}
        encode(path, codec, 1.0, rate=48_000, format=containers.get(suffix))
    else:
        subtype = {"opus": "OPUS", "ogg": "VORBIS", "oga": "VORBIS", "mp3": None}.get(suffix, "PCM_16")
        samples = tone_samples(1.0, 48_000)
        soundfile.write(path, samples, 48_000, subtype, format=written.get(suffix, suffix.upper()))
    path = path.rename(tmp_path / f"a.{suffix.upper()}")
    found = decode(path, 48_000)
    assert len(found) == pytest.approx(48_000, abs=0.06 * 48_000)
    assert pitch(found[-24_000:], 48_000) == pytest.approx(440, abs=4)
    assert audio_files([str(tmp_path)]) == [str(path)]
    assert duration(path) == pytest.approx(len(found) / 48_000, abs=0.06)


def test_what_a_scan_passes_over_is_counted(tone: Tone, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files = [tone(f"music/{name}", seconds=0.1) for name in ("jazz/a.ogg", "jazz/live/b.wav", "folk/c.flac")]
    for name in ("jazz/a.TXT", "folk/deep/b.txt", "cover.jpg", "jazz/README", "jazz/.hidden.pdf"):
        (tmp_path / "music" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "music" / name).touch()
    line = f"{tmp_path}/music: passed over 4 files: 2 .txt, 1 .jpg, 1 without a suffix\n"
    assert sorted(audio_files([str(tmp_path / "music")])) == sorted(map(str, files))
    assert capsys.readouterr().err == line
    assert len(read_folder(tmp_path / "music")) == 3
    assert capsys.readouterr().err == line
    audio_files([str(tmp_path / "music" / "jazz" / "live"), str(files[0])])
    assert capsys.readouterr().err == ""
    assert passed_over(["a.jpg"]) == "passed over 1 file: 1 .jpg"


# --- the whole sound, whatever is announced -----------------------------------------------------------------

FORMS = {"mono": (44_100, 1), "stereo": (44_100, 2), "low": (22_050, 1)}  # rate, channels


def pitch(waveform: np.ndarray, rate: int) -> float:
    """The loudest frequency, Hz."""
    return np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))).argmax() * rate / len(waveform)


def mp3(path: Path, form: str = "mono", frequency: float = 440.0, with_xing: bool = True) -> bytes:
    """1.5 s at a variable bit rate; without its Xing frame, nothing says how much there is."""
    rate, channels = FORMS[form]
    samples = tone_samples(1.5, rate, channels, frequency)
    samples[: len(samples) // 5] *= 0.001  # which takes few bits, so that the first frames are no measure of the others
    soundfile.write(path, samples, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.2)
    if with_xing:
        return path.read_bytes()
    with av.open(str(path)) as container:
        return b"".join(map(bytes, container.demux(audio=0)))


def ogg(path: Path, form: str = "mono", frequency: float = 440.0, subtype: str = "VORBIS") -> bytes:
    rate, channels = FORMS[form]
    if subtype == "FLAC":
        return encode(path, "flac", 1.5, rate, channels, frequency).read_bytes()
    rate = {"OPUS": 48_000}.get(subtype, rate)
    soundfile.write(path, tone_samples(1.5, rate, channels, frequency), rate, subtype, format="OGG")
    return path.read_bytes()


def adts(path: Path, form: str = "mono", frequency: float = 440.0) -> bytes:
    return encode(path, "aac", 1.5, *FORMS[form], frequency, format="adts").read_bytes()


def flac(path: Path, form: str = "mono", frequency: float = 440.0) -> bytes:
    rate, channels = FORMS[form]
    soundfile.write(path, tone_samples(1.5, rate, channels, frequency), rate, format="FLAC")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("make", "forms", "options"),
    [
        (mp3, ["mono", "mono"], {"with_xing": False}),
        (mp3, ["mono", "stereo"], {}),
        (mp3, ["stereo", "mono"], {"with_xing": False}),
        (mp3, ["low", "stereo"], {"with_xing": False}),
        (ogg, ["mono", "mono", "mono"], {}),
        (ogg, ["low", "stereo"], {}),
        (ogg, ["mono", "stereo"], {"subtype": "OPUS"}),
        (ogg, ["mono", "mono"], {"subtype": "FLAC"}),
        (ogg, ["mono", "low"], {"subtype": "FLAC"}),
        (adts, ["mono", "low"], {}),
        (adts, ["stereo", "low"], {}),
        (flac, ["mono", "stereo"], {}),
    ],
)
def test_joined_files_are_heard_throughout(tmp_path: Path, make: Callable, forms: list[str], options: dict) -> None:
    """At its pitch each, whatever becomes of rate and channels; an MP3 or AAC part begins with its encoder's delay."""
    pitches = [440.0, 1000.0, 600.0][: len(forms)]
    parts = [make(tmp_path / "part.ogg", form, hertz, **options) for form, hertz in zip(forms, pitches, strict=True)]
    (tmp_path / "joined").write_bytes(b"".join(parts))
    found, note = decode_with_note(tmp_path / "joined", 16_000)
    assert len(found) / 16_000 == pytest.approx(1.5 * len(forms), abs=0.002 if make is ogg else 0.15)
    assert note is None
    for number, hertz in enumerate(pitches):
        middle = round((number + 0.5) * len(found) / len(forms))
        assert pitch(found[middle - 4000 : middle + 4000], 16_000) == pytest.approx(hertz, abs=4)
    assert duration(tmp_path / "joined") == pytest.approx(len(found) / 16_000, abs=0.06)
    beginning = decode(tmp_path / "joined", 16_000, 2.0)
    assert len(beginning) == 32_000
    np.testing.assert_allclose(beginning[:-16], found[: 32_000 - 16], atol=2e-3)


def with_xing_frames(content: bytes, frames: int) -> bytes:
    mark = re.search(rb"(?:Xing|Info)\0\0\0.", content).end()
    return content[:mark] + frames.to_bytes(4, "big") + content[mark + 4 :]


@pytest.mark.parametrize("change", ["none", "xing of 20 frames", "xing of 0 frames", "garbage", "tag with a picture"])
def test_mp3_is_heard_throughout(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.mp3"
    content = mp3(path, with_xing=change.startswith("xing"))
    if change.startswith("xing"):
        content = with_xing_frames(content, int(change.split()[2]))
    elif change == "garbage":
        half = len(content) // 2
        content = content[:half] + NOISE[:3000] + content[half:]
    elif change == "tag with a picture":
        picture = b"APIC" + (300_014).to_bytes(4, "big") + b"\0\0\0image/jpeg\0\3\0" + NOISE * 15
        size = bytes(len(picture) >> shift & 127 for shift in (21, 14, 7, 0))
        content = b"ID3\3\0\0" + size + picture + content
    path.write_bytes(content)
    found, damage = decode_with_note(path, 44_100)
    assert len(found) / 44_100 == pytest.approx(1.5, abs=0.06)
    assert pitch(found[-20_000:], 44_100) == pytest.approx(440, abs=4)
    assert damage is None
    assert duration(path) == pytest.approx(1.5, abs=0.06)


@pytest.mark.parametrize("size", [0, 4000, 0xFFFFFFFF, 0x7FFFFFF0])
@pytest.mark.parametrize("riff", [None, 0])
def test_wav_whose_recorder_was_killed(tone: Tone, size: int, riff: int | None) -> None:
    """FFmpeg, too, believes a size that fits."""
    path = tone("a.wav", seconds=1.0)
    true = decode(path, 44_100)[: 2000 if size == 4000 else None]
    patched(path, path.read_bytes().index(b"data") + 4, size.to_bytes(4, "little"))
    if riff is not None:
        patched(path, 4, riff.to_bytes(4, "little"))
    np.testing.assert_array_equal(decode(path, 44_100), true)
    assert decode_with_note(path, 44_100).note == ""
    assert duration(path) == pytest.approx(len(true) / 44_100, abs=1e-3)


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "CAF", "W64", "RF64"])
def test_file_that_was_never_closed(tmp_path: Path, form: str) -> None:
    samples = tone_samples(1.0, 44_100, channels=2)
    with soundfile.SoundFile(tmp_path / "open", "w", 44_100, 2, "PCM_16", format=form) as file:
        file.write(samples)
        (tmp_path / "killed").write_bytes((tmp_path / "open").read_bytes())
    true = decode(tmp_path / "open", 44_100)
    assert len(true) == 44_100
    np.testing.assert_array_equal(decode(tmp_path / "killed", 44_100)[:44_100], true)
    assert duration(tmp_path / "killed") == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("announced", [0, 10_000, 10**8, 2**33, 2**36 - 1])
def test_flac_that_announces_another_length_gives_what_is_there(tone: Tone, announced: int) -> None:
    """0 is what an encoder writes that cannot go back to its beginning; the greatest are years."""
    path = tone("a.flac", seconds=1.0)
    true = decode(path, 44_100)
    announcing_flac(path, 44_100, 1, announced)
    np.testing.assert_array_equal(decode(path, 44_100), true)
    assert duration(path) == 1


@pytest.mark.parametrize(
    "suffix", ["mp3", "flac", "wav", "aiff", "au", "w64", "rf64", "ogg", "opus", "oga", "m4a", "aac", "mka", "wma"]
)
def test_cut_off_file_is_used_as_far_as_it_goes_and_says_so(tone: Tone, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix in ("w64", "rf64", "opus"):
        form, subtype = ("OGG", "OPUS") if suffix == "opus" else (suffix.upper(), "PCM_16")
        soundfile.write(path, tone_samples(4.0, 48_000), 48_000, subtype, format=form)
    elif suffix in ("oga", "m4a", "aac", "mka", "wma"):
        options = {"options": {"movflags": "faststart"}} if suffix == "m4a" else {}
        encode(path, {"oga": "flac", "wma": "wmav2"}.get(suffix, "aac"), 4.0, **options)
    else:
        path = tone(f"a.{suffix}", seconds=4.0)
    whole, content = decode(path, 44_100), path.read_bytes()
    path.write_bytes(content[: round(0.6 * len(content))])
    found, damage = decode_with_note(path, 44_100)
    assert 0.4 < len(found) / len(whole) < 0.7
    assert damage == pytest.approx(len(found) / 44_100, abs=0.05)
    assert decode_with_note(path, 44_100).note == f"damaged after {damage:.1f} s"
    assert duration(path) == pytest.approx(len(found) / 44_100, abs=0.06)
    assert decode_with_note(path, 44_100, 1.0).note == "", "what was wanted is there"
    assert decode_with_note(path, 44_100, 4.0).damage == damage


@pytest.mark.parametrize("frames", [60, 20])
def test_vbri_header_is_a_promise(tmp_path: Path, frames: int) -> None:
    """What Fraunhofer's encoder writes in the place of a Xing header: 1.5 s are 58 frames, and this one."""
    content = mp3(tmp_path / "a.mp3", with_xing=False)
    header = b"VBRI" + bytes(6) + len(content).to_bytes(4, "big") + frames.to_bytes(4, "big")
    whole = (b"\xff\xfb\x90\xc4" + bytes(32) + header).ljust(417, b"\0") + content
    for size, damaged in ((len(whole), False), (len(whole) // 2, frames == 60)):
        (tmp_path / "a.mp3").write_bytes(whole[:size])
        found, damage = decode_with_note(tmp_path / "a.mp3", 44_100)
        assert (damage is not None) == damaged
        assert duration(tmp_path / "a.mp3") == pytest.approx(len(found) / 44_100, abs=0.06)


def test_durations_of_packets_in_milliseconds_add_up(tmp_path: Path) -> None:
    """Matroska calls each of 23.2 ms 23; with two streams, its header's duration is that of the longer one."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        for stream in [container.add_stream("aac", rate=44_100, layout="mono") for _ in range(2)]:
            frame = av.AudioFrame.from_ndarray(tone_samples(20.0, 44_100).T.copy(), format="fltp", layout="mono")
            frame.sample_rate = 44_100
            container.mux([*stream.encode(frame), *stream.encode(None)])
    found = len(decode(tmp_path / "a.mkv", 44_100)) / 44_100
    assert found == pytest.approx(20, abs=0.06) and duration(tmp_path / "a.mkv") == pytest.approx(found, abs=0.06)


def test_voc_file_of_many_blocks(tmp_path: Path) -> None:
    """Each block has a head, which is no sound."""
    samples = (tone_samples(1.0, 22_050)[:, 0] * 2**15).astype("<i2")
    data = samples.tobytes()
    blocks = [b"\x09" + (12 + 2000).to_bytes(3, "little") + (22_050).to_bytes(4, "little") + b"\x10\1\4\0" + bytes(4)]
    blocks += [data[:2000]]
    for start in range(2000, len(data), 2000):
        part = data[start : start + 2000]
        blocks += [b"\2" + len(part).to_bytes(3, "little"), part]
    head = b"Creative Voice File\x1a\x1a\0\x14\1\x1f\x11"
    (tmp_path / "a.voc").write_bytes(head + b"".join(blocks) + b"\0")
    np.testing.assert_allclose(decode(tmp_path / "a.voc", 22_050), samples / 2**15, atol=1e-6)


def test_wav_of_64_bits(tone: Tone) -> None:
    """libsndfile has no such samples, NumPy is not given those of FFmpeg."""
    path = tone("a.wav", seconds=1.0)
    true, content = decode(path, 44_100), path.read_bytes()
    data = (np.frombuffer(content[44:], "<i2").astype("<i8") << 48).tobytes()
    head = content[:28] + (8 * 44_100).to_bytes(4, "little") + b"\x08\0\x40\0data" + len(data).to_bytes(4, "little")
    path.write_bytes(head + data)
    np.testing.assert_allclose(decode(path, 44_100), true, atol=1e-6)


@pytest.mark.parametrize("suffix", ["mp3", "flac"])
def test_sound_after_a_missing_piece_is_used(tone: Tone, suffix: str) -> None:
    path = tone(f"a.{suffix}", seconds=4.0)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + content[len(content) // 2 + len(content) // 8 :])
    found, damage = decode_with_note(path, 44_100)
    assert 3.2 < len(found) / 44_100 < 3.6
    assert damage == pytest.approx(2.0, abs=0.2) or suffix == "mp3" and damage  # where it is, cannot always be told


@pytest.mark.parametrize(
    ("suffix", "seconds"), [("wav", None), ("wav", 9.0), ("mp3", 1.0), ("mp3", 2.0), ("ogg", 2.05)]
)
def test_only_what_comes_short_is_looked_through(
    tone: Tone, monkeypatch: pytest.MonkeyPatch, suffix: str, seconds: float | None
) -> None:
    path = tone(f"a.{suffix}", seconds=2.0)
    monkeypatch.delattr("scripts.audio.decoding.look_through")
    assert len(decode(path, 44_100, seconds)) > 0


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac"])
def test_headers_that_are_right_change_nothing(tone: Tone, suffix: str) -> None:
    path = tone(f"a.{suffix}", rate=22_050)
    np.testing.assert_allclose(decode(path, 22_050), soundfile.read(path, dtype="float32")[0], rtol=0, atol=2e-7)


# --- hostile files ------------------------------------------------------------------------------------------


def patched(path: Path, offset: int, new: bytes) -> Path:
    """The file with some bytes of its header replaced."""
    content = path.read_bytes()
    path.write_bytes(content[:offset] + new + content[offset + len(new) :])
    return path


def announcing_flac(path: Path, rate: int, channels: int, samples: int) -> Path:
    """Another rate, number of channels and length in STREAMINFO: 20, 3 and 36 bits, with 5 of sample size between."""
    bits = int.from_bytes(path.read_bytes()[18:26], "big")
    size = bits >> 36 & 31
    return patched(path, 18, (rate << 44 | channels - 1 << 41 | size << 36 | samples).to_bytes(8, "big"))


@pytest.mark.parametrize("suffix", ["wav", "aiff"])
def test_sizes_of_gigabytes_give_what_is_there(tone: Tone, suffix: str) -> None:
    path = tone(f"a.{suffix}")
    true = decode(path, 44_100)
    marks = {"wav": (b"data", 4), "aiff": (b"COMM", 10)}  # what comes before the announced size
    offset = path.read_bytes().index(marks[suffix][0]) + marks[suffix][1]
    found = decode(patched(path, offset, b"\x7f\xff\xff\xf0"), 44_100)
    np.testing.assert_array_equal(found[: len(true)], true)
    assert len(found) <= len(true) + 10


@pytest.mark.parametrize(("channels", "rate"), [(1024, 44_100), (65, 44_100), (1, 1), (1, 999), (2, 2**31 - 1)])
def test_channels_and_rates_of_no_recording_are_refused(tone: Tone, channels: int, rate: int) -> None:
    path = tone("a.wav")
    values = (
        channels.to_bytes(2, "little")
        + rate.to_bytes(4, "little")
        + (2 * rate * channels % 2**32).to_bytes(4, "little")
    )
    patched(path, 22, values + (2 * channels).to_bytes(2, "little"))
    with pytest.raises(AudioError, match=f"announces {channels} channels at {rate} Hz|not audio") as caught:
        decode(path, 44_100)
    assert caught.value.status == "unreadable" and "\n" not in str(caught.value)


def zipped() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(10**7))
    return archive.getvalue()


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "wav", "m4a"])
@pytest.mark.parametrize(
    "content",
    [
        zipped(),
        b"#EXTM3U\n#EXTINF:1,\nother.wav\n",
        b"ffconcat version 1.0\nfile other.wav\n",
        b"RIFF\xff\xff\xff\xffWAVE",
        b"\0" * 5000,
    ],
    ids=["zip", "playlist", "concat", "riff", "zeros"],
)
def test_other_files_by_the_name_of_audio(tone: Tone, tmp_path: Path, suffix: str, content: bytes) -> None:
    """A playlist must not lead to another file."""
    tone("other.wav")
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(AudioError) as caught:
        decode(tmp_path / f"a.{suffix}", 44_100)
    assert caught.value.status == "unreadable" and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_file_cut_off_anywhere_gives_audio_or_an_audio_error(tone: Tone, suffix: str) -> None:
    path = tone(f"a.{suffix}", seconds=0.3)
    content = path.read_bytes()
    for size in {1, 4, 11, 12, 30, 44, 60, 200, *range(1, len(content), len(content) // 25)}:
        path.write_bytes(content[:size])
        try:
            assert 0 < len(decode(path, 44_100)) <= 0.4 * 44_100
        except AudioError as error:
            assert error.status == "unreadable" and "\n" not in str(error)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a"])
def test_damaged_bytes_give_audio_or_an_audio_error(tone: Tone, tmp_path: Path, suffix: str) -> None:
    path = encode_m4a(tmp_path / "a.m4a", 0.3) if suffix == "m4a" else tone(f"a.{suffix}", seconds=0.3)
    content, random = np.frombuffer(path.read_bytes(), np.uint8), np.random.default_rng(0)
    for _ in range(40):
        broken = content.copy()
        broken[random.integers(0, [60, len(content)][random.integers(2)], 8)] = random.integers(0, 256, 8)
        path.write_bytes(broken.tobytes())
        try:
            assert np.isfinite(decode(path, 44_100, seconds=5.0)).all()
        except AudioError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m4a"])
@pytest.mark.parametrize(
    ("channels", "sample_rate", "seconds"), [(1, 44_100, None), (2, 44_100, 0.75), (2, 16_000, None), (2, 16_000, 0.75)]
)
def test_long_files_are_read_in_blocks_to_the_same_samples(
    tone: Tone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, channels: int, sample_rate: int, seconds
) -> None:
    path = encode_m4a(tmp_path / "a.m4a", 1.0) if suffix == "m4a" else tone(f"a.{suffix}", 1.0, channels=channels)
    whole = decode(path, sample_rate, seconds)
    rounding = 2e-7 if suffix == "mp3" else 0  # libsndfile's own
    for block in (1 << 10, 33_074, 2 * 44_100):
        monkeypatch.setattr("scripts.audio.decoding.BLOCK", block)
        np.testing.assert_allclose(decode(path, sample_rate, seconds), whole, rtol=0, atol=rounding)


def test_long_file_is_held_once(tone: Tone, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tone("a.wav", seconds=20, channels=2)
    monkeypatch.setattr("scripts.audio.decoding.BLOCK", 2**14)
    tracemalloc.start()
    found = decode(path, 44_100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * found.nbytes


def test_too_much_for_the_memory(tone: Tone, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tone("a.wav")

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("scripts.audio.decoding.join_run", full)
    with pytest.raises(AudioError, match="more audio than the memory holds") as caught:
        decode(path, 44_100)
    assert caught.value.status == "long"


@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_name_need_not_be_utf8(tone: Tone, tmp_path: Path, suffix: str) -> None:
    path = encode_m4a(tmp_path / "a.m4a", 1.0) if suffix == "m4a" else tone("a.wav", seconds=1.0)
    odd = path.rename(tmp_path / os.fsdecode(f"é.{suffix}".encode("latin-1")))
    assert len(decode(odd, 44_100)) == pytest.approx(44_100, abs=4096)
    assert suffix == "m4a" or duration(odd) == 1


# --- stderr -------------------------------------------------------------------------------------------------


def broken_mp3(path: Path) -> Path:
    """One of which the decoder complains."""
    whole = path.read_bytes()
    path.write_bytes(whole[:6_000] + NOISE[:4_000] + whole[10_000:])
    return path


def test_nothing_that_others_write_to_stderr_is_lost(tone: Tone, capfd: pytest.CaptureFixture) -> None:
    path, found = broken_mp3(tone("a.mp3")), []

    def work() -> None:
        found.extend(len(decode(path, 44_100)) for _ in range(5))

    with ExitStack() as threads:
        for _ in range(3):
            thread = threading.Thread(target=work)
            thread.start()
            threads.callback(thread.join)
        lines = [f"line {number} of another thread\n" for number in range(2000)]
        for line in lines:
            os.write(2, line.encode())
    assert len(found) == 15 and len(set(found)) == 1
    err = capfd.readouterr().err
    assert all(line in err for line in lines)


def test_workers_complain_to_nobody(capfd: pytest.CaptureFixture) -> None:
    assert list(parallel_map(functools.partial(os.write, 2), [b"of a worker"] * 2, 2)) == [11, 11]
    os.write(2, b"of the program")
    assert capfd.readouterr().err == "of the program"


# --- arithmetic ---------------------------------------------------------------------------------------------

lengths, clip_lengths = st.integers(0, 500), st.integers(1, 60)


@given(decoded=lengths, samples=clip_lengths, step=clip_lengths, clips=st.integers(0, 12))
def test_counted_clips_hold_half_a_clip(decoded: int, samples: int, step: int, clips: int) -> None:
    audio = np.arange(clips * step + samples) < decoded
    held = [audio[clip * step : clip * step + samples].mean() >= 0.5 for clip in range(clips)]
    assert count_clips(decoded, samples, range(0, clips * step, step)) == sum(held)


@given(length=lengths, samples=clip_lengths)
def test_clips_follow_each_other(length: int, samples: int) -> None:
    waveform = np.arange(length, dtype=np.float32)
    clips = slice_clips(waveform, samples)
    assert clips.shape == (length // samples, samples)
    assert np.array_equal(clips.ravel(), waveform[: clips.size])
    assert length - clips.size < samples


@given(length=lengths, samples=clip_lengths, step=clip_lengths)
def test_clips_at_every_step(length: int, samples: int, step: int) -> None:
    waveform = np.arange(length, dtype=np.float32)
    expected = [waveform[start : start + samples].tolist() for start in range(0, length, step)]
    assert slice_clips(waveform, samples, step).tolist() == [clip for clip in expected if len(clip) == samples]


@given(length=lengths, samples=st.integers(0, 500))
def test_fitted_length(length: int, samples: int) -> None:
    waveform = np.arange(1, length + 1, dtype=np.float32)
    fitted = fit_length(waveform, samples)
    assert fitted.dtype == np.float32
    assert fitted.tolist() == [*range(1, min(length, samples) + 1), *[0] * (samples - length)]


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("zeros", [1, 2, 3, 0, 0, 0, 0, 0]),
        ("repeat", [1, 2, 3, 1, 2, 3, 1, 2]),
        ("hold", [1, 2, 3, 3, 3, 3, 3, 3]),
        ("reflect", [1, 2, 3, 2, 1, 2, 3, 2]),
    ],
)
def test_endings(ending: str, expected: list[int]) -> None:
    assert fit_length(np.array([1, 2, 3], np.float32), 8, ending).tolist() == expected
    assert fit_length(np.array([1, 2, 3], np.float32), 2, ending).tolist() == [1, 2]


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_sample_can_be_completed(ending: str) -> None:
    expected = [1, 0, 0] if ending in ("zeros", "noise") else [1, 1, 1]
    np.testing.assert_allclose(fit_length(np.ones(1, np.float32), 3, ending), expected, atol=5e-4)


def test_noise_lies_over_a_short_track_and_is_always_the_same() -> None:
    waveform = np.linspace(-1, 1, 1000, dtype=np.float32)
    padded = fit_length(waveform, 20_000, "noise")
    noise = padded - np.r_[waveform, np.zeros(19_000, np.float32)]
    assert padded.dtype == np.float32
    assert noise.min() >= -1e-7 and 4.9e-4 < noise.max() < 5.01e-4  # float32 near 1
    for part in (noise[:1000], noise[1000:]):
        assert part.mean() == pytest.approx(2.5e-4, rel=0.1)
        assert part.std() == pytest.approx(5e-4 / 12**0.5, rel=0.1)
    assert np.array_equal(fit_length(waveform, 20_000, "noise"), padded)
    assert np.array_equal(fit_length(waveform, 1000, "noise"), waveform)


@given(channels=st.integers(1, 8), length=st.integers(0, 50), seed=st.integers(0, 99))
def test_mix_down_is_the_mean(channels: int, length: int, seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, (length, channels)).astype(np.float32)
    np.testing.assert_allclose(mix_down(samples), samples.astype(float).mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(("quiet", "silent"), [(1000, True), (950, True), (949, False), (0, False)])
def test_silent_means_95_percent_below_60_db(quiet: int, silent: bool) -> None:
    waveform = np.resize([0.1, -0.1], 1000).astype(np.float32)
    waveform[:quiet] = 0.0009
    assert is_silent(waveform) == is_silent(-waveform) == silent


@pytest.mark.parametrize(("amplitude", "silent"), [(0.0, True), (0.0008, True), (0.003, False), (0.5, False)])
@pytest.mark.parametrize("offset", [0.0, 0.05, -0.3])
def test_an_offset_is_no_sound(amplitude: float, silent: bool, offset: float) -> None:
    tone = amplitude * np.sin(np.arange(200_000)) + offset
    assert is_silent(tone.astype(np.float32)) == silent


def test_silence_with_a_bang_at_its_end_is_silence() -> None:
    """Its mean is not what its samples lie around."""
    waveform = np.zeros(100_000, np.float32)
    waveform[97_000:] = 0.9
    assert is_silent(waveform)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_channels_that_cancel_are_named(tone: Tone, tmp_path: Path, suffix: str) -> None:
    left, path = tone_samples(1.0, 44_100), tmp_path / f"a.{suffix}"

    def refusal(channels: list[np.ndarray]) -> tuple[str, str]:
        soundfile.write(path, np.hstack(channels), 44_100)
        with pytest.raises(AudioError) as caught:
            check_silence(path, decode(path, 44_100))
        return caught.value.status, caught.value.reason

    assert refusal([left, -left]) == ("cancelled", "the channels cancel")
    assert refusal([0 * left, 0 * left]) == ("silent", "below -60 dB nearly throughout")
    assert refusal([0 * left + 0.1, 0 * left - 0.1]) == ("silent", "below -60 dB nearly throughout")
    assert refusal([0.0005 * left, -0.0005 * left])[0] == "silent"
    soundfile.write(path, np.hstack([left, -0.5 * left]), 44_100)
    check_silence(path, decode(path, 44_100))
