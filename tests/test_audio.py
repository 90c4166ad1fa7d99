"""Decoding against librosa, faulty files, and the arithmetic of clips."""

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from scripts.audio import (
    ENDINGS,
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
from scripts.errors import AudioError
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


def test_m4a_is_read_by_ffmpeg(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    samples = tone_samples(2.0, 44_100)[:, 0]
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    found = decode(tmp_path / "a.m4a", 44_100)
    assert len(found) == pytest.approx(len(samples), abs=4096)
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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path: Path, value: float) -> None:
    samples = tone_samples(1.0, 44_100)
    samples[1000] = value
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN or infinite"):
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
