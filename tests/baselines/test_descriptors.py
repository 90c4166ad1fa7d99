"""Classical features: against librosa and known signals, and the table of them after a kill and with bad files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from scripts.audio.decoding import decode
from scripts.baselines import descriptors
from scripts.baselines.descriptors import (
    FULL_RATE,
    SAMPLE_RATE,
    describe_tracks,
    describe_waveform,
    entropy,
    main,
    ordinal_counts,
)
from scripts.common.errors import ConfigError, TableError
from scripts.datasets.gtzan_features import FEATURES

SETS = ["gtzan57", "irmas28", "mel_statistics", "recording"]
SECONDS = 2.0


def noise(seconds: float = SECONDS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def sine(frequency: float, rate: int = SAMPLE_RATE, seconds: float = SECONDS) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate).astype(np.float32)


# --- one waveform -------------------------------------------------------------------------------------------


def by_librosa(y: np.ndarray) -> dict[str, np.ndarray]:
    """The series behind the 57 columns, each by librosa's own function of a waveform."""
    options = {"y": y, "sr": SAMPLE_RATE, "pad_mode": "reflect"}
    mel = librosa.feature.melspectrogram(**options)
    harmonic, percussive = librosa.decompose.hpss(librosa.stft(y, pad_mode="reflect"))
    series = {
        "chroma_stft": librosa.feature.chroma_stft(**options),
        "rms": librosa.feature.rms(y=y, pad_mode="reflect"),
        "spectral_centroid": librosa.feature.spectral_centroid(**options),
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(**options),
        "rolloff": librosa.feature.spectral_rolloff(**options),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(y),
        "harmony": librosa.util.fix_length(librosa.istft(harmonic), size=len(y)),
        "perceptr": librosa.util.fix_length(librosa.istft(percussive), size=len(y)),
    }
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel))
    return series | {f"mfcc{number}": row for number, row in enumerate(mfcc, start=1)}


def test_gtzan57_is_what_librosa_computes():
    waveform = noise() + 0.3 * sine(440.0) * (np.arange(len(noise())) % 8000 < 4000)
    values = describe_waveform(waveform, SAMPLE_RATE, "gtzan57")
    assert list(values) == FEATURES
    for name, series in by_librosa(waveform).items():
        assert values[f"{name}_mean"] == pytest.approx(series.mean(), rel=1e-4, abs=1e-6), name
        assert values[f"{name}_var"] == pytest.approx(series.var(), rel=1e-4, abs=1e-6), name


def test_tempo_of_a_metronome():
    waveform = noise(10.0) * 0.01
    for beat in range(20):
        waveform[beat * SAMPLE_RATE // 2 :][:500] += noise(500 / SAMPLE_RATE, beat)
    assert describe_waveform(waveform, SAMPLE_RATE)["tempo"] == pytest.approx(120, abs=4)


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100, 16_000])
def test_any_sample_rate_gives_the_same_pitch(rate):
    values = describe_waveform(sine(1000.0, rate), rate, "irmas28")
    assert values["spectral_centroid"] == pytest.approx(1000, rel=0.02)
    assert values["rolloff"] == pytest.approx(1000, rel=0.02)
    assert values["zero_crossing_rate"] == pytest.approx(2000 / SAMPLE_RATE, rel=0.02)
    assert values["rms"] == pytest.approx(np.sqrt(0.5), rel=0.02)


def test_irmas28_of_a_sine_and_of_noise():
    pure, wild = (describe_waveform(waveform, SAMPLE_RATE, "irmas28") for waveform in (sine(1000.0), noise()))
    assert len(pure) == 28 and list(pure) == list(wild)
    assert pure["hjorth_mobility"] == pytest.approx(2 * np.sin(np.pi * 1000 / SAMPLE_RATE), rel=1e-3)
    assert pure["hjorth_complexity"] == pytest.approx(1, rel=1e-3)
    for name in ("flatness", "permutation_entropy", "spectral_entropy", "svd_entropy"):
        assert pure[name] < wild[name] <= 1.0001
    assert wild["permutation_entropy"] > 0.999 and wild["svd_entropy"] > 0.999


