"""Several files as one array, against NumPy's own concatenation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.audio import stacked
from scripts.audio.stacked import JoinedArray, StackedArray, npy_bytes

SHAPE = (3, 2, 4)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list[np.ndarray]]:
    folder = tmp_path_factory.mktemp("parts")
    arrays = [np.random.default_rng(count).random((count, *SHAPE)).astype(np.float16) for count in (5, 1, 8)]
    paths = [folder / f"{number}.npy" for number in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
        assert path.stat().st_size == npy_bytes(array.shape)
    return paths, arrays


rows = st.integers(0, 13)
indices = st.one_of(
    st.integers(-10, 9),
    st.lists(st.integers(-10, 9)).map(lambda values: np.array(values, int)),
    st.lists(st.booleans(), min_size=10, max_size=10).map(np.array),
    st.slices(10),
)


@given(order=st.lists(rows, min_size=10, max_size=10, unique=True), index=indices, inner=st.slices(3))
def test_reads_as_the_files_behind_each_other(parts, order, index, inner):
    paths, arrays = parts
    order = np.array(order)
    expected = np.concatenate(arrays)[order]
    found = StackedArray(paths, [5, 1, 8], SHAPE, order)
    assert (found.shape, len(found), found.dtype) == (expected.shape, 10, expected.dtype)
    np.testing.assert_array_equal(found[index], expected[index])
    np.testing.assert_array_equal(found[index, ..., inner], expected[index, ..., inner])
    joined, flat = JoinedArray(found), expected.reshape(-1, *SHAPE[1:])
    assert joined.shape == flat.shape
    if not (isinstance(index, np.ndarray) and index.dtype.kind == "b"):
        np.testing.assert_array_equal(joined[index], flat[index])
    np.testing.assert_array_equal(np.asarray(joined), flat)


def test_no_more_files_are_open_than_allowed(parts, monkeypatch):
    monkeypatch.setattr(stacked, "OPEN_FILES", 2)
    paths, arrays = parts
    found = StackedArray(paths, [5, 1, 8], SHAPE, np.arange(14))
    np.testing.assert_array_equal(found[:], np.concatenate(arrays))
    assert found.open.cache_info().currsize == 2


@pytest.mark.parametrize("row", [14, -15])
def test_row_beyond_the_end_is_an_index_error(parts, row):
    with pytest.raises(IndexError):
        StackedArray(parts[0], [5, 1, 8], SHAPE, np.arange(14))[row]
