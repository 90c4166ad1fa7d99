"""Datasets: the contract that every one keeps, and what is special to each."""

import csv
import dataclasses
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from scripts import datasets
from scripts.audio.build_cache import build_cache
from scripts.common.errors import ConfigError, TableError
from scripts.datasets import DATASETS, contract, fma, folder, get_dataset, gtzan, gtzan_features, table
from scripts.datasets.contract import COLUMNS, Dataset, finish_table
from scripts.datasets.gtzan_split import expand, fault_filtered
from scripts.datasets.tiny import SECONDS, write_tone
from scripts.tables.label_matrix import label_names
from scripts.tables.label_table import LABEL_COLUMNS, LABELS, PARTS, class_names, read_table
from scripts.utils import labeled_tracks, metadata
from scripts.utils.list_datasets import main as show
from tests.corpus import SPEC

EVERY = pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The tiny version of the test's dataset in the folder `own` of the current one."""
    monkeypatch.chdir(tmp_path)
    request.getfixturevalue("dataset").make_tiny(Path("own"))
    return Path("own")


# --- the contract -------------------------------------------------------------------------------------------


@EVERY
def test_facts_are_stated(dataset: Dataset) -> None:
    words = [dataset.title, dataset.citation, dataset.licence, dataset.url, dataset.size, dataset.root]
    assert all(words) and dataset.layout and all(dataset.layout)
    assert get_dataset(dataset.name) is dataset
    assert dataset.task in COLUMNS
    assert all(dataset.options.values()) and all(dataset.known_faults.values())
    assert len(set(dataset.labels)) == len(dataset.labels)


@EVERY
def test_label_table_keeps_the_contract(dataset: Dataset, tiny: Path) -> None:
    found = dataset.label_table(tiny)
    optional = {"fold", "absent", "genre"} - {*COLUMNS[dataset.task]}
    assert [name for name in found if name not in optional] == COLUMNS[dataset.task]
    assert found["track_id"].is_unique and found["track_id"].map(type).eq(str).all()
    if dataset.name != "coala":  # its patches are all that was published
        there = found["file_path"].map(lambda path: Path(path).is_file())
        assert (there | found["track_id"].isin(dataset.known_faults)).all()
        known = found[~found["track_id"].isin(dataset.known_faults)]
        seconds = np.nan if dataset.name == "gtzan_images" else SECONDS
        np.testing.assert_allclose(known["duration_s"], seconds, atol=0.2)  # mp3 pads
    assert not found["file_path"].str.startswith("/").any()
    names = class_names(found) if dataset.task == "single_label" else label_names(found)
    assert len(names) > 1 or dataset.name == "esc50_negatives"
    assert set(names) <= set(dataset.labels or names)
    assert found["split"].dropna().isin(PARTS).all()
    assert dataset.label_table(tiny.absolute())["track_id"].equals(found["track_id"])


@EVERY
def test_table_goes_through_metadata_and_cache(dataset: Dataset, tiny: Path, capsys: pytest.CaptureFixture) -> None:
    labeled_tracks.main(["--dataset", dataset.name, "--root", "own", "--output", "labeled_tracks.csv"])
    assert "labeled_tracks.csv: " in capsys.readouterr().out
    written = read_table("labeled_tracks.csv", ["track_id", "file_path", *LABELS[dataset.task]])
    tracks = metadata.write_metadata(Path("labeled_tracks.csv"), Path("clips.csv"), Path("tracks.csv"), clips=5)
    assert set(tracks["split"]) == set(PARTS)
    if dataset.name == "coala":
        return
    spec = dataclasses.replace(SPEC, kind="picture" if dataset.name == "gtzan_images" else "mel")
    cache = build_cache(tracks, "mels", spec, workers=1)
    left_out = cache.rows[cache.rows["status"] != "ok"]
    assert set(left_out.index) <= set(dataset.known_faults)
    assert len(cache.rows) == len(written)


@EVERY
def test_place_that_is_not_there(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=f"nowhere: no such file or folder.*scripts.datasets {dataset.name}"):
        dataset.label_table(tmp_path / "nowhere")


