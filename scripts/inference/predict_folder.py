"""Predictions as rows, of files or their windows: a CSV that grows file by file and goes on where it was stopped."""

import csv
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import math
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.audio.decoding import SUFFIXES, passed_over
from scripts.common.errors import AudioError, ConfigError
from scripts.common.journal import appending, whole_lines
from scripts.common.storage import TABLE_TEXT, sha256, write_aside
from scripts.config.run import Run
from scripts.inference.many_files import predict_many
from scripts.inference.predictor import Prediction, Predictor
from scripts.metrics.familiarity import is_unfamiliar

FACTS = ("file", "size", "mtime_ns", "model", "status", "reason", "seconds", "windows", "labels", "distance")
TIMES = ("start_s", "end_s")  # of a window
OK = "ok"
SEPARATOR = "; "  # of the names in `labels`
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠].", re.DOTALL)  # in a spreadsheet


@dataclass(frozen=True)
class Row:
    """What became of one file, or of one window of it.

    Attributes
    ----------
    file : path of the file.
    size, mtime_ns : in bytes and ns; 0 of a file that is not there.
    model : what it was predicted by, see `describe_model`.
    status : "ok", or an AudioError's.
    reason : why it has no prediction, and what to do; where it has one, what is wrong with it, such as "damaged after
        2.4 s".
    seconds, windows : length of the audio, and number of windows.
    probabilities : name -> probability in the whole file or the window, six decimals; empty without a prediction.
    labels : the predicted ones, see `select_labels`.
    start_s, end_s : of the window, three decimals; None of a whole file.
    distance : of the file from the training sounds, see `Prediction`, three decimals; None where it is not known.
    """

    file: str
    size: int
    mtime_ns: int
    model: str
    status: str = OK
    reason: str = ""
    seconds: float = 0.0
    windows: int = 0
    probabilities: dict[str, float] = dataclasses.field(default_factory=dict)
    labels: list[str] = dataclasses.field(default_factory=list)
    start_s: float | None = None
    end_s: float | None = None
    distance: float | None = None

    @property
    def unfamiliar(self) -> bool:
        """The file is unlike all that the model was trained on."""
        return is_unfamiliar(self.distance)


class FilePredictor:
    """A predictor that answers with a row for each file, or for each of its windows; one row for an unusable file."""

    def __init__(
        self, predictor: Predictor, model: str, min_probability: float | None = None, by_window: bool = False
    ) -> None:
        """`model` stands in each row; `min_probability` as `select_labels` takes it; `by_window` : rows of windows."""
        self.predictor, self.model, self.min_probability = predictor, model, min_probability
        self.by_window = by_window

    def __call__(self, path: str) -> list[Row]:
        there = stamp(path)
        try:
            return self.rows(path, there, self.predictor(path))
        except AudioError as error:
            return self.rows(path, there, error)

    def in_processes(self, paths: Iterable[str], workers: int | None = None) -> Iterator[list[Row]]:
        """The rows of each of many files, in turn; `workers` processes decode, default: one a core."""
        given: deque[tuple[str, tuple[int, int]]] = deque()

        def stamped() -> Iterator[str]:
            for path in paths:
                given.append((path, stamp(path)))
                yield path

        for answer in predict_many(self.predictor, stamped(), workers):
            yield self.rows(*given.popleft(), answer)

    def rows(self, path: str, there: tuple[int, int], answer: Prediction | AudioError) -> list[Row]:
        """Those of a file, whose stamp was `there` when it was opened."""
        if isinstance(answer, AudioError):
            return [Row(path, *there, self.model, answer.status, f"{answer.reason}; {answer.remedy}")]
        seconds = round(answer.seconds, 3)
        file = Row(path, *there, self.model, OK, answer.note, seconds, len(answer.starts), distance=answer.distance)
        if not self.by_window:
            return [self.with_labels(dataclasses.replace(file, probabilities=by_name(answer, answer.probabilities)))]
        front_end = self.predictor.front_end
        length, rows = front_end.window_samples / front_end.spec.sample_rate, []
        for start, values in zip(answer.starts.tolist(), answer.windows, strict=True):
            times = {"start_s": round(start, 3), "end_s": min(round(start + length, 3), seconds)}
            row = dataclasses.replace(file, probabilities=by_name(answer, values), **times)
            rows.append(self.with_labels(row))
        return rows

    def with_labels(self, row: Row) -> Row:
        """The row with the predicted labels; none where its file is unfamiliar."""
        labels = [] if row.unfamiliar else select_labels(row.probabilities, self.thresholds, self.min_probability)
        return dataclasses.replace(row, labels=labels)

    @functools.cached_property
    def thresholds(self) -> dict[str, float] | None:
        predictor = self.predictor
        if predictor.thresholds is None:
            return None
        return dict(zip(predictor.names, predictor.thresholds.tolist(), strict=True))

    def is_current(self, rows: list[Row]) -> bool:
        """The rows of a file are by this model, of the file as it is now, and all there."""
        [first, *_] = rows
        same = (first.model, first.size, first.mtime_ns) == (self.model, *stamp(first.file))
        complete = len(rows) == (first.windows if self.by_window and first.status == OK else 1)
        return same and complete and all(math.isfinite(value) for row in rows for value in row.probabilities.values())


