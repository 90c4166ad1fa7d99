"""Pictures of GTZAN's log-mels, one of each track, as published beside the table of 57 features."""

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.common.errors import TableError
from scripts.datasets import gtzan
from scripts.datasets.contract import Dataset, finish_table
from scripts.datasets.gtzan_split import fault_filtered

FOLDERS = ("images_original", "Data/images_original", ".")
NAME = r"([a-z]+)(\d{5})"  # "blues00000" is the track "blues.00000"


def read_images(root: Path) -> pd.DataFrame:
    """One row per picture, in order of track id; split and artists as in `gtzan.read_gtzan`.

    `duration_s` is empty, as the pictures do not say it.
    """
    folder = next((root / name for name in FOLDERS if any((root / name / one).is_dir() for one in gtzan.GENRES)), None)
    if folder is None:
        raise TableError(f"{root}: has no folders such as images_original/blues; unpack them, or give another --root")
    files = [path for genre in gtzan.GENRES for path in sorted((folder / genre).glob(f"{genre}?????.png"))]
    tracks = pd.Series([path.stem for path in files], dtype=object).str.replace(NAME, r"\1.\2", regex=True)
    table = pd.DataFrame(
        {
            "track_id": tracks,
            "file_path": [path.as_posix() for path in files],
            "genre": [path.parent.name for path in files],
            "split": tracks.map(fault_filtered()),
            "artist_id": tracks.map(gtzan.artists(root)),
        }
    )
    return finish_table(table, folder)


def make_tiny(root: Path) -> None:
    """A picture for each of `gtzan.tiny_tracks`: noise with a loud band that tells the genre, within white margins."""
    import matplotlib.image

    for number, track in enumerate(gtzan.tiny_tracks()):
        genre = track.split(".")[0]
        levels = np.random.default_rng(number).integers(0, 128, (40, 60))
        levels[4 * gtzan.GENRES.index(genre) :][:4] += 128
        picture = np.pad(matplotlib.colormaps["magma"](levels), [(5, 5), (8, 8), (0, 0)], constant_values=1)
        path = root / "images_original" / genre / f"{track.replace('.', '')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        matplotlib.image.imsave(path, picture, origin="lower")


DATASET = Dataset(
    name="gtzan_images",
    title="Pictures of GTZAN's log-mels",
    citation="A. Olteanu. GTZAN Dataset - Music Genre Classification. Kaggle, 2020. Music and split: see gtzan.",
    licence="as stated by its author on Kaggle; of music without its owners' permission; for research only",
    url="https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification",
    size="999 pictures of 432 by 288 pixels, one of each track's 30 s; to be cached with --kind picture",
    root="data/gtzan_images",
    layout=(
        "images_original/blues/blues00000.png (here, in Data/ or without images_original)",
        "GTZANindex.txt (optional: the artists of 919 tracks, by B. L. Sturm)",
    ),
    reader=read_images,
    make_tiny=make_tiny,
    labels=gtzan.GENRES,
    known_faults={"reggae.00086": gtzan.KNOWN_FAULTS["reggae.00086"]},
)
