"""Audio files made on the spot, and runs that are trained once for all tests that only use them."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings
from matplotlib.figure import Figure

from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.metrics import single_label
from scripts.train import train
from tests.corpus import CHORDS, make_chords, make_experiment

NO_BROWSER = "needs Chromium"  # reason of the tests that are skipped without it

settings.register_profile("any machine", deadline=None, derandomize=True)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def same_draws_each_time() -> None:
    """A test's own draws (weights of a new model, for one) do not hang on the tests before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def tone_samples(seconds: float, rate: int, channels: int = 1, frequency: float = 440.0) -> np.ndarray:
    """A tone in each channel, each higher and softer than the last, and faint noise: float32 [samples, channels]."""
    time = np.arange(round(seconds * rate))[:, None] / rate
    channel = np.arange(1, channels + 1)
    noise = np.random.default_rng(channels).normal(0, 0.01, (len(time), channels))
    return (0.5 / channel * np.sin(2 * np.pi * frequency * channel * time) + noise).astype(np.float32)


@pytest.fixture
def tone(tmp_path: Path) -> Callable[..., Path]:
    """`tone("a.mp3", seconds=2.0, rate=44_100, channels=1, frequency=440.0)` writes the file below `tmp_path`."""

    def write(name: str, seconds: float = 2.0, rate: int = 44_100, channels: int = 1, frequency: float = 440.0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone_samples(seconds, rate, channels, frequency), rate)
        return path

    return write


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refusal(main, arguments)` is the one line in which the command says why it ends with exit code 2.

    What it says before it meets the error may stand above with `after` : the beginnings of these lines. Above a wrong
    flag stands the usage.
    """

    def call(command: Callable, *arguments: object, after: tuple[str, ...] = (), **settings: object) -> str:
        with pytest.raises(SystemExit) as stopped:
            command(*arguments, **settings)
        *before, last = capsys.readouterr().err.strip().splitlines()
        assert stopped.value.code == 2
        if last.startswith("error: "):
            assert all(line.startswith(after) for line in before), before
        else:
            assert ": error: " in last and before[0].startswith("usage: "), before
        return last

    return call


@pytest.fixture(scope="module")
def quick_reports() -> Iterator[None]:
    """Reports have pictures of nothing and intervals of few draws: for modules that train runs of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, path, **_: Path(path).write_bytes(b"a picture"))
        patch.setattr(single_label, "DRAWS", 500)
        yield


@pytest.fixture(scope="session")
def genre_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The 4-block CNN on High, Low and Mid tones, clips of 1 s; the tracks are in `root.parent / "audio"`."""
    folder = tmp_path_factory.mktemp("genres")
    train(make_experiment(folder, epochs=3), root=folder / "runs")
    return Run("small", folder / "runs")


@pytest.fixture(scope="session")
def head_run(genre_run: Run) -> Run:
    """A head on a network that has learnt nothing, beside statistics of the rows, on the tracks of `genre_run`."""
    model = {"name": "fitted", "network": "cnn4", "settings": {"width": 16}}
    train(genre_run.experiment().updated(name="head", model=model, epochs=1), root=genre_run.root)
    return Run("head", genre_run.root)


@pytest.fixture(scope="session")
def tag_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A lean tagger of the tones high, low and mid, none to two of them in a track; tracks as of `genre_run`."""
    table = make_chords(tmp_path_factory.mktemp("tags"))
    cache, root = table.parent / "mels", table.parent / "runs"
    train(Experiment(name="chords", table=str(table), cache=str(cache), epochs=10, **CHORDS), root=root)
    return Run("chords", root)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The two longest files first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in ("test_notebook.py", "test_documentation.py"))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on the last lines that the pages were not tried."""
    skipped = [report for report in terminalreporter.getreports("skipped") if NO_BROWSER in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} browser tests skipped: no Chromium; install it and run again", yellow=True
        )