@EVERY
def test_folder_of_something_else(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here\n")
    with pytest.raises(TableError, match="--root"):
        dataset.label_table(tmp_path)


@EVERY
def test_option_that_it_does_not_have(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"unknown option of {dataset.name} 'nonsense'"):
        dataset.label_table(tmp_path, nonsense="1")


@EVERY
def test_shown_in_the_list_and_alone(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    show([])
    listed = capsys.readouterr().out
    assert f"{dataset.name}: {dataset.title}" in listed and dataset.url.split()[0] in listed
    show([dataset.name])
    words = capsys.readouterr().out.split()
    facts = [dataset.citation, dataset.licence, dataset.command, *dataset.layout]
    facts += [one.checksum for archives in dataset.archives.values() for one in archives]
    facts += [*dataset.known_faults.values(), *dataset.options.values()]
    assert set(" ".join(facts).split()) <= set(words)


def test_unknown_dataset_suggests_the_nearest(refusal: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match="did you mean 'gtzan'"):
        get_dataset("gtzn")
    assert "did you mean 'folder'" in refusal(labeled_tracks.main, ["--dataset", "folders"])
    assert "did you mean 'gtzan'" in refusal(show, ["gtzn"])


def test_multi_label_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    write_tone(tmp_path / "a.wav", 0)

    def reader(root: Path) -> pd.DataFrame:
        rows = {"track_id": ["a"], "file_path": [(root / "a.wav").as_posix()], "labels": ["flute;voice"]}
        return finish_table(pd.DataFrame(rows), root)

    dataset = Dataset("mix", "Mix", "-", "-", "-", "-", str(tmp_path), ("a.wav",), reader, Path.mkdir, "multi_label")
    monkeypatch.setitem(datasets.DATASETS, "mix", dataset)
    labeled_tracks.main(["--dataset", "mix", "--output", str(tmp_path / "labels.csv")])
    assert "1 tracks of 2 labels, 0 without a file" in capsys.readouterr().out
    (row,) = csv.DictReader((tmp_path / "labels.csv").read_text().splitlines())
    assert row["labels"] == "flute;voice" and row["duration_s"] == "1.5"


@pytest.mark.parametrize("few", [2, 200], ids=["in processes", "in this process"])
def test_durations_stay_with_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(contract, "FEW_FILES", few)
    seconds = [0.5, 2.0, 1.0, 3.0]
    paths = [tmp_path / f"{number}.wav" for number in range(4)]
    for path, length in zip(paths, seconds, strict=True):
        write_tone(path, 0, seconds=length)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    places = [tmp_path / "gone.wav", *paths, tmp_path / "broken.wav"]
    np.testing.assert_array_equal(contract.durations(list(map(str, places))), [np.nan, *seconds, np.nan])


# --- the command --------------------------------------------------------------------------------------------


def test_missing_files_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: Callable[..., str]
) -> None:
    table.make_tiny(tmp_path)
    output = ["--output", str(tmp_path / "out" / "labeled.csv")]
    (tmp_path / "audio" / "03.flac").unlink()
    labeled_tracks.main(["--dataset", "table", "--root", str(tmp_path), *output])
    assert "12 tracks of 2 genres, 1 without a file" in capsys.readouterr().out
    for path in (tmp_path / "audio").iterdir():
        path.unlink()
    line = refusal(labeled_tracks.main, ["--dataset", "table", "--root", str(tmp_path), *output])
    assert "holds none of the 12 audio files" in line and "00.flac" in line


def test_table_of_features_needs_no_audio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gtzan_features.make_tiny(tmp_path)
    for path in tmp_path.glob("genres_original/*/*"):
        path.unlink()
    labeled_tracks.main(["--dataset", "gtzan_features", "--root", str(tmp_path), "--output", str(tmp_path / "o.csv")])
    assert "30 tracks of 10 genres, 30 without a file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--option", "subset"], "'subset' has no value"),
        (["--dataset", "fma", "--option", "subst=small"], "did you mean 'subset'"),
        (["--option", "root=data"], "unknown option of fma 'root'; known: subset"),
    ],
)
def test_flags_that_do_not_fit(argv: list[str], words: str, refusal: Callable[..., str]) -> None:
    assert words in refusal(labeled_tracks.main, argv)


