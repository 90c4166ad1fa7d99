"""Paths in requests: none leaves the folders that the server was started with."""

from collections.abc import Sequence
from pathlib import Path

from scripts.apps.api.errors import ApiError
from scripts.audio.decoding import SUFFIXES
from scripts.common.errors import ConfigError


class AllowedFolders:
    """What requests may name files in."""

    def __init__(self, allowed: Sequence[str | Path]) -> None:
        """Raises a ConfigError if one of the folders is missing."""
        for folder in allowed:
            if not Path(folder).is_dir():
                raise ConfigError(f"{folder}: no such folder; --allow takes folders that requests may name")
        self.allowed = [Path(folder).resolve() for folder in allowed]

    def find(self, text: str | Path) -> Path:
        """The real place of a path, all links followed; relative ones begin where the server was started.

        Raises
        ------
        ApiError : 404 where there is nothing, and just so where it is outside, so that nobody learns what is there.
        """
        path = self.resolve(text)
        if path is None:
            remedy = "give a path in a folder that the server was started with (--allow)"
            raise ApiError(404, f"no such file or folder in those allowed: {str(text)[:200]!r}", remedy)
        return path

    def resolve(self, text: str | Path) -> Path | None:
        """As `find`, with None for what it refuses."""
        try:
            path = Path(text).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # nothing there, a name that cannot be, a loop of links
            return None
        return path if any(path.is_relative_to(folder) for folder in self.allowed) else None

    def audio_files(self, text: str, max_files: int) -> list[Path]:
        """The real places of the file, or of all audio files below the folder in the order of their names.

        Links to folders, and those that leave the allowed ones, are passed by.

        Raises
        ------
        ApiError : 404 as `find`, or a folder without audio; 413 for more than `max_files`.
        """
        path = self.find(text)
        if path.is_file():
            return [path]
        named = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES)
        files = [place for place in map(self.resolve, named) if place]
        if not files:
            raise ApiError(
                404, f"no audio in {text!r}", f"give a folder with files such as {', '.join(sorted(SUFFIXES))}"
            )
        if len(files) > max_files:
            raise ApiError(413, f"{len(files)} files in {text!r}, more than {max_files}", "give its folders one by one")
        return files
