"""Sounds that a model has tagged, and how people correct the tags: files in a folder, their rows in SQLite beside them.

Any number of threads and processes may read and write at a time. Nothing is overwritten: corrections are appended.
"""

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts.common.cli import pick
from scripts.common.errors import ProjectError
from scripts.common.lock import locked
from scripts.common.storage import write_aside
from scripts.tables.label_matrix import NONE, SEPARATOR

FILE = "store.sqlite"
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*-[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
BUSY = 30.0  # seconds to wait for another's transaction
MAX_CHARACTERS = 100  # of a label or a name
BY_MODEL = "(:model IS NULL OR model = :model)"
# the least likely label that the model gave a sound (1/2 where it gave none), less the likeliest that it did not give
MARGIN = """
    COALESCE((SELECT MIN(label.value) FROM json_each(probabilities) AS label
        WHERE label.key IN (SELECT value FROM json_each(tags))), 0.5)
    - COALESCE((SELECT MAX(label.value) FROM json_each(probabilities) AS label
        WHERE label.key NOT IN (SELECT value FROM json_each(tags))), 0)"""
ACTIONS = ("add", "remove")
CONFIRM = "confirm"  # all tags of a sound at once
SCHEMA = """
CREATE TABLE IF NOT EXISTS sounds (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, title TEXT NOT NULL, url TEXT NOT NULL,
    creator TEXT NOT NULL, licence TEXT NOT NULL, created TEXT NOT NULL, seconds REAL NOT NULL, model TEXT NOT NULL,
    probabilities TEXT NOT NULL, tags TEXT NOT NULL, audio TEXT NOT NULL, stored TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS sounds_by_time ON sounds (created, number);
CREATE TABLE IF NOT EXISTS corrections (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL REFERENCES sounds (key), label TEXT NOT NULL, action TEXT NOT NULL,
    person TEXT NOT NULL, time TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS corrections_by_key ON corrections (key, number);
"""


class StoreError(ProjectError):
    """A store that cannot be read or written, or something that may not be put into it."""


@dataclass(frozen=True)
class Sound:
    """A sound, and a model's prediction for it.

    Attributes
    ----------
    key : "<source>-<id>", letters, digits, ".", "_" and "-": safe as a file name.
    title, url, creator, licence : as the source has them; not to be trusted.
    created : at the source, ISO 8601; without a zone it is UTC.
    seconds : of audio.
    model : "name@version", or a run's name.
    probabilities : of all labels of the model, 0 to 1.
    tags : the labels that the model predicted, the likeliest first.

    Raises
    ------
    StoreError : a key, a time, a probability or a tag that is not as above.
    """

    key: str
    title: str
    url: str
    creator: str
    licence: str
    created: str
    seconds: float
    model: str
    probabilities: dict[str, float]
    tags: list[str]

    def __post_init__(self) -> None:
        if not KEY.fullmatch(self.key):
            raise StoreError(f"key {self.key!r}; write <source>-<id> with letters, digits and . _ - only")
        for label, probability in self.probabilities.items():
            if not 0 <= probability <= 1:
                raise StoreError(f"{self.key}: probability {probability} of {label!r}; it must be 0 to 1")
        unknown = set(self.tags) - set(self.probabilities)
        if unknown:
            raise StoreError(f"{self.key}: tags without a probability: {', '.join(sorted(unknown))}; give one for each")
        object.__setattr__(self, "created", utc(self.created))


@dataclass(frozen=True)
class Correction:
    """What a person did to a sound's tags: `action` "add" or "remove" of a label, or "confirm" all tags (label "")."""

    label: str
    action: str
    person: str
    time: str


@dataclass(frozen=True)
class StoredSound:
    """A sound with its files, the tags it has now, and the corrections that led to them, the first one first."""

    sound: Sound
    audio: Path
    image: Path
    tags: list[str]
    corrections: list[Correction]


class Store:
    """A folder with `store.sqlite`, `audio/<key><suffix>` and `images/<key>.png`; made where it is not there yet."""

    def __init__(self, folder: str | Path) -> None:
        """Open the store.

        Raises
        ------
        StoreError : its database is damaged, or cannot be written.
        """
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / FILE, wait=True), self.connection() as database:  # SQLite does not wait here
            database.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for each other
            database.executescript(SCHEMA)

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that commits each statement by itself, unless told to begin."""
        path = self.folder / FILE
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=BUSY, isolation_level=None)) as database:
                database.row_factory = sqlite3.Row
                yield database
        except sqlite3.Error as error:
            remedy = "see that the disk has room and that this is a store you may write to; what was stored is kept"
            raise StoreError(f"{path}: {error}; {remedy}") from None

    @contextlib.contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """All or nothing; of kind "DEFERRED" it only reads, all of it as of one moment."""
        with self.connection() as database:
            database.execute(f"BEGIN {kind}")
            yield database
            database.execute("COMMIT")

    def has(self, key: str) -> bool:
        with self.connection() as database:
            return is_known(database, key)

    def add(self, sound: Sound, audio: Path, image: Path) -> None:
        """Move both files in and add the sound's row; of a key that is there already, all stays as it is.

        Before the row is written both files are in place; a failure in between leaves the given files where they are,
        and at worst copies of them that the next try overwrites. In the end the given files are gone.

        Raises
        ------
        StoreError, OSError : the disk is full, or the folder cannot be written.
        """
        homes = self.audio_path(sound.key + audio.suffix), self.image_path(sound.key)
        with self.transaction() as database:
            if not is_known(database, sound.key):
                for source, home in zip((audio, image), homes, strict=True):
                    with write_aside(home) as temporary:
                        shutil.copyfile(source, temporary)
                texts = {"probabilities": json.dumps(sound.probabilities), "tags": json.dumps(sound.tags)}
                insert(database, "sounds", vars(sound) | texts | {"audio": homes[0].name, "stored": now()})
        audio.unlink(missing_ok=True)
        image.unlink(missing_ok=True)

    def correct(self, key: str, label: str, action: str, person: str) -> None:
        """Append that a person adds a label to a sound or removes one.

        Parameters
        ----------
        action : "add" or "remove".

        Raises
        ------
        StoreError : an unknown key, a label that cannot stand in a table, or no name.
        ConfigError : an unknown action.
        """
        known = label in self.vocabulary()  # may be a genre such as "Drum; Bass"
        self.append(key, label if known else clean("label", label), pick("action", action, ACTIONS), person)

    def confirm(self, key: str, person: str) -> None:
        """Append that a person confirms all tags of a sound; raises as `correct`."""
        self.append(key, "", CONFIRM, person)

    def append(self, key: str, label: str, action: str, person: str) -> None:
        row = {"key": key, "label": label, "action": action, "person": clean("name", person)}
        with self.transaction() as database:
            if not is_known(database, key):
                raise self.unknown(key)
            insert(database, "corrections", row | {"time": now()})

    def count(self, model: str | None = None) -> int:
        """The number of sounds, of all or of one model."""
        with self.connection() as database:
            return database.execute(f"SELECT COUNT(*) FROM sounds WHERE {BY_MODEL}", {"model": model}).fetchone()[0]

    def newest(self, count: int, offset: int = 0, model: str | None = None) -> list[StoredSound]:
        """The sounds made last at their source, the newest first, without the first `offset`; maybe of one model."""
        clauses = f"WHERE {BY_MODEL} ORDER BY created DESC, number DESC LIMIT :count OFFSET :offset"
        return self.select(clauses, {"model": model, "count": count, "offset": offset})

    def oldest(self, count: int, model: str | None = None) -> list[StoredSound]:
        """The sounds made first at their source, the oldest first; maybe of one model."""
        clauses = f"WHERE {BY_MODEL} ORDER BY created, number LIMIT :count"
        return self.select(clauses, {"model": model, "count": count})

    def least_sure(self, count: int) -> list[str]:
        """The keys of sounds that nobody has checked, that on which the model was least sure first.

        It is least sure where the labels it gave are hardly likelier than those it did not give: margin sampling
        (B. Settles, Active Learning Literature Survey, 2009).
        """
        unchecked = "SELECT key FROM sounds WHERE key NOT IN (SELECT key FROM corrections)"
        with self.connection() as database:
            rows = database.execute(f"{unchecked} ORDER BY {MARGIN}, number DESC LIMIT ?", (count,))
            return [row["key"] for row in rows]

    def get(self, key: str) -> StoredSound:
        """One sound; raises a StoreError if there is none of this key."""
        sounds = self.select("WHERE key = :key", {"key": key})
        if not sounds:
            raise self.unknown(key)
        return sounds[0]

    def reviewed(self) -> list[StoredSound]:
        """The sounds that somebody corrected or confirmed, the oldest first."""
        return self.select("WHERE key IN (SELECT key FROM corrections) ORDER BY created, number")

    def likeliest(self, count: int) -> dict[str, list[str]]:
        """By key, the oldest first, the labels that the model gave the `count` highest probabilities, highest first."""
        with self.connection() as database:
            rows = database.execute("SELECT key, probabilities FROM sounds ORDER BY created, number").fetchall()
        probabilities = {row["key"]: json.loads(row["probabilities"]) for row in rows}
        return {key: sorted(one, key=one.get, reverse=True)[:count] for key, one in probabilities.items()}

    def vocabulary(self) -> list[str]:
        """The labels of all models that tagged a sound of the store, in alphabetical order."""
        with self.connection() as database:
            query = "SELECT probabilities FROM sounds WHERE number IN (SELECT MAX(number) FROM sounds GROUP BY model)"
            return sorted({label for row in database.execute(query) for label in json.loads(row["probabilities"])})

    def select(self, clauses: str, values: dict[str, str | int | None] | None = None) -> list[StoredSound]:
        with self.transaction("DEFERRED") as database:
            return [
                self.stored(database, row) for row in database.execute(f"SELECT * FROM sounds {clauses}", values or {})
            ]

    def stored(self, database: sqlite3.Connection, row: sqlite3.Row) -> StoredSound:
        query = "SELECT label, action, person, time FROM corrections WHERE key = ? ORDER BY number"
        corrections = [Correction(*values) for values in database.execute(query, (row["key"],))]
        values = {name: row[name] for name in Sound.__annotations__}
        sound = Sound(**values | {name: json.loads(row[name]) for name in ("probabilities", "tags")})
        tags = corrected(sound.tags, corrections)
        return StoredSound(sound, self.audio_path(row["audio"]), self.image_path(sound.key), tags, corrections)

    def unknown(self, key: str) -> StoreError:
        return StoreError(f"{self.folder} has no sound {key!r}; reload the page, or name one that it has")

    def audio_path(self, name: str) -> Path:
        return self.folder / "audio" / name

    def image_path(self, key: str) -> Path:
        return self.folder / "images" / f"{key}.png"


def corrected(tags: Iterable[str], corrections: Iterable[Correction]) -> list[str]:
    """The tags after the corrections, one after the other; added ones stand last."""
    result = dict.fromkeys(tags)
    for correction in corrections:
        if correction.action == "add":
            result.setdefault(correction.label)
        elif correction.action == "remove":
            result.pop(correction.label, None)
    return list(result)


def clean(kind: str, text: str) -> str:
    """The text without spaces around it, if it may stand in a cell of a table; else a StoreError."""
    text = text.strip()
    if not text:
        raise StoreError(f"the {kind} is empty; write one")
    if len(text) > MAX_CHARACTERS or SEPARATOR in text or text == NONE or not text.isprintable():
        allowed = f"at most {MAX_CHARACTERS} characters, without {SEPARATOR!r} and line breaks, and not {NONE!r} alone"
        raise StoreError(f"{kind} {text[:MAX_CHARACTERS]!r} is not allowed; write {allowed}")
    return text


def utc(text: str) -> str:
    """A time in ISO 8601 as UTC, always of the same length, so that it sorts as text; raises a StoreError."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise StoreError(f"time {text!r}; write it as ISO 8601, such as 2026-01-31T12:00:00+00:00") from None


def now() -> str:
    return utc(datetime.now(UTC).isoformat())


def is_known(database: sqlite3.Connection, key: str) -> bool:
    return database.execute("SELECT 1 FROM sounds WHERE key = ?", (key,)).fetchone() is not None


def insert(database: sqlite3.Connection, table: str, row: Mapping[str, str | float]) -> None:
    places = ", ".join(f":{name}" for name in row)
    database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", row)
