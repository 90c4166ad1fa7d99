"""Train one experiment, then score its best epoch on the test set once."""

if __name__ == "__main__":  # as `python -m scripts train`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("train")

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from scripts.audio.augment import Augmentation
from scripts.audio.spectrogram_mixing import Mixing
from scripts.common.cli import command
from scripts.common.errors import ConfigError, TableError
from scripts.common.lock import locked
from scripts.common.machine import choose_device, describe_precision, name_of
from scripts.common.memory import keep_freed_memory
from scripts.config import flags
from scripts.config.experiment import Experiment
from scripts.config.experiments import chosen_experiment
from scripts.config.run import ROOT, Run, make_model
from scripts.evaluate import evaluate
from scripts.loading.experiment_data import Data, corrected, label_fingerprint, read_split
from scripts.loading.inheritance import UNKNOWN, inherited_leaks, learning_parts, save_trained_on
from scripts.loading.loader import Items, Loader
from scripts.metrics.single_label import METRICS
from scripts.models import count_parameters
from scripts.tables.splits import fingerprint
from scripts.trainer import Trainer
from scripts.training.losses import ON_EMBEDDINGS, positive_weights
from scripts.training.optim import class_weights, make_loss, make_optimizer, make_scheduler, same_schedule
from scripts.training.pretext import load_backbone
from scripts.training.weight_average import WeightAverage, first_averaged_epoch

TEST = "test.json"
MAY_DIFFER = ("epochs", "keep_epochs")  # settings of a run that is resumed; the first is checked by `check_epochs`


def train(
    experiment: Experiment, tag: str = "", root: Path = ROOT, resume: bool = False, overwrite: bool = False
) -> dict:
    """Train the experiment as the run `<name>` or `<name>-<tag>`, test it, and return what test.json holds.

    Raises
    ------
    ConfigError : the run exists and neither `resume` nor `overwrite` is given, or its settings differ on resuming.
    TableError, CacheError : the table or the cache is missing or does not fit, or the split leaks.
    TrainingError : the loss is not finite.
    BusyError : another process trains this run.
    """
    run = Run.of(experiment, tag, root)
    data = Data.load(experiment)
    with locked(run.report):
        fit(experiment, data, run, resume, overwrite)
        return evaluate(run, data)


def fit(experiment: Experiment, data: Data, run: Run, resume: bool = False, overwrite: bool = False) -> pd.DataFrame:
    """Train without testing; returns the history, one row an epoch. Raises as `train`."""
    inherited = inherited_leaks(experiment, data.used)
    refuse_leaks(experiment, data, inherited)
    open_run(run, experiment, data, resume, overwrite, inherited)
    loader = train_loader(experiment, data)
    trainer = make_trainer(experiment, run, data, len(loader))
    print(describe_start(run, experiment, trainer, data))
    return trainer.fit(
        loader,
        None if experiment.metric == "last" else data.scoring_loader(experiment, "validation"),
        experiment.epochs,
        experiment.patience,
        experiment.metric,
        resume=resume,
        config_text=as_markdown(experiment),
    )


def train_seeds(
    experiment: Experiment,
    seeds: list[int],
    tag: str = "",
    root: Path = ROOT,
    resume: bool = False,
    overwrite: bool = False,
) -> list[dict]:
    """Train once with each seed, as the runs `<name>-<tag>-seed<N>`; prints mean and deviation, returns all reports.

    With `resume` the finished ones are kept.
    """
    reports = []
    for seed in seeds:
        name = f"{tag}-seed{seed}" if tag else f"seed{seed}"
        reports.append(train_or_keep(dataclasses.replace(experiment, seed=seed), name, root, resume, overwrite))
    print(f"{len(seeds)} seeds: {describe_spread(reports)}")
    return reports


def train_or_keep(experiment: Experiment, tag: str, root: Path, resume: bool, overwrite: bool) -> dict:
    """As `train`; with `resume` a run with these settings that has been tested already is not touched."""
    run = Run.of(experiment, tag, root)
    tested = run.report / TEST
    if resume and not overwrite and tested.is_file():
        _, table, classes = read_split(experiment)
        labels = label_fingerprint(corrected(table, experiment), experiment)
        check_same(run, experiment, classes, fingerprint(table), labels)
        if run.experiment().epochs == experiment.epochs:
            return json.loads(tested.read_text(encoding="utf-8"))
    return train(experiment, tag, root, resume, overwrite)


