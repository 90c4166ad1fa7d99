"""Apps, started as their users start them, and a headless Chromium that opens their pages.

A test module says `pytest_plugins = ["tests.browser"]`, and its tests take the fixtures `serve` and `open_page`. Both
live as long as the module: Playwright's event loop runs in the thread of the tests until it is stopped, and no
other module could start one of its own.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import NO_BROWSER

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 300_000  # ms, for a crowded machine
FLAGS = ["--use-fake-device-for-media-stream"]  # a microphone that beeps; a page must be allowed to hear it


@dataclass(frozen=True)
class App:
    """A running command: where its page is, and what it has printed."""

    address: str
    lines: list[str]


@contextlib.contextmanager
def running(name: str, *flags: object, folder: Path = ROOT, **variables: str) -> Iterator[App]:
    """`python -m scripts NAME flags --port N`, with a free port, in `folder`; ready once it has printed its address."""
    port = free_port()
    command = [sys.executable, "-u", "-m", "scripts", name, *map(str, flags), "--port", str(port)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as process:
        lines = read_until(process, f":{port}")
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            yield App(f"http://127.0.0.1:{port}", lines)
        finally:
            process.terminate()
            reader.join()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def read_until(process: subprocess.Popen, sign: str) -> list[str]:
    """The lines up to the first with an address and `sign`; the test fails if the command ends before."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "http://" in line and sign in line:
            return lines
    return pytest.fail(f"the app ended with {process.wait()}: {''.join(lines)}")


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., App]]:
    """`serve("try_it", "--model", "small")` starts a command for all tests of a module; see `running`."""
    with contextlib.ExitStack() as stack:
        yield lambda name, *flags, **more: stack.enter_context(running(name, *flags, **more))


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """Playwright's Browser; without it or without Chromium the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason=f"{NO_BROWSER}: the package playwright is missing")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"{NO_BROWSER}: none of {', '.join(NAMES)} is there")
    with playwright.sync_playwright() as started, started.chromium.launch(executable_path=path, args=FLAGS) as browser:
        yield browser


@pytest.fixture(scope="module")
def serious_findings(chromium) -> Callable:
    """`serious_findings(page)`: what axe-core finds seriously or critically wrong with a page as it is shown now."""
    from axe_playwright_python.sync_playwright import Axe

    def find(page) -> list[str]:
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        return [f"{one['help']}: {node['html']}" for one in grave for node in one["nodes"]]

    return find


@pytest.fixture
def open_page(chromium) -> Iterator[Callable]:
    """`open_page(address, width=1280, height=900, dark=False, permissions=())` -> Playwright's Page, loaded.

    Each page has its own cookies; it reaches 127.0.0.1 alone, and an uncaught error of its scripts fails the test.
    """
    contexts, errors = [], []

    def start(address: str, width: int = 1280, height: int = 900, dark: bool = False, permissions: tuple = ()):
        scheme, size = "dark" if dark else "light", {"width": width, "height": height}
        context = chromium.new_context(color_scheme=scheme, viewport=size, permissions=list(permissions))
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        context.route(lambda url: "//127.0.0.1" not in url, lambda route: route.abort())
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(address)
        return page

    yield start
    for context in contexts:
        context.close()
    assert not errors
