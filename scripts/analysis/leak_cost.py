"""What a split's leaks are worth: the same classifier, the same sizes, only who is in test differs."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold, train_test_split

from scripts.common.errors import ConfigError, TableError
from scripts.loading.loader import Items
from scripts.metrics.single_label import bootstrap_interval
from scripts.tables.group_folds import group_folds
from scripts.tables.splits import artist_groups, k_folds, known_ids
from scripts.training.classifiers import make_classifier

REPEATS, TENFOLD = 5, 10
CLIP_FOLDS = 5
CLIPS_AT_ONCE = 256  # whose statistics are taken in one step

Rows = tuple[np.ndarray, np.ndarray]  # positions to fit on, positions to score


@dataclass(frozen=True)
class MeanScore:
    """A mean over `n` scores: of folds or draws with their standard deviation, or of tracks with an interval.

    Attributes
    ----------
    mean : clip accuracy or track accuracy, 0 to 1.
    n : number of scores averaged.
    unit : what each is the score of: "folds", "draws" or "tracks".
    sd : standard deviation over folds or draws.
    interval_95 : bootstrap interval over tracks.
    """

    mean: float
    n: int
    unit: str
    sd: float | None = None
    interval_95: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Without what it does not have."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def over_draws(scores: Iterable[float], unit: str) -> MeanScore:
    values = np.array(list(scores))
    return MeanScore(float(values.mean()), len(values), unit, sd=float(values.std(ddof=1)))


def over_tracks(correct: np.ndarray) -> MeanScore:
    low, high = bootstrap_interval(correct)
    return MeanScore(float(np.mean(correct)), len(correct), "tracks", interval_95=(float(low), float(high)))


# --- the public table of features ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Examples:
    """Features [rows, features] with their labels [rows], and the classifier that is fitted anew for each split."""

    features: np.ndarray
    labels: np.ndarray
    classifier: str
    seed: int = 0

    def predict(self, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Fit on some rows, and predict the labels [test rows] of others."""
        model = make_classifier(self.classifier, self.seed).fit(self.features[train], self.labels[train])
        return model.predict(self.features[test])

    def correct(self, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """The same, as bool [test rows]: which predictions are correct."""
        return self.predict(train, test) == self.labels[test]

    def scores(self, splits: Iterable[Rows]) -> Iterator[float]:
        for train, test in splits:
            yield float(self.correct(train, test).mean())


def examples_of(table: pd.DataFrame, classifier: str, seed: int) -> Examples:
    features = table.drop(columns=["track_id", "clip", "genre", "class", "split"])
    return Examples(features.to_numpy(float), table["class"].to_numpy(), classifier, seed)


def measure_tracks(
    table: pd.DataFrame, classifier: str = "svm", draws: int = 20, seed: int = 0
) -> dict[str, MeanScore]:
    """Track accuracy of one classifier on a table of features under random and fault-filtered splits.

    Parameters
    ----------
    table : one row per track, `track_id, clip, genre, class, split` and the features, see `read_features`.
    classifier : see `make_classifier`.
    draws : random splits of the fault-filtered split's sizes.
    seed : of the random splits and the classifier.

    Returns
    -------
    tenfold : stratified 10-fold cross-validation over all tracks, 5 times.
    random_same_sizes : random splits of all tracks, with the fault-filtered split's tracks per genre in both parts.
    random_same_tracks : the same of the tracks in the fault-filtered split alone, without repeated and faulty files.
    fault_filtered : fitted on its train and validation, scored on its test (Kereliuk, Sturm and Larsen, 2015).

    Raises
    ------
    ConfigError : an unknown classifier, or a single draw.
    TableError : a genre has too few tracks for ten folds, or none in train or test.
    """
    if draws < 2:
        raise ConfigError(f"{draws} draw has no standard deviation; take at least 2")
    check_features(table)
    examples, labels = examples_of(table, classifier, seed), table["class"].to_numpy()
    train, test = official_rows(table)
    everyone, kept = np.arange(len(table)), np.concatenate([train, test])
    tenfold = RepeatedStratifiedKFold(n_splits=TENFOLD, n_repeats=REPEATS, random_state=seed).split(labels, labels)
    sizes = np.bincount(labels[train]), np.bincount(labels[test])
    same_sizes, same_tracks = (draw_sizes(labels, pool, sizes, draws, seed) for pool in (everyone, kept))
    return {
        "tenfold": over_draws(examples.scores(tenfold), "folds"),
        "random_same_sizes": over_draws(examples.scores(same_sizes), "draws"),
        "random_same_tracks": over_draws(examples.scores(same_tracks), "draws"),
        "fault_filtered": over_tracks(examples.correct(train, test)),
    }


def check_features(table: pd.DataFrame) -> None:
    counts = pd.crosstab(table["genre"], table["split"]).reindex(columns=["train", "test"], fill_value=0)
    sizes = table["genre"].value_counts()
    poor = (sizes < TENFOLD) | (counts.reindex(sizes.index, fill_value=0) == 0).any(axis=1)
    if poor.any():
        raise TableError(
            f"genre {poor.idxmax()!r} has {sizes[poor.idxmax()]} tracks; the audit needs at least {TENFOLD} of every "
            "genre, some of them in train and in test; take the whole table as it was published"
        )


def measure_clips(table: pd.DataFrame, classifier: str = "svm", seed: int = 0) -> dict[str, MeanScore]:
    """Clip accuracy on a table with a row per clip.

    Returns
    -------
    clips_at_random : 5 folds of clips; those of a track are on both sides.
    clips_by_track : 5 folds of tracks with all their clips.
    clips_fault_filtered : fault-filtered, each track counting once; the interval is over tracks.
    """
    examples, labels = examples_of(table, classifier, seed), table["class"].to_numpy()
    at_random = StratifiedKFold(CLIP_FOLDS, shuffle=True, random_state=seed).split(labels, labels)
    fold = k_folds(table, CLIP_FOLDS, seed)
    by_track = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(CLIP_FOLDS)]
    train, test = official_rows(table)
    shares = pd.Series(examples.correct(train, test)).groupby(table["track_id"].to_numpy()[test]).mean()
    return {
        "clips_at_random": over_draws(examples.scores(at_random), "folds"),
        "clips_by_track": over_draws(examples.scores(by_track), "folds"),
        "clips_fault_filtered": over_tracks(shares.to_numpy()),
    }


