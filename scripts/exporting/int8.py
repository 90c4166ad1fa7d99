"""ONNX graphs that compute with 8 bits, and what they lose by it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logit

from scripts.audio import mix_down, resample
from scripts.data import Data
from scripts.errors import ProjectError
from scripts.evaluate import check_split
from scripts.exporting.graphs import open_session, quiet
from scripts.metrics import track_means
from scripts.predictor import Predictor
from scripts.runs import Run
from scripts.tag_metrics import aggregate, tag_scores
from scripts.tag_report import track_labels
from scripts.utils.data_loading import Items
from scripts.utils.demo import make_artist
from scripts.utils.synthesis import GENRES, SAMPLE_RATE, compose

if TYPE_CHECKING:
    import onnx

Answer = Callable[[np.ndarray], np.ndarray]  # spectrograms [items, ...] -> probabilities [items, classes]

BATCH = 32
LEAST = 1e-7  # distance of a probability from 0 and 1, so that its logit is finite
COMPOSED_SECONDS = 12.0  # of music in each genre, where there is no test part


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


def describe_loss(run: Run, predictor: Predictor, graph: "onnx.ModelProto", small: "onnx.ModelProto") -> str:
    """What `small` loses against `graph`, both from spectrograms, in one line.

    Scores of the run's test part, if its table and cache are here as they were; else how many predictions agree on
    composed music.
    """
    answers = answerer(graph), answerer(small)
    try:
        data = Data.load(predictor.experiment)
        check_split(run, predictor.experiment, data)
    except ProjectError as error:
        return f"{describe_agreement(predictor, *answers)}; not scored on the test part ({error})"
    items = data.items.part("test")
    before, after = (score(predictor, items, answer) for answer in answers)
    told = [f"{name} {before[name]:.3f} -> {after[name]:.3f} ({after[name] - before[name]:+.3f})" for name in before]
    return f"{', '.join(told)}, {len(items.tracks)} test tracks"


def answerer(graph: "onnx.ModelProto") -> Answer:
    session = open_session(graph)

    def answer(values: np.ndarray) -> np.ndarray:
        batches = np.split(values, range(BATCH, len(values), BATCH))
        return np.concatenate([session.run(None, {"spectrogram": batch.astype(np.float32)})[0] for batch in batches])

    return answer


def score(predictor: Predictor, items: Items, answer: Answer) -> dict[str, float]:
    """The main scores of a part."""
    probabilities = answer(items.array[items.index])
    if predictor.thresholds is not None:
        logits = logit(probabilities.astype(float).clip(LEAST, 1 - LEAST))
        tracks = aggregate(logits, items.track, predictor.experiment.aggregation)
        found = tag_scores(track_labels(items), tracks, predictor.thresholds)
        return {"macro F1": found["f1_macro"], "mAP": found["average_precision_macro"]}
    tracks = track_means(np.log(probabilities.clip(LEAST)), items.track)
    return {
        "clip accuracy": float(np.mean(probabilities.argmax(1) == items.labels)),
        "track accuracy": float(np.mean(tracks.argmax(1) == items.tracks["class"])),
    }


def describe_agreement(predictor: Predictor, answer: Answer, other: Answer) -> str:
    """On how many windows of composed music both predict the same."""
    values = predictor.values(np.concatenate([predictor.cut(waveform)[1] for waveform in composed(predictor)]))
    before, after = (decide(predictor, one(values)) for one in (answer, other))
    return f"{(before == after).all(axis=1).sum()} of {len(values)} predictions on composed music agree"


def decide(predictor: Predictor, probabilities: np.ndarray) -> np.ndarray:
    """Probabilities [items, classes] -> the likeliest class [items, 1], or which labels are found [items, labels]."""
    if predictor.thresholds is None:
        return probabilities.argmax(1)[:, None]
    return probabilities >= predictor.thresholds


def composed(predictor: Predictor) -> list[np.ndarray]:
    """Some music of each genre of the demo corpus, float32 [samples] each."""
    rate = predictor.experiment.spec.sample_rate
    pieces = [compose(genre, make_artist(0, n), n, COMPOSED_SECONDS) for n, genre in enumerate(GENRES)]
    return [resample(mix_down(piece), SAMPLE_RATE, rate) for piece in pieces]
