"""The bodies of requests, with limits while they arrive: files, which get names of our own, or a little JSON."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header
from starlette.requests import ClientDisconnect

from scripts.apps.api.errors import Refusal
from scripts.apps.api.limits import Limits
from scripts.apps.api.schemas import example_of

NAME_LENGTH = 200
JSON_BYTES = 100_000
Body = TypeVar("Body", bound=BaseModel)
HOW = "send the files as multipart/form-data, as `curl -F files=@song.mp3` does"


@dataclass(frozen=True)
class Upload:
    """`name`, as the client calls it, for answers alone; `path`, where it is."""

    name: str
    path: Path


class Receiver:
    """Takes the body of a request apart as it comes."""

    def __init__(self, content_type: str, folder: Path, most: int) -> None:
        """Raises a Refusal: 415 for a body that is not multipart, 400 for one without a boundary."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise Refusal(415, f"a body of the type {content_type[:NAME_LENGTH] or 'unknown'!r}", HOW)
        if not options.get(b"boundary"):
            raise Refusal(400, "a multipart body without a boundary", HOW)
        self.uploads: list[Upload] = []
        self.most, self.whole = most, False
        keep = {"UPLOAD_DIR": str(folder), "UPLOAD_DELETE_TMP": False, "MAX_MEMORY_FILE_SIZE": 0}
        boundary = options[b"boundary"]
        self.parser = FormParser("multipart/form-data", self.refuse, self.keep, self.end, boundary, config=keep)

    def keep(self, file: File) -> None:
        """The file has arrived."""
        if len(self.uploads) == self.most:
            raise Refusal(413, f"more than {self.most} files in a request", "send several requests")
        if file.in_memory:  # an empty one
            file.flush_to_disk()
        file.close()
        name = (file.file_name or b"").decode(errors="replace")[:NAME_LENGTH]
        self.uploads.append(Upload(name, Path(file.actual_file_name.decode())))

    def refuse(self, field: Field) -> None:
        raise Refusal(400, f"the field {field.field_name.decode(errors='replace')[:NAME_LENGTH]!r} is no file", HOW)

    def end(self) -> None:
        self.whole = True

    def write(self, chunk: bytes) -> None:
        """The next bytes; raises a Refusal (400) where they are not multipart."""
        try:
            self.parser.write(chunk)
        except FormParserError:
            raise Refusal(400, "a multipart body that cannot be read", HOW) from None


async def read_uploads(request: Request, folder: Path, limits: Limits) -> list[Upload]:
    """Store the files of a multipart request in `folder`, at least one.

    Raises
    ------
    Refusal : 400 for a body that is broken or breaks off, 408 for one that takes too long, 413 for too much, 415 for
        one of another type.
    """
    receiver = Receiver(request.headers.get("content-type", ""), folder, limits.files)
    async for chunk in limited(request, limits.upload_bytes, limits.upload_seconds):
        receiver.write(chunk)
    if not receiver.whole:
        raise Refusal(400, "the body ends before its last boundary", HOW)
    if not receiver.uploads:
        raise Refusal(400, "no file in the request", HOW)
    return receiver.uploads


async def read_json(request: Request, kind: type[Body], limits: Limits) -> Body:
    """The body of a request as a model of pydantic.

    Raises
    ------
    Refusal : 408 and 413 as `read_uploads`; 422 for what is not JSON or not of this kind.
    """
    body = b"".join([chunk async for chunk in limited(request, JSON_BYTES, limits.upload_seconds)])
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise Refusal(422, f"{where}: {first['msg']}", f"send JSON such as {json.dumps(example_of(kind))}") from None


async def limited(request: Request, most: int, seconds: float) -> AsyncIterator[bytes]:
    """The body in pieces; raises a Refusal for more than `most` bytes, or if they take more than so many seconds."""
    size, announced = 0, request.headers.get("content-length", "")
    try:
        check_size(int(announced) if announced.isdecimal() else 0, most)  # believed only if it is too much
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                check_size(size, most)
                yield chunk
    except TimeoutError:
        raise Refusal(408, f"the request took more than {seconds:g} s to arrive", "send less at a time") from None
    except ClientDisconnect:
        raise Refusal(400, "the client has gone before the end of its request", "send all of it") from None


def check_size(size: int, most: int) -> None:
    if size > most:
        raise Refusal(413, f"a request of more than {most / 1e6:g} MB", "send less at a time")
