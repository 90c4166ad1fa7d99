"""Search settings by Optuna, by the validation score alone; the test part stays untouched."""

if __name__ == "__main__":  # as `python -m scripts sweep`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("sweep")

import json
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.common.cli import command, require
from scripts.common.distributed import run_each
from scripts.common.errors import ConfigError, TrainingError
from scripts.common.lock import locked
from scripts.config import flags
from scripts.config.experiment import Experiment, parse
from scripts.config.experiments import chosen_experiment
from scripts.config.resuming import differences
from scripts.config.run import ROOT, Run
from scripts.loading.experiment_data import Data, data_settings
from scripts.metrics.single_label import METRICS
from scripts.train import fit

DIVERGED_LOSS = 1e6  # the score of a trial whose loss is not finite
HEARTBEAT, GRACE, POLL, LOCK_TIMEOUT = 20, 120, 5, 60  # seconds
Range = tuple[float, float, bool] | list[Any]  # low, high, logarithmic; or choices


def parse_space(texts: list[str]) -> dict[str, Range]:
    """The ranges by setting.

    Raises
    ------
    ConfigError : no setting at all, or one that is not of the three forms.
    """
    if not texts:
        raise ConfigError("nothing to search; give --space, such as learning_rate=log:1e-4:1e-2")
    return dict(parse_range(text) for text in texts)


def parse_range(text: str) -> tuple[str, Range]:
    name, _, value = text.partition("=")
    log = value.startswith("log:")
    ends = [parse(part) for part in value.removeprefix("log:").split(":")]
    if len(ends) == 2 and all(isinstance(end, int | float) for end in ends) and ends[0] < ends[1]:
        if not log or ends[0] > 0:
            return name, (*ends, log)
    elif "," in value and not log:
        return name, [parse(part) for part in value.split(",")]
    raise ConfigError(f"--space {text!r}; give NAME=LOW:HIGH, NAME=log:LOW:HIGH with LOW above 0, or NAME=A,B,C")


def draw(trial: Any, space: dict[str, Range]) -> list[str]:
    """One setting from each range, as `NAME=VALUE`."""
    values = {name: draw_one(trial, name, limits) for name, limits in space.items()}
    return [f"{name}={json.dumps(value)}" for name, value in values.items()]


def draw_one(trial: Any, name: str, limits: Range) -> Any:
    if isinstance(limits, list):
        return trial.suggest_categorical(name, limits)
    low, high, log = limits
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def sweep(
    experiment: Experiment, space: dict[str, Range], trials: int, tag: str = "", root: Path = ROOT, seed: int = 0
) -> dict[str, Any]:
    """Train so many times with settings that Optuna chooses (TPE: Bergstra et al., NeurIPS 2011).

    Several processes may work on one study, each on a trial of its own. Heartbeats show which are alive; a trial whose
    process has died is failed after `GRACE`, and another takes its place.

    Parameters
    ----------
    experiment : which the settings change.
    space : a range for each setting, see `parse_space`.
    trials : in all, earlier ones of the study included.
    tag, root : of the study, as of a run; it lives in `<root>/sweeps/<name>-<tag>/study.db`.
    seed : of the search.

    Returns
    -------
    "settings" of the best trial as `NAME=VALUE`, its validation "value", and the number of "trials".

    Raises
    ------
    ConfigError : Optuna is missing, the experiment looks at no validation, a setting is unknown, or the study was
        started with other settings or ranges.
    """
    if experiment.test.metric == "last":
        raise ConfigError("a sweep chooses by validation, but metric=last looks at none; --set metric=track_accuracy")
    require("optuna", what="a sweep")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = Path(root) / "sweeps" / Run.of(experiment, tag).name
    folder.mkdir(parents=True, exist_ok=True)
    metric, data = METRICS[experiment.test.metric], Data.load(experiment)
    with locked(folder / "study.db", wait=True):  # two processes do not make its tables at once
        storage = open_storage(folder)
        study = optuna.create_study(
            storage=storage,
            study_name=experiment.name,
            load_if_exists=True,
            direction="maximize" if metric.higher_is_better else "minimize",
        )
        check_same(study, experiment, space, data, folder)

    def objective(trial: Any) -> float:
        if len(taken(study, before=trial.number)) >= trials:
            raise optuna.TrialPruned  # another process took the last place at the same moment
        study.sampler = optuna.samplers.TPESampler(seed=seed + trial.number)
        return score(trial, experiment, data, space, folder)

    seen: set[int] = set()
    while len(finished(study)) < trials:
        if len(taken(study)) < trials:
            optimize_one(study, objective)
        else:
            wait_for_others(study, storage, seen)
    best = study.best_trial
    settings = [f"{name}={json.dumps(value)}" for name, value in best.params.items()]
    return {"settings": settings, "value": best.value, "trials": len(finished(study))}


