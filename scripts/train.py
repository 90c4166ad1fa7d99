"""Train one experiment, then score its best epoch on the test set once.

    python -m scripts.train --experiment ensemble_3s
    python -m scripts.train --experiment ensemble_3s --set epochs=10 --set model_settings.norm=batch --tag bn
    python -m scripts.train --config runs/reports/ensemble_3s/config.json --tag again

Watch it live: tensorboard --logdir runs/logs
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau

from scripts.cli import command
from scripts.config.experiments import EXPERIMENTS, Experiment, get_experiment
from scripts.errors import ConfigError
from scripts.evaluate import Data, evaluate
from scripts.hardware import choose_device
from scripts.memory import keep_freed_memory
from scripts.metrics import METRICS
from scripts.models import count_parameters
from scripts.runs import ROOT, Run, make_model, read_config
from scripts.trainer import Trainer
from scripts.utils.data_loading import Loader


def train(
    experiment: Experiment, tag: str = "", root: Path = ROOT, resume: bool = False, overwrite: bool = False
) -> dict:
    """Train the experiment as the run `<name>` or `<name>-<tag>`, test it, and return what test.json holds.

    Raises
    ------
    ConfigError : the run exists and neither `resume` nor `overwrite` is given, or its settings differ on resuming.
    TableError, CacheError : the table or the cache is missing or does not fit.
    TrainingError : the loss is not finite.
    """
    run = Run(f"{experiment.name}-{tag}" if tag else experiment.name, Path(root))
    data = Data.load(experiment)
    open_run(run, experiment, data, resume, overwrite)
    trainer = make_trainer(experiment, run, len(data.classes))
    print(describe_start(run, experiment, trainer, data))
    trainer.fit(
        Loader(data.items.part("train"), experiment.batch_size, True, experiment.seed, trainer.device),
        Loader(data.items.part("validation"), data.evaluation_batch, device=trainer.device),
        experiment.epochs,
        experiment.patience,
        experiment.metric,
        resume=resume,
        config_text=as_markdown(experiment),
    )
    return evaluate(run, data)


def open_run(run: Run, experiment: Experiment, data: Data, resume: bool, overwrite: bool) -> None:
    """Make the run's folders, refusing to mix it with another of the same name."""
    if overwrite:
        for folder in (run.logs, run.checkpoints, run.report):
            shutil.rmtree(folder, ignore_errors=True)
    if run.exists() and not resume:
        raise ConfigError(
            f"the run {run.name} exists in {run.root}/; "
            "give --resume to go on, --tag NAME for another run, or --overwrite"
        )
    if run.exists():
        check_same(run, experiment, data)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    run.save_config(experiment, data.classes, data.fingerprint)


def check_same(run: Run, experiment: Experiment, data: Data) -> None:
    """A resumed run must have the settings it was started with; only the number of epochs may grow."""
    config = run.load_config()
    stored, given = config["experiment"], json.loads(json.dumps(experiment.as_dict()))
    differing = [name for name in given if name != "epochs" and stored.get(name) != given[name]]
    if config["split"] != data.fingerprint:
        differing.append("split")
    if differing:
        raise ConfigError(
            f"the run {run.name} was started with another {', '.join(differing)}; "
            "give the same settings, or --tag NAME for another run"
        )


def make_trainer(experiment: Experiment, run: Run, classes: int) -> Trainer:
    """The experiment's network, optimiser and trainer, everything random drawn from its seed."""
    keep_freed_memory()
    if experiment.threads:
        torch.set_num_threads(experiment.threads)
    torch.manual_seed(experiment.seed)
    device = choose_device(experiment.device)
    model = make_model(experiment, classes).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(
        model.parameters(), experiment.learning_rate, weight_decay=experiment.weight_decay, fused=device.type != "mps"
    )
    return Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(),
        device,
        run.logs,
        run.checkpoints,
        make_scheduler(experiment, optimizer),
        experiment.grad_clip,
        precision=experiment.precision,
        history_path=run.report / "metrics.csv",
    )


def make_scheduler(experiment: Experiment, optimizer: torch.optim.Optimizer) -> LRScheduler | ReduceLROnPlateau | None:
    if experiment.scheduler == "cosine":
        return CosineAnnealingLR(optimizer, experiment.epochs)
    if experiment.scheduler == "plateau":
        return ReduceLROnPlateau(optimizer, METRICS[experiment.metric].mode, patience=3)
    return None


def describe_start(run: Run, experiment: Experiment, trainer: Trainer, data: Data) -> str:
    sizes = {part: len(data.items.part(part).tracks) for part in ("train", "validation", "test")}
    return (
        f"{run.name}: {experiment.model}, {count_parameters(trainer.model):,} parameters, {trainer.device}, "
        f"{str(trainer.precision).removeprefix('torch.')}\n"
        f"split {data.fingerprint}: {', '.join(f'{count} {part}' for part, count in sizes.items())} tracks, "
        f"{len(data.left_out)} left out; TensorBoard: tensorboard --logdir {run.root}/logs"
    )


def as_markdown(experiment: Experiment) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in experiment.as_dict().items())
    return f"| setting | value |\n|---|---|\n{rows}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", metavar="NAME", help=f"one of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="config.json of a run, to run it again")
    parser.add_argument(
        "--set", action="append", default=[], nargs="+", metavar="NAME=VALUE", dest="changes",
        help="change a setting, such as epochs=10 spec.n_mels=64 model_settings.norm=batch",
    )  # fmt: skip
    parser.add_argument("--tag", default="", help="call the run <experiment>-<tag>")
    parser.add_argument("--runs", type=Path, default=ROOT, metavar="FOLDER", help="default: runs")
    parser.add_argument("--resume", action="store_true", help="go on with the run where it stopped")
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier run of this name")
    return parser.parse_args(argv)


def chosen_experiment(args: argparse.Namespace) -> Experiment:
    if (args.experiment is None) == (args.config is None):
        raise ConfigError(f"give either --experiment NAME or --config FILE; experiments: {', '.join(EXPERIMENTS)}")
    if args.config is not None:
        experiment = Experiment.from_dict(read_config(args.config)["experiment"])
    else:
        experiment = get_experiment(args.experiment)
    return experiment.changed([change for group in args.changes for change in group])


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    train(chosen_experiment(args), args.tag, args.runs, args.resume, args.overwrite)


if __name__ == "__main__":
    main()
