"""What torchrun starts in tests: trains the experiments of a JSON file one after the other, in all ranks together."""

import json
import sys
from pathlib import Path

from scripts.common.cli import command
from scripts.common.distributed import joined
from scripts.config.experiment import Experiment
from scripts.train import train


@command
def main(argv: list[str] | None = None) -> None:
    file, root = sys.argv[1:]
    with joined("cpu"):
        for settings in json.loads(Path(file).read_text(encoding="utf-8")):
            train(Experiment.from_dict(settings), root=Path(root))


if __name__ == "__main__":
    main()
