"""The bodies of requests, with limits while they arrive: files, which get names of our own, or a little JSON."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from scripts.apps.api.errors import ApiError
from scripts.apps.api.limits import Limits
from scripts.apps.api.schemas import example_of

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

NAME_LENGTH = 200
JSON_BYTES = 100_000
Body = TypeVar("Body", bound=BaseModel)
UNREADABLE = "a multipart body that cannot be read"
MULTIPART = "send the files as multipart/form-data, as `curl -F files=@song.mp3` does"


@dataclass(frozen=True)
class Upload:
    """A file that arrived: `name` is the client's, for answers alone; `path` is its place here."""

    name: str
    path: Path


class UploadParser:
    """Takes the body of a request apart as it comes, and stores its files; `close` it, however the request ends."""

    def __init__(self, content_type: str, folder: Path, max_files: int) -> None:
        """Raises an ApiError: 415 for a body that is not multipart, 400 for one without a boundary that can be used."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise ApiError(415, f"a body of the type {content_type[:NAME_LENGTH] or 'unknown'!r}", MULTIPART)
        if not options.get(b"boundary"):
            raise ApiError(400, "a multipart body without a boundary", MULTIPART)
        self.folder, self.max_files, self.complete = folder, max_files, False
        self.uploads: list[Upload] = []
        self.file: BinaryIO = io.BytesIO()
        self.headers: dict[bytes, bytes] = {}
        self.name = self.value = b""
        events: MultipartCallbacks = {
            "on_part_begin": self.headers.clear,
            "on_header_field": self.add_name,
            "on_header_value": self.add_value,
            "on_header_end": self.end_header,
            "on_headers_finished": self.begin_file,
            "on_part_data": self.add_data,
            "on_part_end": self.close,
            "on_end": self.end,
        }
        with readable():
            self.parser = MultipartParser(options[b"boundary"], events)

    def add_name(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def add_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def end_header(self) -> None:
        self.headers[self.name.lower()] = self.value
        self.name = self.value = b""

    def begin_file(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        if b"name" not in options:
            raise ApiError(400, UNREADABLE, MULTIPART)
        if b"filename" not in options:
            field = options[b"name"].decode(errors="replace")[:NAME_LENGTH]
            raise ApiError(400, f"the field {field!r} is no file", MULTIPART)
        if len(self.uploads) == self.max_files:
            raise ApiError(413, f"more than {self.max_files} files in a request", "send several requests")
        name = options[b"filename"].decode(errors="replace")[:NAME_LENGTH] or "a file without a name"
        self.uploads.append(Upload(name, self.folder / str(len(self.uploads))))
        self.file = self.uploads[-1].path.open("xb")

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self.file.write(data[start:end])

    def end(self) -> None:
        self.complete = True

    def write(self, chunk: bytes) -> None:
        """The next bytes; raises an ApiError (400) where they are not multipart, an OSError if the disk is full."""
        with readable():
            self.parser.write(chunk)

    def close(self) -> None:
        """Close the file in hand, if any; an OSError if the disk has no room for its rest, but closed it is."""
        self.file.close()


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Refuse (400) what the parser does not understand."""
    try:
        yield
    except FormParserError:
        raise ApiError(400, UNREADABLE, MULTIPART) from None


async def read_uploads(request: Request, folder: Path, limits: Limits) -> list[Upload]:
    """Store the files of a multipart request in `folder`, at least one.

    Raises
    ------
    ApiError : 400 for a body that is broken or breaks off, 408 for one that takes too long, 413 for too much, 415 for
        one of another type.
    """
    parser = UploadParser(request.headers.get("content-type", ""), folder, limits.files)
    async with aclosing(limited(request, limits.upload_bytes, limits)) as chunks:
        try:
            async for chunk in chunks:
                parser.write(chunk)
        finally:
            parser.close()
    if not parser.complete:
        raise ApiError(400, "the body ends before its last boundary", MULTIPART)
    if not parser.uploads:
        raise ApiError(400, "no file in the request", MULTIPART)
    return parser.uploads


async def read_json(request: Request, kind: type[Body], limits: Limits) -> Body:
    """The body of a request as a model of pydantic.

    Raises
    ------
    ApiError : 408 and 413 as `read_uploads`; 422 for what is not JSON or not of this kind.
    """
    async with aclosing(limited(request, JSON_BYTES, limits)) as chunks:
        body = b"".join([chunk async for chunk in chunks])
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise ApiError(422, f"{where}: {first['msg']}", f"send JSON such as {json.dumps(example_of(kind))}") from None


async def limited(request: Request, max_bytes: int, limits: Limits) -> AsyncGenerator[bytes]:
    """The body in pieces; raises an ApiError for more than `max_bytes`, or if it takes longer than the limits allow."""
    size, announced, now = 0, request.headers.get("content-length", ""), asyncio.get_running_loop().time
    end = now() + limits.upload_seconds
    try:
        check_size(int(announced) if announced.isdecimal() else 0, max_bytes)  # believed only if it is too much
        async with asyncio.timeout_at(min(end, now() + limits.silence_seconds)) as timeout:
            async for chunk in request.stream():
                timeout.reschedule(min(end, now() + limits.silence_seconds))
                size += len(chunk)
                check_size(size, max_bytes)
                yield chunk
    except TimeoutError:
        late = f"nothing came for {limits.silence_seconds:g} s, or not all within {limits.upload_seconds:g} s"
        raise ApiError(408, late, "send less at a time") from None
    except ClientDisconnect:
        raise ApiError(400, "the client has gone before the end of its request", "send all of it") from None


def check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ApiError(413, f"a request of more than {max_bytes / 1e6:g} MB", "send less at a time")
