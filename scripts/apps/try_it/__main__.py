"""A page to drop a sound on and see what a trained run finds in it, moment by moment."""

if __name__ == "__main__":  # as `python -m scripts try_it`
    from scripts.__main__ import run_file

    run_file("try_it")

import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from scripts.apps import flags
from scripts.apps.access import PASSWORD, read_access
from scripts.apps.ports import check_port
from scripts.apps.try_it.analyser import SoundAnalyser
from scripts.apps.try_it.examples import examples
from scripts.common.cli import command, require
from scripts.inference.registry import Registry, find_run, tracked_reference

CONTRIBUTIONS = Path("data/contributed")


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.try_it(argv)
    require("gradio", what="the page")
    access = read_access(args, "password", PASSWORD)
    check_port(args.host, args.port)
    run = find_run(args.model, args.runs, args.registry)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes
    with tempfile.TemporaryDirectory(prefix="try_it_") as folder:
        uploads = Path(folder, "uploads")
        uploads.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        from scripts.apps.try_it.page import SoundService, serve

        given = examples(run, Path(folder, "examples"))
        newer = partial(Registry(args.registry, args.runs).newer, tracked_reference(args.model, run))
        service = SoundService(SoundAnalyser(run), given, CONTRIBUTIONS, uploads, newer)
        serve(service, access)
