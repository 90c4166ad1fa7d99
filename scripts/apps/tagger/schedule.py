"""Doing something every so often, until somebody asks to stop."""

import argparse
import re
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}  # seconds
Handler = Callable[[int, FrameType | None], Any] | int | None


class StopRequested(Exception):
    """Somebody asked to stop, and a wait ended because of it."""


class StopSignal:
    """Handles SIGTERM and Ctrl-C while it is entered: a wait ends at once, the rest asks `requested` where it can stop.

    A second signal does what it does elsewhere.
    """

    def __init__(self) -> None:
        self.requested, self.waiting = False, False
        self.before: dict[int, Handler] = {}

    def __enter__(self) -> "StopSignal":
        self.before = {number: signal.signal(number, self.handle) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, self.before[number])
        self.requested = True
        if self.waiting:
            raise StopRequested

    def wait(self, seconds: float) -> None:
        """Sleep; raises StopRequested if somebody asked to stop before or meanwhile."""
        self.waiting = True
        try:
            if self.requested:
                raise StopRequested
            time.sleep(seconds)
        finally:
            self.waiting = False


def until_next(passed: float, period: float) -> float:
    """Seconds until the next multiple of the period; if something took longer than a period, one falls out."""
    return period - passed % period


def period(text: str) -> float:
    """argparse type: a time such as 90s, 30m, 12h or 3d, in seconds."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a period; write one such as 90s, 30m, 12h or 3d")
    return float(int(match[1]) * UNITS[match[2]])
