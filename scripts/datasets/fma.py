"""FMA: a dataset for music analysis (Defferrard, Benzi, Vandergheynst, Bresson, ISMIR 2017).

Facts from https://github.com/mdeff/fma and from public audits of the audio.
"""

from pathlib import Path

import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.common.storage import write_csv
from scripts.datasets.contract import Archive, Dataset, finish_table
from scripts.datasets.tiny import write_tone

CITATION = "M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson. FMA: A Dataset For Music Analysis. ISMIR, 2017."
LICENCE = "metadata CC BY 4.0; each track under the Creative Commons licence chosen by its artist"
URL = "https://os.unil.cloud.switch.ch/fma/"
SUBSETS = ("small", "medium", "large", "full")
GENRES = (
    "Hip-Hop", "Pop", "Folk", "Experimental", "Rock", "International", "Electronic", "Instrumental",  # FMA-small's
    "Blues", "Classical", "Country", "Easy Listening", "Jazz", "Old-Time / Historic", "Soul-RnB", "Spoken",
)  # fmt: skip


PUBLISHED = {  # size and SHA-1 of the official zips
    "metadata": ("342 MiB", "f0df49ffe5f2a6008d7dc83c6915b31835dfe733"),
    "small": ("7.2 GiB", "ade154f733639d52e35e32f5593efe5be76c6d70"),
    "medium": ("22 GiB", "c67b69ea232021025fca9231fc1c7c1a063ab50b"),
    "large": ("93 GiB", "497109f4dd721066b5ce5e5f250ec604dc78939e"),
    "full": ("879 GiB", "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab"),
}
ARCHIVES = {
    name: [
        Archive(
            f"{URL}fma_{name}.zip",
            f"sha1:{sha1}",
            size,
            f"fma_{name}",
            "tracks.csv" if name == "metadata" else "*/*.mp3",
        )
    ]
    for name, (size, sha1) in PUBLISHED.items()
}

# Faults of FMA-small that checksums do not show, and exact duplicates; others are found by looking (`verify`).
KNOWN_FAULTS = {
    "99134": "no audio",
    "108925": "no audio",
    "133297": "no audio",
    "98565": "only 1.6 s",
    "98567": "only 0.5 s",
    "98569": "only 1.5 s",
    "72059": "silent",
    "110736": "silent for 92 % of its length",
    "119979": "silent for 69 % of its length",
}
KNOWN_DUPLICATES = [("114236", "125820"), ("144938", "145707"), ("45102", "51785")]
TINY_IDS = {"Hip-Hop": 21, "Pop": 10, "Folk": 17}  # in genres.csv
PARTS = {"training": "train", "validation": "validation", "test": "test"}


def read_tracks(path: Path, *also: tuple[str, str]) -> pd.DataFrame:
    """FMA's `tracks.csv`: index `track_id`, columns such as ("track", "genre_top").

    Parameters
    ----------
    also : columns that are needed beside those of every table.

    Raises
    ------
    TableError : no such file, or not FMA's layout.
    """
    if not path.is_file():
        raise TableError(f"{path}: no such file; run `python -m scripts download metadata` or give another --root")
    try:
        tracks = pd.read_csv(path, index_col=0, header=[0, 1], dtype=str, keep_default_na=False, na_values=[""])
        tracks.index = tracks.index.astype("int64")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, IndexError, ValueError) as error:
        raise TableError(f"{path}: not FMA's tracks.csv ({error}); unzip fma_metadata.zip again") from None
    needed = [("set", "split"), ("set", "subset"), ("track", "genre_top"), ("artist", "id"), ("album", "id"), *also]
    missing = [" ".join(name) for name in needed if name not in tracks.columns]
    if missing:
        raise TableError(f"{path}: lacks {', '.join(missing)}; unzip fma_metadata.zip again")
    return tracks


