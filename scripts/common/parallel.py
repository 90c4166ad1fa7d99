"""Many files over all cores: one process a core, each with one thread."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any

import threadpoolctl

from scripts.common.errors import ProjectError

JOBS_AHEAD = 4  # waiting jobs per worker
STARTING = threading.Lock()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Any]:
    """Yield `function(job)` for every job, in order of completion.

    Workers are not copies of this process, whose threads they would lack: on Linux they are forks of a server that has
    imported the module of the first call's function, elsewhere fresh processes. So they hold neither torch nor what
    else this program has imported, unless that module does. They stop with their parent, however it ends.

    Parameters
    ----------
    function : of a module that can be imported, or a partial of one; not of the program's main module.
    jobs : only a few are in flight at a time, so that memory does not grow with their number.
    workers : default: all cores.
    initializer, initargs : called once in each worker.

    Raises
    ------
    ProjectError : a worker died (killed for memory, or a crash in a decoder); what was yielded stays valid.
    """
    workers = min(workers or available_cores(), max(1, len(jobs)))
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload([getattr(function, "func", function).__module__])
    with ProcessPoolExecutor(workers, context, start_worker, (initializer, initargs)) as pool:
        waiting = iter(jobs)
        try:
            running = submit(pool, function, islice(waiting, workers * JOBS_AHEAD))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda future: future.exception() is not None):
                    yield future.result()
                running |= submit(pool, function, islice(waiting, len(done)))
        except BrokenProcessPool:
            raise ProjectError(
                "a worker process died (out of memory, or killed); what was finished is kept: "
                "run the same command again, with fewer --workers if memory is short"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def submit(pool: ProcessPoolExecutor, function: Callable[[Any], Any], jobs: Iterable[Any]) -> set[Future[Any]]:
    """Hand jobs to the pool, which starts its workers with the first of them."""
    with new_processes():
        return {pool.submit(function, job) for job in jobs}


@contextlib.contextmanager
def new_processes() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C, and do not import the program's main module.

    That may import much, and a script without `if __name__ == "__main__"` would run again in each of them.
    """
    resource_tracker.ensure_running()  # which lets Ctrl-C through again
    with STARTING:
        main, signals = sys.modules["__main__"], signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def start_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """One thread, no stderr, and an end with the parent."""
    nowhere = os.open(os.devnull, os.O_WRONLY)  # libsndfile's MP3 decoder writes there; the rows hold it, too
    os.dup2(nowhere, 2)
    os.close(nowhere)
    threadpoolctl.threadpool_limits(1)
    threading.Thread(target=stop_with_parent, daemon=True).start()
    if initializer:
        initializer(*initargs)


def stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
