"""Ray on two machines, both of them this one: the local engine's bytes, whatever is killed, and errors in a line."""

import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from ray.cluster_utils import Cluster

from benchmarks import engines as benchmark
from scripts import predict as predict_module
from scripts.audio import build_cache
from scripts.common import cli, engines
from scripts.common.engines import RayEngine, open_engine
from scripts.common.errors import ClusterError
from scripts.inference import cluster as cluster_module
from scripts.train import train
from scripts.utils.mels import main as mels_command
from tests.common import jobs
from tests.corpus import SPEC, SPEC_FLAGS, make_corpus, make_experiment

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ["metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port"]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_log_monitor": False}
KILLED = """
import os, signal, sys
from scripts.common.engines import RayEngine
from scripts.utils.mels import main

map_jobs = RayEngine.map_jobs

def die_at_the_third(*arguments):
    for number, result in enumerate(map_jobs(*arguments), 1):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield result

RayEngine.map_jobs = die_at_the_third
main(sys.argv[1:])
"""
KILLED_PREDICTION = """
import os, signal, sys
from scripts import predict
from scripts.inference import cluster

predict_by_engine, cluster.FILES_OF_A_JOB = predict.predict_by_engine, 4

def die_at_the_sixth(*arguments, **named):
    for number, rows in enumerate(predict_by_engine(*arguments, **named), 1):
        if number == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        yield rows

predict.predict_by_engine = die_at_the_sixth
predict.main(sys.argv[1:])
"""


def free_ports(names: list[str]) -> dict[str, int]:
    """Known from the start, so that a node need not wait for its agents, which takes long where much else runs."""
    listeners = [socket.create_server(("", 0)) for _ in names]
    ports = {name: listener.getsockname()[1] for name, listener in zip(names, listeners, strict=True)}
    for listener in listeners:
        listener.close()
    return ports


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in engines.SETTINGS.items():
            patch.setenv(name, value)
        head = NODE | {"include_dashboard": False, "no_monitor": True} | free_ports(AGENTS)
        started = Cluster(initialize_head=True, head_node_args=head)
        started.add_node(**NODE, **free_ports(AGENTS))
        yield started
        started.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pd.DataFrame]:
    """In the current folder, which its paths and the table in `labels.csv` are relative to, and no machine began in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("corpus"))
        table = make_corpus(Path(), 9)
        table.to_csv("labels.csv", index=False)
        yield table


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def expected(corpus: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("local")
    build_cache.build_cache(corpus, root, SPEC, workers=1)
    return contents(root)


def flags_of(root: Path, *more: str) -> list[str]:
    return ["--full-csv", "labels.csv", "--output-root", os.path.relpath(root), *SPEC_FLAGS, *more]


def run_until_killed(code: str, flags: list[str]) -> None:
    """Run a command whose code lets it kill itself."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run([sys.executable, "-c", code, *flags], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(corpus, expected, cluster, tmp_path, capfd):
    flags = flags_of(tmp_path, "--engine", "ray", "--address", cluster.address)
    run_until_killed(KILLED, flags)
    assert 2 < len(list(tmp_path.rglob("tracks.csv"))) <= 9
    mels_command(flags)
    assert contents(tmp_path) == expected
    output = capfd.readouterr()
    assert output.out.endswith("9 tracks: 9 ok\n") and len(output.err.splitlines()) <= 1  # nothing of Ray


def test_predictions_are_those_of_this_machine_whatever_is_killed(cluster, tmp_path, monkeypatch, capsys):
    """Row by row, also of a file that is no audio: the driver dies after five, and then a worker within its job."""
    train(make_experiment(tmp_path, epochs=1), root=tmp_path / "runs")
    (tmp_path / "audio" / "no_audio.wav").write_bytes(b"no audio")
    monkeypatch.setattr(predict_module, "FEW_FILES", 0)
    command = [str(tmp_path / "audio"), "--run", "small", "--runs", str(tmp_path / "runs"), "--windows"]
    predict_module.main([*command, "--out", str(tmp_path / "local.csv")])
    command += ["--engine", "ray", "--address", cluster.address, "--out", str(tmp_path / "ray.csv")]
    run_until_killed(KILLED_PREDICTION, command)
    assert pd.read_csv(tmp_path / "ray.csv")["file"].nunique() == 5
    monkeypatch.setattr(cluster_module, "FILES_OF_A_JOB", 4)
    monkeypatch.setattr(cluster_module, "predict_job", functools.partial(jobs.predict_or_die, tmp_path / "killed"))
    predict_module.main(command)
    assert (tmp_path / "killed").exists()
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert "1 of 19 files could not be predicted (" in capsys.readouterr().out


