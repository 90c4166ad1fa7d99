"""Files in blocks: the windows of the whole file to the last digit, and its verdict, in memory that does not grow."""

import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from scripts.audio import decoding
from scripts.audio.decoding import decode_takes, decode_with_note
from scripts.audio.spec import ENDINGS
from scripts.common.errors import AudioError
from scripts.inference import windows
from scripts.inference.windows import Facts, FrontEnd, Part
from tests.conftest import tone_samples
from tests.corpus import SPEC

Tone = Callable[..., Path]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "BLOCK", 2**13)
    monkeypatch.setattr(windows, "PIECE", 3000)


def in_parts(front_end: FrontEnd, path: Path, at_once: int) -> tuple[Facts, np.ndarray]:
    parts, sizes = defaultdict(list), defaultdict(list)
    *some, facts = front_end.parts(path, at_once)
    assert isinstance(facts, Facts)
    for part in some:
        assert isinstance(part, Part)
        parts[part.take].append(part.values)
        sizes[part.take].append(len(part.values))
    assert set(sizes[facts.take][:-1]) <= {at_once} and sizes[facts.take][-1] <= at_once
    return facts, np.concatenate(parts[facts.take])


def assert_same(front_end: FrontEnd, path: Path, at_once: int = 4) -> None:
    facts, values = in_parts(front_end, path, at_once)
    file = front_end.prepare(path)
    assert (facts.path, facts.seconds, facts.note) == (file.path, file.seconds, file.note)
    np.testing.assert_array_equal(facts.starts, file.starts)
    np.testing.assert_array_equal(values, front_end.values(file.waveforms))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seconds", [1.7, 5.0, 12.4, 12.6, 13.3])
def test_windows_of_a_file_in_blocks_are_those_of_the_whole(
    tone: Tone, small_blocks: None, ending: str, overlap: float, seconds: float
) -> None:
    path = tone("a.wav", seconds, rate=8000, channels=2)
    assert_same(FrontEnd(replace(SPEC, ending=ending), "clip", overlap), path)


@pytest.mark.parametrize("settings", [{"unit": "track"}, {"unit": "clip", "spec": replace(SPEC, selection="loudest")}])
def test_windows_as_long_as_a_track(tone: Tone, small_blocks: None, settings: dict[str, Any]) -> None:
    assert_same(FrontEnd(**{"spec": SPEC, "overlap": 0.25} | settings), tone("a.flac", 3.5 * SPEC.track_seconds))


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.flac"])
@pytest.mark.parametrize("channels", [1, 2])
def test_other_formats_and_rates(tone: Tone, small_blocks: None, name: str, channels: int) -> None:
    assert_same(FrontEnd(SPEC, "clip", 0.0), tone(name, 9.3, channels=channels))


def test_file_that_another_decoder_reads_further(tone: Tone, small_blocks: None) -> None:
    """Its header announces what the first of two joined MP3s holds."""
    first, second = tone("1.mp3", 4.0), tone("2.mp3", 7.0, frequency=700.0)
    path = first.with_name("both.mp3")
    path.write_bytes(first.read_bytes() + second.read_bytes())
    whole = decode_with_note(path, 8000)
    read = [(take, np.concatenate(list(take.blocks()))) for take in decode_takes(path, 8000)]
    take, samples = [one for one in read if one[0].samples][-1]
    np.testing.assert_array_equal(samples, whole.waveform)
    assert take.note == whole.note and len(samples) > 10.5 * 8000
    assert_same(FrontEnd(SPEC, "clip", 0.0), path)


def cancelling() -> np.ndarray:
    left = tone_samples(9.0, 8000)
    return np.hstack([left, -left])


UNUSABLE = {
    "silent": np.zeros((72_000, 1)),
    "offset": np.full((72_000, 1), 0.1),
    "cancelled": cancelling(),
    "nan": np.r_[tone_samples(9.0, 8000), [[np.nan]]],
    "short": tone_samples(0.1, 8000),
    "empty": np.zeros((0, 1)),
    "long": tone_samples(20.0, 8000),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_files_that_cannot_be_used_are_refused_alike(tmp_path: Path, small_blocks: None, kind: str) -> None:
    path, front_end = tmp_path / "a.wav", FrontEnd(SPEC, "clip", 0.0, longest=15.0)
    soundfile.write(path, UNUSABLE[kind], 8000, "FLOAT")
    with pytest.raises(AudioError) as whole:
        front_end.prepare(path)
    with pytest.raises(AudioError) as in_blocks:
        list(front_end.parts(path, 4))
    assert (whole.value.status, str(whole.value)) == (in_blocks.value.status, str(in_blocks.value))


def test_sound_on_an_offset_is_used(tmp_path: Path, small_blocks: None) -> None:
    soundfile.write(tmp_path / "a.wav", 0.3 + 0.5 * tone_samples(9.0, 8000), 8000)
    assert_same(FrontEnd(SPEC, "clip", 0.0), tmp_path / "a.wav")


def test_memory_does_not_grow_with_the_length(tone: Tone, small_blocks: None) -> None:
    peaks, front_end = [], FrontEnd(SPEC, "clip", 0.0)
    for seconds in (20.0, 200.0):
        path = tone(f"{seconds}.wav", seconds, rate=8000)
        list(front_end.parts(path, 4))
        tracemalloc.start()
        for _ in front_end.parts(path, 4):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 2**16
