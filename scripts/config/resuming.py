"""Beginning a run or going on with one: two settings are never mixed in it."""

import json
import shutil
from typing import Any

from scripts.common.errors import ConfigError
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.training.optim import same_schedule
from scripts.training.weight_average import first_averaged_epoch

TEST = "test.json"
MAY_DIFFER = ("training.epochs", "training.keep_epochs", "training.wandb")  # the first is checked by `check_epochs`
ELSE = "--tag NAME for another run, or --overwrite"


def open_run(
    run: Run, experiment: Experiment, facts: dict[str, Any], resume: bool = False, overwrite: bool = False
) -> None:
    """Make the run's folders, unless they are another run's; an earlier test counts no longer.

    Parameters
    ----------
    facts : other entries of config.json, which a resumed run must have had too.

    Raises
    ------
    ConfigError : the run exists and neither `resume` nor `overwrite` is given, or it is another one.
    """
    if overwrite:
        for folder in (run.logs, run.checkpoints, run.report):
            shutil.rmtree(folder, ignore_errors=True)
    if run.exists():
        if not resume:
            raise ConfigError(f"the run {run.name} exists in {run.root}/; give --resume to go on, {ELSE}")
        check_same(run, experiment, facts)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    for unfinished in run.checkpoints.glob(".*.tmp"):  # of a process that was killed while it saved
        unfinished.unlink()
    (run.report / TEST).unlink(missing_ok=True)


def check_same(run: Run, experiment: Experiment, facts: dict[str, Any]) -> None:
    """A resumed run must have the settings it was started with; only the number of epochs may grow.

    Raises
    ------
    ConfigError : something differs, which is named; or there are fewer epochs, or more where that changes the others.
    """
    try:
        config = json.loads(run.config_path.read_text(encoding="utf-8"))
        stored = Experiment.from_dict(config["experiment"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{run.config_path}: not a run's config.json; choose another --tag") from None
    config.setdefault("labels", facts.get("labels"))  # older runs have none
    if "classes" in config:
        config["classes"] = [str(name) for name in config["classes"]]  # older runs hold numbers, true, false and null
    differing = differences({name: config.get(name) for name in facts}, facts)
    differing += [name for name in differences(stored.as_dict(), experiment.as_dict()) if name not in MAY_DIFFER]
    if differing:
        raise ConfigError(
            f"the run {run.name} was started with another {', '.join(differing)}; give the same settings, {ELSE}"
        )
    check_epochs(run, stored, experiment)


def differences(stored: dict[str, Any], given: dict[str, Any], before: str = "") -> list[str]:
    """The names of the settings that differ; `features.spec.n_mels` reaches inside."""
    names = []
    for name in {**given, **stored}:
        one, other = stored.get(name), given.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            names += differences(one, other, f"{before}{name}.")
        elif json.dumps(one) != json.dumps(other):
            names.append(before + name)
    return names


def check_epochs(run: Run, stored: Experiment, given: Experiment) -> None:
    """A longer training is the same as far as the shorter one goes, if nothing in it depends on where it ends."""
    before, now = stored.training.epochs, given.training.epochs
    scheduler, average = given.scheduler, given.average
    reason = ""
    if now < before:
        reason = "give as many or more"
    elif not same_schedule(scheduler.name, scheduler.keywords, scheduler.warmup_epochs, before, now):
        reason = f"the learning rates of the scheduler {scheduler.name} depend on that number; give it again"
    elif len({first_averaged_epoch(average.name, average.keywords, number) for number in (before, now)}) > 1:
        reason = f"the weights that average={average.name} averages depend on that number; give it again"
    if reason:
        raise ConfigError(f"the run {run.name} was started with epochs={before}, not {now}; {reason}, {ELSE}")
