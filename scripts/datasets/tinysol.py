"""TinySOL: single notes of 14 instruments in ordinary playing technique, recorded at Ircam."""

from pathlib import Path

import pandas as pd

from scripts.common.storage import write_csv
from scripts.datasets.annotations import fold_split, read_annotations
from scripts.datasets.contract import Archive, Dataset, finish_table
from scripts.datasets.tiny import write_tone

FOLDS = ("0", "1", "2", "3", "4")
URL = "https://zenodo.org/records/3685367"
METADATA = Path("annotation", "TinySOL_metadata.csv")
COLUMNS = ["Path", "Fold", "Instrument (in full)"]


def read_tinysol(root: Path, fold: str = "0") -> pd.DataFrame:
    """One row for each note, in the file's order; the genre is the instrument in full, such as "French Horn".

    The official folds balance instruments, pitches and dynamics; players and instruments are in all of them, and
    notes that were retuned from a neighbour can be in another fold than that. Scores are for known instruments.

    Parameters
    ----------
    fold : the official fold that is tested on, "0" to "4"; the next one is for validation, the others for training.
    """
    path = root / METADATA
    notes = read_annotations(path, COLUMNS)
    rows = {
        "track_id": notes["Path"].map(lambda name: Path(name).stem),
        "file_path": [(root / "audio" / name).as_posix() for name in notes["Path"]],
        "genre": notes["Instrument (in full)"],
        "split": fold_split(path, notes["Fold"], fold, FOLDS),
        "fold": notes["Fold"],
    }
    return finish_table(pd.DataFrame(rows), path)


def make_tiny(root: Path) -> None:
    """A note of three instruments in each fold."""
    rows = []
    for number in range(15):
        kind, fold = number % 3, FOLDS[number // 3]
        family, instrument, short = (("Strings", "Viola", "Va"), ("Winds", "Flute", "Fl"), ("Winds", "Oboe", "Ob"))[
            kind
        ]
        note = f"{family}/{instrument}/ordinario/{short}-ord-{'CDEFG'[int(fold)]}4-mf-N-N.wav"
        rows.append((note, fold, instrument))
        write_tone(root / "audio" / note, kind, number)
    write_csv(root / METADATA, pd.DataFrame(rows, columns=COLUMNS))


DATASET = Dataset(
    name="tinysol",
    title="TinySOL",
    citation="C.-E. Cella, D. Ghisi, V. Lostanlen, F. Lévy, J. Fineberg, Y. Maresz. OrchideaSOL: a dataset of extended "
    "instrumental techniques for computer-aided orchestration. arXiv:2007.00763, 2020.",
    licence="CC BY 4.0",
    url=URL,
    archives={
        "tinysol": [
            Archive(
                f"{URL}/files/{METADATA.name}",
                "md5:a86c9bb115f69e61f2f25872e397fc4a",
                "0.4 MB",
                "annotation",
                METADATA.name,
            ),
            Archive(
                f"{URL}/files/TinySOL.tar.gz",
                "md5:36030a7fe389da86c3419e5ee48e3b7f",
                "1.0 GB",
                "audio",
                "*/*/ordinario/*.wav",
            ),
        ]
    },
    size="2,913 notes of 14 instruments",
    root="data/tinysol",
    layout=(METADATA.as_posix(), "audio/Winds/Flute/ordinario/Fl-ord-C4-mf-N-T14d.wav"),
    reader=read_tinysol,
    make_tiny=make_tiny,
    options={"fold": f"{', '.join(FOLDS)}: the one tested on, the next validates; default: 0"},
)
