"""What the API answers."""

import json
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.types import Send

from scripts.apps.api.batching import map_ahead
from scripts.apps.api.documentation import STYLE_ALONE, documentation_page
from scripts.apps.api.errors import ApiError, from_audio_error
from scripts.apps.api.evaluate import FILES_AHEAD, evaluate
from scripts.apps.api.schemas import (
    Answer,
    Evaluation,
    EvaluationRequest,
    FileError,
    FileResult,
    Health,
    ModelInfo,
    Problem,
    StreamedWindow,
    StreamEnd,
    StreamRequest,
    example_of,
    file_error,
    file_result,
    model_info,
    window_results,
)
from scripts.apps.api.service import Model
from scripts.apps.api.uploads import Upload, read_json, read_uploads
from scripts.common.errors import AudioError
from scripts.inference.predictor import Prediction

PROBLEMS = {
    400: "the body is broken",
    401: "no token, or a wrong one",
    404: "no such model, file or folder",
    408: "the body takes too long to arrive",
    413: "too many bytes or files, or audio that is too long",
    415: "a body of another type, or a file that is no audio",
    422: "audio that is silent, short or damaged; or a value that is not allowed",
    429: "too many requests a minute; see Retry-After",
    503: "too many requests at a time, or a full disk; see Retry-After",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text} for status, text in PROBLEMS.items()
}
FILES = {
    "type": "object",
    "required": ["files"],
    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
}
LINES = "\n".join(json.dumps(example_of(kind)) for kind in (StreamedWindow, FileResult, FileError, StreamEnd))
NDJSON = "application/x-ndjson"
Line = StreamedWindow | FileResult | FileError  # of a stream, before its end


class Lines(StreamingResponse):
    """NDJSON, whose generator ends with the answer, also where the client goes before."""

    media_type = NDJSON
    body_iterator: AsyncGenerator[str]

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.body_iterator):
            await super().stream_response(send)


async def authorise(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
) -> None:
    """Let in who gives the server's token, or everybody where it has none; raises an ApiError (401) otherwise."""
    token = request.app.state.token
    if token is not None and (given is None or not secrets.compare_digest(given.credentials.encode(), token.encode())):
        error = "no token" if given is None else "wrong token"
        remedy = "send the header 'Authorization: Bearer TOKEN' with the token that the server was started with"
        raise ApiError(401, error, remedy, {"WWW-Authenticate": "Bearer"})


async def choose_model(
    request: Request, model: Annotated[str | None, Query(description="default: the first of /models")] = None
) -> Model:
    models: dict[str, Model] = request.app.state.models
    if model is None:
        return next(iter(models.values()))
    if model not in models:
        raise ApiError(404, f"no model {model[:200]!r}", f"choose one of {', '.join(models)}")
    return models[model]


async def make_folder(request: Request) -> AsyncIterator[Path]:
    """For the files of one request; it goes with them when the answer has been sent."""
    with tempfile.TemporaryDirectory(dir=request.app.state.folder) as folder:
        yield Path(folder)


ChosenModel = Annotated[Model, Depends(choose_model)]
Folder = Annotated[Path, Depends(make_folder)]
Top = Annotated[int, Query(ge=1, le=10_000, description="how many labels, the likeliest first")]

open_router = APIRouter()
router = APIRouter(dependencies=[Depends(authorise)], responses=RESPONSES)


def body(**content: dict[str, Any]) -> dict[str, Any]:
    """What the documentation says of a body that is read by hand, as it comes."""
    kinds = {"files": "multipart/form-data", "json": "application/json"}
    return {"requestBody": {"required": True, "content": {kinds[kind]: schema for kind, schema in content.items()}}}


def json_schema(kind: type[BaseModel]) -> dict[str, Any]:
    return {"schema": kind.model_json_schema()}


@open_router.get("/health")
async def health(request: Request) -> Health:
    """Whether the server is there."""
    return Health(models=list(request.app.state.models))


@open_router.get("/docs", include_in_schema=False)
async def documentation(request: Request) -> HTMLResponse:
    """The documentation as a page that needs nothing but itself."""
    return HTMLResponse(documentation_page(request.app.openapi()), headers={"Content-Security-Policy": STYLE_ALONE})


