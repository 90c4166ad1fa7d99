"""Checked sounds into a table: worked by hand."""

from pathlib import Path

import pandas as pd
import pytest

from scripts.common.errors import TableError
from scripts.tables.label_table import read_table
from scripts.tables.splits import choose_folds
from scripts.utils.merge import merge

TRACKS = """track_id,file_path,genre,class,artist_id,album_id,split,duration_s
1,a/1.wav,Rock,1,Ann,7,train,30.0
2,a/2.wav,Jazz,0,Ben,7,validation,30.0
3,a/3.wav,Pop,2,Cem,8,test,30.0
4,a/4.wav,Jazz,0,Dan,9,train,30.0
5,a/5.wav,Rock,1,,,train,30.0
"""
SOUNDS = """track_id,file_path,genre,class,artist_id,album_id,split,duration_s
x-new,b/new.wav,Pop,0,Eva,,,4.0
x-nobody,b/nobody.wav,Jazz,1,,,,4.0
x-1,b/copy of 1.wav,Jazz,1,Ann,,,30.0
4,b/4.wav,Pop,0,Dan,,,30.0
x-3,b/copy of 3.wav,Rock,2,Zoe,,,30.0
x-ben,b/ben.wav,Rock,2, BEN ,,,4.0
x-noise,b/noise.wav,Noise,3,Eva,,,4.0
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all files of the tables lie; those of the same number have the same content."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for line in [*TRACKS.splitlines()[1:], *SOUNDS.splitlines()[1:]]:
        path = Path(line.split(",")[1])
        path.write_text(f"sound {path.stem.removeprefix('copy of ')}")
    (tmp_path / "tracks.csv").write_text(TRACKS)
    (tmp_path / "sounds.csv").write_text(SOUNDS)
    return tmp_path


def test_genres_by_hand(folder, capsys):
    """New ones in train; 1 (by its content) and 4 (by its id) corrected; 3 is tested on, and so is Ben; no Noise."""
    merged = merge(folder / "tracks.csv", folder / "sounds.csv", folder / "merged.csv")
    rows = read_table(folder / "merged.csv", ["genre", "class"])[["track_id", "file_path", "genre", "class", "split"]]
    assert rows.to_numpy().tolist() == [
        ["1", "a/1.wav", "Jazz", 0, "train"],
        ["2", "a/2.wav", "Jazz", 0, "validation"],
        ["3", "a/3.wav", "Pop", 2, "test"],
        ["4", "a/4.wav", "Pop", 2, "train"],
        ["5", "a/5.wav", "Rock", 1, "train"],
        ["x-new", "b/new.wav", "Pop", 2, "train"],
        ["x-nobody", "b/nobody.wav", "Jazz", 0, "train"],
    ]
    assert merged["artist_id"].fillna("").tolist() == ["Ann", "Ben", "Cem", "Dan", "", "Eva", ""]
    output = capsys.readouterr().out
    assert "1 sounds left out, since the table lacks their genre: Noise" in output
    assert (
        "2 new training tracks, 2 corrected; left out: 1 that are validation or test tracks, 1 by an artist" in output
    )


def test_again_changes_nothing_and_a_table_with_clips_gets_clips(folder):
    clips = pd.concat([pd.read_csv(folder / "tracks.csv").assign(clip=number) for number in (1, 2, 3)])
    clips.sort_values(["track_id", "clip"]).to_csv(folder / "clips.csv", index=False)
    once = merge(folder / "clips.csv", folder / "sounds.csv", folder / "merged.csv")
    assert once.groupby("track_id")["clip"].agg(list).map(tuple).unique().tolist() == [(1, 2, 3)]
    assert once.loc[once["track_id"] == "1", "genre"].tolist() == ["Jazz"] * 3
    before = (folder / "merged.csv").read_bytes()
    merge(folder / "merged.csv", folder / "sounds.csv", folder / "merged.csv")
    assert (folder / "merged.csv").read_bytes() == before


def test_a_table_that_counts_clips_goes_on_counting(folder):
    read_table(folder / "tracks.csv", ["genre"]).assign(clips=10).to_csv(folder / "tracks.csv", index=False)
    assert merge(folder / "tracks.csv", folder / "sounds.csv", folder / "merged.csv")["clips"].tolist() == [10] * 7


def test_labels_by_hand(folder, capsys):
    """Complete labels: what a sound does not have is absent, where the table knows of absent labels."""
    (folder / "tracks.csv").write_text(
        "track_id,file_path,labels,absent,artist_id,split\n1,a/1.wav,bell,drum,Ann,train\n2,a/2.wav,drum,-,Ben,test\n"
        "3,a/3.wav,bell;flute,-,Cem,validation\n"
    )
    (folder / "sounds.csv").write_text(
        "track_id,file_path,labels,artist_id\nx-1,b/copy of 1.wav,flute,Ann\nx-new,b/new.wav,bell;rain,Eva\n"
        "x-none,b/nobody.wav,-,\n"
    )
    merged = merge(folder / "tracks.csv", folder / "sounds.csv", folder / "tracks.csv")
    assert merged[["track_id", "labels", "absent", "split"]].to_numpy().tolist() == [
        ["1", "flute", "bell;drum", "train"],
        ["2", "drum", "-", "test"],
        ["3", "bell;flute", "-", "validation"],
        ["x-new", "bell", "drum;flute", "train"],
        ["x-none", "-", "bell;drum;flute", "train"],
    ]
    assert "labels taken off, since the table lacks them: rain" in capsys.readouterr().out


def test_new_tracks_are_in_no_official_fold(folder, capsys):
    tracks = read_table(folder / "tracks.csv", ["genre"]).assign(fold=list("12312"))
    tracks.to_csv(folder / "tracks.csv", index=False)
    merged = merge(folder / "tracks.csv", folder / "sounds.csv", folder / "merged.csv")
    assert "2 new training tracks" in (output := capsys.readouterr().out)
    assert "in none of the official folds: to cross-validate, go by artists or tracks (--by" in output
    with pytest.raises(TableError, match=r"track x-new has no fold; .*--by artist or track"):
        choose_folds(merged)


def test_what_does_not_fit(folder):
    (folder / "labels.csv").write_text("track_id,file_path,labels\nx,b/new.wav,Rock;Pop\n")
    with pytest.raises(TableError, match="has labels, but the table to merge it with has genre"):
        merge(folder / "tracks.csv", folder / "labels.csv", folder / "merged.csv")
    (folder / "tracks.csv").write_text(TRACKS.replace("5,a/5.wav,Rock,1", "5,a/5.wav,Pop,2"))
    with pytest.raises(TableError, match="no track of Rock would be left"):
        merge(folder / "tracks.csv", folder / "sounds.csv", folder / "merged.csv")
    (folder / "tracks.csv").write_text(TRACKS.replace("validation", ""))
    with pytest.raises(TableError, match="split"):
        merge(folder / "tracks.csv", folder / "sounds.csv", folder / "merged.csv")
    assert not (folder / "merged.csv").exists()
