"""Every command of this project: `python -m scripts` lists them, `python -m scripts NAME ...` runs one."""

import importlib
import sys
from typing import NamedTuple

from scripts.common.cli import command, pick


class Group(NamedTuple):
    """Commands that belong together.

    Attributes
    ----------
    title : above them in the list.
    flags : the module that has each command's flags and help, as a function of its name; imports nothing heavy.
    modules : the module of each command, imported when it is run.
    """

    title: str
    flags: str
    modules: dict[str, str]


GROUPS = (
    Group(
        "Prepare data, in this order",
        "utils.flags",
        {
            "download": "utils.download",
            "demo": "utils.demo",
            "demo_notes": "utils.demo_notes",
            "datasets": "utils.list_datasets",
            "labeled_tracks": "utils.labeled_tracks",
            "verify": "utils.verify",
            "metadata": "utils.metadata",
            "mixtures": "utils.mixtures",
            "merge": "utils.merge",
            "compare_tables": "utils.compare_tables",
            "mels": "utils.mels",
            "visualisation": "utils.visualisation",
        },
    ),
    Group(
        "Train and test",
        "config.flags",
        {
            "experiments": "config.experiments",
            "train": "train",
            "fit": "fit",
            "evaluate": "evaluate",
            "crossval": "crossval",
            "sweep": "sweep",
            "learning_curve": "analysis.learning_curve",
            "pretrain": "pretrain",
        },
    ),
    Group(
        "Beat this first",
        "baselines.flags",
        {
            "descriptors": "baselines.descriptors",
            "embed": "baselines.embed",
            "classical": "baselines.classical",
            "label_svm": "baselines.label_svm",
        },
    ),
    Group(
        "Look at runs and networks",
        "analysis.flags",
        {
            "compare": "analysis.compare",
            "audit": "analysis.audit",
            "blend": "analysis.blend",
            "label_issues": "analysis.label_issues",
            "explain": "analysis.explain",
            "embeddings": "analysis.embeddings",
            "networks": "analysis.networks",
            "runs": "analysis.runs",
        },
    ),
    Group(
        "Use a trained run",
        "inference.flags",
        {"predict": "predict", "search": "search", "registry": "inference.registry", "export": "exporting.__main__"},
    ),
    Group(
        "Apps",
        "apps.flags",
        {
            "try_it": "apps.try_it.__main__",
            "api": "apps.api.__main__",
            "tagger": "apps.tagger.__main__",
            "monitor": "apps.monitor.__main__",
            "corrections": "apps.monitor.corrections",
            "retrain": "apps.monitor.retrain",
        },
    ),
)
COMMANDS = {name: group for group in GROUPS for name in group.modules}


def overview() -> str:
    """All commands in groups, a line each: the first of its help."""
    lines = ["usage: python -m scripts NAME ...        (python -m scripts NAME --help explains one)"]
    for group in GROUPS:
        flags = importlib.import_module(f"scripts.{group.flags}")
        lines += ["", group.title]
        lines += [f"  {name:16}{getattr(flags, name).__doc__.splitlines()[0]}" for name in group.modules]
    return "\n".join(lines)


@command
def main(argv: list[str] | None = None) -> None:
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return
    group = COMMANDS[pick("command", name.replace("-", "_"), COMMANDS)]
    name = name.replace("-", "_")
    # help and wrong flags end here, before anything heavy is imported
    getattr(importlib.import_module(f"scripts.{group.flags}"), name)(rest)
    importlib.import_module(f"scripts.{group.modules[name]}").main(rest)


def run_file(name: str) -> None:
    """What a file does that is run by itself: the command of this name with the flags that were given."""
    main([name, *sys.argv[1:]])
    raise SystemExit


if __name__ == "__main__":
    main()
