"""Trained runs behind HTTP: files in, labels over time out.

    python -m scripts.apps.api --model fma_cnn_3s
    curl -F files=@song.mp3 http://127.0.0.1:8000/predict
    python -m scripts.apps.api --model genres@production --host 0.0.0.0 --allow data/new_songs

GET /health, GET /models, POST /predict, POST /predict/stream and POST /evaluate; /docs has them all with examples, and
docs/api.md says more. Where others can reach it, it needs a token: --token, or the variable AUDIO_API_TOKEN. SIGTERM
and Ctrl-C let it finish what runs.
"""

import argparse
import errno
import os
import socket

from scripts.apps.limits import CONNECTIONS, Limits, check_token
from scripts.cli import command, positive_int
from scripts.errors import ConfigError
from scripts.registry import add_registry_flags

TOKEN = "AUDIO_API_TOKEN"


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; raises a ConfigError if the port is taken or there is no such host."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    except (socket.gaierror, UnicodeError):
        raise ConfigError(f"no host {host!r}; give an address of this machine, such as 127.0.0.1") from None
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "stop what runs there or give another --port" if taken else "give another --host or --port"
        raise ConfigError(f"{host}, port {port}: {os.strerror(error.errno)}; {remedy}") from None


def port_number(text: str) -> int:
    """argparse type: 0 (any that is free) to 65535."""
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give 1 to 65535, or 0 for any that is free")
    return int(text)


def limit(text: str) -> float:
    """argparse type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, default = parser.add_argument, Limits()
    add("--model", nargs="+", default=[None], metavar="REF", help="runs, or models as NAME@STAGE; the first is default")
    add("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    add("--port", type=port_number, default=8000, help="default: %(default)s")
    add("--token", default=os.environ.get(TOKEN), help=f"that clients have to send; default: the variable {TOKEN}")
    add("--allow", nargs="+", default=[], metavar="FOLDER", help="folders that requests may name; default: none")
    add("--upload-mb", type=limit, default=default.upload_mb, help="of a request; default: %(default)s")
    add("--files", type=positive_int, default=default.files, help="of a request; default: %(default)s")
    add("--seconds", type=limit, default=default.seconds, help="of audio in a file; default: %(default)s")
    add("--requests", type=positive_int, default=default.requests, help="at a time; default: %(default)s")
    add("--rate", type=limit, default=default.rate, help="requests a minute of each client; default: %(default)s")
    add("--windows", type=positive_int, help="of a forward pass; default: 64, or 192 s of audio")
    add_registry_flags(parser)
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    check_token(args.token, args.host)
    limits = Limits(args.upload_mb, args.files, args.seconds, args.requests, args.rate)
    with listen(args.host, args.port) as listener:
        try:
            from scripts.apps import api_server as server
        except ImportError as error:
            remedy = "install what it needs: `pip install fastapi uvicorn python-multipart`"
            raise ConfigError(f"the API needs the package {error.name}; {remedy}") from None
        folders = server.Folders(args.allow)
        loaded = server.load(args.model, args.runs, args.registry, limits.seconds)
        names = ", ".join(one.name for one in loaded)
        print(f"{names} on http://{args.host}:{listener.getsockname()[1]} (/docs shows how)", flush=True)
        server.serve(server.create_app(loaded, limits, folders, args.token, args.windows), listener)


if __name__ == "__main__":
    main()
