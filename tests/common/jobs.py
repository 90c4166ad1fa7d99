"""What the tests of processes let their workers do."""

import os
import signal
import sys


def has_torch(_: object) -> bool:
    return "torch" in sys.modules


def write_and_wait(pipe: str) -> None:
    """Open a named pipe, write a byte, and hold it open for ever."""
    file = os.open(pipe, os.O_WRONLY)
    os.write(file, b".")
    while True:
        signal.pause()


def square_or_die(number: int) -> int:
    if number == 5:
        os._exit(1)
    return number**2
