"""Many files over all cores: one process a core, each with one thread."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import threadpoolctl

from scripts.common.errors import ProjectError

JOBS_AHEAD = 4  # waiting jobs per worker


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple = (),
) -> Iterator[Any]:
    """Yield `function(job)` for every job, in order of completion.

    `workers` defaults to all cores. Only a few jobs are in flight at a time, so memory does not grow with
    their number. Workers stop with their parent, however it ends.

    Raises
    ------
    ProjectError : a worker died (killed for memory, or a crash in a decoder); what was yielded stays valid.
    """
    workers = min(workers or available_cores(), max(1, len(jobs)))
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, context, start_worker, (initializer, initargs)) as pool:
        waiting = iter(jobs)
        running = {pool.submit(function, job) for _, job in zip(range(workers * JOBS_AHEAD), waiting, strict=False)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                running |= {pool.submit(function, job) for _, job in zip(done, waiting, strict=False)}
        except BrokenProcessPool:
            raise ProjectError(
                "a worker process died (out of memory, or killed); what was finished is kept: "
                "run the same command again, with fewer --workers if memory is short"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def start_worker(initializer: Callable[..., None] | None, initargs: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpoolctl.threadpool_limits(1)
    threading.Thread(target=stop_with_parent, daemon=True).start()
    if initializer:
        initializer(*initargs)


def stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
