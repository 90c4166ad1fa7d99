"""Trained runs behind HTTP: files in, labels over time out."""

if __name__ == "__main__":  # as `python -m scripts api`
    from scripts.__main__ import run_file

    run_file("api")

from functools import partial

from scripts.apps import flags
from scripts.apps.access import TOKEN, read_access
from scripts.apps.api.limits import Limits
from scripts.apps.ports import open_socket
from scripts.common.cli import command, require


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.api(argv)
    require("fastapi", "uvicorn", "python-multipart", what="the API")
    access = read_access(args, "token", TOKEN)
    limits = Limits(args.upload_mb, args.files, args.seconds, args.requests, args.rate)
    with open_socket(args.host, args.port) as socket:
        from scripts.apps.api import server
        from scripts.apps.api.paths import AllowedFolders

        folders = AllowedFolders(args.allow)
        loaded = server.load(args.model, args.runs, args.registry, limits.seconds)
        names = ", ".join(model.name for model in loaded)
        print(f"{names} on http://{args.host}:{socket.getsockname()[1]} (/docs shows how)", flush=True)
        newer = partial(server.load_newer, runs=args.runs, registry=args.registry)
        app = server.create_app(loaded, limits, folders, args.token, args.windows, newer, access.known_hosts)
        server.make_server(app).run(sockets=[socket])
