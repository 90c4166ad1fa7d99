"""How a model does on the sounds it tags: what people keep of its tags, and whether its probabilities have moved."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, ks_2samp

from scripts.apps.store import Store, StoredSound

PERIOD = 200  # sounds that are compared with as many others
MIN_SOUNDS = 20  # sounds in a period; fewer say nothing
LEVEL = 0.05  # of the labels called moved, the share that may be so by chance
AGREEMENT = ["day", "sounds", "given", "kept", "added", "agreement"]


def agreement(sounds: Sequence[StoredSound]) -> pd.DataFrame:
    """How many of the model's tags people kept, by the day (UTC) on which the sounds were made.

    Parameters
    ----------
    sounds : those that somebody corrected or confirmed.

    Returns
    -------
    A row per day, the first day first: day (a Timestamp), sounds, given (tags by the model), kept (of these), added
    (tags by people), agreement (kept / given; NaN where the model gave none).
    """
    rows = []
    for stored in sounds:
        given, now = set(stored.sound.tags), set(stored.tags)
        counts = {"given": len(given), "kept": len(given & now), "added": len(now - given)}
        rows.append({"day": stored.sound.created[:10], "sounds": 1, **counts})
    days = pd.DataFrame(rows, columns=AGREEMENT[:-1]).groupby("day").sum().reset_index()
    return days.assign(day=pd.to_datetime(days["day"]), agreement=days["kept"] / days["given"])[AGREEMENT]


def periods(store: Store) -> tuple[list[StoredSound], list[StoredSound]]:
    """The first and the most recent sounds of the model that tagged the newest sound: as many of each, none in both."""
    newest = store.newest(1)
    if not newest:
        return [], []
    model = newest[0].sound.model
    length = min(PERIOD, store.count(model) // 2)
    return store.oldest(length, model), store.newest(length, model=model)


def drift(first: Sequence[StoredSound], recent: Sequence[StoredSound]) -> pd.DataFrame:
    """Of each label the probabilities in two periods, compared by the Kolmogorov-Smirnov test.

    Parameters
    ----------
    first, recent : sounds of one model, at least `MIN_SOUNDS` of each.

    Returns
    -------
    A row per label, that with the largest distance first: label, first and recent (mean probabilities), distance
    (largest one between the two distribution functions, 0 to 1), p (adjusted for the number of labels by Benjamini
    and Hochberg), moved (p below `LEVEL`).
    """
    labels = sorted(set.intersection(*(set(stored.sound.probabilities) for stored in (*first, *recent))))
    before, after = matrix(first, labels), matrix(recent, labels)
    tests = [ks_2samp(*columns) for columns in zip(before.T, after.T, strict=True)]
    table = pd.DataFrame({"label": labels, "first": before.mean(axis=0), "recent": after.mean(axis=0)})
    table["distance"] = [test.statistic for test in tests]
    table["p"] = false_discovery_control([test.pvalue for test in tests])
    table["moved"] = table["p"] < LEVEL
    return table.sort_values("distance", ascending=False, kind="stable", ignore_index=True)


def matrix(sounds: Sequence[StoredSound], labels: Sequence[str]) -> np.ndarray:
    """Probabilities: float [sounds, labels]."""
    return np.array([[stored.sound.probabilities[label] for label in labels] for stored in sounds])
