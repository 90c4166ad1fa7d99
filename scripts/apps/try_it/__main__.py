"""A page to drop a sound on and see what a trained run hears in it, moment by moment."""

if __name__ == "__main__":  # as `python -m scripts try_it`
    from scripts.__main__ import run_file

    run_file("try_it")

import os
import signal
import sys
import tempfile
from pathlib import Path

from scripts.apps import flags
from scripts.apps.ports import check_port
from scripts.apps.try_it.examples import examples
from scripts.apps.try_it.listener import Listener
from scripts.common.cli import command, require
from scripts.inference.registry import find_run

CONTRIBUTIONS = Path("data/contributed")


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.try_it(argv)
    require("gradio", what="the page")
    check_port(args.host, args.port)
    run = find_run(args.model, args.runs, args.registry)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes
    with tempfile.TemporaryDirectory(prefix="try_it_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        from scripts.apps.try_it.page import serve

        serve(Listener(run), examples(run, Path(folder)), CONTRIBUTIONS, args.host, args.port)
