"""The newest audio files of a folder, such as one that recordings are dropped into."""

import hashlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from scripts.apps.tagger.sources.contract import Offer, SourceError, digest, plain, too_large
from scripts.audio.decoding import SUFFIXES
from scripts.common.errors import ConfigError
from scripts.common.storage import sha256, write_aside
from scripts.datasets.folder import walk


class Folder:
    """Audio files at any depth, the newest by the time they were last changed; hidden ones are passed over.

    A file is known by its content: moved, renamed or copied it is the same sound, changed it is a new one.
    """

    name, tries = "folder", 1  # the same content is the same the next time

    def __init__(self, root: Path, largest: int) -> None:
        """Raises a ConfigError if there is no such folder.

        Parameters
        ----------
        largest : bytes of a file that is handed out.
        """
        if not root.is_dir():
            raise ConfigError(f"{root}: not a folder; give the one with the audio files as --folder")
        self.root, self.largest = root, largest
        self.place = f"{self.name}-{digest(str(root.resolve()))}"

    def newest(self, count: int) -> list[Offer]:
        """As `Source.newest`; of files with the same content the newest is offered."""
        files = [path for path in walk(self.root) if path.suffix.lower() in SUFFIXES and path.is_file()]
        files.sort(key=lambda path: (-path.stat().st_mtime, path))
        offers: dict[str, Offer] = {}
        for path in files[:count]:
            offer = read_offer(path)
            offers.setdefault(offer.key, offer)
        return list(offers.values())

    def fetch(self, offer: Offer, path: Path) -> None:
        """As `Source.fetch`, a copy; refused if the file is no longer the one that was offered."""
        source = Path(offer.location)
        if not os.access(source, os.R_OK):
            message = f"{source}: gone, or no permission to read it; give yourself the right to it"
            raise SourceError(message, "not readable")
        if source.stat().st_size > self.largest:
            raise too_large(str(source), self.largest)
        with write_aside(path) as temporary:
            shutil.copyfile(source, temporary)
            if make_key(temporary) != offer.key:
                message = f"{source}: changed since it was listed; put files there in one piece"
                raise SourceError(message, "changed since it was listed", 0.0)

    def where(self, offer: Offer) -> str:
        """As `Source.where`: the path."""
        return offer.location


def read_offer(path: Path) -> Offer:
    return Offer(
        key=make_key(path),
        title=plain(path.stem),
        url="",
        creator="",
        licence="",
        created=datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(),
        location=str(path.absolute()),
        suffix=path.suffix.lower(),
    )


def make_key(path: Path) -> str:
    """By the content; of a file that cannot be read by the path."""
    try:
        return f"folder-{sha256(path)[:16]}"
    except OSError:
        return f"folder-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
