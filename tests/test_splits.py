"""Who is in train, validation and test."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.errors import ConfigError, TableError
from scripts.splits import SPLITS, assign, default_split, fingerprint, shared_artists
from scripts.tables import PARTS


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


def test_random80_sizes_in_every_genre() -> None:
    table = assign(label_table(), "random80")
    assert sizes(table) == {"train": 140, "validation": 20, "test": 40}
    for _, genre in table.groupby("genre"):
        assert sizes(genre) == {"train": 35, "validation": 5, "test": 10}


@settings(max_examples=30)
@given(counts=st.lists(st.integers(10, 60), min_size=1, max_size=12), seed=st.integers(0, 2**32 - 1))
def test_random80_of_uneven_genres(counts: list[int], seed: int) -> None:
    genre = np.repeat(np.arange(len(counts)), counts)
    table = pd.DataFrame({"track_id": range(len(genre)), "genre": genre.astype(str), "class": genre})
    parts = assign(table, "random80", seed)["split"]
    found = pd.crosstab(table["class"], parts)[list(PARTS)].to_numpy()
    expected = np.outer(counts, [0.7, 0.1, 0.2])
    assert np.abs(found - expected).max() < 2  # tracks of a genre
    assert np.abs(found.sum(axis=0) - expected.sum(axis=0)).max() < 2


# --- artist -------------------------------------------------------------------------------------------------


def test_artist_sizes() -> None:
    table = assign(label_table(), "artist")
    assert sizes(table) == {"train": 140, "validation": 20, "test": 40}


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


def test_unknown_artists_stand_for_themselves() -> None:
    table = label_table().assign(artist_id=None)
    assert sizes(assign(table, "artist")) == {"train": 140, "validation": 20, "test": 40}
    assert sizes(assign(table.assign(artist_id=-1), "artist")) == {"train": 140, "validation": 20, "test": 40}


# --- all splits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random80", "artist"])
def test_seed_decides(name: str) -> None:
    table = label_table()
    prints = {fingerprint(assign(table, name, seed)) for seed in (0, 1, 2)}
    assert len(prints) == 3
    assert fingerprint(assign(table, name, 1)) in prints
    assert assign(table, name, 0).equals(assign(table, name))


@pytest.mark.parametrize("name", ["random80", "artist"])
def test_table_is_left_alone_but_for_its_split(name: str) -> None:
    table = label_table()
    before = table.copy()
    split = assign(table, name)
    assert table.equals(before)
    assert split.drop(columns="split").equals(before.drop(columns="split"))


def test_official_is_the_tables_own() -> None:
    table = label_table().assign(split=["train", "test", "validation", "train"] * 50)
    assert assign(table, "official", 7).equals(table)


@pytest.mark.parametrize("value", [None, np.nan, "training", ""])
def test_official_needs_a_part_for_every_track(value: object) -> None:
    table = label_table().assign(split=[value, *["train"] * 199])
    with pytest.raises(TableError, match="random80 or artist"):
        assign(table, "official")
    assert default_split(table) == "random80"


def test_default_is_official_where_there_is_one() -> None:
    assert default_split(label_table().assign(split="train")) == "official"


def test_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'artist'.*official, random80, artist"):
        assign(label_table(), "artists")


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("random80", label_table(artists=3, tracks=3)),
        ("artist", label_table(artists=2)),
        ("artist", label_table(artists=3, tracks=1)),
    ],
)
def test_too_few_tracks_or_artists(name: str, table: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="needs at least"):
        assign(table, name)


def test_every_split_can_be_asked_for() -> None:
    assert set(SPLITS) == {"official", "random80", "artist"}


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
