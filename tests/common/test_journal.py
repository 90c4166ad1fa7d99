"""Files that grow line by line, cut wherever a kill may cut them."""

import csv
import io
import os
from pathlib import Path

import pytest

from scripts.common.journal import appending, whole_lines
from scripts.inference.predict_folder import Row, Table

LINES = [b'{"row": 0}\n', b"caf\xe9, \xc3\xa4 \xe2\x82\xac\r and \xc2\x85\n", b"\n", b'"a cell of\n', b'two lines",1\n']
WHOLE = b"".join(LINES)


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_a_file_goes_on_after_the_last_whole_line(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    path.write_bytes(WHOLE[:cut])
    kept = b"".join(LINES[: WHOLE[:cut].count(b"\n")])
    assert whole_lines(path).encode("utf-8", "surrogateescape") == kept
    with appending(path) as append:
        append("next €\n")
        assert path.read_bytes() == kept + "next €\n".encode()  # at once


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert whole_lines(tmp_path / "new") == ""
    with appending(tmp_path / "new") as append:
        append("first\n")
    assert (tmp_path / "new").read_bytes() == b"first\n"


def test_a_row_with_line_breaks_in_its_cells_is_whole_or_not_there(tmp_path: Path) -> None:
    """Cut at every byte, a table holds the rows that csv finds whole, and no half one."""
    rows = [
        Row(
            os.fsdecode(b"caf\xe9\n1\r\n.wav"), 1, 2, "m", reason='"so\n"', probabilities={"a\nb": 0.5}, labels=["a\nb"]
        ),
        Row("2\n,.wav", 3, 4, "m", probabilities={"a\nb": 0.25}, labels=["a\nb"]),
    ]
    table = Table(tmp_path / "table.csv", ["a\nb"])
    table.write([])
    header = len(table.path.read_bytes())
    with table.appending() as append:
        append(rows[:1])
        first = len(table.path.read_bytes())
        append(rows[1:])
    written = table.path.read_bytes()
    assert len(list(csv.reader(io.StringIO(written.decode("utf-8", "surrogateescape"), newline="")))) == 3
    for cut in range(header, len(written) + 1):
        table.path.write_bytes(written[:cut])
        there = (cut >= first) + (cut == len(written))
        assert table.read() == {row.file: [row] for row in rows[:there]}
