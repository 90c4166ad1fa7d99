"""Runs of their own on several devices; tests/test_train_ranks.py has the ranks of one training."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from scripts.common.distributed import gather, gather_rows, ranks, run_each
from scripts.common.errors import ConfigError, TrainingError
from tests.common import jobs


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


def test_jobs_run_at_once_and_results_keep_their_order(pipe, capfd):
    modes = [os.O_WRONLY, os.O_RDONLY]
    assert run_each(jobs.meet, [(pipe, mode) for mode in modes], ["cpu", "cpu"]) == modes
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0 cpu] met", "[1 cpu] met"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("fail_while_another_waits", ConfigError, "this one fails"),
        ("die_while_another_waits", TrainingError, "a process was killed; .*--resume"),
    ],
)
def test_when_one_fails_all_end(pipe, name, error, message):
    before = multiprocessing.active_children()
    with pytest.raises(error, match=message):
        run_each(jobs.either, [("write_and_wait", pipe), (name, pipe)], ["cpu", "cpu"])
    assert multiprocessing.active_children() == before


def test_without_devices_jobs_run_here():
    assert run_each(os.getpid, [(), ()]) == [os.getpid()] * 2


@pytest.mark.parametrize(
    ("devices", "setting", "message"),
    [
        (["2"], "auto", "--devices 2: give cpu, or the number of one of the 2 GPUs here"),
        (["gpu"], "auto", "--devices gpu: give cpu"),
        (["cpu"], "auto", "--devices cpu with device=auto; add --set device=cpu"),
        (["0"], "cpu", "--devices 0 with device=cpu; add --set device=cuda"),
        (["0"], "cuda:1", "--devices 0 with device=cuda:1; add --set device=cuda"),
    ],
)
def test_devices_that_are_not_here_or_not_taken(monkeypatch, devices, setting, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=message):
        run_each(os.getpid, [()], devices, setting)


def test_one_process_gathers_what_it_has():
    rows = torch.ones(2, 3, requires_grad=True)
    assert ranks() == 1 and gather("own") == ["own"] and gather_rows(rows) is rows
