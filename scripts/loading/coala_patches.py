"""COALA's ready-made patches as items: its HDF5 files packed once into an array that is mapped into memory."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import write_aside
from scripts.datasets.coala import FILES, PATCH, RANGES, blocks, open_part
from scripts.datasets.coala_ranges import DATA_MAX, DATA_MIN
from scripts.loading.loader import KEPT, Items

SCALED = (-0.5, 1.5)  # the training file lies in 0 to 1, the other one about there


def load_patches(
    table: pd.DataFrame, labels: np.ndarray, folder: str | Path, shape: tuple[int, int]
) -> tuple[Items, pd.DataFrame]:
    """Join a metadata table with the patches, which are packed first if need be.

    Parameters
    ----------
    table : one row per sound, with `track_id` (its Freesound id) and `split`.
    labels : [sounds, labels], those of each row of the table.
    folder : of the HDF5 files.
    shape : mels and frames that the experiment expects.

    Returns
    -------
    Items with an array float16 [sounds, mels, frames], one for each sound of the table that is in the files; and the
    sounds that are not, with `status` and `reason`.

    Raises
    ------
    ConfigError : another shape than the patches have.
    TableError : a file is missing or wrong, or holds none of the sounds.
    """
    if tuple(shape) != PATCH:
        raise ConfigError(
            f"patches of {shape[0]} mels x {shape[1]} frames; COALA's are {PATCH[0]} x {PATCH[1]}; set spec"
        )
    folder = Path(folder)
    ids = read_ids(folder)
    rows = pd.Series(range(len(ids)), ids).groupby(level=0).first().reindex(table["track_id"]).to_numpy()
    known = ~np.isnan(rows)
    if not known.any():
        raise TableError(f"{folder}: holds none of the table's {len(table)} sounds; make this folder's label table")
    tracks = table.loc[known, [column for column in KEPT if column in table]].reset_index(drop=True)
    array = np.load(pack(folder, len(ids)), mmap_mode="r")
    items = Items(array, rows[known].astype(int), labels[known], np.arange(len(tracks)), tracks.assign(items=1))
    left_out = table.loc[~known, ["track_id", "split"]].assign(status="missing", reason="no patch")
    return items, left_out.reset_index(drop=True)


def read_ids(folder: Path) -> np.ndarray:
    """The Freesound ids of both files, as text, in the order of the packed rows."""
    parts = []
    for name in FILES.values():
        with open_part(folder / name) as group:
            parts.append(group["id"][:, 0].astype(str))
    return np.concatenate(parts)


def pack(folder: Path, sounds: int) -> Path:
    """The .npy file, float16 [sounds, mels, frames], of both HDF5 files; written anew when one of them has changed.

    Raises
    ------
    TableError : patches that are not scaled.
    """
    stats = [(folder / name).stat() for name in FILES.values()]
    digest = hashlib.sha256(repr([(stat.st_size, stat.st_mtime_ns) for stat in stats]).encode()).hexdigest()[:8]
    path = folder / f"patches_{digest}.npy"
    if path.is_file():
        return path
    header = {"descr": "<f2", "fortran_order": False, "shape": (sounds, *PATCH)}
    with write_aside(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in read_patches(folder, sounds):
            file.write(np.ascontiguousarray(block, "<f2").data)
    for old in set(folder.glob("patches_*.npy")) - {path}:
        old.unlink()
    return path


def read_patches(folder: Path, sounds: int) -> Iterator[np.ndarray]:
    """The patches of both files, some at a time."""
    with tqdm(total=sounds, desc="packing patches", unit=" sounds", disable=None) as progress:
        for name in FILES.values():
            with open_part(folder / name) as group:
                for block in blocks(group["data"]):
                    low, high = block.min(), block.max()
                    if not SCALED[0] <= low <= high <= SCALED[1]:
                        raise TableError(
                            f"{folder / name}: values from {low:.4g} to {high:.4g}; the published patches are scaled "
                            "to 0-1; scale each frame by its range in the training file"
                        )
                    yield block
                    progress.update(len(block))


# --- audio, made like the patches -----------------------------------------------------------------------------


def read_ranges(folder: str | Path) -> np.ndarray:
    """The least and the greatest training value of each frame, float32 [2, frames], that the patches were scaled by.

    They are the published ones, unless the folder holds others, of patches of one's own.

    Raises
    ------
    TableError : the folder's file is not a range for each frame.
    """
    path = Path(folder) / RANGES
    needed = f"a CSV with data_min and data_max for each of {PATCH[1]} frames"
    if not path.is_file():
        return np.array([DATA_MIN, DATA_MAX], np.float32)
    try:
        ranges = pd.read_csv(path)[["data_min", "data_max"]].to_numpy(np.float32).T
    except (ValueError, KeyError):
        raise TableError(f"{path}: not {needed}; make it again") from None
    if ranges.shape != (2, PATCH[1]) or not (ranges[0] < ranges[1]).all() or not np.isfinite(ranges).all():
        raise TableError(f"{path}: {ranges.shape[1]} rows, or a range without width; give {needed}")
    return ranges
