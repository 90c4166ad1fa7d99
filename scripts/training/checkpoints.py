"""Checkpoints: plain tensors, numbers and strings, written whole, loaded without executing anything."""

import pickle
from pathlib import Path
from typing import Any

import torch

from scripts.common.errors import CheckpointError
from scripts.common.storage import write_aside


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state`; equal states give equal bytes."""
    with write_aside(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, to the CPU.

    Raises
    ------
    CheckpointError : no such file, damaged, or holding something else than plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; train first (python -m scripts train --help)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a checkpoint of this project ({reason[:90]}); delete it or train again"
        ) from None
    if not isinstance(state, dict) or "model" not in state:
        raise CheckpointError(f"{path}: holds no model; give a checkpoint that this project's trainer wrote")
    return state


def load_weights(model: torch.nn.Module, state: dict[str, Any], path: str | Path) -> None:
    """Put a checkpoint's weights into the model.

    Raises
    ------
    CheckpointError : they are another network's, or not all of them are numbers.
    """
    try:
        model.load_state_dict(state["model"])
    except (RuntimeError, TypeError) as error:
        detail = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"{path}: weights of another network ({detail}); give its own run or checkpoint"
        ) from None
    check_finite(model, path)


def check_finite(model: torch.nn.Module, path: str | Path) -> None:
    """A CheckpointError if a weight is not a number, or infinite."""
    broken = [name for name, values in model.state_dict().items() if not torch.isfinite(values).all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} holds values that are no numbers; train again")
