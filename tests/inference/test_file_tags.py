"""Genres in the metadata of audio files: all formats, nothing else touched, asked first, whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import mutagen
import numpy as np
import pytest
from mutagen.id3 import ID3, TALB, TCON, TIT2, TYER
from mutagen.mp3 import MP3

from scripts.audio.decoding import decode
from scripts.common.errors import AudioError
from scripts.inference import file_tags
from scripts.inference.file_tags import Change, plan_change, write_genres
from scripts.predict import main as predict_command
from tests.conftest import tone_samples

KEYS = {".flac": "GENRE", ".ogg": "GENRE", ".opus": "GENRE", ".m4a": "\xa9gen"}
Tone = Callable[..., Path]


@pytest.fixture(params=["a.mp3", "a.flac", "a.ogg", "A.FLAC", "a.opus", "a.m4a"])
def song(request: pytest.FixtureRequest, tone: Tone, tmp_path: Path) -> Path:
    codecs = {".opus": "libopus", ".m4a": "aac"}
    path = tmp_path / request.param
    return encode(path, codecs[path.suffix]) if path.suffix in codecs else tone(path.name, channels=2)


def encode(path: Path, codec: str) -> Path:
    """Two seconds of a tone through FFmpeg."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone_samples(2.0, 48_000).T.copy(), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format, stream.layout, 48_000, stream.frame_size or 960)
        frames = [*resampler.resample(frame), *resampler.resample(None)]
        for packet in [packet for one in [*frames, None] for packet in stream.encode(one)]:
            container.mux(packet)
    return path


def tag(path: Path, *genres: str) -> Change:
    change = plan_change(path, genres)
    write_genres(change)
    return change


def texts(path: Path) -> list[str]:
    """As mutagen's own reader of the format tells them."""
    found = mutagen.File(path)
    return ID3(path)["TCON"].genres if path.suffix.lower() == ".mp3" else found[KEYS[path.suffix.lower()]]


def test_genre_is_written_and_the_audio_stays(song: Path) -> None:
    before = decode(song, 48_000)
    assert tag(song, "Hip-Hop").old == []
    assert texts(song) == ["Hip-Hop"]
    assert tag(song, "Électronique", "Jazz").old == ["Hip-Hop"]
    assert texts(song) == ["Électronique", "Jazz"]
    assert plan_change(song, ["Électronique", "Jazz"]).old == ["Électronique", "Jazz"]
    np.testing.assert_array_equal(decode(song, 48_000), before)
    assert sorted(path.name for path in song.parent.iterdir()) == [song.name]


@pytest.mark.parametrize("version", [3, 4])
def test_other_frames_and_the_version_of_id3_stay(tone: Tone, version: int) -> None:
    path = tone("a.mp3")
    tags = ID3()
    for frame in (TIT2(3, "Title"), TALB(3, "Album"), TYER(3, "1999"), TCON(3, "(17)")):
        tags.add(frame)
    tags.save(path, v1=2, v2_version=version)
    before = decode(path, 44_100)
    assert tag(path, "Jazz", "Blues").old == ["Rock"]
    found = ID3(path, translate=False)
    assert found.version == (2, version, 0)
    assert {str(found[name]) for name in ("TIT2", "TALB", "TYER")} == {"Title", "Album", "1999"}
    assert plan_change(path, []).old == ["Jazz", "Blues"]
    assert path.read_bytes()[-128:-125] == b"TAG"
    np.testing.assert_array_equal(decode(path, 44_100), before)


def test_mode_stays_and_a_link_is_followed(tone: Tone, tmp_path: Path) -> None:
    path, link = tone("music/a.flac"), tmp_path / "link.flac"
    path.chmod(0o640)
    link.symlink_to(path)
    tag(link, "Jazz")
    assert link.is_symlink() and texts(path) == ["Jazz"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_killed_in_the_middle_the_file_is_as_it_was(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = song.read_bytes()

    def broken(audio: mutagen.FileType, genres: list[str]) -> None:
        Path(audio.filename).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(file_tags, "set_genres", broken)
    with pytest.raises(KeyboardInterrupt):
        tag(song, "Jazz")
    assert song.read_bytes() == before and len(list(song.parent.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])
def test_kinds_without_a_genre_are_refused(tone: Tone, name: str) -> None:
    with pytest.raises(AudioError, match="not one of .mp3"):
        plan_change(tone(name), ["Jazz"])


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.ogg", "a.m4a"])
def test_file_of_another_kind_is_refused(tone: Tone, tmp_path: Path, name: str) -> None:
    path = tone("b.wav").rename(tmp_path / name)
    before = path.read_bytes()
    with pytest.raises(AudioError) as caught:
        plan_change(path, ["Jazz"])
    assert "\n" not in str(caught.value) and path.read_bytes() == before


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(genre_run, tone: Tone) -> Path:
    """A low tone as MP3, a high one as FLAC, a middle one as WAV."""
    for name, frequency in (("low.mp3", 200), ("high.flac", 1800), ("mid.wav", 700)):
        path = tone(f"music/{name}", seconds=3, rate=8000, frequency=frequency)
    return path.parent


def run_predict(run, *args: object) -> None:
    predict_command([*map(str, args), "--run", run.name, "--runs", str(run.root)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_dry_run_and_no_change_nothing(genre_run, folder: Path, capsys, monkeypatch) -> None:
    before = contents(folder)
    run_predict(genre_run, folder, "--write-tags", "--dry-run")
    out, err = capsys.readouterr()
    assert f"{folder / 'low.mp3'}: genre - -> Low" in out and "would change the genre in the metadata of 2 files" in out
    assert "mid.wav: not one of" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in ("n", "", "what?"):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        run_predict(genre_run, folder, "--write-tags")
    assert contents(folder) == before


def test_yes_changes_files_whose_rows_stay_current(genre_run, folder: Path, tmp_path: Path, capsys) -> None:
    run_predict(genre_run, folder, "--out", tmp_path / "p.csv", "--write-tags", "--yes")
    assert "changed the genre in the metadata of 2 files" in capsys.readouterr().out
    assert (texts(folder / "low.mp3"), texts(folder / "high.flac")) == (["Low"], ["High"])
    run_predict(genre_run, folder, "--out", tmp_path / "p.csv", "--write-tags", "--yes")
    out = capsys.readouterr().out
    assert "0 files predicted, 3 were there" in out and "changed the genre in the metadata of 0 files" in out


def test_an_answer_on_the_terminal(genre_run, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "y")
    run_predict(genre_run, folder, "--write-tags", "--least", "0.2")
    assert asked == ["change the genre in the metadata of 2 files? [y/N] "]
    assert MP3(folder / "low.mp3").tags["TCON"].genres == ["Low"]
