"""The machine: which device, which number format, and what to record of it."""

import contextlib
import os
import platform
from collections.abc import Iterator

import numpy as np
import torch

from scripts.common.cli import pick
from scripts.common.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" takes CUDA, then Apple's MPS, then the CPU; "cuda:1" is the second GPU, "cuda" torch's current one.

    Raises
    ------
    ConfigError : unknown name, or a device that is not here.
    """
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if here[device]))
    kind, colon, number = name.partition(":")
    known = pick("device", kind if kind == "cuda" else name, DEVICES)
    if not here[known] or (colon and not (number.isdecimal() and int(number) < torch.cuda.device_count())):
        raise ConfigError(f"device {name!r} is not available here; choose --set device=auto")
    return torch.device(name)


def set_deterministic(wanted: bool) -> None:
    """Take the forms of torch's operations that give the same bits each time, or its usual ones, in this process.

    An operation that has no such form raises a RuntimeError.
    """
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = wanted
    torch.use_deterministic_algorithms(wanted)
    # which only shows faults, and takes time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The format of convolutions and products in training; weights and everything else stay float32.

    "auto" takes bfloat16 where the hardware computes with it, otherwise float32.
    """
    if pick("precision", name, PRECISIONS) != "auto":
        return getattr(torch, name)
    return torch.bfloat16 if has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether it computes with bfloat16, not in its place; a processor also if oneDNN is told to use less of it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "ALL")).upper()
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return (
        device.type == "cpu"
        and any(name in allowed for name in ("ALL", "DEFAULT", "BF16", "FP16", "AMX"))
        and any(getattr(torch.cpu, flag, bool)() for flag in flags)
    )


@contextlib.contextmanager
def in_training(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Convolutions and products in `precision`, if that is bfloat16; float32 is that of `in_float32`."""
    if precision == torch.float32:
        with in_float32(device):
            yield
    else:
        with without_subnormals(), torch.autocast(device.type, precision):
            yield


@contextlib.contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """All in float32, as scores and predictions are computed on every machine: neither bfloat16 nor TF32.

    TF32 is switched off for good, because its switches are the process's and other threads may be computing.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    with without_subnormals(), torch.autocast(device.type, enabled=False):
        yield


@contextlib.contextmanager
def without_subnormals() -> Iterator[None]:
    """A processor takes numbers below 1e-38 for zeros, in this thread and those that it starts meanwhile.

    Training with weight decay leaves some among the weights, which would take it up to a hundred times as long.
    """
    before = not (torch.tensor(1e-40) * 1).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def name_of(precision: torch.dtype) -> str:
    """ "float32" or "bfloat16"."""
    return str(precision).removeprefix("torch.")


def describe_precision(training: str) -> str:
    """The number formats, for a report; `training` is "float32", "bfloat16", or "" where it was not recorded."""
    return f"training {training or 'not recorded'}, scores float32"


def describe() -> dict[str, str | int]:
    """The machine and the versions that a result depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