def by_name(prediction: Prediction, values: np.ndarray) -> dict[str, float]:
    return {name: round(value, 6) for name, value in zip(prediction.names, values.tolist(), strict=True)}


def select_labels(
    probabilities: Mapping[str, float], thresholds: Mapping[str, float] | None, min_probability: float | None = None
) -> list[str]:
    """The predicted labels, the likeliest first.

    Parameters
    ----------
    probabilities : label -> probability.
    thresholds : of several labels a track, label -> threshold that it has to reach; None where a track has one label,
        which is the likeliest.
    min_probability : what a label has to reach, in place of its threshold if it has one.
    """
    order = sorted(probabilities, key=lambda name: -probabilities[name])
    if thresholds is None:
        order, thresholds = order[:1], dict.fromkeys(order, 0.0)
    if min_probability is not None:
        thresholds = dict.fromkeys(order, min_probability)
    return [name for name in order if probabilities[name] >= thresholds[name]]


def stamp(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; 0, 0 of a file that is not there."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def describe_model(run: Run, predictor: Predictor) -> str:
    """The run's name, and eight digits that differ whenever its weights, its settings or the overlap do."""
    facts = [sha256(run.checkpoints / "best.pt"), run.load_config(), predictor.overlap]
    return f"{run.name} {hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]}"


def audio_files(paths: Iterable[str]) -> list[str]:
    """The files among `paths`, and the audio files at any depth of the folders; each once, folders in order of names.

    Hidden files and folders are passed over, and so are links to folders; other files that are not called as audio
    are counted on stderr. Paths are as `plain_path` gives them.

    Raises
    ------
    ConfigError : a folder that holds none.
    """
    result: dict[str, None] = {}
    for path in paths:
        files = [path]
        if Path(path).is_dir():
            there = list(walk(path))
            files = [file for file in there if Path(file).suffix.lower() in SUFFIXES]
            if len(files) < len(there):
                print(f"{path}: {passed_over(set(there).difference(files))}", file=sys.stderr)
        if not files:
            raise ConfigError(f"{path}: holds no audio file ({', '.join(sorted(SUFFIXES))}); give another folder")
        result |= dict.fromkeys(map(plain_path, files))
    return list(result)


def walk(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield str(Path(place, name))


def plain_path(path: str) -> str:
    """The same path, such that a table can hold it: no formula in a spreadsheet."""
    return f"./{path}" if FORMULA.match(path) else path


def guard(text: str) -> str:
    """An apostrophe before what a spreadsheet would run; a number stays."""
    try:
        float(text)
    except ValueError:
        return f"'{text}" if FORMULA.match(text) else text
    return text


def to_line(cells: Iterable[Any]) -> str:
    """A row of a CSV; a name may hold line breaks of any kind, which are quoted only where the row ends in both."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def with_distance(cells: list[str], distance: str) -> list[str]:
    """A line of a table of an earlier version, which had no such column."""
    place = FACTS.index("distance")
    return [*cells[:place], distance, *cells[place:]]


class Table:
    """A CSV with a row for each file: what `FACTS` names, and `p_NAME` for each genre or label.

    With `by_window` it has a row for each window instead, and `TIMES` too; all rows of a file stand together.
    Texts are such that a spreadsheet runs none of them: a file `=1.mp3` is `./=1.mp3` in it, a label `=1` is `'=1`.
    """

    def __init__(self, path: Path, names: Iterable[str], by_window: bool = False) -> None:
        self.path, self.names = path, list(names)
        self.facts = (*FACTS, *TIMES) if by_window else FACTS
        self.columns = [*self.facts, *(f"p_{name}" for name in self.names)]

    def read(self) -> dict[str, list[Row]]:
        """File -> rows; a last one that was not written to its end is passed over.

        Raises
        ------
        ConfigError : the file is another table, or that of a model with other genres or labels.
        """
        lines = csv.reader(io.StringIO(whole_lines(self.path), newline=""))
        header = ["labels" if name == "found" else name for name in next(lines, self.columns)]  # its earlier name
        older = "distance" not in header
        if (header if not older else with_distance(header, "distance")) != self.columns:
            raise ConfigError(
                f"{self.path}: not a table of this model's predictions (its columns are others, with or without "
                "--windows); give another --out, or move the file away"
            )
        rows: dict[str, list[Row]] = {}
        for line in lines:
            cells = with_distance(line, "") if older else line
            if len(cells) == len(self.columns):
                row = self.parse(cells)
                rows.setdefault(row.file, []).append(row)
        return rows

    def parse(self, cells: list[str]) -> Row:
        try:
            (file, size, mtime, model, status, reason, seconds, windows, labels, distance), times, values = (
                cells[: len(FACTS)],
                cells[len(FACTS) : len(self.facts)],
                cells[len(self.facts) :],
            )
            probabilities = {name: float(value) for name, value in zip(self.names, values, strict=True) if value}
            numbers = int(size), int(mtime), float(seconds), int(windows)
            start, end, far = (float(cell) if cell else None for cell in (*(times or ("", "")), distance))
        except ValueError as error:
            raise ConfigError(f"{self.path}: {error}; repair that cell, or move the file away") from None
        model, reason, labels = (
            text[1:] if text.startswith("'") and FORMULA.match(text) else text for text in (model, reason, labels)
        )
        names = [labels] if labels in self.names else labels.split(SEPARATOR) if labels else []
        return Row(
            plain_path(file), *numbers[:2], model, status, reason, *numbers[2:], probabilities, names, start, end, far
        )

    def cells(self, row: Row) -> list[Any]:
        values = dataclasses.asdict(row) | {"labels": SEPARATOR.join(row.labels)}
        values |= {name: guard(values[name]) for name in ("model", "reason", "labels")}
        return [*(values[name] for name in self.facts), *(row.probabilities.get(name, "") for name in self.names)]

    def write(self, rows: Iterable[Row]) -> None:
        """Write the whole table anew."""
        with write_aside(self.path) as temporary, open(temporary, "w", **TABLE_TEXT) as file:
            file.write(to_line(self.columns))
            file.writelines(to_line(self.cells(row)) for row in rows)

    def update_stamps(self, files: Iterable[str]) -> None:
        """Files whose metadata have changed, but not their audio, keep their rows."""
        rows = self.read()
        for file in files:
            size, mtime = stamp(file)
            rows[file] = [dataclasses.replace(row, size=size, mtime_ns=mtime) for row in rows[file]]
        self.write(itertools.chain.from_iterable(rows.values()))

    @contextmanager
    def appending(self) -> Iterator[Callable[[Iterable[Row]], None]]:
        """Yield what adds the rows of a file to the end of the table, at once."""
        with appending(self.path) as append:
            yield lambda rows: append("".join(to_line(self.cells(row)) for row in rows))
