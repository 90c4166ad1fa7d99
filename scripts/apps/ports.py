"""The port that an app is served at."""

import argparse
import errno
import os
import socket

from scripts.common.errors import ConfigError

CONNECTIONS = 512  # open ones, idle ones included; below the usual limit of open files


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that takes connections; raises a ConfigError if the port is taken or there is no such host."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    except (socket.gaierror, UnicodeError):
        raise ConfigError(f"no host {host!r}; give an address of this machine, such as 127.0.0.1") from None
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = os.strerror(error.errno) if error.errno else str(error)
        what = f"port {port} of {host}" + (" is taken" if taken else "")
        remedy = "stop what runs there or give another --port" if taken else "give another --host or --port"
        raise ConfigError(f"{what}: {reason}; {remedy}") from None


def check_port(host: str, port: int) -> None:
    """Raise a ConfigError, before anything is loaded, if a page cannot be served there, as `open_socket` does."""
    if not port:
        raise ConfigError("port 0 is no address for a page; give 1 to 65535 (--port)")
    open_socket(host, port).close()


def port_number(text: str) -> int:
    """argparse type: 0 (any that is free) to 65535."""
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give 1 to 65535, or 0 for any that is free")
    return int(text)
