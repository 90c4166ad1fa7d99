"""Two at once on one output: the second waits or refuses in one line, and what the first one makes stays right."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from scripts.__main__ import main
from scripts.audio.cache import cache_folder
from scripts.common.errors import BusyError
from scripts.common.lock import locked
from scripts.config.run import Run
from scripts.utils import metadata
from tests.corpus import GENRES, SPEC, SPEC_FLAGS, make_corpus

ROOT = Path(__file__).resolve().parents[2]
STOPS_BEFORE_THE_END = """
import json, sys
import pandas as pd
from scripts.audio import build_cache
from scripts.audio.spec import MelSpec

finish = build_cache.finish

def told_to_finish(*arguments):
    print("all is cached", flush=True)
    sys.stdin.readline()
    finish(*arguments)

build_cache.finish = told_to_finish
table, root, spec = sys.argv[1:]
build_cache.build_cache(pd.read_csv(table), root, MelSpec(**json.loads(spec)), workers=2)
"""


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


def mels_flags(folder: Path, root: Path) -> list[str]:
    return ["--full-csv", f"{folder}/metadata_30_secs.csv", "--output-root", str(root), "--workers=2", *SPEC_FLAGS]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("ends", ["by itself", "killed"])
def test_two_caches_in_one_folder(tmp_path, refused, ends):
    """The second is refused; the first one's cache, or that of whoever comes after its end, is as one made alone."""
    make_corpus(tmp_path, 12)
    arguments = tmp_path / "metadata_30_secs.csv", tmp_path / "two", json.dumps(SPEC.as_dict())
    command, pipe = [sys.executable, "-c", STOPS_BEFORE_THE_END, *arguments], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as first:
        assert first.stdout.readline() == "all is cached\n"
        refused("mels", *mels_flags(tmp_path, tmp_path / "two"))
        refused("mels", *mels_flags(tmp_path, tmp_path / "two"), "--overwrite")
        if ends == "killed":
            os.kill(first.pid, signal.SIGKILL)
        else:
            first.stdin.write("\n")
    assert first.returncode == (-signal.SIGKILL if ends == "killed" else 0)
    for root in ("two", "alone"):
        main(["mels", *mels_flags(tmp_path, tmp_path / root)])
    assert contents(cache_folder(tmp_path / "two", SPEC)) == contents(cache_folder(tmp_path / "alone", SPEC))
    assert list((tmp_path / "two").iterdir()) == [cache_folder(tmp_path / "two", SPEC)]


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
