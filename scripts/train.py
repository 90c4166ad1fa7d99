"""Train one experiment, then score its best epoch on the test set once."""

if __name__ == "__main__":  # as `python -m scripts train`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("train")

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from scripts.architectures.fitted import Fitted
from scripts.common.cli import command
from scripts.common.distributed import joined, rank, ranks, refuse_differences, run_each, wait_for_all
from scripts.common.errors import ConfigError
from scripts.common.lock import locked
from scripts.common.machine import choose_device, describe_precision, name_of
from scripts.common.memory import keep_freed_memory
from scripts.config import flags
from scripts.config.experiment import Experiment
from scripts.config.experiments import chosen_experiment
from scripts.config.resuming import TEST, check_same, open_run
from scripts.config.run import ROOT, Run, make_model
from scripts.evaluate import evaluate
from scripts.loading.experiment_data import Data, corrected, label_fingerprint, read_split
from scripts.loading.fitting import check_fitted, fit_and_save
from scripts.loading.inheritance import inherited_leaks, learning_parts, refuse_leaks, save_trained_on
from scripts.loading.loader import Items
from scripts.loading.training_loader import training_loader
from scripts.metrics.single_label import METRICS
from scripts.models import Network, count_parameters, embedding_width
from scripts.reports.markdown import mean_and_deviation
from scripts.tables.splits import fingerprint
from scripts.trainer import Trainer
from scripts.training.losses import ON_EMBEDDINGS, positive_weights
from scripts.training.optim import class_weights, make_loss, make_optimizer, make_scheduler
from scripts.training.pretext import load_backbone
from scripts.training.run_log import mirrored
from scripts.training.weight_average import WeightAverage


