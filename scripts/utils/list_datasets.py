"""List the datasets that can be turned into a label table, or show one of them in full."""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts datasets`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("datasets")

from scripts.common.cli import command
from scripts.datasets import DATASETS, get_dataset
from scripts.datasets.contract import Dataset
from scripts.utils import flags

WIDTH = 112


def describe(dataset: Dataset, only: Sequence[str] | None = None) -> str:
    """What is known about a dataset, all or some entries of it, and the command that makes its label table."""
    names = f"{len(dataset.labels)}: {', '.join(dataset.labels)}" if dataset.labels else "as the files have them"
    entries = {
        "size": [dataset.size],
        "labels": [names],
        "citation": [dataset.citation],
        "licence": [dataset.licence],
        "from": [dataset.url],
        "download": [f"python -m scripts download {name}" for name in dataset.archives],
        "checksums": [f"{one.file} {one.checksum}" for archives in dataset.archives.values() for one in archives],
        "expects": [f"below {dataset.root}, or another --root:", *dataset.layout],
        "known faults": [f"{track}: {fault}" for track, fault in dataset.known_faults.items()],
        "options": [f"--option {name}=...: {text}" for name, text in dataset.options.items()],
        "label table": [dataset.command],
    }
    lines = [f"{dataset.name}: {dataset.title} ({dataset.task.replace('_', ' ')})"]
    for name in only or entries:
        lines += [entry("" if row else name, text) for row, text in enumerate(entries[name])]
    return "\n".join(lines)


def entry(name: str, text: str) -> str:
    """An indented line of name and text, broken under the text."""
    return textwrap.fill(
        text, WIDTH, initial_indent=f"  {name:14}", subsequent_indent=" " * 16, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.datasets(argv)
    if args.name:
        print(describe(get_dataset(args.name)))
        return
    blocks = [describe(dataset, ("size", "labels", "licence", "from")) for dataset in DATASETS.values()]
    print(*blocks, "python -m scripts datasets NAME shows one in full", sep="\n\n")