def read_fma(root: Path, subset: str = "small") -> pd.DataFrame:
    """The label table of a folder that holds `fma_metadata` and `fma_<subset>`, as they are unzipped.

    One row per track of the subset that has a top genre, in the columns of `LABEL_COLUMNS`. Classes are numbered by
    first appearance in order of track id (FMA-small: Hip-Hop 0, Pop 1, Folk 2, Experimental 3, Rock 4, International 5,
    Electronic 6, Instrumental 7). `file_path` is kept even where the file is missing, so that the cache can count it;
    `duration_s` is then empty.
    """
    tracks = subset_tracks(read_tracks(root / "fma_metadata" / "tracks.csv"), subset)
    tracks = tracks[tracks[("track", "genre_top")].notna()]
    if tracks.empty:
        raise TableError(
            f"{root}: no track of the subset {subset!r} has a top genre; choose another --option subset=..."
        )
    genres = tracks[("track", "genre_top")].astype(str).to_numpy()
    rows = track_rows(tracks, root, subset).assign(genre=genres, **{"class": pd.factorize(genres)[0]})
    return finish_table(rows, root)


def subset_tracks(tracks: pd.DataFrame, subset: str) -> pd.DataFrame:
    """The tracks of a subset, in order of track id."""
    level = SUBSETS.index(pick("subset", subset, SUBSETS))
    return tracks[tracks[("set", "subset")].isin(SUBSETS[: level + 1])].sort_index()


def track_rows(tracks: pd.DataFrame, root: Path, subset: str) -> pd.DataFrame:
    """What a label table says of each track, but for its labels."""
    columns = {
        "track_id": tracks.index.astype(str),
        "file_path": [audio_path(root / f"fma_{subset}", track).as_posix() for track in tracks.index],
        "artist_id": tracks[("artist", "id")].to_numpy(),
        "album_id": tracks[("album", "id")].to_numpy(),
        "split": tracks[("set", "split")].map(PARTS).to_numpy(),
    }
    return pd.DataFrame(columns)


def audio_path(audio: Path, track: int) -> Path:
    """FMA's place for a track: folder of the first three of six digits."""
    name = f"{int(track):06d}"
    return audio / name[:3] / f"{name}.mp3"


def make_tiny(root: Path, audio: str = "fma_small") -> None:
    """Three genres with an artist in each part of the split, one of them in medium only, and their audio."""
    rows = {}
    for number in range(12):
        track, genre = 10 * number + 5, GENRES[number % 3]
        part, subset = list(PARTS)[number // 3 % 3], "medium" if number == 11 else "small"
        rows[track] = (number // 3 + 100, number // 3 + 200, part, subset, genre, f"[{TINY_IDS[genre]}]")
        write_tone(audio_path(root / audio, track), number % 3, number)
    levels = [
        ("album", "id"), ("artist", "id"), ("set", "split"), ("set", "subset"), ("track", "genre_top"),
        ("track", "genres"),
    ]  # fmt: skip
    table = pd.DataFrame.from_dict(rows, "index", columns=pd.MultiIndex.from_tuples(levels)).rename_axis("track_id")
    (root / "fma_metadata").mkdir(parents=True, exist_ok=True)
    table.to_csv(root / "fma_metadata" / "tracks.csv")
    hierarchy = [(number, 0, genre) for genre, number in TINY_IDS.items()]
    write_csv(root / "fma_metadata" / "genres.csv", pd.DataFrame(hierarchy, columns=["genre_id", "parent", "title"]))


DATASET = Dataset(
    name="fma",
    title="FMA",
    citation=CITATION,
    licence=LICENCE,
    url=URL,
    archives=ARCHIVES,
    size="small: 8,000 tracks of 30 s, 7.2 GiB; medium: 25,000, 22 GiB; large: 106,574, 93 GiB; full: those in full "
    "length, 879 GiB",
    root="data",
    layout=("fma_metadata/tracks.csv", "fma_small/000/000002.mp3 (fma_medium and so on for --option subset=medium)"),
    reader=read_fma,
    make_tiny=make_tiny,
    labels=GENRES,
    known_faults=KNOWN_FAULTS,
    options={"subset": f"{', '.join(SUBSETS)}: each holds the ones before it; default: small"},
)