def official_rows(table: pd.DataFrame) -> Rows:
    """Train with validation, as nothing is chosen on it, and test."""
    split = table["split"]
    return np.flatnonzero(split.isin(["train", "validation"])), np.flatnonzero(split == "test")


def draw_sizes(
    labels: np.ndarray, pool: np.ndarray, sizes: tuple[np.ndarray, np.ndarray], draws: int, seed: int
) -> Iterator[Rows]:
    """Random splits of a pool of rows with so many of each class in (train, test)."""
    for draw in range(draws):
        generator = np.random.default_rng((seed, draw))
        parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for label, (train, test) in enumerate(zip(*sizes, strict=True)):
            members = generator.permutation(pool[labels[pool] == label])
            parts[0].append(members[test : test + train])
            parts[1].append(members[:test])
        yield np.concatenate(parts[0]), np.concatenate(parts[1])


# --- one's own cached data ----------------------------------------------------------------------------------


def clip_statistics(items: Items) -> np.ndarray:
    """What a classical classifier sees of a clip: float32 [clips, 3 * rows].

    Of each row of the spectrogram, such as a mel band, the mean and standard deviation over frames, and the standard
    deviation of its change from frame to frame.
    """
    blocks = []
    for start in range(0, len(items), CLIPS_AT_ONCE):
        x = items.array[items.index[start : start + CLIPS_AT_ONCE]].astype(np.float32)
        x = x.reshape(len(x), -1, x.shape[-1])
        blocks.append(np.hstack([x.mean(axis=2), x.std(axis=2), np.diff(x, axis=2).std(axis=2)]))
    return np.concatenate(blocks)


