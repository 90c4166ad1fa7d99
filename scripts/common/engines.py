"""Where jobs run: on the cores of this machine, or by Ray on as many machines as share a path."""

import argparse
import contextlib
import functools
import importlib
import os
import socket
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from scripts.common.cli import require
from scripts.common.errors import ClusterError, ConfigError
from scripts.common.parallel import JOBS_AHEAD, available_cores, parallel_map, start_worker

ENGINES = ("local", "ray")
ROOT = Path(__file__).resolve().parents[2]
RETRIES = 3  # of a job whose worker or machine dies
LISTENING, LOOKING = 10, 120  # seconds for a cluster to take a connection, and for its machines to look for files
LOOKED_FOR = 16  # files of the input that every machine must see
STORE = 100 * 2**20  # bytes of shared memory for Ray's own small objects
SETTINGS = {  # of Ray, which reads them when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # and so says nothing of it
    "RAY_agent_register_timeout_ms": "120000",  # as a busy machine may need
    "RAY_task_oom_retries": str(RETRIES),  # without end otherwise
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # half a minute instead of a quarter of an hour for what is no cluster
    "RAY_py_gcs_connect_timeout_s": "10",
}
WORKER_VARIABLES = {
    "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"
}  # fmt: skip


class Engine:
    """Runs jobs, on the cores of this machine."""

    def check_shared(self, folder: Path, files: Sequence[str]) -> None:
        """Make sure that wherever jobs run they see what this process sees, as they do on one machine.

        Parameters
        ----------
        folder : that jobs write to; it exists.
        files : that jobs read, of which a few are looked for.

        Raises
        ------
        ClusterError : a machine does not see them.
        """

    def map_jobs(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], workers: int | None = None
    ) -> Iterator[Any]:
        """Yield `function(job)` for every job, in order of completion, as `parallel_map` does.

        The function writes its arrays to files, and returns little. It may run more than once for a job.
        """
        return parallel_map(function, jobs, workers)


