"""Trained runs behind HTTP: files in, labels over time out."""

if __name__ == "__main__":  # as `python -m scripts api`
    from scripts.__main__ import run_file

    run_file("api")

from functools import partial

from scripts.apps import flags
from scripts.apps.access import TOKEN, Access, check_secret
from scripts.apps.api.limits import Limits
from scripts.apps.ports import listen
from scripts.common.cli import command, require


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.api(argv)
    require("fastapi", "uvicorn", "python-multipart", what="the API")
    check_secret(args.token, args.host, "token", TOKEN)
    limits = Limits(args.upload_mb, args.files, args.seconds, args.requests, args.rate)
    with listen(args.host, args.port) as listener:
        from scripts.apps.api import server

        folders = server.Folders(args.allow)
        loaded = server.load(args.model, args.runs, args.registry, limits.seconds)
        names = ", ".join(one.name for one in loaded)
        print(f"{names} on http://{args.host}:{listener.getsockname()[1]} (/docs shows how)", flush=True)
        newer = partial(server.load_newer, runs=args.runs, registry=args.registry)
        hosts = Access(args.host, args.port, args.token, args.hosts).known_hosts
        app = server.create_app(loaded, limits, folders, args.token, args.windows, newer, hosts)
        server.make_server(app).run(sockets=[listener])
