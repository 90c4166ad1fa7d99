"""How much a client may ask the API for, and what a token has to be like."""

from dataclasses import dataclass

from scripts.common.errors import ConfigError

TOKEN_LENGTH = 16
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Limits:
    """What one server takes.

    Attributes
    ----------
    upload_mb : of the body of a request, in 10^6 bytes. files : of an upload. seconds : of audio in a file.
    requests : at a time; the next ones are asked to come back. rate : requests a minute of each client.
    upload_seconds : that a body may take to arrive. tracks : in a folder, or in a table to evaluate.
    """

    upload_mb: float = 50.0
    files: int = 16
    seconds: float = 600.0
    requests: int = 128
    rate: float = 600.0
    upload_seconds: float = 120.0
    tracks: int = 5000

    @property
    def upload_bytes(self) -> int:
        return round(self.upload_mb * 1e6)


def check_token(token: str | None, host: str) -> None:
    """Refuse to start with a token that is easily guessed, or without one where others can reach the server.

    Raises
    ------
    ConfigError : one of both.
    """
    make = "make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
    if token is None and host not in LOOPBACK:
        raise ConfigError(f"host {host} can be reached from outside, and there is no token; {make}; or use 127.0.0.1")
    if token is not None and (len(token) < TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
        raise ConfigError(f"the token has {len(token)} characters; it needs {TOKEN_LENGTH} or more of ASCII; {make}")