def test_permutation_entropy_of_the_example_in_its_paper():
    """Bandt and Pompe (2002), p. 1: 4 7 9 10 6 11 3 has 1.522 bits at order 3."""
    waveform = np.array([4, 7, 9, 10, 6, 11, 3])
    assert sorted(ordinal_counts(waveform)) == [0, 0, 0, 1, 2, 2]
    assert entropy(ordinal_counts(waveform)) * np.log2(6) == pytest.approx(1.522, abs=5e-4)


def test_mel_statistics_are_those_of_librosas_spectrogram():
    waveform = noise() * np.linspace(0.1, 1, len(noise()), dtype=np.float32)
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE))
    rows = np.vstack([mel - mel.mean(), librosa.feature.mfcc(S=mel - mel.mean())])
    changes = [np.std(rows[:, lag:] - rows[:, :-lag], axis=1) for lag in (1, 4)]
    expected = np.stack([rows.mean(1), rows.std(1), *changes], axis=1)
    values = describe_waveform(waveform, SAMPLE_RATE, "mel_statistics")
    assert np.allclose(list(values.values()), expected.ravel(), atol=5e-3)
    assert list(values)[:4] == ["mel1_mean", "mel1_sd", "mel1_change1_sd", "mel1_change4_sd"]
    assert list(values)[-1] == "mfcc20_change4_sd"


@settings(max_examples=10)
@given(gain=st.floats(0.05, 2.0), seed=st.integers(0, 99))
def test_mel_statistics_do_not_see_the_level(gain, seed):
    plain, louder = (
        list(describe_waveform(waveform, SAMPLE_RATE, "mel_statistics").values())
        for waveform in (noise(0.5, seed), np.float32(gain) * noise(0.5, seed))
    )
    assert np.allclose(plain, louder, atol=0.01)


def test_recording_sees_rumble_and_what_lies_between_the_notes():
    """A sine of 20 Hz a hundredth as strong as the note; Welch's density of the hiss, where the note pauses."""
    note = sine(1000.0, FULL_RATE, seconds=8) * (np.arange(8 * FULL_RATE) < 6 * FULL_RATE)
    hiss = 0.01 * noise(16.0)
    values = describe_waveform(0.5 * (note + 0.1 * sine(20.0, FULL_RATE, seconds=8)) + hiss, FULL_RATE, "recording")
    strongest = max((name for name in values if name.startswith("rumble")), key=values.__getitem__)
    assert strongest == "rumble_15_hz"
    bins = 3  # of 5.4 Hz, between 15 and 30 Hz
    assert values[strongest] == pytest.approx(-20 + 10 * np.log10(8 / 6 / bins), abs=1)
    frequency, density = welch(hiss[-FULL_RATE:], FULL_RATE, nperseg=8192)
    expected = 10 * np.log10(density[(frequency >= 4000) & (frequency < 8000)].mean() * FULL_RATE / 2 * 8192 * 3 / 8)
    assert values["quiet_4000_hz"] == pytest.approx(expected, abs=0.5)
    assert values["quiet_1000_hz"] == pytest.approx(values["quiet_4000_hz"], abs=1)  # none of the note