class RayEngine(Engine):
    """Tasks of Ray, each on one core, in this process's current folder; on a cluster all machines must share it.

    A job whose worker or machine dies is run again. Nothing but jobs and what they return passes through Ray.

    Parameters
    ----------
    address : HOST:PORT of a cluster that `ray start --head` began and that this machine has joined; default: Ray starts
        on this machine alone, and ends with `close`.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self.ray: Any = None

    def connect(self, workers: int | None = None) -> Any:
        """The module ray, joined to the cluster; `workers` are the cores of one that starts here.

        Raises
        ------
        ConfigError : the package is missing, or the address is none.
        ClusterError : no cluster answers there, it has no core, or Ray does not start here.
        """
        if self.ray:
            return self.ray
        require("ray", what="--engine ray")
        place: dict[str, Any] = {"address": self.address}
        if self.address:
            check_listening(self.address)
        else:
            cores = workers or available_cores()
            place = {"address": "local", "num_cpus": cores, "object_store_memory": STORE, "include_dashboard": False}
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        ray = importlib.import_module("ray")
        variables = {"env_vars": WORKER_VARIABLES}
        try:
            ray.init(**place, runtime_env=variables, log_to_driver=False, logging_level="CRITICAL")
        except Exception as error:  # Ray raises bare ones, too
            ray.shutdown()
            what = f"the Ray cluster at {self.address} cannot be joined" if self.address else "Ray does not start here"
            reason = textwrap.shorten(str(error), 300)
            raise ClusterError(f"{what}: {reason}; see `ray status`, and docs/scale.md") from None
        self.ray = ray
        if not count_cores(ray):
            raise ClusterError(f"the Ray cluster at {self.address} has no core; let machines join it with `ray start`")
        return ray

    def check_shared(self, folder: Path, files: Sequence[str]) -> None:
        """As of `Engine`, on every machine that is in the cluster now."""
        if not self.address:
            return
        ray, folder = self.connect(), folder.absolute()
        chosen = [*files[:: len(files) // LOOKED_FOR + 1], __file__]
        sizes = {Path(path).absolute(): Path(path).stat().st_size for path in chosen if Path(path).is_file()}

        def look() -> list[Path]:  # travels as it is, for a machine that does not see this module
            unlike = [path for path in sizes if not os.access(path, os.R_OK) or path.stat().st_size != sizes[path]]
            return unlike or [folder] * (not os.access(folder, os.W_OK))

        pin = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        with tempfile.NamedTemporaryFile(prefix=".shared.", dir=folder) as probe:
            sizes = {Path(probe.name): 0} | sizes
            task = ray.remote(num_cpus=0, max_retries=0)(look)
            looks = {
                task.options(scheduling_strategy=pin(node["NodeID"], soft=False)).remote(): node["NodeManagerAddress"]
                for node in ray.nodes()
                if node["Alive"]
            }
            _, late = ray.wait([*looks], num_returns=len(looks), timeout=LOOKING)
            if late:
                raise ClusterError(f"{looks[late[0]]} of the cluster does not answer; see `ray status`")
            for ref, machine in looks.items():
                with contextlib.suppress(ray.exceptions.RayError):  # a machine that has just died
                    for path in ray.get(ref):
                        raise ClusterError(
                            f"{path}: {machine} of the cluster does not see it as this machine does, or cannot write "
                            "there; give a path that all machines share"
                        )

    def map_jobs(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], workers: int | None = None
    ) -> Iterator[Any]:
        """As of `Engine`; with an address, `workers` jobs at most run at a time.

        Raises
        ------
        ClusterError : a worker dies of the same job again and again; what was yielded stays valid.
        """
        ray, folder = self.connect(workers), str(Path.cwd())

        def run(job: Any) -> Any:
            prepare_worker(folder)
            return function(job)

        task, waiting = ray.remote(num_cpus=1, max_retries=RETRIES)(run), iter(jobs)
        running: dict[Any, Any] = {}  # jobs by their references
        while True:
            most = workers if workers and self.address else JOBS_AHEAD * count_cores(ray)
            for job in islice(waiting, max(0, most - len(running))):
                running[task.remote(job)] = job
            if not running:
                return
            ray.wait([*running])
            done, _ = ray.wait([*running], num_returns=len(running), timeout=0)
            for ref in done:
                job = running.pop(ref)
                try:
                    result = ray.get(ref)
                except ray.exceptions.RayError as error:
                    raise failure(job, error) from None
                yield result

    def close(self) -> None:
        """Leave the cluster, or end the one that was started here."""
        if self.ray:
            self.ray.shutdown()
            self.ray = None


@functools.lru_cache(1)
def prepare_worker(folder: str) -> None:
    """Once a process: the current folder, one thread, no stderr."""
    os.chdir(folder)
    start_worker(None, ())


def count_cores(ray: Any) -> int:
    return int(ray.cluster_resources().get("CPU", 0))


def failure(job: Any, error: Exception) -> Exception:
    """What a job ended with: the exception of its function, or what to say if none could be run."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ImportError) or "failed to import on the worker" in str(cause):
        lack = str(cause).strip().splitlines()[-1]
        return ClusterError(f"a machine of the cluster lacks a package: {lack}; install the requirements there")
    if isinstance(cause, Exception):
        return cause
    reason = textwrap.shorten(str(error), 300)
    return ClusterError(
        f"{getattr(job, 'path', job)}: given up, as its worker died {RETRIES + 1} times ({reason}); what was finished "
        "is kept: run the same command again, on machines with more memory for a core if it is short"
    )


def check_listening(address: str) -> None:
    """Raise an error unless something takes connections there; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ConfigError(f"{address!r} is no address of a cluster; give HOST:PORT, as `ray start --head` prints it")
    try:
        socket.create_connection((host, int(port)), LISTENING).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head --port {port}`"
        ) from None


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Where the command's jobs run."""
    parser.add_argument(
        "--engine", choices=ENGINES, default="local",
        help="local: the cores of this machine; ray: those of a cluster, docs/scale.md; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--address", metavar="HOST:PORT",
        help="of the cluster that `ray start --head` began; without it Ray starts on this machine alone",
    )  # fmt: skip


@contextlib.contextmanager
def open_engine(name: str, address: str | None = None) -> Iterator[Engine]:
    """Yield the engine that the flags choose; it connects when it is first used.

    Raises
    ------
    ConfigError : an address for the local engine.
    """
    if name == "local":
        if address:
            raise ConfigError(f"--address {address} is of a Ray cluster; add --engine ray")
        yield Engine()
        return
    with contextlib.closing(RayEngine(address)) as engine:
        yield engine
