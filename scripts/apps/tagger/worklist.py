"""What a tagger still has to store, across rounds that fail or are killed."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.apps.tagger.sources.contract import TRIES, Offer, SourceError
from scripts.common.storage import write_text


@dataclass(frozen=True)
class Row:
    """A sound that is not stored.

    Attributes
    ----------
    tries : rounds in which it failed.
    reason, settings : why one of them could not, if that does not pass, and with which settings; else empty.
    """

    offer: Offer
    tries: int = 0
    reason: str = ""
    settings: str = ""


class WorkList:
    """The sounds of one source that are to be stored, and those that are given up, in a file."""

    def __init__(self, path: Path, settings: str = "", tries: int = TRIES) -> None:
        """Read the file, if it is there.

        Parameters
        ----------
        settings : on which it depends whether a sound can be stored; with others, what was given up is tried again.
        tries : rounds in which a sound is tried that fails for a reason that does not pass.

        Raises
        ------
        SourceError : `path` holds something else.
        """
        self.path, self.settings, self.tries = path, settings, tries
        self.rows = read_rows(path)
        self.given_up: Counter[str] = Counter()

    def plan(self, newest: list[Offer], is_stored: Callable[[str], bool]) -> list[Offer]:
        """The offers of a round: the newest, then earlier ones that failed or were not reached; without stored ones.

        They are written down, for the next round, before anything is done. An offer that is no longer among the newest
        is given up when it failed in five rounds, whatever the reason, and one whose file or address has another sound
        now at once. `given_up` counts those among the newest that are not tried any more, by reason.
        """
        keys, places = {offer.key for offer in newest}, {offer.location for offer in newest}
        earlier = [row for key, row in self.rows.items() if key not in keys and row.offer.location not in places]
        late = [row.offer for row in earlier if row.tries < TRIES and not self.is_given_up(row)]
        offers = {offer.key: offer for offer in [*newest, *late] if not is_stored(offer.key)}
        self.rows = {key: replace(self.rows.get(key, Row(offer)), offer=offer) for key, offer in offers.items()}
        self.given_up = Counter(row.reason for row in self.rows.values() if self.is_given_up(row))
        self.save()
        return [row.offer for row in self.rows.values() if not self.is_given_up(row)]

    def is_given_up(self, row: Row) -> bool:
        return row.reason != "" and row.settings == self.settings and row.tries >= self.tries

    def fail(self, offer: Offer, reason: str) -> bool:
        """Note that a sound could not be stored, and why, or "" if that may pass; True if a reason was known before."""
        row = self.rows[offer.key]
        failed = replace(row, tries=row.tries + 1)
        self.rows[offer.key] = replace(failed, reason=reason, settings=self.settings) if reason else failed
        self.save()
        return row.reason != "" and row.settings == self.settings

    def forget(self, is_stored: Callable[[str], bool]) -> None:
        """Take out the sounds that are stored by now."""
        self.rows = {key: row for key, row in self.rows.items() if not is_stored(key)}
        self.save()

    def save(self) -> None:
        rows = [dataclasses.asdict(row) for row in self.rows.values()]
        write_text(self.path, json.dumps(rows, indent=1) + "\n")


def read_rows(path: Path) -> dict[str, Row]:
    """By key; raises as `WorkList`."""
    if not path.exists():
        return {}
    try:
        rows = [Row(**row | {"offer": Offer(**row["offer"])}) for row in json.loads(path.read_text(encoding="utf-8"))]
        return {row.offer.key: row for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(
            f"{path}: damaged; delete it, sounds that failed earlier are then forgotten", "damaged"
        ) from None
