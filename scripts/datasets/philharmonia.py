"""Single notes and short phrases of orchestral instruments, recorded by players of the Philharmonia Orchestra."""

from pathlib import Path

import pandas as pd

from scripts.common.errors import TableError
from scripts.datasets.contract import Dataset, finish_table
from scripts.datasets.folder import find_tracks
from scripts.datasets.tiny import write_tone

NAME = r"[^_]+(?:_[^_]*){4}"  # pitch and technique can be empty, as in "snare-drum__025_forte_with-snares"
KNOWN_FAULTS = dict.fromkeys(
    ("saxophone_Fs3_15_fortissimo_normal", "viola_D6_05_piano_arco-normal"), "empty (0 bytes) as published"
)


def read_philharmonia(root: Path) -> pd.DataFrame:
    """One row for each file; the genre is the instrument, named by the folder right below `root`.

    The track id is the file's name, `instrument_pitch_length_dynamics_technique`, such as
    "english-horn_A3_15_forte_normal" in the folder "cor anglais"; the length is in seconds without the point
    (025, 05, 1, 15), or long, very-long or phrase. "percussion" has a folder for each of its instruments, which
    are one genre here.

    There is no split, and who plays and in which session is not published: `artist_id` and `album_id` are empty.
    Notes of the same pitch and technique at other lengths and dynamics are near-duplicates that a random split
    puts on both sides, and an instrument seems to have one player: scores say little about other players.

    Raises
    ------
    TableError : not folders of audio files, or a file that is not named so.
    """
    table = find_tracks(root)
    table["track_id"] = table["track_id"].str.rpartition("/")[2]
    odd = ~table["track_id"].str.fullmatch(NAME)
    if odd.any():
        raise TableError(
            f"{table.loc[odd, 'file_path'].iloc[0]}: not named instrument_pitch_length_dynamics_technique; "
            "move the file away or give another --root"
        )
    return finish_table(table, root)


def make_tiny(root: Path) -> None:
    """Ten notes of three instruments each, and an empty file."""
    for kind, (folder, name) in enumerate({"banjo": "banjo", "cor anglais": "english-horn", "viola": "viola"}.items()):
        for number in range(10):
            pitch, length = "CDEFG"[number % 5], ("1", "phrase")[number // 5]
            write_tone(root / folder / f"{name}_{pitch}4_{length}_forte_normal.mp3", kind, number)
    (root / "viola" / "viola_D6_05_piano_arco-normal.mp3").write_bytes(b"")


DATASET = Dataset(
    name="philharmonia",
    title="Philharmonia sound samples",
    citation="Philharmonia Orchestra. Sound samples. https://philharmonia.co.uk/resources/sound-samples/",
    licence="CC BY-SA 3.0; not to be sold or offered as samples",
    url="https://philharmonia.co.uk/resources/sound-samples/ (all-samples.zip, which holds a zip for each instrument)",
    size="thousands of notes and phrases as mp3",
    root="data/philharmonia",
    layout=("cor anglais/english-horn_A3_15_forte_normal.mp3 (a folder for each instrument)",),
    reader=read_philharmonia,
    make_tiny=make_tiny,
    known_faults=KNOWN_FAULTS,
)