def test_recording_sees_where_a_codec_has_cut_the_spectrum_off(tmp_path):
    """White noise as WAV and as MP3, which LAME ends at 16 kHz at this quality."""
    soundfile.write(tmp_path / "noise.wav", noise(6.0), FULL_RATE)
    soundfile.write(tmp_path / "noise.mp3", noise(6.0), FULL_RATE, compression_level=0.9, bitrate_mode="CONSTANT")
    whole, cut = (
        describe_waveform(decode(tmp_path / name, FULL_RATE), FULL_RATE, "recording")
        for name in ("noise.wav", "noise.mp3")
    )
    assert whole["top_18000_hz"] == pytest.approx(whole["top_10000_hz"], abs=0.5)
    assert cut["top_18000_hz"] < cut["top_10000_hz"] - 30


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_silence_has_finite_descriptors(which, value):
    values = describe_waveform(np.full(SAMPLE_RATE, value, np.float32), SAMPLE_RATE, which)
    assert np.isfinite(list(values.values())).all()


def test_what_cannot_be_described():
    with pytest.raises(ConfigError, match="did you mean 'gtzan57'"):
        describe_waveform(noise(), SAMPLE_RATE, "gtzan75")
    with pytest.raises(ConfigError, match="0.00 s of sound; .* at least 0.19 s"):
        describe_waveform(noise()[:100], SAMPLE_RATE)


# --- all tracks ---------------------------------------------------------------------------------------------


@pytest.fixture
def table(tone: Callable[..., Path], tmp_path: Path) -> pd.DataFrame:
    """Five sound files of 7 s and four bad ones."""
    files = {f"{number:03d}": tone(f"{number}.wav", 7.0, SAMPLE_RATE, 1, 200.0 * number) for number in range(1, 6)}
    (tmp_path / "page.mp3").write_bytes(b"<!DOCTYPE html>\n<html></html>\n" * 50)
    soundfile.write(tmp_path / "silent.wav", np.zeros(4 * SAMPLE_RATE), SAMPLE_RATE)
    bad = {"missing": tmp_path / "missing.wav", "page": tmp_path / "page.mp3", "silent": tmp_path / "silent.wav"}
    files = {"short": tone("short.wav", 2.9, SAMPLE_RATE), **files, **bad}
    return pd.DataFrame({"track_id": list(files), "file_path": [str(path) for path in files.values()]})


def test_every_track_is_described_or_left_out_with_a_reason(table, tmp_path, capsys):
    table.to_csv(tmp_path / "tracks.csv", index=False)
    output = tmp_path / "out" / "descriptors.csv"
    main([f"--csv={tmp_path}/tracks.csv", f"--output={output}", "--set=irmas28", "--workers=2"])
    result = pd.read_csv(output, dtype={"track_id": str})
    assert result["track_id"].tolist() == ["001", "002", "003", "004", "005"]
    for number, centroid in enumerate(result["spectral_centroid"], start=1):
        waveform, _ = soundfile.read(tmp_path / f"{number}.wav", dtype="float32")
        assert centroid == describe_waveform(waveform, SAMPLE_RATE, "irmas28")["spectral_centroid"]
    left_out = pd.read_csv(tmp_path / "out" / "descriptors_left_out.csv")
    statuses = {"short": "short", "missing": "missing", "page": "unreadable", "silent": "silent"}
    assert left_out.set_index("track_id")["status"].to_dict() == statuses
    assert left_out["reason"].notna().all()
    printed = capsys.readouterr().out
    assert "5 rows of 5 tracks; 4 left out" in printed and "1 silent" in printed
    assert sorted(path.name for path in output.parent.iterdir()) == ["descriptors.csv", "descriptors_left_out.csv"]


def test_clips_are_numbered_and_whole(table, tmp_path):
    result, _ = describe_tracks(table, tmp_path / "clips.csv", "mel_statistics", clips=True, workers=1)
    assert result["clip"].tolist() == [1, 2] * 5
    waveform, _ = soundfile.read(tmp_path / "3.wav", dtype="float32")
    second = describe_waveform(waveform[3 * SAMPLE_RATE : 6 * SAMPLE_RATE], SAMPLE_RATE, "mel_statistics")
    row = result[(result["track_id"] == "003") & (result["clip"] == 2)].iloc[0]
    # The worker has other threads: a mean that cancels to 5e-6 dB differs in its second digit.
    assert row[list(second)].tolist() == pytest.approx(list(second.values()), rel=1e-5, abs=1e-6)


