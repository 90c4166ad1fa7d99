"""Genres in the metadata of audio files; the audio itself stays as it is."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from scripts.common.cli import require
from scripts.common.errors import AudioError
from scripts.common.storage import write_aside

if TYPE_CHECKING:
    from mutagen import FileType
    from mutagen.apev2 import APEv2

SUFFIXES = (".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4")
SEPARATOR = "; "  # of several genres in the one text that ID3v2.3 has for them
REMEDY = "leave it out of --write-tags"
NO_FIELD = "untagged"  # status of a file of a kind that is never written
# last words of labels that name an instrument, a voice or a mood
NO_GENRES = """
accordion anglais bagpipe bagpipes banjo bassoon bells brass castanets celesta cello clarinet clavinet contrabass
contrabassoon cymbal cymbals drums dulcimer erhu euphonium fiddle flute glockenspiel gong guitar guitars harmonica
harp harpsichord horn kalimba keyboard keyboards koto lute mallet mandolin marimba oboe ocarina organ oud percussion
piano piccolo recorder reed sax saxophone singer singing sitar string strings synth synthesizer tabla tambourine
theremin timpani triangle trombone trumpet tuba ukulele vibraphone viola violin vocal vocals voice whistle woodwind
woodwinds xylophone zither aggressive angry anxious calm cheerful dark dramatic dreamy emotional energetic epic
exciting fearful funny gloomy happy hopeful inspiring joyful meditative melancholic melancholy motivational
mysterious nostalgic peaceful quiet relaxed relaxing romantic sad scary sentimental serious tender tense upbeat
uplifting
"""

Existing = Literal["replace", "keep", "append"]


@dataclass(frozen=True)
class Change:
    """What a file's metadata holds as genre, and what it is to hold."""

    path: str
    old: list[str]
    new: list[str]


def are_genres(names: Sequence[str]) -> bool:
    """Whether labels may be genres: at most half of them name an instrument, a voice or a mood."""
    known = {*NO_GENRES.split()}
    last_words = [re.split(r"[\W_]+", name.casefold().strip())[-1] for name in names]
    return 2 * sum(word in known for word in last_words) <= len(names)


def plan_change(
    path: str | Path,
    genres: Sequence[str],
    existing: Existing = "replace",
    folders: Iterable[str | Path] | None = None,
) -> Change:
    """What writing these genres would change: nothing if `old` equals `new`.

    Parameters
    ----------
    existing : what becomes of genres that are there: "replace" them, "keep" them and write none, or "append" to them
        those that are missing.
    folders : the file must lie in one of them, links resolved; default: anywhere.

    Raises
    ------
    AudioError : metadata of this kind of file cannot be written (status "untagged"); or the file is damaged,
        write-protected, gone, or a link out of the folders ("unwritable").
    ConfigError : mutagen is missing.
    """
    with as_audio_errors(path):
        target = os.path.realpath(path)
        if folders is not None and not any(Path(target).is_relative_to(os.path.realpath(one)) for one in folders):
            raise AudioError(
                path, "unwritable", f"a link to {target}, out of the folder given", "give that file itself"
            )
        audio = open_tags(Path(path))
        if not os.access(path, os.W_OK):
            raise AudioError(path, "unwritable", "no permission to write to it", f"give it, or {REMEDY}")
        old = read_genres(audio, genres)
    if existing == "keep" and old:
        return Change(str(path), old, old)
    first = old if existing == "append" else []
    return Change(str(path), old, [*first, *(genre for genre in genres if genre not in first)])


def rehearse(change: Change) -> None:
    """Do all that `write_genres` does but for changing the file, in a copy elsewhere; raises what that would raise."""
    place = Path(os.path.realpath(change.path)).parent
    with as_audio_errors(change.path), tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        write_copy(Path(change.path), copy, change.new)
        if shutil.disk_usage(place).free < copy.stat().st_size:
            refuse(change.path, "no space for a copy of it on its disk")
        with tempfile.TemporaryFile(dir=place):  # has no name there
            pass


def write_genres(change: Change) -> None:
    """Write the new genres into a copy of the file, which then takes its place. Raises as `plan_change`."""
    with as_audio_errors(change.path), write_aside(os.path.realpath(change.path)) as temporary:
        write_copy(Path(change.path), temporary, change.new)


def has_genre(path: str | Path) -> bool:
    """Its metadata can be read here, and hold a genre."""
    try:
        with as_audio_errors(path):
            return bool(read_genres(open_tags(Path(path))))
    except AudioError:
        return False


