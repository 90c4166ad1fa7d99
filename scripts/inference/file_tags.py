"""Genres and labels in the metadata of audio files; the audio itself stays as it is."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from scripts.common.cli import require
from scripts.common.errors import AudioError
from scripts.common.storage import write_aside

if TYPE_CHECKING:
    from mutagen import FileType

SUFFIXES = (".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4")
SEPARATOR = "; "  # of several genres in one text
REMEDY = "leave it out of --write-tags"


@dataclass(frozen=True)
class Change:
    """What a file's metadata holds as genre, and what it is to hold."""

    path: str
    old: list[str]
    new: list[str]


def plan_change(path: str | Path, genres: Sequence[str]) -> Change:
    """What writing these genres would change: nothing if `old` equals `new`.

    Raises
    ------
    AudioError : metadata of this kind of file cannot be written, or the file is damaged or write-protected.
    ConfigError : mutagen is missing.
    """
    audio = open_tags(Path(path), Path(path).suffix.lower())
    if not os.access(path, os.W_OK):
        raise AudioError(path, "write-protected", "no permission to write to it", f"give it, or {REMEDY}")
    return Change(str(path), read_genres(audio), list(genres))


def write_genres(change: Change) -> None:
    """Write the new genres into a copy of the file, which then takes its place. Raises as `plan_change`."""
    path = Path(change.path).resolve()
    with write_aside(path) as temporary:
        shutil.copy2(path, temporary)
        set_genres(open_tags(temporary, path.suffix.lower()), change.new)


def open_tags(path: Path, suffix: str) -> "FileType":
    """The file's metadata; raises as `plan_change`."""
    require("mutagen", what="metadata of audio files")
    from mutagen import File, MutagenError
    from mutagen.flac import FLAC
    from mutagen.mp3 import MP3
    from mutagen.mp4 import MP4
    from mutagen.oggopus import OggOpus
    from mutagen.oggvorbis import OggVorbis

    try:
        if suffix == ".mp3":
            audio = MP3(path, translate=False)
            return audio if not audio.info.sketchy else refuse(path, "not an MP3 file")
        audio = File(path, [FLAC, MP4, OggOpus, OggVorbis]) if suffix in SUFFIXES else None
    except (MutagenError, ValueError) as error:
        return refuse(path, f"its metadata cannot be read ({error})")
    return (
        audio if audio is not None else refuse(path, f"not one of {', '.join(SUFFIXES)}, whose metadata can be written")
    )


def refuse(path: Path, reason: str) -> NoReturn:
    raise AudioError(path, "untagged", reason, REMEDY)


def read_genres(audio: "FileType") -> list[str]:
    """The genres in its metadata, in order."""
    if audio.tags is None:
        return []
    texts = audio.tags.get(key(audio), [])
    texts = texts.genres if is_mp3(audio) and texts else texts
    return [part for text in texts for part in text.split(SEPARATOR) if part]


def set_genres(audio: "FileType", genres: list[str]) -> None:
    """Put the genres in the place of what was there, and save; ID3 keeps its version."""
    from mutagen.id3 import TCON

    if audio.tags is None:
        audio.add_tags()
    if not is_mp3(audio):
        audio.tags[key(audio)] = genres
        return audio.save()
    audio.tags.setall("TCON", [TCON(encoding=3, text=genres)])
    return audio.save(v2_version=3 if audio.tags.version[1] == 3 else 4, v23_sep=SEPARATOR)


def is_mp3(audio: "FileType") -> bool:
    return "audio/mp3" in audio.mime


def key(audio: "FileType") -> str:
    """What the format calls the genre."""
    if is_mp3(audio):
        return "TCON"
    return "\xa9gen" if "audio/mp4" in audio.mime else "GENRE"
