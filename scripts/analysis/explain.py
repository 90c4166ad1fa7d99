"""Where in a spectrogram a network sees a label: Grad-CAM over each window of an audio file."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn
from torch.nn.functional import interpolate

from scripts.analysis import flags
from scripts.analysis.explain_figures import heat_maps
from scripts.audio.normalise import normalise
from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError
from scripts.common.machine import in_float32
from scripts.common.plotting import save
from scripts.common.storage import write_aside
from scripts.config.run import Run
from scripts.inference.predictor import Predictor


@dataclass(frozen=True)
class Explanation:
    """One window of a file.

    Attributes
    ----------
    start : where it begins, in seconds.
    waveform : float32 [samples].
    values : float32 [rows, frames], its spectrogram; of several channels the first.
    labels : names of those explained. probabilities : float [labels].
    heat : float32 [labels, rows, frames], 0 to 1.
    """

    start: float
    waveform: np.ndarray
    values: np.ndarray
    labels: list[str]
    probabilities: np.ndarray
    heat: np.ndarray


def grad_cam(model: nn.Module, x: torch.Tensor, labels: Sequence[int] | None = None) -> np.ndarray:
    """How much each place of a spectrogram speaks for a label, by the last feature map that the label depends on.

    Grad-CAM (R. Selvaraju et al., ICCV 2017): the channels of the map, weighted by the mean of the logit's gradient
    in each, summed, without what speaks against the label; here stretched to the input, and divided by its maximum.
    A feature map is the output of any layer with at least 2 x 2 positions.

    Parameters
    ----------
    model : in evaluation mode.
    x : float32 [batch, channels, rows, frames], normalised.
    labels : numbers of the logits; default: all.

    Returns
    -------
    float32 [labels, batch, rows, frames], 0 to 1; all 0 where nothing speaks for the label.

    Raises
    ------
    ConfigError : a label depends on no feature map.
    """
    with torch.enable_grad(), in_float32(x.device), feature_maps(model) as maps:
        logits = model(x.detach().clone().requires_grad_())
    numbers = range(logits.shape[1]) if labels is None else labels
    heat = [interpolate(class_map(logits[:, n], maps), x.shape[2:], mode="bilinear")[:, 0] for n in numbers]
    return np.stack([(one / one.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy() for one in heat])


@contextlib.contextmanager
def feature_maps(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collects the feature maps [batch, channels, height, width] of a forward pass, in their order."""
    maps: list[torch.Tensor] = []

    def remember(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[2:]) >= 2:
            maps.append(output)

    handles = [module.register_forward_hook(remember) for module in model.modules()]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def class_map(logit: torch.Tensor, maps: list[torch.Tensor]) -> torch.Tensor:
    """[batch, 1, height, width], at least 0, from one logit [batch]."""
    gradients = torch.autograd.grad(logit.sum(), maps, retain_graph=True, allow_unused=True) if maps else []
    pairs = [pair for pair in zip(maps, gradients, strict=True) if pair[1] is not None]
    if not pairs:
        raise ConfigError(
            "this network has no feature maps of at least 2 x 2 positions; explain one with convolutions, such as cnn4"
        )
    values, gradient = next((pair for pair in reversed(pairs) if pair[1].any()), pairs[-1])
    return (values.detach() * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()


def explain(predictor: Predictor, path: str | Path, labels: Sequence[str] = (), top: int = 3) -> Iterator[Explanation]:
    """Each window of a file in turn, with the heat of `labels`, or of the file's `top` likeliest.

    Parameters
    ----------
    predictor : of a run whose network has feature maps.
    path : of an audio file.
    labels : names; default: the likeliest.
    top : how many those are.

    Raises
    ------
    ConfigError : an unknown label, or a network without feature maps.
    AudioError : as `Predictor.prepare`.
    """
    spec = predictor.experiment.features.spec
    if spec.kind == "waveform":
        raise ConfigError("this run reads waveforms; Grad-CAM needs one that reads spectrograms")
    names = [pick("label", name, predictor.names) for name in labels]
    file = predictor.prepare(path)
    [prediction] = predictor.predict([file])
    names = names or [name for name, _ in prediction.top(top)]
    numbers = [predictor.names.index(name) for name in names]
    for start, window, probabilities in zip(file.starts, file.waveforms, prediction.windows, strict=True):
        values = predictor.values(window[None])
        x = normalise(torch.from_numpy(values), predictor.experiment.features.normalise)
        heat = grad_cam(predictor.model, x.to(predictor.device), numbers)[:, 0]
        shown = values.astype(np.float32).reshape(-1, *values.shape[-2:])[0]
        yield Explanation(start, window, shown, names, probabilities[numbers], heat)


def write_explanation(window: Explanation, predictor: Predictor, stem: Path) -> None:
    """`stem`.png and `stem`.wav, with the window's start added to the name."""
    spec = predictor.experiment.features.spec
    end = window.start + len(window.waveform) / spec.sample_rate
    titles = [f"{name}: {value:.1%}" for name, value in zip(window.labels, window.probabilities, strict=True)]
    figure = heat_maps(window.values, window.heat, spec, titles, f"{stem.name}, {window.start:.1f} to {end:.1f} s")
    name = f"{stem.name}_{window.start:.1f}s"
    save(figure, stem.with_name(f"{name}.png"))
    with write_aside(stem.with_name(f"{name}.wav")) as temporary:
        soundfile.write(temporary, window.waveform, spec.sample_rate, format="WAV")


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.explain(argv)
    run = Run(args.run, args.runs)
    predictor, folder = Predictor(run), args.output or run.report / "explained"
    windows = 0
    for window in explain(predictor, args.file, args.label, args.top):
        write_explanation(window, predictor, folder / args.file.stem)
        windows += 1
    print(f"{folder}: {windows} windows of {args.file.name}, each as .png and .wav")