def describe_spread(reports: list[dict]) -> str:
    """Mean and standard deviation (n - 1) of the main scores over several runs."""
    texts, single = [], "track_accuracy" in reports[0]
    for name in ("track_accuracy", "clip_accuracy") if single else ("f1_macro", "f1_micro", "average_precision_macro"):
        values = np.array([report[name] for report in reports])
        spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
        texts.append(f"{name.replace('_', ' ')} {values.mean():.3f}{spread}")
    return ", ".join(texts)


def refuse_leaks(experiment: Experiment, data: Data, inherited: Sequence[str] = ()) -> None:
    """Scores of a split that leaks, or of weights that know the test, are too high; they are made only on request."""
    known = [line for line in inherited if not line.startswith(UNKNOWN)]
    if (data.leaks or known) and not experiment.allow_leak:
        remedy = "choose another --split of `metadata`" if data.leaks else "start from other weights (initial)"
        raise TableError(
            f"{experiment.table}, split {data.fingerprint}, leaks: {'; '.join([*data.leaks, *known])}; {remedy}, "
            "or give --allow-leak, and the report will say so"
        )


def train_loader(experiment: Experiment, data: Data) -> Loader:
    """Shuffled batches of the training part, augmented as the experiment says."""
    items, device = data.items.part("train"), choose_device(experiment.device)
    augmentation = mixing = None
    if experiment.augment:
        settings = experiment.augment, experiment.spec, len(items), experiment.seed, experiment.normalise
        augmentation = Augmentation(*settings)
    if experiment.mix:
        mixing = Mixing(experiment.mix, items.labels, experiment.spec, experiment.seed, genres_of(items))
    order, change = (experiment.batch_size, True, experiment.seed), (augmentation, mixing)
    balance = experiment.sampling == "balanced"
    return Loader(items, *order, device, experiment.normalise, *change, balance)


def genres_of(items: Items) -> np.ndarray | None:
    """The genre of each item, where the table has one beside the labels."""
    return items.tracks["genre"].to_numpy(str)[items.track] if "genre" in items.tracks else None


def open_run(run: Run, experiment: Experiment, data: Data, resume: bool, overwrite: bool, inherited: list[str]) -> None:
    """Make the run's folders, refusing to mix it with another of the same name. An earlier test counts no longer."""
    if overwrite:
        for folder in (run.logs, run.checkpoints, run.report):
            shutil.rmtree(folder, ignore_errors=True)
    if run.exists() and not resume:
        raise ConfigError(
            f"the run {run.name} exists in {run.root}/; "
            "give --resume to go on, --tag NAME for another run, or --overwrite"
        )
    if run.exists():
        check_same(run, experiment, data.classes, data.fingerprint, data.labels)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    for unfinished in run.checkpoints.glob(".*.tmp"):  # of a process that was killed while it saved
        unfinished.unlink()
    (run.report / TEST).unlink(missing_ok=True)
    save_trained_on(run, experiment, data.used[data.used["split"].isin(learning_parts(experiment))])
    run.save_config(experiment, data.classes, data.fingerprint, inherited, data.labels)


def check_same(run: Run, experiment: Experiment, classes: list[str], split: str, labels: str) -> None:
    """A resumed run must have the settings it was started with; only the number of epochs may grow.

    Raises
    ------
    ConfigError : something differs, which is named; or there are fewer epochs, or more where that changes the others.
    """
    config = run.load_config()
    config["labels"] = json.loads(run.config_path.read_text(encoding="utf-8")).get("labels", labels)  # older: unknown
    now = {"split": split, "classes": classes, "labels": labels}
    differing = [*run_differences(run.experiment(), experiment), *(name for name in now if config[name] != now[name])]
    refuse_other_settings(run, differing)
    check_epochs(run, run.experiment(), experiment)


def run_differences(stored: Experiment, given: Experiment) -> list[str]:
    """The settings that no run may have otherwise when it is resumed."""
    return [name for name in differences(stored.as_dict(), given.as_dict()) if name not in MAY_DIFFER]


def differences(stored: dict[str, Any], given: dict[str, Any], before: str = "") -> list[str]:
    """The names of the settings that differ; `spec.n_mels` reaches inside."""
    names = []
    for name in {**given, **stored}:
        one, other = stored.get(name), given.get(name)
        if json.dumps(one) == json.dumps(other):
            continue
        inside = isinstance(one, dict) and isinstance(other, dict)
        names += differences(one, other, f"{before}{name}.") if inside else [before + name]
    return names


