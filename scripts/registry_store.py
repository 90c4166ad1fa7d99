"""Where a registry lies: its index, an SQLite file, and a folder for each version; here, or behind any fsspec URL."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from scripts.errors import ConfigError
from scripts.registry_index import PATIENCE

INDEX, NEW, LOCK = "index.sqlite", "index.new", "index.lock"
PAUSE = 0.2  # seconds between two looks at the lock


class LocalStore:
    """A registry in a folder; SQLite keeps two changes apart."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def index(self, change: bool) -> Iterator[Path]:
        """The SQLite file, which need not exist; with `change` its folder does."""
        if change:
            self.root.mkdir(parents=True, exist_ok=True)
        yield self.root / INDEX

    def put(self, folder: Path, place: str) -> None:
        """Copy a version's files to its place; what an `add` that was killed has left there goes."""
        shutil.rmtree(self.root / place, ignore_errors=True)
        shutil.copytree(folder, self.root / place)

    def get(self, place: str, sums: Mapping[str, str]) -> Path:
        """The version's folder.

        Parameters
        ----------
        place : of the version below the registry.
        sums : the SHA-256 of each of its files, by path.

        Raises
        ------
        ConfigError : a file is missing or has changed.
        """
        wrong = changed_files(self.root / place, sums)
        if wrong:
            raise ConfigError(f"{self.root / place}: {describe(wrong)}; add the run again, or take another version")
        return self.root / place

    def delete(self, place: str) -> None:
        shutil.rmtree(self.root / place, ignore_errors=True)


class RemoteStore:
    """A registry behind an fsspec URL; a change holds a lock file while it fetches the index and puts it back."""

    def __init__(self, url: str, cache: Path) -> None:
        """Nothing is fetched yet.

        Parameters
        ----------
        url : such as s3://bucket/models.
        cache : folder for copies of versions.

        Raises
        ------
        ConfigError : an unknown kind of URL, or one whose package is missing.
        """
        import fsspec

        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"registry {url!r}: {error}; give a folder, or a URL that fsspec can open") from None
        self.url, self.cache = url, cache / hashlib.sha256(url.encode()).hexdigest()[:12]

    @contextlib.contextmanager
    def index(self, change: bool) -> Iterator[Path]:
        """A copy of the SQLite file, which need not exist; after a `change` it is put back.

        Raises
        ------
        ConfigError : the URL cannot be reached, or another change goes on for longer than a minute.
        """
        with tempfile.TemporaryDirectory() as folder, self.locked() if change else contextlib.nullcontext():
            path = Path(folder) / INDEX
            with self.reached():
                self.files.invalidate_cache()
                if self.files.exists(self.path(INDEX)):
                    self.files.get_file(self.path(INDEX), str(path))
            yield path
            if change:
                with self.reached():
                    self.files.put_file(str(path), self.path(NEW))
                    self.files.mv(self.path(NEW), self.path(INDEX))

    def put(self, folder: Path, place: str) -> None:
        """As `LocalStore.put`."""
        self.delete(place)
        with self.reached():
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                target = self.path(place, file.relative_to(folder).as_posix())
                self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self.files.put_file(str(file), target)

    def get(self, place: str, sums: Mapping[str, str]) -> Path:
        """As `LocalStore.get`; a copy of the version, fetched if it is not here or has changed."""
        target = self.cache / place
        if not changed_files(target, sums):
            return target
        shutil.rmtree(target, ignore_errors=True)
        with whole_folder(target) as folder:
            self.fetch(place, sums, folder)
            wrong = changed_files(folder, sums)
            if wrong:
                raise ConfigError(f"{self.url}/{place}: {describe(wrong)}; add the run again, or take another version")
        return target

    def fetch(self, place: str, names: Mapping[str, str], folder: Path) -> None:
        """Those files of a version that are there."""
        with self.reached():
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    self.files.get_file(self.path(place, name), str(folder / name))

    def delete(self, place: str) -> None:
        shutil.rmtree(self.cache / place, ignore_errors=True)
        with self.reached():
            if self.files.exists(self.path(place)):
                self.files.rm(self.path(place), recursive=True)

    def path(self, *parts: str) -> str:
        return "/".join((self.root.rstrip("/"), *parts))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock file, which names its holder; raises as `index`."""
        with self.reached():
            self.files.makedirs(self.root, exist_ok=True)
            self.lock()
        try:
            yield
        finally:
            with self.reached():
                self.files.rm_file(self.path(LOCK))

    def lock(self) -> None:
        holder = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat("T", "seconds"),
        }
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with self.files.open(self.path(LOCK), "xb") as file:
                    file.write(json.dumps(holder).encode())
                return
            except FileExistsError:
                if time.monotonic() > end:
                    raise ConfigError(self.describe_lock()) from None
                time.sleep(PAUSE)

    def describe_lock(self) -> str:
        held = self.files.cat_file(self.path(LOCK)).decode()
        return f"{self.url}/{LOCK}: held by {held}; wait for it, or delete the file if that process has gone"

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong on the way into a ConfigError; every fsspec backend has exceptions of its own."""
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"registry {self.url}: {reason}; check the address, the rights and the network"
            ) from error


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` on success, unless another process was first, and else goes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        yield folder
        with contextlib.suppress(FileExistsError if target.is_dir() else ()):
            folder.rename(target)


def changed_files(folder: Path, sums: Mapping[str, str]) -> list[str]:
    """Those files that are missing or whose SHA-256 is another."""
    return [name for name, digest in sums.items() if not (folder / name).is_file() or sha256(folder / name) != digest]


def describe(wrong: list[str]) -> str:
    return f"missing or changed since it was added: {', '.join(wrong)}"


def sha256(path: Path) -> str:
    """In hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