def measure_splits(
    items: Items, artists: pd.Series, classifier: str = "nearest", draws: int = 5, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """One classifier on clip statistics under four splits with as many test tracks (or clips) as the table's own.

    Parameters
    ----------
    items : clips of all tracks; `tracks` holds the table's own split.
    artists : [tracks], NaN where unknown.
    classifier : see `make_classifier`.
    draws : of each random split.
    seed : of the random splits and the classifier.

    Returns
    -------
    By split, "clip" (clips at random), "track" (tracks at random), "artist" (artists at random; only where some are
    known) and "table" (its own): clip_accuracy and track_accuracy (majority of a track's clips; not for "clip"), each
    test track counting once; mean numbers of clips fitted on and scored; and the shares of test tracks which are in
    the other part themselves (seen_tracks) or by an artist who is (seen_artists).

    Raises
    ------
    TableError : test is too small, or too large, to hold every genre on both sides.
    """
    check_sizes(items)
    examples = Examples(clip_statistics(items), items.labels, classifier, seed)
    result = {}
    for name, split in SPLITS.items():
        if name != "artist" or artists.notna().any():
            drawn = [split(items, artists, seed + draw) for draw in range(1 if name == "table" else draws)]
            result[name] = measure_split(examples, items, artists, drawn)
    del result["clip"]["track_accuracy"]
    return result


def check_sizes(items: Items) -> None:
    labels, test = items.tracks["class"], int((items.tracks["split"] == "test").sum())
    genres = labels.nunique()
    if labels.value_counts().min() < 2 or not genres <= test <= len(labels) - genres:
        raise TableError(
            f"{test} test tracks of {len(labels)} for {genres} genres; the audit needs at least {genres} on either "
            "side, and two tracks of each genre; add tracks or make another split (python -m scripts metadata)"
        )


def clip_rows(items: Items, test: np.ndarray) -> Rows:
    """The clips of all but some tracks, and theirs, from bool [tracks]."""
    return np.flatnonzero(~test[items.track]), np.flatnonzero(test[items.track])


def split_clips(items: Items, artists: pd.Series, seed: int) -> Rows:
    size = int((items.tracks["split"] == "test").to_numpy()[items.track].sum())
    rows = np.arange(len(items))
    return tuple(train_test_split(rows, test_size=size, stratify=items.labels, random_state=seed))


def split_tracks(items: Items, artists: pd.Series, seed: int) -> Rows:
    size, labels = int((items.tracks["split"] == "test").sum()), items.tracks["class"]
    _, test = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed)
    return clip_rows(items, np.isin(np.arange(len(labels)), test))


def split_artists(items: Items, artists: pd.Series, seed: int) -> Rows:
    """A fold of whole artists, as near the size of test as they allow."""
    groups = artist_groups(items.tracks.assign(artist_id=artists.to_numpy()))
    folds = max(2, round(len(groups) / (items.tracks["split"] == "test").sum()))
    if groups.nunique() < folds:
        raise TableError(f"{groups.nunique()} artists are too few for an artist split; add artists or clear artist_id")
    return clip_rows(items, group_folds(items.tracks["class"], groups, folds, seed) == 0)


def split_as_table(items: Items, artists: pd.Series, seed: int) -> Rows:
    return clip_rows(items, (items.tracks["split"] == "test").to_numpy())


SPLITS: dict[str, Callable[[Items, pd.Series, int], Rows]] = {
    "clip": split_clips,
    "track": split_tracks,
    "artist": split_artists,
    "table": split_as_table,
}


def measure_split(examples: Examples, items: Items, artists: pd.Series, drawn: list[Rows]) -> dict[str, Any]:
    """The scores of some draws of one split, all test tracks together."""
    shares = pd.concat([track_shares(examples, items, *rows) for rows in drawn]).groupby(level=0).mean()
    seen = np.array([seen_in_train(items, artists, *rows) for rows in drawn]).mean(axis=0)
    return {
        "clip_accuracy": over_tracks(shares["clip"].to_numpy()).as_dict(),
        "track_accuracy": over_tracks(shares["track"].to_numpy()).as_dict(),
        "draws": len(drawn),
        "train_clips": round(np.mean([len(train) for train, _ in drawn])),
        "test_clips": round(np.mean([len(test) for _, test in drawn])),
        "seen_tracks": float(seen[0]),
        "seen_artists": None if artists.isna().all() else float(seen[1]),
    }


def track_shares(examples: Examples, items: Items, train: np.ndarray, test: np.ndarray) -> pd.DataFrame:
    """For each test track: clip, the share of its clips that are correct; track, 1 if the commonest prediction is."""
    predictions = pd.Series(examples.predict(train, test), items.track[test])
    labels = pd.Series(items.tracks["class"].to_numpy())
    votes = pd.crosstab(predictions.index, predictions.to_numpy()).idxmax(axis=1)
    correct = (predictions == labels[predictions.index]).groupby(level=0).mean()
    return pd.DataFrame({"clip": correct, "track": (votes == labels[votes.index]).astype(float)})


def seen_in_train(items: Items, artists: pd.Series, train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """The shares of test tracks which are in train themselves, and whose known artist is."""
    mine, others = np.unique(items.track[test]), np.unique(items.track[train])
    by = artists.iloc[mine]
    return float(np.isin(mine, others).mean()), float((by.notna() & by.isin(artists.iloc[others].dropna())).mean())


def known_artists(table: pd.DataFrame, items: Items) -> pd.Series:
    """The artist of each of `items.tracks`, NaN where unknown."""
    once = table.drop_duplicates("track_id")
    return known_ids(once, "artist_id").set_axis(once["track_id"]).reindex(items.tracks["track_id"])