def refuse_other_settings(run: Run, differing: list[str]) -> None:
    if differing:
        raise ConfigError(
            f"the run {run.name} was started with another {', '.join(differing)}; give the same settings, "
            "--tag NAME for another run, or --overwrite"
        )


def check_epochs(run: Run, stored: Experiment, given: Experiment) -> None:
    """A longer training is the same as far as the shorter one goes, if nothing in it depends on where it ends."""
    before, now = stored.epochs, given.epochs
    reason = ""
    if now < before:
        reason = "give as many or more"
    elif not same_schedule(given.scheduler, given.scheduler_settings, given.warmup_epochs, before, now):
        reason = f"the learning rates of the scheduler {given.scheduler} depend on that number; give it again"
    elif len({first_averaged_epoch(given.average, given.average_settings, number) for number in (before, now)}) > 1:
        reason = f"the weights that average={given.average} averages depend on that number; give it again"
    if reason:
        raise ConfigError(
            f"the run {run.name} was started with epochs={before}, not {now}; {reason}, --tag NAME for another run, "
            "or --overwrite"
        )


def make_trainer(experiment: Experiment, run: Run, data: Data, steps: int) -> Trainer:
    """The experiment's network, optimiser and trainer, everything random drawn from its seed.

    `steps` is the number of batches in an epoch.
    """
    keep_freed_memory()
    if experiment.threads:
        torch.set_num_threads(experiment.threads)
    torch.manual_seed(experiment.seed)
    device = choose_device(experiment.device)
    model = make_model(experiment, len(data.classes)).to(device, memory_format=torch.channels_last)
    if experiment.initial:
        load_backbone(model, experiment.initial)
    criterion = make_criterion(experiment, data, model).to(device)
    optimizer = make_optimizer(
        [*model.parameters(), *criterion.parameters()],
        experiment.optimizer,
        experiment.learning_rate,
        experiment.weight_decay,
        experiment.optimizer_settings,
    )
    averaged = experiment.average != "none"
    return Trainer(
        model,
        optimizer,
        criterion,
        device,
        run.logs,
        run.checkpoints,
        make_scheduler(
            optimizer,
            experiment.scheduler,
            experiment.scheduler_settings,
            experiment.epochs,
            steps,
            experiment.warmup_epochs,
            METRICS[experiment.metric].mode,
        ),
        experiment.grad_clip,
        precision=experiment.precision,
        history_path=run.report / "metrics.csv",
        average=WeightAverage(model, experiment.average, experiment.average_settings, experiment.epochs)
        if averaged
        else None,
        frozen_epochs=experiment.frozen_epochs,
        keep_epochs=experiment.keep_epochs,
    )


def make_criterion(experiment: Experiment, data: Data, model: nn.Module) -> nn.Module:
    """The experiment's loss, its classes weighed by how often they occur in training if asked for."""
    weights, width = None, 0
    if experiment.class_weights == "balanced":
        labels = torch.from_numpy(data.items.part("train").labels)
        weights = positive_weights(labels) if labels.ndim == 2 else class_weights(labels, len(data.classes))
    if experiment.loss in ON_EMBEDDINGS:
        width = embedding_width(model, experiment)
    return make_loss(experiment.loss, experiment.loss_settings, weights, data.classes, width)


@torch.inference_mode()
def embedding_width(model: nn.Module, experiment: Experiment) -> int:
    """How many numbers the network's embedding has."""
    device = next(model.parameters()).device
    item = torch.zeros(1, experiment.spec.channels, *experiment.shape, device=device)
    return model.eval().embed(item).shape[1]


def describe_start(run: Run, experiment: Experiment, trainer: Trainer, data: Data) -> str:
    sizes = {part: len(data.items.part(part).tracks) for part in ("train", "validation", "test")}
    return (
        f"{run.name}: {experiment.model}, {count_parameters(trainer.model):,} parameters, {trainer.device}, "
        f"{describe_precision(name_of(trainer.precision))}\n"
        f"split {data.fingerprint}: {', '.join(f'{count} {part}' for part, count in sizes.items())} tracks, "
        f"{len(data.left_out)} left out; TensorBoard: tensorboard --logdir {run.root}/logs"
    )


def as_markdown(experiment: Experiment) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in experiment.as_dict().items())
    return f"| setting | value |\n|---|---|\n{rows}"


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.train(argv)
    experiment = chosen_experiment(args)
    if not args.seeds:
        train(experiment, args.tag, args.runs, args.resume, args.overwrite)
    else:
        train_seeds(experiment, args.seeds, args.tag, args.runs, args.resume, args.overwrite)
