"""Predictions of many files on many machines: each core has a model of its own, and returns rows alone."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.common.engines import Engine
from scripts.config.run import Run
from scripts.inference.predict_folder import FilePredictor, Row
from scripts.inference.predictor import Predictor

FILES_OF_A_JOB = 64


class Job(NamedTuple):
    """Files to predict: their place among the jobs, their paths, and what makes the predictor."""

    number: int
    paths: Sequence[str]
    make: Callable[[], FilePredictor]


def predict_by_engine(
    engine: Engine, paths: Sequence[str], predict_file: FilePredictor, run: Run
) -> Iterator[list[Row]]:
    """Yield the rows of each file, in turn, as `predict_file.in_processes` does.

    Parameters
    ----------
    engine : whose workers see the files and the run.
    paths : of the files.
    predict_file : what the rows are to be like.
    run : that it predicts by.

    Raises
    ------
    ClusterError : a machine does not see the files, or dies again and again; rows that were yielded stay valid.
    """
    predictor = predict_file.predictor
    make = functools.partial(
        make_predictor, run, predictor.overlap, predictor.longest, predict_file.model, predict_file.min_probability,
        predict_file.by_window,
    )  # fmt: skip
    engine.check_shared(Path(), [str(run.checkpoints / "best.pt"), *paths])
    starts = range(0, len(paths), FILES_OF_A_JOB)
    jobs = [Job(number, paths[start : start + FILES_OF_A_JOB], make) for number, start in enumerate(starts)]
    early: dict[int, list[list[Row]]] = {}
    following = 0
    for number, rows in engine.map_jobs(predict_job, jobs):
        early[number] = rows
        while following in early:
            yield from early.pop(following)
            following += 1


def predict_job(job: Job) -> tuple[int, list[list[Row]]]:
    """The rows of a job's files, which one child process decodes: one that crashes it costs a row, not the worker."""
    return job.number, list(job.make().in_processes(job.paths, workers=1))


@functools.lru_cache(1)
def make_predictor(
    run: Run,
    overlap: float | None,
    longest: float | None,
    model: str,
    min_probability: float | None,
    by_window: bool,
) -> FilePredictor:
    """Once a process."""
    return FilePredictor(Predictor(run, overlap, longest), model, min_probability, by_window)
