"""Who may use an app: a token or password where others can reach it, and no web page of somebody else's where not."""

import argparse
import ipaddress
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from scripts.common.errors import ConfigError

TOKEN, PASSWORD = "AUDIO_API_TOKEN", "AUDIO_PASSWORD"  # environment variables
SECRET_LENGTH = 16
MAKE = "make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether a name or address is one of this machine that others cannot reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_secret(secret: str | None, host: str, kind: str, variable: str) -> None:
    """Refuse to start with a secret that is easily guessed, or without one where others can reach the app.

    Parameters
    ----------
    secret : what people have to know; None if there is none.
    host : name or address that the app is served at.
    kind : "token" or "password", as its flag is called.
    variable : of the environment, which may hold it.

    Raises
    ------
    ConfigError : one of both.
    """
    if secret is None and not is_loopback(host):
        give = f"give one in the variable {variable} or with --{kind}; {MAKE}; or use 127.0.0.1"
        raise ConfigError(f"host {host} can be reached from outside, and there is no {kind}; {give}")
    if secret is not None and (len(secret) < SECRET_LENGTH or not secret.isascii() or not secret.isprintable()):
        raise ConfigError(f"the {kind} has {len(secret)} characters; it needs {SECRET_LENGTH} or more of ASCII; {MAKE}")


class Access(NamedTuple):
    """Where an app is served, what people have to know, if anything, and by which names besides this machine's own."""

    host: str
    port: int
    secret: str | None
    hosts: Sequence[str]

    @property
    def known_hosts(self) -> Sequence[str] | None:
        """For `KnownHosts`; None, which is any, where a secret keeps strangers out and no name is given."""
        return self.hosts if self.hosts or self.secret is None else None


def read_access(args: argparse.Namespace, kind: str, variable: str) -> Access:
    """From the flags of `flags.add_access_flags`; parameters and errors as of `check_secret`."""
    secret = getattr(args, kind)
    check_secret(secret, args.host, kind, variable)
    return Access(args.host, args.port, secret, args.hosts)


class KnownHosts:
    """ASGI middleware: requests for this machine by a name that is known, and from no other site's page.

    A page anywhere can send its visitor's browser to 127.0.0.1, openly (the header Origin tells) or under a name of its
    own that it lets point here, by which it could read the answers (DNS rebinding; the header Host tells).
    """

    def __init__(self, app: App, hosts: Collection[str]) -> None:
        """`hosts` are known besides localhost and loopback addresses, such as the name that a proxy passes on."""
        self.app, self.hosts = app, {host.lower() for host in hosts}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        problem = None if scope["type"] == "lifespan" else self.problem(dict(scope["headers"]))
        if problem is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            from starlette.responses import JSONResponse  # here: the flags of all apps need this module

            status, error, what_to_do = problem
            await JSONResponse({"error": error, "what_to_do": what_to_do}, status)(scope, receive, send)

    def problem(self, headers: dict[bytes, bytes]) -> tuple[int, str, str] | None:
        """Status, what is wrong and what to do, of a request with these headers; None of one that may come in."""
        host, origin = (headers.get(name, b"").decode("latin-1").lower() for name in (b"host", b"origin"))
        name = host_name(f"//{host}")
        if not is_loopback(name) and name not in self.hosts:
            remedy = "use http://127.0.0.1, or start the server with this name (--hosts) or with a token or password"
            return 421, f"this server is not known as {host[:100]!r}", remedy
        if origin and origin.partition("://")[2] != host and host_name(origin) not in self.hosts:
            return 403, f"a request from a page of {origin[:100]!r}", "ask from outside a browser, or from this server"
        return None


def host_name(url: str) -> str:
    """Without port, and without the dot that may end it; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
