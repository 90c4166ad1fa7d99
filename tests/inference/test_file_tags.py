"""Genres in the metadata of audio files: all formats, nothing else touched, asked first, whole or not at all."""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import mutagen
import numpy as np
import pytest
from mutagen.apev2 import APEv2
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TALB, TCON, TIT2, TYER
from mutagen.mp3 import MP3

from scripts.audio.decoding import decode
from scripts.common.errors import AudioError
from scripts.inference import file_tags
from scripts.inference.file_tags import Change, are_genres, has_genre, plan_change, rehearse, write_genres
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


def test_mp3_in_a_wav_file_is_no_mp3_file(tone: Tone) -> None:
    """Behind a tag, nothing would take it for what it is."""
    path = tone("a.mp3")
    path.write_bytes(b"RIFF\0\0\1\0WAVEfmt \x10\0\0\0\x55\0" + bytes(14) + b"data\0\0\1\0" + path.read_bytes())
    with pytest.raises(AudioError, match="not an MP3 file"):
        plan_change(path, ["Jazz"])


def test_id3v22_becomes_a_valid_24(tone: Tone) -> None:
    path = tone("a.mp3")

    def frame(name: bytes, body: bytes) -> bytes:
        return name + struct.pack(">I", len(body))[1:] + body

    texts_ = {b"TT2": b"Title", b"TP1": b"Artist", b"TYE": b"1999", b"TCO": b"(17)"}
    picture = frame(b"PIC", b"\0JPG\x03cover\0" + b"\xff\xd8picture")
    body = b"".join(frame(name, b"\0" + text) for name, text in texts_.items()) + picture
    path.write_bytes(b"ID3\x02\0\0" + bytes([0, 0, len(body) >> 7, len(body) & 127]) + body + path.read_bytes())
    expected, audio = ID3(path), decode(path, 44_100)  # by default, mutagen reads every version as 2.4
    assert tag(path, "Jazz").old == ["Rock"]
    found = ID3(path, translate=False)
    assert found.version == (2, 4, 0) and found["TCON"].genres == ["Jazz"]
    assert found["APIC:cover"].mime == "image/jpeg" and str(found["TDRC"]) == "1999"
    assert {key: found[key] for key in found if key != "TCON"} == {
        key: expected[key] for key in expected if key != "TCON"
    }
    np.testing.assert_array_equal(decode(path, 44_100), audio)


def behind_id3(path: Path) -> Path:
    """A FLAC file as some rippers write it, with an ID3 tag before it."""
    path.write_bytes(b"ID3\x04\0\0\0\0\x07\x68" + bytes(1000) + path.read_bytes())
    return path


def test_both_tags_of_an_mp3_file_say_the_same(tone: Tone) -> None:
    path, ape = tone("a.mp3"), APEv2()
    ape["Genre"], ape["Title"] = ["Polka", "Ska"], "Title"
    ape.save(path)
    before = decode(path, 44_100)
    assert has_genre(path) and plan_change(path, ["Jazz"], "keep").new == ["Polka", "Ska"]
    assert tag(path, "Jazz", "Blues").old == ["Polka", "Ska"]
    assert ID3(path)["TCON"].genres == [*APEv2(path)["Genre"]] == ["Jazz", "Blues"]
    assert str(APEv2(path)["Title"]) == "Title"
    np.testing.assert_array_equal(decode(path, 44_100), before)


def test_flac_behind_an_id3_tag(tone: Tone) -> None:
    path = behind_id3(tone("a.flac"))
    before = decode(path, 44_100)
    tag(path, "Jazz")
    assert FLAC(path)["GENRE"] == ["Jazz"] and path.read_bytes()[:3] == b"ID3"
    np.testing.assert_array_equal(decode(path, 44_100), before)


