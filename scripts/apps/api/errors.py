"""Answers that are no success, as JSON: what is wrong, and what to do about it."""

import errno

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from scripts.common.errors import AudioError, ProjectError

AUDIO_STATUS = {"missing": 404, "long": 413, "unreadable": 415}  # every other reason: 422
SEE_DOCS = "see /docs for what there is"


class ApiError(ProjectError):
    """An answer that is no success.

    Attributes
    ----------
    status : HTTP status code.
    error, what_to_do : what is wrong, and how to get an answer.
    headers : further headers of the answer.
    """

    def __init__(self, status: int, error: str, what_to_do: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{error}; {what_to_do}")
        self.status, self.error, self.what_to_do, self.headers = status, error, what_to_do, headers

    @property
    def body(self) -> dict[str, str]:
        return {"error": self.error, "what_to_do": self.what_to_do}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def from_audio_error(error: AudioError, name: str) -> ApiError:
    """The answer about a file that the client calls `name`; it does not tell where the server keeps the file."""
    reason = error.reason.replace(error.path, name)
    return ApiError(AUDIO_STATUS.get(error.status, 422), reason, error.remedy)


def to_api_error(error: Exception) -> ApiError:
    """The answer to a request during which this was raised."""
    match error:
        case ApiError():
            return error
        case ProjectError():
            what, _, remedy = str(error).rpartition("; ")
            return ApiError(422, what or remedy, remedy if what else SEE_DOCS)
        case RequestValidationError():
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            return ApiError(422, f"{where}: {first['msg']}", f"correct the request; {SEE_DOCS}")
        case HTTPException():
            return ApiError(error.status_code, str(error.detail), SEE_DOCS, dict(error.headers or {}))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return ApiError(503, "the server's disk is full", "try again later", {"Retry-After": "60"})
    return ApiError(500, "the server failed at this request", "tell its owner, whose log says more")


def add_handlers(app: FastAPI) -> None:
    """Whatever is raised becomes JSON; of what is unexpected, the log alone has the traceback."""

    async def answer(_request: Request, error: Exception) -> JSONResponse:
        return to_api_error(error).response()

    for kind in (ProjectError, RequestValidationError, HTTPException, OSError, Exception):
        app.add_exception_handler(kind, answer)
