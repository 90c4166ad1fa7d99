"""Uploads that mean harm, break off or find no room: each is answered, and none leaves anything behind."""

import asyncio
import errno
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from scripts.apps.api.limits import Limits
from scripts.apps.api.server import LoadedRun, create_app
from scripts.inference.predictor import Predictor
from tests.corpus import write_track
from tests.hostile import hostile_files, multipart

HEADERS = {"Content-Type": "multipart/form-data; boundary=boundary-of-the-test"}
LIMITS = Limits(upload_mb=2, seconds=20, rate=1e6)


def everything(folder: Path) -> dict[str, int]:
    """All files and folders below, with their sizes."""
    return {str(path): path.stat().st_size for path in sorted(folder.rglob("*"))}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def collected_by_nobody() -> Iterator[None]:
    """What is freed only by the collector of cycles stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def deleted_bytes() -> int:
    """Of files that are deleted and still held open, so that their room is not free."""
    sizes = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            if str(link.readlink()).endswith(" (deleted)"):
                sizes.append(link.stat().st_size)
        except FileNotFoundError:  # the descriptor that lists them
            continue
    return sum(sizes)


def test_hostile_uploads(genre_run, tmp_path, monkeypatch):
    """A status that is right for its kind, JSON that says what to do, no file left, the next request works."""
    temporary, working = tmp_path / "temporary", tmp_path / "a" / "b" / "c"
    working.mkdir(parents=True)
    temporary.mkdir()
    write_track(tmp_path / "secret.wav", 200, 5, seconds=2)
    good = multipart(b"good.wav", (tmp_path / "secret.wav").read_bytes())
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    predictor = Predictor(genre_run, longest=LIMITS.seconds)
    monkeypatch.chdir(working)
    with TestClient(create_app([LoadedRun("small", genre_run, predictor)], LIMITS)) as client:
        before, expected, seen, descriptors = everything(tmp_path), None, set(), None
        for number, one in enumerate(hostile_files(tmp_path / "secret.wav")):
            answer = client.post("/predict", content=multipart(one.name, one.data), headers=HEADERS)
            assert answer.status_code in one.statuses, (number, one.kind, one.name, answer.text)
            if answer.status_code != 200:
                assert set(answer.json()) == {"error", "what_to_do"}
            else:
                assert sum(answer.json()["results"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
            assert "Traceback" not in answer.text and str(temporary) not in answer.text, one
            assert everything(tmp_path) == before, one
            fine = client.post("/predict", content=good, headers=HEADERS).json()
            expected, descriptors = expected or fine, descriptors or open_files()
            assert fine == expected and "Low" in fine["results"][0]["found"], one
            seen.add((one.kind, answer.status_code))
        assert len({kind for kind, _ in seen}) == 24
        assert open_files() <= descriptors + 2
    assert not list(temporary.iterdir())


def boundary(text: str) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary={text}".encode("latin-1")}


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"", {}, 415, "type 'unknown'"),
        (b"{}", {"Content-Type": "application/json"}, 415, "application/json"),
        (b"x", {"Content-Type": "multipart/form-data"}, 400, "without a boundary"),
        (b"x" * 1000, HEADERS, 400, "cannot be read"),
        (b"", HEADERS, 400, "last boundary"),
        (multipart(b"a.wav", b"RIFF")[:-20], HEADERS, 400, "last boundary"),
        (b"--boundary-of-the-test--\r\n", HEADERS, 400, "no file"),
        (multipart(b"a", b"").replace(b'; filename="a"', b""), HEADERS, 400, "'files' is no file"),
        (multipart(b"a", b"").replace(b"form-data", b"x" * 100_000), HEADERS, 400, "cannot be read"),
        (multipart(b"a", b"").replace(b"Content-Disposition", b"Nothing"), HEADERS, 400, "cannot be read"),
        (multipart(b"a", b"", b"b" * 256), boundary("b" * 256), 415, "empty"),
        (multipart(b"a", b"", b"b" * 257), boundary("b" * 257), 400, "cannot be read"),
        (b"x", boundary("b" * 100_000), 400, "cannot be read"),
        (b"x", boundary('""'), 400, "without a boundary"),
        (b"x", boundary("\"\u00e4;\\\"; boundary*=utf-8''a; charset"), 400, "cannot be read"),
        (multipart(b"a", b"").replace(b"\r\n\r\n", b"\r\nA: b" * 100 + b"\r\n\r\n"), HEADERS, 400, "cannot be read"),
        (multipart(b"a", b"").replace(b"Content", b"\0\xff"), HEADERS, 400, "cannot be read"),
    ],
)
def test_bodies_that_are_no_upload(genre_run, body, headers, status, words):
    app = create_app([LoadedRun("small", genre_run, Predictor(genre_run))], LIMITS)
    with TestClient(app) as client:
        answer = client.post("/predict", content=body, headers=headers)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


# --- what breaks off, and a full disk -------------------------------------------------------------------------

START = multipart(b"a.wav", b"")[:-28]
KINDS = {
    "gone": ([START, bytes(60_000)], 400),
    "too long": ([START, *[bytes(100_000)] * 30], 413),
    "too many": ([START, *[bytes(50_000) + b"\r\n" + START] * 17], 413),
    "a field": ([START, bytes(60_000) + b"\r\n" + START.replace(b'; filename="a.wav"', b""), b"x"], 400),
    "not multipart": ([START, bytes(60_000) + b"\r\n--boundary-of-the-test?"], 400),
    "no end": ([START, bytes(60_000), None], 408),
}


async def upload(app, pieces: list[bytes | None]) -> int:
    """The status of the answer to a body that comes in these pieces, after which the client has gone."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    sent = []

    async def receive() -> dict:
        message = messages.pop(0) if messages else {"type": "http.disconnect"}
        if message.get("body", b"") is None:
            await asyncio.Event().wait()
        return message

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(b"content-type", HEADERS["Content-Type"].encode())]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": headers}
    await app(scope, receive, send)
    return sent[0]["status"]


