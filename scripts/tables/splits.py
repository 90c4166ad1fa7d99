"""Who is in train, validation and test. A track, with all its clips, is in one of them."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedKFold, train_test_split

from scripts.common.cli import pick
from scripts.common.errors import ConfigError, TableError
from scripts.tables.label_matrix import label_matrix, label_names
from scripts.tables.label_table import PARTS, fold_name

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1  # of all tracks
FOLDS = 10  # of which a grouped split takes two for test and one for validation
FEWEST = 5  # tracks of a genre, for a random split
# what is written for an artist or album that is not known
UNKNOWN = ("", "-1", "-1.0", "-", "--", "?", "none", "null", "nan", "na", "n/a", "n.a.", "#n/a", "<na>", "unknown",
           "<unknown>", "[unknown]", "(unknown)", "unknown artist", "unknown album", "not available")  # fmt: skip
OTHERWISE = "go by artists or tracks (--by artist or track; of `metadata` --split artist or random80)"
FOLD_UNITS = ("official", "artist", "track")


def assign(table: pd.DataFrame, name: str, seed: int = 0) -> pd.DataFrame:
    """The label table with its column `split` set.

    The official split drops the tracks that it leaves out, such as GTZAN's repeated and faulty ones; every other
    split keeps all.

    Parameters
    ----------
    table : label table, a row per track.
    name : one of `SPLITS`.
    seed : of the random ones.

    Raises
    ------
    ConfigError : unknown name.
    TableError : the table cannot be split so (no official split, too few tracks or artists).
    """
    split = SPLITS[pick("split", name, SPLITS)]
    return table.assign(split=split(table, seed)).dropna(subset="split")


def official(table: pd.DataFrame, seed: int) -> pd.Series:
    """The dataset's own split, as its metadata has it; empty for the tracks that it leaves out.

    Of a table that has official folds and no official split, the first fold tests and the second validates.
    """
    parts = official_parts(table)
    if parts.isna().all():
        if not has_official_folds(table):
            raise TableError("this table has no official split; choose --split random80 or artist")
        numbers = official_folds(table, None)
        if numbers.max() < 2:
            raise TableError("two official folds leave none to train on beside test and validation; choose --split")
        return pd.Series(np.select([numbers == 0, numbers == 1], ["test", "validation"], "train"), table.index)
    wrong = ~parts.dropna().isin(PARTS)
    if wrong.any():
        raise TableError(
            f"{parts.dropna()[wrong].iloc[0]!r} is no part of an official split, which are {', '.join(PARTS)} or "
            "empty for a track that is left out; correct the label table, or choose --split random80 or artist"
        )
    return parts


def official_parts(table: pd.DataFrame) -> pd.Series:
    return table["split"].where(table["split"] != "")


def random80(table: pd.DataFrame, seed: int) -> np.ndarray:
    """80/20 of the tracks at random within each genre; an eighth of the 80 is kept for validation.

    Where a genre has fewer than ten tracks, a quarter of the 80 is, so that each genre is in each part. An artist's
    tracks land on both sides, so scores come out higher than for new artists.
    """
    if "labels" in table:
        return split_labels(table, table["track_id"].astype(str), seed)
    check_sizes(table, "track_id", "tracks")
    rows, labels = np.arange(len(table)), table["class"].to_numpy()
    if table["genre"].value_counts().min() < FOLDS:
        folds = deal_tracks(table, FEWEST, seed)
        return in_parts(len(table), folds == 1, folds == 0)
    rest, test = train_test_split(rows, test_size=TEST_SHARE, stratify=labels, random_state=seed)
    share = VALIDATION_SHARE / (1 - TEST_SHARE)
    _, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=seed)
    return in_parts(len(table), validation, test)


def shuffled(table: pd.DataFrame, seed: int) -> pd.Series:
    """The official split's parts, dealt out anew at random among the tracks of each genre that it keeps.

    As many tracks of each genre are in each part, but artists land on both sides: what a score loses from here to the
    official split, it owes to leaks. Of a table with several labels a track all are dealt out together.
    """
    parts = official(table, seed).dropna()
    genre = table["genre"] if "genre" in table else pd.Series("", table.index)
    return parts.groupby(genre).transform(np.random.default_rng(seed).permutation).reindex(table.index)


def artist(table: pd.DataFrame, seed: int) -> np.ndarray:
    """70/10/20 by artist: no artist is in two parts. A track without an artist stands for itself.

    With few artists a genre can be missing from validation or test, but never from train.
    """
    return grouped(table, artist_groups(table), seed)


def artist_album(table: pd.DataFrame, seed: int) -> np.ndarray:
    """As `artist`, but artists who share an album, such as a compilation, stay together too."""
    return grouped(table, artist_album_groups(table), seed)


def grouped(table: pd.DataFrame, groups: pd.Series, seed: int) -> np.ndarray:
    """70/10/20 of the tracks, no group in two parts."""
    from scripts.tables.group_folds import group_folds

    if "labels" in table:
        return split_labels(table, groups, seed)
    check_sizes(table.assign(group=groups), "group", "artists")
    if min(groups.nunique(), table["genre"].value_counts().max()) < FOLDS:
        raise TableError(
            f"{groups.nunique()} artists; the artist split needs at least {FOLDS}, and a genre of {FOLDS} tracks; "
            "add some, or choose --split random80, whose artists are in all parts"
        )
    folds = group_folds(table["class"], groups, FOLDS, seed)
    parts = in_parts(len(table), folds == 2, folds < 2)
    lost = set(table["genre"]) - set(table["genre"][parts == "train"])
    if lost or set(parts) != set(PARTS):
        what = f"genre {min(lost)!r} is not in train" if lost else "a part is empty"
        raise TableError(f"{what} with so few artists; give another --seed or --split, or add artists")
    return parts


def split_labels(table: pd.DataFrame, groups: pd.Series, seed: int) -> np.ndarray:
    """70/10/20 of the groups of a table with several labels a track, each label in the same shares."""
    from scripts.tables.stratify import hold_out

    present = presences(table)
    test = hold_out(groups, present, TEST_SHARE, seed)
    parts, share = np.where(test, "test", "train").astype(object), VALIDATION_SHARE / (1 - TEST_SHARE)
    parts[np.flatnonzero(~test)[hold_out(groups[~test], present[~test], share, seed)]] = "validation"
    lost = present.any(0) & ~present[parts == "train"].any(0)
    if lost.any():
        name = label_names(table)[lost.argmax()]
        raise TableError(f"label {name!r} is not in train; give another --seed or --split, or add tracks that have it")
    return parts


def presences(table: pd.DataFrame) -> np.ndarray:
    """bool [tracks, labels] of a table with several labels a track."""
    return label_matrix(table, label_names(table)) == 1


SPLITS: dict[str, Callable[..., pd.Series | np.ndarray]] = {
    "official": official,
    "random80": random80,
    "artist": artist,
    "artist_album": artist_album,
    "shuffled": shuffled,
}


def default_split(table: pd.DataFrame) -> tuple[str, str]:
    """The name of the split that is taken where none is asked for, and why.

    The official one where there is one, even if it leaves tracks out; else the one by artist where artists are known;
    else a random one.
    """
    parts = official_parts(table).dropna()
    if len(parts) and parts.isin(PARTS).all():
        return "official", "the dataset has a split of its own"
    if parts.empty and has_official_folds(table):
        return "official", "the dataset has folds of its own: the first tests, the second validates"
    if known_ids(table, "artist_id").notna().any():
        return "artist", "the artists are known, and none of them is to be in two parts"
    return "random80", "the table has neither an official split nor artists"


def default_fold_unit(table: pd.DataFrame) -> tuple[str, str]:
    """What folds go by where nothing is asked for, one of `FOLD_UNITS`, and why; in the order of `default_split`."""
    if has_official_folds(table):
        return "official", "the dataset has folds of its own"
    if known_ids(table, "artist_id").notna().any():
        return "artist", "the artists are known, and none of them is to be in two folds"
    return "track", "the table has neither official folds nor artists"


def choose_folds(table: pd.DataFrame, folds: int | None = None, by: str | None = None) -> tuple[int, str]:
    """How many folds, and by what; prints the latter where it is chosen here.

    Parameters
    ----------
    table : as for `k_folds`.
    folds : default: 5, or as many as there are official ones.
    by : one of `FOLD_UNITS`; default: that of `default_fold_unit`.

    Raises
    ------
    ConfigError, TableError : as `k_folds` of the official folds.
    """
    if by is None:
        by, reason = default_fold_unit(table)
        print(f"--by {by}, since {reason}")
    if by == "official":
        folds = int(official_folds(table, folds).max()) + 1
    return folds or 5, by


def k_folds(table: pd.DataFrame, folds: int = 5, seed: int = 0, by: str = "track") -> np.ndarray:
    """The fold of each row, 0 to `folds` - 1; every fold holds every class, and a track's clips stay together.

    scikit-learn's stratified folds; of a table with several labels a track those of iterative stratification.

    Parameters
    ----------
    table : with `track_id`, `genre` and `class` (`artist_id` for "artist", `fold` for "official"), a row per track or
        per clip.
    folds : how many, at least 2.
    seed : of who comes into which fold.
    by : "track" deals the tracks of each class out evenly; "artist" also keeps artists together; "official" takes the
        dataset's own folds as they are.

    Returns
    -------
    int [rows].

    Raises
    ------
    ConfigError : an unknown `by`, fewer than two folds, or another number of folds than the official ones.
    TableError : a class has fewer tracks than folds, or is missing from a fold because its artists are too few; or
        there are no official folds, or not for every track.
    """
    pick("unit of folds", by, FOLD_UNITS)
    if folds < 2:
        raise ConfigError(f"{folds} folds; cross-validation needs at least 2")
    if by == "official":
        return official_folds(table, folds)
    tracks = table.drop_duplicates("track_id").reset_index(drop=True)
    if "labels" in tracks:
        return deal_labels(tracks, folds, seed, by)[table["track_id"]].to_numpy()
    sizes = tracks["genre"].value_counts()
    if sizes.min() < folds:
        raise TableError(
            f"genre {sizes.idxmin()!r} has {sizes.min()} tracks, too few for {folds} folds; "
            "take fewer folds, add tracks or remove the genre"
        )
    deal = deal_artists if by == "artist" else deal_tracks
    fold = pd.Series(deal(tracks, folds, seed), tracks["track_id"])
    return fold[table["track_id"]].to_numpy()


def has_official_folds(table: pd.DataFrame) -> bool:
    """Whether a label table says of its tracks which of the dataset's own folds they are in."""
    return "fold" in table and bool(table["fold"].notna().any())


