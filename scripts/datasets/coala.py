"""COALA's Freesound collection: a patch of log-mel spectrogram and up to 1,000 user tags of each sound.

X. Favory, K. Drossos, T. Virtanen, X. Serra (2020); facts from https://github.com/xavierfav/coala. The patches of the
two HDF5 files are scaled already, each time frame by its range over the training file; `loading.coala_patches` reads
them.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.audio.spec import MelSpec
from scripts.common.cli import require
from scripts.common.errors import TableError
from scripts.common.storage import write_csv, write_json
from scripts.datasets.contract import Dataset, check_unique
from scripts.tables.label_matrix import NONE, SEPARATOR, join
from scripts.tables.label_table import MULTI_LABEL_COLUMNS

FILES = {"train": "spec_tags_top_1000", "test": "spec_tags_top_1000_val"}  # HDF5, without a suffix
VOCABULARY = "id2token_top_1000.json"
RANGES = "scaler_min_max.csv"
VALIDATION_SHARE = 0.1  # of the training file
BLOCK = 4096  # sounds read at once

# what the patches were made with: of the 28 stretches of 96 frames, 12 apart, in 10 s the loudest
FRONT_END = MelSpec(
    sample_rate=22_000,
    n_fft=1024,
    n_mels=96,
    track_seconds=10,
    clip_seconds=2.22,
    clip_overlap=0.875,
    kind="log_magnitude",
    ending="noise",
    selection="loudest",
    min_seconds=0.1,
)
PATCH = FRONT_END.clip_shape  # mels and frames


def read_tags(root: Path) -> pd.DataFrame:
    """The label table of both files; the `_val` file is the test part, a random tenth of the other validation.

    The tenth is drawn by Freesound id, so it does not depend on the order of rows; to stratify it by a thousand tags
    would take far too long.
    """
    rows = pd.concat([read_part(root / file, part) for part, file in FILES.items()], ignore_index=True)
    check_unique(rows, root)
    training = rows.loc[rows["split"] == "train", "track_id"]
    order = np.random.default_rng(0).permutation(np.sort(training.to_numpy(str)))  # always the same
    rows.loc[rows["track_id"].isin(order[: round(VALIDATION_SHARE * len(order))]), "split"] = "validation"
    return rows.reindex(columns=MULTI_LABEL_COLUMNS)


def read_vocabulary(path: Path) -> list[str]:
    """The tags in the order of the columns of `label`, from {"0": "close", "1": "closing", ...}."""
    if not path.is_file():
        raise TableError(f"{path}: no such file; put COALA's vocabulary there, or give another --root")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = [found[str(number)] for number in range(len(found))]
    except (ValueError, KeyError, TypeError):
        raise TableError(f'{path}: not a vocabulary {{"0": "close", ...}}; take the file as it was published') from None
    for name in names:
        if not isinstance(name, str) or name.strip() in ("", NONE) or SEPARATOR in name or names.count(name) > 1:
            raise TableError(f"{path}: tag {name!r} is empty, {NONE!r}, twice there or has a {SEPARATOR!r}; correct it")
    return names


def read_part(path: Path, part: str) -> pd.DataFrame:
    """`track_id, file_path, labels, split` of the sounds of a file; rows that were never filled have the id 0.

    The path of a sound is the file's with "#" and its id, for a file in two parts of a split would be a leak.
    """
    with open_part(path) as group:
        names = read_vocabulary(path.parent / VOCABULARY)
        ids = group["id"][:, 0]
        labels = [
            join(names[column] for column in np.flatnonzero(row)) for block in blocks(group["label"]) for row in block
        ]
    rows = pd.DataFrame({"track_id": ids.astype(str), "labels": labels, "split": part})
    return rows.assign(file_path=f"{path.as_posix()}#" + rows["track_id"])[ids > 0]


@contextlib.contextmanager
def open_part(path: Path) -> Iterator[Any]:
    """The group `dataset` of an HDF5 file: `id` [sounds, 1], `data` [sounds, mels, frames], `label` [sounds, tags].

    Raises
    ------
    ConfigError : h5py is not installed.
    TableError : no such file, not HDF5, without its group, or an array is not of the shape that the vocabulary beside
        it asks for.
    """
    require("h5py", what="COALA")
    import h5py

    if not path.is_file():
        raise TableError(f"{path}: no such file; put COALA's HDF5 file there, or give another --root")
    try:
        file = h5py.File(path)
    except OSError as error:
        raise TableError(f"{path}: not a whole HDF5 file ({error}); download it again ({DATASET.url})") from None
    with file:
        group = file.get("dataset")
        if not isinstance(group, h5py.Group):
            raise TableError(f"{path}: has no group 'dataset'; take COALA's file as it was published ({DATASET.url})")
        check_shapes(path, group)
        yield group


def check_shapes(path: Path, group: Any) -> None:
    """Raise a TableError if an array of the group is missing or of another shape."""
    tags = len(read_vocabulary(path.parent / VOCABULARY))
    sounds = len(group["id"]) if "id" in group else 0
    for name, sizes in {"id": (1,), "data": PATCH, "label": (tags,)}.items():
        found, needed = (group[name].shape if name in group else None), (sounds, *sizes)
        if found != needed or not sounds:
            raise TableError(
                f"{path}: dataset/{name} has the shape {found}, not {needed}, with {tags} tags in {VOCABULARY}; "
                "take the files as they were published"
            )


def blocks(array: Any) -> Iterator[np.ndarray]:
    """An HDF5 array, some rows at a time."""
    for start in range(0, len(array), BLOCK):
        yield array[start : start + BLOCK]


def make_tiny(root: Path) -> None:
    """All files, with 40 and 12 sounds that have up to two of six tags, each of them a band of mels."""
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    rng, names = np.random.default_rng(0), ("bell", "crunch", "drone", "hum", "kick", "voice")
    for first, (file, sounds) in enumerate(zip(FILES.values(), (40, 12), strict=True)):
        labels = np.zeros((sounds, len(names)), np.int16)
        for row in labels:
            row[rng.choice(len(names), rng.integers(0, 3), replace=False)] = 1
        bands = np.repeat(labels, PATCH[0] // len(names), axis=1)[:, :, None]
        with h5py.File(root / file, "w") as target:
            group = target.create_group("dataset")
            group["id"] = (1000 * first + 100 + np.arange(sounds, dtype=np.int32))[:, None]
            group["data"] = (0.6 * bands + 0.4 * rng.random((sounds, *PATCH))).astype(np.float32)
            group["label"] = labels
    write_json(root / VOCABULARY, {str(number): name for number, name in enumerate(names)})
    write_csv(root / RANGES, pd.DataFrame({"data_min": np.full(PATCH[1], -14.0), "data_max": np.full(PATCH[1], 7.0)}))


DATASET = Dataset(
    name="coala",
    title="COALA's Freesound collection",
    citation="X. Favory, K. Drossos, T. Virtanen, X. Serra. COALA: Co-Aligned Autoencoders for Learning Semantically "
    "Enriched Audio Representations. ICML Workshop on Self-supervision in Audio and Speech, 2020.",
    licence="as its record on Zenodo states; each sound under the Creative Commons licence chosen by its uploader",
    url="https://zenodo.org/records/3887261",
    size="170,793 sounds to train on and 19,103 to test, one patch of 96 mels x 96 frames each, 7.4 GB",
    root="data/coala",
    layout=(
        f"{FILES['train']}, {FILES['test']} (HDF5)",
        f"{VOCABULARY} (the tags; from the authors' repository)",
        f"{RANGES} (only to tag audio with other ranges than the authors': data_min, data_max of each of 96 frames)",
    ),
    reader=read_tags,
    make_tiny=make_tiny,
    task="multi_label",
    has_audio=False,
)
