"""A run's network as an ONNX graph that gives probabilities, from spectrograms or from waveforms; with 8 bits, too."""

import contextlib
import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from scripts.audio.normalise import normalise
from scripts.common.cli import require
from scripts.common.cpu_pooling import PoolReluDropout
from scripts.common.errors import ConfigError
from scripts.exporting.front_end import WITHOUT, Windows, make_front_end
from scripts.inference.predictor import Predictor
from scripts.models import BAD_VALUE

if TYPE_CHECKING:
    import onnx

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of probabilities
EXAMPLES = 2  # items in the batch that a network is traced with
WINDOWS = 2.75  # in the waveform that it is traced with


# --- networks with probabilities ----------------------------------------------------------------------------


class FromSpectrogram(nn.Module):
    """[batch, (channels,) rows, frames], as the cache holds them, -> probabilities [batch, classes]."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.network, experiment = plain(predictor.model), predictor.experiment
        self.how, self.task = experiment.normalise, experiment.task

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(normalise(x, self.how))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(x).softmax(1) if self.task == "single" else self.logits(x).sigmoid()


class FromWaveform(FromSpectrogram):
    """[batch, samples] -> probabilities [batch, classes], and those of each window [batch, windows, classes].

    Raises
    ------
    ConfigError : the experiment does something to waveforms that a graph cannot.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        experiment, spec = predictor.experiment, predictor.experiment.spec
        if spec.selection == "loudest" or experiment.unit == "patch":
            raise ConfigError(f"{experiment.name} chooses the loudest clip of a track, which a graph cannot; {WITHOUT}")
        self.windows = Windows(spec, predictor.window_samples, predictor.overlap)
        self.front_end, self.aggregate = make_front_end(spec), AGGREGATIONS[experiment.aggregation]

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        windows = self.windows(waveform)
        logits = self.logits(self.front_end(windows.flatten(0, 1))).unflatten(0, windows.shape[:2])
        if self.task == "single":
            return logits.mean(1).softmax(1), logits.softmax(2)
        return self.aggregate(logits), logits.sigmoid()


def plain(network: nn.Module) -> nn.Module:
    """A copy on the CPU, with torch's own layers in place of the compiled pooling."""
    network = copy.deepcopy(network).cpu().eval()
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, PoolReluDropout):
                setattr(module, name, nn.Sequential(nn.MaxPool2d(2), nn.ReLU()))
    return network


def over_likeliest(sums: torch.Tensor) -> torch.Tensor:
    """Divided by that of the likeliest label, which gets 1: [batch, labels]."""
    return sums / sums.amax(1, keepdim=True).clamp(min=torch.finfo(sums.dtype).tiny)


# as `scripts.metrics.multi_label.AGGREGATIONS`, from logits [batch, windows, labels]
AGGREGATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda logits: logits.mean(1).sigmoid(),
    "mean_probability": lambda logits: logits.sigmoid().mean(1),
    "max": lambda logits: logits.amax(1).sigmoid(),
    "normalised_sum": lambda logits: over_likeliest(logits.sigmoid().mean(1)),
    "attention": lambda logits: (logits.softmax(1) * logits.sigmoid()).sum(1),
}


# --- graphs -------------------------------------------------------------------------------------------------


def spectrogram_graph(predictor: Predictor) -> "onnx.ModelProto":
    """The graph spectrogram -> probabilities, for any batch, and any number of frames if the network takes that.

    Raises
    ------
    ConfigError : a package is missing, ONNX cannot express the network, or the graph answers something else.
    """
    module, example = FromSpectrogram(predictor), make_noise(predictor, "spectrogram")
    outputs, last, model = ["probabilities"], example.ndim - 1, predictor.experiment.model
    if takes_any_length(module, example):
        with contextlib.suppress(ConfigError):
            return make_graph(module, example, {0: "batch", last: "frames"}, "spectrogram", outputs, model)
    return make_graph(module, example, {0: "batch"}, "spectrogram", outputs, model)


def waveform_graph(predictor: Predictor) -> "onnx.ModelProto":
    """The graph waveform -> probabilities and windows, for any batch and length; raises as `spectrogram_graph`."""
    module, example = FromWaveform(predictor), make_noise(predictor, "waveform")
    axes, outputs = {0: "batch", 1: "samples"}, ["probabilities", "windows"]
    return make_graph(module, example, axes, "waveform", outputs, predictor.experiment.model)


