"""Label tables and metadata files: checks on reading, and FMA's metadata to both files."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from scripts.common import storage
from scripts.common.errors import TableError
from scripts.config.experiments import get_experiment
from scripts.loading.experiment_data import read_split
from scripts.tables.label_table import LABEL_COLUMNS, NEEDED_TO_TRAIN, class_names, describe_similar, read_table
from scripts.tables.splits import fingerprint
from scripts.utils import labeled_tracks, metadata
from tests.conftest import tone_samples

HEADER = "track_id,file_path,genre,class,artist_id,album_id,split,duration_s"
ROWS = ["007,a/7.mp3,Rock,0,12,3,train,30.0", "8,a/8.mp3,Folk,1,,,test,"]


def write(folder: Path, *lines: str) -> Path:
    path = folder / "labeled_tracks.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- reading ------------------------------------------------------------------------------------------------


def test_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, HEADER, *ROWS), NEEDED_TO_TRAIN)
    assert table["track_id"].tolist() == ["007", "8"]
    assert table["artist_id"].iloc[0] == "12"
    assert table["class"].tolist() == [0, 1]


def test_what_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="labels.csv: no such table; make it first"):
        read_table(tmp_path / "labels.csv", [])
    with pytest.raises(TableError, match="no such table"):
        read_table(tmp_path, [])
    with pytest.raises(TableError, match="no rows"):
        read_table(write(tmp_path, HEADER), NEEDED_TO_TRAIN)


@pytest.mark.parametrize("at_once", [1, 2, 3, 4])
def test_a_table_is_read_in_blocks_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(storage, "ROWS_AT_ONCE", at_once)
    lines = "track_id,genre,,artist_id,", "1, Rock ,x,Ann,y", "2", "3,Rock,,,", " 4,Folk,x,Ann"
    table = storage.read_csv(write(tmp_path, *lines))
    assert table.fillna("").to_numpy().tolist() == [
        ["1", "Rock", "Ann"], ["2", "", ""], ["3", "Rock", ""], ["4", "Folk", "Ann"]
    ]  # fmt: skip
    with pytest.raises(TableError, match="row 6 has 6 fields, the header 5"):
        storage.read_csv(write(tmp_path, *lines, "5,Rock,x,Ann,y,z"))
    with pytest.raises(TableError, match="not a CSV table .row 6"):
        storage.read_csv(write(tmp_path, *lines, '5,"Rock'))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "track_id,file_path,genres", "1,a.mp3,Rock")
    with pytest.raises(TableError, match="lacks the column genre, class; it has track_id, file_path, genres"):
        read_table(path, ["track_id", "file_path", "genre", "class"])


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (",a.mp3,Rock,0,1,1,train,30", "track_id"),
        ("9,,Rock,0,1,1,train,30", "file_path"),
        ("9,a.mp3,,0,1,1,train,30", "genre"),
        ("9,a.mp3,Rock,,1,1,train,30", "class"),
        ("9,a.mp3,Rock,0,1,1,,30", "split"),
    ],
)
def test_missing_value_is_named_with_its_line(tmp_path: Path, row: str, column: str) -> None:
    path = write(tmp_path, HEADER, *ROWS, row)
    with pytest.raises(TableError, match=f"row 4 has no {column}"):
        read_table(path, LABEL_COLUMNS)
    others = [name for name in LABEL_COLUMNS if name != column]
    assert len(read_table(path, others)) == 3


def test_wrong_split_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, ROWS[0].replace("train", "training"))
    with pytest.raises(TableError, match="split 'training' is not one of train, validation, test"):
        read_table(path, NEEDED_TO_TRAIN)
    assert len(read_table(path, ["track_id", "genre", "class"])) == 1


@pytest.mark.parametrize("value", ["one", "0.5"])
def test_class_must_be_a_whole_number(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, HEADER, ROWS[0], f"9,a.mp3,Pop,{value},1,1,train,30")
    with pytest.raises(TableError):
        class_names(read_table(path, NEEDED_TO_TRAIN))


def table_of(*pairs: tuple[int, str]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["class", "genre"])


def test_class_names_are_in_order_of_their_numbers() -> None:
    assert class_names(table_of((2, "Pop"), (0, "Rock"), (1, "Folk"), (0, "Rock"))) == ["Rock", "Folk", "Pop"]


@pytest.mark.parametrize(
    "pairs",
    [
        [(0, "Rock"), (2, "Folk")],
        [(1, "Rock"), (2, "Folk")],
        [(0, "Rock"), (0, "Folk")],
        [(0, "Rock"), (1, "Rock")],
        [(-1, "Rock"), (0, "Folk")],
    ],
    ids=["gap", "not from 0", "two genres", "two numbers", "negative"],
)
def test_class_numbers_must_be_one_for_each_genre(pairs: list[tuple[int, str]]) -> None:
    with pytest.raises(TableError, match="Rock"):
        class_names(table_of(*pairs))


@pytest.mark.parametrize("names", [["rock", "Rock"], ["caf\u00e9", "cafe\u0301"], ["hip  hop", "hip hop"]])
def test_labels_that_look_alike_are_named(names: list[str]) -> None:
    (line,) = describe_similar([*names, "jazz", "jazz"])
    assert all(repr(name) in line for name in names)
    assert describe_similar(["rock", "jazz"]) == []


def test_label_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "labeled_tracks.csv"
    path.write_bytes(b"track_id,genre\nx,rock\n\xe9,caf\xe9\n")
    with pytest.raises(TableError, match="row 3 has a genre that is not UTF-8"):
        read_table(path, ["track_id"])


def test_classes_of_a_spreadsheet_are_whole_numbers(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "track_id,genre,class", "1,Rock,0.0", "2,Folk,1.0"), ["class"])
    assert table["class"].dtype == "int64"


# --- FMA's metadata -----------------------------------------------------------------------------------------

FMA = """\
,album,artist,set,set,track,track
,id,id,split,subset,genre_top,title
track_id,,,,,,
140,20,7,training,small,Pop,"A, B"
5,10,3,validation,small,Hip-Hop,C
26,,4,test,medium,Rock,D
30,10,3,training,small,Folk,E
31,10,-1,training,large,,F
134,10,3,test,small,Hip-Hop,G
"""


@pytest.fixture
def fma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder holds FMA's `tracks.csv` and two of its audio files."""
    monkeypatch.chdir(tmp_path)
    Path("data/fma_metadata").mkdir(parents=True)
    Path("data/fma_metadata/tracks.csv").write_text(FMA)
    Path("data/fma_small/000").mkdir(parents=True)
    for name in ("000005", "000030"):
        soundfile.write(f"data/fma_small/000/{name}.mp3", tone_samples(1.0, 44_100), 44_100)
    return tmp_path


