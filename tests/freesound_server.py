"""A server on this machine that speaks Freesound's protocol, and fails on demand.

The protocol is that of https://freesound.org/docs/api/: a token in the Authorization header, /apiv2/search/ with query,
filter, sort, fields, page and page_size, answers in pages with a link to the next one, errors as {"detail": ...}. The
previews need no token.
"""

import io
import json
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import soundfile

TOKEN = "s3cr3t-token"
SEARCH = "/apiv2/search/"
LIMIT = "Request was throttled because of exceeding a request limit rate (60/minute)"
STEP = 1000  # bytes that an endless answer sends at a time

Answer = Callable[["Handler"], None]


def ogg(hertz: float = 440.0, seconds: float = 2.0, rate: int = 8000, level: float = 0.3) -> bytes:
    """A tone as Ogg Vorbis."""
    buffer = io.BytesIO()
    tone = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    soundfile.write(buffer, tone, rate, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


class FreesoundServer(ThreadingHTTPServer):
    """Sounds by id with their previews, and what to answer instead, request after request, by path."""

    daemon_threads, block_on_close = True, False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.sounds: dict[int, dict] = {}
        self.previews: dict[int, bytes] = {}
        self.instead: dict[str, deque[Answer]] = defaultdict(deque)
        self.requests: list[tuple[str, str | None]] = []  # path with query, Authorization
        self.finished = threading.Event()

    def __enter__(self) -> "FreesoundServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finished.set()
        self.shutdown()
        self.server_close()

    def add(self, number: int, audio: bytes, day: int = 1, seconds: float = 2.0) -> None:
        """A sound of this id, of a day of May 2024."""
        self.previews[number] = audio
        self.sounds[number] = {
            "id": number,
            "name": f"sound {number}.wav",
            "username": f"user{number}",
            "license": "http://creativecommons.org/publicdomain/zero/1.0/",
            "created": f"2024-05-{day:02d}T10:00:00",
            "url": f"https://freesound.org/people/user{number}/sounds/{number}/",
            "duration": seconds,
            "tags": ["tone"],
            "previews": {"preview-hq-ogg": f"{self.url}{preview(number)}"},
        }

    def fail(self, path: str, *answers: Answer) -> None:
        """Answer the next requests for a path so."""
        self.instead[path].extend(answers)

    def asked(self, path: str) -> int:
        """How many requests a path has had."""
        return sum(urlsplit(target).path == path for target, _ in self.requests)


def preview(number: int) -> str:
    return f"/previews/{number}/{number}_7-hq.ogg"


class Handler(BaseHTTPRequestHandler):
    server: FreesoundServer

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Authorization")))
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if self.server.instead[path]:
            self.server.instead[path].popleft()(self)
        elif path == SEARCH:
            self.search({name: values[-1] for name, values in query.items()})
        elif re.fullmatch(r"/previews/(\d+)/\1_7-hq\.ogg", path) and int(path.split("/")[2]) in self.server.previews:
            self.send(200, self.server.previews[int(path.split("/")[2])])
        else:
            self.send_detail(404, "Not found")

    def search(self, query: dict[str, str]) -> None:
        if self.headers.get("Authorization") != f"Token {TOKEN}":
            return self.send_detail(401, "Invalid token")
        size, page = min(int(query.get("page_size", 15)), 150), int(query.get("page", 1))
        found = self.filtered(query["filter"])
        if query["sort"] == "created_desc":
            found.sort(key=lambda sound: sound["created"], reverse=True)
        part = found[(page - 1) * size : page * size]
        if found and not part:
            return self.send_detail(404, "Not found")
        more = (
            f"{self.server.url}{SEARCH}?{urlencode(query | {'page': page + 1})}" if page * size < len(found) else None
        )
        fields = query.get("fields", "id,name,tags,username,license").split(",")
        results = [{name: sound[name] for name in fields} for sound in part]
        return self.send_json({"count": len(found), "next": more, "previous": None, "results": results})

    def filtered(self, text: str) -> list[dict]:
        low, high = map(float, re.fullmatch(r"duration:\[([\d.]+) TO ([\d.]+)\]", text).groups())
        return [sound for sound in self.server.sounds.values() if low <= sound["duration"] <= high]

    def send_json(self, data: object, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(data).encode(), **headers)

    def send_detail(self, status: int, detail: str, **headers: str) -> None:
        self.send_json({"detail": detail}, status, **headers)

    def send(self, status: int, body: bytes, sent: int | None = None, **headers: str) -> None:
        """The whole body, or only the first `sent` bytes of what the header announces."""
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, *_: object) -> None:
        pass


# --- what can go wrong --------------------------------------------------------------------------------------


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.send_detail(code, LIMIT if code == 429 else "Something", **headers)


def body(content: bytes, **headers: str) -> Answer:
    return lambda handler: handler.send(200, content, **headers)


def redirect(url: str) -> Answer:
    return lambda handler: handler.send(302, b"", Location=url)


def truncated(handler: Handler) -> None:
    """Half of what is announced."""
    handler.send(200, ogg(), sent=len(ogg()) // 2)


def silent(handler: Handler) -> None:
    """Not a byte, until the server stops or the client has gone."""
    handler.server.finished.wait()


def endless(handler: Handler) -> None:
    """More and more, without an announced length, until the client hangs up."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while not handler.server.finished.is_set():
            handler.wfile.write(bytes(STEP))
    except OSError:
        handler.close_connection = True


def huge(handler: Handler) -> None:
    """Announces a terabyte."""
    handler.send(200, b"x", Content_Length=str(2**40))
