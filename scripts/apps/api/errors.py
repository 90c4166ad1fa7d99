"""What the API refuses, and the JSON it says so with: what is wrong, and what to do about it."""

import errno
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from scripts.common.errors import AudioError, ProjectError

AUDIO_STATUS = {"missing": 404, "long": 413, "unreadable": 415}  # every other reason: 422
FULL = (errno.ENOSPC, errno.EDQUOT)
SEE_DOCS = "see /docs for what there is"


class Refusal(ProjectError):
    """An answer that is no success.

    Attributes
    ----------
    status : of HTTP. error : what is wrong. what_to_do : how to get an answer. headers : further ones of the answer.
    """

    def __init__(self, status: int, error: str, what_to_do: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{error}; {what_to_do}")
        self.status, self.error, self.what_to_do, self.headers = status, error, what_to_do, headers

    @property
    def body(self) -> dict[str, str]:
        return {"error": self.error, "what_to_do": self.what_to_do}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def of_audio(error: AudioError, name: str) -> Refusal:
    """Of a file that the client calls `name`; where the server keeps it is not told."""
    reason = error.reason.replace(error.path, name)
    return Refusal(AUDIO_STATUS.get(error.status, 422), reason, error.remedy)


def of_os_error(error: OSError) -> Refusal:
    if error.errno in FULL:
        return Refusal(503, "the server's disk is full", "try again later", {"Retry-After": "60"})
    return unexpected()


def of_validation(error: RequestValidationError) -> Refusal:
    first = error.errors()[0]
    return Refusal(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", "correct the request; " + SEE_DOCS)


def of_http(error: HTTPException) -> Refusal:
    return Refusal(error.status_code, str(error.detail), SEE_DOCS, dict(error.headers or {}))


def unexpected(*_: Any) -> Refusal:
    return Refusal(500, "the server failed at this request", "tell its owner, whose log says more")


HANDLED = {
    Refusal: lambda error: error,
    ProjectError: lambda error: Refusal(422, *split(str(error))),
    RequestValidationError: of_validation,
    HTTPException: of_http,
    OSError: of_os_error,
    Exception: unexpected,
}


def split(text: str) -> list[str]:
    """A message of the project into what is wrong and what to do."""
    error, _, remedy = text.rpartition("; ")
    return [error, remedy] if error else [text, SEE_DOCS]


def add_handlers(app: FastAPI) -> None:
    """Whatever is raised becomes JSON; of what is unexpected, the log alone has the traceback."""
    for kind, refusal_of in HANDLED.items():

        async def answer(request: Request, error: Exception, refusal_of=refusal_of) -> JSONResponse:
            return refusal_of(error).response()

        app.add_exception_handler(kind, answer)
