"""A page with the newest tagged sounds: hear them, correct their tags, see how the model does over time."""

if __name__ == "__main__":  # as `python -m scripts monitor`
    from scripts.__main__ import run_file

    run_file("monitor")

from scripts.apps import flags
from scripts.apps.access import PASSWORD, read_access
from scripts.apps.ports import check_port
from scripts.apps.store import Store
from scripts.common.cli import command, require


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.monitor(argv)
    access = read_access(args, "password", PASSWORD)
    check_port(args.host, args.port)
    require("gradio", what="the monitor")
    from scripts.apps.monitor.page import serve

    serve(Store(args.store), args.free_tags, access)
