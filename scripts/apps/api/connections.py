"""Connections that wait: for how long, and which of them makes room where there are too many."""

import asyncio
from collections import Counter

from uvicorn.protocols.http.h11_impl import H11Protocol

from scripts.apps.ports import CONNECTIONS

REQUEST_SECONDS = 20  # for a request's head to arrive, and for the end of the answer before it to be read


class Connection(H11Protocol):
    """uvicorn's connection with a limit on waiting for a head that does not come, or for a client that does not read.

    Where more than `CONNECTIONS` are open, the client with most of those that wait loses the one that waits longest, so
    that there is always a place for the next.
    """

    timer: asyncio.TimerHandle  # from `connection_made` on

    @property
    def waits(self) -> bool:
        """No request is being answered, or an answer that failed is not read to its end."""
        return self.cycle is None or self.cycle.response_complete or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base has it
        super().connection_made(transport)
        self.start_timer()
        if len(self.connections) > CONNECTIONS:
            waiting = [one for one in self.connections if isinstance(one, Connection) and one.waits]
            (client, _), *_ = Counter(one.address for one in waiting).most_common(1)
            oldest = min((one for one in waiting if one.address == client), key=lambda one: one.timer.when())
            oldest.transport.abort()
            self.connections.discard(oldest)  # which it does itself, but after others that come now

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.timer.cancel()

    def handle_events(self) -> None:
        super().handle_events()
        if not self.waits:
            self.timer.cancel()

    def on_response_complete(self) -> None:
        self.timer.cancel()
        self.start_timer()
        super().on_response_complete()  # which may find that the next request is there

    def start_timer(self) -> None:
        """Another byte does not start it anew."""
        self.timer = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""
