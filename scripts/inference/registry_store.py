"""Where a registry lies: a folder for each version, and small JSON files; here, or behind any fsspec URL."""

import contextlib
import errno
import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from scripts.common.errors import ConfigError
from scripts.common.lock import locked
from scripts.common.storage import sha256, write_aside

Stage = Literal["none", "staging", "production", "archived"]
STAGES: tuple[Stage, ...] = get_args(Stage)
INNER_PATH = r"^\.?[^./][^/]*(/\.?[^./][^/]*)*$"  # neither absolute nor with ".."


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes
    ----------
    name, version : name of the model, and number of the version, from 1.
    run : name of the run that was registered.
    task : "single_label" or "multi_label".
    metrics : name -> {"value": float, "interval_95": [low, high]} of the run's test; some have no interval.
    split : fingerprint of the split that it was trained and tested with.
    added_at : date and time, ISO 8601, UTC.
    files : path -> SHA-256 of each file.
    stage : one of `STAGES`.
    """

    name: str
    version: int
    run: str
    task: str
    metrics: dict[str, dict[str, Any]]
    split: str
    added_at: str
    files: dict[Annotated[str, Field(pattern=INNER_PATH)], str]
    stage: Stage = "none"

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def place(self) -> str:
        """Of its files, below the registry."""
        return f"models/{self.name}/{self.version}"


VERSION, STAGE_OF = TypeAdapter(Version | None), TypeAdapter(dict[int, Stage] | None)


class RegistryStore:
    """Versions and their stages. Every JSON file is replaced whole; there is one lock, of a folder's stages.

    models/NAME/3/           files of version 3
    models/NAME/3.json       the version but for its stage, written last; null until then, and once it is removed
    models/NAME/stages.json  number -> stage; what is not there is "none"
    """

    def __init__(self, where: str, cache: Path) -> None:
        """Nothing is read yet.

        Parameters
        ----------
        where : a folder, or a URL such as s3://bucket/models.
        cache : folder for copies of versions that lie behind a URL.

        Raises
        ------
        ConfigError : an unknown kind of URL, or one whose package is missing.
        """
        import fsspec
        from fsspec.implementations.dirfs import DirFileSystem

        self.where, self.remote = where, "://" in where
        self.folder = cache / hashlib.sha256(where.encode()).hexdigest()[:12] if self.remote else Path(where)
        try:
            files = fsspec.core.url_to_fs(where) if self.remote else (fsspec.filesystem("file"), self.folder.absolute())
        except (ImportError, ValueError) as error:
            raise ConfigError(f"registry {where!r}: {error}; give a folder, or a URL that fsspec can open") from None
        self.files = DirFileSystem(fs=files[0], path=files[1])

    def versions(self) -> list[Version]:
        """All that were added and not removed, by date; raises a ConfigError if a JSON file is damaged."""
        versions = []
        for name in self.names("models"):
            numbers = self.numbers(name)
            stages = self.stages(name) if numbers else {}
            for number in numbers:
                if version := self.read(VERSION, f"models/{name}/{number}.json"):
                    stage = stages.get(number, "none")
                    versions.append(replace(version, name=name, version=number, stage=stage))
        if not versions and "index.sqlite" in self.names():
            remedy = "delete it, and add the runs again (python -m scripts registry add RUN)"
            raise ConfigError(f"{self.where}/index.sqlite: made by an earlier program and not read any more; {remedy}")
        return sorted(versions, key=lambda version: (version.added_at, version.name, version.version))

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[int]:
        """The next number of a model; an error gives it back, and deletes what was put there."""
        number = max(self.numbers(name), default=0) + 1
        while not self.create(f"models/{name}/{number}.json"):
            number += 1
        try:
            yield number
        except BaseException:
            self.delete(f"models/{name}/{number}")
            self.delete(f"models/{name}/{number}.json")
            raise

    def put(self, folder: Path, version: Version) -> None:
        """Copy a version's files to its place; it is there with its JSON file, the last."""
        with self.config_errors():
            self.files.put(f"{folder}/", f"{version.place}/", recursive=True)
        self.write(f"{version.place}.json", VERSION.dump_python(version, exclude={"stage"}))

    def get(self, version: Version) -> Path:
        """The version's folder, or a copy, for which what is not here or has changed is fetched.

        Raises
        ------
        ConfigError : a file is missing or has changed.
        """
        target = self.folder / version.place
        wrong = changed_files(target, version)
        if wrong and self.remote:
            with self.config_errors():
                for name in wrong:
                    with contextlib.suppress(FileNotFoundError), write_aside(target / name) as path:
                        self.files.get_file(f"{version.place}/{name}", str(path))
            wrong = changed_files(target, version)
        if wrong:
            reason = f"missing or changed since it was added: {', '.join(wrong)}"
            raise ConfigError(f"{self.where}/{version.place}: {reason}; add the run again, or take another version")
        return target

    def move(self, version: Version, stage: Stage) -> Version:
        """Give a version a stage; what was in production gives way to it. Raises a ConfigError if it is removed."""
        if not self.read(VERSION, f"{version.place}.json"):
            raise ConfigError(f"{version.reference} has just been removed; choose another version")
        place = f"models/{version.name}/stages.json"
        with contextlib.nullcontext() if self.remote else locked(self.folder / place, wait=True):
            stages = self.stages(version.name)
            if stage == "production":
                stages = {number: "archived" if old == stage else old for number, old in stages.items()}
            self.write(place, stages | {version.version: stage})
        return replace(version, stage=stage)

    def remove(self, version: Version) -> None:
        """Delete a version; its JSON file stays, so that the number is not given again."""
        self.write(f"{version.place}.json", None)
        shutil.rmtree(self.folder / version.place, ignore_errors=True)
        self.delete(version.place)

    def stages(self, name: str) -> dict[int, str]:
        return self.read(STAGE_OF, f"models/{name}/stages.json") or {}

    def numbers(self, name: str) -> list[int]:
        """All that were given, also to versions that are not there yet or any more."""
        matches = (re.fullmatch(r"([1-9][0-9]*)\.json", file) for file in self.names(f"models/{name}"))
        return [int(match[1]) for match in matches if match]

    def names(self, place: str = "") -> list[str]:
        """Of what lies in a folder, which need not be there."""
        with self.config_errors():
            self.files.invalidate_cache(place)
            try:
                return [path.rstrip("/").rpartition("/")[2] for path in self.files.ls(place, detail=False)]
            except FileNotFoundError:
                return []

    def read(self, kind: TypeAdapter[Any], place: str) -> Any:
        """What a JSON file holds; None for null, and if it is empty or missing."""
        text = b""
        with self.config_errors(), contextlib.suppress(FileNotFoundError):
            text = self.files.cat_file(place)
        try:
            return kind.validate_json(text or b"null")
        except ValidationError as error:
            reason = ": ".join(map(str, [*error.errors()[0]["loc"], error.errors()[0]["msg"]]))
            remedy = "restore it, or empty it to go on without"
            raise ConfigError(f"{self.where}/{place}: damaged ({reason}); {remedy}") from None

    def create(self, place: str) -> bool:
        """Make a JSON file with null, which only one process can; False if another was first."""
        with self.config_errors():
            self.files.makedirs(place.rpartition("/")[0], exist_ok=True)
            with contextlib.suppress(FileExistsError), self.files.open(place, "xb") as file:
                file.write(b"null")  # an empty file would replace another one on S3
                return True
        return False

    def write(self, place: str, data: Any) -> None:
        """Replace a JSON file by one that was made aside, so that nobody sees a part of it."""
        aside = f"{place}.{uuid.uuid4().hex}"
        with self.config_errors():
            self.files.pipe_file(aside, json.dumps(data, indent=2).encode())
            self.files.mv(aside, place)

    def delete(self, place: str) -> None:
        """Delete a file, or a folder with all in it; it need not be there."""
        with self.config_errors(), contextlib.suppress(FileNotFoundError):
            self.files.rm(place, recursive=True)

    @contextlib.contextmanager
    def config_errors(self) -> Iterator[None]:
        """Turn what goes wrong on the way into a ConfigError; every fsspec backend has exceptions of its own."""
        try:
            yield
        except Exception as error:
            is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "free some space" if is_full else "check the address, the rights and the network"
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"registry {self.where}: {reason}; {remedy}") from error


def changed_files(folder: Path, version: Version) -> list[str]:
    """Those that are missing or whose SHA-256 is another."""
    files = version.files.items()
    return [name for name, digest in files if not (folder / name).is_file() or sha256(folder / name) != digest]