def official_folds(table: pd.DataFrame, folds: int | None) -> np.ndarray:
    """The dataset's own fold of each row, numbered from 0 in the order of their names (of numbers: by size).

    `folds` is how many there have to be; None takes all that there are. Raises as `k_folds`.
    """
    if not has_official_folds(table):
        raise TableError(f"this table has no official folds (column fold); {OTHERWISE}")
    missing = table["fold"].isna()
    if missing.any():
        track = table.loc[missing, "track_id"].iloc[0]
        raise TableError(f"track {track} has no fold; fill in the column fold, or {OTHERWISE}")
    values = table["fold"].map({name: fold_key(str(name)) for name in table["fold"].unique()})
    names = sorted(values.unique(), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    if (values.groupby(table["track_id"].to_numpy()).nunique() > 1).any():
        raise TableError("a track stands in two of the official folds; correct the column fold")
    if len(names) < 2:
        raise TableError(f"the column fold holds {names[0]} alone; correct it, or {OTHERWISE}")
    if len(names) != (folds or len(names)):
        raise ConfigError(
            f"{folds} folds, but the dataset has {len(names)} of its own ({', '.join(names)}); give that number, or "
            "choose --by artist or --by track"
        )
    return values.map({name: number for number, name in enumerate(names)}).to_numpy()


def fold_key(name: str) -> str:
    """What is the same for a fold's name in either case, and for its number as spreadsheets may write it."""
    name = fold_name(name).removesuffix(".0")
    return str(int(name)) if name.isdecimal() else name


def deal_labels(tracks: pd.DataFrame, folds: int, seed: int, by: str) -> pd.Series:
    """The fold of each track of a table with several labels a track, by its id."""
    from scripts.tables.stratify import deal

    groups = artist_groups(tracks) if by == "artist" else tracks["track_id"].astype(str)
    return pd.Series(deal(groups, presences(tracks), folds, seed), tracks["track_id"])


def deal_tracks(tracks: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    labels, result = tracks["class"].to_numpy(), np.empty(len(tracks), int)
    for fold, (_, rows) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)):
        result[rows] = fold
    return result