# --- fma ----------------------------------------------------------------------------------------------------


def test_fma_subset_reads_its_own_folder(tmp_path: Path) -> None:
    fma.make_tiny(tmp_path)
    small, medium = (DATASETS["fma"].label_table(tmp_path, subset=name) for name in ("small", "medium"))
    assert len(small) == 11 and len(medium) == 12
    assert small["file_path"].iloc[1] == f"{tmp_path}/fma_small/000/000015.mp3"
    assert medium["file_path"].iloc[1] == f"{tmp_path}/fma_medium/000/000015.mp3"
    assert class_names(small) == ["Hip-Hop", "Pop", "Folk"]  # first appearance, not the alphabet
    assert small["split"].tolist()[:9] == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    with pytest.raises(ConfigError, match="unknown subset 'smal'; did you mean 'small'"):
        DATASETS["fma"].label_table(tmp_path, subset="smal")


# --- gtzan --------------------------------------------------------------------------------------------------

# Tracks of each genre in train, validation and test, as counted in the published lists.
PUBLISHED = {
    "blues": (46, 23, 31), "classical": (48, 20, 31), "country": (45, 23, 30), "disco": (42, 22, 29),
    "hiphop": (47, 18, 27), "jazz": (43, 17, 27), "metal": (44, 20, 27), "pop": (41, 13, 30),
    "reggae": (43, 17, 26), "rock": (44, 24, 32),
}  # fmt: skip


def test_fault_filtered_split_has_the_published_sizes() -> None:
    parts = fault_filtered()
    assert Counter(parts.values()) == {"train": 443, "validation": 197, "test": 290}
    counts = Counter((track.split(".")[0], part) for track, part in parts.items())
    assert counts == {(genre, part): n for genre, row in PUBLISHED.items() for part, n in zip(PARTS, row, strict=True)}
    assert all(0 <= int(track.split(".")[1]) <= 99 for track in parts)
    published = {"blues.00029": "train", "jazz.00054": "train", "blues.00000": "validation", "blues.00012": "test"}
    assert published.items() <= parts.items()


@given(numbers=st.sets(st.integers(0, 99)))
def test_ranges_expand_to_their_numbers(numbers: set[int]) -> None:
    starts = [n for n in sorted(numbers) if n - 1 not in numbers]
    ends = [n for n in sorted(numbers) if n + 1 not in numbers]
    text = " ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in zip(starts, ends, strict=True))
    assert list(expand(text)) == sorted(numbers)


@pytest.mark.parametrize("suffix", [".wav", ".au"])
@pytest.mark.parametrize("place", ["genres", "genres_original", "Data/genres_original", "."])
def test_gtzan_trees(tmp_path: Path, place: str, suffix: str) -> None:
    for kind, track in enumerate(["rock.00010", "blues.00000", "blues.00013", "pop.00021"]):
        write_tone(tmp_path / place / track.split(".")[0] / (track + suffix), kind)
    (tmp_path / place / "blues" / "._blues.00000.wav").write_bytes(b"")
    (tmp_path / place / "blues" / "blues.00000.png").write_bytes(b"")
    found = DATASETS["gtzan"].label_table(tmp_path)
    assert found["track_id"].tolist() == ["blues.00000", "blues.00013", "pop.00021", "rock.00010"]
    assert found["class"].tolist() == [0, 0, 1, 2]
    assert found["split"].fillna("none").tolist() == ["validation", "test", "none", "test"]
    assert found["artist_id"].isna().all()


def test_gtzan_track_in_two_formats(tmp_path: Path) -> None:
    for suffix in (".au", ".wav"):
        write_tone(tmp_path / "genres" / "pop" / f"pop.00003{suffix}", 0)
    with pytest.raises(TableError, match=r"pop.00003 stands 2 times.*pop.00003.au.*pop.00003.wav"):
        DATASETS["gtzan"].label_table(tmp_path)


