"""200 uploads that mean harm: each is answered, none leaves anything behind, and the next good one works."""

import tempfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from scripts.apps.api.limits import Limits
from scripts.apps.api.server import Loaded, create_app
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
    with TestClient(create_app([Loaded("small", genre_run, predictor)], LIMITS)) as client:
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
    ],
)
def test_bodies_that_are_no_upload(genre_run, body, headers, status, words):
    app = create_app([Loaded("small", genre_run, Predictor(genre_run))], LIMITS)
    with TestClient(app) as client:
        answer = client.post("/predict", content=body, headers=headers)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
