"""What the pages share: words in their HTML, and a port that is free."""

import html
import re
import socket

from scripts.errors import ConfigError


def text(words: str) -> str:
    """Escaped; braces and dollars too, which the page would take for parts of a template."""
    return re.sub(r"[{}$`]", lambda sign: f"&#{ord(sign[0])};", html.escape(words))


def check_port(host: str, port: int) -> None:
    """A ConfigError, before anything is loaded, if the page could not listen there."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError):
        raise ConfigError(f"port {port} of {host} is taken or not allowed; give another one (--port)") from None