def test_known_fault_of_gtzan_has_a_row_without_duration(tmp_path: Path) -> None:
    gtzan.make_tiny(tmp_path)
    found = DATASETS["gtzan"].label_table(tmp_path).set_index("track_id")
    assert class_names(found) == list(PUBLISHED)
    assert found.index[found["duration_s"].isna()].tolist() == ["jazz.00054"]


# --- gtzan_features -----------------------------------------------------------------------------------------


def test_features_of_tracks_and_clips(tmp_path: Path) -> None:
    gtzan_features.make_tiny(tmp_path)
    tracks, clips = (gtzan_features.read_features(tmp_path, which) for which in ("30s", "3s"))
    columns = ["track_id", "clip", "genre", "class", "split"]
    published = pd.read_csv(tmp_path / "features_3_sec.csv")
    assert list(clips) == [*columns, *(set_ := [c for c in published if c not in ("filename", "length", "label")])]
    assert len(set_) == 57 and set_[:2] == ["chroma_stft_mean", "chroma_stft_var"] and set_[-1] == "mfcc20_var"
    np.testing.assert_array_equal(clips[set_], published[set_])
    assert tracks["track_id"].is_unique and (tracks["clip"] == 1).all()
    assert clips["clip"].tolist() == [1, 2] * 30
    assert clips.groupby("track_id")["split"].nunique().eq(1).all()
    assert clips["track_id"].tolist() == tracks["track_id"].repeat(2).tolist()
    assert (clips["genre"] == clips["track_id"].str.split(".").str[0]).all()
    assert class_names(tracks) == list(PUBLISHED)


def test_features_below_data_and_from_au_files(tmp_path: Path) -> None:
    gtzan_features.make_tiny(tmp_path / "Data")
    path = tmp_path / "Data" / "features_30_sec.csv"
    expected = gtzan_features.read_features(tmp_path)
    path.write_text(path.read_text().replace(".wav", ".au"))
    pd.testing.assert_frame_equal(gtzan_features.read_features(tmp_path), expected)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("tempo", "speed", "lacks tempo: not the table of 57 features"),
        ("label", "genre", "lacks label"),
        ("blues.00098.wav", "blues.98.wav", "row 2 is 'blues.98.wav' with the label 'blues'"),
        ("blues.00098.wav", "rock.00098.wav", "row 2 is 'rock.00098.wav' with the label 'blues'"),
        ("661794,", "661794,high", "row 2 has 'high.* for chroma_stft_mean"),
        (",blues", "e999,blues", "row 2 has '.*e999' for mfcc20_var"),
        ("filename,", '"filename,', "not a CSV table"),
    ],
)
def test_another_table_is_not_taken_for_the_features(tmp_path: Path, old: str, new: str, words: str) -> None:
    gtzan_features.make_tiny(tmp_path)
    path = tmp_path / "features_30_sec.csv"
    first = gtzan_features.read_features(tmp_path)["track_id"].iloc[0]
    path.write_text(path.read_text().replace(first, "blues.00098").replace(old, new, 1))
    with pytest.raises(TableError, match=words):
        gtzan_features.read_features(tmp_path)


def test_features_with_a_row_twice(tmp_path: Path) -> None:
    gtzan_features.make_tiny(tmp_path)
    path = tmp_path / "features_3_sec.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(TableError, match="track or clip twice"):
        gtzan_features.read_features(tmp_path, "3s")
    with pytest.raises(ConfigError, match="unknown table of features '3'; did you mean '3s'"):
        gtzan_features.read_features(tmp_path, "3")


# --- folder -------------------------------------------------------------------------------------------------


