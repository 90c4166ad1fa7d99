"""Sounds that people upload to a page on Gradio: deleted once they are answered, or kept where that was allowed."""

import asyncio
import json
import shutil
import threading
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scripts.audio.decoding import SUFFIXES
from scripts.common.storage import write_aside, write_json
from scripts.inference.predictor import Prediction

CONSENT = "The project may keep this sound and use it to train and test its models."
LONGEST_UPLOAD = 600.0  # s
LONGEST_WAIT = 1800.0  # s from upload to answer; whoever asks for none by then has gone
contributions_lock = threading.Lock()


class UploadTracker:
    """Knows the uploads of each file that wait for an answer: Gradio stores equal files once, whoever they are from.

    `Middleware(tracker.watch)` puts it before the page's server.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is Gradio's, for uploads alone: whatever else lies there is deleted."""
        self.folder, self.lock, self.running = folder, threading.Lock(), 0
        self.waiting: dict[str, list[float]] = {}  # when each file was uploaded

    def watch(self, app: ASGIApp) -> ASGIApp:
        """The same server, of which the uploads are tracked."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"].endswith("/upload"):
                await self.track(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return watched

    async def track(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on, and note the paths that the server answers with."""
        status, body = 0, b""

        async def note_paths(message: Message) -> None:
            nonlocal status, body
            status, body = message.get("status", status), body + message.get("body", b"")
            if status == 200 and message["type"] == "http.response.body" and not message.get("more_body"):
                self.add(json.loads(body))
            await send(message)

        with self.lock:
            self.running += 1
        try:
            async with asyncio.timeout(LONGEST_UPLOAD):
                await app(scope, receive, note_paths)
        except ClientDisconnect:
            pass
        except TimeoutError:
            if not status:
                await PlainTextResponse(f"it took longer than {LONGEST_UPLOAD:g} s", 408)(scope, receive, send)
        finally:
            with self.lock:
                self.running -= 1
            self.sweep()

    def add(self, paths: list[str]) -> None:
        with self.lock:
            for path in paths:
                self.waiting.setdefault(path, []).append(time.monotonic())

    def has(self, path: str) -> bool:
        """Somebody uploaded this file, and it waits for its answer."""
        return bool(self.waiting.get(path))

    def finish(self, path: str) -> None:
        """One upload of the file is answered; after the last of them it is deleted."""
        with self.lock:
            self.forget_old()
            if self.waiting.get(path):
                self.waiting[path].pop()
        self.sweep()

    def forget_old(self) -> None:
        recent = time.monotonic() - LONGEST_WAIT
        for times in self.waiting.values():
            times[:] = [moment for moment in times if moment > recent]

    def sweep(self) -> None:
        """Delete what nobody waits for, unless an upload is under way: it may be putting the same file there again."""
        with self.lock:
            if self.running:
                return
            self.forget_old()
            self.waiting = {path: times for path, times in self.waiting.items() if times}
            needed = {Path(path).parent.name for path in self.waiting}
            for entry in self.folder.iterdir():
                if entry.is_file():  # of an upload that broke off
                    entry.unlink()
                elif entry.name not in needed:
                    shutil.rmtree(entry, ignore_errors=True)


def keep(path: str | Path, folder: Path, model: str, prediction: Prediction) -> Path:
    """Copy a sound into `folder`, named by its content, with a note (.json) of the consent and the prediction."""
    path = Path(path)
    suffix = path.suffix.lower() if path.suffix.lower() in SUFFIXES else ""
    with contributions_lock:
        kept = folder / f"{sha256(path.read_bytes()).hexdigest()[:16]}{suffix}"
        with write_aside(kept) as temporary:
            shutil.copyfile(path, temporary)
        note = {
            "name": path.name,
            "received": datetime.now(UTC).isoformat(timespec="seconds"),
            "consent": CONSENT,
            "model": model,
            "seconds": round(prediction.seconds, 3),
            "labels": prediction.labels,
            "probabilities": {label: round(value, 4) for label, value in prediction.top(5)},
        }
        write_json(kept.with_suffix(".json"), note)
    return kept
