"""A dataset's published files: download, check and unpack them. A broken download goes on where it stopped."""

import os
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts download`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("download")

import pooch
import requests
from tqdm import tqdm

from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError, DownloadError
from scripts.common.lock import locked
from scripts.common.storage import write_aside
from scripts.datasets import DATASETS
from scripts.datasets.contract import Archive, Dataset
from scripts.utils import flags

CHUNK = 2**16  # bytes; a break loses less than this
TIMEOUT = 30  # seconds without a byte


def download(name: str, data: Path = Path("data"), keep: bool = False) -> Path:
    """Fetch a dataset's files into `data` and unpack them to where its label table looks; returns the dataset's root.

    What is there already is left alone. An archive that lies in `data` is used, and kept; one that this call downloads
    is deleted after unpacking unless `keep`.

    Parameters
    ----------
    name : what to fetch, one of `sources()`.

    Raises
    ------
    ConfigError : unknown name.
    DownloadError : no connection, not the published file, or a folder holds something else.
    BusyError : another process is downloading it.
    """
    dataset = sources()[pick("dataset to download", name, sources())]
    root = Path(data, *Path(dataset.root).parts[1:])  # whose first part is "data"
    print(f"{dataset.title}, licence: {dataset.licence}")
    for archive in dataset.archives[name]:
        install(archive, Path(data) / archive.file, root / archive.folder, keep)
    print(f"next: {next_command(name, dataset, root, Path(data))}")
    return root


def sources() -> dict[str, Dataset]:
    """What can be downloaded: its name -> the dataset that it belongs to."""
    return {name: dataset for dataset in DATASETS.values() for name in dataset.archives}


def install(archive: Archive, path: Path, folder: Path, keep: bool) -> None:
    """Fetch one file to `path` and put what it holds into `folder`, unless that is there."""
    if is_there(folder, archive):
        print(f"{folder}: {archive.file} is already there, nothing to do")
        return
    with locked(path):
        keep = keep or path.exists()
        if not path.exists():
            print(f"{archive.url} ({archive.size}) -> {path}")
            fetch(archive.url, path)
        check_sum(path, archive.checksum)
        if path.suffix == ".csv":
            with write_aside(folder / path.name) as temporary:
                shutil.copy(path, temporary)
        else:
            unpack(path, folder, archive.proof)
        if not keep:
            path.unlink()
    print(f"{folder}: {archive.file} is there" + (", and kept beside it" if keep else ""))


def is_there(folder: Path, archive: Archive) -> bool:
    """True if the folder holds what the archive brings; a DownloadError if unpacking would replace other things."""
    if any(folder.glob(archive.proof)):
        return True
    if not archive.file.endswith(".csv") and folder.exists() and any(folder.iterdir()):
        raise DownloadError(f"{folder}: holds files but no {archive.proof}; move it away or choose another --data")
    return False


def next_command(name: str, dataset: Dataset, root: Path, data: Path) -> str:
    """What to run once the files are there; FMA's come in two steps."""
    place = "" if data == Path("data") else f" --data {data}"
    if dataset.name == "fma" and not (root / "fma_metadata").is_dir():
        return f"python -m scripts download metadata{place}"
    if name == "metadata":
        return f"python -m scripts download small{place}"
    option = f" --option subset={name}" if name in ("medium", "large", "full") else ""
    command = f"python -m scripts labeled_tracks --dataset {dataset.name} --root {root}{option}"
    return f"{command} --output {root / 'labeled_tracks.csv'}"


# --- download -----------------------------------------------------------------------------------------------


def fetch(url: str, path: Path) -> None:
    """Download to `path`; what an earlier, broken call left in `<path>.part` is not downloaded again.

    Raises
    ------
    DownloadError : no connection, it broke, or the server refuses; what has arrived is kept.
    """
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        append_rest(url, part)
    except requests.RequestException as error:
        answer = error.response
        cause = type(error).__name__ if answer is None else f"HTTP {answer.status_code} {answer.reason}"
        raise DownloadError(
            f"{url}: the download failed ({cause}); run the same command again to go on, "
            f"or download it by hand to {path}"
        ) from None
    os.replace(part, path)


def append_rest(url: str, part: Path) -> None:
    """Add the bytes that `part` lacks; all of them anew if the server ignores where to start."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if start and response.status_code == requests.codes.range_not_satisfiable:
            return  # killed between the last byte and the renaming
        response.raise_for_status()
        start = start if response.status_code == requests.codes.partial_content else 0
        total = start + int(response.headers.get("Content-Length", 0)) or None
        progress = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "disable": None}  # None: only in a terminal
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(desc=part.stem, total=total, initial=start, **progress) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def check_sum(path: Path, checksum: str) -> None:
    """Raise a DownloadError unless the file has this checksum, "algorithm:digest"."""
    algorithm, _, digest = checksum.partition(":")
    found = pooch.file_hash(path, alg=algorithm)
    if found != digest:
        raise DownloadError(
            f"{path}: its {algorithm.upper()} is {found}, the published one is {digest}; delete it and run the same "
            "command again"
        )


# --- unpack -------------------------------------------------------------------------------------------------


def unpack(path: Path, folder: Path, proof: str) -> None:
    """Unpack a zip or tar file as `folder`, whole or not at all: all of it, or the one of its folders with `proof`.

    Raises
    ------
    DownloadError : no archive, damaged, or without a file like `proof`.
    """
    aside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        for _ in tqdm(extract(path, aside), "unpacking", unit=" files", disable=None):
            pass
        places = [aside, *(entry for entry in sorted(aside.iterdir()) if entry.is_dir())]
        source = next((place for place in places if any(place.glob(proof))), None)
        if source is None:
            raise DownloadError(f"{path}: holds no {proof}; give the published file")
        if folder.exists():
            folder.rmdir()
        os.replace(source, folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise DownloadError(f"{path}: not a sound archive ({error}); delete it and start again") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def extract(path: Path, aside: Path) -> Iterator[str]:
    """Write the archive's members below `aside`, none of them outside, without macOS's notes; yields their names."""
    aside.mkdir(parents=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as zipped:
            for name in filter(is_data, zipped.namelist()):
                zipped.extract(name, aside)
                yield name
    else:
        with tarfile.open(path) as tarred:
            for member in tarred:
                if is_data(member.name):
                    tarred.extract(member, aside, filter="data")
                    yield member.name


def is_data(name: str) -> bool:
    """False for what macOS adds to an archive, such as `._a.wav` beside `a.wav`."""
    return not name.startswith("__MACOSX/") and not Path(name).name.startswith("._")


def show_list() -> None:
    """Print what can be downloaded: name, size and licence."""
    for name, dataset in sources().items():
        sizes = ", ".join(f"{archive.file} ({archive.size})" for archive in dataset.archives[name])
        print(f"{name:16}{dataset.title}: {sizes}\n{'':16}licence: {dataset.licence}")


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.download(argv)
    if args.list:
        show_list()
    elif args.name is None:
        raise ConfigError(f"say what to download, one of {', '.join(sources())}; --list shows sizes and licences")
    else:
        download(args.name, args.data, args.keep)
