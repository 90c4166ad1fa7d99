"""A page to drop a sound on and see what a trained run hears in it, moment by moment.

python -m scripts try_it --model fma_cnn_3s --port 7860

Without --model it takes the model in production, else the run on FMA or on the demo corpus. docs/try_it.md says more.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from scripts.apps.ports import check_port, port_number
from scripts.apps.try_it.examples import examples
from scripts.apps.try_it.listener import Listener
from scripts.common.cli import command
from scripts.common.packages import require
from scripts.inference.registry import add_registry_flags, find_run

CONTRIBUTIONS = Path("data/contributed")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", metavar="REF", help="a run, or a registered model such as genres@production")
    add("--host", default="127.0.0.1", help="default: 127.0.0.1; 0.0.0.0: for the whole network")
    add("--port", type=port_number, default=7860, help="default: 7860")
    add_registry_flags(parser)
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    require("gradio", what="the page")
    check_port(args.host, args.port)
    run = find_run(args.model, args.runs, args.registry)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes
    with tempfile.TemporaryDirectory(prefix="try_it_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        from scripts.apps.try_it.page import serve

        serve(Listener(run), examples(run, Path(folder)), CONTRIBUTIONS, args.host, args.port)


if __name__ == "__main__":
    main()
