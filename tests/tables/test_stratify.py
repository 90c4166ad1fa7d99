"""Holding out groups: whole, in any order of rows, each label in proportion."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.common.errors import TableError
from scripts.tables.stratify import hold_out


@given(seed=st.integers(0, 2**32 - 1), groups=st.integers(2, 40), share=st.sampled_from([0.15, 0.5]))
def test_groups_stay_whole_in_any_order_of_rows(seed: int, groups: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    group, present = pd.Series(rng.integers(0, groups, 60)).astype(str), rng.random((60, 4)) < 0.3
    group[:2] = ["a", "b"]
    held_out = hold_out(group, present, share)
    assert not set(group[held_out]) & set(group[~held_out])
    order = rng.permutation(60)
    np.testing.assert_array_equal(hold_out(group[order], present[order], share), held_out[order])


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_each_label_keeps_its_share(share: float) -> None:
    rng = np.random.default_rng(0)
    of_song = rng.random((200, 11)) < np.linspace(0.05, 0.6, 11)
    song = np.repeat(np.arange(200), 3)
    present = of_song[song] & (rng.random((600, 11)) < 0.8)
    songs = pd.Series(song).astype(str)
    held_out = hold_out(songs, present, share)
    assert songs[held_out].nunique() == pytest.approx(200 * share, abs=4)
    unions = pd.DataFrame(present).groupby(song).any()
    mine = unions.loc[np.unique(song[held_out])]
    np.testing.assert_allclose(mine.sum(), share * unions.sum(), atol=2.5)


@pytest.mark.parametrize(("groups", "words"), [(["x", "x"], "here is x"), ([], "here is none")])
def test_one_group_cannot_be_held_out(groups: list[str], words: str) -> None:
    with pytest.raises(TableError, match=f"at least 2 songs.*{words}"):
        hold_out(pd.Series(groups, dtype=str), np.ones((len(groups), 2), bool), 0.5)
