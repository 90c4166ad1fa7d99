"""Tables of features as items: one row of numbers for a track or a clip, in place of a spectrogram."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.common.errors import TableError
from scripts.datasets import gtzan_features
from scripts.loading.embedding_cache import FACTS, EmbeddingCache
from scripts.loading.loader import Items
from scripts.tables.label_table import LABEL_COLUMNS, read_table

EPSILON = 1e-8
KEYS = ("track_id", "clip")
NOT_FEATURES = {*LABEL_COLUMNS, *KEYS, "fold"}


def load_rows(table: pd.DataFrame, source: str, features: int) -> tuple[Items, pd.DataFrame]:
    """Join a metadata table with a table of features, standardised by the mean and deviation of the training part.

    Parameters
    ----------
    table : one row per track, with `track_id, genre, class, split`.
    source : as for `read_source`.
    features : how many columns of features there have to be.

    Returns
    -------
    Items with an array float32 [rows, features, 1], and the tracks without features, with `status` and `reason`.

    Raises
    ------
    TableError : the source is missing or wrong, holds none of the tracks, or another number of features.
    """
    rows = read_source(source)
    items = join(table, rows, source)
    if items.array.shape[1] != features:
        raise TableError(f"{source}: {items.array.shape[1]} features, not {features}; set features to it")
    training = items.array[(items.tracks["split"] == "train").to_numpy()[items.track]]
    array = (items.array - training.mean(0)) / (training.std(0) + EPSILON)
    known = table["track_id"].isin(items.tracks["track_id"])
    left_out = table.loc[~known, ["track_id", "split"]].assign(status="missing", reason="no features")
    return Items(array.astype(np.float32)[:, :, None], items.index, items.labels, items.track, items.tracks), left_out


def read_source(source: str | Path) -> pd.DataFrame:
    """A table of features, with `track_id`, perhaps `clip`, and a column for each feature.

    Parameters
    ----------
    source : a CSV of such a table, a row per track or per clip; the folder of a cache of embeddings, which gives a row
        per clip; or the folder of GTZAN's public table.

    Raises
    ------
    TableError, CacheError : it is missing, wrong or damaged.
    """
    if (Path(source) / FACTS).is_file():
        return EmbeddingCache.open(source).table()
    return gtzan_features.read_features(source) if Path(source).is_dir() else read_table(source, ["track_id"])


def read_sources(sources: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """The features of one source or of several side by side, for the clips, or tracks, that all of them describe.

    A source with a row per track, beside one with a row per clip, describes each of the track's clips. The columns of
    several sources are numbered, as in 1_e0 and 2_mfcc1_mean.
    """
    first, *others = map(read_source, list_sources(sources))
    if not others:
        return first
    rows = number_features(first, 1)
    for number, table in enumerate(others, start=2):
        other = number_features(table, number)
        rows = rows.merge(other, on=[name for name in KEYS if name in rows and name in other])
    return rows


def list_sources(sources: str | Path | Sequence[str | Path]) -> list[str]:
    """The names of one source or of several."""
    return [str(sources)] if isinstance(sources, (str, Path)) else [*map(str, sources)]


def number_features(table: pd.DataFrame, number: int) -> pd.DataFrame:
    """Only the keys and features of a table, the latter with a number before their names."""
    features = {name: f"{number}_{name}" for name in table if name not in NOT_FEATURES}
    return table[[*(name for name in KEYS if name in table), *features]].rename(columns=features)


def join(tracks: pd.DataFrame, rows: pd.DataFrame, source: str) -> Items:
    """The features of the tracks that have some, in the order of `tracks`."""
    known = tracks[tracks["track_id"].isin(rows["track_id"])].reset_index(drop=True)
    if known.empty:
        raise TableError(f"{source}: has features of none of the tracks; describe the tracks of this table")
    place = pd.Series(known.index, known["track_id"])
    rows = rows[rows["track_id"].isin(place.index)]
    track = place[rows["track_id"]].to_numpy()
    order = np.argsort(track, kind="stable")
    array, track, counts = feature_values(rows, source)[order], track[order], np.bincount(track)
    return Items(array, np.arange(len(track)), known["class"].to_numpy()[track], track, known.assign(items=counts))


def feature_values(rows: pd.DataFrame, source: str) -> np.ndarray:
    """The feature columns, float64 [rows, features], all finite."""
    columns = [name for name in rows if name not in NOT_FEATURES]
    if not columns:
        raise TableError(f"{source}: has no column of features; make it with python -m scripts descriptors")
    values = rows[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if not np.isfinite(values).all():
        column = columns[(~np.isfinite(values)).any(axis=0).argmax()]
        raise TableError(f"{source}: {column!r} holds what is no number; make it with python -m scripts descriptors")
    return values
