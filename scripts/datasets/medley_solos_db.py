"""Medley-solos-DB: 3 s clips of eight solo instruments; trained on one collection, tested on another."""

import uuid
from pathlib import Path

import pandas as pd

from scripts.common.storage import write_csv
from scripts.datasets.annotations import check_values, read_annotations
from scripts.datasets.contract import Archive, Dataset, finish_table
from scripts.datasets.tiny import write_tone

INSTRUMENTS = (
    "clarinet", "distorted electric guitar", "female singer", "flute", "piano", "tenor saxophone", "trumpet", "violin",
)  # fmt: skip
PARTS = {"training": "train", "validation": "validation", "test": "test"}
FOLDS = {"training": "1", "test": "2", "validation": "3"}  # the one after a tested fold validates, here as published
URL = "https://zenodo.org/records/3464194"
METADATA = Path("annotation", "Medley-solos-DB_metadata.csv")


def read_medley_solos_db(root: Path) -> pd.DataFrame:
    """One row for each clip, in the file's order, with the official split; the genre is the instrument.

    Training and validation come from MedleyDB, the test from solosDb; as folds, each of the three is tested once, and
    the second is the official split. `album_id` is the song that a clip is cut
    from; it is empty for versions of the dataset without a column `song_id`. Artists are not published.
    """
    path = root / METADATA
    clips = read_annotations(path, ("subset", "instrument", "instrument_id", "uuid4"))
    check_values(path, clips["subset"], PARTS)
    check_values(path, clips["instrument"], INSTRUMENTS)
    names = "Medley-solos-DB_" + clips["subset"] + "-" + clips["instrument_id"] + "_" + clips["uuid4"] + ".wav"
    rows = {
        "track_id": clips["uuid4"],
        "file_path": [(root / "audio" / name).as_posix() for name in names],
        "genre": clips["instrument"],
        "album_id": "song-" + clips["song_id"] if "song_id" in clips else None,
        "split": clips["subset"].map(PARTS),
        "fold": clips["subset"].map(FOLDS),
    }
    return finish_table(pd.DataFrame(rows), path)


def make_tiny(root: Path) -> None:
    """Two clips of a song for each of three instruments in each part."""
    rows = []
    for number in range(18):
        kind, part, song = number % 3, list(PARTS)[number // 3 % 3], number % 9
        clip = str(uuid.UUID(int=number))
        rows.append((part, INSTRUMENTS[kind], kind, song, clip))
        write_tone(root / "audio" / f"Medley-solos-DB_{part}-{kind}_{clip}.wav", kind, number)
    table = pd.DataFrame(rows, columns=["subset", "instrument", "instrument_id", "song_id", "uuid4"])
    write_csv(root / METADATA, table)


DATASET = Dataset(
    name="medley_solos_db",
    title="Medley-solos-DB",
    citation="V. Lostanlen, C.-E. Cella. Deep Convolutional Networks on the Pitch Spiral for Musical Instrument "
    "Recognition. ISMIR, 2016.",
    licence="CC BY 4.0",
    url=URL,
    archives={
        "medley_solos_db": [
            Archive(
                f"{URL}/files/{METADATA.name}",
                "md5:fda6a589c56785f2195c9227809c521a",
                "2 MB",
                "annotation",
                METADATA.name,
            ),
            Archive(
                f"{URL}/files/Medley-solos-DB.tar.gz",
                "md5:f5facf398793ef5c1f80c013afdf3e5f",
                "7.9 GB",
                "audio",
                "*.wav",
            ),
        ]
    },
    size="21,571 clips of 2.97 s (5,841 train, 3,494 validation, 12,236 test), 11 GB unpacked",
    root="data/medley_solos_db",
    layout=(METADATA.as_posix(), "audio/Medley-solos-DB_<subset>-<instrument_id>_<uuid4>.wav"),
    reader=read_medley_solos_db,
    make_tiny=make_tiny,
    labels=INSTRUMENTS,
)
