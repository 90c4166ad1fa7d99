"""ESC-50: environmental sounds of fifty classes, and the same sounds as clips without a musical instrument.

Its clips also serve as background noise for augmentation.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from scripts.common.storage import write_csv
from scripts.datasets.annotations import check_values, fold_split, read_annotations
from scripts.datasets.contract import Archive, Dataset, finish_table
from scripts.datasets.tiny import write_tone
from scripts.tables.label_matrix import NONE

CATEGORIES = (
    "dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow",
    "rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds",
    "water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm",
    "crying_baby", "sneezing", "clapping", "breathing", "coughing",
    "footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping",
    "door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening",
    "washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking",
    "helicopter", "chainsaw", "siren", "car_horn", "engine", "train", "church_bells", "airplane", "fireworks",
    "hand_saw",
)  # fmt: skip
INSTRUMENTS = ("church_bells",)  # AudioSet's ontology has them among the musical instruments
FOLDS = ("1", "2", "3", "4", "5")
METADATA = Path("meta", "esc50.csv")
COLUMNS = ["filename", "fold", "category", "src_file"]

ARCHIVE = Archive(  # PaddleSpeech's copy, which stays as it is: GitHub packs the repository anew after each change
    "https://paddleaudio.bj.bcebos.com/datasets/ESC-50-master.zip",
    "md5:7771e4b9d86d0945acce719c7a59305a", "600 MB", ".", METADATA.as_posix(),
)  # fmt: skip


def read_esc50(root: Path, fold: str = "1") -> pd.DataFrame:
    """One row for each clip, in the file's order; `album_id` is the Freesound recording that it is cut from.

    All clips of a recording are in one of the official folds.

    Parameters
    ----------
    fold : the official fold that is tested on, "1" to "5"; the next one is for validation, the others for training.
    """
    path = root / METADATA
    clips = read_annotations(path, COLUMNS)
    check_values(path, clips["category"], CATEGORIES)
    rows = {
        "track_id": clips["filename"].map(lambda name: Path(name).stem),
        "file_path": [(root / "audio" / name).as_posix() for name in clips["filename"]],
        "genre": clips["category"],
        "album_id": "freesound-" + clips["src_file"],
        "split": fold_split(path, clips["fold"], fold, FOLDS),
        "fold": clips["fold"],
    }
    return finish_table(pd.DataFrame(rows), path)


def read_negatives(root: Path, fold: str = "1") -> pd.DataFrame:
    """The clips of `read_esc50` as a multi-label table in which none has a label: all instruments are absent.

    This is by category: church bells are left out, and nobody has listened for music behind the other sounds.
    """
    clips = read_esc50(root, fold)
    clips = clips[~clips["genre"].isin(INSTRUMENTS)].reset_index(drop=True)
    return clips.drop(columns=["class", "fold"]).rename(columns={"genre": "labels"}).assign(labels=NONE)


def make_tiny(root: Path) -> None:
    """A recording of three categories in each fold, with two clips each."""
    rows = []
    for number in range(30):
        kind, fold, take = number % 3, FOLDS[number // 6], "AB"[number // 3 % 2]
        category, recording = ("dog", "rain", "church_bells")[kind], 100 * int(fold) + kind
        name = f"{fold}-{recording}-{take}-{CATEGORIES.index(category)}.wav"
        rows.append((name, fold, category, recording))
        write_tone(root / "audio" / name, kind, number)
    write_csv(root / METADATA, pd.DataFrame(rows, columns=COLUMNS))


DATASET = Dataset(
    name="esc50",
    title="ESC-50",
    citation="K. J. Piczak. ESC: Dataset for Environmental Sound Classification. ACM Multimedia, 2015.",
    licence="CC BY-NC 3.0; the ten classes of ESC-10 CC BY; its file LICENSE names the author of each clip",
    url="https://github.com/karolpiczak/ESC-50",
    archives={"esc50": [ARCHIVE]},
    size="2,000 clips of 5 s, 40 for each class, 600 MB",
    root="data/ESC-50-master",
    layout=(METADATA.as_posix(), "audio/1-100032-A-0.wav"),
    reader=read_esc50,
    make_tiny=make_tiny,
    labels=CATEGORIES,
    options={"fold": f"{', '.join(FOLDS)}: the one tested on, the next validates; default: 1"},
)
NEGATIVES = replace(
    DATASET,
    name="esc50_negatives",
    title="ESC-50 as clips without an instrument",
    size="1,960 clips of 5 s, 600 MB",
    archives={},
    reader=read_negatives,
    task="multi_label",
    labels=(),
)
