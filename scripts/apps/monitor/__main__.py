"""A page with the newest tagged sounds: hear them, correct their tags, see how the model does over time.

python -m scripts monitor --store data/sounds --port 7861

`python -m scripts tagger` fills the store. Any number of people may correct at a time.
"""

import argparse
from pathlib import Path

from scripts.apps.ports import check_port, port_number
from scripts.apps.store import ROOT, Store
from scripts.common.cli import command
from scripts.common.packages import require


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT, metavar="FOLDER", help=f"default: {ROOT}")
    parser.add_argument("--free-tags", action="store_true", help="people may add tags that no model knows")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1; 0.0.0.0: for the whole network")
    parser.add_argument("--port", type=port_number, default=7861, help="default: 7861")
    args = parser.parse_args(argv)
    check_port(args.host, args.port)
    require("gradio", what="the monitor")
    from scripts.apps.monitor.page import serve

    serve(Store(args.store), args.free_tags, args.host, args.port)


if __name__ == "__main__":
    main()