def test_folder_of_classes(tmp_path: Path) -> None:
    for kind, name in enumerate(("b/x.wav", "b/v1.0 live.FLAC", "a/disc 1/x.wav", "a/disc 1/deep/y.ogg")):
        write_tone(tmp_path / name, kind)
    for name in (".git/x.wav", "a/.trash/z.wav", "a/.z.wav", "a/cover.jpg", "loose.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = DATASETS["folder"].label_table(tmp_path)
    assert found["track_id"].tolist() == ["a/disc 1/deep/y", "a/disc 1/x", "b/v1.0 live", "b/x"]
    assert found["genre"].tolist() == ["a", "a", "b", "b"]
    assert found["class"].tolist() == [0, 0, 1, 1]
    seconds = [soundfile.info(path).duration for path in found["file_path"]]
    np.testing.assert_allclose(found["duration_s"], seconds, atol=1e-3)
    assert found[["artist_id", "split"]].isna().all(axis=None)


def test_folder_ids_do_not_depend_on_where_it_lies(tmp_path: Path) -> None:
    folder.make_tiny(tmp_path / "here")
    before = DATASETS["folder"].label_table(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    after = DATASETS["folder"].label_table(tmp_path / "there")
    assert len(after) == 30
    pd.testing.assert_frame_equal(after.drop(columns="file_path"), before.drop(columns="file_path"))


def test_folder_that_is_wrong(tmp_path: Path) -> None:
    read = DATASETS["folder"].label_table
    with pytest.raises(TableError, match="holds no folders"):
        read(tmp_path)
    write_tone(tmp_path / "a" / "x.wav", 0)
    (tmp_path / "b").mkdir()
    with pytest.raises(TableError, match=r"b: a class without an audio file.*\.mp3"):
        read(tmp_path)
    (tmp_path / "b").rmdir()
    with pytest.raises(TableError, match=r"x.wav: not a folder"):
        read(tmp_path / "a" / "x.wav")
    write_tone(tmp_path / "a" / "x.flac", 0)
    with pytest.raises(TableError, match=r"track a/x stands 2 times.*x.flac.*x.wav"):
        read(tmp_path)


# --- table --------------------------------------------------------------------------------------------------

ROWS = {
    "file": ["x/1.wav", "x/2.wav", "/far/3.wav"],
    "genre": ["wild", "calm", "wild"],
    "artist": ["A", None, "B"],
    "split": ["dev", "TRAIN", None],
}


def listing(folder: Path, rows: dict[str, list], name: str = "own.csv") -> Path:
    pd.DataFrame(rows).to_csv(folder / name, index=False)
    return folder / name


def test_table_of_a_csv(tmp_path: Path) -> None:
    found = DATASETS["table"].label_table(listing(tmp_path, ROWS))
    assert list(found) == LABEL_COLUMNS
    assert found["track_id"].tolist() == ["x/1", "x/2", "/far/3"]
    assert found["file_path"].tolist() == [f"{tmp_path}/x/1.wav", f"{tmp_path}/x/2.wav", "/far/3.wav"]
    assert found["class"].tolist() == [1, 0, 1]
    assert found["artist_id"].fillna("none").tolist() == ["A", "none", "B"]
    assert found["split"].fillna("none").tolist() == ["validation", "train", "none"]
    assert DATASETS["table"].label_table(tmp_path).equals(found)


@given(seed=st.integers(0, 2**32 - 1))
def test_columns_are_found_in_any_order_and_case(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = random.Random(seed)
    names = {role: rng.choice(guesses) for role, guesses in table.GUESSES.items()}
    spelled = {role: "".join(rng.choice([c.upper(), c]) for c in name) for role, name in names.items()}
    columns = [*spelled.values(), "remark"]
    rng.shuffle(columns)
    assert table.choose_columns(Path("own.csv"), columns, {}) == spelled


@given(
    text=st.text("a./ ", min_size=1) | st.text(min_size=1).filter(lambda text: "\0" not in text),
    place=st.sampled_from([".", "x", "x/y", "/", "..", "/r"]),
)
def test_paths_are_joined_and_shortened_as_by_pathlib(text: str, place: str) -> None:
    assert table.join_all(Path(place), [text, "a/b.wav"]) == [
        (Path(place) / one).as_posix() for one in (text, "a/b.wav")
    ]
    path = Path(text).as_posix()
    assert table.without_suffix(path) == path.removesuffix(Path(path).suffix)


def test_asked_for_columns_win(tmp_path: Path) -> None:
    rows = ROWS | {"mood": ["low", "high", "low"], "key": ["p", "q", "r"]}
    path = listing(tmp_path, rows)
    asked = {"label_column": "mood", "track_column": "key", "split_column": "", "artist_column": "genre"}
    found = DATASETS["table"].label_table(path, **asked)
    assert found["genre"].tolist() == rows["mood"] and found["track_id"].tolist() == rows["key"]
    assert found["split"].isna().all() and found["artist_id"].tolist() == rows["genre"]
    with pytest.raises(ConfigError, match="unknown column 'moods'; did you mean 'mood'"):
        DATASETS["table"].label_table(path, label_column="moods")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"genre": None}, "no column looks like the label.*it has file, artist, split.*label_column=NAME"),
        ({"file": None}, "no column looks like the path"),
        ({"file": ["1.wav", "1.flac", "2.wav"]}, "track 1 stands 2 times"),
        ({"genre": ["wild", None, "calm"]}, "row 3 has no genre"),
        ({"split": ["train", "fold 2", None]}, "split 'fold 2' is not one of train, validation, test"),
    ],
)
def test_table_that_is_wrong(tmp_path: Path, change: dict[str, list | None], words: str) -> None:
    rows = {name: values for name, values in (ROWS | change).items() if values is not None}
    with pytest.raises(TableError, match=words):
        DATASETS["table"].label_table(listing(tmp_path, rows))


