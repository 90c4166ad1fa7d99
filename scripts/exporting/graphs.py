"""A run's network as an ONNX graph that gives probabilities, from spectrograms or from waveforms; with 8 bits, too."""

import contextlib
import copy
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
from scripts.common.machine import in_float32
from scripts.exporting.front_end import WITHOUT, Usable, Windows, make_front_end
from scripts.inference.predictor import Predictor
from scripts.models import BAD_VALUE

if TYPE_CHECKING:
    import onnx

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of probabilities
EXAMPLES = 2  # items in the batch that a network is traced with
WINDOWS = 2.75  # in the waveform that it is traced with
NOISE = "noise"
WITHOUT_OFFSET = ("item", "image")  # normalisations that a shift of all values does not change


# --- networks with probabilities ----------------------------------------------------------------------------


class NormalisedNetwork(nn.Module):
    """A run's network with its normalisation, from [batch, (channels,) rows, frames] as the cache holds them."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.network, experiment = plain(predictor.model), predictor.experiment
        self.normalisation, self.task = experiment.features.normalise, experiment.task

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        if self.normalisation in WITHOUT_OFFSET:  # equal values become exact zeros, whose sum has no error
            x = x - x.amax(tuple(range(1, x.ndim)), keepdim=True)
        return self.network(normalise(x, self.normalisation))


class FromSpectrogram(NormalisedNetwork):
    """[batch, (channels,) rows, frames], as the cache holds them, -> probabilities [batch, classes]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(x).softmax(1) if self.task == "single_label" else self.logits(x).sigmoid()


