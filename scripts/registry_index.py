"""A registry's index: one SQLite table with a row for each version, changed in transactions."""

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.errors import ConfigError

STAGES = ("none", "staging", "production", "archived")
REMOVED = "removed"  # a version without files, whose number is not given again
PATIENCE = 60.0  # seconds that a change waits for another one to end
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS versions (
        name TEXT NOT NULL, version INTEGER NOT NULL, stage TEXT NOT NULL, run TEXT NOT NULL, task TEXT NOT NULL,
        metrics TEXT NOT NULL, split TEXT NOT NULL, added_at TEXT NOT NULL, files TEXT NOT NULL,
        PRIMARY KEY (name, version))""",
    "CREATE UNIQUE INDEX IF NOT EXISTS one_production ON versions (name) WHERE stage = 'production'",
)
INSERT = """INSERT INTO versions VALUES
    (:name, :version, :stage, :run, :task, :metrics, :split, :added_at, :files)"""


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes
    ----------
    name, version : of the model, and 1, 2, ...
    stage : one of `STAGES`.
    run : what the run was called. task : "single" or "multi".
    metrics : name -> {"value": float, "interval_95": [low, high]} of the run's test; some have no interval.
    split : fingerprint of the split that it was trained and tested with.
    added_at : date and time, ISO 8601, UTC.
    files : path -> SHA-256 of each file.
    """

    name: str
    version: int
    stage: str
    run: str
    task: str
    metrics: dict[str, Any]
    split: str
    added_at: str
    files: dict[str, str]

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def place(self) -> str:
        """Of its files, below the registry."""
        return f"models/{self.name}/{self.version}"


@contextlib.contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction that no other process shares; an error leaves the index as it was.

    Raises
    ------
    ConfigError : the file is no index, or another change goes on for longer than a minute.
    """
    with sound(path), closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as index, index:
        index.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            index.execute(statement)
        yield index


def read_versions(path: Path) -> list[Version]:
    """All that are not removed, in the order they were added; none without a file. Raises as `changing`."""
    if not path.is_file():
        return []
    # "rw" does not make a file, and can roll back what a killed change has left
    address = f"{path.absolute().as_uri()}?mode=rw"
    with sound(path), closing(sqlite3.connect(address, timeout=PATIENCE, uri=True)) as index:
        if not index.execute("SELECT 1 FROM sqlite_master WHERE name = 'versions'").fetchone():
            return []  # made by an `add` that was killed
        index.row_factory = sqlite3.Row
        rows = index.execute("SELECT * FROM versions WHERE stage != ? ORDER BY rowid", [REMOVED]).fetchall()
        return [from_row(dict(row)) for row in rows]


def from_row(row: dict[str, Any]) -> Version:
    return Version(**row | {name: json.loads(row[name]) for name in ("metrics", "files")})


def next_version(index: sqlite3.Connection, name: str) -> int:
    """One more than the highest number that the model has ever had."""
    [[last]] = index.execute("SELECT coalesce(max(version), 0) FROM versions WHERE name = ?", [name])
    return last + 1


def insert(index: sqlite3.Connection, version: Version) -> None:
    row = dataclasses.asdict(version)
    index.execute(INSERT, row | {name: json.dumps(row[name]) for name in ("metrics", "files")})


def move(index: sqlite3.Connection, version: Version, stage: str) -> None:
    """Give a version a stage; what was in production gives way to it. Raises a ConfigError if it is removed."""
    if stage == "production":
        index.execute("UPDATE versions SET stage = 'archived' WHERE name = ? AND stage = ?", [version.name, stage])
    where = "WHERE name = ? AND version = ? AND stage != ?"
    changed = index.execute(f"UPDATE versions SET stage = ? {where}", [stage, version.name, version.version, REMOVED])
    if not changed.rowcount:
        raise ConfigError(f"{version.reference} has just been removed; choose another version")


@contextlib.contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a ConfigError."""
    try:
        yield
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be used as the index of a registry ({error}); check or restore it") from None
