"""The synthetic corpus: FMA's layout and faults, the same for the same seed, continued when interrupted."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from scripts.common.errors import ConfigError
from scripts.utils import demo
from scripts.utils.synthesis import GENRES, SAMPLE_RATE

SIZE = 3  # tracks per genre
SECONDS = 3.0  # of the ordinary tracks of the corpus below
WRITE_TRACKS = demo.write_tracks
PLAN = {track.number: track for track in demo.plan(seed=0, tracks_per_genre=SIZE)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of tracks that are shorter than the real ones, to save time; made in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "FULL_SECONDS", (SECONDS, SECONDS))
        patch.setattr(demo, "write_tracks", write_all)
        return demo.make_demo(tmp_path_factory.mktemp("corpus"), seed=0, tracks_per_genre=SIZE)


def write_all(output: Path, seed: int, tracks: list[demo.Track], workers: int) -> None:
    for track in tracks:
        demo.write_track(output, seed, track)


@pytest.fixture(scope="module")
def table(corpus: Path) -> pd.DataFrame:
    return pd.read_csv(corpus / "fma_metadata" / "tracks.csv", index_col=0, header=[0, 1])


def faulty(fault: str) -> list[demo.Track]:
    return [track for track in PLAN.values() if track.fault == fault]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def snapshot(folder: Path) -> dict[Path, tuple[int, str]]:
    """Modification time and contents of all files."""
    return {path: (path.stat().st_mtime_ns, digest(path)) for path in folder.rglob("*") if path.is_file()}


def test_table_has_fma_layout(corpus: Path, table: pd.DataFrame) -> None:
    assert table.index.name == "track_id"
    assert set(table["track", "genre_top"]) == {genre.name for genre in GENRES}
    assert table["track", "genre_top"].value_counts().eq(SIZE + 1).all()
    assert table["set", "subset"].eq("small").all()
    assert table["artist", "id"].notna().all()
    files = {f"{number:06d}"[:3] + f"/{number:06d}.mp3" for number in table.index}
    assert {str(path.relative_to(corpus / "fma_small")) for path in corpus.rglob("*.mp3")} == files


def test_official_split_keeps_artists_together(table: pd.DataFrame) -> None:
    artist, genre, split = table["artist", "id"], table["track", "genre_top"], table["set", "split"]
    assert split.groupby(artist).nunique().eq(1).all()
    tracks = pd.crosstab(genre, split)
    assert list(tracks) == ["test", "training", "validation"]
    assert tracks.gt(0).all(axis=None)


def test_split_of_the_default_size_is_70_10_20() -> None:
    sound = [track for track in demo.plan(seed=0, tracks_per_genre=20) if not track.fault]
    shares = pd.Series([track.split for track in sound]).value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"training": 0.7, "validation": 0.1, "test": 0.2})
    assert len({track.artist for track in sound}) == 5 * len(GENRES)


def test_three_files_are_unreadable(corpus: Path) -> None:
    broken = [track.path(corpus) for track in PLAN.values() if track.fault in demo.BROKEN]
    assert len(broken) == 3
    for path in broken:
        with pytest.raises(soundfile.SoundFileError):
            soundfile.read(path)
    assert faulty("zero bytes")[0].path(corpus).stat().st_size == 0
    assert faulty("html page")[0].path(corpus).read_bytes().startswith(b"<!DOCTYPE html>")


def test_three_files_are_short(corpus: Path) -> None:
    seconds = [soundfile.info(track.path(corpus)).duration for track in faulty("short")]
    assert len(seconds) == 3
    assert all(0.45 < length < 1.7 for length in seconds)


def test_silent_file_is_silent(corpus: Path) -> None:
    (track,) = faulty("silent")
    audio, _ = soundfile.read(track.path(corpus))
    assert len(audio) == SECONDS * SAMPLE_RATE
    assert np.abs(audio).max() < 1e-4


def test_duplicate_has_the_same_bytes_and_artist(corpus: Path, table: pd.DataFrame) -> None:
    (copy,) = faulty("duplicate")
    original = PLAN[copy.source]
    assert copy.id != original.id
    assert digest(copy.path(corpus)) == digest(original.path(corpus))
    assert table.loc[copy.id, ("artist", "id")] == table.loc[original.id, ("artist", "id")]
    sound = [digest(track.path(corpus)) for track in PLAN.values() if not track.fault]
    assert len(set(sound)) == len(sound)


def test_sound_files_have_the_planned_format(corpus: Path) -> None:
    for track in PLAN.values():
        if track.fault:
            continue
        info = soundfile.info(track.path(corpus))
        mono = track.format.channels == 1 or demo.make_artist(0, track.artist).mono
        assert info.samplerate == track.format.sample_rate
        assert info.channels == (1 if mono else 2)
        assert info.duration == pytest.approx(track.format.seconds or SECONDS, abs=0.05)
    assert {format.sample_rate for format in demo.FORMATS} == {22_050, 44_100, 48_000}


def test_sound_files_are_audible_and_not_clipped(corpus: Path) -> None:
    for track in list(PLAN.values())[:: SIZE + 1]:
        audio, _ = soundfile.read(track.path(corpus))
        assert np.isfinite(audio).all()
        assert 0.01 < audio.std() < 0.5
        assert (np.abs(audio) > 0.98).mean() < 0.01


def test_track_follows_from_seed_and_number() -> None:
    track = next(track for track in PLAN.values() if track.fault == "short")
    assert np.array_equal(demo.waveform(0, track), demo.waveform(0, track))
    assert not np.array_equal(demo.waveform(0, track), demo.waveform(1, track))


def test_tracks_are_about_30_seconds_long() -> None:
    track = next(track for track in demo.plan(seed=0, tracks_per_genre=20) if track.format == demo.Format())
    channels = 1 if demo.make_artist(0, track.artist).mono else 2
    audio = demo.waveform(0, track)
    assert audio.dtype == np.float32
    assert 29.9 < len(audio) / SAMPLE_RATE < 30.1
    assert audio.shape[1] == channels


def test_finished_corpus_is_left_as_it_is(corpus: Path) -> None:
    before = snapshot(corpus)
    assert demo.make_demo(corpus, seed=0, tracks_per_genre=SIZE) == corpus
    assert snapshot(corpus) == before


def test_lost_file_is_made_again_in_a_worker(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "write_tracks", WRITE_TRACKS)
    path = faulty("short")[0].path(corpus)
    before = snapshot(corpus)
    path.unlink()
    demo.make_demo(corpus, seed=0, tracks_per_genre=SIZE, workers=1)
    after = snapshot(corpus)
    assert after[path][1] == before[path][1]
    assert after | {path: before[path]} == before


@pytest.mark.parametrize("settings", [{"seed": 1}, {"tracks_per_genre": 4}])
def test_other_settings_are_refused(corpus: Path, settings: dict[str, int]) -> None:
    before = snapshot(corpus)
    with pytest.raises(ConfigError, match="seed.*delete"):
        demo.make_demo(corpus, **{"seed": 0, "tracks_per_genre": SIZE} | settings)
    assert snapshot(corpus) == before


def test_killed_run_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo, "write_tracks", killed)
        with pytest.raises(KeyboardInterrupt):
            demo.make_demo(tmp_path, seed=0, tracks_per_genre=SIZE)
    assert not (tmp_path / demo.FINISHED).exists()
    with pytest.raises(ConfigError, match="seed"):
        demo.make_demo(tmp_path, seed=5, tracks_per_genre=SIZE)
    monkeypatch.setattr(demo, "write_track", write_stub)
    monkeypatch.setattr(demo, "write_tracks", write_all)
    demo.make_demo(tmp_path, seed=0, tracks_per_genre=SIZE)
    assert json.loads((tmp_path / demo.FINISHED).read_text())["seed"] == 0
    assert len(list(tmp_path.rglob("*.mp3"))) == len(PLAN)


def write_stub(output: Path, seed: int, track: demo.Track) -> None:
    track.path(output).parent.mkdir(parents=True, exist_ok=True)
    track.path(output).touch()


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "fma_small" / "000" / "000002.mp3"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    with pytest.raises(ConfigError, match="not made by this command"):
        demo.make_demo(tmp_path, tracks_per_genre=SIZE)
    assert theirs.read_bytes() == b"theirs"


def test_too_few_tracks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 3"):
        demo.make_demo(tmp_path / "demo", tracks_per_genre=2)
    assert not (tmp_path / "demo").exists()


def test_command_says_that_the_corpus_is_synthetic(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(["--output", str(corpus), "--tracks-per-genre", str(SIZE)])
    assert "SYNTHETIC" in capsys.readouterr().out
