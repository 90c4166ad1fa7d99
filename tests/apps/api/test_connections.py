"""Connections on which nothing comes: they do not keep others out, and do not stay."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from scripts.apps.api import connections
from scripts.apps.api.server import create_app, make_server


@pytest.fixture
def port() -> Iterator[int]:
    """Of a real server, without models."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(create_app([]))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def health(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        return connection.getresponse().status


def is_dropped(one: socket.socket) -> bool:
    """Waits for it."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def read_to_end(one: socket.socket) -> bytes:
    """All that comes until the server drops the connection; waits for it."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := one.recv(4096):
            received += piece
    return received


def test_half_open_connections_shut_nobody_out(port, monkeypatch):
    """Three times as many as there may be: the oldest make room, and /health is answered all the while."""
    monkeypatch.setattr(connections, "CONNECTIONS", 8)
    with contextlib.ExitStack() as stack:
        burst = [stack.enter_context(connect(port)) for _ in range(24)]
        assert health(port) == 200
        assert all(is_dropped(one) for one in burst[:16])
        idle = [stack.enter_context(connect(port)) for _ in range(8)]
        for one in idle:
            one.sendall(b"GET /health HT")
        assert health(port) == 200
        for _ in range(16):
            stack.enter_context(connect(port)).sendall(b"G")
            assert health(port) == 200
        assert all(is_dropped(one) for one in idle)


def test_the_client_with_most_idle_connections_makes_room(port, monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS", 8)
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60, source_address=("127.0.0.2", 0)))
        for _ in range(20):
            stack.enter_context(connect(port))
            assert health(port) == 200
        other.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert other.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET /hea", b""),
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12", b"HTTP/1.1 404"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nG", b"HTTP/1.1 200"),
    ],
)
def test_a_connection_on_which_nothing_comes_is_dropped(port, monkeypatch, sent, answer):
    """Before its request, in the middle of the head, in the middle of a refused body, and before the next request."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    with connect(port) as one:
        one.sendall(sent)
        assert read_to_end(one)[:12] == answer


def test_a_request_that_takes_longer_is_not_dropped(port, monkeypatch):
    """Its head is there: the time for heads does not count for the body."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.05)
    with connect(port) as one, connect(port) as idle:
        one.sendall(b"POST /evaluate HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        assert is_dropped(idle)
        one.sendall(b"{}x")
        assert one.recv(12) == b"HTTP/1.1 500"  # there is no model