def train(
    experiment: Experiment, tag: str = "", root: Path = ROOT, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Train the experiment as the run `<name>` or `<name>-<tag>`, test it, and return what test.json holds.

    Parameters
    ----------
    experiment : the complete setting.
    tag : of the run's name.
    root : folder of the runs.
    resume : go on after the last finished epoch, if the run exists.
    overwrite : delete the run first, if it exists.

    Raises
    ------
    ConfigError : the run exists and neither `resume` nor `overwrite` is given, or its settings differ on resuming.
    TableError, CacheError : the table or the cache is missing or does not fit, or the split leaks.
    TrainingError : the loss is not finite.
    BusyError : another process trains this run.
    """
    run = Run.of(experiment, tag, root)
    data = Data.load(experiment)
    with contextlib.ExitStack() as stack:
        if not rank():
            stack.enter_context(locked(run.report))
            if experiment.training.wandb != "off":
                stack.enter_context(mirrored(experiment.training.wandb, run.name, run.root, experiment.as_dict()))
        fit(experiment, data, run, resume, overwrite)
        return evaluate(run, data)


def fit(experiment: Experiment, data: Data, run: Run, resume: bool = False, overwrite: bool = False) -> pd.DataFrame:
    """Train without testing; returns the history, one row per epoch (a fitted head has none). Raises as `train`."""
    check_ranks(experiment, data)
    model = start_model(experiment, len(data.classes))
    if isinstance(model, Fitted):
        check_fitted(experiment)
        begin_run(experiment, data, run, resume, overwrite)
        fit_and_save(experiment, data, run, model)
        return pd.DataFrame()
    criterion = make_criterion(experiment, data, model)
    if not rank():
        begin_run(experiment, data, run, resume, overwrite)
    wait_for_all()
    loader = training_loader(experiment, data)
    validation = None if experiment.test.metric == "last" else data.scoring_loader(experiment, "validation")
    trainer = make_trainer(experiment, run, model, criterion, len(loader))
    print(describe_start(run, experiment, trainer, data))
    return trainer.fit(loader, validation, experiment.test.metric, resume, experiment.as_markdown())


def check_ranks(experiment: Experiment, data: Data) -> None:
    """Raise a ConfigError if several processes cannot train this experiment together, or were given different ones."""
    if ranks() == 1:
        return
    refuse_differences(experiment=experiment.as_dict(), split=data.fingerprint, labels=data.labels)
    items = min(experiment.training.batch_size, len(data.items.part("train")))
    if items < ranks():
        raise ConfigError(f"{ranks()} ranks for batches of {items} items; start fewer, or set a greater batch_size")
    if experiment.loss.name in ON_EMBEDDINGS:
        raise ConfigError(
            f"loss={experiment.loss.name} compares the embeddings of a whole batch, and each of {ranks()} ranks has "
            "a part of it; take another loss, or one process"
        )


def begin_run(experiment: Experiment, data: Data, run: Run, resume: bool, overwrite: bool) -> None:
    """Make the run's folders, and write what is trained and on which tracks; raises as `train`."""
    inherited = inherited_leaks(experiment, data.used)
    refuse_leaks(experiment, data, inherited)
    facts = {"classes": data.classes, "split": data.fingerprint, "labels": data.labels}
    open_run(run, experiment, facts, resume, overwrite)
    save_trained_on(run, experiment, data.used[data.used["split"].isin(learning_parts(experiment))])
    run.save_config(experiment, **facts, inherited=inherited)


def start_model(experiment: Experiment, classes: int) -> Network:
    """The experiment's network with `classes` logits as training begins; its seed decides all that is random after."""
    keep_freed_memory()
    if experiment.training.threads:
        torch.set_num_threads(experiment.training.threads)
    torch.manual_seed(experiment.training.seed)
    model = make_model(experiment, classes)
    if experiment.model.initial:
        load_backbone(model, experiment.model.initial)
    if rank():
        torch.manual_seed(experiment.training.seed + rank())  # other dropout than rank 0's
    if ranks() > 1 and choose_device(experiment.training.device).type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def make_criterion(experiment: Experiment, data: Data, model: Network) -> nn.Module:
    """The experiment's loss; with `class_weights="balanced"` a class weighs the more, the rarer it is in training."""
    weights, width = None, 0
    if experiment.loss.name in ON_EMBEDDINGS:
        require_one_label(experiment.loss.name, data.items.part("train"))
    if experiment.loss.class_weights == "balanced":
        labels = torch.from_numpy(data.items.part("train").labels)
        weights = positive_weights(labels) if labels.ndim == 2 else class_weights(labels, len(data.classes))
    if experiment.loss.name in ON_EMBEDDINGS:
        width = embedding_width(model, experiment.features.spec.channels, *experiment.shape)
    return make_loss(experiment.loss.name, experiment.loss.keywords, weights, data.classes, width)


def require_one_label(loss: str, items: Items) -> None:
    """Raise a ConfigError that counts and names the training tracks without just one label, if there are any."""
    wrong = (items.labels == 1).sum(1) != 1 if items.labels.ndim == 2 else np.zeros(0, bool)
    if wrong.any():
        tracks = items.tracks["track_id"].iloc[np.unique(items.track[wrong])]
        raise ConfigError(
            f"loss={loss} needs one label for each training track; {len(tracks)} have none or several, such as "
            f"{tracks.iloc[0]}; take loss=bce, or a table without them"
        )


def make_trainer(
    experiment: Experiment, run: Run, model: Network, criterion: Callable[..., torch.Tensor], steps: int
) -> Trainer:
    """The trainer of a network with the experiment's optimiser and schedule; `steps` is the number of batches."""
    settings = experiment.training
    networks = nn.ModuleList(one for one in (model, criterion) if isinstance(one, nn.Module))
    optimizer = make_optimizer(
        networks.to(choose_device(settings.device)).parameters(),
        experiment.optimizer.name,
        experiment.optimizer.learning_rate,
        experiment.optimizer.weight_decay,
        experiment.optimizer.keywords,
    )
    scheduler = make_scheduler(
        optimizer,
        experiment.scheduler.name,
        experiment.scheduler.keywords,
        settings.epochs,
        steps,
        experiment.scheduler.warmup_epochs,
        METRICS[experiment.test.metric].mode,
    )
    average = None
    if experiment.average.name != "none":
        average = WeightAverage(model, experiment.average.name, experiment.average.keywords, settings.epochs)
    return Trainer(model, criterion, optimizer, scheduler, settings, average, run)


def describe_start(run: Run, experiment: Experiment, trainer: Trainer, data: Data) -> str:
    """Run, network, machine, split and sizes, for the screen."""
    sizes = (f"{len(data.items.part(part).tracks)} {part}" for part in ("train", "validation", "test"))
    return (
        f"{run.name}: {experiment.model.name}, {count_parameters(trainer.model):,} parameters, "
        f"{trainer.device}, {describe_precision(name_of(trainer.precision))}\n"
        f"split {data.fingerprint}: {', '.join(sizes)} tracks, {len(data.left_out)} left out; "
        f"TensorBoard: tensorboard --logdir {run.root}/logs{describe_ranks(trainer)}"
    )


def describe_ranks(trainer: Trainer) -> str:
    """A line on the processes that train together; none if there is one."""
    if ranks() == 1:
        return ""
    line = f"\n{ranks()} ranks share each batch of {trainer.settings.batch_size}"
    if trainer.device.type == "cpu" and any(isinstance(module, _BatchNorm) for module in trainer.model.modules()):
        line += "; batch normalisation takes each rank's own statistics, as torch shares them between GPUs alone"
    return line


def train_or_keep(experiment: Experiment, tag: str, root: Path, resume: bool, overwrite: bool) -> dict[str, Any]:
    """As `train`; with `resume` a run with these settings that has been tested already is not touched."""
    run = Run.of(experiment, tag, root)
    tested = run.report / TEST
    if resume and not overwrite and tested.is_file():
        _, table, classes = read_split(experiment)
        labels = label_fingerprint(corrected(table, experiment), experiment)
        check_same(run, experiment, {"classes": classes, "split": fingerprint(table), "labels": labels})
        if run.experiment().training.epochs == experiment.training.epochs:
            return json.loads(tested.read_text(encoding="utf-8"))
    return train(experiment, tag, root, resume, overwrite)


def train_seeds(
    experiment: Experiment,
    seeds: list[int],
    tag: str = "",
    root: Path = ROOT,
    resume: bool = False,
    overwrite: bool = False,
    devices: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Train once with each seed, as the runs `<name>-<tag>-seed<N>`; prints mean and deviation, returns all reports.

    With `resume` the finished ones are kept; with `devices` they are trained at once, see `run_each`.
    """
    prefix = f"{tag}-" if tag else ""
    jobs = [(experiment.updated(seed=seed), f"{prefix}seed{seed}", root, resume, overwrite) for seed in seeds]
    reports = run_each(train_or_keep, jobs, devices, experiment.training.device)
    print(f"{len(seeds)} seeds: {describe_spread(reports)}")
    return reports


def describe_spread(reports: list[dict[str, Any]]) -> str:
    """Mean and standard deviation (n - 1) of the main scores over several runs."""
    names = ("track_accuracy", "clip_accuracy", "f1_macro", "f1_micro", "average_precision_macro")
    scores = {name: [report[name] for report in reports] for name in names if name in reports[0]}
    return ", ".join(f"{name.replace('_', ' ')} {mean_and_deviation(values)}" for name, values in scores.items())


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.train(argv)
    experiment, settings = chosen_experiment(args), (args.tag, args.runs, args.resume, args.overwrite)
    if args.devices and not args.seeds:
        raise ConfigError(
            "--devices is for --seeds; one training goes over several by torchrun --nproc-per-node N -m scripts.train"
        )
    with joined(experiment.training.device):
        if args.seeds:
            train_seeds(experiment, args.seeds, *settings, args.devices)
        else:
            train(experiment, *settings)
