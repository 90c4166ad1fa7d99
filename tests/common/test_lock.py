"""Two at once on one output: the second waits or refuses in one line, and what the first one makes stays right."""

import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from scripts.__main__ import main
from scripts.common.errors import BusyError
from scripts.common.lock import locked
from scripts.config.run import Run
from scripts.utils import metadata
from tests.corpus import GENRES, make_corpus


@pytest.fixture
def refused(refusal: Callable[..., str]) -> Callable[..., None]:
    """`refused(NAME, *flags)` sees that the command ends in one line that says who is at work on what."""

    def call(*arguments: object) -> None:
        line = refusal(main, [str(argument) for argument in arguments])
        assert "another process is at work on it; wait until" in line

    return call


# --- the lock -----------------------------------------------------------------------------------------------


def test_one_at_a_time_and_nothing_stays(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with locked(path):
        with pytest.raises(BusyError, match=f"{path}: another process is at work on it"), locked(path):
            pass
        with locked(tmp_path / "other.csv"):
            pass
    with pytest.raises(ZeroDivisionError), locked(path):
        1 / 0  # noqa: B018 - an error gives the lock back
    with locked(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_who_waits_goes_on_when_it_is_given_back(tmp_path):
    """Each adds one to a number that it has read; without the lock some of the changes would be lost."""
    path = tmp_path / "number"
    path.write_text("0")

    def count() -> None:
        for _ in range(50):
            with locked(path, wait=True):
                path.write_text(str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "200"
    assert list(tmp_path.iterdir()) == [path]


# --- the commands -------------------------------------------------------------------------------------------


def test_every_command_with_a_journal_is_alone_at_its_output(tmp_path, refused, genre_run: Run):
    make_corpus(tmp_path, 12)
    table, audio = tmp_path / "metadata_30_secs.csv", tmp_path / "audio"
    output = tmp_path / "output"
    with locked(output):
        refused("descriptors", "--csv", table, "--output", output)
        refused("demo", "--output", output)
        refused("predict", audio, "--run", genre_run.name, "--runs", genre_run.root, "--out", output)
        refused("mixtures", "--input", table, "--part", "train=2:1", "--output", output, "--sample-rate", 8000)
    with locked(tmp_path / "fma_small.zip"):
        refused("download", "small", "--data", tmp_path)
    with locked(genre_run.report):
        settings = tmp_path / "again.json"
        settings.write_bytes(genre_run.config_path.read_bytes())
        refused("train", "--config", settings, "--runs", genre_run.root, "--resume")
    assert genre_run.load_config()["classes"] == GENRES
    assert not output.exists()


def test_both_tables_of_a_split_are_by_one_process(tmp_path, monkeypatch):
    make_corpus(tmp_path)
    output, full = tmp_path / "ensemble.csv", tmp_path / "full.csv"
    written, write = [], metadata.write_csv

    def write_alone(path: Path, table: pd.DataFrame) -> None:
        with pytest.raises(BusyError), locked(output):
            pass
        write(path, table)
        written.append(path)

    monkeypatch.setattr(metadata, "write_csv", write_alone)
    metadata.write_metadata(tmp_path / "metadata_30_secs.csv", output, full, "official", clips=1)
    assert sorted(written) == [output, full]