def open_storage(folder: Path) -> Any:
    """The study's SQLite database, in which running trials leave a heartbeat."""
    from optuna.storages import RDBStorage

    def drop_checkpoints(study: Any, trial: Any) -> None:
        shutil.rmtree(trial_run(trial, folder).checkpoints, ignore_errors=True)

    with warnings.catch_warnings(action="ignore"):  # heartbeats are called experimental
        return RDBStorage(
            f"sqlite:///{folder}/study.db",
            {"connect_args": {"timeout": LOCK_TIMEOUT}},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=drop_checkpoints,
        )


def check_same(study: Any, experiment: Experiment, space: dict[str, Range], data: Data, folder: Path) -> None:
    """All trials of a study are changed from the same experiment, within the same ranges, and of the same table."""
    given = {"experiment": experiment.as_dict(), "space": space, "split": data.fingerprint, "labels": data.labels}
    stored = {name: study.user_attrs.get(name, value) for name, value in given.items()}
    stored["experiment"] = Experiment.from_dict(stored["experiment"]).as_dict()
    differing = [name.removeprefix("experiment.") for name in differences(stored, given)]
    if differing:
        raise ConfigError(
            f"{folder}/study.db was started with another {', '.join(differing)}; give the same, or --tag NAME for "
            "another study"
        )
    for name, value in given.items():
        study.set_user_attr(name, value)


def finished(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.state.is_finished() and trial.values is not None]


def taken(study: Any, before: int | None = None) -> list[Any]:
    """The trials that have a value or are still running, of those with a number below `before` if it is given."""
    trials = [trial for trial in study.trials if trial.values is not None or not trial.state.is_finished()]
    return [trial for trial in trials if before is None or trial.number < before]


def optimize_one(study: Any, objective: Callable[[Any], float]) -> None:
    """Run one trial; if others have given it up meanwhile, since this process stood still, it does not count."""
    from optuna import TrialPruned

    def while_it_runs(trial: Any) -> float:
        value = objective(trial)
        if study.trials[trial.number].state.is_finished():
            raise TrialPruned
        return value

    try:
        study.optimize(while_it_runs, n_trials=1)
    except ValueError as error:
        if not str(error).startswith("Cannot tell a "):
            raise
        print("a trial was given up by another process, since this one had stood still for too long")


def wait_for_others(study: Any, storage: Any, seen: set[int]) -> None:
    """Look again a little later; a running trial that nobody has seen alive since `GRACE` is failed.

    Optuna never fails a trial without a heartbeat, such as one that was killed in its first moment: each running trial
    is given one when it is first seen, and added to `seen`.
    """
    import optuna

    for trial in study.trials:
        if not trial.state.is_finished() and trial.number not in seen:
            storage.record_heartbeat(trial._trial_id)
            seen.add(trial.number)
    time.sleep(POLL)
    with warnings.catch_warnings(action="ignore"):
        optuna.storages.fail_stale_trials(study)


def trial_run(trial: Any, folder: Path) -> Run:
    return Run(f"trial{trial.number:03d}", folder)


def score(trial: Any, experiment: Experiment, data: Data, space: dict[str, Range], folder: Path) -> float:
    """The best validation score of one training; its curves stay, its checkpoints go."""
    settings = draw(trial, space)
    run, metric = trial_run(trial, folder), METRICS[experiment.test.metric]
    changed = experiment.changed(settings)
    if data_settings(changed) != data_settings(experiment):
        data = Data.load(changed)
    print(f"trial {trial.number}: {' '.join(settings)}")
    try:
        history = fit(changed, data, run, overwrite=True)[metric.name]
    except TrainingError as error:
        print(f"trial {trial.number}: {error}")
        return -1.0 if metric.higher_is_better else DIVERGED_LOSS
    finally:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return float(history.max() if metric.higher_is_better else history.min())


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.sweep(argv)
    space = parse_space([text for group in args.space for text in group])
    experiment = chosen_experiment(args)
    jobs = [(experiment, space, args.trials, args.tag, args.runs, args.sweep_seed)] * max(1, len(args.devices))
    best = run_each(sweep, jobs, args.devices, experiment.training.device)[0]
    print(f"best of {best['trials']} trials, validation {best['value']:.4f}: --set {' '.join(best['settings'])}")
