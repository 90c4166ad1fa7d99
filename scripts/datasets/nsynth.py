"""NSynth: notes of 1,006 instruments of commercial sample libraries, by family of instruments."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.common.cli import pick
from scripts.common.errors import TableError
from scripts.common.storage import write_json
from scripts.datasets.contract import Archive, Dataset, finish_table
from scripts.datasets.tiny import write_tone

FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
PARTS = {"train": "train", "valid": "validation", "test": "test"}
INSTRUMENT = "instrument_str"
FIELDS = {"family": "instrument_family_str", "source": "instrument_source_str", "instrument": INSTRUMENT}

ARCHIVES = [  # checksums: those that the benchmark HEAR (Turian et al., 2022) checks its downloads by
    Archive(
        f"http://download.magenta.tensorflow.org/datasets/nsynth/nsynth-{name}.jsonwav.tar.gz",
        f"md5:{digest}", size, f"nsynth-{name}", "examples.json",
    )
    for name, size, digest in (
        ("train", "24 GB", "fde6665a93865503ba598b9fac388660"),
        ("valid", "1.1 GB", "87e94a00a19b6dbc99cf6d4c0c0cae87"),
        ("test", "350 MB", "5e6f8719bf7e16ad0a00d518b78af77d"),
    )
]  # fmt: skip


def read_nsynth(root: Path, label: str = "family") -> pd.DataFrame:
    """One row for each note of the parts that are there; `artist_id` is the instrument.

    The official split keeps the instruments of train out of validation and test, but these two share theirs. It
    cannot serve to tell single instruments apart, so with `label="instrument"` `split` is empty.

    Parameters
    ----------
    root : the folder of nsynth-train, nsynth-valid and nsynth-test; one of them is enough.
    label : "family" (11), "source" (acoustic, electronic, synthetic) or "instrument" (1,006).

    Raises
    ------
    ConfigError : unknown label.
    TableError : none of the parts is there, or an examples.json is missing or damaged (note and value named).
    """
    field = FIELDS[pick("label", label, FIELDS)]
    parts = {folder: part for name, part in PARTS.items() if (folder := root / f"nsynth-{name}").is_dir()}
    if not parts:
        raise TableError(f"{root}: not NSynth, which has folders such as nsynth-train; give another --root")
    rows = pd.concat([read_part(folder, field).assign(split=part) for folder, part in parts.items()])
    if label == "instrument":
        rows["split"] = None
    return finish_table(rows, root)


def read_part(folder: Path, field: str) -> pd.DataFrame:
    """Track id, path, genre (the value of `field`) and artist of each note of a part, in the file's order."""
    path = folder / "examples.json"
    notes = read_notes(path)
    rows = {
        "track_id": list(notes),
        "file_path": [(folder / "audio" / f"{note}.wav").as_posix() for note in notes],
        "genre": [name_of(path, note, facts, field) for note, facts in notes.items()],
        "artist_id": [name_of(path, note, facts, INSTRUMENT) for note, facts in notes.items()],
    }
    return pd.DataFrame(rows)


def read_notes(path: Path) -> dict[str, dict[str, Any]]:
    """examples.json: note -> what is known about it."""
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"{path}: no such file; unpack the archive again or give another --root") from None
    except ValueError as error:
        raise TableError(f"{path}: damaged ({error}); unpack the archive again") from None
    if not isinstance(notes, dict):
        raise TableError(f"{path}: not a JSON object of notes; unpack the archive again")
    return notes


def name_of(path: Path, note: str, facts: dict[str, Any], field: str) -> str:
    value = facts.get(field) if isinstance(facts, dict) else None
    if not isinstance(value, str):
        raise TableError(f"{path}: note {note} has {value!r} for {field}, not a name; unpack the archive again")
    return value


def make_tiny(root: Path) -> None:
    """Four notes of three families in each part; validation and test share their instruments."""
    for name in PARTS:
        notes = {}
        for number in range(12):
            kind = number % 3
            instrument = f"{FAMILIES[kind]}_acoustic_{int(name == 'train'):03d}"
            note = f"{instrument}-{60 + number:03d}-{100 if name == 'test' else 75:03d}"
            notes[note] = {
                "note_str": note, INSTRUMENT: instrument,
                "instrument_family_str": FAMILIES[kind], "instrument_source_str": "acoustic",
            }  # fmt: skip
            write_tone(root / f"nsynth-{name}" / "audio" / f"{note}.wav", kind, number)
        write_json(root / f"nsynth-{name}" / "examples.json", notes)


DATASET = Dataset(
    name="nsynth",
    title="NSynth",
    citation="J. Engel, C. Resnick, A. Roberts, S. Dieleman, D. Eck, K. Simonyan, M. Norouzi. Neural Audio Synthesis "
    "of Musical Notes with WaveNet Autoencoders. ICML, 2017.",
    licence="CC BY 4.0",
    url="https://magenta.tensorflow.org/datasets/nsynth (the json/wav archives)",
    archives={"nsynth": ARCHIVES},
    size="305,979 notes of 4 s at 16 kHz (289,205 train, 12,678 validation, 4,096 test), 39 GB unpacked",
    root="data/nsynth",
    layout=(
        "nsynth-train/examples.json, nsynth-train/audio/bass_acoustic_000-024-025.wav (instrument-pitch-velocity)",
        "nsynth-valid and nsynth-test in the same way",
    ),
    reader=read_nsynth,
    make_tiny=make_tiny,
    labels=FAMILIES,
    options={"label": f"{', '.join(FIELDS)}: what the classes are; default: family; instrument has no split"},
)