def test_label_table_of_fma_small(fma: Path) -> None:
    labeled_tracks.main([])
    table = read_table("data/labeled_tracks.csv", LABEL_COLUMNS)
    assert list(table) == LABEL_COLUMNS
    assert table["track_id"].tolist() == ["5", "30", "134", "140"]
    assert table["genre"].tolist() == ["Hip-Hop", "Folk", "Hip-Hop", "Pop"]
    assert table["class"].tolist() == [0, 1, 0, 2]
    assert table["split"].tolist() == ["validation", "train", "test", "train"]
    assert table["artist_id"].tolist() == ["3", "3", "3", "7"]
    assert table["file_path"].iloc[2] == "data/fma_small/000/000134.mp3"
    assert table["duration_s"].isna().tolist() == [False, False, True, True]
    assert table["duration_s"].iloc[0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        ("", "not FMA's"),
        ("track_id,genre\n1,Rock\n", "lacks"),
        (FMA.replace("small", "?"), "'small'"),
    ],
    ids=["missing", "empty", "another table", "without the subset"],
)
def test_wrong_metadata_is_one_line(fma: Path, refusal: Callable[..., str], content: str | None, reason: str) -> None:
    path = Path("data/fma_metadata/tracks.csv")
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert reason in refusal(labeled_tracks.main, [])
    assert not Path("data/labeled_tracks.csv").exists()


def test_audio_folder_without_audio(fma: Path, refusal: Callable[..., str]) -> None:
    Path("data/fma_small").rename("data/fma_medium")
    line = refusal(labeled_tracks.main, [])
    assert "data: holds none of the 4 audio files, such as data/fma_small/000/000005.mp3" in line


# --- metadata -----------------------------------------------------------------------------------------------