def test_notes_shorter_than_a_clip_may_be_described(table, tmp_path):
    result, left_out = describe_tracks(table, tmp_path / "a.csv", "irmas28", clips=True, workers=1, min_seconds=0.2)
    assert result.groupby("track_id").size().to_dict() == {"short": 1} | {f"{n:03d}": 2 for n in range(1, 6)}
    assert "short" not in left_out["status"].tolist()
    with pytest.raises(ConfigError, match=r"min_seconds is 0.1; descriptors need at least 0.19 s"):
        describe_tracks(table, tmp_path / "a.csv", min_seconds=0.1)


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "three"])
def test_a_length_that_is_none_is_refused(seconds, refusal):
    assert "is not a number above 0" in refusal(main, ["--min-seconds", seconds])


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A descriptor set that costs nothing, in this process; the list grows with every file it describes."""
    seen: list[str] = []

    def here(function: Callable, jobs: list, workers: int | None) -> Iterator[dict]:
        for job in reversed(jobs):
            seen.append(job[1])
            yield function(job)

    cheap = descriptors.DescriptorSet(lambda waveform: {"sum": waveform.sum(dtype=float)})
    monkeypatch.setitem(descriptors.DESCRIPTOR_SETS, "cheap", cheap)
    monkeypatch.setattr(descriptors, "parallel_map", here)
    return seen


def kill_after(records: int, monkeypatch: pytest.MonkeyPatch, table: pd.DataFrame, output: Path) -> None:
    whole = descriptors.parallel_map

    def dies(*arguments):
        for count, record in enumerate(whole(*arguments)):
            if count == records:
                raise KeyboardInterrupt
            yield record

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(descriptors, "parallel_map", dies)
        describe_tracks(table, output, "cheap")


@pytest.mark.parametrize("cut", [0, 10])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(table, tmp_path, cheap, monkeypatch, cut):
    describe_tracks(table, tmp_path / "whole.csv", "cheap")
    kill_after(4, monkeypatch, table, tmp_path / "killed.csv")
    assert not (tmp_path / "killed.csv").exists()
    journal = tmp_path / ".killed.csv.journal"
    journal.write_bytes(journal.read_bytes()[: -cut or None])  # a line may be cut off
    cheap.clear()
    describe_tracks(table, tmp_path / "killed.csv", "cheap")
    assert len(cheap) == len(table) - 4 + (cut > 0)
    for ending in (".csv", "_left_out.csv"):
        assert (tmp_path / f"killed{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert not journal.exists()


def test_a_journal_of_other_files_is_not_continued(table, tmp_path, cheap, monkeypatch, tone):
    kill_after(6, monkeypatch, table, tmp_path / "d.csv")
    tone("5.wav", 8.0, SAMPLE_RATE)
    cheap.clear()
    described, _ = describe_tracks(table, tmp_path / "d.csv", "cheap")
    assert len(cheap) == len(table)
    waveform, _ = soundfile.read(tmp_path / "5.wav", dtype="float32")
    assert described.set_index("track_id").loc["005", "sum"] == pytest.approx(waveform.sum(dtype=float))


def test_no_usable_track_is_one_line(table, tmp_path, cheap, refusal):
    bad = table[table["track_id"].isin(["missing", "page"])]
    with pytest.raises(TableError, match="none of the 2 tracks"):
        describe_tracks(bad, tmp_path / "d.csv", "cheap")
    assert not (tmp_path / "d.csv").exists()
    assert pd.read_csv(tmp_path / "d_left_out.csv")["status"].tolist() == ["missing", "unreadable"]
    table.to_csv(tmp_path / "t.csv", index=False)
    assert "did you mean 'cheap'" in refusal(main, [f"--csv={tmp_path}/t.csv", "--set=cheep"])
