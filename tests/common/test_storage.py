"""Tables as text: what is written is read, whatever it looks like, and what is no table is said to be none."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.audio.build_cache import build_cache
from scripts.common.errors import TableError
from scripts.common.storage import find_path, read_csv, to_numbers, write_csv, write_json
from scripts.inference.predict_folder import Row, Table
from scripts.reports.predictions import read_predictions
from scripts.tables.label_table import read_table
from tests.conftest import tone_samples
from tests.corpus import SPEC

LOOK_LIKE_SOMETHING = "0 01 1e5 inf -0.0 True None NA nan N/A null 1999 #N/A - =cmd"
FILE_NAMES = (
    st.binary(min_size=1, max_size=12).map(lambda name: os.fsdecode(name.translate(None, b"\0/"))).filter(str.strip)
)
FOLDER_NAMES = FILE_NAMES.map(lambda name: name.encode(errors="ignore").decode().strip()).filter(bool)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@settings(max_examples=60)
@given(
    names=st.lists(FILE_NAMES, min_size=1, max_size=4, unique_by=str.strip),
    labels=st.lists(FOLDER_NAMES, min_size=4, max_size=4),
)
def test_every_name_survives_every_table(place: Path, names: list[str], labels: list[str]) -> None:
    labels = labels[: len(names)]
    ids = [name.strip() for name in names]
    table = pd.DataFrame({"track_id": ids, "file_path": names, "genre": labels, "class": range(len(names))})
    write_csv(place / "labels.csv", table)
    found = read_table(place / "labels.csv", ["track_id", "file_path", "genre", "class"])
    assert found["track_id"].tolist() == ids and found["genre"].tolist() == labels
    assert found["class"].tolist() == list(range(len(names)))
    assert read_csv(place / "labels.csv")["file_path"].tolist() == names

    columns = {f"p_{label}": 0.25 for label in labels}
    write_csv(place / "predictions.csv", pd.DataFrame({"track_id": ids, "clips": 10, "genre": labels, **columns}))
    found = read_predictions(place / "predictions.csv")
    assert list(found) == ["track_id", "clips", "genre", *columns]
    assert found["track_id"].tolist() == ids and found["genre"].tolist() == labels
    assert (found[list(columns)] == 0.25).all(axis=None) and (found["clips"] == 10).all()

    predicted = Table(place / "out.csv", dict.fromkeys(labels))
    predicted.write(
        [Row(name, 1, 2, "run", probabilities=dict.fromkeys(labels, 0.5), labels=labels[:1]) for name in names]
    )
    files = {
        Path(row.file): row.labels for [row] in predicted.read().values()
    }  # formulas of spreadsheets begin with ./
    assert files == {Path(name): labels[:1] for name in names}


def test_nothing_is_guessed(tmp_path: Path) -> None:
    for text in LOOK_LIKE_SOMETHING.split():
        table = read_csv(write(tmp_path, f"a,b\n{text},x\n{text},\n"))
        assert table["a"].tolist() == [text, text]
        assert table["b"].isna().tolist() == [False, True]


def test_cells_and_headers_are_stripped_and_paths_are_not(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, "\ufefffile_path , Genre,\n a.wav , rock ,0\n  ,\u00a0jazz\n"))
    assert list(table) == ["file_path", "Genre"]
    assert table["Genre"].tolist() == ["rock", "jazz"]
    assert table["file_path"].iloc[0] == " a.wav " and pd.isna(table["file_path"].iloc[1])


def test_path_is_stripped_unless_a_file_is_called_so(tmp_path: Path) -> None:
    assert find_path(" a.wav ", tmp_path) == "a.wav"
    (tmp_path / " a.wav ").touch()
    assert find_path(" a.wav ", tmp_path) == " a.wav "


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2,\n1,2,\n", "row 2 has 3 fields, the header 2"),
        ("a,b\n1,2\n1,2,3\n", "row 3 has 3 fields, the header 2"),
        ("", "empty"),
        ("\n\n", "empty"),
        ("a;b\n1;2\n", "semicolons between its columns; save it with commas"),
        ("a\tb\n1\t2\n", "tabs between its columns"),
        ("a,b, a\n1,2,3\n", "column a twice"),
        ('a,b\n"1,2\n', "not a CSV table .row 2"),
        ("a,b\n1,2\n".encode("utf-16"), "not a CSV table in UTF-8"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(TableError, match=words):
        read_csv(write(tmp_path, content))


def test_numbers_by_role(tmp_path: Path) -> None:
    path = write(tmp_path, "size,seconds,text\n1764356000123456789,0.1,07\n2,\n")
    table = to_numbers(path, read_csv(path), ["size", "seconds"])
    assert table["size"].tolist() == [1764356000123456789, 2]
    assert table["seconds"].iloc[0] == 0.1 and table["seconds"].isna().iloc[1]
    assert table["text"].iloc[0] == "07"
    with pytest.raises(TableError, match="row 3 has 'two' for size, which is no number"):
        to_numbers(path, read_csv(write(tmp_path, "size\n1\ntwo\n")), ["size"])


def test_json_keeps_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"file": os.fsdecode(b"caf\xe9"), "ö": 1})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"file": os.fsdecode(b"caf\xe9"), "ö": 1}


def test_cache_of_files_with_odd_names(tmp_path: Path) -> None:
    import soundfile

    names = [b"caf\xe9.wav", b"a\rb.wav", b" c .wav"]
    files = [str(tmp_path / os.fsdecode(name)) for name in names]
    for file in files:
        with open(file, "wb") as target:
            soundfile.write(target, tone_samples(1.0, 8000), 8000, format="WAV")
    table = pd.DataFrame({"track_id": [os.fsdecode(name).strip() for name in names], "file_path": files})
    for _ in range(2):
        rows = build_cache(table, tmp_path / "mels", SPEC, workers=1).rows
        assert rows.loc[table["track_id"], "file"].tolist() == files
        assert rows["status"].tolist() == ["ok"] * 3
