"""The API: the predictor's numbers, streams, evaluation, limits, tokens, paths, batches, start and stop."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from scripts.apps.api import __main__ as api
from scripts.apps.api.batching import Batcher, map_ahead
from scripts.apps.api.limits import Limits
from scripts.apps.api.paths import AllowedFolders
from scripts.apps.api.rate_limiter import RateLimiter, SlowClientTimeout, TokenBuckets
from scripts.apps.api.routes import Lines, follow_files, lines
from scripts.apps.api.schemas import StreamedWindow
from scripts.apps.api.server import LoadedRun, create_app, load, load_newer
from scripts.apps.api.service import Model
from scripts.apps.api.uploads import Upload
from scripts.common.errors import ConfigError
from scripts.inference.predictor import Predictor
from scripts.inference.registry import Registry, copy_run
from tests.corpus import GENRES, write_track
from tests.hostile import multipart

ROOT = Path(__file__).resolve().parents[3]
LIMITS = Limits(upload_mb=1, files=3, seconds=20, rate=1e6, tracks=18)
TOKEN = "a-token-of-the-tests"
FORM = {"Content-Type": "multipart/form-data; boundary=boundary-of-the-test"}


@pytest.fixture(scope="module")
def predictor(genre_run) -> Predictor:
    return Predictor(genre_run, longest=LIMITS.seconds)


@pytest.fixture(scope="module")
def client(genre_run, tag_run, predictor):
    """Two models; requests may name what belongs to both runs."""
    loaded = [LoadedRun("small", genre_run, predictor), LoadedRun("chords", tag_run, Predictor(tag_run, longest=20))]
    folders = AllowedFolders([genre_run.root.parent, tag_run.root.parent])
    with TestClient(create_app(loaded, LIMITS, folders)) as made:
        yield made


@pytest.fixture
def songs(tmp_path) -> dict[str, Path]:
    """Files by name: two songs, a page, and silence."""
    paths = {name: tmp_path / name for name in ("low.wav", "high.wav", "page.mp3")}
    write_track(paths["low.wav"], 200, 1, seconds=7)
    write_track(paths["high.wav"], 1800, 2, seconds=3)
    paths["page.mp3"].write_text("<html></html>")
    return paths


def files(*paths: Path) -> list[tuple]:
    return [("files", (path.name, path.read_bytes())) for path in paths]


def ndjson(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


# --- answers ------------------------------------------------------------------------------------------------


def test_files_get_the_numbers_of_the_predictor(client, predictor, songs):
    answer = client.post("/predict?windows=true", files=files(songs["low.wav"], songs["high.wav"])).json()
    assert answer["model"] == "small"
    for result, name in zip(answer["results"], ("low.wav", "high.wav"), strict=True):
        expected = predictor(songs[name])
        assert (result["file"], result["seconds"], result["found"]) == (name, expected.seconds, expected.labels)
        assert list(result["probabilities"].items()) == [
            (genre, pytest.approx(value, abs=2e-3)) for genre, value in expected.top(3)
        ]
        assert [window["start"] for window in result["windows"]] == expected.starts.tolist()
        assert all(window["end"] - window["start"] == 1 for window in result["windows"])
        found = [[window["probabilities"][genre] for genre in GENRES] for window in result["windows"]]
        np.testing.assert_allclose(found, expected.windows, atol=2e-3)


def test_a_file_without_a_name_is_called_so(client):
    """As a browser sends the field of a form in which no file was chosen."""
    answer = client.post("/predict", content=multipart(b"", b""), headers=FORM)
    assert answer.status_code == 415 and answer.json()["error"].startswith("a file without a name: the file is empty")


def test_a_bad_file_has_its_error_in_its_place(client, songs):
    answer = client.post("/predict?top=1", files=files(songs["page.mp3"], songs["low.wav"]))
    bad, good = answer.json()["results"]
    assert (bad["kind"], bad["file"], bad["status"]) == ("error", "page.mp3", 415)
    assert list(good["probabilities"]) == ["Low"] and "windows" not in good
    alone = client.post("/predict", files=files(songs["page.mp3"]))
    assert alone.status_code == 415 and alone.json()["error"].startswith("page.mp3: not audio")


def test_audio_that_cannot_be_used(client, tmp_path):
    for name, seconds, status in (("short.wav", 0.1, 422), ("long.wav", 30, 413)):
        write_track(tmp_path / name, 200, 1, seconds=seconds)
        answer = client.post("/predict", files=files(tmp_path / name))
        assert answer.status_code == status and answer.json()["what_to_do"], answer.text
    answer = client.post("/predict", files=files(*[tmp_path / "short.wav"] * 4))
    assert answer.status_code == 413 and "more than 3 files" in answer.json()["error"]


def test_several_labels_with_their_thresholds(client, tag_run):
    track = tag_run.root.parent / "audio" / "001.wav"
    [result] = client.post("/predict?model=chords&top=2", files=files(track)).json()["results"]
    expected = Predictor(tag_run)(track)
    assert result["found"] == expected.labels and len(result["probabilities"]) == 2
    models = {model["name"]: model for model in client.get("/models").json()}
    assert models["small"]["thresholds"] is None and models["small"]["labels"] == GENRES
    assert models["chords"]["task"] == "multi_label" and set(models["chords"]["thresholds"]) == {"high", "low", "mid"}
    assert client.post("/predict?model=none", files=files(track)).status_code == 404


def test_a_model_that_takes_any_length(genre_run):
    with TestClient(create_app([LoadedRun("small", genre_run, Predictor(genre_run))])) as client:
        assert client.get("/models").json()[0]["longest_seconds"] is None


def test_a_stream_tells_window_by_window(client, predictor, songs):
    answer = client.post("/predict/stream", files=files(songs["low.wav"], songs["page.mp3"]))
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines, expected = ndjson(answer.text), predictor(songs["low.wav"])
    assert [line["kind"] for line in lines] == ["window"] * 7 + ["file", "error", "end"]
    assert [line["start"] for line in lines[:7]] == expected.starts.tolist()
    np.testing.assert_allclose([line["probabilities"]["Low"] for line in lines[:7]], expected.windows[:, 1], atol=2e-3)
    assert lines[7]["probabilities"]["Low"] == pytest.approx(expected.probabilities[1], abs=2e-3)
    assert lines[-1] == {"kind": "end", "model": "small", "version": "small", "files": 2, "failed": 1}


def test_a_stream_of_a_folder_tells_file_by_file(client, genre_run):
    folder = genre_run.root.parent / "audio"
    lines = ndjson(client.post("/predict/stream", json={"path": str(folder)}).text)
    assert [line["file"] for line in lines[:-1]] == [str(path) for path in sorted(folder.iterdir())]
    assert [line["found"] for line in lines[:3]] == [["High"], ["Low"], ["Mid"]]
    assert (lines[-1]["files"], lines[-1]["failed"]) == (18, 0)
    path, kind = str(folder / "000001.wav"), {"Content-Type": "Application/JSON; charset=utf-8"}
    one = ndjson(client.post("/predict/stream", content=json.dumps({"path": path}), headers=kind).text)
    assert [line["kind"] for line in one] == ["window"] * 5 + ["file", "end"]


def test_evaluation_gives_the_scores_of_the_report(client, genre_run):
    table = str(genre_run.root.parent / "metadata_ensemble.csv")
    found = client.post("/evaluate", json={"table": table, "part": "test"}).json()
    report = json.loads((genre_run.report / "test.json").read_text())
    assert found["tracks"] == report["tracks"] and found["left_out"] == {} and found["trained_on"] == 0
    for name in ("track_accuracy", "macro_f1", "chance"):
        assert found["scores"][name] == pytest.approx(report[name]), name
    assert found["intervals"]["track_accuracy"] == report["track_accuracy_interval_95"]
    assert found["per_label"]["Low"]["tracks"] == report["per_genre"]["Low"]["tracks"]
    everything = client.post("/evaluate", json={"table": table}).json()
    assert (everything["tracks"], everything["trained_on"]) == (18, 15)


def test_evaluation_of_several_labels_gives_the_scores_of_the_report(client, tag_run, tmp_path):
    table = tag_run.root.parent / "metadata.csv"
    rows = pd.read_csv(table)
    rows[rows["split"] == "test"].to_csv(table.with_name("part.csv"), index=False)
    request = {"table": str(table.with_name("part.csv")), "part": "test"}
    found = client.post("/evaluate?model=chords", json=request).json()
    report = json.loads((tag_run.report / "test.json").read_text())
    for name in ("f1_macro", "f1_micro", "average_precision_macro", "hamming_accuracy"):
        assert found["scores"][name] == pytest.approx(report[name], abs=1e-6), name
    assert found["intervals"]["f1_macro"] == pytest.approx(report["f1_macro_interval_95"])
    assert found["per_label"]["high"]["positives"] == report["per_label"]["high"]["positives"]


def test_tables_that_cannot_be_evaluated(client, genre_run, tmp_path):
    folder = genre_run.root.parent
    rows = pd.read_csv(folder / "metadata_ensemble.csv").drop_duplicates("track_id")
    cases = {
        "lacks.csv": (rows.drop(columns="genre"), 422, "lacks the column genre"),
        "unknown.csv": (rows.assign(genre="Polka"), 422, "'Polka'; small knows High, Low, Mid"),
        "many.csv": (pd.concat([rows, rows.assign(track_id=rows["track_id"] + 18)]), 413, "more than 18"),
        "lost.csv": (rows.assign(file_path=str(tmp_path / "x.wav")), 422, "none of 18 tracks"),
    }
    for name, (table, status, words) in cases.items():
        table.to_csv(folder / name, index=False)
        answer = client.post("/evaluate", json={"table": str(folder / name)})
        assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_tracks_outside_the_allowed_folders_are_left_out(client, genre_run, songs):
    table = genre_run.root.parent / "outside.csv"
    rows = pd.read_csv(genre_run.root.parent / "metadata_ensemble.csv").drop_duplicates("track_id")[:3]
    rows["file_path"] = [str(songs["low.wav"]), str(genre_run.root.parent / "none.wav"), rows["file_path"].iloc[2]]
    rows.to_csv(table, index=False)
    found = client.post("/evaluate", json={"table": str(table)}).json()
    assert (found["tracks"], found["left_out"]) == (1, {"not allowed": 2})
    assert [error["status"] for error in found["errors"]] == [404, 404]


def test_the_documentation_has_every_answer_with_an_example(client):
    document = client.get("/openapi.json").json()
    posts = {path: methods["post"] for path, methods in document["paths"].items() if "post" in methods}
    assert set(posts) == {"/predict", "/predict/stream", "/evaluate"}
    for post in posts.values():
        assert {"400", "401", "404", "413", "415", "422", "429", "503"} <= set(post["responses"])
        assert post["requestBody"]["content"] and post["security"]
    assert "application/json" in posts["/evaluate"]["requestBody"]["content"]
    for name in ("Answer", "FileResult", "Problem"):
        assert document["components"]["schemas"][name]["examples"]
    lines = posts["/predict/stream"]["responses"]["200"]["content"]["application/x-ndjson"]["example"]
    assert [line["kind"] for line in ndjson(lines)] == ["window", "file", "error", "end"]


def test_the_page_of_the_documentation_needs_nothing_else(client):
    """No script, and no address that a browser would open; every path, parameter and example is there."""
    answer = client.get("/docs")
    loaded = re.findall(r"(?:src|href|action|url)\s*[=(]\s*[\"']?([^\s\"'>)]+)", answer.text)
    assert answer.status_code == 200 and loaded == ["openapi.json"] and "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in answer.text
            assert all(f"<code>{one['name']}</code>" in answer.text for one in operation.get("parameters", []))
    assert "genres@3" in answer.text and "&#34;kind&#34;: &#34;end&#34;" in answer.text


# --- paths --------------------------------------------------------------------------------------------------


def test_no_path_leaves_the_allowed_folders(client, genre_run, songs, tmp_path):
    allowed = genre_run.root.parent / "audio"
    links = {"link.wav": songs["low.wav"], "folder": tmp_path, "loop.wav": allowed / "loop.wav"}
    for name, target in links.items():
        (allowed / name).symlink_to(target)
    climb = "/".join([".."] * 30)
    paths = [str(songs["low.wav"]), f"{allowed}/{climb}{songs['low.wav']}", "/etc/passwd", "", ".", "\x00", "x" * 4000]
    paths += [str(allowed / name) for name in links] + [f"{allowed}/folder/low.wav", "~", f"file://{allowed}"]
    try:
        for path in paths:
            for url, body in (("/predict/stream", {"path": path}), ("/evaluate", {"table": path})):
                answer = client.post(url, json=body)
                assert answer.status_code == 404 and set(answer.json()) == {"error", "what_to_do"}, (path, answer.text)
        lines = ndjson(client.post("/predict/stream", json={"path": str(allowed)}).text)
        assert [line["file"] for line in lines[:-1]] == [str(allowed / f"{number:06d}.wav") for number in range(18)]
    finally:
        for name in links:
            (allowed / name).unlink()


def test_what_is_outside_looks_like_what_is_not_there(client, songs, tmp_path):
    answers = [client.post("/predict/stream", json={"path": str(path)}) for path in (songs["low.wav"], tmp_path / "no")]
    texts = [answer.json()["error"].replace(str(tmp_path), "") for answer in answers]
    assert texts[0].replace("low.wav", "") == texts[1].replace("no'", "'")


def test_folders(client, genre_run):
    with pytest.raises(ConfigError, match="no such folder"):
        AllowedFolders(["nowhere"])
    answer = client.post("/predict/stream", json={"path": str(genre_run.root)})
    assert answer.status_code == 404 and "no audio" in answer.json()["error"]


# --- limits -------------------------------------------------------------------------------------------------


class Caller:
    """One request on the ASGI application itself, whose body comes in pieces; counts those that were taken."""

    def __init__(self, path: str, body, headers: dict[str, str] | None = None) -> None:
        raw = [(name.lower().encode(), value.encode()) for name, value in (headers or FORM).items()]
        self.scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": raw}
        self.body, self.taken, self.sent = iter(body), 0, []

    async def receive(self) -> dict:
        piece = next(self.body, None)
        if piece is None:
            await asyncio.Event().wait()
        self.taken += 1
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(self, message: dict) -> None:
        self.sent.append(message)

    async def call(self, app) -> tuple[int, dict]:
        await app(self.scope, self.receive, self.send)
        return self.sent[0]["status"], json.loads(self.sent[1]["body"])


def test_an_upload_is_cut_off_where_it_becomes_too_long(client):
    """Whatever it announced; the rest of it is not even taken."""
    start = multipart(b"a.wav", b"")[:-28]
    for announced in ({}, {"Content-Length": "10"}):
        caller = Caller("/predict", [start] + [bytes(100_000)] * 1000, FORM | announced)
        status, body = client.portal.call(caller.call, client.app)
        assert (status, body["error"]) == (413, "a request of more than 1 MB")
        assert caller.taken == 11
    caller = Caller("/predict", [start] * 1000, FORM | {"Content-Length": "99999999"})
    assert client.portal.call(caller.call, client.app)[0] == 413 and caller.taken == 0
    caller = Caller("/evaluate", [bytes(60_000)] * 1000)
    assert client.portal.call(caller.call, client.app)[0] == 413 and caller.taken == 2


@pytest.mark.parametrize("limits", [Limits(upload_seconds=0.05), Limits(silence_seconds=0.05)])
def test_an_upload_that_never_ends(genre_run, predictor, limits):
    with TestClient(create_app([LoadedRun("small", genre_run, predictor)], limits)) as client:
        status, body = client.portal.call(Caller("/predict", [b"--boundary-of-the-test"]).call, client.app)
        assert status == 408 and "0.05 s" in body["error"]
        assert not list(Path(client.app.state.folder).iterdir())


def test_requests_are_checked(client, songs):
    for url in ("/predict?top=0", "/predict?top=x", "/predict?windows=perhaps"):
        answer = client.post(url, files=files(songs["low.wav"]))
        assert answer.status_code == 422 and "query." in answer.json()["error"]
    for body in (b"", b"[", b'{"table": 1}', b'{"table": "a", "part": "all"}', b"[" * 50_000):
        answer = client.post("/evaluate", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422 and "send JSON such as" in answer.json()["what_to_do"]
    assert client.get("/nothing").json() == {"error": "Not Found", "what_to_do": "see /docs for what there is"}
    assert client.get("/predict").status_code == 405


def test_rate_is_a_bucket_of_tokens():
    """120 a minute: 120 at once, then one every half second; each client has its own."""
    now = [0.0]
    rate = TokenBuckets(120, lambda: now[0])
    assert [rate.wait("a") for _ in range(120)] == [0] * 120
    assert rate.wait("a") == pytest.approx(0.5) and rate.wait("b") == 0
    now[0] = 0.25
    assert rate.wait("a") == pytest.approx(0.25)
    now[0] = 0.5
    assert rate.wait("a") == 0 and rate.wait("a") == pytest.approx(0.5)
    assert TokenBuckets(0.5, lambda: 0.0).wait("a") == 0  # even the slowest may ask once
    now[0] = 1000
    assert [rate.wait("a") for _ in range(121)][119:] == [0, pytest.approx(0.5)]


def test_rate_forgets_the_client_that_was_silent_longest(monkeypatch):
    monkeypatch.setattr("scripts.apps.api.rate_limiter.CLIENTS", 2)
    rate = TokenBuckets(60, lambda: 0.0)
    for client in "abcb":
        rate.wait(client)
    assert list(rate.buckets) == ["c", "b"]


def test_a_client_that_asks_too_often(genre_run, predictor):
    with TestClient(create_app([LoadedRun("small", genre_run, predictor)], Limits(rate=2))) as client:
        answers = [client.get("/models") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 30 and answers[2].json()["what_to_do"].startswith("wait")
        assert client.get("/health").status_code == 200


def test_a_full_server_asks_to_come_back():
    """One place: the second request gets 503 at once, /health an answer, and a later request the place."""

    async def story() -> list[int]:
        free, entered, statuses = asyncio.Event(), asyncio.Event(), []

        async def app(scope, receive, send) -> None:
            entered.set()
            if scope["path"] != "/health":
                await free.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def call(path: str) -> dict:
            caller = Caller(path, [])
            await limiter(caller.scope, caller.receive, caller.send)
            statuses.append(caller.sent[0]["status"])
            return dict(caller.sent[0]["headers"])

        limiter = RateLimiter(app, Limits(requests=1))
        first = asyncio.create_task(call("/predict"))
        await entered.wait()
        assert (await call("/predict"))[b"retry-after"] == b"1"
        await call("/health")
        free.set()
        await first
        await call("/predict")
        return statuses

    assert asyncio.run(story()) == [503, 200, 200, 200]


def test_it_rests_when_no_request_has_come_for_a_while(monkeypatch):
    """Not in the pause between two requests, but after the last of them."""

    async def story() -> tuple[int, int]:
        async def app(*_) -> None:
            pass

        rested = []
        limiter = RateLimiter(app, Limits(), lambda: rested.append(1))
        for _ in range(3):
            monkeypatch.setattr("scripts.apps.api.rate_limiter.IDLE_SECONDS", 3600)
            await limiter(Caller("/predict", []).scope, None, None)
        monkeypatch.setattr("scripts.apps.api.rate_limiter.IDLE_SECONDS", 0)
        before = len(rested)
        await limiter(Caller("/predict", []).scope, None, None)
        while not rested:
            await asyncio.sleep(0)
        return before, len(rested)

    assert asyncio.run(story()) == (0, 1)


def test_a_reader_that_stops_is_dropped(monkeypatch):
    monkeypatch.setattr("scripts.apps.api.rate_limiter.READER_SECONDS", 0.01)

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def story() -> None:
        limiter = RateLimiter(SlowClientTimeout(app), Limits())
        with pytest.raises(TimeoutError):
            await limiter(Caller("/predict", []).scope, None, lambda _: asyncio.Event().wait())
        assert limiter.active.total() == 0

    asyncio.run(story())


def test_tokens(genre_run, predictor, songs):
    with TestClient(create_app([LoadedRun("small", genre_run, predictor)], token=TOKEN)) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            for answer in (
                client.get("/models", headers=headers),
                client.post("/predict", files=files(songs["low.wav"]), headers=headers),
                client.post("/evaluate", content=b"[", headers=headers),
            ):
                assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
                assert "Authorization: Bearer" in answer.json()["what_to_do"]
        assert client.get("/models", headers={"Authorization": b"Bearer \xff\xfe"}).status_code == 401
        assert client.get("/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/health").status_code == 200


def test_an_upload_without_a_token_is_not_read(genre_run, predictor):
    with TestClient(create_app([LoadedRun("small", genre_run, predictor)], token=TOKEN)) as client:
        caller = Caller("/predict", [bytes(1000)] * 10)
        assert client.portal.call(caller.call, client.app)[0] == 401 and caller.taken == 0


def test_a_server_without_a_token_answers_to_its_own_names_alone(genre_run, monkeypatch):
    """As it is started: DNS rebinding, and a page of another site."""
    started = []

    def keep(app) -> SimpleNamespace:
        return SimpleNamespace(run=lambda **_: started.append(app))

    monkeypatch.setattr("scripts.apps.api.server.make_server", keep)
    monkeypatch.delenv(api.TOKEN, raising=False)
    flags = ["--model", "small", "--runs", str(genre_run.root), "--port", "0"]
    for more in ([], ["--hosts", "music.example"], ["--token", TOKEN, "--host", "0.0.0.0"]):
        start(*flags, *more)
    local, named, open_to_all = map(TestClient, started)
    for path in ("/health", "/models", "/docs"):
        assert local.get(path, headers={"Host": "evil.example"}).status_code == 421
    post = {"Host": "localhost:8000", "Origin": "http://evil.example"}
    assert local.post("/evaluate", content=b"{}", headers=post).status_code == 403
    with local, named, open_to_all:
        assert local.get("/models", headers={"Host": "localhost:8000"}).status_code == 200
        assert named.get("/models", headers={"Host": "music.example"}).status_code == 200
        assert open_to_all.get("/health", headers={"Host": "any.example"}).status_code == 200


def test_a_stream_whose_client_goes_is_ended(client):
    """At once and with all that it holds, though its answer is not garbage yet."""
    ended = []

    async def results():
        try:
            while True:
                yield StreamedWindow(file="a", start=0, end=1, probabilities={})
        finally:
            ended.append(True)

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    async def story() -> None:
        answer = Lines(lines(client.app.state.models["small"], results()))
        with pytest.raises(OSError, match="gone"):
            await answer.stream_response(send)
        assert ended == [True]

    client.portal.call(story)


@pytest.mark.parametrize("names", [["01", "None", "True"], ["1e3", "", "nan;x"], [0, 1, 2]])
def test_class_names_of_any_text(genre_run, songs, tmp_path, names):
    """They come out as they are; those of runs that were stored as numbers, as text."""
    run = copy_run(genre_run, tmp_path / "run")
    config = json.loads(run.config_path.read_text()) | {"classes": names}
    run.config_path.write_text(json.dumps(config))
    texts = [str(name) for name in names]
    audio = sorted((genre_run.root.parent / "audio").iterdir())[:6]
    rows = {"track_id": range(6), "file_path": audio, "genre": texts * 2}  # High, Low and Mid in turn
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    loaded = [LoadedRun("small", run, Predictor(run, longest=20))]
    with TestClient(create_app(loaded, folders=AllowedFolders([tmp_path, audio[0].parent]))) as client:
        assert client.get("/models").json()[0]["labels"] == texts
        [result] = client.post("/predict", files=files(songs["low.wav"])).json()["results"]
        assert result["found"] == [texts[1]] and set(result["probabilities"]) == set(texts)
        lines = ndjson(client.post("/predict/stream", files=files(songs["low.wav"])).text)
        assert lines[-2]["found"] == [texts[1]]
        if "" not in names:
            answer = client.post("/evaluate", json={"table": str(tmp_path / "table.csv")}).json()
            assert answer["scores"]["track_accuracy"] == 1 and set(answer["per_label"]) == set(texts)


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("a secret /path"), 500), (OSError(28, "No space left on device"), 503)]
)
def test_what_goes_wrong_inside_is_told_to_the_log_alone(genre_run, predictor, songs, monkeypatch, error, status):
    async def fail(*_) -> None:
        raise error

    monkeypatch.setattr(Model, "predict", fail)
    app = create_app([LoadedRun("small", genre_run, predictor)])
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post("/predict", files=files(songs["low.wav"]))
        assert answer.status_code == status and set(answer.json()) == {"error", "what_to_do"}
        assert "secret" not in answer.text and "Traceback" not in answer.text
        assert not list(Path(client.app.state.folder).iterdir())


# --- newer versions -----------------------------------------------------------------------------------------


def answered(client, song: Path) -> tuple[str, str, str]:
    """Who answers, and whether it knows genres or chords."""
    answer = client.post("/predict", files=files(song)).json()
    labels = answer["results"][0]["probabilities"]
    return answer["model"], answer["version"], "genres" if "Low" in labels else "chords"


def test_a_promoted_version_takes_over(genre_run, tag_run, songs, tmp_path, monkeypatch, caplog):
    """By name@stage and without any reference; not by a number; a registry that is damaged changes nothing."""
    song, where = songs["low.wav"], str(tmp_path / "registry")
    registry = Registry(where)
    registry.add(genre_run, "m", "production")
    loaded = load(["m@production", None, "m@1"], tmp_path, where, 20)
    assert [one.name for one in loaded] == ["m@production", "m@production", "m@1"]
    app = create_app(loaded, newer=partial(load_newer, runs=tmp_path, registry=where))
    with TestClient(app) as client:
        assert answered(client, song) == ("m@production", "m@1", "genres")
        registry.add(tag_run, "m", "staging")
        client.portal.call(app.state.refresh)
        assert answered(client, song) == ("m@production", "m@1", "genres")
        registry.promote("m@2", "production")
        client.portal.call(app.state.refresh)
        assert answered(client, song) == ("m@production", "m@2", "chords")
        assert [model["version"] for model in client.get("/models").json()] == ["m@2", "m@1"]
        [line] = ndjson(client.post("/predict/stream", files=files(song)).text)[-1:]
        assert (line["model"], line["version"]) == ("m@production", "m@2")
        (tmp_path / "registry" / "models" / "m" / "stages.json").write_text("{")
        with pytest.raises(ConfigError, match="damaged"):
            client.portal.call(app.state.refresh)
        assert answered(client, song) == ("m@production", "m@2", "chords")


def test_a_request_goes_on_with_the_model_that_it_began_with(genre_run, tag_run, predictor, songs):
    """A new model comes while a stream of the old one is half read."""
    newer = [LoadedRun("m", tag_run, Predictor(tag_run, longest=20))]
    app = create_app([LoadedRun("m", genre_run, predictor)], newer=lambda loaded: newer.pop() if newer else None)

    async def story(app) -> list:
        model = app.state.models["m"]
        results = follow_files(model, [Upload("low.wav", songs["low.wav"])] * 2, 3)
        first = await anext(results)
        await app.state.refresh()
        assert app.state.models["m"] is not model
        return [first, *[one async for one in results]]

    with TestClient(app) as client:
        results = client.portal.call(story, app)
        assert {name for one in results for name in one.probabilities} == set(GENRES)
        assert client.get("/models").json()[0]["version"] == "chords"


# --- batches ------------------------------------------------------------------------------------------------


def batched(story, function, **settings):
    """The result of `story(batcher)` while the batcher works, and the sizes of its batches."""
    sizes = []

    def call(items: np.ndarray) -> np.ndarray:
        sizes.append(len(items))
        return function(items)

    async def run():
        with ThreadPoolExecutor(1) as pool:
            return await story(Batcher(call, pool, **settings))

    return asyncio.run(run()), sizes


def test_callers_share_batches_and_get_their_own_results():
    async def story(batcher):
        return await asyncio.gather(*(batcher(np.full((3, 2), number)) for number in range(16)))

    results, sizes = batched(story, lambda items: items.sum(axis=1) + 1, max_items=12, max_wait=60)
    assert [result.tolist() for result in results] == [[2 * number + 1] * 3 for number in range(16)]
    assert sizes == [12] * 4


def test_a_batch_goes_when_its_first_item_has_waited():
    limits = {"max_items": 10, "max_wait": 0.01}
    results, sizes = batched(lambda batcher: batcher(np.ones((2, 1))), lambda items: items[:, 0], **limits)
    assert results.tolist() == [1, 1] and sizes == [2]


def test_an_error_or_a_caller_that_leaves_does_not_stop_the_others():
    def function(items: np.ndarray) -> np.ndarray:
        if (items < 0).any():
            raise ValueError("negative")
        return items

    async def story(batcher):
        leaving = asyncio.create_task(batcher(np.ones(1)))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(ValueError, match="negative"):
            await batcher(np.array([-1.0]))
        return await batcher(np.array([5.0]))

    assert batched(story, function, max_items=1)[0].tolist() == [5]


def test_map_ahead_keeps_the_order_and_the_number_under_way():
    running, most = set(), []

    async def work(number: int) -> int:
        running.add(number)
        most.append(len(running))
        for _ in range(10 - number):
            await asyncio.sleep(0)
        running.remove(number)
        return number

    async def story() -> list[int]:
        return [one async for one in map_ahead(work, range(10), 3)]

    assert asyncio.run(story()) == list(range(10)) and max(most) == 3


def test_parallel_requests_get_what_single_ones_get(client, songs):
    expected = {name: client.post("/predict", files=files(songs[name])).json() for name in ("low.wav", "high.wav")}
    names = ["low.wav", "high.wav"] * 8
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda name: client.post("/predict", files=files(songs[name])), names)
        for name, answer in zip(names, answers, strict=True):
            found, wanted = answer.json()["results"][0], expected[name]["results"][0]
            assert found["probabilities"] == pytest.approx(wanted["probabilities"], abs=2e-3)


# --- start and stop -----------------------------------------------------------------------------------------


def start(*arguments: str) -> None:
    api.main(list(arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "there is no token"),
        (["--token", "short"], "it needs 16 or more"),
        (["--token", ""], "it needs 16 or more"),
        (["--host", "a..b", "--token", TOKEN], "give an address of this machine"),
        (["--port", "70000"], "not a port"),
        (["--rate", "0"], "not a number above 0"),
        (["--runs", "nowhere", "--model", "fma_cnn_3s"], "no run in nowhere"),
        (["--runs", "nowhere"], "train one first"),
        (["--allow", "nowhere"], "no such folder"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(arguments, words, refusal, monkeypatch):
    monkeypatch.delenv("AUDIO_REGISTRY", raising=False)
    monkeypatch.delenv(api.TOKEN, raising=False)
    assert words in refusal(start, "--port", "0", *arguments)


def test_a_taken_port_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as stopped:
        start("--port", str(taken.getsockname()[1]))
    assert stopped.value.code == 2 and "Address already in use; stop what runs there" in capsys.readouterr().err


def test_a_missing_package_is_one_line(monkeypatch, refusal):
    for name in [name for name in sys.modules if name.startswith("scripts.apps.api.") and name != api.__name__]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("scripts.apps.api.server")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert "needs the package fastapi" in refusal(start, "--port", "0")


def test_a_stopped_server_finishes_what_runs(genre_run, songs, tmp_path):
    """SIGTERM in the middle of an upload: the rest is taken, the answer comes, and nothing is left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "scripts", "api", "--model", "small", "--runs", genre_run.root, "--port", "0"]
    settings = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", api.TOKEN: TOKEN}
    with subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True) as server:
        port = int(re.search(r":(\d+) ", server.stdout.readline()).group(1))
        body = multipart(b"low.wav", songs["low.wav"].read_bytes())
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            head += f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body)}\r\n"
            connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
            connection.sendall(body[:30_000])
            server.send_signal(signal.SIGTERM)
            assert any("Waiting for connections to close" in line for line in server.stdout) and refused(port)
            connection.sendall(body[30_000:])
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200") and b'"found":["Low"]' in answer
        assert "Traceback" not in server.stdout.read()
    assert server.returncode == -signal.SIGTERM and not list(temporary.iterdir())


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False
