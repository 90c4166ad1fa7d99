"""Trained runs behind HTTP: files in, labels over time out.

    python -m scripts api --model fma_cnn_3s
    curl -F files=@song.mp3 http://127.0.0.1:8000/predict
    python -m scripts api --model genres@production --host 0.0.0.0 --allow data/new_songs

GET /health, GET /models, POST /predict, POST /predict/stream and POST /evaluate; /docs has them all with examples, and
docs/api.md says more. Where others can reach it, it needs a token: --token, or the variable AUDIO_API_TOKEN. SIGTERM
and Ctrl-C let it finish what runs.
"""

import argparse
import os

from scripts.apps.api.limits import Limits, check_token
from scripts.apps.ports import listen, port_number
from scripts.common.cli import command, positive_int, positive_number
from scripts.common.packages import require
from scripts.inference.registry import add_registry_flags

TOKEN = "AUDIO_API_TOKEN"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, default = parser.add_argument, Limits()
    add("--model", nargs="+", default=[None], metavar="REF", help="runs, or models as NAME@STAGE; the first is default")
    add("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    add("--port", type=port_number, default=8000, help="default: %(default)s")
    add("--token", default=os.environ.get(TOKEN), help=f"that clients have to send; default: the variable {TOKEN}")
    add("--allow", nargs="+", default=[], metavar="FOLDER", help="folders that requests may name; default: none")
    add("--upload-mb", type=positive_number, default=default.upload_mb, help="of a request; default: %(default)s")
    add("--files", type=positive_int, default=default.files, help="of a request; default: %(default)s")
    add("--seconds", type=positive_number, default=default.seconds, help="of audio in a file; default: %(default)s")
    add("--requests", type=positive_int, default=default.requests, help="at a time; default: %(default)s")
    add(
        "--rate",
        type=positive_number,
        default=default.rate,
        help="requests a minute of each client; default: %(default)s",
    )
    add("--windows", type=positive_int, help="of a forward pass; default: 64, or 192 s of audio")
    add_registry_flags(parser)
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    require("fastapi", "uvicorn", "python-multipart", what="the API")
    check_token(args.token, args.host)
    limits = Limits(args.upload_mb, args.files, args.seconds, args.requests, args.rate)
    with listen(args.host, args.port) as listener:
        from scripts.apps.api import server

        folders = server.Folders(args.allow)
        loaded = server.load(args.model, args.runs, args.registry, limits.seconds)
        names = ", ".join(one.name for one in loaded)
        print(f"{names} on http://{args.host}:{listener.getsockname()[1]} (/docs shows how)", flush=True)
        server.serve(server.create_app(loaded, limits, folders, args.token, args.windows), listener)


if __name__ == "__main__":
    main()
