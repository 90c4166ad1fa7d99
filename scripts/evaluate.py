"""Score a run's best epoch again and write its report."""

if __name__ == "__main__":  # as `python -m scripts evaluate`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("evaluate")

import json
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError
from scripts.common.machine import choose_device, describe_precision
from scripts.common.memory import keep_freed_memory
from scripts.common.storage import write_csv
from scripts.config import flags
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.loading.experiment_data import Data
from scripts.loading.inheritance import inherited_leaks
from scripts.metrics.test_scores import Scores, TagScores
from scripts.reports import multi_label, single_label
from scripts.reports.figures import confusion_matrix
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
) -> dict:
    """Score a checkpoint of the run on a part of its split, print the scores and return them.

    The best epoch's scores on the test part are also written as the run's report; with `tensorboard` its settings,
    embeddings and mistakes go into its log (see `scripts.reports.tensorboard`).

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
        for name in {"validation", part}
        if name in set(data.items.tracks["split"])
    }
    summary = summarise_part(experiment, data, part, tests, top_k)
    facts = {"run": run.name, "part": part, "split": data.fingerprint, "seed": experiment.seed, "best_epoch": epoch}
    leaks = [*data.leaks, *stored_leaks(run, experiment, data)]
    facts |= {"precision": precision_of(run, experiment, checkpoint), "leaks": leaks}
    if reported:
        write_tests(run, data, tests, facts, summary)
    leaks = f", leaks: {'; '.join(leaks)}" if leaks else ""
    kind = multi_label if experiment.task == "multi" else single_label
    print(f"{run.name}, epoch {epoch}, {part}, split {data.fingerprint}{leaks}; {facts['precision']}")
    print(kind.describe_summary(summary))
    if tensorboard:
        show(run, experiment, data, trainer, tests[part], facts | summary)
    return facts | summary


def stored_leaks(run: Run, experiment: Experiment, data: Data) -> list[str]:
    """The leaks by the weights it started from, as they were when it started; looked for now if it did not say."""
    stored = json.loads(run.config_path.read_text(encoding="utf-8")).get("inherited")
    return inherited_leaks(experiment, data.used) if stored is None else stored


def check_split(run: Run, experiment: Experiment, data: Data) -> None:
    config = run.load_config()
    if config["split"] != data.fingerprint or config["classes"] != data.classes:
        raise ConfigError(
            f"{experiment.table} now has the split {data.fingerprint}, but {run.name} was trained with "
            f"{config['split']}; make the metadata again with the old --split and --seed, or train again"
        )


def tester(run: Run, experiment: Experiment, checkpoint: str) -> tuple[Trainer, int]:
    """A trainer that only tests, with the weights of a checkpoint, and the epoch they are of."""
    keep_freed_memory()
    device = choose_device(experiment.device)
    model, epoch = run.load(checkpoint, device)
    optimizer = torch.optim.SGD(model.parameters())
    criterion = MULTI_LABEL["bce"]() if experiment.task == "multi" else nn.CrossEntropyLoss()
    trainer = Trainer(model, optimizer, criterion, device, run.logs, None)
    return trainer, epoch


def precision_of(run: Run, experiment: Experiment, checkpoint: str) -> str:
    """In which number formats a checkpoint was trained and is scored."""
    asked = "" if experiment.precision == "auto" else experiment.precision
    return describe_precision(load_checkpoint(run.checkpoints / checkpoint).get("precision", asked))


def summarise_part(
    experiment: Experiment, data: Data, part: str, tests: dict[str, Scores | TagScores], top_k: int
) -> dict:
    left_out = data.left_out[data.left_out["split"] == part]
    facts = data.items.part(part), data.items.part("train"), data.classes, left_out, tests.get("validation")
    if experiment.task == "multi":
        return multi_label.summarise(tests[part], *facts, experiment.aggregation, experiment.thresholds)
    return single_label.summarise(tests[part], *facts, top_k)


def write_tests(run: Run, data: Data, tests: dict[str, Scores | TagScores], facts: dict, summary: dict) -> None:
    """The report, the predictions of validation, the scores in the run's log, and the thresholds in its checkpoint."""
    scores, items, names = tests["test"], data.items.part("test"), data.classes
    if isinstance(scores, TagScores):
        figures = multi_label.write_report(run.report, facts, summary, scores, items, names)
        store_thresholds(run.checkpoints / BEST, summary["thresholds"])
    else:
        write_csv(run.report / "clips.csv", single_label.clips_table(scores, items, names))
        table = single_label.predictions_table(scores, items, names)
        single_label.write_report(run.report, facts, summary, table, names)
        figures = {"confusion_matrix": confusion_matrix(summary["confusion"], names)}
    if "validation" in tests:
        write_csv(run.report / "predictions_validation.csv", validation_table(data, tests["validation"], summary))
    RunLog(run.logs).add_test(scores, facts["best_epoch"], figures)


def validation_table(data: Data, scores: Scores | TagScores, summary: dict) -> pd.DataFrame:
    items = data.items.part("validation")
    if isinstance(scores, TagScores):
        return multi_label.predictions_table(scores, items, data.classes, summary)
    return single_label.predictions_table(scores, items, data.classes)


def store_thresholds(path: Path, thresholds: dict[str, float]) -> None:
    """A checkpoint keeps what turns its probabilities into labels."""
    save_checkpoint(path, load_checkpoint(path) | {"thresholds": thresholds})


def show(
    run: Run, experiment: Experiment, data: Data, trainer: Trainer, scores: Scores | TagScores, summary: dict
) -> None:
    """Settings, embeddings and mistakes in TensorBoard."""
    from scripts.reports.tensorboard import Board

    loader = data.scoring_loader(experiment, "test")
    with Board(run.logs, summary["best_epoch"]) as board:
        board.add_settings(experiment, summary)
        board.add_embeddings(trainer, loader)
        found, wanted = board.add_mistakes(scores, loader.items.tracks, data.classes, experiment)
    print(
        f"tensorboard --logdir {run.root}/logs: settings and scores under HPARAMS, embeddings of "
        f"{len(loader.items.tracks)} tracks under PROJECTOR, audio of {found} of {wanted} mistakes under AUDIO"
    )


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.evaluate(argv)
    scores = evaluate(Run(args.run, args.runs), None, args.part, args.checkpoint, args.top_k, args.tensorboard)
    if "per_label" in scores:
        print(pd.DataFrame(scores["per_label"], dtype=float).T.to_string(na_rep="-"))
    else:
        print(pd.DataFrame(scores["per_genre"]).T.astype({"tracks": int}).round(3).to_string())
