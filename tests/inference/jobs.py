"""What a test gives to processes that have a file at a time."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from scripts.common.errors import AudioError


def pieces(path: str) -> Iterator[str]:
    """The lines of a file; some say what becomes of the process."""
    for line in Path(path).read_text().splitlines():
        if line == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if line == "die once":
            Path(path).write_text("second try")
            os.kill(os.getpid(), signal.SIGKILL)
        if line == "hang":
            signal.pause()
        if line == "refuse":
            raise AudioError(path, "unreadable", "not audio", "leave it out")
        if line == "fail":
            raise ValueError("a defect")
        yield line
