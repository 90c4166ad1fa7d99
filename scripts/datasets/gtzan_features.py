"""The public table of 57 features of GTZAN: a row for each track, and a row for each of its 3 s clips."""

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.common.storage import read_csv
from scripts.datasets import gtzan
from scripts.datasets.contract import Dataset, finish_table
from scripts.datasets.gtzan_split import fault_filtered
from scripts.datasets.tiny import write_tone

FILES = {"30s": "features_30_sec.csv", "3s": "features_3_sec.csv"}
MEASURED = (
    "chroma_stft", "rms", "spectral_centroid", "spectral_bandwidth", "rolloff", "zero_crossing_rate", "harmony",
    "perceptr",
)  # fmt: skip
FEATURES = [
    *(f"{name}_{statistic}" for name in MEASURED for statistic in ("mean", "var")),
    "tempo",
    *(f"mfcc{number}_{statistic}" for number in range(1, 21) for statistic in ("mean", "var")),
]
NAME = r"(?P<track_id>(?P<genre>[a-z]+)\.\d{5})(?:\.(?P<clip>\d+))?\.(?:wav|au)"


def read_features(root: str | Path, which: str = "30s") -> pd.DataFrame:
    """The table of whole tracks ("30s") or of clips ("3s").

    Parameters
    ----------
    root : the folder of the CSV files, or the one above it.
    which : "30s" or "3s".

    Returns
    -------
    One row per track or clip, in the file's order: `track_id` ("blues.00000"), `clip` (1, 2, ... within its track;
    1 in the table of tracks), `genre`, `class` (alphabetical), `split` (artist- and fault-filtered; NaN for the
    tracks that it leaves out), and the 57 features of `FEATURES`.

    Raises
    ------
    ConfigError : unknown `which`.
    TableError : no such file, or not that table.
    """
    path = find_csv(Path(root), FILES[pick("table of features", which, FILES)])
    features = read_numbers(path)
    names = parse_names(path, features)
    rows = pd.DataFrame(
        {
            "track_id": names["track_id"],
            "clip": names["clip"].fillna("0").astype(int) + 1,
            "genre": names["genre"],
            "class": names["genre"].map(gtzan.GENRES.index),
            "split": names["track_id"].map(fault_filtered()),
        }
    )
    if rows.duplicated(["track_id", "clip"]).any():
        raise TableError(f"{path}: holds a track or clip twice; take the file as it was published")
    return pd.concat([rows, features[FEATURES]], axis=1)


def find_csv(root: Path, name: str) -> Path:
    for path in (root / name, root / "Data" / name):
        if path.is_file():
            return path
    raise TableError(f"{root}: has no {name}; download it ({DATASET.url}) or give another --root")


def read_numbers(path: Path) -> pd.DataFrame:
    """The file with its features as finite numbers."""
    table = read_csv(path)
    missing = [name for name in ("filename", *FEATURES, "label") if name not in table]
    if missing:
        raise TableError(f"{path}: lacks {', '.join(missing[:3])}: not the table of 57 features; give another --root")
    numbers = table[FEATURES].apply(pd.to_numeric, errors="coerce")
    rows, columns = np.nonzero(~np.isfinite(numbers.to_numpy(float)))
    if len(rows):
        name = FEATURES[columns[0]]
        value = str(table[name].iloc[rows[0]])
        raise TableError(f"{path}: row {rows[0] + 2} has {value!r} for {name}; download it again")
    return table.assign(**numbers)


def parse_names(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Columns `track_id, genre, clip` of the file names, checked against the labels."""
    names = table["filename"].astype(str).str.extract(rf"^{NAME}$")
    wrong = (names["genre"] != table["label"]) | ~names["genre"].isin(gtzan.GENRES)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        found = f"{table['filename'].iloc[row]!r} with the label {table['label'].iloc[row]!r}"
        raise TableError(f"{path}: row {row + 2} is {found}, not such as 'blues.00000.wav' with 'blues'; correct it")
    return names


def read_tracks(root: Path) -> pd.DataFrame:
    """The label table of the tracks in the 30 s table; `file_path` is where their audio would be."""
    features, audio = read_features(root), root / "genres_original"
    with contextlib.suppress(TableError):
        audio = gtzan.genre_folder(root)
    paths = [(audio / track.split(".")[0] / f"{track}.wav").as_posix() for track in features["track_id"]]
    return finish_table(features[["track_id", "genre", "split"]].assign(file_path=paths), root)


def make_tiny(root: Path) -> None:
    """Both tables for the tracks of `gtzan.tiny_tracks`, two clips each, and their audio."""
    rng, rows = np.random.default_rng(0), []
    for track in gtzan.tiny_tracks():
        genre = track.split(".")[0]
        number = gtzan.GENRES.index(genre)
        rows.append((track, genre, number + 0.3 * rng.standard_normal((3, len(FEATURES)))))
        write_tone(root / "genres_original" / genre / f"{track}.wav", number, len(rows))
    whole = [(f"{track}.wav", 661_794, *values[0], genre) for track, genre, values in rows]
    clips = [(f"{track}.{n}.wav", 66_149, *values[n + 1], genre) for track, genre, values in rows for n in range(2)]
    for name, table in ((FILES["30s"], whole), (FILES["3s"], clips)):
        pd.DataFrame(table, columns=["filename", "length", *FEATURES, "label"]).to_csv(root / name, index=False)


DATASET = Dataset(
    name="gtzan_features",
    title="57 features of GTZAN",
    citation="A. Olteanu. GTZAN Dataset - Music Genre Classification. Kaggle, 2020. Music and split: see gtzan.",
    licence="as stated by its author on Kaggle; the numbers hold no audio",
    url="https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification",
    size="1,000 tracks and 9,990 clips of 3 s, 57 numbers each",
    root="data/gtzan",
    layout=(
        "features_30_sec.csv, features_3_sec.csv (here or in Data/)",
        "genres_original/blues/blues.00000.wav (not needed)",
    ),
    reader=read_tracks,
    make_tiny=make_tiny,
    labels=gtzan.GENRES,
    known_faults={"jazz.00054": gtzan.KNOWN_FAULTS["jazz.00054"]},
    has_audio=False,
)