def test_table_that_is_none_or_empty(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"\xff\xfe\x00,\x81")
    with pytest.raises(TableError, match="not a CSV table"):
        DATASETS["table"].label_table(tmp_path)
    (tmp_path / "own.csv").write_text("file,genre\n")
    with pytest.raises(TableError, match="holds no tracks"):
        DATASETS["table"].label_table(tmp_path)
    listing(tmp_path, ROWS, "other.csv")
    with pytest.raises(TableError, match="one CSV is needed, it holds other.csv, own.csv"):
        DATASETS["table"].label_table(tmp_path)


def test_listing_with_spaces_around_its_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("1.wav", " 2.wav ", "3.wav", "4.wav")):
        (tmp_path / "tone.wav").unlink(missing_ok=True)
        write_tone(tmp_path / "tone.wav", 0, number)
        (tmp_path / "tone.wav").rename(tmp_path / name)
    rows = [
        "File_Path , Genre, Artist , split",
        "1.wav ,rock , band,train",
        " 2.wav ,rock, band ,Train ",
        "3.wav,Rock,band,test",
    ]
    (tmp_path / "own.csv").write_text("\n".join([*rows, "4.wav,Rock,band,"]) + "\n")
    argv = ["--dataset", "table", "--root", str(tmp_path / "own.csv"), "--output", str(tmp_path / "labels.csv")]
    labeled_tracks.main(argv)
    assert "4 tracks of 2 genres, 0 without a file\nwarning: the labels 'Rock' and 'rock'" in capsys.readouterr().out
    table = read_table(tmp_path / "labels.csv", LABEL_COLUMNS[:4])
    assert table["track_id"].tolist() == ["1", "2", "3", "4"]
    assert [Path(path).name for path in table["file_path"]] == ["1.wav", " 2.wav ", "3.wav", "4.wav"]
    assert table["genre"].tolist() == ["rock", "rock", "Rock", "Rock"]
    assert set(table["artist_id"]) == {"band"}


def test_folder_whose_names_are_not_utf8(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: Callable[..., str]
) -> None:
    write_tone(tmp_path / "own" / "rock" / "a.wav", 0)
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "own" / "rock" / "a.wav").rename(tmp_path / "own" / "rock" / f"{name}.wav")
    argv = ["--dataset", "folder", "--root", str(tmp_path / "own"), "--output", str(tmp_path / "labels.csv")]
    labeled_tracks.main(argv)
    table = read_table(tmp_path / "labels.csv", LABEL_COLUMNS[:4])
    assert table["track_id"].tolist() == [f"rock/{name}"] and Path(table["file_path"][0]).is_file()
    (tmp_path / "own" / "rock").rename(tmp_path / "own" / name)
    assert "which is not" not in capsys.readouterr().err
    assert r"the label 'caf\udce9'" in refusal(labeled_tracks.main, argv)
