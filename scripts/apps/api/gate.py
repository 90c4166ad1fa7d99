"""Who comes in: requests at a time and per minute, before anything of them is read, and the token."""

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable

from fastapi.security import HTTPAuthorizationCredentials
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scripts.apps.api.errors import Refusal
from scripts.apps.api.limits import Limits

OPEN = ("/health",)  # answered at once, whatever goes on
CLIENTS = 10_000  # whose requests are counted; the one that was silent longest is forgotten first
READER_SECONDS = 60  # after which a client that does not read its answer is dropped
QUIET_SECONDS = 2  # without a request, after which the server rests


class Rate:
    """Requests per minute of each client: a bucket of so many tokens, which fills up evenly."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self.per_minute, self.most, self.clock = per_minute, max(1.0, per_minute), clock
        self.buckets: dict[str, tuple[float, float]] = {}  # client -> tokens, and when they were counted

    def wait(self, client: str) -> float:
        """Seconds until the client may ask; if 0, one of its tokens has been taken."""
        now, speed = self.clock(), self.per_minute / 60
        tokens, then = self.buckets.pop(client, (self.most, now))
        tokens = min(self.most, tokens + (now - then) * speed)
        allowed = tokens >= 1
        self.buckets[client] = tokens - allowed, now
        if len(self.buckets) > CLIENTS:
            del self.buckets[next(iter(self.buckets))]
        return 0.0 if allowed else (1 - tokens) / speed


class Gate:
    """ASGI middleware that turns requests away before anything of them is read."""

    def __init__(self, app: ASGIApp, limits: Limits, rest: Callable[[], None] = lambda: None) -> None:
        """`rest` is called when there has been no request for a while after some."""
        self.app, self.limits, self.rate, self.rest = app, limits, Rate(limits.rate), rest
        self.inside: Counter[str] = Counter()  # requests of each client
        self.pause: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            return await self.app(scope, receive, send)
        client = (scope.get("client") or ("",))[0]
        refusal = self.refusal(client)
        if refusal:
            return await refusal.response()(scope, receive, send)
        self.inside[client] += 1
        if self.pause:
            self.pause.cancel()
        try:
            return await self.app(scope, receive, impatient(send))
        finally:
            self.inside[client] -= 1
            self.inside += Counter()  # without those that have none
            if not self.inside:
                self.pause = asyncio.get_running_loop().call_later(QUIET_SECONDS, self.rest)

    def refusal(self, client: str) -> Refusal | None:
        """Why another request of this client may not come in now, if so."""
        wait = self.rate.wait(client)
        if wait:
            again = {"Retry-After": str(math.ceil(wait))}
            return Refusal(429, f"more than {self.limits.rate:g} requests a minute", f"wait {wait:.1f} s", again)
        most, share = self.limits.requests, math.ceil(self.limits.requests / 2)
        if self.inside.total() >= most or self.inside[client] >= share:
            error = f"all {most} places of this server are taken, or {share} by you alone"
            return Refusal(503, error, "try again in a second", {"Retry-After": "1"})
        return None


def impatient(send: Send) -> Send:
    """The same, but a TimeoutError if the client takes too long to read: it would hold its place for ever."""

    async def send_soon(message: Message) -> None:
        async with asyncio.timeout(READER_SECONDS):
            await send(message)

    return send_soon


def check_credentials(token: str | None, given: HTTPAuthorizationCredentials | None) -> None:
    """Let in who gives the token; raises a Refusal (401) otherwise. Without a token everyone may come in."""
    if token is None:
        return
    if given is None or not secrets.compare_digest(given.credentials.encode(), token.encode()):
        error = "no token" if given is None else "wrong token"
        remedy = "send the header 'Authorization: Bearer TOKEN' with the token that the server was started with"
        raise Refusal(401, error, remedy, {"WWW-Authenticate": "Bearer"})
