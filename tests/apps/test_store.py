"""The store of tagged sounds: whole or not at all, for several people at a time; and what training gets of it."""

import errno
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from scripts.apps import store as store_module
from scripts.apps.monitor.corrections import export
from scripts.apps.monitor.corrections import main as export_command
from scripts.apps.store import Sound, Store, StoreError
from scripts.common.errors import ProjectError
from scripts.tables.label_matrix import label_matrix
from scripts.tables.label_table import MULTI_LABEL_COLUMNS, read_table
from scripts.tables.overrides import apply_overrides
from tests.sounds import add_sounds, make_files, make_sound

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "sounds")


def files_of(store: Store) -> list[str]:
    """All files but the database's own."""
    return sorted(path.name for path in store.folder.rglob("*") if path.is_file() and "sqlite" not in path.name)


# --- sounds -------------------------------------------------------------------------------------------------


def test_a_sound_comes_back_with_its_files(store: Store, tmp_path: Path) -> None:
    audio, image = make_files(tmp_path / "given")
    contents = audio.read_bytes(), image.read_bytes()
    store.add(make_sound(1), audio, image)
    [stored] = Store(store.folder).newest(5)
    assert stored.sound == make_sound(1)
    assert stored.tags == ["high"] and stored.corrections == []
    assert (stored.audio.read_bytes(), stored.image.read_bytes()) == contents
    assert files_of(store) == ["test-1.png", "test-1.wav"]
    assert not audio.exists() and not image.exists()
    assert store.has("test-1") and not store.has("test-2")


def test_a_key_that_is_there_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    add_sounds(store, make_sound(1))
    store.correct("test-1", "low", "add", "Ana")
    store.add(make_sound(1, tags=("mid",)), *make_files(tmp_path / "again", level=0.1))
    [stored] = store.newest(5)
    assert stored.sound == make_sound(1) and stored.tags == ["high", "low"]
    assert soundfile.read(stored.audio)[0][0] == pytest.approx(0.5, abs=1e-4)
    assert files_of(store) == ["test-1.png", "test-1.wav"]


def test_order_is_that_of_real_time(store: Store) -> None:
    """As texts "x-9" comes after "x-100", and 23:30-02:00 before 22:00; in time it is the other way round."""
    times = {"x-100": "2026-01-01T22:00:00Z", "x-9": "2026-01-01T23:30:00-02:00", "x-20": "2026-01-01T23:00:00.5"}
    add_sounds(store, *(make_sound(1, key=key, created=time) for key, time in times.items()))
    assert [stored.sound.key for stored in store.newest(9)] == ["x-9", "x-20", "x-100"]
    assert [stored.sound.key for stored in store.newest(1, offset=1)] == ["x-20"]
    assert [stored.sound.key for stored in store.oldest(2)] == ["x-100", "x-20"]


def test_least_sure_first(store: Store) -> None:
    """By hand: margins 0.6 - 0.55, 0.5 - 0.4 (no tag), 0.5 - 0.3 of two tags, and 0.9 - 0.1; the checked one is out."""
    probabilities = {
        1: {"high": 0.9, "low": 0.1},
        2: {"high": 0.6, "low": 0.55},
        3: {"high": 0.95, "low": 0.5, "mid": 0.3},
        4: {"high": 0.4, "low": 0.2},
        5: {"high": 0.51, "low": 0.5},
    }
    tags = {3: ["high", "low"], 4: []}
    for number, values in probabilities.items():
        add_sounds(store, make_sound(number, tags=tags.get(number, ["high"]), probabilities=values))
    store.confirm("test-5", "Ana")
    assert store.least_sure(9) == ["test-2", "test-4", "test-3", "test-1"]
    assert store.least_sure(1) == ["test-2"]


