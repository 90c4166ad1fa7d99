"""One process at a time at a file or a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from scripts.common.errors import BusyError


@contextlib.contextmanager
def locked(path: str | Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of `path`, the file `.<name>.lock` beside it; it ends with the process, however that ends.

    Parameters
    ----------
    path : of the file or folder to be written; it need not be there yet, and the folder around it is made.
    wait : until another process, or another thread of this one, has given it back; else that is an error.

    Raises
    ------
    BusyError : another holds it.
    OSError : the folder cannot be written.
    """
    path = Path(path)
    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(lock, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                remedy = "wait until that is done, or end it"
                raise BusyError(f"{path}: another process is at work on it; {remedy}") from None
            if not is_at(lock, file.fileno()):
                continue  # deleted by the one who held it
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def is_at(path: Path, descriptor: int) -> bool:
    """The open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