def make_noise(predictor: Predictor, source: str) -> torch.Tensor:
    """What the graph from "spectrogram" or "waveform" is traced and checked with: some items of it.

    Returns
    -------
    float32 [items, (channels,) rows, frames], dB around -40; or [items, samples], a few windows long, at -20 dB.
    """
    generator, experiment = torch.Generator().manual_seed(0), predictor.experiment
    if source == "waveform":
        return 0.1 * torch.randn(EXAMPLES, round(WINDOWS * predictor.window_samples), generator=generator)
    channels = (experiment.spec.channels,) if experiment.spec.channels > 1 else ()
    return 10 * torch.randn(EXAMPLES, *channels, *experiment.shape, generator=generator) - 40


def takes_any_length(module: nn.Module, example: torch.Tensor) -> bool:
    """Whether it runs on twice as many frames."""
    with contextlib.suppress(*BAD_VALUE, ConfigError), torch.inference_mode():
        module(torch.cat([example, example], -1))
        return True
    return False


def make_graph(
    module: nn.Module,
    example: torch.Tensor,
    axes: dict[int, str],
    source: str,
    outputs: list[str],
    name: str,
) -> "onnx.ModelProto":
    """Trace a module; `axes` are the example's that may have any length, `source` is the name of its input,
    `name` the network's."""
    require(*PACKAGES, what="this export")
    names: dict[str, Any] = {"input_names": [source], "output_names": outputs, "dynamic_shapes": ({**axes},)}
    try:
        with quiet(), torch.no_grad():
            graph = torch.onnx.export(module.eval(), (example,), dynamo=True, verbose=False, **names).model_proto
    except torch.onnx.OnnxExporterError as error:
        reason = (str(error.__cause__ or error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"model {name} cannot be expressed in ONNX ({reason[:120]}); export its weights: --safetensors"
        ) from None
    check(graph, module, example, name)
    return graph


def check(graph: "onnx.ModelProto", module: nn.Module, example: torch.Tensor, name: str) -> None:
    """Raise a ConfigError if ONNX Runtime's probabilities are not torch's."""
    with torch.inference_mode():
        expected = module(example)
    expected = expected if isinstance(expected, tuple) else (expected,)
    worst = largest_difference(graph, example, [probabilities.numpy() for probabilities in expected])
    if not worst <= TOLERANCE:
        raise ConfigError(
            f"model {name}: the graph's probabilities are off by {worst:.1g}, more than {TOLERANCE:g}; "
            "export its weights: --safetensors"
        )


def largest_difference(graph: "onnx.ModelProto", example: torch.Tensor, expected: list[np.ndarray]) -> float:
    """Between the probabilities that a graph gives an example and the expected ones."""
    return max(float(np.abs(a - b).max()) for a, b in zip(answer(graph, example), expected, strict=True))


def answer(graph: "onnx.ModelProto", example: torch.Tensor) -> list[np.ndarray]:
    """A graph's outputs on ONNX Runtime."""
    return open_session(graph).run(None, {graph.graph.input[0].name: example.numpy()})


def open_session(graph: "onnx.ModelProto") -> Any:
    """An onnxruntime.InferenceSession on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def add_facts(graph: "onnx.ModelProto", facts: dict[str, Any]) -> None:
    """Put them into the graph's metadata, each value as JSON."""
    import onnx

    onnx.helper.set_model_props(graph, {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()})


def quantise(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """A copy with weights of 8 bits; the products that make the spectrogram stay float32."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    spared = [node.name for node in graph.graph.node if any(name.startswith("front_end.") for name in node.input)]
    small = onnx.ModelProto()
    small.CopyFrom(graph)
    del small.graph.value_info[:]  # of some weights it has the shape from before the exporter transposed them
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder, "int8.onnx")
        # unsigned, because not every ONNX Runtime has convolutions of signed weights
        quantize_dynamic(small, path, weight_type=QuantType.QUInt8, nodes_to_exclude=spared)
        return onnx.load(path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor logs of the exporter: what matters of them is in the error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
