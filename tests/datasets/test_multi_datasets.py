"""Datasets of several labels a track: hand-made trees, splits that keep songs and artists whole, wrong input."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.common.errors import ConfigError, TableError
from scripts.datasets import DATASETS, irmas, openmic
from scripts.tables.label_matrix import label_matrix, label_names

MULTI = pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if dataset.task == "multi_label"])


@MULTI
def test_absent_labels_are_listed_where_some_are_unknown(name: str, tmp_path: Path) -> None:
    DATASETS[name].make_tiny(tmp_path)
    found = DATASETS[name].label_table(tmp_path)
    matrix = label_matrix(found, label_names(found))
    assert np.isnan(matrix).any() == ("absent" in found) == (name in ("openmic", "multi_table"))


# --- irmas --------------------------------------------------------------------------------------------------

SONGS = {
    "Part1/01 - One-1": "gel\t\nvoi\t\n", "Part1/01 - One-2": "gel\t\n", "Part1/Two pt. 2-7": "voi\r\n\r\n",
    "IRTestingData-Part2/01 - One-3": "voi \t", "Part3/Three-10": "gel\t\ngel\t\nvoi", "Part3/Fo-ur-1": "gac\n",
    "Part3/Five-1": "gac\t\npia\t\n", "Part3/Six-1": "pia\t\nvoi\t\ngel\t\n",
}  # fmt: skip


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_songs(root: Path, songs: dict[str, str]) -> None:
    for name, text in songs.items():
        part = "IRMAS-TestingData-Part1/" if "Part1" in name else "IRMAS-TestingData-Part2/"
        write(root / f"{part}{name}.wav")
        write(root / f"{part}{name}.txt", text)


def write_recordings(root: Path, codes: list[str], recordings: int) -> None:
    for code, number, excerpt in itertools.product(codes, range(recordings), (1, 2, 3)):
        write(root / f"IRMAS-TrainingData/{code}/[{code}][cla]{number:04d}__{excerpt}.wav")


def irmas_table(root: Path, part: str = "all") -> pd.DataFrame:
    return DATASETS["irmas"].label_table(root, part=part).set_index("track_id")


@pytest.mark.parametrize(
    ("name", "label", "recording"),
    [
        ("cel/[cel][cla]0001__2", "cello", "train/cel/0001"),  # here cla is the genre
        ("cla/[cla][pop_roc]0001__1", "clarinet", "train/cla/0001"),
        ("cla/[cla][cla]0189__2", "clarinet", "train/cla/0189"),
        ("gac/008__[gac][nod][cou_fol]0058__1", "acoustic guitar", "train/gac/0058"),
        ("voi/071__[voi][dru][pop_roc]0754__3", "voice", "train/voi/0754"),
        ("org/1234__[org][---][lat_sou]12__1", "organ", "train/org/12"),
    ],
)
def test_names_of_training_files(tmp_path: Path, name: str, label: str, recording: str) -> None:
    write(tmp_path / f"IRMAS-TrainingData/{name}.wav")
    write(tmp_path / "IRMAS-TrainingData/vio/[vio][cla]0001__1.wav")
    row = irmas_table(tmp_path, "train").loc[name]
    assert (row["labels"], row["album_id"]) == (label, recording)
    assert row["file_path"] == f"{tmp_path}/IRMAS-TrainingData/{name}.wav"
    assert row["genre"] == name.split("[")[-1].split("]")[0]


def test_labels_and_songs_of_test_files(tmp_path: Path) -> None:
    write_songs(tmp_path, SONGS)
    write(tmp_path / "IRMAS-TestingData-Part1/Part1/._Two pt. 2-7.wav")
    found = irmas_table(tmp_path, "test")
    assert found["labels"].to_dict() == {
        "Part1/01 - One-1": "electric guitar;voice",
        "Part1/01 - One-2": "electric guitar",
        "Part1/Two pt. 2-7": "voice",
        "IRTestingData-Part2/01 - One-3": "voice",
        "Part3/Three-10": "electric guitar;voice",
        "Part3/Fo-ur-1": "acoustic guitar",
        "Part3/Five-1": "acoustic guitar;piano",
        "Part3/Six-1": "electric guitar;piano;voice",
    }
    songs = found["album_id"]
    assert songs["Part1/01 - One-2"] == songs["IRTestingData-Part2/01 - One-3"] == "test/01 - One"
    assert songs["Part3/Fo-ur-1"] == "test/Fo-ur" and songs["Part1/Two pt. 2-7"] == "test/Two pt. 2"
    assert found["artist_id"].isna().all()


def check_cut(found: pd.DataFrame, first: str, second: str) -> None:
    """No recording in both parts, and every label in each."""
    assert set(found["split"]) == {first, second}
    assert found.groupby("album_id")["split"].nunique().eq(1).all()
    matrix = label_matrix(found, label_names(found))
    assert all(matrix[found["split"] == part].any(axis=0).all() for part in (first, second))


def test_test_songs_are_cut_in_validation_and_test(tmp_path: Path) -> None:
    pairs = list(itertools.combinations(["cel", "cla", "flu", "voi"], 2)) * 3
    write_songs(tmp_path, {f"Part1/{n}-{k}": "\t\n".join(pairs[n]) for n in range(18) for k in (1, 2)})
    write_recordings(tmp_path, ["cel", "voi"], 2)
    everything, test = irmas_table(tmp_path), irmas_table(tmp_path, "test")
    check_cut(test, "validation", "test")
    assert test["split"].value_counts().between(14, 22).all()
    training = everything["album_id"].str.startswith("train/")
    assert (everything["split"] == "train").equals(training) and training.sum() == 12
    pd.testing.assert_frame_equal(everything[~training].drop(columns="genre"), test.drop(columns="genre"))


def test_training_recordings_are_held_out_where_there_is_no_test(tmp_path: Path) -> None:
    write_recordings(tmp_path / "here", ["cel", "cla", "voi"], 20)
    found = irmas_table(tmp_path / "here", "train")
    check_cut(found, "train", "validation")
    assert found.groupby("labels")["split"].value_counts()[:, "validation"].tolist() == [9, 9, 9]  # 15 % of 60
    (tmp_path / "here").rename(tmp_path / "there")
    assert irmas_table(tmp_path / "there", "train")["split"].equals(found["split"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gel\t\n\nguitar\t\n", r"One-1.txt: line 3 has 'guitar', not one of cel, cla"),
        ("gel voi\n", "One-1.txt: line 1 has 'gel voi'"),
        ("GEL\n", "line 1 has 'GEL'"),
        ("\t\n\t\n", "One-1.txt: holds no instrument"),
        ("", "One-1.txt: holds no instrument"),
    ],
)
def test_test_labels_that_are_wrong(tmp_path: Path, text: str, words: str) -> None:
    write_songs(tmp_path, SONGS | {"Part1/01 - One-1": text})
    with pytest.raises(TableError, match=words):
        irmas_table(tmp_path, "test")


def test_test_labels_that_are_missing(tmp_path: Path) -> None:
    write_songs(tmp_path, SONGS)
    (tmp_path / "IRMAS-TestingData-Part1/Part1/01 - One-2.txt").unlink()
    with pytest.raises(TableError, match="One-2.txt: no such file"):
        irmas_table(tmp_path, "test")


@pytest.mark.parametrize(
    "name",
    ["cla/[cel][cla]0001__1", "cel/[cla][cel]0001__1", "cel/[cel]0001__1", "cel/[cel][cla]0001", "dru/[dru][cla]1__1"],
)
def test_training_file_under_another_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / f"IRMAS-TrainingData/{name}.wav")
    with pytest.raises(TableError, match="not a name such as") as caught:
        irmas_table(tmp_path, "train")
    assert str(path) in str(caught.value)


def test_part_of_irmas_that_is_not_there(tmp_path: Path) -> None:
    write_songs(tmp_path, SONGS)
    with pytest.raises(TableError, match="no wav files in IRMAS-TrainingData.*choose a part or another --root"):
        irmas_table(tmp_path)
    with pytest.raises(ConfigError, match="unknown part of irmas 'tets'; did you mean 'test'"):
        irmas_table(tmp_path, "tets")


def test_labels_of_irmas_in_the_published_order() -> None:
    assert list(irmas.INSTRUMENTS) == ["cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi"]
    assert irmas.LABELS[:4] == ("cello", "clarinet", "flute", "acoustic guitar") and irmas.LABELS[-1] == "voice"


# --- openmic ------------------------------------------------------------------------------------------------

JUDGED = [("000046_1", "clarinet", 0.171), ("000046_1", "flute", 0.5), ("000046_1", "voice", 1), ("001_2", "bass", 0.6)]


def write_openmic(root: Path, answers: list[tuple], artists: dict[str, str], train: list[str], test: list[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    columns = ["sample_key", "instrument", "relevance"]
    pd.DataFrame(answers, columns=columns).assign(num_responses=3).to_csv(root / openmic.ANSWERS, index=False)
    ids = pd.DataFrame({"album_id": 7.0, "artist_id": artists.values(), "sample_key": artists.keys()})
    ids.to_csv(root / openmic.METADATA, index=False)
    for part, keys in {"train": train, "test": test}.items():
        write(root / f"partitions/split01_{part}.csv", "\n".join(keys))
    return root


def openmic_table(root: Path, **options: str) -> pd.DataFrame:
    return DATASETS["openmic"].label_table(root, **options).set_index("track_id")


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    answers = [*JUDGED, ("002_2", "bass", 0.1), ("003_2", "bass", 0.7)]
    return write_openmic(
        tmp_path / "openmic-2018", answers, {"000046_1": "4"}, ["000046_1", "001_2", "009_9"], ["002_2"]
    )


def test_what_nobody_was_asked_about_is_unknown(judged: Path) -> None:
    found = openmic_table(judged)
    row = found.loc["000046_1"]
    assert (row["labels"], row["absent"]) == ("flute;voice", "clarinet")
    assert row["file_path"] == f"{judged}/audio/000/000046_1.ogg"
    assert (row["artist_id"], row["album_id"]) == ("4", "7")
    matrix = label_matrix(found, ["bass", "clarinet", "flute", "voice"])
    nan = np.nan
    expected = [[nan, 0, 1, 1], [1, nan, nan, nan], [0, nan, nan, nan], [1, nan, nan, nan]]
    np.testing.assert_array_equal(matrix, expected)


def test_excerpts_outside_the_official_split(judged: Path) -> None:
    found = openmic_table(judged.parent)  # found below the folder that it was unpacked in
    assert found.index.tolist() == ["000046_1", "001_2", "002_2", "003_2"]
    assert found["split"].fillna("none").tolist()[2:] == ["test", "none"]
    assert found["artist_id"].isna().tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("threshold", "labels", "absent"),
    [("0.8", "voice", "clarinet;flute"), ("0.1", "clarinet;flute;voice", "-"), ("1", "voice", "clarinet;flute")],
)
def test_threshold(judged: Path, threshold: str, labels: str, absent: str) -> None:
    row = openmic_table(judged, threshold=threshold).loc["000046_1"]
    assert (row["labels"], row["absent"]) == (labels, absent)


@pytest.mark.parametrize("threshold", ["0", "1.1", "half", "nan", ""])
def test_threshold_that_is_none(judged: Path, threshold: str) -> None:
    with pytest.raises(ConfigError, match=f"threshold '{threshold}'; give a relevance above 0 and at most 1"):
        openmic_table(judged, threshold=threshold)


def test_validation_takes_whole_artists_out_of_train(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = [f"{number:03d}_0" for number in range(300)]
    answers = [(key, name, rng.choice([0.0, 1.0])) for key in keys for name in rng.choice(openmic.LABELS[:4], 2, False)]
    artists = {key: str(number // 3) for number, key in enumerate(keys)}
    root = write_openmic(tmp_path, answers, artists, train=keys[:240], test=keys[240:])
    found = openmic_table(root)
    assert (found["split"] == "test").tolist() == [False] * 240 + [True] * 60
    assert found.groupby("artist_id")["split"].nunique().eq(1).all()
    validation = found[found["split"] == "validation"]
    assert len(validation) == pytest.approx(0.15 * 240, abs=6)
    matrix = label_matrix(validation, openmic.LABELS[:4])
    assert (matrix == 1).any(axis=0).all() and (matrix == 0).any(axis=0).all()
    assert openmic_table(root)["split"].equals(found["split"])


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (openmic.ANSWERS, "flute", "flut", "labels.csv: row 3 has 'flut' for instrument"),
        (openmic.ANSWERS, "0.171", "1.5", "labels.csv: row 2 has '1.5' for relevance, not a number from 0"),
        (openmic.ANSWERS, "0.171", "high", "row 2 has 'high' for relevance"),
        (openmic.ANSWERS, "0.171", "", "row 2 has no relevance"),
        (openmic.ANSWERS, "flute", "clarinet", "row 3 has '000046_1' for sample_key, not once for each"),
        (openmic.ANSWERS, "relevance", "score", "lacks relevance"),
        (openmic.METADATA, "sample_key", "key", "metadata.csv: lacks sample_key"),
        ("partitions/split01_train.csv", "000046_1", "", "at least 2 songs, recordings or artists"),
    ],
)
def test_openmic_files_that_are_wrong(judged: Path, file: str, old: str, new: str, words: str) -> None:
    path = judged / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(TableError, match=words):
        openmic_table(judged)


@pytest.mark.parametrize("file", [openmic.ANSWERS, openmic.METADATA, "partitions/split01_test.csv"])
def test_openmic_file_that_is_missing(judged: Path, file: str) -> None:
    (judged / file).unlink()
    with pytest.raises(TableError, match=f"has no {file}; unpack openmic-2018 there or give another --root"):
        openmic_table(judged)


# --- multi_table --------------------------------------------------------------------------------------------

FLAGS = {"file": ["x/1.wav", "x/2.wav", "/far/3.wav"], "bass": [1, 0, 0], "voice": [1, 1, 0], "mood": ["a", "b", "1"]}


def read(folder: Path, rows: dict[str, list], **options: str) -> pd.DataFrame:
    pd.DataFrame(rows).to_csv(folder / "own.csv", index=False)
    return DATASETS["multi_table"].label_table(folder, **options)


def test_columns_of_flags(tmp_path: Path) -> None:
    found = read(tmp_path, FLAGS)
    assert found["labels"].tolist() == ["bass;voice", "voice", "-"] and "absent" not in found
    assert found["track_id"].tolist() == ["x/1", "x/2", "/far/3"]
    assert found["file_path"].tolist() == [f"{tmp_path}/x/1.wav", f"{tmp_path}/x/2.wav", "/far/3.wav"]
    assert found["split"].isna().all()
    assert read(tmp_path, FLAGS, label_columns="voice")["labels"].tolist() == ["voice", "voice", "-"]


@given(data=st.data(), tracks=st.integers(1, 6))
def test_every_matrix_of_flags_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, tracks: int
) -> None:
    cells = st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=tracks, max_size=tracks)
    columns = {name: data.draw(cells) for name in ("b", "acoustic guitar", "c")}
    rows = {"file": [f"{n}.wav" for n in range(tracks)], "year": [str(1990 + n) for n in range(tracks)], **columns}
    found = read(tmp_path_factory.mktemp("flags"), rows, label_columns="b, acoustic guitar,c")
    np.testing.assert_array_equal(label_matrix(found, list(columns)), np.transpose(list(columns.values())))


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["voice; bass", "-", "bass;"], ["bass;voice", "-", "bass"]),
        (["voice,bass", "bass", "-"], ["bass;voice", "bass", "-"]),
        (["Violin, fiddle;Voice", "Violin, fiddle", "Voice"], ["Violin, fiddle;Voice", "Violin, fiddle", "Voice"]),
    ],
)
def test_column_of_names(tmp_path: Path, cells: list[str], labels: list[str]) -> None:
    found = read(tmp_path, {"file": FLAGS["file"], "Labels": cells, "loud": [0, 1, 1]})
    assert found["labels"].tolist() == labels and "absent" not in found
    flags = read(tmp_path, {"file": FLAGS["file"], "Labels": cells, "loud": [0, 1, 1]}, labels_column="")
    assert flags["labels"].tolist() == ["-", "loud", "loud"]


def test_label_table_is_read_back(tmp_path: Path) -> None:
    rows = {
        "file_path": ["1.wav", "2.wav"],
        "labels": ["bass", "-"],
        "absent": ["voice", "-"],
        "split": ["train", "test"],
    }
    found = read(tmp_path, rows)
    assert found[["labels", "absent", "split"]].to_dict("list") == {name: rows[name] for name in list(rows)[1:]}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"voice": [1, 2, 0]}, {}, "own.csv: row 3 has '2' for voice; a label is 1, 0 or empty"),
        ({"voice": [1, 0, "yes"]}, {"label_columns": "bass,voice"}, "own.csv: row 4 has 'yes' for voice"),
        ({}, {"label_columns": "bass,mood"}, "row 2 has 'a' for mood"),
        ({"bass": None, "voice": None}, {}, "none of 0 and 1; it has file, mood; give --option labels_column=NAME"),
        ({"labels": ["a", None, "b"]}, {}, "own.csv: row 3 has no labels; write names joined by ';', '-' for none"),
        ({"labels": ["a", "b", " ; "]}, {}, "own.csv: row 4 has no labels"),
        ({"labels": ["a", "b", "c"], "absent": ["b", "a;b", "-"]}, {}, "row 3 has 'b' in labels and in absent"),
        ({"labels": ["a", "b", "c"], "absent": ["b", None, "-"]}, {}, "row 3 has no absent"),
        ({"a;b": [0, 1, 1]}, {}, "own.csv: the label 'a;b' cannot stand among several"),
        ({"file": None}, {}, "no column looks like the path"),
        ({"file": ["1.wav", "1.wav", "2.wav"]}, {}, "1.wav .bass;voice. and .*1.wav .voice. are the same"),
        ({"split": ["train", "fold 2", "test"]}, {}, "split 'fold 2' is not one of train, validation, test"),
    ],
)
def test_listing_that_is_wrong(tmp_path: Path, change: dict, options: dict[str, str], words: str) -> None:
    rows = {name: values for name, values in (FLAGS | change).items() if values is not None}
    with pytest.raises(TableError, match=words):
        read(tmp_path, rows, **options)


def test_columns_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown column 'voce'; did you mean 'voice'"):
        read(tmp_path, FLAGS, label_columns="bass,voce")
    with pytest.raises(ConfigError, match="give one of them"):
        read(tmp_path, FLAGS, label_columns="bass", labels_column="mood")


def test_single_label_reader_points_to_this_one(tmp_path: Path) -> None:
    pd.DataFrame(FLAGS).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(TableError, match="--dataset multi_table reads several labels"):
        DATASETS["table"].label_table(tmp_path)


# --- FMA with all genres ------------------------------------------------------------------------------------

# in the layout of the real files: the names in two rows and the index's in a third, ids as a list in a cell
TRACKS = """\
,album,album,artist,artist,set,set,track,track,track,track,track
,id,title,id,name,split,subset,genre_top,genres,genres_all,number,title
track_id,,,,,,,,,,,
2,1,"AWOL, A Way",1,AWOL,training,small,Hip-Hop,[21],[21],3,Food
20,4,Niris,4,Nicky Cook,training,large,,"[76, 103]","[17, 10, 76, 103]",3,Spiritual Level
182,33,Thief,6,Abominog,validation,large,,"[25, 12]","[25, 12]",1,One
190,33,Thief,6,Abominog,test,full,,[],[],2,Two
256,55,Mask,7,Arc,test,full,Rock,"[109, 31]","[12, 25, 109, 31]",2,Three
"""
GENRES = """\
genre_id,#tracks,parent,title,top_level
10,13845,0,Pop,10
12,32923,0,Rock,12
17,12706,0,Folk,17
21,8389,0,Hip-Hop,21
25,9261,12,Punk,12
31,1498,12,Metal,12
76,2252,10,Experimental Pop,10
103,5723,17,Singer-Songwriter,17
109,1400,25,Hardcore,12
"""


@pytest.fixture
def fma_metadata(tmp_path: Path) -> Path:
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata" / "tracks.csv").write_text(TRACKS)
    (tmp_path / "fma_metadata" / "genres.csv").write_text(GENRES)
    return tmp_path


def test_fma_genres_have_all_above_them(fma_metadata: Path) -> None:
    table = DATASETS["fma_genres"].label_table(fma_metadata, subset="full").set_index("track_id")
    titles = pd.read_csv(io.StringIO(GENRES), index_col=0)["title"]
    published = pd.read_csv(io.StringIO(TRACKS), index_col=0, header=[0, 1])[("track", "genres_all")]
    names = {str(track): {titles[genre] for genre in json.loads(cell)} for track, cell in published.items()}
    assert list(table.index) == ["2", "20", "182", "256"]  # 190 has none
    assert {track: set(cell.split(";")) for track, cell in table["labels"].items()} == {
        track: found for track, found in names.items() if found
    }
    assert table["split"].tolist() == ["train", "train", "validation", "test"]
    assert table.loc["20", ["artist_id", "album_id"]].tolist() == ["4", "4"]
    assert table.loc["20", "file_path"] == f"{fma_metadata}/fma_full/000/000020.mp3"


def test_fma_genres_by_level_and_subset(fma_metadata: Path) -> None:
    read = DATASETS["fma_genres"].label_table
    assert read(fma_metadata, level="own")["labels"].tolist() == [
        "Hip-Hop", "Experimental Pop;Singer-Songwriter", "Punk;Rock",
    ]  # fmt: skip
    assert read(fma_metadata, level="top")["labels"].tolist() == ["Hip-Hop", "Folk;Pop", "Rock"]
    assert read(fma_metadata, subset="small")["track_id"].tolist() == ["2"]
    with pytest.raises(ConfigError, match="unknown level 'tops'; did you mean 'top'"):
        read(fma_metadata, level="tops")


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("tracks.csv", "[21],[21]", "[22],[21]", r"track 2 has the genres '\[22\]'"),
        ("tracks.csv", "[21],[21]", "Hip-Hop,[21]", "track 2 has the genres 'Hip-Hop'"),
        ("tracks.csv", "genre_top,genres,", "genre_top,kinds,", "lacks track genres"),
        ("genres.csv", "25,9261,12,", "25,9261,11,", "genres.csv: not FMA's"),
        ("genres.csv", "12,32923,0,", "12,32923,25,", "genres.csv: not FMA's"),
        ("genres.csv", "parent", "above", "genres.csv: not FMA's"),
    ],
)
def test_fma_genres_that_are_wrong(fma_metadata: Path, file: str, old: str, new: str, words: str) -> None:
    path = fma_metadata / "fma_metadata" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(TableError, match=words):
        DATASETS["fma_genres"].label_table(fma_metadata)
