"""What each network costs: parameters, multiply-accumulates (MACs) and milliseconds for one clip."""

import statistics
import time

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scripts.analysis import flags
from scripts.common.cli import command
from scripts.common.machine import choose_device
from scripts.models import build_model, count_parameters, known_models

REPEATS = 5
ON_WAVEFORMS = ("wavelet", "ast", "wav2vec2", "clap", "lora", "sample_cnn")  # their cost is that of other inputs


def summarise(names: list[str], classes: int, frames: int, mels: int, device: torch.device) -> pd.DataFrame:
    """One row per network, the smallest first: name, parameters, macs, ms_per_clip.

    Parameters
    ----------
    names : of the networks.
    classes : number of logits.
    frames, mels : size of the input.
    device : to measure the time on.

    Raises
    ------
    ConfigError : an unknown name, or an input too small for the network.
    """
    rows = [row(name, classes, frames, mels, device) for name in names]
    return pd.DataFrame(rows).sort_values(["parameters", "name"], ignore_index=True)


@torch.inference_mode()
def row(name: str, classes: int, frames: int, mels: int, device: torch.device) -> dict[str, str | int | float]:
    model = build_model(name, classes, frames, mels).to(device).to(memory_format=torch.channels_last).eval()
    clip = torch.zeros(1, 1, mels, frames, device=device)
    with FlopCounterMode(display=False) as counter:  # of convolutions and matrix products
        model(clip)
    macs = counter.get_total_flops() // 2
    return {
        "name": name,
        "parameters": count_parameters(model),
        "macs": macs,
        "ms_per_clip": milliseconds(model, clip),
    }


def milliseconds(model: nn.Module, x: torch.Tensor) -> float:
    """Median time of a forward pass, after one that does not count."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        model(x).sum().item()  # waits for the device
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def as_text(table: pd.DataFrame, markdown: bool) -> str:
    """Aligned columns, or a Markdown table."""
    lines = [
        (entry.name, f"{entry.parameters:,}", f"{entry.macs / 1e6:,.1f}", f"{entry.ms_per_clip:,.1f}")
        for entry in table.itertuples(index=False)
    ]
    header = ("network", "parameters", "million MACs", "ms per clip")
    if markdown:
        return "\n".join(f"| {' | '.join(line)} |" for line in [header, ("---", *["---:"] * 3), *lines])
    return "\n".join(f"{line[0]:20}" + "".join(f"{text:>14}" for text in line[1:]) for line in [header, *lines])


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.networks(argv)
    device = choose_device(args.device)
    names = list(dict.fromkeys(args.names)) or [name for name in known_models() if name not in {"timm", *ON_WAVEFORMS}]
    table = summarise(names, args.classes, args.frames, args.mels, device)
    print(as_text(table, args.markdown))
    print(
        f"\ninput {args.mels} mels x {args.frames} frames, {args.classes} classes; one clip on {device.type}, ", end=""
    )
    print(f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name(device))
