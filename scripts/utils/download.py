"""FMA's official archives: download, check and unpack one. A broken download goes on where it stopped."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts download`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("download")

import pooch
import requests
from tqdm import tqdm

from scripts.common.cli import command, pick
from scripts.common.errors import DownloadError
from scripts.common.lock import locked
from scripts.datasets.fma import ARCHIVES
from scripts.utils import flags

CHUNK = 2**16  # bytes; a break loses less than this
TIMEOUT = 30  # seconds without a byte


def download(name: str, data: Path = Path("data"), keep_zip: bool = False) -> Path:
    """Fetch one archive of `ARCHIVES` into `data` and unpack it there; returns the unpacked folder.

    Nothing is done if the folder is already there. A zip that lies in `data` is used, and kept; one that this
    call downloads is deleted after unpacking unless `keep_zip`.

    Raises
    ------
    ConfigError : unknown name.
    DownloadError : no connection, not the official zip, or the folder holds something else.
    BusyError : another process is downloading it.
    """
    archive = ARCHIVES[pick("archive", name, ARCHIVES)]
    zip_path = Path(data) / archive.file
    folder = zip_path.with_suffix("")
    if is_there(folder, "tracks.csv" if name == "metadata" else "*/*.mp3"):
        print(f"{folder}: already there, nothing to do")
        return folder
    with locked(zip_path):
        keep_zip = keep_zip or zip_path.exists()
        if not zip_path.exists():
            print(f"{archive.url} ({archive.size}) -> {zip_path}")
            fetch(archive.url, zip_path)
        check_sum(zip_path, archive.sha1)
        unpack(zip_path, folder)
        if not keep_zip:
            zip_path.unlink()
    print(f"{folder}: unpacked; {zip_path.name} {'kept' if keep_zip else 'deleted'}")
    return folder


def is_there(folder: Path, proof: str) -> bool:
    """True if the folder holds a file like `proof`; a DownloadError if it holds only other things."""
    if any(folder.glob(proof)):
        return True
    if folder.exists() and any(folder.iterdir()):
        raise DownloadError(f"{folder}: holds files but no {proof}; move it away or choose another --data")
    return False


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


def check_sum(path: Path, sha1: str) -> None:
    """Raise a DownloadError unless the file has this SHA-1."""
    found = pooch.file_hash(path, alg="sha1")
    if found != sha1:
        raise DownloadError(
            f"{path}: its SHA-1 is {found}, the official one is {sha1}; delete it and run the same command again"
        )


# --- unpack -------------------------------------------------------------------------------------------------


def unpack(zip_path: Path, folder: Path) -> None:
    """Unpack the zip's top folder, which is called like `folder`, as `folder`: whole or not at all.

    Raises
    ------
    DownloadError : no zip, damaged, or without that top folder.
    """
    aside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with zipfile.ZipFile(zip_path) as file:
            for member in tqdm(file.infolist(), "unpacking", unit=" files", disable=None):
                file.extract(member, aside)
        if not (aside / folder.name).is_dir():
            raise DownloadError(f"{zip_path}: holds no folder {folder.name}; give the official zip")
        if folder.exists():
            folder.rmdir()
        os.replace(aside / folder.name, folder)
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{zip_path}: not a sound zip ({error}); delete it and start again") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.download(argv)
    download(args.name, args.data, args.keep_zip)
