"""What predictions are written as besides the table: Parquet, and labels over time for Audacity and Raven Pro."""

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from scripts.audio.spec import MelSpec
from scripts.common.storage import write_aside, write_text
from scripts.inference.predict_folder import SEPARATOR, Row, Table

# of Parquet's columns; the others are texts, but for the probabilities
TYPES = {"size": "int64", "mtime_ns": "int64", "windows": "int64", "seconds": "double"} | dict.fromkeys(
    ("distance", "start_s", "end_s"), "double"
)
ROWS_AT_ONCE = 10_000
RAVEN = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Label",
         "Probability")  # fmt: skip


def table_path(out: Path, kind: str) -> Path:
    """Where the CSV lies that grows file by file; the other formats are made of it at the end."""
    return {"csv": out, "parquet": out.with_name(f"{out.name}.csv")}.get(kind, out / "predictions.csv")


def write_parquet(path: Path, table: Table, rows: Iterable[Row]) -> None:
    r"""Write rows under the names of the table's columns; texts are as they are, as no spreadsheet runs them.

    A byte of a file's name that is not UTF-8 becomes \udc80 to \udcff.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    texts = {name: TYPES.get(name, "string") for name in table.facts}
    kinds = texts | dict.fromkeys(table.columns[len(table.facts) :], "double")
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in kinds.items()])
    left = iter(rows)
    with write_aside(path) as temporary, ParquetWriter(os.fspath(temporary), schema) as writer:
        while some := list(islice(left, ROWS_AT_ONCE)):
            columns = zip(*(record(table, row) for row in some), strict=True)
            writer.write_table(pyarrow.table(list(map(list, columns)), schema=schema))


def record(table: Table, row: Row) -> list[Any]:
    """A row's values, in the order of the columns."""
    values = vars(row) | {"labels": SEPARATOR.join(row.labels)}
    facts = [values[name] for name in table.facts]
    texts = [fact.encode("utf-8", "backslashreplace").decode() if isinstance(fact, str) else fact for fact in facts]
    return [*texts, *(row.probabilities.get(name) for name in table.names)]


def write_label_files(folder: Path, kind: str, answers: Iterable[list[Row]], spec: MelSpec) -> int:
    """Write a text for each file with a prediction, and delete that of one without; returns how many were written.

    Parameters
    ----------
    folder : to write to; the texts lie in it as their files lie in the current folder, or on the disk.
    kind : "audacity", a label track; "raven", a selection table.
    answers : rows of the windows of each file.
    spec : of the spectrograms, whose frequencies Raven's boxes cover.
    """
    count = 0
    for rows in answers:
        path = label_path(folder, kind, rows[0].file)
        if rows[0].start_s is None:
            path.unlink(missing_ok=True)
            continue
        write_text(path, label_track(rows) if kind == "audacity" else selection_table(rows, spec))
        count += 1
    return count


def label_path(folder: Path, kind: str, file: str) -> Path:
    path = Path(os.path.normpath(Path(file).absolute()))
    inside = path.relative_to(Path.cwd() if path.is_relative_to(Path.cwd()) else path.anchor)
    return folder / inside.with_name(inside.name + {"audacity": ".txt", "raven": ".selections.txt"}[kind])


def label_track(rows: Iterable[Row]) -> str:
    """A line for each label of each window, as Audacity imports labels: start, end and text, between tabs."""
    return "".join(f"{row.start_s:.6f}\t{row.end_s:.6f}\t{one_line(label)}\n" for row in rows for label in row.labels)


def selection_table(rows: Iterable[Row], spec: MelSpec) -> str:
    """The same with the probabilities, as Raven Pro opens selections."""
    lines, box = ["\t".join(RAVEN)], f"{spec.f_min:.1f}\t{spec.top_frequency:.1f}"
    for row in rows:
        for label in row.labels:
            times = f"{row.start_s:.6f}\t{row.end_s:.6f}"
            value = f"{one_line(label)}\t{row.probabilities[label]:.6f}"
            lines.append(f"{len(lines)}\tSpectrogram 1\t1\t{times}\t{box}\t{value}")
    return "\n".join(lines) + "\n"


def one_line(label: str) -> str:
    """A label without the tabs and line breaks that would begin another column or line."""
    return " ".join(label.split())
