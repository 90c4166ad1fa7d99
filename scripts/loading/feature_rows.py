"""Tables of features as items: one row of numbers for a track or a clip, in place of a spectrogram."""

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.common.errors import TableError
from scripts.datasets.gtzan_features import read_features
from scripts.loading.loader import Items
from scripts.tables.label_table import LABEL_COLUMNS, read_table

EPSILON = 1e-8


def load_rows(table: pd.DataFrame, source: str, features: int) -> tuple[Items, pd.DataFrame]:
    """Join a metadata table with a table of features, standardised by the mean and deviation of the training part.

    Parameters
    ----------
    table : one row per track, with `track_id, genre, class, split`.
    source : a CSV with `track_id` and a column for each feature, a row per track or per clip; or the folder of
        GTZAN's public table.
    features : how many columns of features there have to be.

    Returns
    -------
    Items with an array float32 [rows, features, 1], and the tracks without features, with `status` and `reason`.

    Raises
    ------
    TableError : the source is missing or wrong, holds none of the tracks, or another number of features.
    """
    rows = read_features(source) if Path(source).is_dir() else read_table(source, ["track_id"])
    items = join(table, rows, source)
    if items.array.shape[1] != features:
        raise TableError(f"{source}: {items.array.shape[1]} features, not {features}; set features to it")
    training = items.array[(items.tracks["split"] == "train").to_numpy()[items.track]]
    array = (items.array - training.mean(0)) / (training.std(0) + EPSILON)
    known = table["track_id"].isin(items.tracks["track_id"])
    left_out = table.loc[~known, ["track_id", "split"]].assign(status="missing", reason="no features")
    return Items(array.astype(np.float32)[:, :, None], items.index, items.labels, items.track, items.tracks), left_out


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
    columns = [name for name in rows if name not in {*LABEL_COLUMNS, "fold", "clip"}]
    if not columns:
        raise TableError(f"{source}: has no column of features; make it with python -m scripts descriptors")
    values = rows[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if not np.isfinite(values).all():
        column = columns[(~np.isfinite(values)).any(axis=0).argmax()]
        raise TableError(f"{source}: {column!r} holds what is no number; make it with python -m scripts descriptors")
    return values