class FromWaveform(NormalisedNetwork):
    """[batch, samples] -> probabilities [batch, classes], and those of each window [batch, windows, classes].

    A graph cannot raise an error: of a recording that `Predictor.prepare` refuses, all probabilities are NaN.

    Raises
    ------
    ConfigError : the experiment does something to waveforms that a graph cannot.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        experiment, spec = predictor.experiment, predictor.experiment.features.spec
        if spec.selection == "loudest" or experiment.data.unit == "patch":
            raise ConfigError(f"{experiment.name} chooses the loudest clip of a track, which a graph cannot; {WITHOUT}")
        self.usable, self.windows = Usable(spec), Windows(spec, predictor.window_samples, predictor.overlap)
        self.front_end, self.aggregate = make_front_end(spec), AGGREGATIONS[experiment.test.aggregation]

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        windows = self.windows(waveform)
        logits = self.logits(self.front_end(windows.flatten(0, 1))).unflatten(0, windows.shape[:2])
        logits = logits.where(self.usable(waveform)[..., None], torch.nan)
        if self.task == "single_label":
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
    module, examples = FromSpectrogram(predictor), make_examples(predictor, "spectrogram")
    outputs, last, model = ["probabilities"], examples[NOISE].ndim - 1, predictor.experiment.model.name
    if takes_any_length(module, examples[NOISE]):
        with contextlib.suppress(ConfigError):
            return make_graph(module, examples, {0: "batch", last: "frames"}, "spectrogram", outputs, model)
    return make_graph(module, examples, {0: "batch"}, "spectrogram", outputs, model)


def waveform_graph(predictor: Predictor) -> "onnx.ModelProto":
    """The graph waveform -> probabilities and windows, for any batch and length; raises as `spectrogram_graph`."""
    module, examples = FromWaveform(predictor), make_examples(predictor, "waveform")
    axes, outputs = {0: "batch", 1: "samples"}, ["probabilities", "windows"]
    return make_graph(module, examples, axes, "waveform", outputs, predictor.experiment.model.name)


def make_examples(predictor: Predictor, source: str) -> dict[str, torch.Tensor]:
    """What the graph from "spectrogram" or "waveform" is checked with, by name; it is traced with the first.

    Returns
    -------
    float32 [items, (channels,) rows, frames], as the cache would hold them of sounds of one window; or [items,
    samples], noise, a song that has the sounds one after another, and what `Predictor.prepare` refuses.
    """
    generator, experiment, size = torch.Generator().manual_seed(0), predictor.experiment, predictor.window_samples
    noise = 0.1 * torch.randn(EXAMPLES, round(WINDOWS * size), generator=generator)
    sounds = {
        "silence": torch.zeros(size),
        "a constant": torch.full((size,), 0.3),
        "a click": torch.zeros(size).index_fill(0, torch.tensor([size // 2]), 1),
        "loud noise": 1e4 * noise[0, :size],
    }
    if source == "spectrogram":
        channels = (experiment.features.spec.channels,) if experiment.features.spec.channels > 1 else ()
        shape = *channels, *experiment.shape
        values = torch.from_numpy(predictor.values(torch.stack([*sounds.values()]).numpy())).float()
        return {
            NOISE: 10 * torch.randn(EXAMPLES, *shape, generator=generator) - 40,
            **dict(zip(sounds, values.split(1), strict=True)),
            "equal values": torch.full((1, *shape), -47.3),
        }
    min_samples = experiment.features.spec.min_samples
    return {
        NOISE: noise,
        f"a song of noise, {', '.join(sounds)}": torch.cat([noise[0, :size], *sounds.values()])[None],
        "short noise": noise[:, :min_samples],
        "too short noise": noise[:, : min_samples - 1],
        "nothing but silence": torch.zeros(1, size),
        "nothing but a constant": torch.full((1, size), 0.3),
        "infinity": noise[:, :size].index_fill(1, torch.tensor([0]), torch.inf),
    }


def takes_any_length(module: nn.Module, example: torch.Tensor) -> bool:
    """Whether it runs on twice as many frames."""
    with contextlib.suppress(*BAD_VALUE, ConfigError), torch.inference_mode():
        module(torch.cat([example, example], -1))
        return True
    return False


def make_graph(
    module: nn.Module,
    examples: dict[str, torch.Tensor],
    axes: dict[int, str],
    source: str,
    outputs: list[str],
    name: str,
) -> "onnx.ModelProto":
    """Trace a module with the first of the examples, and check the graph with all of them.

    `axes` are those of the example that may have any length, `source` is the name of its input, `name` the network's.
    """
    require(*PACKAGES, what="this export")
    names: dict[str, Any] = {"input_names": [source], "output_names": outputs, "dynamic_shapes": ({**axes},)}
    example = next(iter(examples.values()))
    try:
        with quiet(), torch.no_grad():
            program: Any = torch.onnx.export(module.eval(), (example,), dynamo=True, verbose=False, **names)
            graph = program.model_proto
    except torch.onnx.OnnxExporterError as error:
        reason = (str(error.__cause__ or error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"model {name} cannot be expressed in ONNX ({reason[:120]}); export its weights: --safetensors"
        ) from None
    check(graph, module, examples, name)
    return graph


def check(graph: "onnx.ModelProto", module: nn.Module, examples: dict[str, torch.Tensor], name: str) -> None:
    """Raise a ConfigError if ONNX Runtime's probabilities of an example are not torch's."""
    for example, worst in differences(graph, examples, lambda x: run_module(module, x)).items():
        if not worst <= TOLERANCE:
            raise ConfigError(
                f"model {name}: the graph's probabilities of {example} are off by {worst:.1g}, more than "
                f"{TOLERANCE:g}; export its weights: --safetensors"
            )


def run_module(module: nn.Module, example: torch.Tensor) -> list[np.ndarray]:
    """A module's outputs."""
    with torch.inference_mode(), in_float32(example.device):
        outputs = module(example)
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def differences(
    graph: "onnx.ModelProto", examples: dict[str, torch.Tensor], expected: Callable[[torch.Tensor], list[np.ndarray]]
) -> dict[str, float]:
    """The largest between the probabilities that a graph gives each example and the expected ones."""
    run = open_graph(graph)
    return {
        name: max(largest_difference(a, b) for a, b in zip(run(example), expected(example), strict=True))
        for name, example in examples.items()
    }


def largest_difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Infinite where one is NaN and the other is not."""
    gap = np.abs(actual - expected)
    gap[np.isnan(actual) & np.isnan(expected)] = 0
    return float(np.nan_to_num(gap, nan=np.inf).max(initial=0))


def open_graph(graph: "onnx.ModelProto") -> Callable[[torch.Tensor], list[np.ndarray]]:
    """What gives a graph's outputs on ONNX Runtime."""
    session, source = open_session(graph), graph.graph.input[0].name
    return lambda example: session.run(None, {source: example.numpy()})


def open_session(graph: "onnx.ModelProto") -> Any:
    """An onnxruntime.InferenceSession on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


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


def compare_int8(small: "onnx.ModelProto", graph: "onnx.ModelProto", examples: dict[str, torch.Tensor]) -> str:
    """How far the probabilities of a graph with 8 bits are from those of its float32 graph.

    Raises
    ------
    ConfigError : one answers an example that the other does not.
    """
    gaps = differences(small, examples, open_graph(graph))
    worst = max(gaps, key=gaps.__getitem__)
    if not np.isfinite(gaps[worst]):
        raise ConfigError(f"with 8 bits there are no probabilities of {worst}; leave out --int8")
    return (
        f"probabilities up to {gaps[NOISE]:.2g} from those of float32, on noise; "
        f"of all examples most on {worst}, {gaps[worst]:.2g}"
    )


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
