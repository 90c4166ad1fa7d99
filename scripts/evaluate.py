"""Score a run's best epoch again and write its report."""

if __name__ == "__main__":  # as `python -m scripts evaluate`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("evaluate")

import json
from typing import Any

import pandas as pd
import torch
from torch import nn

from scripts.common.cli import command, pick
from scripts.common.distributed import rank
from scripts.common.errors import ConfigError
from scripts.common.machine import describe_precision
from scripts.common.memory import keep_freed_memory
from scripts.common.storage import write_csv
from scripts.config import flags
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.loading.experiment_data import Data
from scripts.loading.inheritance import inherited_leaks
from scripts.metrics.test_scores import MultiLabelScores, Scores
from scripts.reports import multi_label, single_label
from scripts.reports.figures import confusion_matrix
from scripts.reports.predictions import FILES, describe_test, predictions_table
from scripts.tables.label_table import PARTS
from scripts.trainer import Trainer
from scripts.training.checkpoints import load_checkpoint, save_checkpoint
from scripts.training.losses import MULTI_LABEL
from scripts.training.run_log import RunLog

BEST = "best.pt"


def evaluate(
    run: Run,
    data: Data | None = None,
    part: str = "test",
    checkpoint: str = BEST,
    top_k: int = single_label.TOP_K,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Score a checkpoint of the run on a part of its split, print the scores and return them.

    The best epoch's scores on the test part are also written as the run's report.

    Parameters
    ----------
    run : of a training.
    data : what it was trained on, if it has been loaded already.
    part : "train", "validation" or "test".
    checkpoint : file name in the run's folder of checkpoints.
    top_k : guesses per track of the top-k accuracy, of one label a track.
    tensorboard : log settings, embeddings and mistakes too, see `scripts.reports.tensorboard`.

    Raises
    ------
    ConfigError : no such run, its table now holds another split than it was trained with, or `tensorboard`
        without a report.
    TableError, CacheError, CheckpointError : something it needs is missing or damaged.
    """
    reported = pick("part", part, PARTS) == "test" and checkpoint == BEST
    if tensorboard and not reported:
        raise ConfigError("--tensorboard shows the test of the best epoch; leave out --part and --checkpoint")
    experiment = run.experiment()
    data = data or Data.load(experiment)
    check_split(run, experiment, data)
    trainer, epoch = tester(run, experiment, checkpoint)
    tests = {
        name: trainer.test(data.scoring_loader(experiment, name), epoch)
        for name in dict.fromkeys(("validation", part))  # in the same order in all ranks
        if name in set(data.items.tracks["split"])
    }
    summary = summarise_part(experiment, data, part, tests, top_k)
    facts = facts_of(run, experiment, data, part, checkpoint, epoch)
    if reported and not rank():
        write_tests(run, data, tests, facts, summary)
    leaks = f", leaks: {'; '.join(facts['leaks'])}" if facts["leaks"] else ""
    subset = "".join(f", {name}={value}" for name, value in experiment.data.subset.items())
    print(f"{run.name}, epoch {epoch}, {part}, split {data.fingerprint}{subset}{leaks}; {facts['precision']}")
    print(describe_test(summary))
    if tensorboard:
        show(run, experiment, data, trainer, tests[part], facts | summary)
    return facts | summary


def check_split(run: Run, experiment: Experiment, data: Data) -> None:
    config = run.load_config()
    if config["split"] != data.fingerprint or config["classes"] != data.classes:
        raise ConfigError(
            f"{experiment.data.table} now has the split {data.fingerprint}, but {run.name} was trained with "
            f"{config['split']}; make the metadata again with the old --split and --seed, or train again"
        )


def tester(run: Run, experiment: Experiment, checkpoint: str) -> tuple[Trainer, int]:
    """A trainer that only tests, with the weights of a checkpoint, and the epoch they are of."""
    keep_freed_memory()
    model, epoch = run.load(checkpoint)
    optimizer = torch.optim.SGD([torch.zeros(1)])  # trains nothing; a network may have no parameters
    criterion = MULTI_LABEL["bce"]() if experiment.task == "multi_label" else nn.CrossEntropyLoss()
    return Trainer(model, criterion, optimizer, settings=experiment.training), epoch


def facts_of(run: Run, experiment: Experiment, data: Data, part: str, checkpoint: str, epoch: int) -> dict[str, Any]:
    """What scores are of: run, part, split, seed, epoch, number formats in training and testing, and known leaks.

    The leaks by the weights that the run started from are those of its start, or of now if it did not write them down.
    """
    inherited = json.loads(run.config_path.read_text(encoding="utf-8")).get("inherited")
    if inherited is None:
        inherited = inherited_leaks(experiment, data.used)
    asked = "" if experiment.training.precision == "auto" else experiment.training.precision
    precision = load_checkpoint(run.checkpoints / checkpoint).get("precision", asked)
    return {
        "run": run.name,
        "part": part,
        "split": data.fingerprint,
        "seed": experiment.training.seed,
        "best_epoch": epoch,
        **experiment.data.subset,
        "precision": describe_precision(precision),
        "leaks": [*data.leaks, *inherited],
    }


def summarise_part(experiment: Experiment, data: Data, part: str, tests: dict[str, Any], top_k: int) -> dict[str, Any]:
    left_out = data.left_out[data.left_out["split"] == part]
    facts = data.items.part(part), data.items.part("train"), data.classes, left_out, tests.get("validation")
    if experiment.task == "multi_label":
        return multi_label.summarise(tests[part], *facts, experiment.test.aggregation, experiment.test.thresholds)
    return single_label.summarise(tests[part], *facts, top_k)


def write_tests(run: Run, data: Data, tests: dict[str, Scores], facts: dict[str, Any], summary: dict[str, Any]) -> None:
    """The report, the predictions of validation, the scores in the run's log, and the thresholds in its checkpoint."""
    scores, items, names = tests["test"], data.items.part("test"), data.classes
    if isinstance(scores, MultiLabelScores):
        figures = multi_label.write_report(run.report, facts, summary, scores, items, names)
        best = run.checkpoints / BEST
        save_checkpoint(best, load_checkpoint(best) | {"thresholds": summary["thresholds"]})
    else:
        write_csv(run.report / "clips.csv", single_label.clips_table(scores, items, names))
        table = predictions_table(scores, items, names, summary)
        single_label.write_report(run.report, facts, summary, table, names)
        figures = {"confusion_matrix": confusion_matrix(summary["confusion"], names)}
    if "validation" in tests:
        table = predictions_table(tests["validation"], data.items.part("validation"), names, summary)
        write_csv(run.report / FILES["validation"], table)
    RunLog(run.logs).add_test(scores, facts["best_epoch"], figures)


def show(
    run: Run, experiment: Experiment, data: Data, trainer: Trainer, scores: Scores, summary: dict[str, Any]
) -> None:
    """Settings, embeddings and mistakes in TensorBoard."""
    from scripts.reports.tensorboard import Board

    loader = data.scoring_loader(experiment, "test")
    with Board(run.logs, summary["best_epoch"]) as board:
        board.add_settings(experiment, summary)
        board.add_embeddings(trainer, loader)
        decoded, wanted = board.add_mistakes(scores, loader.items.tracks, data.classes, experiment)
    print(
        f"tensorboard --logdir {run.root}/logs: settings and scores under HPARAMS, embeddings of "
        f"{len(loader.items.tracks)} tracks under PROJECTOR, audio of {decoded} of {wanted} mistakes under AUDIO"
    )


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.evaluate(argv)
    scores = evaluate(Run(args.run, args.runs), None, args.part, args.checkpoint, args.top_k, args.tensorboard)
    if "per_label" in scores:
        print(pd.DataFrame(scores["per_label"], dtype=float).T.to_string(na_rep="-"))
    else:
        print(pd.DataFrame(scores["per_genre"]).T.astype({"tracks": int}).round(3).to_string())
