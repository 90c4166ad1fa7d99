"""The JSON that goes into the API and comes out of it."""

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from scripts.apps.api.errors import ApiError
from scripts.apps.api.service import Model
from scripts.inference.predictor import Prediction

DIGITS = 5  # of probabilities
GENRES = {"Rock": 0.81243, "Folk": 0.11002}
ERROR = {"error": "not audio that libsndfile or FFmpeg can read", "what_to_do": "leave it out or replace it"}
MODEL = {"model": "genres@production", "version": "genres@3"}
VERSION = Field(description="that answers: NAME@3 of a registered model, else the run")
RESULT = {"kind": "file", "file": "song.mp3", "seconds": 30.0, "found": ["Rock"], "probabilities": GENRES}


def example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class Problem(BaseModel):
    """An answer that is no success."""

    model_config = example(ERROR)
    error: str
    what_to_do: str


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    models: list[str]


class ModelInfo(BaseModel):
    """A model that requests may name. `found` of several labels are those that reach their threshold."""

    name: str
    version: str = VERSION
    run: str
    task: Literal["single_label", "multi_label"]
    labels: list[str]
    thresholds: dict[str, float] | None
    sample_rate: int = Field(description="Hz")
    window_seconds: float
    longest_seconds: float | None = Field(description="of a file; null where any length is taken")
    split: str = Field(description="fingerprint of the split it was trained on")


class WindowResult(BaseModel):
    """One window of a file; times in seconds."""

    model_config = example({"start": 0.0, "end": 3.0, "probabilities": GENRES})
    start: float
    end: float
    probabilities: dict[str, float]


class FileResult(BaseModel):
    """One file: the likeliest labels, best first; `note` of one that is damaged says how far it was used."""

    model_config = example(RESULT)
    kind: Literal["file"] = "file"
    file: str
    seconds: float
    found: list[str]
    probabilities: dict[str, float]
    note: str | None = None
    unfamiliar: bool | None = Field(
        None, description="it is unlike all sounds of training, and `found` is empty; null where the model cannot tell"
    )
    windows: list[WindowResult] | None = None


class FileError(BaseModel):
    """One file that could not be used; `status` is what it would have got alone."""

    model_config = example({"kind": "error", "file": "page.html", "status": 415, **ERROR})
    kind: Literal["error"] = "error"
    file: str
    status: int
    error: str
    what_to_do: str


class StreamedWindow(BaseModel):
    """A line of a stream: a window of a file."""

    model_config = example({"kind": "window", "file": "song.mp3", "start": 0.0, "end": 3.0, "probabilities": GENRES})
    kind: Literal["window"] = "window"
    file: str
    start: float
    end: float
    probabilities: dict[str, float]


class StreamEnd(BaseModel):
    """The last line of a stream that is whole."""

    model_config = example({"kind": "end", **MODEL, "files": 2, "failed": 1})
    kind: Literal["end"] = "end"
    model: str
    version: str = VERSION
    files: int
    failed: int


class Answer(BaseModel):
    """The files of a request, in their order."""

    model_config = example({**MODEL, "results": [RESULT]})
    model: str
    version: str = VERSION
    results: list[FileResult | FileError]


class StreamRequest(BaseModel):
    model_config = example({"path": "data/new_songs"})
    path: str = Field(max_length=4096, description="a file or folder in one that the server may read")


class EvaluationRequest(BaseModel):
    model_config = example({"table": "data/metadata_30_secs.csv", "part": "test"})
    table: str = Field(max_length=4096, description="a label table in a folder that the server may read")
    part: Literal["train", "validation", "test"] | None = Field(
        None, description="of the table's column `split`; without it, all rows"
    )


class Evaluation(BaseModel):
    """Scores per track of a label table; intervals are 95 % bootstrap intervals over tracks."""

    model: str
    version: str = VERSION
    table: str
    part: str | None
    tracks: int
    left_out: dict[str, int] = Field(description="reason -> tracks that could not be used, and are not scored")
    errors: list[FileError] = Field(description="the first of those left out")
    trained_on: int | None = Field(
        description="scored tracks that the model has learnt from or was chosen by; null where its table is not here"
    )
    scores: dict[str, float | None]
    intervals: dict[str, tuple[float | None, float | None]]
    per_label: dict[str, dict[str, float | None]]


def model_info(model: Model) -> ModelInfo:
    predictor = model.predictor
    experiment, thresholds = predictor.experiment, predictor.thresholds
    return ModelInfo(
        name=model.name,
        version=model.version,
        run=model.run.name,
        task=experiment.task,
        labels=predictor.names,
        thresholds=None if thresholds is None else named(predictor.names, thresholds, len(thresholds)),
        sample_rate=experiment.features.spec.sample_rate,
        window_seconds=model.window_seconds,
        longest_seconds=predictor.longest,
        split=model.run.load_config()["split"],
    )


def example_of(kind: type[BaseModel]) -> dict[str, Any]:
    """As the documentation has it."""
    return kind.model_json_schema()["examples"][0]


def file_result(name: str, prediction: Prediction, top: int, length: float | None = None) -> FileResult:
    """`length`, s, of a window adds the windows."""
    windows = prediction.names, prediction.starts, prediction.windows
    return FileResult(
        file=name,
        seconds=round(prediction.seconds, 3),
        found=prediction.labels,
        probabilities=named(prediction.names, prediction.probabilities, top),
        note=prediction.note or None,
        unfamiliar=None if prediction.distance is None else prediction.unfamiliar,
        windows=None if length is None else window_results(*windows, length, top),
    )


def window_results(
    names: list[str], starts: np.ndarray, probabilities: np.ndarray, length: float, top: int
) -> list[WindowResult]:
    """Of windows [windows, classes] that start at [windows] s and are `length` s long."""
    return [
        WindowResult(
            start=round(float(start), 3), end=round(float(start) + length, 3), probabilities=named(names, row, top)
        )
        for start, row in zip(starts, probabilities, strict=True)
    ]


def named(names: list[str], values: np.ndarray, top: int) -> dict[str, float]:
    """The `top` greatest, best first."""
    return {names[number]: round(float(values[number]), DIGITS) for number in np.argsort(-values)[:top]}


def file_error(name: str, refusal: ApiError) -> FileError:
    return FileError(file=name, status=refusal.status, error=refusal.error, what_to_do=refusal.what_to_do)