def test_layer_two_in_an_mp3_file(tone: Tone) -> None:
    av = pytest.importorskip("av")
    path = tone("a.mp3")
    with av.open(str(path), "w", format="mp2") as container:
        stream = container.add_stream("mp2", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
        frame.sample_rate = 44_100
        for packet in [packet for one in [*[frame] * 40, None] for packet in stream.encode(one)]:
            container.mux(packet)
    tag(path, "Jazz")
    assert ID3(path)["TCON"].genres == ["Jazz"]


def test_a_genre_with_the_separator_in_it_is_one(song: Path) -> None:
    if song.suffix == ".mp3":
        tags = ID3()
        tags.add(TCON(3, "Rock"))
        tags.save(song, v2_version=3)  # holds several genres in one text
    for genres in (["Drum; Bass"], ["Jazz", "Drum; Bass", "Rock"]):
        tag(song, *genres)
        assert plan_change(song, genres).old == genres
        assert plan_change(song, genres[:2], "append").new == genres
    assert has_genre(song)


def test_what_becomes_of_a_genre_that_is_there(song: Path) -> None:
    assert plan_change(song, ["Jazz"], "keep").new == plan_change(song, ["Jazz"], "append").new == ["Jazz"]
    assert not has_genre(song)
    tag(song, "Rock")
    assert plan_change(song, ["Jazz"], "keep").new == ["Rock"]
    write_genres(plan_change(song, ["Jazz", "Rock"], "append"))
    assert texts(song) == ["Rock", "Jazz"] == plan_change(song, ["Jazz"], "append").new


def test_owner_times_and_attributes_stay(tone: Tone) -> None:
    path = tone("a.flac")
    os.utime(path, ns=(1, 2_000_000_003))
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    try:
        os.setxattr(path, "user.rating", b"5")
    except (AttributeError, OSError):
        attributes = []
    else:
        attributes = ["user.rating"]
    before = path.stat()
    tag(path, "Jazz")
    after = path.stat()
    assert (after.st_mtime_ns, after.st_mode) == (before.st_mtime_ns, before.st_mode)
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert not attributes or os.getxattr(path, "user.rating") == b"5"


def test_a_name_as_long_as_a_disk_allows(tone: Tone) -> None:
    path = tone("a.flac")
    path = path.rename(path.with_name(f"{'é' * 125}.flac"))
    tag(path, "Jazz")
    assert texts(path) == ["Jazz"]


def test_no_link_out_of_the_folder_is_followed(tone: Tone, tmp_path: Path) -> None:
    inside, outside = tone("music/deep/a.flac"), tone("a.flac")
    (tmp_path / "music" / "in.flac").symlink_to(inside)
    (tmp_path / "music" / "out.flac").symlink_to(outside)
    (tmp_path / "linked").symlink_to(tmp_path / "music", target_is_directory=True)
    folders = [tmp_path / "linked"]
    assert plan_change(tmp_path / "linked" / "in.flac", ["Jazz"], folders=folders).new == ["Jazz"]
    with pytest.raises(AudioError, match="out of the folder given"):
        plan_change(tmp_path / "linked" / "out.flac", ["Jazz"], folders=folders)


def fail_for(name: str, where: object, function: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a function fail whenever it is called with a path in which `name` stands."""
    true = getattr(where, function)

    def failing(*args: object, **settings: object) -> object:
        if any(name in str(one) for one in (*args, *settings.values())):
            raise error
        return true(*args, **settings)

    monkeypatch.setattr(where, function, failing)


FULL = shutil._ntuple_diskusage(100, 100, 0)


def damage(path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plan from the metadata alone does not find."""
    if case == "no number":
        return
    if case == "a full disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda place: FULL)
        fail_for(".tmp", shutil, "copyfile", OSError(28, "No space left on device"), monkeypatch)
    elif case == "a closed folder":
        monkeypatch.setattr(file_tags.tempfile, "TemporaryFile", lambda dir: open(dir / "no" / "such", "wb"))  # noqa: SIM115
        fail_for(".tmp", os, "open", PermissionError(1, "Operation not permitted"), monkeypatch)
    elif case == "another owner":
        monkeypatch.setattr(os, "chown", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    elif case == "gone":
        path.unlink()


@pytest.mark.parametrize("case", ["no number", "a full disk", "a closed folder", "another owner", "gone"])
def test_rehearsal_fails_where_writing_does(tone: Tone, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    path = tone("a.mp3")
    change = plan_change(path, ["17"] if case == "no number" else ["Jazz"])  # ID3 takes "17" for Rock
    before = path.read_bytes()
    damage(path, case, monkeypatch)
    for step in (rehearse, write_genres):
        with pytest.raises(AudioError) as caught:
            step(change)
        assert caught.value.path == str(path) and caught.value.status == "unwritable"
    assert [one.read_bytes() for one in path.parent.glob("*")] == ([] if case == "gone" else [before])


@pytest.mark.parametrize(
    ("names", "genres"),
    [
        (["Low", "Mid"], True),
        (["rock", "Drum; Bass", "vocal"], True),
        (["acoustic_guitar", "Bass Tuba", "French Horn", "other"], False),
        (["happy", "sad"], False),
    ],
)
def test_names_of_instruments_and_moods(names: list[str], genres: bool) -> None:
    assert are_genres(names) == genres


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
    run_predict(genre_run, folder, "--write-tags", "--min-probability", "0.2")
    assert asked == ["change the genre in the metadata of 2 files? [y/N] "]
    assert MP3(folder / "low.mp3").tags["TCON"].genres == ["Low"]


def test_one_file_that_fails_stops_no_other(genre_run, tag_run, folder: Path, tmp_path: Path, capsys, monkeypatch):
    behind_id3(folder / "high.flac")
    shutil.copy(folder / "low.mp3", folder / "bad.mp3")
    outside = shutil.copy(folder / "low.mp3", tmp_path / "outside.mp3")
    (folder / "link.mp3").symlink_to(outside)
    fail_for("bad.mp3", file_tags, "write_copy", PermissionError(13, "Permission denied"), monkeypatch)
    before, lines = Path(outside).read_bytes(), []
    for flag in ("--dry-run", "--yes"):
        with pytest.raises(SystemExit) as stopped:
            run_predict(genre_run, folder, "--out", tmp_path / "p.csv", "--write-tags", flag)
        out, err = capsys.readouterr()
        assert stopped.value.code == 2 and "2 of 5 files could not be tagged" in err.splitlines()[-1]
        lines.append((sorted(err.splitlines()), [line for line in out.splitlines() if "->" in line]))
    assert lines[0] == lines[1] and sum("not tagged" in line for line in lines[0][0]) == 3
    assert (texts(folder / "low.mp3"), texts(folder / "high.flac")) == (["Low"], ["High"])
    assert Path(outside).read_bytes() == before
    run_predict(genre_run, folder, "--out", tmp_path / "p.csv")
    assert "0 files predicted, 5 were there" in capsys.readouterr().out


def test_flags_for_genres_that_are_there(genre_run, folder: Path, tmp_path: Path, capsys) -> None:
    tag(folder / "low.mp3", "Polka")
    run_predict(genre_run, folder, "--out", tmp_path / "p.csv", "--write-tags", "--yes", "--only-missing")
    assert "1 files have a genre and are passed over" in capsys.readouterr().out
    assert (texts(folder / "low.mp3"), texts(folder / "high.flac")) == (["Polka"], ["High"])
    assert "low.mp3" not in (tmp_path / "p.csv").read_text()
    run_predict(genre_run, folder, "--write-tags", "--yes", "--keep")
    assert texts(folder / "low.mp3") == ["Polka"]
    for count in (1, 0):
        run_predict(genre_run, folder, "--write-tags", "--yes", "--append")
        assert f"changed the genre in the metadata of {count} files" in capsys.readouterr().out
    assert texts(folder / "low.mp3") == ["Polka", "Low"]


def test_labels_that_are_no_genres_are_written_on_request_alone(
    tag_run, folder: Path, refusal: Callable[..., str]
) -> None:
    before = contents(folder)
    assert (
        "add --as-genre" in refusal(run_predict, tag_run, folder, "--write-tags", "--yes")
        and contents(folder) == before
    )
    run_predict(tag_run, folder, "--write-tags", "--yes", "--as-genre", "--min-probability", "0")
    assert sorted(texts(folder / "low.mp3")) == ["high", "low", "mid"]
