"""Holding out whole groups of tracks so that every label keeps its share."""

import numpy as np
import pandas as pd
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold, MultilabelStratifiedShuffleSplit

from scripts.common.errors import TableError


def hold_out(groups: pd.Series, present: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Which rows to hold out: about `share` of the groups, and about that share of each label's groups.

    Iterative stratification of the groups by the union of their tracks' labels (Sechidis, Tsoumakas and Vlahavas,
    ECML PKDD 2011). A label of very few groups stays on the larger side.

    Parameters
    ----------
    groups : song, recording or artist of each row.
    present : bool [rows, labels].
    share : between 0 and 1.

    Returns
    -------
    bool [rows]; it depends on the groups' names, not on the order of the rows.

    Raises
    ------
    TableError : fewer than two groups.
    """
    names, group, unions = union_of_labels(groups, present)
    if len(names) < 2:
        raise TableError(
            f"at least 2 songs, recordings or artists are needed to hold some out, here is {''.join(names) or 'none'}; "
            "add the rest of the dataset"
        )
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    _, held_out = next(splitter.split(unions, unions))
    return np.isin(group, held_out)


def deal(groups: pd.Series, present: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """The fold of each row: groups stay whole, and labels are dealt out evenly, as by `hold_out`.

    Parameters
    ----------
    groups, present, seed : as for `hold_out`.
    folds : how many.

    Returns
    -------
    int [rows].

    Raises
    ------
    TableError : fewer groups than folds.
    """
    names, group, unions = union_of_labels(groups, present)
    if len(names) < folds:
        raise TableError(f"{len(names)} tracks, recordings or artists are too few for {folds} folds; take fewer folds")
    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold = np.empty(len(names), int)
    for number, (_, members) in enumerate(splitter.split(unions, unions)):
        fold[members] = number
    return fold[group]


def union_of_labels(groups: pd.Series, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names of the groups in order, the group of each row, and the labels of each group, bool [groups, labels]."""
    names, group = np.unique(groups.to_numpy(str), return_inverse=True)
    present = present if present.shape[1] > 1 else np.column_stack([present, ~present])  # the library needs two
    unions = np.zeros((len(names), present.shape[1]), bool)
    np.logical_or.at(unions, group, present)
    return names, group, unions
