"""Folds that keep groups whole are scikit-learn's."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from scripts.tables.group_folds import add_up, group_folds


def scikit_learns(labels: pd.Series, groups: pd.Series, folds: int, seed: int) -> list[int]:
    result = np.empty(len(labels), int)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        for fold, (_, rows) in enumerate(
            StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, groups)
        ):
            result[rows] = fold
    return result.tolist()


@settings(max_examples=40, deadline=None)
@given(
    classes=st.sampled_from([1, 2, 3, 8, 17]),
    folds=st.integers(2, 10),
    size=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_as_scikit_learn_deals_them(classes: int, folds: int, size: int, seed: int) -> None:
    generator, rows = np.random.default_rng(seed), 12 * classes * size
    labels = pd.Series(np.arange(rows) * classes // rows)  # equal groups, so that rounding decides
    groups = pd.Series([f"artist {number // size}" for number in generator.permutation(rows)])
    assert group_folds(labels, groups, folds, seed).tolist() == scikit_learns(labels, groups, folds, seed)


@pytest.mark.parametrize("classes", [16, 150])
def test_as_scikit_learn_deals_many_classes(classes: int) -> None:
    generator = np.random.default_rng(classes)
    groups = pd.Series(generator.integers(0, 200, 900))
    labels = pd.Series(np.where(generator.random(900) < 0.9, groups * 7 % classes, generator.integers(0, classes, 900)))
    for seed in (0, 1):
        assert group_folds(labels, groups, 5, seed).tolist() == scikit_learns(labels, groups, 5, seed)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 127, 128, 129, 300, 1000])
def test_sums_are_rounded_as_numpys(size: int) -> None:
    values = np.random.default_rng(size).lognormal(0, 5, size)
    assert add_up(values) == values.sum()
