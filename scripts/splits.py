"""Who is in train, validation and test. A track, with all its clips, is in one of them."""

import hashlib
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from scripts.cli import pick
from scripts.errors import TableError
from scripts.tables import PARTS

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1  # of all tracks
FOLDS = 10  # of which the artist split takes two for test and one for validation


def assign(table: pd.DataFrame, name: str, seed: int = 0) -> pd.DataFrame:
    """The label table with its `split` column set by the split called `name` (see `SPLITS`).

    Raises
    ------
    ConfigError : unknown name.
    TableError : the table cannot be split so (no official split, too few tracks or artists).
    """
    split = SPLITS[pick("split", name, SPLITS)]
    return table.assign(split=split(table, seed))


def official(table: pd.DataFrame, seed: int) -> pd.Series:
    """The dataset's own split, as its metadata has it."""
    if not table["split"].isin(PARTS).all():
        raise TableError("this table has no official split for every track; choose --split random80 or artist")
    return table["split"]


def random80(table: pd.DataFrame, seed: int) -> np.ndarray:
    """80/20 of the tracks at random within each genre; an eighth of the 80 is kept for validation.

    An artist's tracks land on both sides, so scores come out higher than for new artists.
    """
    check_sizes(table, "track_id", "tracks")
    rows, labels = np.arange(len(table)), table["class"].to_numpy()
    rest, test = train_test_split(rows, test_size=TEST_SHARE, stratify=labels, random_state=seed)
    share = VALIDATION_SHARE / (1 - TEST_SHARE)
    _, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=seed)
    return in_parts(len(table), validation, test)


def artist(table: pd.DataFrame, seed: int) -> np.ndarray:
    """70/10/20 by artist: no artist is in two parts. A track without an artist stands for itself.

    With few artists a genre can be missing from validation or test, but never from train.
    """
    groups = artist_groups(table)
    check_sizes(table.assign(group=groups), "group", "artists")
    if min(groups.nunique(), table["genre"].value_counts().max()) < FOLDS:
        raise TableError(
            f"{groups.nunique()} artists; the artist split needs at least {FOLDS}, and a genre of {FOLDS} tracks"
        )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # genres with fewer tracks than folds
        held_out = [rows for _, rows in folds.split(groups, table["class"], groups)]
    parts = in_parts(len(table), held_out[2], np.concatenate(held_out[:2]))
    check_parts(table["genre"].to_numpy(), parts)
    return parts


def check_parts(genres: np.ndarray, parts: np.ndarray) -> None:
    lost = set(genres) - set(genres[parts == "train"])
    if lost or set(parts) != set(PARTS):
        what = f"genre {min(lost)!r} is not in train" if lost else "a part is empty"
        raise TableError(f"{what} with so few artists; give another --seed or --split, or add artists")


SPLITS: dict[str, Callable] = {"official": official, "random80": random80, "artist": artist}


def default_split(table: pd.DataFrame) -> str:
    """The official split where every track has one, otherwise a random one."""
    return "official" if table["split"].isin(PARTS).all() else "random80"


def in_parts(rows: int, validation: np.ndarray, test: np.ndarray) -> np.ndarray:
    parts = np.full(rows, "train", object)
    parts[validation], parts[test] = "validation", "test"
    return parts


def artist_groups(table: pd.DataFrame) -> pd.Series:
    """Artist ids; where there is none, the track's own id."""
    known = table["artist_id"].notna() & (table["artist_id"].astype(str) != "-1")
    return table["artist_id"].astype(str).where(known, "track " + table["track_id"].astype(str))


def check_sizes(table: pd.DataFrame, unit: str, name: str) -> None:
    """Every genre needs enough units for each of the folds to be possible."""
    sizes = table.groupby("genre")[unit].nunique()
    needed = FOLDS if name == "tracks" else 3
    if sizes.min() < needed:
        raise TableError(
            f"genre {sizes.idxmin()!r} has {sizes.min()} {name}; this split needs at least {needed} in every genre; "
            "add some, remove the genre, or choose another --split"
        )


def fingerprint(table: pd.DataFrame) -> str:
    """Twelve hexadecimal digits of who is where; equal splits have equal fingerprints, in any row order."""
    rows = table.drop_duplicates("track_id")
    lines = sorted(f"{track}\t{part}" for track, part in zip(rows["track_id"].astype(str), rows["split"], strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def shared_artists(table: pd.DataFrame) -> float:
    """The share of test tracks whose artist also has tracks in train."""
    rows = table.drop_duplicates("track_id")
    groups = artist_groups(rows)
    test = groups[rows["split"] == "test"]
    return float(test.isin(groups[rows["split"] == "train"]).mean()) if len(test) else 0.0
