"""A small synthetic corpus in exactly FMA-small's layout, with FMA's faults, made from a seed."""

import dataclasses
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts demo`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("demo")

import av
import numpy as np
import pandas as pd
import soxr
from tqdm import tqdm

from scripts.common.cli import command
from scripts.common.errors import ConfigError
from scripts.common.lock import locked
from scripts.common.parallel import parallel_map
from scripts.common.storage import write_aside, write_json
from scripts.utils import flags
from scripts.utils.synthesis import GENRES, SAMPLE_RATE, Artist, compose

FMA_GENRE_IDS = {"Hip-Hop": 21, "Pop": 10, "Folk": 17, "Experimental": 38, "Rock": 12, "International": 2,
                 "Electronic": 15, "Instrumental": 1235}  # fmt: skip
TRACKS_PER_ARTIST = 5  # at most, in training
FEWEST_TRACKS = 3  # per genre: one in each part of the split
HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"

# One faulty track in each genre, beside the sound ones: (fault, part of the official split).
FAULTS = (
    ("zero bytes", "training"),
    ("html page", "training"),
    ("random bytes", "training"),
    ("short", "training"),
    ("short", "validation"),
    ("short", "test"),
    ("silent", "training"),
    ("duplicate", "training"),  # the same bytes as the genre's first track, by the same artist
)
BROKEN = {"zero bytes", "html page", "random bytes"}
SHORT_SECONDS = (0.5, 1.6)
FULL_SECONDS = (29.97, 30.01)
HIGHEST_ID = 155_320  # as in FMA
# As fast as it encodes, at a variable bit rate of quality 4, which FFmpeg counts in steps of 118.
LAME = {"compression_level": "9", "joint_stereo": "0", "flags": "+qscale", "global_quality": str(4 * 118)}
IDS, TRACKS, NOISE, ARTISTS = 0, 2, 3, 5  # streams of random numbers under one seed

VERSION = 3  # of the composer; a corpus of another version is not continued
FINISHED, UNFINISHED = "demo.json", "demo.unfinished.json"
ANOTHER_FOLDER = "choose another --output, or delete that folder yourself"

ADJECTIVES = ("Paper", "Velvet", "Northern", "Broken", "Silver", "Quiet", "Hollow", "Golden")
NOUNS = ("Harbour", "Foxes", "Machine", "Garden", "Signal", "Mountain", "Letters", "Tigers")


@dataclasses.dataclass(frozen=True)
class Format:
    channels: int = 2
    sample_rate: int = SAMPLE_RATE  # Hz
    seconds: float | None = None  # None: about 30, as in FMA


# The first track of each genre is unusual in its format; all others are `Format()`.
FORMATS = (
    Format(seconds=17.2),
    Format(channels=1),
    Format(channels=1),
    Format(channels=1, sample_rate=22_050),
    Format(sample_rate=48_000),
    Format(sample_rate=48_000),
    Format(sample_rate=48_000),
    Format(sample_rate=22_050),
)


@dataclasses.dataclass(frozen=True)
class Track:
    """One row of the table; `source` is the number whose audio it holds, its own unless it is a duplicate."""

    id: int
    number: int
    source: int
    genre: int
    artist: int
    split: str
    format: Format
    fault: str = ""

    def path(self, output: Path) -> Path:
        name = f"{self.id:06d}"
        return output / "fma_small" / name[:3] / f"{name}.mp3"


# --- Plan: artists and tracks


def genre_artists(tracks_per_genre: int) -> list[tuple[str, int]]:
    """For each artist of a genre, its part of the official split and how many sound tracks it made.

    Validation (10 %) and test (20 %) have one artist each; training has as many as it takes.
    """
    validation, test = max(1, round(0.1 * tracks_per_genre)), max(1, round(0.2 * tracks_per_genre))
    training = np.arange(tracks_per_genre - validation - test)
    groups = np.array_split(training, -(-len(training) // TRACKS_PER_ARTIST))
    return [*(("training", len(group)) for group in groups), ("validation", validation), ("test", test)]


def make_artist(seed: int, number: int) -> Artist:
    """Artist `number` of the corpus: a way of producing drawn from the seed."""
    rng = np.random.default_rng([seed, ARTISTS, number])
    name = f"{ADJECTIVES[rng.integers(len(ADJECTIVES))]} {NOUNS[rng.integers(len(NOUNS))]} {number + 1}"
    return Artist(name, rng)


def plan(seed: int, tracks_per_genre: int) -> list[Track]:
    """All tracks of the corpus, ordered by number."""
    if tracks_per_genre < FEWEST_TRACKS:
        needed = f"at least {FEWEST_TRACKS}: one each for training, validation and test"
        raise ConfigError(f"{tracks_per_genre} tracks per genre are too few; give {needed}")
    tracks: list[Track] = []
    artist = 0
    for genre in range(len(GENRES)):
        tracks += plan_genre(genre, artist, len(tracks), tracks_per_genre)
        artist += len(genre_artists(tracks_per_genre))
    ids = np.random.default_rng([seed, IDS]).choice(np.arange(2, HIGHEST_ID), len(tracks), replace=False)
    return [dataclasses.replace(track, id=int(number)) for track, number in zip(tracks, ids, strict=True)]


def plan_genre(genre: int, first_artist: int, first: int, tracks_per_genre: int) -> list[Track]:
    """The sound tracks of a genre and, last, its faulty one; their ids are still 0."""
    made = [
        (first_artist + artist, split)
        for artist, (split, count) in enumerate(genre_artists(tracks_per_genre))
        for _ in range(count)
    ]
    tracks = [
        Track(0, first + index, first + index, genre, artist, split, Format())
        for index, (artist, split) in enumerate(made)
    ]
    tracks[0] = dataclasses.replace(tracks[0], format=FORMATS[genre])
    return [*tracks, faulty_track(tracks, *FAULTS[genre])]


def faulty_track(tracks: Sequence[Track], fault: str, split: str) -> Track:
    """The track after the given ones of a genre: by an artist of the given part, and spoiled."""
    host = next(track for track in tracks if track.split == split)
    number = tracks[-1].number + 1
    if fault == "duplicate":
        return dataclasses.replace(host, number=number, fault=fault)
    return dataclasses.replace(host, number=number, source=number, fault=fault, format=Format())


# --- Files


def write_track(output: Path, seed: int, track: Track) -> None:
    """Write one mp3 file, whole or not at all."""
    with write_aside(track.path(output)) as temporary:
        temporary.write_bytes(broken_bytes(seed, track))
        if track.fault not in BROKEN:
            write_mp3(temporary, waveform(seed, track), track.format.sample_rate)


def write_mp3(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Encode float32 [samples, channels] by FFmpeg, as FMA did."""
    layout = "mono" if audio.shape[1] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T), "fltp", layout)
    frame.sample_rate = sample_rate
    with av.open(str(path), "w", format="mp3") as file:
        stream = file.add_stream("libmp3lame", sample_rate, options=LAME)
        stream.format, stream.layout = "fltp", layout
        file.mux([*stream.encode(frame), *stream.encode(None)])


def broken_bytes(seed: int, track: Track) -> bytes:
    """What a file that is no audio holds; nothing for the others."""
    noise = np.random.default_rng([seed, NOISE, track.number]).bytes(20_000)
    return {"html page": HTML, "random bytes": b"\0" + noise}.get(track.fault, b"")


def waveform(seed: int, track: Track) -> np.ndarray:
    """Float32 [samples, channels] at the rate of the track's format."""
    rng = np.random.default_rng([seed, TRACKS, track.source])
    artist = make_artist(seed, track.artist)
    audio = compose(GENRES[track.genre], artist, int(rng.integers(2**63)), draw_seconds(track, rng))
    if track.fault == "silent":
        audio = np.zeros_like(audio)
    if track.format.channels == 1 or artist.mono:
        audio = audio.mean(1, keepdims=True)
    if track.format.sample_rate != SAMPLE_RATE:
        audio = soxr.resample(audio, SAMPLE_RATE, track.format.sample_rate)
    return audio


def draw_seconds(track: Track, rng: np.random.Generator) -> float:
    """Length of a track in seconds; ordinary ones are a little off 30, as in FMA."""
    if track.fault == "short":
        return rng.uniform(*SHORT_SECONDS)
    return track.format.seconds or rng.uniform(*FULL_SECONDS)


def track_table(seed: int, tracks: Sequence[Track], output: Path) -> pd.DataFrame:
    """FMA's tracks.csv: index `track_id`, columns of two levels."""
    rows = {track.id: track_row(seed, track, output) for track in sorted(tracks, key=lambda track: track.id)}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("track_id")
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def track_row(seed: int, track: Track, output: Path) -> dict[tuple[str, str], object]:
    genre = GENRES[track.genre].name
    artist = make_artist(seed, track.artist)
    seconds = track.format.seconds or 30
    return {
        ("album", "id"): 1000 + track.artist,
        ("album", "title"): f"Songs by {artist.name}",
        ("artist", "id"): 1 + track.artist,
        ("artist", "name"): artist.name,
        ("set", "split"): track.split,
        ("set", "subset"): "small",
        ("track", "bit_rate"): 8 * track.path(output).stat().st_size // round(seconds),
        ("track", "duration"): round(seconds),
        ("track", "genre_top"): genre,
        ("track", "genres"): f"[{FMA_GENRE_IDS[genre]}]",
        ("track", "genres_all"): f"[{FMA_GENRE_IDS[genre]}]",
        ("track", "title"): f"{genre} No. {track.source + 1}",
    }


# --- Corpus


def make_demo(output: Path, seed: int = 0, tracks_per_genre: int = 20, workers: int | None = None) -> Path:
    """Make the corpus in `output`, or what is missing of it, and return `output`.

    Parameters
    ----------
    seed : of all artists and tracks.
    tracks_per_genre : at least 3.
    workers : processes; default: one a core.

    Raises
    ------
    ConfigError : the folder holds another demo, or FMA files that this command did not make.
    BusyError : another process is making it.
    """
    output = Path(output)
    settings = {"synthetic": True, "seed": seed, "tracks_per_genre": tracks_per_genre, "version": VERSION}
    tracks = plan(seed, tracks_per_genre)
    with locked(output):
        claim(output, settings)
        missing = [track for track in tracks if not track.path(output).exists()]
        write_tracks(output, seed, missing, workers)
        table_path = output / "fma_metadata" / "tracks.csv"
        if not table_path.exists():
            with write_aside(table_path) as temporary:
                track_table(seed, tracks, output).to_csv(temporary)
        if (output / UNFINISHED).exists():
            (output / UNFINISHED).replace(output / FINISHED)
    print(f"{output}: {len(tracks)} tracks, {len(FAULTS)} of them faulty on purpose.")
    print("This corpus is SYNTHETIC, composed by a program: accuracies on it say nothing about real music.")
    return output


def claim(output: Path, settings: Mapping[str, object]) -> None:
    """See to it that `output` is this demo's: finished, unfinished or new."""
    for name in (FINISHED, UNFINISHED):
        if (output / name).exists():
            found = json.loads((output / name).read_text(encoding="utf-8"))
            if found != settings:
                raise ConfigError(f"{output} holds a demo made with {found}; {ANOTHER_FOLDER}")
            return
    for name in ("fma_small", "fma_metadata"):
        if (output / name).exists():
            raise ConfigError(f"{output / name} was not made by this command; {ANOTHER_FOLDER}")
    write_json(output / UNFINISHED, settings)


def write_tracks(output: Path, seed: int, tracks: Sequence[Track], workers: int | None) -> None:
    """Compose and encode tracks in parallel processes."""
    job = functools.partial(write_track, output, seed)
    for _ in tqdm(parallel_map(job, tracks, workers), "composing", len(tracks), unit=" tracks", disable=None):
        pass


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.demo(argv)
    make_demo(args.output, args.seed, args.tracks_per_genre, args.workers)
