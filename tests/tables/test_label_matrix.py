"""Cells of labels and their matrix, against scikit-learn's binariser and cases worked by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import MultiLabelBinarizer

from scripts.common.errors import TableError
from scripts.tables.label_matrix import join, label_matrix, label_names, split_names


@pytest.mark.parametrize("name", ["Drum; Bass", "-", "", " ", " rock"])
def test_name_that_a_cell_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(TableError, match=f"the label {name!r} cannot stand among several"):
        join(["jazz", name])


NAMES = ["cello", "flute", "human voice", "oboe"]
ROWS = st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=8)


@given(ROWS)
def test_matrix_is_scikit_learns(rows):
    table = pd.DataFrame({"labels": [join(row) for row in rows]})
    expected = MultiLabelBinarizer(classes=NAMES).fit_transform(rows)
    np.testing.assert_array_equal(label_matrix(table, NAMES), expected)
    assert [set(split_names(text)) for text in table["labels"]] == rows


def test_unknown_is_neither_present_nor_absent():
    table = pd.DataFrame({"labels": ["cello", "-"], "absent": ["oboe;flute", "-"]})
    nan = np.nan
    np.testing.assert_array_equal(label_matrix(table, NAMES), [[1, 0, nan, 0], [nan, nan, nan, nan]])
    assert label_names(table) == ["cello", "flute", "oboe"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"labels": ["cello", "flut"]}, ["songs.csv", "row 3", "'flut'", "did you mean 'flute'"]),
        ({"labels": ["cello", ""]}, ["songs.csv", "row 3", "empty labels", "'-'"]),
        ({"labels": [float("nan")]}, ["songs.csv", "row 2", "empty labels"]),
        ({"labels": ["oboe"], "absent": ["oboe"]}, ["songs.csv", "row 2", "'oboe'", "absent"]),
    ],
)
def test_wrong_cells_are_named(columns, words):
    with pytest.raises(TableError) as error:
        label_matrix(pd.DataFrame(columns), NAMES, "songs.csv")
    assert all(word in str(error.value) for word in words)
