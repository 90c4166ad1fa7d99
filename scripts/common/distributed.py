"""Several processes: the ranks that torchrun starts for one training, and independent runs, one a device."""

import contextlib
import io
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from typing import Any, TextIO, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from scripts.common.errors import ConfigError, TrainingError
from scripts.common.machine import choose_device
from scripts.common.parallel import available_cores, new_processes, stop_with_parent

T = TypeVar("T")
LOST = ("gloo", "NCCL", "Connection", "TCPStore")  # one of these is in what torch says when another rank has ended


# --- ranks of one training --------------------------------------------------------------------------------------


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes that torchrun has started, if it has; rank 0 alone prints.

    They exchange by NCCL between GPUs, of which each takes the one of its number on its machine, and else by gloo.

    Parameters
    ----------
    device : the setting, such as "auto".

    Raises
    ------
    ConfigError : more ranks on this machine than GPUs, a device that ranks cannot share out, or a rank with another
        torch version.
    TrainingError : another rank has ended.
    """
    if not distributed.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    kind, local = choose_device(device).type, int(os.environ["LOCAL_RANK"])
    if ":" in device or kind == "mps":
        raise ConfigError(f"device={device} with {os.environ['WORLD_SIZE']} ranks; set device=cuda or device=cpu")
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"rank {local + 1} of this machine has no GPU, as there are {torch.cuda.device_count()}; give "
                "torchrun --nproc-per-node as many at most"
            )
        torch.cuda.set_device(local)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
        refuse_differences(torch=torch.__version__)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere if rank() else sys.stdout):
            yield
    except RuntimeError as error:
        if not any(word in str(error) for word in LOST):
            raise
        raise TrainingError(
            "another rank of this training has ended, see its own message; start torchrun again with --resume"
        ) from None
    distributed.destroy_process_group()


def ranks() -> int:
    """How many processes train together; 1 outside `joined`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is; 0 is the one that writes and prints."""
    return distributed.get_rank() if ranks() > 1 else 0


def gather(value: T) -> list[T]:
    """What each rank has given, in their order."""
    values = [value] * ranks()
    if ranks() > 1:
        distributed.all_gather_object(values, value)
    return values


def of_first_rank(value: T) -> T:
    """What rank 0 has given."""
    values = [value]
    if ranks() > 1:
        distributed.broadcast_object_list(values)
    return values[0]


def wait_for_all() -> None:
    """Until every rank has come here."""
    if ranks() > 1:
        distributed.barrier()


def refuse_differences(**facts: Any) -> None:
    """Raise a ConfigError, on all ranks, if one of them has something else than the first."""
    first, *others = gather(facts)
    for number, other in enumerate(others, 1):
        for name, value in first.items():
            if other[name] != value:
                raise ConfigError(
                    f"rank {number} has {name} {other[name]}, rank 0 has {value}; give all ranks the same"
                )


def gather_rows(own: torch.Tensor) -> torch.Tensor:
    """The rows of all ranks, in their order; some may have none.

    Gradients reach the own rows alone. They arrive times the number of ranks, of which `replicated` takes the mean:
    so the gradient of a loss over all rows is that of one process.
    """
    if ranks() == 1:
        return own
    counts = gather_equal(torch.tensor([len(own)], device=own.device))
    rows = own.detach().new_zeros(max(int(count) for count in counts), *own.shape[1:])
    rows[: len(own)] = own.detach()
    parts = [part[: int(count)] for part, count in zip(gather_equal(rows), counts, strict=True)]
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * ranks())
    parts[rank()] = own
    return torch.cat(parts)


def gather_equal(own: torch.Tensor) -> list[torch.Tensor]:
    """The tensors of all ranks, which have the same shape."""
    parts = [torch.empty_like(own) for _ in range(ranks())]
    distributed.all_gather(parts, own)
    return parts


def replicated(model: nn.Module) -> nn.Module:
    """The network with rank 0's weights, and gradients that are the mean over the ranks; with one rank itself.

    What learns is settled here: replicate it again after freezing or unfreezing a part.
    """
    return DistributedDataParallel(model) if ranks() > 1 else model


def share_buffers(model: nn.Module) -> None:
    """Give all ranks the statistics of rank 0, which it saves."""
    for buffer in model.buffers() if ranks() > 1 else ():
        distributed.broadcast(buffer, 0)


# --- independent runs -------------------------------------------------------------------------------------------


def run_each(
    function: Callable[..., T], jobs: Sequence[tuple[Any, ...]], devices: Sequence[str] = (), setting: str = "auto"
) -> list[T]:
    """`function(*job)` for every job; with `devices` in as many processes, each of which takes the next job.

    What a process prints begins with its number and device. All end when one fails.

    Parameters
    ----------
    function : of a module that can be imported.
    devices : "cpu", or the number of a GPU; none: all jobs run here, one after the other.
    setting : the `device` that the jobs' experiments have.

    Returns
    -------
    The results, in the order of the jobs.

    Raises
    ------
    ConfigError : no such device, or one that is not what the experiments' setting takes.
    TrainingError : a process was killed.
    """
    if not devices:
        return [function(*job) for job in jobs]
    check_devices(devices, setting)
    context, before = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    free: SimpleQueue[tuple[int, str, int]] = context.SimpleQueue()
    for number, device in enumerate(devices):
        free.put((number, device, max(1, available_cores() // len(devices))))
    with ProcessPoolExecutor(min(len(devices), len(jobs)), context, start_on_device, (free,)) as pool:
        try:
            with new_processes():
                futures = [pool.submit(function, *job) for job in jobs]
                pool.submit(int)  # the pool watches over a process only from the next job on
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((one for one in futures if one.done() and one.exception()), None)
            return [future.result() for future in ([failed] if failed else futures)]
        except BaseException as error:
            for process in set(multiprocessing.active_children()) - set(before):
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise TrainingError("a process was killed; start the same command again with --resume") from None
            raise


def check_devices(devices: Sequence[str], setting: str) -> None:
    """Raise a ConfigError for a device that is not here, or that experiments with this setting would not take."""
    kind, count = choose_device(setting).type, torch.cuda.device_count()
    for device in devices:
        if device != "cpu" and not (device.isdecimal() and int(device) < count):
            raise ConfigError(f"--devices {device}: give cpu, or the number of one of the {count} GPUs here")
        wanted = "cpu" if device == "cpu" else "cuda"
        if kind != wanted or ":" in setting:
            raise ConfigError(f"--devices {device} with device={setting}; add --set device={wanted}")


def start_on_device(free: "SimpleQueue[tuple[int, str, int]]") -> None:
    """In a new process: one of the devices, its share of the cores, and an end with the parent."""
    number, device, threads = free.get()
    torch.set_num_threads(threads)
    if device != "cpu":
        torch.cuda.set_device(int(device))
    sys.stdout, sys.stderr = (Labelled(stream, f"[{number} {device}] ") for stream in (sys.stdout, sys.stderr))
    threading.Thread(target=stop_with_parent, daemon=True).start()


class Labelled(io.TextIOBase):
    """Lines to a stream, each behind a label and written at once, so that those of several processes stay whole."""

    def __init__(self, stream: TextIO, label: str) -> None:
        self.stream, self.label, self.line = stream, label, ""

    def write(self, text: str) -> int:
        *lines, self.line = (self.line + text).split("\n")
        self.stream.write("".join(f"{self.label}{line}\n" for line in lines))
        self.stream.flush()
        return len(text)
