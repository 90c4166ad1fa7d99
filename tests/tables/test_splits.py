"""Who is in train, validation and test."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from scripts.common.errors import ConfigError, TableError
from scripts.tables.label_table import LABEL_COLUMNS, PARTS
from scripts.tables.leaks import describe_leaks, shared_artists
from scripts.tables.splits import (
    artist_album_groups,
    artist_groups,
    assign,
    default_fold_unit,
    default_split,
    fingerprint,
    k_folds,
    known_ids,
)
from scripts.utils.metadata import write_metadata


def label_table(genres: int = 4, artists: int = 10, tracks: int = 5) -> pd.DataFrame:
    """So many genres, artists in each, and tracks of each; no split."""
    rows = [
        {"genre": f"genre {genre}", "class": genre, "artist_id": f"{genre}-{artist}"}
        for genre in range(genres)
        for artist in range(artists)
        for _ in range(tracks)
    ]
    table = pd.DataFrame(rows).assign(split=None)
    table.insert(0, "track_id", [str(number) for number in range(len(table))])
    return table


@st.composite
def any_table(draw: st.DrawFn) -> pd.DataFrame:
    """One to four genres of three to twelve artists with one to nine tracks each; some artists are unknown."""
    sizes = draw(st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=12), min_size=1, max_size=4))
    rows = [
        {"genre": f"genre {genre}", "class": genre, "artist_id": draw(st.sampled_from([name, name, name, None, "-1"]))}
        for genre, counts in enumerate(sizes)
        for name, count in zip(map(str, range(1000 * genre, 9999)), counts, strict=False)
        for _ in range(count)
    ]
    return pd.DataFrame(rows).assign(split=None, track_id=[str(number) for number in range(len(rows))])


def sizes(table: pd.DataFrame) -> dict[str, int]:
    return dict(Counter(table["split"]))


# --- random80 -----------------------------------------------------------------------------------------------


def random80_sizes(counts: list[int], seed: int) -> np.ndarray:
    """How many tracks of each genre, of which there are `counts`, are in each part: [genres, parts]."""
    genre = np.repeat(np.arange(len(counts)), counts)
    table = pd.DataFrame({"track_id": range(len(genre)), "genre": genre.astype(str), "class": genre})
    parts = assign(table, "random80", seed)["split"]
    return pd.crosstab(table["class"], parts)[list(PARTS)].to_numpy()


@settings(max_examples=30)
@given(counts=st.lists(st.integers(10, 60), min_size=1, max_size=12), seed=st.integers(0, 2**32 - 1))
def test_random80_of_uneven_genres(counts: list[int], seed: int) -> None:
    found = random80_sizes(counts, seed)
    expected = np.outer(counts, [0.7, 0.1, 0.2])
    assert np.abs(found - expected).max() < 2  # tracks of a genre
    assert np.abs(found.sum(axis=0) - expected.sum(axis=0)).max() < 2


@settings(max_examples=30)
@given(counts=st.lists(st.integers(5, 40), min_size=2, max_size=12), seed=st.integers(0, 2**32 - 1))
def test_random80_of_few_tracks_has_each_genre_in_each_part(counts: list[int], seed: int) -> None:
    found = random80_sizes(counts, seed)
    assert found.min() >= 1
    assert found[:, 0].sum() >= 0.5 * found.sum()


# --- artist -------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(table=any_table(), seed=st.integers(0, 2**32 - 1))
def test_no_artist_is_in_two_parts(table: pd.DataFrame, seed: int) -> None:
    try:
        split = assign(table, "artist", seed)
    except TableError as error:
        assert "artists" in str(error)
        return
    assert set(split["split"]) == set(PARTS)
    assert set(split.loc[split["split"] == "train", "genre"]) == set(table["genre"])
    known = split[split["artist_id"].notna() & (split["artist_id"] != "-1")]
    assert known.groupby("artist_id")["split"].nunique().max() == 1
    assert shared_artists(split) == 0.0


@pytest.mark.parametrize("artists", [{}, {"artist_id": None}, {"artist_id": -1}])
def test_sizes_where_artists_are_known_and_where_each_track_is_its_own(artists: dict) -> None:
    assert sizes(assign(label_table().assign(**artists), "artist")) == {"train": 140, "validation": 20, "test": 40}


@pytest.mark.parametrize(
    "names",
    [
        ("band", "band ", "\u00a0Band", "BAND"),
        ("Beyonce\u0301", "Beyonc\u00e9 ", "BEYONC\u00c9", "beyonce\u0301"),
        ("The Band", "The\u200b Band", "\ufeffthe band", "The Ba\u00adnd\u200d"),
        ("\u0130stanbul", "i\u0307stanbul", "I\u0307stanbul", "\u0130STANBUL"),
        ("Stra\u00dfe 7", "STRASSE 7", "strasse  7", "Strasse 7"),
    ],
)
def test_artist_who_is_written_in_several_ways_is_one(names: tuple[str, ...]) -> None:
    table = pd.DataFrame({"track_id": list("abcd"), "artist_id": names, "split": ["train", "train", "test", "test"]})
    assert artist_groups(table).nunique() == 1
    assert shared_artists(table) == 1.0
    assert describe_leaks(table) == [
        "100% of the test tracks (2 of 2) are by an artist who is also in train, such as artist " + names[2].strip()
    ]
    albums = table.assign(artist_id=list("wxyz"), album_id=names)
    assert artist_album_groups(albums).nunique() == 1


def test_artist_called_nothing_is_unknown() -> None:
    names = ["None", "NA", "null ", "n/a", "NaN", "Unknown", "-1", "", None, "-", "Nada"]
    table = pd.DataFrame({"track_id": range(len(names)), "artist_id": names})
    assert known_ids(table, "artist_id").dropna().tolist() == ["nada"]
    assert artist_groups(table).nunique() == len(names)


# --- artists who share an album -----------------------------------------------------------------------------


def test_artists_are_linked_by_their_albums() -> None:
    table = pd.DataFrame(
        [("1", "a", "x"), ("2", "b", "x"), ("3", "b", "y"), ("4", "c", "y"), ("5", "d", "z"), ("6", "e", None),
         ("7", "f", "-1"), ("8", None, "z"), ("9", None, None)],
        columns=["track_id", "artist_id", "album_id"],
    )  # fmt: skip
    groups = artist_album_groups(table)
    linked = [sorted(table.loc[groups == group, "track_id"]) for group in groups.unique()]
    assert linked == [["1", "2", "3", "4"], ["5", "8"], ["6"], ["7"], ["9"]]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), albums=st.integers(30, 60))
def test_artist_album_shares_neither(seed: int, albums: int) -> None:
    table = label_table(artists=30, tracks=2)
    compilation = np.random.default_rng(seed).integers(0, albums, len(table))
    lone = np.arange(len(table)) % 10 > 0
    table["album_id"] = np.where(lone, table["artist_id"], [f"compilation {number}" for number in compilation])
    split = assign(table, "artist_album", seed)
    for column in ("artist_id", "album_id"):
        assert split.groupby(column)["split"].nunique().max() == 1


def test_artist_album_without_albums_is_artist() -> None:
    table = label_table()
    assert assign(table.assign(album_id=None), "artist_album", 3).groupby("artist_id")["split"].nunique().max() == 1


# --- folds --------------------------------------------------------------------------------------------------


def test_folds_are_scikit_learns_and_equally_large() -> None:
    """What is left over of each class does not always go to the first folds."""
    table = label_table(genres=10, artists=12, tracks=1)
    fold = k_folds(table, 5, seed=5)
    assert np.bincount(fold).tolist() == [24] * 5
    splitter = StratifiedKFold(5, shuffle=True, random_state=5)
    for number, (_, rows) in enumerate(splitter.split(table, table["class"])):
        assert np.flatnonzero(fold == number).tolist() == rows.tolist()


@given(counts=st.lists(st.integers(5, 23), min_size=1, max_size=6), folds=st.integers(2, 5), seed=st.integers(0, 9))
def test_folds_are_stratified_and_whole(counts: list[int], folds: int, seed: int) -> None:
    genre = np.repeat(np.arange(len(counts)), counts)
    tracks = pd.DataFrame({"track_id": np.arange(len(genre)).astype(str), "genre": genre.astype(str), "class": genre})
    fold = k_folds(tracks, folds, seed)
    found = pd.crosstab(genre, fold).to_numpy()
    assert found.shape == (len(counts), folds)
    assert np.ptp(found, axis=1).max() <= 1 and np.ptp(found.sum(axis=0)) <= 1
    clips = tracks.loc[tracks.index.repeat(3)]
    assert (k_folds(clips, folds, seed) == np.repeat(fold, 3)).all()


def test_folds_by_artist_keep_artists_whole() -> None:
    table = label_table()
    fold = k_folds(table, 5, seed=1, by="artist")
    assert pd.Series(fold).groupby(table["artist_id"]).nunique().max() == 1
    assert pd.crosstab(table["class"], fold).to_numpy().tolist() == [[10] * 5] * 4
    assert (k_folds(table, 5, seed=2, by="artist") != fold).any()


@pytest.mark.parametrize(
    ("table", "by", "message"),
    [
        (label_table(artists=2, tracks=2), "track", "genre 'genre 0' has 4 tracks, too few for 5 folds"),
        (label_table(artists=4), "artist", "genre 'genre 0' is not in every fold"),
        (label_table(genres=1, artists=4), "artist", "4 artists are too few for 5 folds"),
    ],
)
def test_folds_need_every_class(table: pd.DataFrame, by: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        k_folds(table, 5, by=by)


def test_folds_are_at_least_two_and_by_something_known() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        k_folds(label_table(), 1)
    with pytest.raises(ConfigError, match="did you mean 'artist'"):
        k_folds(label_table(), by="artists")


def test_official_folds_are_taken_as_they_are() -> None:
    table = label_table(genres=2, artists=4, tracks=3)
    table["fold"] = [("10", "2", "1")[number % 3] for number in range(24)]
    assert k_folds(table, 3, seed=7, by="official").tolist() == [2, 1, 0] * 8
    clips = table.loc[table.index.repeat(2)]
    assert k_folds(clips, 3, by="official").tolist() == [2, 2, 1, 1, 0, 0] * 8
    assert assign(table, "official")["split"].tolist() == ["train", "validation", "test"] * 8
    named = table.assign(fold=table["fold"].map({"10": "b", "2": "c", "1": "a"}))
    assert k_folds(named, 3, by="official").tolist() == [1, 2, 0] * 8


def test_official_fold_that_is_written_in_several_ways_is_one() -> None:
    table = label_table(genres=1, artists=8, tracks=1)
    assert k_folds(table.assign(fold=["1", "1.0", "01", 1, "2", "2.0", "10", "10.0"]), 3, by="official").tolist() == [
        *[0] * 4, 1, 1, 2, 2
    ]  # fmt: skip
    assert k_folds(table.assign(fold=["a", "A ", "b", "B"] * 2), 2, by="official").tolist() == [0, 0, 1, 1] * 2


def test_official_folds_that_cannot_be() -> None:
    table = label_table(genres=1, artists=2, tracks=3)
    with pytest.raises(TableError, match="no official folds.*--by artist or track"):
        k_folds(table, 3, by="official")
    table["fold"] = list("123123")
    with pytest.raises(ConfigError, match=r"5 folds, but the dataset has 3 of its own \(1, 2, 3\)"):
        k_folds(table, 5, by="official")
    with pytest.raises(TableError, match="track 2 has no fold"):
        k_folds(table.assign(fold=["1", "2", None, "1", "2", "3"]), 3, by="official")
    with pytest.raises(TableError, match="column fold holds 1 alone"):
        k_folds(table.assign(fold="1"), 3, by="official")
    with pytest.raises(TableError, match="in two of the official folds"):
        k_folds(table.assign(track_id=list("001234")), 3, by="official")


def test_default_of_folds_and_splits_is_official_then_artists_then_tracks() -> None:
    table = label_table(genres=1, artists=4, tracks=3)
    nobody, folded = table.assign(artist_id=[None, "-1"] * 6), table.assign(fold=list("123") * 4)
    for chosen, unit, split in ((table, "artist", "artist"), (nobody, "track", "random80"),
                                (folded, "official", "official"), (folded.assign(artist_id=None), *["official"] * 2),
                                (table.assign(fold=None), "artist", "artist")):  # fmt: skip
        assert (default_fold_unit(chosen)[0], default_split(chosen)[0]) == (unit, split)


# --- all splits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random80", "artist"])
def test_seed_decides_and_nothing_but_the_split_changes(name: str) -> None:
    table, before = label_table(), label_table()
    prints = {fingerprint(assign(table, name, seed)) for seed in (0, 1, 2)}
    assert len(prints) == 3 and fingerprint(assign(table, name, 1)) in prints
    assert assign(table, name, 0).equals(assign(table, name)) and table.equals(before)
    assert assign(table, name).drop(columns="split").equals(before.drop(columns="split"))


def test_official_is_the_tables_own() -> None:
    table = label_table().assign(split=["train", "test", "validation", "train"] * 50)
    assert assign(table, "official", 7).equals(table)


def test_shuffled_deals_the_official_parts_out_anew_within_each_genre() -> None:
    parts = (["train"] * 30 + ["validation"] * 8 + ["test"] * 10 + [None] * 2) * 4
    table = label_table().assign(split=parts)
    found = assign(table, "shuffled", 1)
    assert found["track_id"].tolist() == assign(table, "official")["track_id"].tolist()
    assert pd.crosstab(found["genre"], found["split"]).to_numpy().tolist() == [[10, 30, 8]] * 4
    prints = {fingerprint(assign(table, name, seed)) for name in ("official", "shuffled") for seed in (0, 1)}
    assert len(prints) == 3
    assert shared_artists(assign(table, "official")) == 0 < shared_artists(found)


@pytest.mark.parametrize("value", [None, np.nan, ""])
def test_official_drops_what_it_leaves_out(value: object) -> None:
    table = label_table().assign(split=[value, *["train", "test", "validation"] * 66, value])
    assert default_split(table)[0] == "official"
    assert assign(table, "official").equals(table.iloc[1:-1])
    assert len(assign(table, "random80")) == 200


@pytest.mark.parametrize("value", [None, np.nan, ""])
def test_official_needs_a_part_for_some_track(value: object) -> None:
    table = label_table().assign(split=[value] * 200)
    with pytest.raises(TableError, match="random80 or artist"):
        assign(table, "official")
    assert default_split(table)[0] == "artist"


def test_official_knows_three_parts_only() -> None:
    table = label_table().assign(split=["training", *["train"] * 199])
    with pytest.raises(TableError, match="'training'.*train, validation, test"):
        assign(table, "official")
    assert default_split(table)[0] == "artist"


def test_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'artist'.*official, random80, artist, artist_album"):
        assign(label_table(), "artists")


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("random80", label_table(artists=2, tracks=2)),
        ("artist", label_table(artists=2)),
        ("artist", label_table(artists=3, tracks=1)),
    ],
)
def test_too_few_tracks_or_artists(name: str, table: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="needs at least"):
        assign(table, name)


# --- fingerprint and leaks ----------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), clips=st.integers(1, 4))
def test_fingerprint_does_not_see_order_or_repeated_rows(seed: int, clips: int) -> None:
    table = label_table(2, 3, 2).assign(split=["train", "validation", "test"] * 4)
    shuffled = table.loc[table.index.repeat(clips)].sample(frac=1, random_state=seed)
    assert fingerprint(shuffled) == fingerprint(table)
    assert fingerprint(table.assign(track_id=table["track_id"].astype(int), genre="x")) == fingerprint(table)


@given(row=st.integers(0, 11), part=st.sampled_from(PARTS))
def test_fingerprint_sees_every_track(row: int, part: str) -> None:
    table = label_table(2, 3, 2).assign(split=["train", "validation", "test"] * 4)
    other = table.copy()
    other.loc[row, "split"] = part
    assert (fingerprint(other) == fingerprint(table)) == (table.loc[row, "split"] == part)
    assert fingerprint(table.drop(index=row)) != fingerprint(table)


def test_shared_artists_is_a_share_of_the_test_tracks() -> None:
    table = pd.DataFrame(
        [
            ("1", "a", "train"), ("2", "a", "test"), ("3", "b", "test"), ("4", "c", "validation"),
            ("5", "c", "test"), ("6", None, "train"), ("7", None, "test"), ("7", None, "test"),
        ],
        columns=["track_id", "artist_id", "split"],
    )  # fmt: skip
    assert shared_artists(table) == 1 / 4
    assert shared_artists(table[table["split"] == "train"]) == 0.0


def leaky_table(*rows: tuple[str, str | None, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["track_id", "artist_id", "file_path", "split"])


def test_no_leaks_no_lines() -> None:
    table = leaky_table(("1", "a", "1.mp3", "train"), ("2", "b", "2.mp3", "test"), ("3", "c", "3.mp3", "validation"))
    assert describe_leaks(table) == []
    assert describe_leaks(table.loc[[0, 0, 1, 2, 2]]) == []
    assert describe_leaks(table.drop(columns=["artist_id", "file_path"])) == []
    for unknown in ([None, None, "-1"], "-1"):
        assert describe_leaks(table.assign(artist_id=unknown)) == []


def test_every_leak_has_its_line() -> None:
    table = leaky_table(
        ("1", "a", "1.mp3", "train"), ("1", "a", "1.mp3", "test"), ("2", "b", "x/2.mp3", "train"),
        ("3", "c", "x/./2.mp3", "validation"), ("4", "b", "4.mp3", "validation"), ("5", "d", "5.mp3", "test"),
        ("6", "d", "6.mp3", "validation"), ("7", "e", "7.mp3", "test"), ("8", "f", "8.mp3", "test"),
    )  # fmt: skip
    assert describe_leaks(table) == [
        "1 track is in two parts, such as 1 in train and test",
        "1 file is in two parts, such as x/2.mp3 in train and validation",
        "33% of the validation tracks (1 of 3) are by an artist who is also in train, such as artist b",
        "25% of the test tracks (1 of 4) are by an artist who is also in train, such as artist a",
    ]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_leaks_of_the_splits(seed: int) -> None:
    table = label_table()
    assert describe_leaks(assign(table, "artist", seed)) == []
    shares = describe_leaks(assign(table, "random80", seed))
    assert len(shares) == 2
    assert "test tracks" in shares[1]


# --- metadata.py --------------------------------------------------------------------------------------------


def split_on_screen(table: pd.DataFrame, folder: Path, capsys: pytest.CaptureFixture[str], **options) -> list[str]:
    table.assign(file_path=table["track_id"] + ".mp3").reindex(columns=LABEL_COLUMNS).to_csv(folder / "labels.csv")
    write_metadata(folder / "labels.csv", folder / "clips.csv", folder / "tracks.csv", clips=2, **options)
    return capsys.readouterr().out.splitlines()


def test_metadata_counts_what_the_official_split_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = label_table().assign(split=[None, *["train", "test", "validation"] * 66, None], artist_id=None)
    lines = split_on_screen(table, tmp_path, capsys)
    assert lines[0] == "--split official, since the dataset has a split of its own"
    assert lines[1].endswith("66 train, 66 validation, 66 test tracks; artists unknown")
    assert lines[2:] == ["2 tracks left out: the official split does not have them"]
    assert len(pd.read_csv(tmp_path / "tracks.csv")) == 198


def test_metadata_prints_the_leaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(split_on_screen(label_table(), tmp_path, capsys, split="artist")) == 1
    lines = split_on_screen(label_table(), tmp_path, capsys, split="random80")
    assert [line.startswith("leak: ") for line in lines] == [False, True, True]