def deal_artists(tracks: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    from scripts.tables.group_folds import group_folds

    groups = artist_groups(tracks)
    if groups.nunique() < folds:
        raise TableError(f"{groups.nunique()} artists are too few for {folds} folds; take fewer folds or by='track'")
    result = group_folds(tracks["class"], groups, folds, seed)
    counts = pd.crosstab(tracks["genre"], result)
    if counts.to_numpy().min() == 0:
        genre = counts.min(axis=1).idxmin()
        raise TableError(
            f"genre {genre!r} is not in every fold: it has too few artists for {folds} folds; "
            "take fewer folds or another seed, add artists, or use by='track'"
        )
    return result


def in_parts(rows: int, validation: np.ndarray, test: np.ndarray) -> np.ndarray:
    parts = np.full(rows, "train", object)
    parts[validation], parts[test] = "validation", "test"
    return parts


def known_ids(table: pd.DataFrame, column: str) -> pd.Series:
    """A column of artists or albums as text that is the same for the same one (`fold_name`), NaN where none is known.

    Nothing is known of an empty cell, of FMA's -1, and of what other programs write there, such as "None" or "n/a".
    """
    if column not in table:
        return pd.Series(np.nan, table.index, object)
    codes, names = pd.factorize(table[column])  # -1 where the cell is empty
    folded = [fold_name(str(name)) for name in names]
    known = np.array([*(np.nan if name in UNKNOWN else name for name in folded), np.nan], object)
    return pd.Series(known[codes], table.index)


def artist_groups(table: pd.DataFrame) -> pd.Series:
    """Artist ids; where there is none, the track's own id."""
    return known_ids(table, "artist_id").fillna("track " + table["track_id"].astype(str))


def artist_album_groups(table: pd.DataFrame) -> pd.Series:
    """A number for each set of tracks that are linked by common artists or albums, directly or by way of others."""
    artists = pd.factorize(artist_groups(table))[0]
    albums = pd.factorize(known_ids(table, "album_id").fillna("track " + table["track_id"].astype(str)))[0]
    size = artists.max() + 1 + albums.max() + 1
    links = coo_array((np.ones(len(table)), (artists, artists.max() + 1 + albums)), (size, size))
    return pd.Series(connected_components(links, directed=False)[1][artists], table.index)


def check_sizes(table: pd.DataFrame, unit: str, name: str) -> None:
    """Every genre needs enough units for each of the folds to be possible."""
    sizes = table.groupby("genre")[unit].nunique()
    needed = FEWEST if name == "tracks" else 3
    if sizes.min() < needed:
        raise TableError(
            f"genre {sizes.idxmin()!r} has {sizes.min()} {name}; this split needs at least {needed} in every genre; "
            "add some, remove the genre, or choose another --split"
        )


def stratified_subset(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """`count` tracks, the same share of each part and class; from as many as there are of these on, some of each.

    Which they are depends on the ids alone, not on the order of rows, and smaller subsets are parts of greater ones.

    Parameters
    ----------
    table : a row per track; the columns split, and class or labels, count where they are there. A track with several
        labels counts for the rarest of them.
    """
    strata = strata_of(table)
    order = table["track_id"].map(lambda track: hashlib.sha256(str(track).encode(errors="surrogateescape")).hexdigest())
    strata = strata[order.sort_values().index]
    place = strata.groupby(strata).cumcount() / strata.map(strata.value_counts())  # 0 up to 1 in each stratum
    return table[table.index.isin(place.sort_values(kind="stable").index[:count])]


def strata_of(table: pd.DataFrame) -> pd.Series:
    """The part and the class, or the rarest label, of each row, as text."""
    strata = table["split"].astype(str) if "split" in table else pd.Series("", table.index)
    if "labels" in table:
        present = presences(table)
        rarest = np.where(present, present.sum(0), len(table) + 1).argmin(1)
        return strata + "\t" + np.where(present.any(1), rarest, -1).astype(str)
    return strata + "\t" + table["class"].astype(str) if "class" in table else strata


def fingerprint(table: pd.DataFrame, columns: Sequence[str] = ("split",)) -> str:
    """Twelve hexadecimal digits of who is where; equal splits have equal fingerprints, in any row order.

    `columns` says what of the tracks has to be equal.
    """
    rows = table.drop_duplicates("track_id")
    cells = [map(str, rows[name].tolist()) for name in ("track_id", *columns)]
    lines = sorted(map("\t".join, zip(*cells, strict=True)))
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]
