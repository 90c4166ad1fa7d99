"""What the tests of processes let their workers do."""

import os
import signal
import sys
import time
from pathlib import Path

from scripts.common.errors import ConfigError


def has_torch(_: object) -> bool:
    return "torch" in sys.modules


def write_and_wait(pipe: str) -> None:
    """Open a named pipe, write a byte, and hold it open for ever."""
    file = os.open(pipe, os.O_WRONLY)
    os.write(file, b".")
    while True:
        signal.pause()


def square_or_die(number: int) -> int:
    if number == 5:
        os._exit(1)
    return number**2


def meet(pipe: str, mode: int) -> int:
    """Open a named pipe, which lasts until another process opens its other end."""
    os.close(os.open(pipe, mode))
    print("met")
    return mode


def fail_while_another_waits(pipe: str) -> None:
    """Read what `write_and_wait` writes."""
    os.read(os.open(pipe, os.O_RDONLY), 1)
    raise ConfigError("this one fails")


def die_while_another_waits(pipe: str) -> None:
    os.read(os.open(pipe, os.O_RDONLY), 1)
    os.kill(os.getpid(), signal.SIGKILL)


def either(name: str, *arguments: object) -> object:
    """The function of this name."""
    return globals()[name](*arguments)


def raise_lost(path: str) -> None:
    raise FileNotFoundError(2, "lost", path)


def kill_at_first(victim: str, head: str, marker: Path, shard: object) -> int:
    """Make a shard; on the machine that is not `head` the first one's writing kills its "worker" or its "machine"."""
    import ray

    from scripts.audio import shards

    if not marker.exists() and ray.get_runtime_context().get_node_id() == head:
        while not marker.exists():
            time.sleep(0.05)
    elif not marker.exists():
        marker.touch()
        processes = [os.getppid(), os.getpid()] if victim == "machine" else [os.getpid()]
        shards.RowWriter.write = lambda *_: [os.kill(process, signal.SIGKILL) for process in processes]
    return shards.make_shard(shard)


def predict_or_die(marker: Path, job: object) -> object:
    """Predict the files of a job; the first worker dies after two of them."""
    from scripts.inference import cluster

    if not marker.exists():
        marker.touch()
        rows = job.make().in_processes(job.paths, 1)
        next(rows), next(rows)
        os.kill(os.getpid(), signal.SIGKILL)
    return cluster.predict_job(job)
