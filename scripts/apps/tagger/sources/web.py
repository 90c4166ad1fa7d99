"""HTTP for sources of sounds: limits on size, time and addresses, and patience with a server that fails or is busy."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from scripts.apps.tagger.sources.addresses import PublicAdapter
from scripts.apps.tagger.sources.contract import TOO_LARGE, SourceError, too_large
from scripts.common.storage import write_aside

TIMEOUT = 30.0  # seconds without a byte
DEADLINE = 600.0  # seconds for a whole answer
TRIES = 4
BACK_OFF = 1.0  # seconds before the second try, doubled before each further one
BUSY = 60.0  # seconds to wait for a server that has had too many requests and does not say how long
LONGEST_PAUSE = 300.0  # seconds; a server that asks for more is left alone
LONGEST_LIST = 2**24  # bytes of a list of sounds
CHUNK = 2**16
MAX_REDIRECTS = 5
HEADERS = {"Accept-Encoding": "identity"}

T = TypeVar("T")
Use = Callable[[Iterable[bytes], str], T]


class Web:
    """GET requests, one after the other, each tried up to four times.

    Tried again is what may pass: no connection, no answer in time, a broken download, HTTP 429 and 5xx. The wait
    before that doubles each time, and is never shorter than what the server asks for (Retry-After).
    """

    def __init__(
        self,
        largest: int,
        wait: Callable[[float], None] = time.sleep,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
        allow_private: bool = False,
    ) -> None:
        """Nothing is asked yet.

        Parameters
        ----------
        largest : bytes of a downloaded file.
        wait : waits so many seconds.
        timeout : seconds without a byte after which a try has failed.
        deadline : seconds after which an answer that still trickles in is given up.
        allow_private : also addresses that are not public, such as those of this machine and its network.
        """
        self.largest, self.wait, self.timeout, self.deadline = largest, wait, timeout, deadline
        self.session = requests.Session()
        self.session.max_redirects = MAX_REDIRECTS
        if not allow_private:
            self.session.mount("http://", PublicAdapter())
            self.session.mount("https://", PublicAdapter())

    def read(self, url: str, auth: AuthBase | None = None) -> tuple[bytes, str]:
        """An answer of at most 16 MiB, and the address that it came from in the end; raises as `download`.

        A redirect to another host, port or scheme goes without the header that `auth` adds.
        """
        try:
            return self.get(url, lambda chunks, address: (b"".join(chunks), address), LONGEST_LIST, auth)
        except SourceError as error:
            if error.reason == TOO_LARGE:
                message = f"{redacted(url)}: a list of more than {LONGEST_LIST / 2**20:g} MiB; give a shorter one"
                raise SourceError(message, TOO_LARGE) from None
            raise

    def download(self, url: str, path: Path) -> None:
        """Write an answer to a file, whole or not at all.

        Raises
        ------
        SourceError : it cannot be had, is larger than `largest` or slower than the deadline, or lies, maybe after a
            redirect, at an address that is not public.
        OSError : it cannot be written.
        """
        self.get(url, lambda chunks, _: write(path, chunks), self.largest)

    def get(self, url: str, use: Use[T], largest: int, auth: AuthBase | None = None) -> T:
        """What `use` makes of the answer's bytes and address; of each try anew."""
        number = 1
        while True:
            try:
                return self.once(url, use, largest, auth)
            except SourceError as error:
                if number == TRIES or error.pause is None or error.pause > LONGEST_PAUSE:
                    raise
                self.wait(max(error.pause, BACK_OFF * 2 ** (number - 1)))
            number += 1

    def once(self, url: str, use: Use[T], largest: int, auth: AuthBase | None) -> T:
        try:
            with self.session.get(url, headers=HEADERS, auth=auth, stream=True, timeout=self.timeout) as response:
                check(url, response, largest)
                return use(self.chunks(url, response, largest), response.url)
        except (requests.RequestException, HTTPError, ValueError) as error:  # ValueError: led to an odd address
            raise explain(url, error) from None

    def chunks(self, url: str, response: requests.Response, largest: int) -> Iterator[bytes]:
        """The body as it arrives; a server that sends byte by byte cannot draw it out beyond the deadline."""
        size, end = 0, time.monotonic() + self.deadline
        while chunk := response.raw.read1(CHUNK, decode_content=True):
            size += len(chunk)
            if size > largest:
                raise too_large(redacted(url), largest)
            if time.monotonic() > end:
                raise SourceError(f"{redacted(url)}: not there after {self.deadline:g} s; try again later", "too slow")
            yield chunk


def write(path: Path, chunks: Iterable[bytes]) -> None:
    with write_aside(path) as temporary, temporary.open("wb") as file:
        file.writelines(chunks)


def check(url: str, response: requests.Response, largest: int) -> None:
    """Raise a SourceError unless an answer of an allowed size follows."""
    status, announced = response.status_code, response.headers.get("Content-Length", "")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        pause = BUSY if status == HTTPStatus.TOO_MANY_REQUESTS else 0.0
        with contextlib.suppress(InvalidHeader):
            pause = Retry().parse_retry_after(response.headers.get("Retry-After", ""))  # seconds, or a date
        raise http_error(url, status, pause)
    if status != HTTPStatus.OK:
        raise http_error(url, status, None)
    if announced.isdecimal() and int(announced) > largest:
        raise too_large(redacted(url), largest)


def http_error(url: str, status: int, pause: float | None) -> SourceError:
    remedy = f"it asks to wait {pause:.0f} s" if pause else "try again later" if pause == 0 else "check the address"
    return SourceError(f"{redacted(url)}: the server answers HTTP {status}; {remedy}", f"HTTP {status}", pause)


def explain(url: str, error: Exception) -> SourceError:
    """What kept a request from its answer; the error's own text may hold the address with what is secret in it."""
    if isinstance(
        error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError | HTTPError
    ):
        slow = isinstance(error, requests.Timeout)
        reason = "no answer in time" if slow else "no connection, or it broke off"
        return SourceError(f"{redacted(url)}: {reason}; check the network, or try again later", reason, 0.0)
    reason = f"not to be had ({type(error).__name__})"
    return SourceError(f"{redacted(url)}: {reason}; check the address", reason)


def redacted(url: str) -> str:
    """The address for a message, without user, password and query."""
    return url.partition("?")[0].rpartition("@")[2][:200]
