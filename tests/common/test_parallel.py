"""Work in processes: what the workers hold, and that they end with their parent."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path

import pandas as pd
import pytest

from scripts.audio.build_cache import build_cache
from scripts.common import parallel
from scripts.common.errors import ProjectError
from scripts.common.parallel import parallel_map
from tests.common import jobs
from tests.corpus import SPEC, make_corpus

ROOT = Path(__file__).resolve().parents[2]
# Without the usual guard: a worker that imported it would start anew. torch computes in threads, which no fork has.
SCRIPT = """
import sys
import pandas as pd
import torch
from scripts.audio.build_cache import build_cache
from scripts.common.parallel import parallel_map
from tests.common import jobs
from tests.corpus import SPEC

torch.zeros(500, 500) @ torch.zeros(500, 500)
cache = build_cache(pd.read_csv(sys.argv[1]), sys.argv[2], SPEC, workers=2)
print(len(cache.rows), "cached; torch in the workers:", *parallel_map(jobs.has_torch, [0, 1]))
"""
WAITS = """
import sys
from scripts.common.parallel import parallel_map
from tests.common import jobs
list(parallel_map(jobs.write_and_wait, [sys.argv[1]] * 2, 2))
"""
STOPS_AT_THE_FIRST = """
import json, signal, sys
import pandas as pd
from scripts.audio import build_cache
from scripts.audio.spec import MelSpec
from scripts.common import engines
from scripts.common.cli import command

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it

def stop_at_the_first(*arguments):
    for _ in parallel_map(*arguments):
        print("the first is cached", flush=True)
        signal.pause()

@command
def cache(argv):
    build_cache.build_cache(pd.read_csv(argv[0]), argv[1], MelSpec(**json.loads(argv[2])), workers=2)

parallel_map, engines.parallel_map = engines.parallel_map, stop_at_the_first
cache(sys.argv[1:])
"""


def start(*command: object) -> subprocess.Popen:
    """Python in a process group of its own."""
    environment, pipe = os.environ | {"PYTHONPATH": str(ROOT)}, subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *map(str, command)], env=environment, text=True, stdout=pipe, stderr=pipe, process_group=0
    )


def test_workers_import_neither_torch_nor_the_script_that_starts_them(tmp_path):
    make_corpus(tmp_path, 3)
    (tmp_path / "script.py").write_text(SCRIPT)
    process = start(tmp_path / "script.py", tmp_path / "metadata_30_secs.csv", tmp_path / "mels")
    output, errors = process.communicate()
    assert output == "3 cached; torch in the workers: False False\n", errors


@pytest.mark.parametrize("name", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, name):
    """Both hold a pipe open; it ends when the last of them has."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start("-c", WAITS, pipe)
    with open(pipe, "rb", buffering=0) as file:
        assert file.read(1) + file.read(1) == b".."
        process.send_signal(name)
        assert file.read() == b""
    process.communicate()
    assert process.returncode == -name


def test_ctrl_c_is_one_line_and_the_next_start_goes_on(tmp_path):
    """It reaches the workers too, as in a terminal."""
    make_corpus(tmp_path, 6)
    table = tmp_path / "metadata_30_secs.csv"
    process = start("-c", STOPS_AT_THE_FIRST, table, tmp_path / "mels", json.dumps(SPEC.as_dict()))
    assert process.stdout.readline() == "the first is cached\n"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130 and "Traceback" not in errors
    assert errors.splitlines()[-1] == "error: stopped; run the same command again to go on"
    assert len(build_cache(pd.read_csv(table), tmp_path / "mels", SPEC).rows) == 6


def test_what_was_finished_comes_before_the_error(monkeypatch):
    """Also where both are there when this process gets to look."""
    monkeypatch.setattr(parallel, "wait", lambda running, return_when: wait(running))
    results = parallel_map(jobs.square_or_die, [2, 3, 4, 5], workers=1)
    assert {next(results) for _ in range(3)} == {4, 9, 16}
    with pytest.raises(ProjectError, match="a worker process died"):
        next(results)


def test_a_worker_that_dies_is_one_error_and_what_was_done_is_kept():
    results = parallel_map(jobs.square_or_die, [2, 5, 3], workers=1)
    assert next(results) == 4
    with pytest.raises(ProjectError, match="a worker process died"):
        list(results)
