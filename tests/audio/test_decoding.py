"""Decoding against librosa, faulty files, and the arithmetic of clips."""

import io
import os
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from scripts.audio.decoding import (
    SUFFIXES,
    count_clips,
    decode,
    duration,
    fit_length,
    is_silent,
    mix_down,
    quiet_decoder,
    slice_clips,
)
from scripts.audio.spec import ENDINGS
from scripts.common.errors import AudioError
from tests.conftest import tone_samples

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n" * 20
NOISE = np.random.default_rng(0).bytes(20_000)
Tone = Callable[..., Path]


# --- sound files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", [44_100, 22_050])
def test_agrees_with_librosa(tone: Tone, suffix: str, channels: int, sample_rate: int) -> None:
    path = tone(f"a.{suffix}", channels=channels)
    assert_like_librosa(path, sample_rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000, 96_000])
def test_any_sample_rate_is_resampled(tone: Tone, rate: int) -> None:
    assert_like_librosa(tone("a.wav", rate=rate), 44_100)


def test_six_channels_are_averaged(tone: Tone) -> None:
    assert_like_librosa(tone("a.wav", channels=6), 44_100)


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


def test_seconds_beyond_the_end_give_the_whole(tone: Tone) -> None:
    path = tone("a.flac")
    assert np.array_equal(decode(path, 44_100, seconds=30.0), decode(path, 44_100))


def encode_m4a(path: Path, seconds: float) -> Path:
    """A tone through FFmpeg."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone_samples(seconds, 44_100).T.copy(), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def test_m4a_is_read_by_ffmpeg(tmp_path: Path) -> None:
    found = decode(encode_m4a(tmp_path / "a.m4a", 2.0), 44_100)
    assert len(found) == pytest.approx(2 * 44_100, abs=4096)
    spectrum = np.abs(np.fft.rfft(found[:44_100]))
    assert spectrum.argmax() == 440
    assert len(decode(tmp_path / "a.m4a", 22_050, seconds=1.0)) == 22_050


# --- faulty files -------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file") as caught:
        decode(tmp_path / "a.mp3", 44_100)
    assert caught.value.status == "missing"
    assert caught.value.path == str(tmp_path / "a.mp3")


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


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        decode(tmp_path, 44_100)


def test_duration_is_the_headers(tone: Tone, tmp_path: Path) -> None:
    assert duration(tone("a.wav", seconds=1.25)) == 1.25
    assert duration(tone("a.mp3", seconds=1.25)) == pytest.approx(1.25, abs=0.06)
    (tmp_path / "b.mp3").write_bytes(HTML)
    assert np.isnan([duration(tmp_path / "b.mp3"), duration(tmp_path / "none.mp3")]).all()


def test_suffixes_are_lower_case_and_dotted() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


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


@pytest.mark.parametrize("samples", [2**36 - 1, 2**33, 10**8])
def test_flac_that_announces_years_gives_what_is_there(tone: Tone, samples: int) -> None:
    path = tone("a.flac")
    true = decode(path, 44_100)
    found = decode(announcing_flac(path, 44_100, 1, samples), 44_100)
    np.testing.assert_array_equal(found, true)


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
@pytest.mark.parametrize(("channels", "sample_rate"), [(1, 44_100), (2, 44_100), (2, 16_000)])
@pytest.mark.parametrize("seconds", [None, 0.75])
@pytest.mark.parametrize("block", [1 << 10, 33_074, 2 * 44_100])
def test_long_files_are_read_in_blocks_to_the_same_samples(
    tone: Tone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    channels: int,
    sample_rate: int,
    seconds,
    block: int,
) -> None:
    path = encode_m4a(tmp_path / "a.m4a", 1.0) if suffix == "m4a" else tone(f"a.{suffix}", 1.0, channels=channels)
    whole = decode(path, sample_rate, seconds)
    monkeypatch.setattr("scripts.audio.decoding.BLOCK", block)
    rounding = 2e-7 if suffix == "mp3" else 0  # libsndfile's own
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

    monkeypatch.setattr("scripts.audio.decoding.join", full)
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


def test_stderr_is_away_until_the_last_thread_has_left(capfd: pytest.CaptureFixture) -> None:
    inside, may_leave = threading.Barrier(3), [threading.Event(), threading.Event()]

    def stay(leave: threading.Event) -> None:
        with quiet_decoder:
            inside.wait()
            leave.wait()

    threads = [threading.Thread(target=stay, args=(event,)) for event in may_leave]
    os.write(2, b"before ")
    for thread in threads:
        thread.start()
    inside.wait()
    for thread, event in zip(threads, may_leave, strict=True):
        os.write(2, b"within ")
        event.set()
        thread.join()
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_stderr_comes_back_after_an_error(capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(KeyError), quiet_decoder:
        raise KeyError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_broken_files_in_many_threads_leave_stderr_as_it_was(tone: Tone, capfd: pytest.CaptureFixture) -> None:
    path = tone("a.mp3")
    whole = path.read_bytes()
    path.write_bytes(whole[:6_000] + NOISE[:4_000] + whole[10_000:])
    stderr, descriptors, found = os.fstat(2), len([*Path("/dev/fd").iterdir()]), []

    def work() -> None:
        found.extend(len(decode(path, 44_100)) for _ in range(10))

    with ExitStack() as threads:
        for _ in range(4):
            thread = threading.Thread(target=work)
            thread.start()
            threads.callback(thread.join)
    assert len(found) == 40 and len(set(found)) == 1
    assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (stderr.st_dev, stderr.st_ino)
    assert len([*Path("/dev/fd").iterdir()]) == descriptors
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


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
    waveform = np.full(1000, 0.1, np.float32)
    waveform[:quiet] = 0.0009
    assert is_silent(waveform) == is_silent(-waveform) == silent
