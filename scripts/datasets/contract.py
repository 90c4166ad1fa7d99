"""What every dataset module says and does: facts about the dataset, its label table, and a tiny version."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
from tqdm import tqdm

from scripts.audio.decoding import duration
from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.common.parallel import parallel_map
from scripts.tables.label_table import COLUMNS, is_unicode

OPTIONAL = ("fold", "absent", "genre")  # a genre beside several labels: to mix tracks of one genre
FEW_FILES = 100  # read sooner than processes start


@dataclass(frozen=True)
class Archive:
    """A file that a dataset is published in.

    Attributes
    ----------
    url : of the file.
    checksum : "algorithm:digest", such as "md5:4fd9...".
    size : in words, of the download.
    folder : below the root, what it is unpacked to, or what a file that is no archive is put into.
    proof : pattern of a file in that folder that shows that it is there.
    """

    url: str
    checksum: str
    size: str
    folder: str
    proof: str

    @property
    def file(self) -> str:
        """Its name."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Dataset:
    """A dataset and how to read it.

    Attributes
    ----------
    name : what `--dataset` calls it.
    title, citation, licence : in words; the paper to cite.
    url : where to get it.
    size : in words, such as "8,000 tracks of 30 s, 7.2 GiB".
    root : the folder (or file) that is read unless another is given.
    layout : what lies below the root, one line each.
    reader : (root, **options) -> one row per track in the columns `COLUMNS[task]`.
    make_tiny : writes a tiny generated version below a folder, in the dataset's own layout.
    task : "single_label" (one genre a track) or "multi_label" (`labels`, names joined by ";").
    labels : all names that a table can hold; empty if the files decide.
    archives : what `python -m scripts download` calls it -> the files that it fetches.
    known_faults : track id -> what is known to be wrong with its file.
    options : name -> help, of what `reader` takes beside the root.
    has_audio : False if its tables are complete without any audio file.
    """

    name: str
    title: str
    citation: str
    licence: str
    url: str
    size: str
    root: str
    layout: Sequence[str]
    reader: Callable[..., pd.DataFrame]
    make_tiny: Callable[[Path], None]
    task: Literal["single_label", "multi_label"] = "single_label"
    labels: tuple[str, ...] = ()
    archives: Mapping[str, Sequence[Archive]] = field(default_factory=dict)
    known_faults: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    has_audio: bool = True

    def label_table(self, root: str | Path | None = None, /, **options: str) -> pd.DataFrame:
        """One row per track, in the columns `COLUMNS[task]`; classes are numbered 0, 1, 2, ...

        Parameters
        ----------
        root : where the dataset lies; default: `self.root`.
        options : see `self.options`.

        Raises
        ------
        ConfigError : an option that the dataset does not have, or a value it does not allow.
        TableError : the root does not hold the dataset, or something in it is wrong.
        """
        for name in options:
            pick(f"option of {self.name}", name, self.options)
        root = Path(self.root if root is None else root)
        if not root.exists():
            raise TableError(
                f"{root}: no such file or folder; give the place of {self.name} as --root "
                f"(`python -m scripts datasets {self.name}` says what belongs there)"
            )
        return self.reader(root, **options)

    @property
    def command(self) -> str:
        """The command that writes its label table."""
        return f"python -m scripts labeled_tracks --dataset {self.name} --root {self.root}"


def finish_table(rows: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """Rows with `track_id, file_path` and `genre` (or `labels`) -> a label table in the columns of its task.

    `duration_s` is how long the sound is, see `decoding.duration`, NaN where there is none. Columns that are not there
    stay empty, but for `class`, which counts the genres in alphabetical order. `fold`, `absent` and, beside
    `labels`, `genre` are the last ones where they are given.

    Parameters
    ----------
    rows : as the dataset's files have them.
    source : what error messages call the rows.

    Raises
    ------
    TableError : no rows, a track stands twice, or a label is empty or not UTF-8.
    """
    if rows.empty:
        raise TableError(f"{source}: holds no tracks; check the folder")
    text = rows.columns.difference(["file_path"])  # `read_table` would take spaces around it away as well
    rows = rows.assign(**rows[text].map(lambda cell: cell.strip() if isinstance(cell, str) else cell))
    check_unique(rows, source)
    task = "multi_label" if "labels" in rows else "single_label"
    columns = COLUMNS[task]
    check_labels(rows[columns[2]], rows["file_path"], source)
    further = (name for name in OPTIONAL if name in rows and name not in columns)
    table = rows.reset_index(drop=True).reindex(columns=[*columns, *further])
    if task == "single_label" and "class" not in rows:
        table["class"] = pd.factorize(table["genre"], sort=True)[0]
    table["duration_s"] = durations(table["file_path"].tolist())
    return table


def check_labels(labels: pd.Series, paths: pd.Series, source: str | Path) -> None:
    """Raise a TableError that names the file whose label is empty or not UTF-8."""
    for name in labels.unique():
        if not name or not is_unicode(name):
            place = paths[labels == name].iloc[0]
            what = "is not UTF-8" if name else "is nothing but spaces"
            raise TableError(f"{source}: the label {name!r} of {place} {what}; call it otherwise")


def check_unique(rows: pd.DataFrame, source: str | Path) -> None:
    """Raise a TableError that names two files under one track id."""
    twice = rows[rows["track_id"].duplicated(keep=False)]
    if not twice.empty:
        track = twice["track_id"].iloc[0]
        files = twice.loc[twice["track_id"] == track, "file_path"].tolist()
        raise TableError(
            f"{source}: track {track} stands {len(files)} times ({', '.join(files[:3])}); "
            "keep one of them, or give each its own name"
        )


def durations(paths: Sequence[str]) -> list[float]:
    """Seconds of sound in each file, in order, as `decoding.duration` counts them; NaN where it cannot be read."""
    found = [float("nan")] * len(paths)
    jobs = list(itertools.compress(enumerate(paths), map(os.path.isfile, paths)))
    results = parallel_map(timed, jobs) if len(jobs) > FEW_FILES else map(timed, jobs)
    progress = {"total": len(jobs), "unit": " tracks", "disable": None}  # None: only in a terminal
    for position, seconds in tqdm(results, "reading durations", **progress):
        found[position] = seconds
    return found


def timed(job: tuple[int, str]) -> tuple[int, float]:
    position, path = job
    return position, duration(path)
