"""Limits before anything of a request is read: requests at a time and per minute, and slow readers."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scripts.apps.api.errors import ApiError
from scripts.apps.api.limits import Limits

OPEN = ("/health",)  # answered at once, whatever goes on
CLIENTS = 10_000  # whose requests are counted; the one that was silent longest is forgotten first
READER_SECONDS = 60  # after which a client that does not read its answer is dropped
IDLE_SECONDS = 2  # without a request, after which the server is idle


class TokenBuckets:
    """Requests per minute of each client: a bucket of so many tokens, which fills up evenly."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self.per_minute, self.capacity, self.clock = per_minute, max(1.0, per_minute), clock
        self.buckets: dict[str, tuple[float, float]] = {}  # client -> tokens, and when they were counted

    def wait(self, client: str) -> float:
        """Seconds until the client may ask; if 0, one of its tokens has been taken."""
        now, speed = self.clock(), self.per_minute / 60
        tokens, then = self.buckets.pop(client, (self.capacity, now))
        tokens = min(self.capacity, tokens + (now - then) * speed)
        allowed = tokens >= 1
        self.buckets[client] = tokens - allowed, now
        if len(self.buckets) > CLIENTS:
            del self.buckets[next(iter(self.buckets))]
        return 0.0 if allowed else (1 - tokens) / speed


class RateLimiter:
    """ASGI middleware that turns requests away before anything of them is read."""

    def __init__(self, app: ASGIApp, limits: Limits, on_idle: Callable[[], None] = lambda: None) -> None:
        """`on_idle` is called when there has been no request for a while after some."""
        self.app, self.limits, self.rate, self.on_idle = app, limits, TokenBuckets(limits.rate), on_idle
        self.active: Counter[str] = Counter()  # requests of each client
        self.idle_timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            return await self.app(scope, receive, send)
        client = (scope.get("client") or ("",))[0]
        refusal = self.refusal(client)
        if refusal:
            return await refusal.response()(scope, receive, send)
        self.active[client] += 1
        if self.idle_timer:
            self.idle_timer.cancel()
        try:
            return await self.app(scope, receive, send)
        finally:
            self.active[client] -= 1
            self.active += Counter()  # without those that have none
            if not self.active:
                self.idle_timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.on_idle)

    def refusal(self, client: str) -> ApiError | None:
        """Why another request of this client may not come in now, if so."""
        wait = self.rate.wait(client)
        if wait:
            again = {"Retry-After": str(math.ceil(wait))}
            return ApiError(429, f"more than {self.limits.rate:g} requests a minute", f"wait {wait:.1f} s", again)
        total, share = self.limits.requests, math.ceil(self.limits.requests / 2)
        if self.active.total() >= total or self.active[client] >= share:
            error = f"all {total} places of this server are taken, or {share} by you alone"
            return ApiError(503, error, "try again in a second", {"Retry-After": "1"})
        return None


class SlowClientTimeout:
    """ASGI middleware: a TimeoutError where a client does not read its answer, as it would hold its place for ever."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(READER_SECONDS):
                await send(message)

        await self.app(scope, receive, send_in_time)
