"""What a tagger still has to store, across rounds that fail or are killed."""

import contextlib
import dataclasses
import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.apps.tagger.sources.contract import Offer, SourceError
from scripts.common.storage import write_text

TRIES = 5  # rounds in which a sound is tried that is no longer among the newest


def plan(path: Path, newest: list[Offer], is_stored: Callable[[str], bool]) -> list[Offer]:
    """The offers of a round: the newest, then earlier ones that failed or were not reached; without stored ones.

    They are written to `path`, for the next round, before anything is done. An offer that is no longer among the newest
    is given up after five rounds.

    Raises
    ------
    SourceError : `path` holds something else.
    """
    earlier = read_plan(path)
    keys = {offer.key for offer in newest}
    late = [offer for offer, tries in earlier.values() if offer.key not in keys and tries < TRIES]
    todo = [offer for offer in [*newest, *late] if not is_stored(offer.key)]
    tries = {offer.key: earlier[offer.key][1] + 1 if offer.key in earlier else 1 for offer in todo}
    rows = [dataclasses.asdict(offer) | {"tries": tries[offer.key]} for offer in todo]
    write_text(path, json.dumps(rows, indent=1) + "\n")
    return todo


def read_plan(path: Path) -> dict[str, tuple[Offer, int]]:
    """Offers with the number of rounds that tried them, by key."""
    if not path.exists():
        return {}
    try:
        rows = [(row.pop("tries"), Offer(**row)) for row in json.loads(path.read_text(encoding="utf-8"))]
        return {offer.key: (offer, int(tries)) for tries, offer in rows}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(
            f"{path}: damaged; delete it, sounds that failed earlier are then forgotten", "damaged"
        ) from None


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock `path`, which ends with the process; a SourceError if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SourceError(
                f"another tagger is at work on {what}; wait until it is done, or end it", "busy"
            ) from None
        yield
