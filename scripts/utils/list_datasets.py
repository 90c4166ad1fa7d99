"""List the datasets that can be turned into a label table, or show one of them in full."""

import sys
import textwrap
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts datasets`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("datasets")

from scripts.common.cli import command
from scripts.datasets import DATASETS, Dataset, get_dataset
from scripts.utils import flags

WIDTH = 112


def overview() -> str:
    """A few lines for each dataset."""
    blocks = [
        "\n".join(
            [
                f"{dataset.name}: {dataset.title} ({dataset.task} label)",
                entry("size", dataset.size),
                entry("labels", label_text(dataset)),
                entry("licence", dataset.licence),
                entry("from", dataset.url),
            ]
        )
        for dataset in DATASETS.values()
    ]
    return "\n\n".join([*blocks, "python -m scripts datasets NAME shows one in full"])


def details(dataset: Dataset) -> str:
    """All that is known about one dataset, and the command that makes its label table."""
    entries = {
        "size": [dataset.size],
        "labels": [label_text(dataset)],
        "citation": [dataset.citation],
        "licence": [dataset.licence],
        "from": [dataset.url],
        "checksums": [f"{file} {digest}" for file, digest in dataset.checksums.items()],
        "expects": [f"below {dataset.root}, or another --root:", *dataset.layout],
        "known faults": [f"{track}: {fault}" for track, fault in dataset.known_faults.items()],
        "options": [f"--option {name}=...: {text}" for name, text in dataset.options.items()],
        "label table": [dataset.command],
    }
    title = f"{dataset.name}: {dataset.title} ({dataset.task} label)"
    lines = [entry("" if row else name, text) for name, texts in entries.items() for row, text in enumerate(texts)]
    return "\n".join([title, *lines])


def label_text(dataset: Dataset) -> str:
    return f"{len(dataset.labels)}: {', '.join(dataset.labels)}" if dataset.labels else "as the files have them"


def entry(name: str, text: str) -> str:
    """An indented line of name and text, broken under the text."""
    return textwrap.fill(
        text, WIDTH, initial_indent=f"  {name:14}", subsequent_indent=" " * 16, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.datasets(argv)
    print(details(get_dataset(args.name)) if args.name else overview())
