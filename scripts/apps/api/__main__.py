"""Trained runs behind HTTP: files in, labels over time out."""

if __name__ == "__main__":  # as `python -m scripts api`
    from scripts.__main__ import run_file

    run_file("api")

from scripts.apps import flags
from scripts.apps.api.limits import Limits, check_token
from scripts.apps.ports import listen
from scripts.common.cli import command, require

TOKEN = "AUDIO_API_TOKEN"


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.api(argv)
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
