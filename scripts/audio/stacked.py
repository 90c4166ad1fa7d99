"""Several arrays on disk as one."""

import functools
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

OPEN_FILES = 200  # at once, of an array; a process may often open 1,024
TYPE = np.dtype(np.float16)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of a .npy file with float16 of this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": TYPE.str, "fortran_order": False, "shape": shape})
    return file.getvalue()


def npy_bytes(shape: tuple[int, ...]) -> int:
    """The size of a .npy file with float16 of this shape."""
    return len(npy_header(shape)) + math.prod(shape) * TYPE.itemsize


class StackedArray:
    """Rows of several .npy files of float16 [rows, ...] as one array [rows, ...] that is only read.

    It is indexed as NumPy's arrays are, in its first axis by a row or by several, which are copied into the memory.
    Files are mapped when they are first needed, and only so many at once.

    Parameters
    ----------
    paths : the files.
    counts : number of rows in each.
    shape : of a row.
    order : which rows there are, int64 [rows], counted through all files.
    """

    dtype = TYPE

    def __init__(self, paths: Sequence[Path], counts: Sequence[int], shape: tuple[int, ...], order: np.ndarray) -> None:
        self.paths, self.counts, self.order = list(paths), list(counts), order
        self.ends = np.cumsum(counts, dtype=np.int64)
        self.shape = (len(order), *shape)
        self.open = functools.lru_cache(OPEN_FILES)(self.map_file)

    def map_file(self, number: int) -> np.ndarray:
        """All rows of a file, as a memory map."""
        shape = (self.counts[number], *self.shape[1:])
        return np.memmap(self.paths[number], TYPE, "r", len(npy_header(shape)), shape).view(np.ndarray)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if isinstance(first, (int, np.integer)):
            return self.row(range(len(self))[first])[tuple(rest)]
        rows = np.arange(len(self))[first] if isinstance(first, slice) else np.asarray(first)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        result = np.empty((len(rows), *self.shape[1:]), TYPE)
        for place, row in enumerate(rows.tolist()):
            result[place] = self.row(range(len(self))[row])
        return result[(slice(None), *rest)]

    def row(self, row: int) -> np.ndarray:
        """A row as a view of its file."""
        place = self.order[row]
        number = int(self.ends.searchsorted(place, "right"))
        return self.open(number)[place - self.ends[number]]  # counted from the end of its file

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or TYPE, copy=False)


class JoinedArray(StackedArray):
    """A stacked array with its first two axes as one: [rows, clips, ...] -> [rows * clips, ...]."""

    def __init__(self, array: StackedArray) -> None:
        rows, self.clips, *shape = array.shape
        self.array, self.shape = array, (rows * self.clips, *shape)

    def row(self, row: int) -> np.ndarray:
        """A clip as a view of its file."""
        return self.array.row(row // self.clips)[row % self.clips]
