"""Search settings by Optuna, by the validation score alone; the test part stays untouched."""

if __name__ == "__main__":  # as `python -m scripts sweep`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("sweep")

import json
import shutil
from pathlib import Path
from typing import Any

from scripts.common.cli import command, require
from scripts.common.errors import ConfigError, TrainingError
from scripts.config import flags
from scripts.config.experiment import Experiment, parse
from scripts.config.experiments import chosen_experiment
from scripts.config.run import ROOT, Run
from scripts.loading.experiment_data import Data
from scripts.metrics.single_label import METRICS
from scripts.train import fit

DIVERGED_LOSS = 1e6  # the score of a trial whose loss is not finite
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

    Returns
    -------
    "settings" of the best trial as `NAME=VALUE`, its validation "value", and the number of "trials".

    Raises
    ------
    ConfigError : Optuna is missing, the experiment looks at no validation, or a setting is unknown.
    """
    if experiment.metric == "last":
        raise ConfigError("a sweep chooses by validation, but metric=last looks at none; --set metric=track_accuracy")
    require("optuna", what="a sweep")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(root) / "sweeps" / Run.of(experiment, tag).name
    folder.mkdir(parents=True, exist_ok=True)
    metric, data = METRICS[experiment.metric], Data.load(experiment)
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/study.db",
        study_name=experiment.name,
        load_if_exists=True,
        direction="maximize" if metric.higher_is_better else "minimize",
    )
    give_up_unfinished(study)
    while len(finished(study)) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        study.optimize(lambda trial: score(trial, experiment, data, space, folder), n_trials=1)
    best = study.best_trial
    settings = [f"{name}={json.dumps(value)}" for name, value in best.params.items()]
    return {"settings": settings, "value": best.value, "trials": len(finished(study))}


def finished(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.state.is_finished() and trial.values is not None]


def give_up_unfinished(study: Any) -> None:
    """A trial that a kill interrupted does not count."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)


def score(trial: Any, experiment: Experiment, data: Data, space: dict[str, Range], folder: Path) -> float:
    """The best validation score of one training; its curves stay, its checkpoints go."""
    settings = draw(trial, space)
    run = Run(f"trial{trial.number:03d}", folder)
    metric = METRICS[experiment.metric]
    changed = experiment.changed(settings)
    if changed.spec != experiment.spec or changed.unit != experiment.unit:
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
    best = sweep(chosen_experiment(args), space, args.trials, args.tag, args.runs, args.sweep_seed)
    print(f"best of {best['trials']} trials, validation {best['value']:.4f}: --set {' '.join(best['settings'])}")
