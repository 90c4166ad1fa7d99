"""A file is who it is, not how it is reached: links, hard links and copies, in folders, lists and splits."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from scripts.common.errors import TableError
from scripts.datasets import DATASETS
from scripts.datasets.tiny import write_tone
from scripts.tables.file_identity import file_keys
from scripts.tables.leaks import describe_leaks
from scripts.utils.metadata import write_metadata


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Three files of rock and three of jazz, all of one size."""
    for number in range(6):
        write_tone(tmp_path / "songs" / ("rock", "jazz")[number % 2] / f"{number}.wav", 0, number, 0.2)
    return tmp_path / "songs"


def tracks(songs: Path) -> list[str]:
    return DATASETS["folder"].label_table(songs)["track_id"].tolist()


OWN = ["jazz/1", "jazz/3", "jazz/5", "rock/0", "rock/2", "rock/4"]


def test_walk_does_not_follow_loops(songs: Path) -> None:
    (songs / "rock" / "all").symlink_to("../rock")
    (songs / "jazz" / "more").mkdir()
    (songs / "jazz" / "more" / "up").symlink_to(songs / "jazz", target_is_directory=True)
    assert tracks(songs) == OWN


def test_best_of_folder_of_links_and_copies(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = songs / "rock" / "A best of"  # which comes before the files it points to
    best.mkdir()
    (best / "a.wav").symlink_to("../0.wav")
    os.link(songs / "rock" / "2.wav", best / "b.wav")
    shutil.copy(songs / "rock" / "4.wav", songs / "rock" / "9.wav")
    found = tracks(songs)
    assert len(found) == 6 and "rock/0" in found
    assert "songs: 3 links to or copies of other files left out, such as" in capsys.readouterr().out


@pytest.mark.parametrize("reach", [shutil.copy, os.link, os.symlink])
def test_file_in_two_classes_names_both_places(songs: Path, reach) -> None:
    reach(songs / "rock" / "0.wav", songs / "jazz" / "copy.wav")
    with pytest.raises(
        TableError, match=r"rock/0.wav .rock. and .*|jazz/copy.wav .jazz. and .* are the same file"
    ) as error:
        tracks(songs)
    assert "rock/0.wav (rock)" in str(error.value) and "jazz/copy.wav (jazz)" in str(error.value)


def test_empty_and_missing_files_are_not_copies_of_each_other(songs: Path) -> None:
    for name in ("rock/e.wav", "jazz/e.wav"):
        (songs / name).touch()
    (songs / "rock" / "gone.wav").symlink_to("nowhere.wav")
    (songs / "jazz" / "gone.wav").symlink_to("gone.wav")  # to itself
    assert len(tracks(songs)) == 10


def test_list_with_a_file_twice(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing = songs / "list.csv"
    listing.write_text("file,label\nrock/0.wav,r\n./rock/../rock/0.wav,r\njazz/1.wav,j\n")
    assert DATASETS["table"].label_table(listing)["track_id"].tolist() == ["rock/0", "jazz/1"]
    assert "1 links to or copies" in capsys.readouterr().out
    listing.write_text("file,label\nrock/0.wav,r\nrock/0.wav,j\n")
    with pytest.raises(TableError, match=r"rock/0.wav .r. and .*rock/0.wav .j. are the same file"):
        DATASETS["table"].label_table(listing)
    listing.write_text("file,tags\nrock/0.wav,r;x\nrock/0.wav,r\n")
    with pytest.raises(TableError, match=r"are the same file with different labels"):
        DATASETS["multi_table"].label_table(listing)


def test_keys_of_equal_size_and_other_content(songs: Path, tmp_path: Path) -> None:
    data = bytearray(os.urandom(20_000))
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(data)
    data[-1] ^= 1  # outside the block that is looked at first
    (tmp_path / "c").write_bytes(data)
    first, second, third = file_keys([str(tmp_path / name) for name in "abc"], contents=True)
    assert first == second != third
    assert len(set(file_keys([str(tmp_path / name) for name in "abc"]))) == 3


def test_leak_by_a_link_is_found_and_by_a_copy_where_a_table_is_made(
    songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (songs / "jazz" / "link.wav").symlink_to(songs / "rock" / "0.wav")
    shutil.copy(songs / "rock" / "2.wav", songs / "copy.wav")
    paths = [str(songs / name) for name in ("rock/0.wav", "jazz/link.wav", "rock/2.wav", "copy.wav")]
    table = pd.DataFrame({"track_id": list("abcd"), "file_path": paths, "split": ["train", "test"] * 2})
    assert describe_leaks(table) == [f"1 file is in two parts, such as {paths[0]} in train and test"]
    assert describe_leaks(table, contents=True) == [f"2 files are in two parts, such as {paths[0]} in train and test"]
    table = table.assign(genre="x", **{"class": 0})
    table.loc[3, "split"] = "validation"
    table.to_csv(songs / "labels.csv", index=False)
    write_metadata(songs / "labels.csv", songs / "clips.csv", songs / "tracks.csv")
    assert "leak: 2 files are in two parts" in capsys.readouterr().out


def test_sources_of_mixtures_are_split_and_ids_of_tracks_are_not() -> None:
    table = pd.DataFrame({"track_id": ["song; live", "song; studio"], "split": ["train", "test"]})
    assert describe_leaks(table.assign(sources=None)) == []
    mixed = pd.DataFrame({"track_id": ["m1", "m2"], "split": ["train", "test"], "sources": ["a;b", "b;c"]})
    assert describe_leaks(mixed) == ["1 source is in two parts, such as b in train and test"]