@pytest.fixture(scope="module")
def client(genre_run) -> Iterator[TestClient]:
    limits = Limits(upload_mb=2, seconds=20, rate=1e6, upload_seconds=0.2)
    app = create_app([LoadedRun("small", genre_run, Predictor(genre_run))], limits)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
def test_broken_uploads_give_their_room_back(client, collected_by_nobody, kind):
    """At once, and not when the collector of cycles comes by."""
    pieces, status = KINDS[kind]
    before, held = open_files(), deleted_bytes()
    for _ in range(4):
        assert client.portal.call(upload, client.app, [*pieces]) == status
    assert deleted_bytes() <= held and open_files() <= before + 1
    assert not list(Path(client.app.state.folder).iterdir())


class FullDisk:
    """A file on a disk without room: of what is written nothing arrives."""

    def __init__(self, file) -> None:
        self.file = file

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self.file.close()


def full(*_: object, **__: object):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["folder", "open", "write"])
def test_a_full_disk_is_said_and_then_forgotten(client, monkeypatch, collected_by_nobody, tmp_path, place):
    write_track(tmp_path / "a.wav", 200, 1, seconds=2)
    body, before = multipart(b"a.wav", (tmp_path / "a.wav").read_bytes()), open_files()
    held = deleted_bytes()
    original = Path.open
    with monkeypatch.context() as patch:
        if place == "folder":
            patch.setattr(tempfile, "mkdtemp", full)
        else:
            replaced = full if place == "open" else lambda *values: FullDisk(original(*values))
            patch.setattr("scripts.apps.api.uploads.Path.open", replaced)
        for _ in range(20):
            answer = client.post("/predict", content=body, headers=HEADERS)
            assert (answer.status_code, answer.json()["error"]) == (503, "the server's disk is full")
        assert client.get("/health").status_code == 200
    assert deleted_bytes() <= held and open_files() <= before + 1
    assert not list(Path(client.app.state.folder).iterdir())
    assert client.post("/predict", content=body, headers=HEADERS).status_code == 200
