"""Downloading, checking and unpacking, from a server on this machine."""

import hashlib
import http.server
import io
import shlex
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from scripts.common.errors import ConfigError, DownloadError
from scripts.datasets import DATASETS, fma, irmas, tinysol
from scripts.datasets.contract import Archive
from scripts.utils import labeled_tracks
from scripts.utils.download import CHUNK, download, fetch, main, sources, unpack

AUDIO = np.random.default_rng(0).bytes(300_000)
MEMBERS = {"fma_small/000/000002.mp3": AUDIO, "fma_small/000/000005.mp3": b"5", "fma_small/README.txt": b"read me"}


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tar_bytes(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for path in sorted(root.iterdir()):
            file.add(path, path.name)
    return buffer.getvalue()


def checksum(content: bytes, algorithm: str = "md5") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


ZIP = zip_bytes(MEMBERS)
PROOF = "README.txt"  # of `MEMBERS`


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every address but /none and those of `others`; notes where each request wants to start.

    `ranges` : starts where it is asked to. `breaks_after` : hangs up after so many bytes.
    """

    content, ranges, breaks_after = ZIP, True, None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.starts: list[int] = []
        self.others: dict[str, bytes] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.server.starts.append(start)
        if not self.server.ranges:
            start = 0
        if self.path == "/none":
            self.send_error(404)
            return
        content = self.server.others.get(self.path, self.server.content)
        if start >= len(content):
            self.send_error(416)
        else:
            self.answer(content[start:], 206 if self.server.ranges else 200)

    def answer(self, rest: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.breaks_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """FMA's server, with a small fma_small.zip and fma_metadata.zip."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name, proof in (("small", "*/*.mp3"), ("metadata", "tracks.csv")):
            archive = Archive(f"{server.url}fma_{name}.zip", checksum(ZIP, "sha1"), "1 MiB", f"fma_{name}", proof)
            monkeypatch.setitem(fma.ARCHIVES, name, [archive])
        yield server
        server.shutdown()


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the whole way ------------------------------------------------------------------------------------------


def test_archive_is_downloaded_checked_and_unpacked(server: Server, tmp_path: Path) -> None:
    assert download("small", tmp_path / "data") == tmp_path / "data"
    assert files_below(tmp_path / "data") == MEMBERS


def test_zip_is_kept_if_asked_for(server: Server, tmp_path: Path) -> None:
    download("small", tmp_path, keep=True)
    assert files_below(tmp_path) == MEMBERS | {"fma_small.zip": ZIP}


def test_what_is_there_is_left_alone(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fma_small" / "000").mkdir(parents=True)
    (tmp_path / "fma_small" / "000" / "000002.mp3").write_bytes(b"unzipped by hand")
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata" / "tracks.csv").write_bytes(b"unzipped by hand")
    before = files_below(tmp_path)
    for name in ("small", "metadata"):
        main([name, "--data", str(tmp_path)])
        assert f"fma_{name}.zip is already there" in capsys.readouterr().out
    assert files_below(tmp_path) == before
    assert server.starts == []


def test_zip_downloaded_by_hand_is_used_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fma_small.zip").write_bytes(ZIP)
    download("small", tmp_path)
    assert files_below(tmp_path) == MEMBERS | {"fma_small.zip": ZIP}
    assert server.starts == []


def test_empty_folder_is_filled(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fma_small").mkdir()
    download("small", tmp_path)
    assert files_below(tmp_path) == MEMBERS


def test_folder_with_other_things_is_refused_before_downloading(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata" / "notes.txt").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="no tracks.csv; move it away"):
        download("metadata", tmp_path)
    assert files_below(tmp_path) == {"fma_metadata/notes.txt": b"mine"}
    assert server.starts == []


def test_killed_unpacking_is_done_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fma_small.zip").write_bytes(ZIP)
    (tmp_path / ".fma_small.unpacking" / "fma_small").mkdir(parents=True)
    (tmp_path / ".fma_small.unpacking" / "fma_small" / "half.mp3").write_bytes(b"half")
    download("small", tmp_path)
    assert files_below(tmp_path) == MEMBERS | {"fma_small.zip": ZIP}


def test_unknown_archive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        download("smal", tmp_path)


def test_a_dataset_is_put_where_its_label_table_looks(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TinySOL: a list and a tar file without a top folder."""
    tinysol.make_tiny(tmp_path / "published")
    contents = [(tmp_path / "published" / tinysol.METADATA).read_bytes(), tar_bytes(tmp_path / "published" / "audio")]
    published = tinysol.DATASET.archives["tinysol"]
    mine = [
        Archive(server.url + one.file, checksum(content), one.size, one.folder, one.proof)
        for one, content in zip(published, contents, strict=True)
    ]
    server.others = {f"/{one.file}": content for one, content in zip(mine, contents, strict=True)}
    monkeypatch.setitem(tinysol.DATASET.archives, "tinysol", mine)
    main(["tinysol", "--data", str(tmp_path / "data")])
    out = capsys.readouterr().out
    assert "licence: CC BY 4.0" in out.splitlines()[0] and "(1.0 GB)" in out
    assert files_below(tmp_path / "data" / "tinysol") == files_below(tmp_path / "published")
    command = shlex.split(out.splitlines()[-1].removeprefix("next: python -m scripts labeled_tracks "))
    labeled_tracks.main(command)
    assert (tmp_path / "data" / "tinysol" / "labeled_tracks.csv").is_file()
    main(["tinysol", "--data", str(tmp_path / "data")])
    assert server.starts == [0, 0]


@pytest.mark.parametrize("top", ["IRMAS-TestingData-Part1/Part1", "Part1"])
def test_the_folder_around_all_is_not_doubled(tmp_path: Path, top: str) -> None:
    archive = irmas.ARCHIVES[1]
    (tmp_path / archive.file).write_bytes(zip_bytes({f"{top}/a.wav": b"a", "__MACOSX/._a.wav": b"x"}))
    unpack(tmp_path / archive.file, tmp_path / archive.folder, archive.proof)
    assert (tmp_path / "IRMAS-TestingData-Part1" / "Part1" / "a.wav").read_bytes() == b"a"


def test_every_archive_has_a_proper_checksum_and_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--list"])
    listed = capsys.readouterr().out
    for name, dataset in sources().items():
        assert f"{name} " in listed and dataset.licence in listed
        assert DATASETS[dataset.name] is dataset
        for archive in dataset.archives[name]:
            algorithm, _, digest = archive.checksum.partition(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
            assert archive.url.startswith("http") and archive.file.endswith((".zip", ".tar.gz", ".tgz", ".csv"))
    assert {"esc50", "irmas", "openmic", "nsynth", "medley_solos_db", "tinysol", "small"} <= set(sources())


def test_tar_that_would_write_outside_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        member = tarfile.TarInfo("../evil.txt")
        file.addfile(member, io.BytesIO())
    with pytest.raises(DownloadError, match="not a sound archive"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "x" / "a", "*")
    assert not list(tmp_path.rglob("evil.txt"))


# --- resuming -----------------------------------------------------------------------------------------------


def test_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks_after = 100_000
    for _ in range(2):
        with pytest.raises(DownloadError, match="run the same command again"):
            fetch(server.url + "a", tmp_path / "a.zip")
    arrived = (tmp_path / "a.zip.part").read_bytes()
    assert 200_000 - 2 * CHUNK < len(arrived) <= 200_000
    assert arrived == ZIP[: len(arrived)]
    assert not (tmp_path / "a.zip").exists()
    server.breaks_after = None
    fetch(server.url + "a", tmp_path / "a.zip")
    assert files_below(tmp_path) == {"a.zip": ZIP}
    assert server.starts == [0, len(arrived) // 2, len(arrived)]


def test_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "a.zip.part").write_bytes(b"x" * 1000)
    fetch(server.url + "a", tmp_path / "a.zip")
    assert files_below(tmp_path) == {"a.zip": ZIP}
    assert server.starts == [1000]


def test_part_that_is_whole_needs_only_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(ZIP)
    fetch(server.url + "a", tmp_path / "a.zip")
    assert files_below(tmp_path) == {"a.zip": ZIP}


# --- what can go wrong --------------------------------------------------------------------------------------


def test_wrong_checksum_names_both(server: Server, tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "fma_small.zip").write_bytes(b"something else")
    line = refusal(main, ["small", "--data", str(tmp_path)])
    for word in (hashlib.sha1(b"something else").hexdigest(), hashlib.sha1(ZIP).hexdigest(), "delete it"):
        assert word in line
    assert files_below(tmp_path) == {"fma_small.zip": b"something else"}


def test_wrong_bytes_from_the_server_are_not_unpacked(server: Server, tmp_path: Path) -> None:
    server.content = zip_bytes({"fma_small/000/000002.mp3": b"other"})
    with pytest.raises(DownloadError, match="SHA1"):
        download("small", tmp_path)
    assert not (tmp_path / "fma_small").exists()


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_address[1]}/"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    archive = Archive(f"{url}fma_small.zip", checksum(ZIP, "sha1"), "1 MiB", "fma_small", "*/*.mp3")
    monkeypatch.setitem(fma.ARCHIVES, "small", [archive])
    line = refusal(main, ["small", "--data", str(tmp_path)])
    assert f"{url}fma_small.zip" in line
    assert f"download it by hand to {tmp_path / 'fma_small.zip'}" in line


def test_refusal_of_the_server_is_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="HTTP 404 Not Found"):
        fetch(server.url + "none", tmp_path / "a.zip")
    assert files_below(tmp_path) == {}


# --- unpacking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../evil.txt", "fma_small/../../../evil.txt", "/evil.txt", "//host/share/evil.txt"])
def test_nothing_is_written_outside_the_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data" / "fma_small.zip"
    path.parent.mkdir()
    path.write_bytes(zip_bytes(MEMBERS | {name: b"evil"}))
    unpack(path, tmp_path / "data" / "fma_small", "*/*.mp3")
    outside = {path for path in files_below(tmp_path) if not path.startswith("data/fma_small/")}
    assert outside == {"data/fma_small.zip"}
    assert not Path("/evil.txt").exists()


@pytest.mark.parametrize(
    "name", ["fma_small/000/000002.mp3", "fma_small/", "fma_small/a..b/...mp3", "fma_small/ü ñ.mp3"]
)
def test_ordinary_members_pass(tmp_path: Path, name: str) -> None:
    path = tmp_path / "fma_small.zip"
    path.write_bytes(zip_bytes({"fma_small/README.txt": b"", name: b""}))
    unpack(path, tmp_path / "fma_small", PROOF)
    assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>not found</html>", "not a sound archive"),
        (ZIP[: len(ZIP) // 2], "not a sound archive"),
        (ZIP[:1000] + bytes(1000) + ZIP[2000:], "not a sound archive"),
        (zip_bytes({"another/000002.mp3": b"2"}), "holds no README.txt"),
    ],
    ids=["page", "cut off", "damaged", "another zip"],
)
def test_unsound_zip_leaves_nothing(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "fma_small.zip"
    path.write_bytes(content)
    with pytest.raises(DownloadError, match=reason):
        unpack(path, tmp_path / "fma_small", PROOF)
    assert files_below(tmp_path) == {"fma_small.zip": content}
