"""Files in processes of their own, one a core: what crashes or hangs on a file costs nothing but that file.

`common.parallel` tells only that a process died. Here each has one file at a time, and sends what it makes of it piece
by piece; it waits until they are taken, so that memory does not grow with a file's length.
"""

import contextlib
import enum
import multiprocessing
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from scripts.common.errors import AudioError, ProjectError
from scripts.common.memory import keep_freed_memory
from scripts.common.parallel import available_cores, new_processes, start_worker

HANGS = 300.0  # seconds without a piece; of a sound file there is one for every few minutes of audio
FILES_AHEAD = 256  # of the oldest that is not done
REMEDY = "convert it, or leave it out"


class Word(enum.Enum):
    """What comes in place of a piece."""

    READY, DONE, AGAIN, DIED = range(4)


def map_files(
    function: Callable[[str], Iterable[Any]], paths: Iterable[str], workers: int | None = None, hangs: float = HANGS
) -> Iterator[tuple[int, Any]]:
    """Yield the pieces that `function(path)` yields of each file, with the number of the path.

    The files' pieces are mixed. After the last one of a file comes Word.DONE, or in its place an AudioError: that of
    the function, or one of status "hangs" or "crashed". A file whose process died is tried once more, as that may have
    been killed for what others did; Word.AGAIN says that the pieces that came are void.

    Parameters
    ----------
    function : of a module that can be imported, or a partial of one; not of the program's main module.
    paths : of the files. One is taken when a process is free for it, at most 256 before the oldest is done.
    workers : number of processes; default: one a core.
    hangs : seconds without a piece after which a file is given up.

    Raises
    ------
    ProjectError : a process died as it started.
    Exception : of the function, if it is no AudioError.
    """
    queue, size = Queue(paths), workers or available_cores()
    idle: list[Worker] = []
    busy: dict[int, Worker] = {}
    try:
        while True:
            while len(busy) < size and (file := queue.next(busy)):
                worker = busy[file[0]] = idle.pop() if idle else Worker(function)
                worker.give(file[1])
            if not busy:
                return
            wait([worker.pipe for worker in busy.values()], min(worker.left(hangs) for worker in busy.values()))
            for number, worker in list(busy.items()):
                piece = worker.receive(hangs)
                if piece is None:
                    continue
                if isinstance(piece, Word | AudioError):
                    del busy[number]
                    worker.end() if worker.is_lost else idle.append(worker)
                yield number, queue.after_death(number, worker.path) if piece is Word.DIED else piece
    finally:
        for worker in [*idle, *busy.values()]:
            worker.end()


class Queue:
    """Files to hand out with their numbers: first those to be tried again, and none far beyond the oldest at work."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.files, self.latest = enumerate(paths), -1
        self.again: dict[int, str] = {}
        self.died: set[int] = set()

    def next(self, busy: Collection[int]) -> tuple[int, str] | None:
        """The next one while those are at work; None if there is none, or none yet."""
        if self.again:
            return self.again.popitem()
        if busy and self.latest - min(busy) >= FILES_AHEAD:
            return None
        file = next(self.files, None)
        self.latest = file[0] if file else self.latest
        return file

    def after_death(self, number: int, path: str) -> Word | AudioError:
        """What becomes of a file whose process died."""
        if number in self.died:
            return AudioError(path, "crashed", "its decoder crashed, twice", REMEDY)
        self.died.add(number)
        self.again[number] = path
        return Word.AGAIN


class Worker:
    """A process, and the file it has; it sees no Ctrl-C, and ends with its parent."""

    def __init__(self, function: Callable[[str], Iterable[Any]]) -> None:
        context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload([getattr(function, "func", function).__module__])
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, function), daemon=True)
        with new_processes():
            self.process.start()
        other.close()
        self.path, self.since, self.is_ready, self.is_lost = "", time.monotonic(), False, False

    def give(self, path: str) -> None:
        self.path, self.since = path, time.monotonic()
        with contextlib.suppress(OSError):  # it has died, as `receive` will tell
            self.pipe.send(path)

    def left(self, hangs: float) -> float:
        """Seconds until it has been silent for so long."""
        return max(0.0, self.since + hangs - time.monotonic()) if self.is_ready else hangs

    def receive(self, hangs: float) -> Any:
        """A piece, or what stands for one; None if there is nothing yet. Raises as `map_files`."""
        try:
            piece = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            if not self.is_ready:
                raise ProjectError("a worker process died as it started; free some memory, and try again") from None
            self.is_lost = True
            return Word.DIED
        if piece is None and not self.left(hangs):
            self.is_lost = True
            return AudioError(self.path, "hangs", f"nothing came of it for {hangs:g} s", REMEDY)
        if isinstance(piece, Exception) and not isinstance(piece, AudioError):
            raise piece
        if piece is not None:
            self.since = time.monotonic()
        if piece is Word.READY:
            self.is_ready = True
            return None
        return piece

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def serve(pipe: Connection, function: Callable[[str], Iterable[Any]]) -> None:
    """What a process does: each path that comes through the pipe, until that is closed."""
    start_worker(None, ())
    keep_freed_memory()
    pipe.send(Word.READY)
    while True:
        path = pipe.recv()
        try:
            for piece in function(path):
                pipe.send(piece)
            pipe.send(Word.DONE)
        except Exception as error:
            pipe.send(error)
