"""Who may use the apps: passwords and tokens, names of hosts, and pages of other sites."""

import os
import socket

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from scripts.apps import flags
from scripts.apps.access import PASSWORD, TOKEN, Access, KnownHosts, check_secret, is_loopback
from scripts.apps.gradio_settings import launch_settings
from scripts.apps.monitor import __main__ as monitor
from scripts.apps.try_it import __main__ as try_it
from scripts.common.errors import ConfigError

SECRET = "a-secret-of-the-tests"


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.add_middleware(KnownHosts, hosts=["music.example"])
    app.add_api_route("/", lambda: "in", methods=["GET", "POST"])
    return TestClient(app)


HERE = ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "Music.Example"]
ELSEWHERE = [
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.1", "[::2]", "[", "", "a b")
]


@pytest.mark.parametrize("host", HERE)
def test_hosts_that_are_known(client, host):
    assert client.get("/", headers={"Host": host}).json() == "in"
    assert client.post("/", headers={"Host": host, "Origin": f"http://{host}"}).json() == "in"


@pytest.mark.parametrize("host", ELSEWHERE)
def test_hosts_that_are_not(client, host):
    """DNS rebinding: a page's own name, which points here."""
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        answer = client.post("/", headers=headers)
        assert answer.status_code == 421 and set(answer.json()) == {"error", "what_to_do"}


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9000", "http://[", "https://localhost"]
)
def test_posts_of_other_sites_pages(client, origin):
    answer = client.post("/", headers={"Host": "127.0.0.1:8000", "Origin": origin})
    assert answer.status_code == 403 and "page of" in answer.json()["error"]


def test_a_proxy_that_passes_another_host_on(client):
    """Its name is known by --hosts; the header Host is that of the address behind it."""
    headers = {"Host": "127.0.0.1:8000", "Origin": "https://music.example"}
    assert client.post("/", headers=headers).json() == "in"


def test_where_a_secret_is_needed():
    for host in ("127.0.0.1", "127.0.0.5", "::1", "localhost"):
        check_secret(None, host, "password", PASSWORD)
    for host in ("0.0.0.0", "::", "192.168.1.5", "myhost", "localhost.example"):
        with pytest.raises(ConfigError, match=f"no password; give one in the variable {PASSWORD} or with --password"):
            check_secret(None, host, "password", PASSWORD)
        check_secret(SECRET, host, "password", PASSWORD)
    for weak in ("", "short", "ä" * 20, "a\n" * 20):
        with pytest.raises(ConfigError, match="it needs 16 or more"):
            check_secret(weak, "127.0.0.1", "password", PASSWORD)


def test_which_hosts_are_checked():
    """All where nothing else keeps strangers out."""
    assert Access("127.0.0.1", 1, None, []).known_hosts == []
    assert Access("0.0.0.0", 1, SECRET, []).known_hosts is None
    assert Access("0.0.0.0", 1, SECRET, ["a"]).known_hosts == ["a"]
    assert not is_loopback("127.0.0.1.nip.io")


@pytest.mark.parametrize("command", [monitor, try_it])
@pytest.mark.parametrize(("more", "words"), [([], "there is no password"), (["--password", "x"], "it needs 16")])
def test_pages_do_not_start_for_everybody(command, more, words, tmp_path, monkeypatch, refusal):
    monkeypatch.delenv(PASSWORD, raising=False)
    monkeypatch.chdir(tmp_path)
    assert words in refusal(command.main, ["--host", "0.0.0.0", "--port", "7999", *more])


def test_secrets_come_from_the_environment(monkeypatch):
    monkeypatch.setattr(os, "environ", {PASSWORD: "of pages", TOKEN: "of the api"})
    assert flags.monitor([]).password == flags.try_it([]).password == "of pages"
    assert flags.api([]).token == "of the api"


def test_a_page_with_a_password(tmp_path):
    """Nothing of it before the login: no page, file, upload or event; and a secret that is wrong does not help."""
    (tmp_path / "secret.txt").write_text("secret")
    with gr.Blocks() as page:
        gr.Button("x").click(lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = launch_settings(Access("127.0.0.1", port, SECRET, []))
    page.launch(allowed_paths=[str(tmp_path)], **settings)
    event = {"fn_index": 0, "data": [], "session_hash": "a"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            asked = [
                client.get("/config"),
                client.get(f"/gradio_api/file={tmp_path}/secret.txt"),
                client.post("/gradio_api/upload", files={"files": b"x"}),
                client.post("/gradio_api/queue/join", json=event),
            ]
            assert [answer.status_code for answer in asked] == [401] * 4
            assert client.post("/login", data={"username": "a", "password": "wrong"}).status_code == 400
            assert client.post("/login", data={"username": "a", "password": SECRET}).status_code == 200
            assert client.get(f"/gradio_api/file={tmp_path}/secret.txt").text == "secret"
            assert client.post("/gradio_api/queue/join", json=event).status_code == 200
    finally:
        page.close(verbose=False)


def test_a_page_without_a_password_is_for_this_machine_alone(tmp_path):
    settings = launch_settings(Access("127.0.0.1", 1, None, []))
    [guard] = settings["app_kwargs"]["middleware"]
    assert (guard.cls, settings["auth"]) == (KnownHosts, None)
