"""FMA with all genres of a track, and the genres above them: also for the tracks that have no top genre.

M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson, ISMIR 2017: 161 genres in a hierarchy; of 106,574 tracks 49,598
have a top genre; most of the others have genres below several.
"""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.common.storage import write_csv
from scripts.datasets import fma
from scripts.datasets.contract import finish_table
from scripts.tables.label_matrix import join

METADATA = "fma_metadata"
COLUMNS = ("genre_id", "parent", "title")
LEVELS = {"all": "own and those above", "own": "as the artist gave them", "top": "the highest ones alone"}


def read_fma_genres(root: Path, subset: str = "large", level: str = "all") -> pd.DataFrame:
    """One row per track of the subset that has a genre, in order of track id, with the official split.

    Parameters
    ----------
    subset : one of fma.SUBSETS; small and medium hold tracks of one top genre alone.
    level : "all", a track's genres and all genres above them; "own", its genres alone; "top", the highest of all.

    Raises
    ------
    ConfigError : unknown subset or level.
    TableError : a table is missing or is not FMA's, or a track has a genre that genres.csv lacks.
    """
    pick("level", level, LEVELS)
    path = root / METADATA / "tracks.csv"
    tracks = fma.subset_tracks(fma.read_tracks(path, ("track", "genres")), subset)
    lineages, titles = read_hierarchy(root / METADATA / "genres.csv")
    cells, labels = tracks[("track", "genres")].fillna("[]"), []
    for track, cell in cells.items():
        try:
            lines = [lineages[genre] for genre in json.loads(cell)]
        except (ValueError, TypeError, KeyError):
            raise TableError(
                f"{path}: track {track} has the genres {cell!r}, not a list of ids of genres.csv; unzip "
                "fma_metadata.zip again"
            ) from None
        chosen = {"all": lines, "own": [line[:1] for line in lines], "top": [line[-1:] for line in lines]}[level]
        labels.append(join(titles[genre] for line in chosen for genre in line))
    rows = fma.track_rows(tracks, root, subset).assign(labels=labels)
    return finish_table(rows[cells.to_numpy() != "[]"], path)


def read_hierarchy(path: Path) -> tuple[dict[int, list[int]], dict[int, str]]:
    """Of each genre's id: the ids of itself and the genres above it, the highest last; and its name.

    Raises
    ------
    TableError : no such file, not FMA's genres.csv, a parent that it lacks, or a circle.
    """
    if not path.is_file():
        raise TableError(f"{path}: no such file; run `python -m scripts download metadata` or give another --root")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [{name: row[name] for name in COLUMNS} for row in csv.DictReader(file)]
        parents = {int(row["genre_id"]): int(row["parent"]) for row in rows}
        lineages = {genre: lineage(genre, parents) for genre in parents}
    except (UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError, RecursionError) as error:
        raise TableError(f"{path}: not FMA's genres.csv ({error!r}); unzip fma_metadata.zip again") from None
    names = [row["title"].strip() for row in rows]
    titles = {
        genre: name if names.count(name) == 1 else f"{name} ({genre})"
        for genre, name in zip(parents, names, strict=True)
    }
    return lineages, titles


def lineage(genre: int, parents: dict[int, int]) -> list[int]:
    """The genre and all above it; the highest have the parent 0."""
    parent = parents[genre]
    return [genre, *(lineage(parent, parents) if parent else [])]


def make_tiny(root: Path) -> None:
    """FMA's tiny version with its audio as the large subset, and a track in three with genres below two others."""
    fma.make_tiny(root, "fma_large")
    tracks = fma.read_tracks(root / METADATA / "tracks.csv")
    tracks.loc[tracks.index[::3], ("track", "genres")] = "[76, 103]"
    tracks.loc[tracks.index[::3], ("track", "genre_top")] = None
    tracks.to_csv(root / METADATA / "tracks.csv")
    path = root / METADATA / "genres.csv"
    below = [(76, 10, "Experimental Pop"), (103, 17, "Singer-Songwriter")]
    write_csv(path, pd.concat([pd.read_csv(path), pd.DataFrame(below, columns=list(COLUMNS))]))


DATASET = replace(
    fma.DATASET,
    name="fma_genres",
    title="FMA with all genres of a track",
    size="large: those of 106,574 tracks of 30 s that have a genre, 93 GiB; full: the same in full length, 879 GiB",
    layout=("fma_metadata/tracks.csv, fma_metadata/genres.csv", "fma_large/000/000002.mp3 (or another subset)"),
    reader=read_fma_genres,
    make_tiny=make_tiny,
    task="multi_label",
    labels=(),
    archives={},
    options={
        "subset": f"{', '.join(fma.SUBSETS)}: each holds the ones before it; default: large",
        "level": "; ".join(f"{name}: {text}" for name, text in LEVELS.items()) + "; default: all",
    },
)
