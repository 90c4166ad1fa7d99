"""IRMAS: 3 s excerpts with one predominant instrument to train on, longer ones with several to test on."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.datasets.contract import Archive, Dataset, finish_table
from scripts.datasets.folder import walk
from scripts.datasets.tiny import write_tone
from scripts.tables.label_matrix import join, label_matrix
from scripts.tables.stratify import hold_out

INSTRUMENTS = {
    "cel": "cello", "cla": "clarinet", "flu": "flute", "gac": "acoustic guitar", "gel": "electric guitar",
    "org": "organ", "pia": "piano", "sax": "saxophone", "tru": "trumpet", "vio": "violin", "voi": "voice",
}  # fmt: skip
LABELS = tuple(INSTRUMENTS.values())
URL = "https://zenodo.org/records/1290750"
ARCHIVES = [
    Archive(f"{URL}/files/{name}.zip", f"md5:{digest}", size, name, "*/*.wav")
    for name, size, digest in (
        ("IRMAS-TrainingData", "3.5 GB unpacked", "4fd9f5ed5a18d8e2687e6360b5f60afe"),
        ("IRMAS-TestingData-Part1", "one of three, 8.6 GB unpacked", "5a2e65520dcedada565dff2050bb2a56"),
        ("IRMAS-TestingData-Part2", "one of three, 8.6 GB unpacked", "afb0c8ea92f34ee653693106be95c895"),
        ("IRMAS-TestingData-Part3", "one of three, 8.6 GB unpacked", "9b3fb2d0c89cdc98037121c25bd5b556"),
    )
]
# of each instrument in AudioSet's list of 527 classes
IRMAS_ROWS = {
    "cel": 193, "cla": 198, "flu": 196, "gac": 143, "gel": 141, "org": 155, "pia": 153, "sax": 197, "tru": 187,
    "vio": 191, "voi": 27,
}  # fmt: skip
# [cel][cla]0001__1, 008__[cel][nod][cla]0058__1, or with [dru] or [---]: cla is an instrument and a genre
TRAINING_NAME = re.compile(
    r"(?:\d+__)?\[(?P<code>\w+)\](?:\[(?:dru|nod|---)\])?\[(?P<genre>[\w-]+)\](?P<recording>\d+)__\d+"
)


def read_irmas(root: Path, part: str = "all") -> pd.DataFrame:
    """One row per excerpt; `album_id` is the recording or song that it is cut from, `genre` the code in the name of
    a training file, such as pop_roc.

    IRMAS has no validation part, so one is cut out, keeping recordings whole and the labels in proportion, always
    the same: half of the test songs, or 15 % of the training recordings where only these are read.

    Parameters
    ----------
    part : "train", "test" or "all".
    """
    pick("part of irmas", part, ("all", "train", "test"))
    tables = []
    if part != "test":
        train = pd.DataFrame([training_row(path) for path in wav_files(root, "IRMAS-TrainingData")])
        tables.append(train.assign(split=cut(train, "train", "validation", 0.15) if part == "train" else "train"))
    if part != "train":
        test = pd.DataFrame([testing_row(path) for path in wav_files(root, "IRMAS-TestingData*")])
        tables.append(test.assign(split=cut(test, "validation", "test", 0.5)))
    return finish_table(pd.concat(tables), root)


def cut(rows: pd.DataFrame, first: str, second: str, share: float) -> np.ndarray:
    """The part of each row: `second` for the given share of the recordings."""
    held_out = hold_out(rows["album_id"], label_matrix(rows, LABELS) == 1, share)
    return np.where(held_out, second, first)


def wav_files(root: Path, pattern: str) -> list[Path]:
    """All wav files in the folders of this name, sorted.

    Raises
    ------
    TableError : there is none.
    """
    files = sorted(path for folder in root.glob(pattern) for path in walk(folder) if path.suffix.lower() == ".wav")
    if not files:
        raise TableError(f"{root}: has no wav files in {pattern}; unpack it there, choose a part or another --root")
    return files


def training_row(path: Path) -> dict[str, str | None]:
    """The instrument is that of the folder and of the first bracket; recordings are numbered within the folder."""
    name, code = TRAINING_NAME.fullmatch(path.stem), path.parent.name
    if name is None or name["code"] != code or code not in INSTRUMENTS:
        raise TableError(
            f"{path}: not a name such as cla/[cla][dru][jaz_blu]0058__1.wav, in the folder of its first bracket, one "
            f"of {', '.join(INSTRUMENTS)}; move the file away or name it as it was published"
        )
    return row(path, [INSTRUMENTS[code]], f"train/{code}/{name['recording']}", name["genre"])


def testing_row(path: Path) -> dict[str, str | None]:
    """`<song>-<number>.wav`, with its instruments in the .txt beside it."""
    song = re.sub(r"-\d+$", "", path.stem)
    return row(path, read_instruments(path.with_suffix(".txt")), f"test/{song}")


def row(path: Path, labels: list[str], recording: str, genre: str | None = None) -> dict[str, str | None]:
    return {
        "track_id": f"{path.parent.name}/{path.stem}",
        "file_path": path.as_posix(),
        "labels": join(labels),
        "album_id": recording,
        "genre": genre,
    }


def read_instruments(path: Path) -> list[str]:
    """Names of the codes in a .txt: one a line, with tabs after it.

    Raises
    ------
    TableError : no such file, an unknown code, or none at all.
    """
    if not path.is_file():
        raise TableError(f"{path}: no such file; it holds the instruments of the .wav beside it: unpack it again")
    codes = [line.strip() for line in path.read_text("utf-8", errors="replace").splitlines()]
    for number, code in enumerate(codes, start=1):
        if code and code not in INSTRUMENTS:
            raise TableError(f"{path}: line {number} has {code!r}, not one of {', '.join(INSTRUMENTS)}; correct it")
    if not any(codes):
        raise TableError(f"{path}: holds no instrument; write one of {', '.join(INSTRUMENTS)} a line")
    return [INSTRUMENTS[code] for code in codes if code]


def make_tiny(root: Path) -> None:
    """Four recordings of each of three instruments, in two excerpts each, and six songs to test on."""
    names = ("[{}][cla]0001", "008__[{}][nod][cla]0002", "071__[{}][dru][pop_roc]0003", "1234__[{}][---][jaz_blu]4")
    for kind, code in enumerate(("cel", "cla", "gel")):
        for number in range(8):
            name = names[number // 2].format(code)
            write_tone(root / "IRMAS-TrainingData" / code / f"{name}__{number % 2 + 1}.wav", kind, number)
    songs = (("cel",), ("cla", "gel"), ("gel",), ("cel", "cla"), ("cla", "gel"), ("cel", "gel"))
    for number in range(12):
        codes = songs[number // 2]
        part = f"Part{number // 4 + 1}"
        path = root / f"IRMAS-TestingData-{part}" / part / f"(0{number // 2}) vol. 1-{number % 2 + 1}.wav"
        write_tone(path, len(codes), number)
        path.with_suffix(".txt").write_text("".join(f"{code}\t\r\n" for code in codes))


DATASET = Dataset(
    name="irmas",
    title="IRMAS: instrument recognition in musical audio signals",
    citation="J. J. Bosch, J. Janer, F. Fuhrmann, P. Herrera. A Comparison of Sound Segregation Techniques for "
    "Predominant Instrument Recognition in Musical Audio Signals. ISMIR, 2012.",
    licence="CC BY-NC-SA 3.0",
    url=URL,
    archives={"irmas": ARCHIVES},
    size="6,705 excerpts of 3 s to train on, 2,874 of 5 to 20 s to test on",
    root="data/irmas",
    layout=(
        "IRMAS-TrainingData/cla/[cla][dru][jaz_blu]0058__1.wav",
        "IRMAS-TestingData-Part1/Part1/<song>-<number>.wav, and a .txt with its instruments, one a line",
    ),
    reader=read_irmas,
    make_tiny=make_tiny,
    task="multi_label",
    labels=LABELS,
    options={
        "part": "all (default): validation is half of the test songs; train: validation is 15 % of the training "
        "recordings, no test; test: validation and test alone"
    },
)
