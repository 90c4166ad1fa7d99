"""FMA: a dataset for music analysis (Defferrard, Benzi, Vandergheynst, Bresson, ISMIR 2017).

Facts from https://github.com/mdeff/fma and from public audits of the audio.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scripts.audio import duration
from scripts.cli import pick
from scripts.errors import TableError
from scripts.tables import LABEL_COLUMNS

CITATION = "M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson. FMA: A Dataset For Music Analysis. ISMIR, 2017."
LICENCE = "metadata CC BY 4.0; each track under the Creative Commons licence chosen by its artist"
URL = "https://os.unil.cloud.switch.ch/fma/"
SUBSETS = ("small", "medium", "large", "full")


@dataclass(frozen=True)
class Archive:
    """One official zip: its name, checksum and size."""

    file: str
    sha1: str
    size: str

    @property
    def url(self) -> str:
        return URL + self.file


ARCHIVES = {
    "metadata": Archive("fma_metadata.zip", "f0df49ffe5f2a6008d7dc83c6915b31835dfe733", "342 MiB"),
    "small": Archive("fma_small.zip", "ade154f733639d52e35e32f5593efe5be76c6d70", "7.2 GiB"),
    "medium": Archive("fma_medium.zip", "c67b69ea232021025fca9231fc1c7c1a063ab50b", "22 GiB"),
    "large": Archive("fma_large.zip", "497109f4dd721066b5ce5e5f250ec604dc78939e", "93 GiB"),
    "full": Archive("fma_full.zip", "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab", "879 GiB"),
}

# Faults of FMA-small that checksums do not show, and exact duplicates; others are found by looking (verify.py).
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
PARTS = {"training": "train", "validation": "validation", "test": "test"}


def read_tracks(metadata: str | Path) -> pd.DataFrame:
    """FMA's `tracks.csv` of a folder: index `track_id`, columns such as ("track", "genre_top").

    Raises
    ------
    TableError : no such file, or not FMA's layout.
    """
    path = Path(metadata) / "tracks.csv"
    if not path.is_file():
        raise TableError(f"{path}: no such file; run `python scripts/utils/download.py metadata` or give --metadata")
    try:
        tracks = pd.read_csv(path, index_col=0, header=[0, 1], low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, IndexError, ValueError) as error:
        raise TableError(f"{path}: not FMA's tracks.csv ({error}); unzip fma_metadata.zip again") from None
    needed = [("set", "split"), ("set", "subset"), ("track", "genre_top"), ("artist", "id"), ("album", "id")]
    missing = [" ".join(name) for name in needed if name not in tracks.columns]
    if missing:
        raise TableError(f"{path}: lacks {', '.join(missing)}; give the folder of FMA's own tracks.csv as --metadata")
    return tracks


def label_table(metadata: str | Path, audio: str | Path, subset: str = "small") -> pd.DataFrame:
    """One row per track of the subset that has a top genre, in the columns of `LABEL_COLUMNS`.

    Classes are numbered by first appearance in order of track id (FMA-small: Hip-Hop 0, Pop 1, Folk 2,
    Experimental 3, Rock 4, International 5, Electronic 6, Instrumental 7). `file_path` is kept even where the
    file is missing, so that the cache can count it; `duration_s` is then empty.
    """
    level = SUBSETS.index(pick("subset", subset, SUBSETS))
    tracks = read_tracks(metadata)
    kept = tracks[("set", "subset")].isin(SUBSETS[: level + 1]) & tracks[("track", "genre_top")].notna()
    tracks = tracks[kept].sort_index()
    if tracks.empty:
        raise TableError(f"{metadata}: no track of the subset {subset!r} has a top genre; choose another --subset")
    paths = [audio_path(audio, track) for track in tracks.index]
    columns = {
        "track_id": tracks.index.astype(str),
        "file_path": [path.as_posix() for path in paths],
        "genre": tracks[("track", "genre_top")].astype(str).to_numpy(),
        "class": pd.factorize(tracks[("track", "genre_top")])[0],
        "artist_id": tracks[("artist", "id")].to_numpy(),
        "album_id": tracks[("album", "id")].to_numpy(),
        "split": tracks[("set", "split")].map(PARTS).to_numpy(),
        "duration_s": [duration(path) for path in paths],
    }
    return pd.DataFrame(columns)[LABEL_COLUMNS]


def audio_path(audio: str | Path, track: int) -> Path:
    """FMA's place for a track: folder of the first three of six digits."""
    name = f"{int(track):06d}"
    return Path(audio) / name[:3] / f"{name}.mp3"
