"""Splits, folds, subsets and tables are what they were: scores of earlier runs belong to their fingerprints."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.datasets.tiny import write_tone
from scripts.tables.splits import FOLD_UNITS, SPLITS, assign, fingerprint, k_folds, stratified_subset
from scripts.utils.labeled_tracks import write_label_table
from scripts.utils.metadata import write_metadata

TRACKS = 600
STORED = {
    ("single_label", "official"): ["64b853dad758", "64b853dad758"],
    ("single_label", "random80"): ["3dafe3a97a0d", "1b8c788a4f8d"],
    ("single_label", "artist"): ["5320fef3ca71", "0f713092e42a"],
    ("single_label", "artist_album"): ["3359fd9a7675", "7d721c1ce7c0"],
    ("single_label", "shuffled"): ["4f2222c266a7", "1bd323e5b351"],
    ("single_label", "folds", "official"): ["5161f717de14", "5161f717de14"],
    ("single_label", "folds", "artist"): ["c2513ef2e0eb", "26dc7336217a"],
    ("single_label", "folds", "track"): ["af4738592dd8", "b9a87c46edf6"],
    ("single_label", "subset"): ["688437917e2e", "345b357bface"],
    ("multi_label", "official"): ["64b853dad758", "64b853dad758"],
    ("multi_label", "random80"): ["1dfb9e163e5e", "36f41d9372ac"],
    ("multi_label", "artist"): ["bf83df797f4f", "01c6e1f591f8"],
    ("multi_label", "artist_album"): ["70d63f217d6a", "cfe9808925fd"],
    ("multi_label", "shuffled"): ["bd0b43a49cf5", "f3c83b8b57ac"],
    ("multi_label", "folds", "official"): ["5161f717de14", "5161f717de14"],
    ("multi_label", "folds", "artist"): ["17351f4a8ee7", "5e3803cd4692"],
    ("multi_label", "folds", "track"): ["509b9b552ef8", "b07acf5aeb70"],
    ("multi_label", "subset"): ["15f116019ddf", "6159885a708a"],
    "files": [
        "68abe090f41d",
        "36877abf7552",
        "e6f625cb81e7",
        "30f29065d874",
        "8b07c0d65557",
        "d795c6269115",
        "58312ad2cc22",
        "1cf16131ccc7",
        "6b81a60104cc",
        "2bc20ac38f67",
        "e23b3f3938c7",
        "21637570845b",
    ],
}


def listing() -> pd.DataFrame:
    """Rows of uneven classes, whose artists are known by several spellings or not at all, and share some albums."""
    number = np.arange(TRACKS)
    artist = number * number % 149
    spelling = np.array(["Artist {}", " artist  {}", "ARTIST {}", "Ártist {}", "A\u0301rtist {}"])[number % 5]
    table = pd.DataFrame(
        {
            "path": [f"audio/{n % 7}/./{n:04d}.v{n % 3}.wav" for n in number],
            "label": np.array(["Folk", "Jazz; Bop", "Rock", "Ünd", "10"])[(artist * artist + number // 97) % 17 % 5],
            "artist": [text.format(a) for text, a in zip(spelling, artist, strict=True)],
            "album": [f"album {a // 2 if n % 50 == 0 else 1000 + a}" for n, a in zip(number, artist, strict=True)],
            "split": np.array(["train", "Training", "val", "test", None], object)[number * 31 % 5],
            "fold": number * 17 % 23 % 5 + 1,
        }
    )
    table.loc[number % 11 == 0, "artist"] = "n/a"
    table.loc[number % 13 == 0, "album"] = None
    return table


def single_label_table() -> pd.DataFrame:
    rows = listing().rename(columns={"label": "genre", "artist": "artist_id", "album": "album_id"})
    split = rows["split"].replace({"Training": "train", "val": "validation"})
    return rows.assign(track_id=np.arange(TRACKS).astype(str), split=split, **{"class": pd.factorize(rows["genre"])[0]})


def multi_label_table() -> pd.DataFrame:
    table, number = single_label_table(), np.arange(TRACKS)
    names = [[name for name, every in (("bass", 3), ("drums", 4), ("voice", 7)) if n % every == 0] for n in number]
    return table.drop(columns=["genre", "class"]).assign(labels=[";".join(some) or "-" for some in names])


TABLES = {"single_label": single_label_table, "multi_label": multi_label_table}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


@pytest.mark.parametrize("task", TABLES)
@pytest.mark.parametrize("name", SPLITS)
def test_splits(task: str, name: str) -> None:
    table = TABLES[task]()
    found = [fingerprint(assign(table, name, seed)) for seed in (0, 7)]
    assert found == STORED[task, name]


@pytest.mark.parametrize("task", TABLES)
@pytest.mark.parametrize("by", FOLD_UNITS)
def test_folds(task: str, by: str) -> None:
    table = TABLES[task]()
    found = [digest(bytes(k_folds(table, 5, seed, by).tolist())) for seed in (0, 7)]
    assert found == STORED[task, "folds", by]


@pytest.mark.parametrize("task", TABLES)
def test_subsets(task: str) -> None:
    found = [fingerprint(stratified_subset(TABLES[task](), count), ["path"]) for count in (60, 301)]
    assert found == STORED[task, "subset"]


def test_files_and_what_is_said_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    listing().to_csv("listing.csv", index=False)
    write_tone(Path("audio/3/0003.v0.wav"), 1, 1, seconds=1)
    labels, clips, tracks = Path("labels.csv"), Path("clips.csv"), Path("tracks.csv")
    table = write_label_table("table", "listing.csv", labels)
    assert table["duration_s"].count() == 1
    found = [digest(labels.read_bytes())]
    for name in SPLITS:
        write_metadata(labels, clips, tracks, name, seed=3)
        found += [digest(clips.read_bytes()), digest(tracks.read_bytes())]
    assert [*found, digest(capsys.readouterr().out.encode())] == STORED["files"]
