"""Teach an experiment's network a task that needs no labels, to start training from its weights."""

if __name__ == "__main__":  # as `python -m scripts pretrain`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("pretrain")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError, TableError
from scripts.common.lock import locked
from scripts.common.machine import choose_device
from scripts.config import flags
from scripts.config.experiment import Experiment, parse_assignments
from scripts.config.experiments import chosen_experiment
from scripts.config.resuming import open_run
from scripts.config.run import ROOT, Run
from scripts.loading.experiment_data import Data, read_items, read_unlabelled
from scripts.loading.inheritance import refuse_leaks, save_trained_on
from scripts.loading.loader import Batch, Items, Loader
from scripts.models import embedding_width
from scripts.tables.leaks import describe_leaks
from scripts.tables.splits import fingerprint
from scripts.train import describe_start, make_trainer, start_model
from scripts.training.optim import make
from scripts.training.pretext import TASKS, PretextTask


def pretrain(
    experiment: Experiment,
    task: str,
    settings: dict[str, Any] | None = None,
    parts: Sequence[str] = ("train",),
    tag: str = "",
    root: Path = ROOT,
    resume: bool = False,
) -> pd.DataFrame:
    """Train the experiment's network on a task, as the run `<name>-<task>` or `<name>-<task>-<tag>`.

    Parameters
    ----------
    experiment : whose network, data, optimiser and schedule.
    task, settings : a key of `TASKS`, and its keywords.
    parts : of the split, whose tracks to learn from.
    tag, root, resume : as for `train`.

    Returns
    -------
    The history, one row per epoch.

    Raises
    ------
    ConfigError : an unknown task or setting, one that its items do not allow, or the run exists and `resume` is not
        given, or its settings differ on resuming.
    TableError, CacheError : the table or the cache is missing or does not fit, or the split leaks.
    BusyError : another process trains this run.
    """
    pick("task", task, TASKS)
    data = load_unlabelled(experiment, parts)
    refuse_leaks(experiment, data)
    experiment = experiment.updated(metric="last", patience=None)
    shape = (experiment.features.spec.channels, *experiment.shape)
    pretext = make("task", task, TASKS[task], settings or {}, shape, len(data.items), experiment.training.seed)
    loader = PretextLoader(data.items, pretext, experiment)
    model = start_model(experiment, len(experiment.data.labels) or 1)
    model.head = pretext.make_head(embedding_width(model, *shape))
    run = Run.of(experiment, f"{task}-{tag}" if tag else task, root)
    facts = {"pretext": task, "pretext_settings": settings or {}, "parts": list(parts), "split": data.fingerprint}
    with locked(run.report):
        open_run(run, experiment, facts, resume)
        unknown = save_trained_on(run, experiment, data.used)
        run.save_config(experiment, **facts, inherited=unknown)
        trainer = make_trainer(experiment, run, model, pretext.loss, len(loader))
        print(describe_start(run, experiment, trainer, data))
        return trainer.fit(loader, None, "last", resume, experiment.as_markdown())


def load_unlabelled(experiment: Experiment, parts: Sequence[str]) -> Data:
    """The tracks of some parts of the experiment's table, without labels; all are "train" in a table without split.

    Raises
    ------
    ConfigError : items that are no spectrograms.
    TableError, CacheError : the table or the cache is missing or does not fit, or the parts are empty.
    """
    if experiment.data.unit == "row" or experiment.features.spec.kind == "waveform":
        kind = "rows of features" if experiment.data.unit == "row" else "waveforms"
        raise ConfigError(f"{experiment.name} has {kind}; pretraining needs spectrograms: take another experiment")
    rows, chosen = read_unlabelled(experiment, parts)
    if chosen.empty:
        raise TableError(f"{experiment.data.table}: no track in {', '.join(parts)}; choose other --parts")
    items, left_out = read_items(chosen, np.zeros((len(chosen), 0), np.float32), experiment)
    return Data(items, left_out, [], fingerprint(chosen), "", describe_leaks(rows), chosen)


class PretextLoader(Loader):
    """Shuffled batches of what a task makes of the items: x spoilt, and y the target of the task's loss."""

    def __init__(self, items: Items, task: PretextTask, experiment: Experiment) -> None:
        self.task = task
        device = choose_device(experiment.training.device)
        super().__init__(
            items, experiment.training.batch_size, True, experiment.training.seed, device, experiment.features.normalise
        )

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.task.set_epoch(epoch)

    def gather(self, chosen: np.ndarray) -> Batch:
        x, y = self.task.corrupt(lambda items: super(PretextLoader, self).gather(items).x, chosen)
        return Batch(x, y, self.track[chosen].to(self.device))


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.pretrain(argv)
    given = {"epochs": args.epochs, "table": args.table}
    experiment = chosen_experiment(args).updated({name: value for name, value in given.items() if value is not None})
    settings = parse_assignments(args.task_set, "--task-set", "patch=8")
    pretrain(experiment, args.task, settings, args.parts, args.tag, args.runs, args.resume)