def test_an_exception_is_itself_and_a_job_that_kills_its_workers_is_named(cluster, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def work(job):\n    return job\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(engines, "RETRIES", 1)
    with open_engine("ray", cluster.address) as engine:
        with pytest.raises(FileNotFoundError) as raised:
            list(engine.map_jobs(jobs.raise_lost, ["a.wav"]))
        assert raised.value.filename == "a.wav"
        with pytest.raises(ClusterError, match="lacks a package: .*No module named 'only_here'"):
            list(engine.map_jobs(importlib.import_module("only_here").work, [1]))
        results = engine.map_jobs(jobs.square_or_die, [5, 2, 3], workers=1)
        with pytest.raises(ClusterError, match="^5: given up, as its worker died 2 times"):
            next(results)


def test_paths_that_a_machine_does_not_see_are_named(cluster, tmp_path, monkeypatch):
    """/proc/self/cwd is another folder in each process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mels").mkdir()
    (tmp_path / "a.wav").write_bytes(b"here")
    with open_engine("ray", cluster.address) as engine:
        engine.check_shared(tmp_path, ["a.wav", "b.wav"])
        with pytest.raises(ClusterError, match="^/proc/self/cwd/mels/.shared.*does not see it as this machine does"):
            engine.check_shared(Path("/proc/self/cwd/mels"), [])
        with pytest.raises(ClusterError, match="^/proc/self/cwd/a.wav: .* of the cluster does not see"):
            engine.check_shared(tmp_path / "mels", ["/proc/self/cwd/a.wav"])
    assert not list((tmp_path / "mels").iterdir())


@pytest.mark.parametrize("victim", ["worker", "machine"])
def test_what_a_killed_one_did_is_done_by_another(corpus, expected, cluster, tmp_path, monkeypatch, victim):
    make = functools.partial(jobs.kill_at_first, victim, cluster.head_node.node_id, tmp_path / "killed")
    monkeypatch.setattr(build_cache, "make_shard", make)
    with open_engine("ray", cluster.address) as engine:
        cache = build_cache.build_cache(corpus, tmp_path / "mels", SPEC, engine=engine)
    assert len(cache.rows) == 9 and not list(tmp_path.glob("mels/*/shards/.*"))  # nothing stays of the killed one
    build_cache.build_cache(corpus, tmp_path / "mels", SPEC)
    assert contents(tmp_path / "mels") == expected


def test_the_benchmark_of_engines(cluster, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "in_fresh_process", lambda function, *arguments: function(*arguments))
    benchmark.run(cluster.address, repeats=1, tracks=2, seconds=3.0)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert min(line["plain"], line["ours"], line["ratio"]) > 0


# --- errors -------------------------------------------------------------------------------------------------


def free_address() -> str:
    return f"127.0.0.1:{free_ports(['port'])['port']}"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--engine", "ray", "--address", free_address()], "no Ray cluster answers at 127.0.0.1:"),
        (["--engine", "ray", "--address", "nowhere"], "'nowhere' is no address of a cluster; give HOST:PORT"),
        (["--engine", "ray", "--address", "ray://here:10001"], "is no address of a cluster; give HOST:PORT"),
        (["--address", "127.0.0.1:6379"], "--address 127.0.0.1:6379 is of a Ray cluster; add --engine ray"),
    ],
    ids=["nobody there", "no port", "of a client", "local"],
)
def test_a_wrong_address_is_one_line(corpus, tmp_path, capsys, flags, words):
    with pytest.raises(SystemExit, match="2"):
        mels_command(flags_of(tmp_path, *flags))
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(cli.ConfigError, match="--engine ray needs the package ray; install it: pip install"):
        RayEngine().connect()


def test_without_an_address_ray_starts_here_with_as_many_cores_as_workers(monkeypatch):
    given: dict[str, Any] = {}

    def init(**settings: Any) -> None:
        given.update(settings)
        raise Exception("no room\nat all")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match="^Ray does not start here: no room at all;"):
        list(RayEngine().map_jobs(jobs.square_or_die, [1], workers=3))
    assert (given["address"], given["num_cpus"], given["include_dashboard"]) == ("local", 3, False)