@router.get("/models")
async def models(request: Request) -> list[ModelInfo]:
    """The models that requests may name, the default one first."""
    return [model_info(model) for model in request.app.state.models.values()]


@router.post("/predict", openapi_extra=body(files={"schema": FILES}), response_model_exclude_none=True)
async def predict(request: Request, model: ChosenModel, folder: Folder, top: Top = 5, windows: bool = False) -> Answer:
    """The labels of one or many files.

    `curl -F files=@one.mp3 -F files=@two.wav http://127.0.0.1:8000/predict?top=3`. A file that cannot be used has an
    `error` in its place; if none can, the status is that of the first. With `windows=true`, the labels over time too.
    """
    uploads = await read_uploads(request, folder, request.app.state.limits)
    length = model.window_seconds if windows else None
    results = [result async for result in predict_files(model, uploads, top, length)]
    failed = [result for result in results if isinstance(result, FileError)]
    if len(failed) == len(results):
        first = failed[0]
        raise ApiError(first.status, f"{first.file}: {first.error}", first.what_to_do)
    return Answer(model=model.name, version=model.version, results=results)


@router.post(
    "/predict/stream",
    openapi_extra=body(files={"schema": FILES}, json=json_schema(StreamRequest)),
    response_class=Lines,
    responses={200: {"content": {NDJSON: {"example": LINES}}, "description": "one JSON object a line"}},
)
async def predict_stream(request: Request, model: ChosenModel, folder: Folder, top: Top = 5) -> Lines:
    """The same while it goes on, one JSON object a line.

    Uploads, or the `path` of a file, come window by window; the `path` of a folder, file by file. The last line has
    the kind `end`: an answer without it is not whole.
    """
    limits, folders = request.app.state.limits, request.app.state.folders
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        uploads = await read_uploads(request, folder, limits)
        return Lines(lines(model, follow_files(model, uploads, top)))
    given = (await read_json(request, StreamRequest, limits)).path
    paths = await model.in_decoder_pool(folders.audio_files, given, limits.tracks)
    files = [Upload(str(path), path) for path in paths]
    whole = folders.find(given).is_dir()
    results = predict_files(model, files, top) if whole else follow_files(model, files, top)
    return Lines(lines(model, results))


@router.post("/evaluate", openapi_extra=body(json=json_schema(EvaluationRequest)))
async def evaluate_table(request: Request, model: ChosenModel) -> Evaluation:
    """The scores of a model on a label table that the server may read, with the tracks it names."""
    state = request.app.state
    wanted = await read_json(request, EvaluationRequest, state.limits)
    return await evaluate(model, wanted, state.folders, state.limits.tracks)


async def predict_files(
    model: Model, files: Iterable[Upload], top: int, length: float | None = None
) -> AsyncGenerator[FileResult | FileError]:
    """Each file's labels, in order; `length`, s, of a window adds those over time."""

    async def answer(file: Upload) -> FileResult | FileError:
        try:
            return file_result(file.name, await model.predict(file.path), top, length)
        except AudioError as error:
            return file_error(file.name, from_audio_error(error, file.name))

    async with aclosing(map_ahead(answer, files, FILES_AHEAD)) as results:
        async for result in results:
            yield result


async def follow_files(model: Model, files: Iterable[Upload], top: int) -> AsyncGenerator[Line]:
    """Each file's windows as they are predicted, and then its labels."""
    length = model.window_seconds
    for file in files:
        try:
            async for step in model.predict_steps(file.path):
                if isinstance(step, Prediction):
                    yield file_result(file.name, step, top)
                    continue
                for window in window_results(model.predictor.names, *step, length, top):
                    yield StreamedWindow(file=file.name, **window.model_dump())
        except AudioError as error:
            yield file_error(file.name, from_audio_error(error, file.name))


async def lines(model: Model, results: AsyncGenerator[Line]) -> AsyncGenerator[str]:
    """As NDJSON, with a last line that names the model and counts the files."""
    kinds: Counter[str] = Counter()
    async with aclosing(results):
        async for result in results:
            kinds[result.kind] += 1
            yield result.model_dump_json(exclude_none=True) + "\n"
    files, failed = kinds["file"] + kinds["error"], kinds["error"]
    yield StreamEnd(model=model.name, version=model.version, files=files, failed=failed).model_dump_json() + "\n"
