"""Mixtures of several tracks as audio files, with their multi-label table."""

import dataclasses
import functools
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts mixtures`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("mixtures")

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from scripts.audio.spectrogram_mixing import draw_partners, rename, union
from scripts.audio.waveform_mixing import Job, MixtureSettings, find_fault, write_mixture
from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError, TableError
from scripts.common.lock import locked
from scripts.common.parallel import parallel_map
from scripts.common.storage import write_csv, write_json
from scripts.tables.label_matrix import SEPARATOR, join, label_matrix, label_names
from scripts.tables.label_table import MULTI_LABEL_COLUMNS, NEEDED_TO_CACHE, PARTS, check_columns, read_table
from scripts.tables.leaks import repeated_files, repeated_tracks
from scripts.tables.splits import fingerprint, known_ids
from scripts.utils import flags

TABLE, RECORD = "metadata.csv", "polyphony.json"
SPLIT_FIRST = "split it first (python -m scripts metadata --help)"
REQUEST = re.compile(r"(\w+)=(\d+)(?::(\d+)(?:-(\d+))?)?")


@dataclass(frozen=True)
class Request:
    """So many mixtures of `min_tracks` to `max_tracks` tracks, each number equally often, out of one part of the split.

    Raises
    ------
    ConfigError : an unknown part, or numbers that are not allowed.
    """

    part: str
    count: int
    min_tracks: int = 1
    max_tracks: int = 3

    def __post_init__(self) -> None:
        pick("part", self.part, PARTS)
        if self.count < 1 or not 1 <= self.min_tracks <= self.max_tracks:
            raise ConfigError(
                f"{self.count} {self.part} mixtures of {self.min_tracks} to {self.max_tracks} tracks; "
                "give at least one mixture, and at least one track, the lower number first"
            )


# --- what there is to mix ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tracks:
    """What can be mixed.

    Attributes
    ----------
    table : one row per track.
    names : the labels.
    y : float32 [tracks, labels], 1 present, 0 absent, NaN unknown.
    """

    table: pd.DataFrame
    names: list[str]
    y: np.ndarray

    def select(self, keep: np.ndarray) -> "Tracks":
        """Only the rows for which the bool array `keep` [tracks] is true."""
        return Tracks(self.table[keep].reset_index(drop=True), self.names, self.y[keep])

    def part(self, name: str) -> "Tracks":
        return self.select((self.table["split"] == name).to_numpy())


def read_tracks(source: Path) -> Tracks:
    """The tracks of a table with one label each (`genre`) or several (`labels`), a row per track or per clip.

    Raises
    ------
    TableError : a missing or wrong table, one without split or labels, or with a track or file in two parts.
    """
    table = read_table(source, NEEDED_TO_CACHE)
    if "split" not in table or table["split"].isna().all():
        raise TableError(f"{source}: has no split, so that files would be on both sides; {SPLIT_FIRST}")
    check_columns(source, table, {"split", "labels" if "labels" in table else "genre"})
    if "labels" not in table:
        table = table.assign(labels=table["genre"].map(lambda genre: join([genre])))
    for track in table["track_id"]:
        if SEPARATOR in track:
            raise TableError(
                f"{source}: track {track!r} has a {SEPARATOR!r}, which separates sources; call it otherwise"
            )
    names = label_names(table)
    y = label_matrix(table, names, source)
    rows = table.drop_duplicates(["track_id", "split"])
    if leaks := [*repeated_tracks(rows), *repeated_files(rows)]:
        raise TableError(f"{source}: {leaks[0]}; {SPLIT_FIRST}")
    return Tracks(table, names, y).select(~table["track_id"].duplicated().to_numpy())


def drop_unusable(tracks: Tracks, sample_rate: int, workers: int | None) -> Tracks:
    """Only the tracks that can be decoded and are not silent; prints how many are left out."""
    paths = tracks.table["file_path"]
    found = parallel_map(functools.partial(find_fault, sample_rate), list(paths.unique()), workers)
    faults = paths.map(dict(tqdm(found, "checking", paths.nunique(), unit=" tracks", disable=None)))
    bad = (faults != "").to_numpy()
    if bad.any():
        kinds = ", ".join(f"{count} {fault}" for fault, count in faults[bad].value_counts().items())
        print(f"{bad.sum()} of {len(bad)} tracks left out: {kinds}, such as {paths[bad].iloc[0]}")
    return tracks.select(~bad)


# --- what is mixed with what ------------------------------------------------------------------------------------


def draw(tracks: Tracks, request: Request, seed: int, source: Path) -> np.ndarray:
    """int64 [mixtures, max_tracks], rows of the tracks of one part; -1 for none. All tracks come first equally often.

    Raises
    ------
    TableError : too few tracks with different labels.
    """
    if tracks.table.empty:
        raise TableError(f"{source}: has no usable track in {request.part}; leave it out of --part, or {SPLIT_FIRST}")
    generator = np.random.default_rng((seed, PARTS.index(request.part)))
    first = np.resize(generator.permutation(len(tracks.table)), request.count)
    wanted = generator.permutation(np.resize(np.arange(request.min_tracks, request.max_tracks + 1), request.count))
    partners = draw_partners(tracks.y == 1, first, wanted, request.max_tracks, generator)
    short = 1 + (partners >= 0).sum(1) < wanted
    if short.any():
        track = tracks.table.iloc[first[short][0]]
        raise TableError(
            f"{source}: the {len(tracks.table)} usable tracks in {request.part} have {(tracks.y == 1).any(0).sum()} of "
            f"the labels; mixtures of {wanted[short][0]} without a common label cannot be made, such as with track "
            f"{track['track_id']} ({track['labels']}); ask for fewer tracks in each, or add tracks of other labels"
        )
    return np.column_stack([first, partners])


def describe(tracks: Tracks, request: Request, members: np.ndarray, seconds: float, folder: Path) -> pd.DataFrame:
    """The multi-label table of the mixtures `members` of one part, with `sources`, the ids of what is in them."""
    names = [f"{request.part}_{number:05d}" for number in range(len(members))]
    y = union(torch.from_numpy(tracks.y)[members.clip(0)], torch.from_numpy(members >= 0)).numpy()
    rows = pd.DataFrame({
        "track_id": names,
        "file_path": [(folder / "audio" / f"{name}.flac").as_posix() for name in names],
        "labels": cells(y == 1, tracks.names),
        "absent": cells(y == 0, tracks.names),
        "artist_id": together(known_ids(tracks.table, "artist_id"), members),
        "album_id": together(known_ids(tracks.table, "album_id"), members),
        "split": request.part,
        "duration_s": seconds,
        "sources": together(tracks.table["track_id"], members),
    })  # fmt: skip
    partial = ["absent"] if "absent" in tracks.table else []
    return rows[[*MULTI_LABEL_COLUMNS, *partial, "sources"]]


def cells(mask: np.ndarray, names: Sequence[str]) -> list[str]:
    """The names that the bool array [rows, names] marks in each row."""
    return [join(np.array(names)[row]) for row in mask]


def together(values: pd.Series, members: np.ndarray) -> list[str | None]:
    """The known values of each mixture's tracks, each once; None if there is none."""
    known = values.fillna("").to_numpy()
    groups = (filter(None, known[row[row >= 0]]) for row in members)
    return [SEPARATOR.join(dict.fromkeys(group)) or None for group in groups]


def list_jobs(tracks: Tracks, rows: pd.DataFrame, members: np.ndarray, seed: int) -> list[Job]:
    """How to make the file of each row."""
    files = tracks.table["file_path"].to_numpy()
    return [
        Job(path, tuple(files[row[row >= 0]]), (seed, PARTS.index(part), number))
        for number, (path, part, row) in enumerate(zip(rows["file_path"], rows["split"], members, strict=True))
    ]


# --- all of them ------------------------------------------------------------------------------------------------


def make_mixtures(
    source: Path,
    output: Path,
    requests: Sequence[Request],
    settings: MixtureSettings,
    seed: int = 0,
    workers: int | None = None,
) -> pd.DataFrame:
    """Write the mixtures that are asked for, or those still missing, and their table; returns the table.

    Parameters
    ----------
    source : metadata with a split.
    output : folder of the mixtures.
    requests : how many of each part.
    settings : what they sound like.
    seed : of everything that is drawn.
    workers : processes; default: one a core.

    Raises
    ------
    ConfigError : a part asked for twice, or the folder holds other mixtures or other things.
    TableError : see `read_tracks` and `draw`.
    BusyError : another process is writing to the folder.
    """
    asked = [request.part for request in requests]
    if len(set(asked)) < len(asked) or seed < 0:
        raise ConfigError(
            f"--part {', '.join(asked)} with --seed {seed}; give each part once, and a seed of at least 0"
        )
    tracks = read_tracks(source)
    tracks = drop_unusable(tracks.select(tracks.table["split"].isin(asked).to_numpy()), settings.sample_rate, workers)
    tables, jobs = [], []
    for request in requests:
        mine = tracks.part(request.part)
        members = draw(mine, request, seed, source)
        tables.append(describe(mine, request, members, settings.samples / settings.sample_rate, output))
        jobs += list_jobs(mine, tables[-1], members, seed)
    table = pd.concat(tables, ignore_index=True)
    with locked(output):
        claim(output, {"seed": seed, **asdict(settings), "tracks": digest(jobs, output)})
        write_missing(settings, jobs, workers)
        write_csv(output / TABLE, table)
    sizes = ", ".join(f"{request.count} {request.part}" for request in requests)
    print(f"{output / TABLE}: {sizes} mixtures of {len(tracks.names)} labels; split {fingerprint(table)}")
    return table


def digest(jobs: Sequence[Job], output: Path) -> str:
    """Of what is mixed with what, wherever the output lies."""
    lines = [f"{Path(job.path).relative_to(output)}\t{job.files}\t{job.seed}" for job in jobs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def claim(output: Path, record: dict[str, object]) -> None:
    """See to it that `output` is for these mixtures: finished, unfinished or new."""
    path, remedy = output / RECORD, "choose another --output, or delete that folder yourself"
    if path.exists():
        stored = rename(json.loads(path.read_text(encoding="utf-8")))
        if other := [name for name in record if stored.get(name) != record[name]]:
            raise ConfigError(f"{output}: holds mixtures that differ in {', '.join(other)}; {remedy}")
    elif (output / "audio").exists() or (output / TABLE).exists():
        raise ConfigError(f"{output}: holds audio or a table that this command did not make; {remedy}")
    write_json(path, record)


def write_missing(settings: MixtureSettings, jobs: Sequence[Job], workers: int | None) -> None:
    missing = [job for job in jobs if not Path(job.path).exists()]
    made = parallel_map(functools.partial(write_mixture, settings), missing, workers)
    for _ in tqdm(made, "mixing", len(missing), unit=" files", disable=None):
        pass


# --- the command ------------------------------------------------------------------------------------------------


def parse_request(text: str) -> Request:
    """What "train=2000:1-3" asks for; "train=2000:2" is of two tracks each, "train=2000" of 1 to 3."""
    match = REQUEST.fullmatch(text)
    if not match:
        raise ConfigError(f"--part {text!r}; give it as train=2000, train=2000:2 or train=2000:1-3")
    part, count, least, most = match.groups()
    return Request(part, int(count), *((int(least), int(most or least)) if least else ()))


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.mixtures(argv)
    settings = MixtureSettings(
        **{field.name: getattr(args, field.name) for field in dataclasses.fields(MixtureSettings) if field.name in args}
    )
    make_mixtures(args.input, args.output, list(map(parse_request, args.parts)), settings, args.seed, args.workers)
