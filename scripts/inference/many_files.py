"""Predictions of many files: decoded in processes, one a core, their windows in common batches through the network."""

import functools
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from scripts.common.errors import AudioError
from scripts.inference.file_workers import Word, map_files
from scripts.inference.predictor import Prediction, Predictor
from scripts.inference.windows import Facts, FrontEnd, Part

BATCHES_AHEAD = 4  # that wait for the network before the decoders do


@dataclass
class OpenFile:
    """A file at work: the logits that came, by take, and how its decoding ended."""

    logits: dict[int, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    end: Facts | AudioError | None = None

    @property
    def is_done(self) -> bool:
        if isinstance(self.end, Facts):
            return sum(map(len, self.logits[self.end.take])) == len(self.end.starts)
        return self.end is not None


class Batches:
    """Windows of several files through a network, in a thread, in the order in which they were added.

    All batches have one size, the last one is completed with zeros: a sum in it may be rounded otherwise in another
    size, and so an answer hangs on the window alone, not on what it shares a batch with.
    """

    def __init__(self, forward: Callable[[np.ndarray], np.ndarray], size: int) -> None:
        self.forward, self.size, self.thread = forward, size, ThreadPoolExecutor(1, "forward")
        self.waiting: list[tuple[list[np.ndarray], np.ndarray]] = []
        self.running: deque[tuple[list[tuple[list[np.ndarray], int]], Future[np.ndarray]]] = deque()

    def add(self, logits: list[np.ndarray], values: np.ndarray) -> None:
        """Have the logits of some windows added to a list; waits while too many are under way."""
        while len(values):
            room = self.size - sum(len(part) for _, part in self.waiting)
            self.waiting.append((logits, values[:room]))
            if len(values) >= room:
                self.start()
            values = values[room:]
        self.collect(BATCHES_AHEAD)

    def start(self) -> None:
        values = np.concatenate([part for _, part in self.waiting])
        values = np.pad(values, [(0, self.size - len(values)), *[(0, 0)] * (values.ndim - 1)])
        owners = [(logits, len(part)) for logits, part in self.waiting]
        self.running.append((owners, self.thread.submit(self.forward, values)))
        self.waiting = []

    def collect(self, ahead: int) -> None:
        """Hand out the logits that are there, and wait for others until no more than `ahead` batches are under way."""
        while self.running and (len(self.running) > ahead or self.running[0][1].done()):
            owners, future = self.running.popleft()
            ends = np.cumsum([count for _, count in owners])
            for (logits, _), rows in zip(owners, np.split(future.result(), ends)[:-1], strict=True):
                logits.append(rows)

    def flush(self) -> None:
        """Have all logits that are still missing."""
        if self.waiting:
            self.start()
        self.collect(0)

    def close(self) -> None:
        self.thread.shutdown(cancel_futures=True)


def predict_many(
    predictor: Predictor, paths: Iterable[str], workers: int | None = None
) -> Iterator[Prediction | AudioError]:
    """Yield the prediction of each file, in the order of the paths; or why there is none.

    Parameters
    ----------
    predictor : of a trained run.
    paths : of the files; each is taken when a process is free for it.
    workers : number of processes that decode; default: one a core.
    """
    size = predictor.windows_at_once
    parts = functools.partial(FrontEnd.parts, predictor.front_end, at_once=size)
    files: defaultdict[int, OpenFile] = defaultdict(OpenFile)
    batches, done = Batches(predictor.forward, size), 0
    try:
        for number, piece in map_files(parts, paths, workers):
            if isinstance(piece, Part):
                batches.add(files[number].logits[piece.take], piece.values)
            elif isinstance(piece, Facts | AudioError):
                files[number].end = piece
            elif piece is Word.AGAIN:
                files[number] = OpenFile()
            while done in files and (end := files[done].end) and files[done].is_done:
                yield answer(predictor, end, files.pop(done).logits)
                done += 1
        batches.flush()
        while done in files and (end := files[done].end):
            yield answer(predictor, end, files.pop(done).logits)
            done += 1
    finally:
        batches.close()


def answer(
    predictor: Predictor, end: Facts | AudioError, logits: dict[int, list[np.ndarray]]
) -> Prediction | AudioError:
    if isinstance(end, AudioError):
        return end
    try:
        return predictor.prediction(end, np.concatenate(logits[end.take]))
    except AudioError as error:
        return error