def test_metadata_has_ten_rows_a_track_in_order(fma: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labeled_tracks.main([])
    metadata.main([])
    tracks = read_table("data/metadata_30_secs.csv", LABEL_COLUMNS)
    clips = read_table("data/metadata_ensemble.csv", [*LABEL_COLUMNS, "clip"])
    assert sorted(tracks["track_id"], key=int) == ["5", "30", "134", "140"]
    assert clips["clip"].tolist() == list(range(1, 11)) * 4
    assert clips["track_id"].tolist() == [track for track in tracks["track_id"] for _ in range(10)]
    assert clips.drop(columns="clip").drop_duplicates(ignore_index=True).equals(tracks)
    official = dict(zip(tracks["track_id"], tracks["split"], strict=True))
    assert official == {"5": "validation", "30": "train", "134": "test", "140": "train"}
    assert f"official {fingerprint(clips)}: 2 train, 1 validation, 1 test" in capsys.readouterr().out


def test_many_tracks_have_a_row_each(fma: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """An experiment has the same tracks of either form; rows per clip are written where they are asked for."""
    experiment = get_experiment("fma_cnn_3s")
    labeled_tracks.main([])
    metadata.main([])
    _, of_clips, classes = read_split(experiment)
    monkeypatch.setattr(metadata, "MANY_TRACKS", 3)
    metadata.main([])
    assert "metadata_ensemble.csv: a row a track, since they are over 3; --clips 10" in capsys.readouterr().out
    tracks, rows = (read_table(f"data/metadata_{name}.csv", LABEL_COLUMNS) for name in ("30_secs", "ensemble"))
    assert rows["clips"].tolist() == [10] * 4 and rows.drop(columns="clips").equals(tracks)
    _, of_tracks, also = read_split(experiment)
    assert also == classes
    assert of_tracks.drop(columns="clips").equals(of_clips.drop(columns="clip").reset_index(drop=True))
    metadata.main(["--clips", "2"])
    assert read_table("data/metadata_ensemble.csv", ["clip"])["clip"].tolist() == [1, 2] * 4


def many_tracks(folder: Path, artists: bool = True) -> Path:
    rows = [f"{n},{n}.mp3,{'AB'[n % 2]},{n % 2},{n // 2 if artists else ''},0,,30" for n in range(60)]
    return write(folder, HEADER, *rows)


@pytest.mark.parametrize("split", ["random80", "artist"])
def test_order_of_rows_follows_the_seed(tmp_path: Path, split: str) -> None:
    source, found = many_tracks(tmp_path), []
    for seed in (3, 3, 4):
        table = metadata.write_metadata(source, tmp_path / "clips.csv", tmp_path / "tracks.csv", split, seed)
        found.append((tmp_path / "tracks.csv").read_bytes())
        assert sorted(table["track_id"], key=int) == [str(number) for number in range(60)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("artists", "name", "reason"),
    [(True, "artist", "artists are known"), (False, "random80", "neither an official split nor artists")],
)
def test_default_split_is_told_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], artists: bool, name: str, reason: str
) -> None:
    metadata.write_metadata(many_tracks(tmp_path, artists), tmp_path / "clips.csv", tmp_path / "tracks.csv")
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith(f"--split {name}, since ") and reason in first and second.startswith(f"split {name} ")


def test_folds_stay_text_from_label_table_to_metadata(tmp_path: Path) -> None:
    source = write(tmp_path, HEADER + ",fold", *(f"{n},{n}.mp3,A,0,,,,30,0{n % 3}" for n in range(9)))
    metadata.write_metadata(source, tmp_path / "clips.csv", tmp_path / "tracks.csv")
    for name in ("clips.csv", "tracks.csv"):
        table = read_table(tmp_path / name, ["track_id", "fold"])
        parts = table.groupby("fold")["split"].agg(set).to_dict()
        assert parts == {"00": {"test"}, "01": {"validation"}, "02": {"train"}}


def test_track_that_stands_twice(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="track 8 stands twice"):
        metadata.write_metadata(write(tmp_path, HEADER, *ROWS, ROWS[1]), tmp_path / "c.csv", tmp_path / "t.csv")
    assert not (tmp_path / "c.csv").exists()


def test_larger_subset_holds_the_smaller(fma: Path) -> None:
    Path("data/fma_small").rename("data/fma_large")
    labeled_tracks.main(["--option", "subset=large", "--output", "all.csv"])
    table = read_table("all.csv", LABEL_COLUMNS)
    assert table["track_id"].tolist() == ["5", "26", "30", "134", "140"]
    assert class_names(table) == ["Hip-Hop", "Rock", "Folk", "Pop"]
