"""What a source of sounds is: it offers its newest sounds, and hands one of them out as a file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scripts.common.errors import ProjectError

LONGEST_TEXT, LONGEST_ADDRESS = 200, 2000  # characters
TOO_LARGE = "too large"  # a reason
TRIES = 5  # rounds in which a sound is tried that is no longer among the newest, or that fails again and again


class SourceError(ProjectError):
    """A source that cannot be asked, or a sound that it does not hand out.

    `reason` says it in a few words, for counting. `pause` is how many seconds to wait at least before another try may
    help; None where it cannot.
    """

    def __init__(self, message: str, reason: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.reason, self.pause = reason, pause


def too_large(what: str, largest: int) -> SourceError:
    message = f"{what}: larger than {largest / 2**20:g} MiB; allow more (--largest), or leave it out"
    return SourceError(message, TOO_LARGE)


@dataclass(frozen=True)
class Offer:
    """A sound at its source.

    Attributes
    ----------
    key : "<source>-<id>", the same whenever the sound is offered; letters, digits and "-", safe as a file name.
    title, url, creator, licence : as the source has them; not to be trusted.
    created : when the source got it, ISO 8601.
    location : of the audio: a URL or a path.
    suffix : of a file with it, such as ".ogg".
    """

    key: str
    title: str
    url: str
    creator: str
    licence: str
    created: str
    location: str
    suffix: str


class Source(Protocol):
    """Sounds, of which there are ever newer ones.

    Attributes
    ----------
    name : what their keys begin with.
    place : a name for a folder, another one for each source, so that no two share a list of what is to be done.
    tries : rounds in which a sound is tried that cannot be had or used, for a reason that does not pass.
    """

    name: str
    place: str
    tries: int

    def newest(self, count: int) -> list[Offer]:
        """The newest sounds, the newest first; fewer than `count` if there are no more. Raises a SourceError."""

    def fetch(self, offer: Offer, path: Path) -> None:
        """Write the audio of an offer to `path`, all of it or nothing.

        Raises
        ------
        SourceError : it cannot be had.
        OSError : it cannot be written.
        """

    def where(self, offer: Offer) -> str:
        """The file or address of an offer, for messages."""


def plain(text: object, longest: int = LONGEST_TEXT) -> str:
    """One line of valid Unicode, cut to `longest` characters."""
    return " ".join(str(text or "").encode(errors="replace").decode().split())[:longest]


def digest(*parts: str) -> str:
    """16 hexadecimal digits that stand for the texts."""
    return hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]
