"""Score a run's best epoch again and write its report.

python -m scripts.evaluate ensemble_3s
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from scripts import splits
from scripts.cache import MelCache
from scripts.checkpoints import load_checkpoint
from scripts.cli import command
from scripts.config.experiments import Experiment
from scripts.errors import ConfigError, TableError
from scripts.hardware import choose_device
from scripts.memory import keep_freed_memory
from scripts.report import describe_summary, predictions_table, summarise, write_report
from scripts.runs import ROOT, Run
from scripts.tables import NEEDED_TO_TRAIN, PARTS, class_names, read_table
from scripts.trainer import Trainer
from scripts.utils.data_loading import Items, Loader, load_items
from scripts.utils.visualisation import confusion_matrix

FRAMES_PER_TEST_BATCH = 64 * 259  # 64 clips of 3 s, or as much in whole tracks


@dataclass(frozen=True)
class Data:
    """What an experiment is trained and scored on.

    Attributes
    ----------
    items : of all usable tracks.
    left_out : tracks that are not usable, with `split`, `status` and `reason`.
    classes : genre names by class number.
    fingerprint : of the split, over all tracks of the table.
    """

    items: Items
    left_out: pd.DataFrame
    classes: list[str]
    fingerprint: str

    @classmethod
    def load(cls, experiment: Experiment) -> "Data":
        """Read the experiment's table and open its cache.

        Raises
        ------
        TableError, CacheError : one is missing or does not fit, or a part of the split is empty.
        """
        table = read_table(experiment.table, NEEDED_TO_TRAIN)
        items, left_out = load_items(table, MelCache.open(experiment.cache, experiment.spec), experiment.unit)
        for part in PARTS:
            if not (items.tracks["split"] == part).any():
                raise TableError(
                    f"{experiment.table}: no usable track in {part}; choose another --split in metadata.py"
                )
        return cls(items, left_out, class_names(table), splits.fingerprint(table))

    @property
    def evaluation_batch(self) -> int:
        return max(1, FRAMES_PER_TEST_BATCH // self.items.array.shape[-1])


def evaluate(run: Run, data: Data | None = None, part: str = "test") -> dict:
    """Score the run's best epoch on a part of its split, write the report (for test) and print the scores.

    Raises
    ------
    ConfigError : no such run, or its table now holds another split than it was trained with.
    TableError, CacheError, CheckpointError : something it needs is missing or damaged.
    """
    experiment, config = run.experiment(), run.load_config()
    data = data or Data.load(experiment)
    if config["split"] != data.fingerprint or config["classes"] != data.classes:
        raise ConfigError(
            f"{experiment.table} now has the split {data.fingerprint}, but {run.name} was trained with "
            f"{config['split']}; make the metadata again with the old --split and --seed, or train again"
        )
    keep_freed_memory()
    device = choose_device(experiment.device)
    trainer = tester(run.load_model(device=device), device, run, experiment)
    epoch = load_checkpoint(run.checkpoints / "best.pt")["epoch"]
    items = data.items.part(part)
    scores = trainer.test(Loader(items, data.evaluation_batch, device=device), epoch)
    left_out = data.left_out[data.left_out["split"] == part]
    summary = summarise(scores, items, data.items.part("train"), data.classes, left_out)
    facts = {"run": run.name, "part": part, "split": data.fingerprint, "seed": experiment.seed, "best_epoch": epoch}
    facts["precision"] = str(trainer.precision).removeprefix("torch.")
    if part == "test":
        write_report(run.report, facts, summary, predictions_table(scores, items, data.classes), data.classes)
        trainer.log_test(scores, epoch, confusion_matrix(summary["confusion"], data.classes))
    print(f"{run.name}, epoch {epoch}, {part}, split {data.fingerprint}\n{describe_summary(summary)}")
    return facts | summary


def tester(model: nn.Module, device: torch.device, run: Run, experiment: Experiment) -> Trainer:
    """A trainer that only tests."""
    optimizer = torch.optim.SGD(model.parameters())
    return Trainer(model, optimizer, nn.CrossEntropyLoss(), device, run.logs, None, precision=experiment.precision)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="name of a run, as in runs/reports/")
    parser.add_argument("--part", choices=PARTS, default="test", help="only test writes the report; default: test")
    parser.add_argument("--runs", type=Path, default=ROOT, metavar="FOLDER", help="default: runs")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    evaluate(Run(args.run, args.runs), part=args.part)


if __name__ == "__main__":
    main()