def test_sounds_of_one_model(store: Store) -> None:
    add_sounds(store, make_sound(1), make_sound(2, model="other@2", probabilities={"bell": 1.0}, tags=["bell"]))
    assert (store.count(), store.count("chords"), store.count("none")) == (2, 1, 0)
    assert [stored.sound.key for stored in store.newest(9, model="chords")] == ["test-1"]
    assert [stored.sound.key for stored in store.oldest(9, model="other@2")] == ["test-2"]
    assert store.vocabulary() == ["bell", "high", "low", "mid"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "../../etc-passwd"}, "write <source>-<id>"),
        ({"key": "rss-a/b"}, "write <source>-<id>"),
        ({"key": "noid"}, "write <source>-<id>"),
        ({"key": "rss-" + "a" * 300}, "write <source>-<id>"),
        ({"created": "yesterday"}, "ISO 8601"),
        ({"probabilities": {"high": 1.5}}, "it must be 0 to 1"),
        ({"probabilities": {"high": float("nan")}}, "it must be 0 to 1"),
        ({"tags": ["bell"]}, "tags without a probability: bell"),
    ],
)
def test_what_no_sound_may_be(changes: dict, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        make_sound(1, **changes)


# --- corrections --------------------------------------------------------------------------------------------


def test_corrections_are_appended_with_name_and_time(store: Store) -> None:
    add_sounds(store, make_sound(1, tags=("high", "low")))
    before = datetime.now(UTC)
    store.correct("test-1", "low", "remove", "Ana")
    store.correct("test-1", " mid ", "add", " Ben ")
    store.correct("test-1", "high", "remove", "Ben")
    store.correct("test-1", "high", "add", "Ana")
    store.confirm("test-1", "Cleo")
    stored = store.get("test-1")
    assert stored.tags == ["mid", "high"] and stored.sound.tags == ["high", "low"]
    said = [(one.person, one.action, one.label) for one in stored.corrections]
    assert said[:3] == [("Ana", "remove", "low"), ("Ben", "add", "mid"), ("Ben", "remove", "high")]
    assert said[3:] == [("Ana", "add", "high"), ("Cleo", "confirm", "")]
    times = [before, *(datetime.fromisoformat(one.time) for one in stored.corrections), datetime.now(UTC)]
    assert times == sorted(times)
    assert [one.sound.key for one in store.reviewed()] == ["test-1"]


@pytest.mark.parametrize(
    ("key", "label", "action", "person", "message"),
    [
        ("test-9", "low", "add", "Ana", "has no sound 'test-9'"),
        ("test-1", "low", "add", "  ", "name is empty"),
        ("test-1", "", "add", "Ana", "label is empty"),
        ("test-1", "low;mid", "add", "Ana", "not allowed"),
        ("test-1", "-", "add", "Ana", "not allowed"),
        ("test-1", "low\nmid", "add", "Ana", "not allowed"),
        ("test-1", "l" * 101, "add", "Ana", "at most 100 characters"),
        ("test-1", "low", "delete", "Ana", "unknown action 'delete'"),
    ],
)
def test_corrections_that_are_refused(
    store: Store, key: str, label: str, action: str, person: str, message: str
) -> None:
    add_sounds(store, make_sound(1))
    with pytest.raises(ProjectError, match=message):
        store.correct(key, label, action, person)
    assert store.reviewed() == []


# --- several at a time, and failures ------------------------------------------------------------------------


def work(folder: Path, person: str, start: Callable[[], object]) -> None:
    """Open the store, add the same five sounds as all others, and correct each."""
    start()
    store = Store(folder)
    for number in range(1, 6):
        store.add(make_sound(number), *make_files(folder.parent / person))
        store.correct(f"test-{number}", f"seen by {person}", "add", person)


def check_all_is_there(store: Store, people: list[str]) -> None:
    stored = store.newest(99)
    assert [one.sound.key for one in stored] == [f"test-{number}" for number in (5, 4, 3, 2, 1)]
    assert all(sorted(one.tags) == ["high", *(f"seen by {person}" for person in people)] for one in stored)
    assert all(len(one.corrections) == len(people) for one in stored)
    assert all(soundfile.info(one.audio).frames == 4000 for one in stored)


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    """They create the store, add the same sounds and correct them at the same time."""
    people, barrier = ["Ana", "Ben"], FORK.Barrier(2)
    jobs = [FORK.Process(target=work, args=(tmp_path / "sounds", person, barrier.wait)) for person in people]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    check_all_is_there(Store(tmp_path / "sounds"), people)


def open_store(folder: Path, barrier: threading.Barrier) -> None:
    barrier.wait()
    Store(folder)


def test_several_may_make_it_at_once(tmp_path: Path) -> None:
    """Without a lock one in five such rounds ended with "database is locked"."""
    for number in range(20):
        barrier = FORK.Barrier(4)
        jobs = [FORK.Process(target=open_store, args=(tmp_path / str(number), barrier)) for _ in range(4)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        assert [job.exitcode for job in jobs] == [0] * 4


def test_threads_lose_nothing(tmp_path: Path) -> None:
    people, barrier = ["Ana", "Ben", "Cleo", "Dan", "Eva", "Finn"], threading.Barrier(6)
    threads = [threading.Thread(target=work, args=(tmp_path / "sounds", person, barrier.wait)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_all_is_there(Store(tmp_path / "sounds"), people)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def add_and_die(store: Store, folder: Path, owner: object, name: str, calls: int) -> None:
    """Add a sound; the process is killed right before the call of that number to a function."""
    real, left = getattr(owner, name), iter(range(calls - 1))
    setattr(owner, name, lambda *args, **rest: die() if next(left, None) is None else real(*args, **rest))
    store.add(make_sound(1), *make_files(folder))


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [(shutil, "copyfile", 1), (os, "replace", 1), (shutil, "copyfile", 2), (os, "replace", 2)]
    + [(store_module, "insert", 1), (Path, "unlink", 3)],
)
def test_killed_in_the_middle(store: Store, tmp_path: Path, owner: object, name: str, calls: int) -> None:
    """Wherever it is killed: a row has its files, and the next try gives one row. `unlink` is after the commit."""
    job = FORK.Process(target=add_and_die, args=(store, tmp_path / "killed", owner, name, calls))
    job.start()
    job.join()
    assert job.exitcode == -signal.SIGKILL
    assert store.has("test-1") == (name == "unlink")
    assert all(one.audio.exists() and one.image.exists() for one in store.newest(9))
    add_sounds(store, make_sound(1))
    [stored] = store.newest(9)
    assert soundfile.info(stored.audio).frames == 4000 and stored.image.exists()


def test_no_room_for_the_files(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    given = make_files(tmp_path / "given")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(shutil, "copyfile", full)
        store.add(make_sound(1), *given)
    assert store.count() == 0 and files_of(store) == []
    store.add(make_sound(1), *given)
    assert store.count() == 1


def test_no_room_for_the_row(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself says so here: its file may not grow, and the row needs more than a page."""

    def narrow(*args, **settings) -> sqlite3.Connection:
        database = connect(*args, **settings)
        database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
        return database

    given, connect = make_files(tmp_path / "given"), sqlite3.connect
    large = make_sound(1, probabilities={f"label {number}": 0.5 for number in range(2000)}, tags=[])
    with monkeypatch.context() as patch, pytest.raises(StoreError, match="full; see that the disk has room"):
        patch.setattr(sqlite3, "connect", narrow)
        store.add(large, *given)
    assert store.count() == 0
    store.add(large, *given)
    assert store.newest(9)[0].sound == large


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("not a database " * 100)
    with pytest.raises(StoreError, match=r"store\.sqlite: file is not a database"):
        Store(tmp_path)


# --- for training -------------------------------------------------------------------------------------------


def corrected_store(store: Store, *sounds: Sound) -> Store:
    add_sounds(store, *sounds)
    store.correct("test-1", "high", "remove", "Ana")
    store.correct("test-1", "low", "add", "Ana")
    store.confirm("test-2", "Ben")
    return store


def test_overrides_are_what_training_takes(store: Store, tmp_path: Path) -> None:
    corrected_store(store, make_sound(1), make_sound(2, tags=("low", "mid")), make_sound(3))
    _, path, *_ = export(store, tmp_path / "out")
    rows = {"track_id": ["test-1", "test-2", "test-3"], "labels": ["high", "mid", "high;low"]}
    table = apply_overrides(pd.DataFrame(rows).assign(split="train"), path, "multi_label")
    assert table["labels"].tolist() == ["low", "low;mid", "high;low"]


def test_overrides_without_any_tag_left(store: Store, tmp_path: Path) -> None:
    add_sounds(store, make_sound(1))
    store.correct("test-1", "high", "remove", "Ana")
    _, path = export(store, tmp_path)
    table = pd.DataFrame({"track_id": ["test-1"], "labels": ["high"], "split": "train"})
    assert apply_overrides(table, path, "multi_label")["labels"].tolist() == ["-"]


def test_sounds_with_one_tag_correct_genres_too(store: Store, tmp_path: Path) -> None:
    """Whatever tags other sounds have; and numbers are in the order of the model, which is high, low, mid."""
    corrected_store(store, make_sound(1), make_sound(2, tags=("mid",)), make_sound(3, tags=("high", "low")))
    store.confirm("test-3", "Ana")
    _, _, labels, path = export(store, tmp_path / "out")
    rows = {"track_id": ["test-1", "test-2"], "genre": ["high", "low"], "class": [0, 1]}
    table = pd.DataFrame(rows).assign(split="train")
    with pytest.raises(ProjectError, match="row 3 has genre 'mid'"):
        apply_overrides(table, path, "single_label")
    other = pd.DataFrame({"track_id": ["x"], "genre": ["mid"], "class": [2], "split": ["train"]})
    more = pd.concat([table, other], ignore_index=True)
    assert apply_overrides(more, path, "single_label")["genre"].tolist() == ["low", "mid", "mid"]
    made = read_table(labels, ["track_id", "file_path", "genre", "class"])
    assert list(zip(made["genre"], made["class"], strict=True)) == [("low", 0), ("mid", 1)]


def test_the_label_table_has_the_checked_sounds(store: Store, tmp_path: Path) -> None:
    corrected_store(store, make_sound(1), make_sound(2, tags=("low", "mid")), make_sound(3))
    path, *_ = export(store, tmp_path / "out")
    table = read_table(path, ["track_id", "file_path", "labels"])
    assert table.columns.tolist() == MULTI_LABEL_COLUMNS
    assert label_matrix(table, ["high", "low", "mid"]).tolist() == [[0, 1, 0], [0, 1, 1]]
    assert [soundfile.info(name).duration for name in table["file_path"]] == table["duration_s"].tolist() == [0.5, 0.5]
    assert table["artist_id"].tolist() == ["Mira", "Mira"]


def test_the_command_writes_into_the_store(store: Store, capsys: pytest.CaptureFixture) -> None:
    corrected_store(store, make_sound(1), make_sound(2, tags=("low", "mid")))
    export_command(["--store", str(store.folder)])
    names = {"labels.csv": 2, "overrides.csv": 2, "genres.csv": 1, "genre_overrides.csv": 1}
    lines = [f"{store.folder / 'exports' / name}: {count} sounds" for name, count in names.items()]
    assert capsys.readouterr().out.splitlines() == lines


def test_files_for_which_there_is_nothing_any_more(store: Store, tmp_path: Path) -> None:
    add_sounds(store, make_sound(1))
    store.confirm("test-1", "Ana")
    assert {path.name for path in export(store, tmp_path)} == {path.name for path in tmp_path.glob("*.csv")}
    store.correct("test-1", "mid", "add", "Ana")
    assert {path.name for path in export(store, tmp_path)} == {"labels.csv", "overrides.csv"}
    assert not (tmp_path / "genres.csv").exists()


def test_free_tags_are_no_overrides_and_genres_may_hold_the_separator(store: Store, tmp_path: Path) -> None:
    genres = {"model": "genres", "probabilities": {"Drum; Bass": 0.7, "Jazz": 0.3}}
    add_sounds(store, make_sound(1, **genres, tags=["Drum; Bass"]), make_sound(2))
    add_sounds(store, make_sound(3, **genres, tags=["Jazz"]))
    store.confirm("test-1", "Ana")
    store.correct("test-2", "rain", "add", "Ana")
    store.correct("test-3", "Jazz", "remove", "Ana")
    store.correct("test-3", "Drum; Bass", "add", "Ana")
    export(store, tmp_path)
    assert pd.read_csv(tmp_path / "genres.csv")["genre"].tolist() == ["Drum; Bass", "Drum; Bass"]
    assert pd.read_csv(tmp_path / "labels.csv")["labels"].tolist() == ["high;rain"]
    assert pd.read_csv(tmp_path / "overrides.csv")["labels"].tolist() == ["high"]


def test_the_command_with_nothing_to_write(store: Store, refusal: Callable[..., str]) -> None:
    assert "no sound is corrected or confirmed yet" in refusal(export_command, ["--store", str(store.folder)])
    assert not (store.folder / "exports").exists()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert "typo: no store; give the folder" in refusal(export_command, ["--store", str(tmp_path / "typo")])
    assert list(tmp_path.iterdir()) == []
