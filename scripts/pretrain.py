"""Teach an experiment's network a task that needs no labels, to start training from its weights."""

if __name__ == "__main__":  # as `python -m scripts pretrain`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("pretrain")

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError, TableError
from scripts.common.lock import locked
from scripts.common.machine import choose_device
from scripts.common.memory import keep_freed_memory
from scripts.common.storage import write_json
from scripts.config import flags
from scripts.config.experiment import Experiment
from scripts.config.experiment import parse as parse_value
from scripts.config.experiments import chosen_experiment
from scripts.config.run import ROOT, Run, make_model
from scripts.loading.experiment_data import Data, read_items, read_unlabelled
from scripts.loading.inheritance import save_trained_on
from scripts.loading.loader import Batch, Items, Loader
from scripts.tables.leaks import describe_leaks
from scripts.tables.splits import fingerprint
from scripts.train import (
    as_markdown,
    check_epochs,
    describe_start,
    differences,
    embedding_width,
    refuse_leaks,
    refuse_other_settings,
    run_differences,
)
from scripts.trainer import Trainer
from scripts.training.optim import make, make_optimizer, make_scheduler
from scripts.training.pretext import TASKS, PretextTask, load_backbone


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
    task, settings : a key of `TASKS`, and its keywords.
    parts : whose tracks to learn from.

    Returns
    -------
    The history, one row an epoch.

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
    experiment = dataclasses.replace(experiment, metric="last", patience=None)
    shape = (experiment.spec.channels, *experiment.shape)
    pretext = make("task", task, TASKS[task], settings or {}, shape, len(data.items), experiment.seed)
    loader = PretextLoader(data.items, pretext, experiment)
    run = Run.of(experiment, f"{task}-{tag}" if tag else task, root)
    trainer = make_trainer(experiment, pretext, run, len(loader))
    told = {"pretext": task, "pretext_settings": settings or {}, "parts": list(parts), "split": data.fingerprint}
    with locked(run.report):
        open_run(run, experiment, told, resume)
        unknown = save_trained_on(run, experiment, data.used)
        write_json(run.config_path, {"run": run.name, "experiment": experiment.as_dict(), **told, "inherited": unknown})
        print(describe_start(run, experiment, trainer, data))
        return trainer.fit(loader, None, experiment.epochs, None, "last", resume, as_markdown(experiment))


def load_unlabelled(experiment: Experiment, parts: Sequence[str]) -> Data:
    """The tracks of some parts of the experiment's table, without labels; all are "train" in a table without split.

    Raises
    ------
    ConfigError : items that are no spectrograms.
    TableError, CacheError : the table or the cache is missing or does not fit, or the parts are empty.
    """
    if experiment.unit == "row" or experiment.spec.kind == "waveform":
        found = "rows of features" if experiment.unit == "row" else "waveforms"
        raise ConfigError(f"{experiment.name} has {found}; pretraining needs spectrograms: take another experiment")
    rows, chosen = read_unlabelled(experiment, parts)
    if chosen.empty:
        raise TableError(f"{experiment.table}: no track in {', '.join(parts)}; choose other --parts")
    items, left_out = read_items(chosen, np.zeros((len(chosen), 0), np.float32), experiment)
    return Data(items, left_out, [], fingerprint(chosen), "", describe_leaks(rows), chosen)


class PretextLoader(Loader):
    """Shuffled batches of what a task makes of the items: x spoilt, and y what there is to say of it."""

    def __init__(self, items: Items, task: PretextTask, experiment: Experiment) -> None:
        self.task = task
        device = choose_device(experiment.device)
        super().__init__(items, experiment.batch_size, True, experiment.seed, device, experiment.normalise)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.task.set_epoch(epoch)

    def gather(self, chosen: np.ndarray) -> Batch:
        x, y = self.task.corrupt(lambda items: super(PretextLoader, self).gather(items).x, chosen)
        return Batch(x, y, self.track[chosen].to(self.device))


def make_trainer(experiment: Experiment, task: PretextTask, run: Run, steps: int) -> Trainer:
    """The experiment's network with the task's head, everything random drawn from its seed.

    `steps` is the number of batches in an epoch.
    """
    keep_freed_memory()
    if experiment.threads:
        torch.set_num_threads(experiment.threads)
    torch.manual_seed(experiment.seed)
    device = choose_device(experiment.device)
    model = make_model(experiment, len(experiment.labels) or 1)
    if experiment.initial:
        load_backbone(model, experiment.initial)
    model.head = task.make_head(embedding_width(model, experiment))
    model.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(
        model.parameters(),
        experiment.optimizer,
        experiment.learning_rate,
        experiment.weight_decay,
        experiment.optimizer_settings,
    )
    schedule = experiment.scheduler, experiment.scheduler_settings, experiment.epochs, steps, experiment.warmup_epochs
    return Trainer(
        model,
        optimizer,
        task.loss,
        device,
        run.logs,
        run.checkpoints,
        make_scheduler(optimizer, *schedule),
        experiment.grad_clip,
        precision=experiment.precision,
        history_path=run.report / "metrics.csv",
        keep_epochs=experiment.keep_epochs,
    )


def open_run(run: Run, experiment: Experiment, told: dict[str, Any], resume: bool) -> None:
    """Refuse to mix the run with another of the same name; `told` is what its config.json has beside the experiment."""
    if run.exists() and not resume:
        raise ConfigError(
            f"the run {run.name} exists in {run.root}/; give --resume to go on, or --tag NAME for another run"
        )
    if run.exists():
        try:
            config = json.loads(run.config_path.read_text(encoding="utf-8"))
            before = Experiment.from_dict(config["experiment"])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{run.config_path}: not a run's config.json; choose another --tag") from None
        differing = differences({name: config.get(name) for name in told}, told)
        refuse_other_settings(run, [*differing, *run_differences(before, experiment)])
        check_epochs(run, before, experiment)


def read_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """`name=value` assignments, their values in JSON or text."""
    pairs = [text.partition("=") for text in assignments]
    for name, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--task-set {name!r} has no '='; write name=value, such as patch=8")
    return {name: parse_value(value) for name, _, value in pairs}


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.pretrain(argv)
    given = {"epochs": args.epochs, "table": args.table}
    changes = {name: value for name, value in given.items() if value is not None}
    experiment = dataclasses.replace(chosen_experiment(args), **changes)
    pretrain(experiment, args.task, read_settings(args.task_set), args.parts, args.tag, args.runs, args.resume)
