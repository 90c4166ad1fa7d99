"""Sounds that people upload to a page on Gradio: deleted once they are answered, or kept where that was allowed."""

import json
import os
import shutil
import threading
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scripts.audio.decoding import SUFFIXES
from scripts.common.storage import write_aside, write_json
from scripts.inference.predictor import Prediction

CONSENT = "The project may keep this sound and use it to train and test its models."
keeping = threading.Lock()


class Uploads:
    """Counts the uploads of each file that wait for an answer: Gradio stores equal files once, whoever they are from.

    `Middleware(uploads.watch)` puts it before the page's server. What nobody asks about is left to Gradio's
    `delete_cache`.
    """

    def __init__(self) -> None:
        self.lock, self.running, self.waiting, self.answered = threading.Lock(), 0, Counter(), set()

    def watch(self, app: ASGIApp) -> ASGIApp:
        """The same server, of which the uploads are counted."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"].endswith("/upload"):
                await self.count(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return watched

    async def count(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on, and count the paths that the server answers with."""
        status, body = 0, b""

        async def listen(message: Message) -> None:
            nonlocal status, body
            status, body = message.get("status", status), body + message.get("body", b"")
            if status == 200 and message["type"] == "http.response.body" and not message.get("more_body"):
                self.add(json.loads(body))
            await send(message)

        with self.lock:
            self.running += 1
        try:
            await app(scope, receive, listen)
        finally:
            with self.lock:
                self.running -= 1
            self.sweep()

    def add(self, paths: list[str]) -> None:
        with self.lock:
            self.waiting.update(map(os.path.realpath, paths))

    def has(self, path: str | Path) -> bool:
        """Somebody uploaded this file, and it waits for its answer."""
        return self.waiting[os.path.realpath(path)] > 0

    def finish(self, path: str | Path) -> None:
        """One upload of the file is answered; after the last of them it is deleted."""
        real = os.path.realpath(path)
        with self.lock:
            if self.waiting[real]:
                self.waiting[real] -= 1
                self.answered.add(real)
        self.sweep()

    def sweep(self) -> None:
        """Delete what is answered, unless an upload is under way: it may be putting the same file there again."""
        with self.lock:
            if self.running:
                return
            for path in self.answered:
                if not self.waiting[path]:
                    del self.waiting[path]
                    shutil.rmtree(Path(path).parent, ignore_errors=True)
            self.answered.clear()


def keep(path: str | Path, folder: Path, model: str, prediction: Prediction) -> Path:
    """Copy a sound into `folder`, named by its content, with a note (.json) of the consent and of what was heard."""
    path = Path(path)
    suffix = path.suffix.lower() if path.suffix.lower() in SUFFIXES else ""
    with keeping:
        kept = folder / f"{sha256(path.read_bytes()).hexdigest()[:16]}{suffix}"
        with write_aside(kept) as temporary:
            shutil.copyfile(path, temporary)
        write_json(kept.with_suffix(".json"), note(path.name, model, prediction))
    return kept


def note(name: str, model: str, prediction: Prediction) -> dict:
    """What stands beside a sound that was kept."""
    return {
        "name": name,
        "received": datetime.now(UTC).isoformat(timespec="seconds"),
        "consent": CONSENT,
        "model": model,
        "seconds": round(prediction.seconds, 3),
        "found": prediction.found,
        "probabilities": {name: round(value, 4) for name, value in prediction.top(5)},
    }