def write_copy(path: Path, copy: Path, genres: list[str]) -> None:
    """A copy of the file with these genres, and with its owner, permissions, times and extended attributes."""
    kind, before = type(open_tags(path)), path.stat()
    copy.unlink(missing_ok=True)
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # neither a link nor for others to read
    shutil.copyfile(path, copy)
    set_genres(open_as(kind, copy), genres)
    written = read_genres(open_as(kind, copy), genres)
    if written != genres:
        refuse(path, f"its format would give {', '.join(genres)} back as {', '.join(written) or 'no genre'}")
    if hasattr(os, "chown"):
        try:
            os.chown(copy, before.st_uid, before.st_gid)
        except PermissionError:
            refuse(path, "belongs to another user or group, which a new file of yours could not")
    shutil.copystat(path, copy)
    with open(copy, "rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def as_audio_errors(path: str | Path) -> Iterator[None]:
    """Turn whatever goes wrong with one file into an AudioError about it."""
    require("mutagen", what="metadata of audio files")
    try:
        yield
    except AudioError as error:
        raise AudioError(path, error.status, error.reason, error.remedy) from None
    except OSError as error:
        refuse(path, error.strerror or str(error))
    except Exception as error:  # on damaged files, mutagen raises whatever its parsers meet: struct.error, IndexError
        refuse(path, f"its metadata cannot be read ({' '.join(str(error).split()) or type(error).__name__})")


def open_tags(path: Path) -> "FileType":
    """The file's metadata, of the format that its name and its first bytes tell; raises as `plan_change`."""
    from mutagen import File
    from mutagen.flac import FLAC
    from mutagen.mp3 import MP3
    from mutagen.mp4 import MP4
    from mutagen.oggopus import OggOpus
    from mutagen.oggvorbis import OggVorbis

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        reason = f"not one of {', '.join(SUFFIXES)}, whose metadata can be written"
        raise AudioError(path, NO_FIELD, reason, REMEDY)
    if suffix == ".mp3":
        audio: Any = open_as(MP3, path)  # mutagen declares `info` None
        with open(path, "rb") as file:  # a WAV file with MP3 in it must begin as one
            is_wav = file.read(4) == b"RIFF"
        return audio if not (audio.info.sketchy or is_wav) else refuse(path, "not an MP3 file")
    with open(path, "rb") as file:  # whose name is the one given, whatever a link's target is called
        audio = File(filename=str(path), fileobj=file, options=[FLAC, MP4, OggOpus, OggVorbis])
    return audio if audio is not None else refuse(path, f"not what its name says, nor one of {', '.join(SUFFIXES[1:])}")


def open_as(kind: type["FileType"], path: Path) -> "FileType":
    """A file of a known kind; the frames of an ID3 tag stay those of its version."""
    from mutagen.mp3 import MP3

    return kind(path, **({"translate": False} if kind is MP3 else {}))


def refuse(path: Path | str, reason: str) -> NoReturn:
    raise AudioError(path, "unwritable", reason, REMEDY)


def read_genres(audio: "FileType", known: Collection[str] = ()) -> list[str]:
    """The genres in its metadata, in order; `known` ones may hold the separator."""
    from mutagen.id3 import ID3

    tags: Any = audio.tags  # which mutagen declares None
    texts: Any = tags.get(key(audio), []) if tags is not None else []
    if isinstance(tags, ID3):
        texts = texts.genres if texts else texts
        if tags.version[:2] == (2, 3):
            names = [re.escape(name) for name in sorted(known, key=len, reverse=True) if name]
            one = re.compile(f"({'|'.join([*names, '.+?'])})(?:{SEPARATOR}|$)", re.DOTALL)
            texts = [name for text in texts for name in one.findall(text)]
    genres = [text for text in texts if text.strip()]
    ape = None if genres else ape_tag(audio)
    return [*ape.get("Genre", [])] if ape else genres


def ape_tag(audio: "FileType") -> "APEv2 | None":
    """The second tag of some MP3 files, which a few players read first; None: there is none."""
    from mutagen.apev2 import APENoHeaderError, APEv2
    from mutagen.mp3 import MP3

    with contextlib.suppress(APENoHeaderError):
        return APEv2(audio.filename) if isinstance(audio, MP3) else None
    return None


def set_genres(audio: "FileType", genres: list[str]) -> None:
    """Put the genres in the place of what was there, and save; ID3v2.3 stays that, every other version becomes 2.4."""
    from mutagen.id3 import ID3, TCON

    if audio.tags is None:
        audio.add_tags()
    tags: Any = audio.tags
    if not isinstance(tags, ID3):
        tags[key(audio)] = genres
        audio.save()
        return
    version = tags.version[:2]
    if version < (2, 3):
        tags.update_to_v24()
    tags.setall("TCON", [TCON(encoding=3, text=genres)])
    audio.save(v2_version=3 if version == (2, 3) else 4, v23_sep=SEPARATOR)
    ape = ape_tag(audio)
    if ape and "Genre" in ape:
        ape["Genre"] = genres
        ape.save()


def key(audio: "FileType") -> str:
    """What the format calls the genre."""
    return {"MP3": "TCON", "MP4": "\xa9gen"}.get(type(audio).__name__, "GENRE")
