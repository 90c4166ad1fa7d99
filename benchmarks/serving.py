"""The API with the 4-block CNN: latency, throughput of shared forward passes, a minute of load, memory, and start.

python -m benchmarks.serving                 several minutes; the last line is JSON
taskset -c 0,1 python -m benchmarks.serving  on two cores of a larger machine

`ratio` is files per second of 16 clients at a time to those of one request after another. What the batches alone bring
stands beside it: the same 16 clients where each window has a forward pass of its own, and the passes without a server.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import CLASSES, compare, make_tracks, parser, report, temporary_folder
from scripts.config.experiments import get_experiment
from scripts.config.run import Run, make_model
from scripts.inference.predictor import Predictor
from scripts.training.checkpoints import save_checkpoint

FORM = {"Content-Type": "multipart/form-data; boundary=x"}
CLIENTS, MANY = 16, 64
LENGTHS = {"30 s": 30.0, "3 s": 3.0}  # of the mp3s
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server under test, in a process of its own; `start_s` from its start to its first prediction."""

    process: subprocess.Popen
    port: int
    start_s: float

    @property
    def cpu(self) -> float:
        """Seconds that it has worked."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")")[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    @property
    def memory(self) -> float:
        """Resident MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1000


def make_run(root: Path) -> Run:
    """`fma_cnn_3s` as it is before its first step: scores do not matter here."""
    run, experiment = Run("bench", root), get_experiment("fma_cnn_3s")
    run.save_config(experiment, classes=[f"genre {number}" for number in range(CLASSES)], split="none")
    save_checkpoint(run.checkpoints / "best.pt", {"model": make_model(experiment, CLASSES).state_dict(), "epoch": 0})
    return run


def make_songs(folder: Path) -> dict[str, Path]:
    """An mp3 of each of `LENGTHS`."""
    songs = {}
    for name, seconds in LENGTHS.items():
        (folder / name).mkdir()
        [songs[name]] = make_tracks(folder / name, 1, seconds)
    return songs


@contextmanager
def serve(run: Run, body: bytes, *flags: str) -> Iterator[Server]:
    """The API with that run; a first request with the body has been answered."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "scripts", "api", "--model", run.name, "--runs", str(run.root), "--port", "0"]
    command += ["--rate", "1e9", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(re.search(r":(\d+) ", process.stdout.readline()).group(1))
        threading.Thread(target=process.stdout.read, daemon=True).start()
        if ask(port, body) != 200:
            raise RuntimeError("the server did not answer its first request")
        yield Server(process, port, time.perf_counter() - start)
        process.terminate()


def body_of(path: Path) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="song.mp3"\r\n\r\n'
    return head + path.read_bytes() + b"\r\n--x--\r\n"


def ask(port: int, body: bytes) -> int:
    """The status of an answer that has been read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/predict", body, FORM)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def load(server: Server, body: bytes, clients: int, seconds: float) -> tuple[float, Counter]:
    """Files per second of so many clients, each of which asks again when it has its answer; and all statuses."""
    stop = time.perf_counter() + seconds

    def client(_: int) -> list[int]:
        statuses = []
        while time.perf_counter() < stop:
            statuses.append(ask(server.port, body))
        return statuses

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        statuses = Counter(status for statuses in pool.map(client, range(clients)) for status in statuses)
    return statuses[200] / (time.perf_counter() - start), statuses


def latency(run: Run, path: Path, server: Server, repeats: int) -> dict[str, float]:
    """One file at a time: decoding, mel and forward pass alone, and through the server."""
    predictor, body = Predictor(run), body_of(path)
    predictor(path)
    times = {"direct": [], "server": []}
    for _ in range(repeats * 5):
        for name, call in (("direct", lambda: predictor(path)), ("server", lambda: ask(server.port, body))):
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    direct, served = (1000 * np.median(times[name]) for name in ("direct", "server"))
    ratios = np.array(times["server"]) / times["direct"]
    return {"direct_ms": round(direct, 1), "server_ms": round(served, 1), "ratio": round(float(np.median(ratios)), 2)}


def throughput(batched: Server, single: Server, body: bytes, repeats: int, seconds: float) -> dict[str, float]:
    """Files per second of 16 clients: with shared passes, with a pass for each window, and one request at a time."""
    rates, works = {}, {}
    kinds = {"batched": (batched, CLIENTS), "pass_per_window": (single, CLIENTS), "one_by_one": (batched, 1)}
    for _ in range(repeats):
        for name, (server, clients) in kinds.items():
            before = server.cpu
            rate, statuses = load(server, body, clients, seconds)
            rates.setdefault(name, []).append(rate)
            works.setdefault(name, []).append(1000 * (server.cpu - before) / statuses.total())
    median = {name: round(float(np.median(values)), 2) for name, values in rates.items()}
    return {
        **{f"{name}_files_s": value for name, value in median.items()},
        **{f"{name}_cpu_ms": round(float(np.median(values)), 1) for name, values in works.items()},
        "ratio": round(float(np.median(np.divide(rates["batched"], rates["one_by_one"]))), 2),
        "ratio_of_passes": round(float(np.median(np.divide(rates["batched"], rates["pass_per_window"]))), 2),
    }


def passes(run: Run, repeats: int) -> dict[str, float]:
    """Windows per second of the forward pass alone: one window at a time, and 64."""
    predictor = Predictor(run)
    shape = predictor.experiment.features.spec.clip_shape
    windows = np.random.default_rng(0).normal(-40, 15, (64, *shape)).astype(np.float16)

    def rate(size: int) -> float:
        start = time.perf_counter()
        for first in range(0, len(windows), size):
            predictor.forward(windows[first : first + size])
        return len(windows) / (time.perf_counter() - start)

    rate(64)
    return compare(lambda: rate(1), lambda: rate(64), repeats * 3)


def stress(server: Server, body: bytes, seconds: float, rest: float = 5.0) -> dict:
    """64 clients: statuses, files per second, and the memory before, at its highest, and after a rest in seconds."""
    before, seen, done = server.memory, [server.memory], threading.Event()

    def watch() -> None:
        while not done.wait(0.25):
            seen.append(server.memory)

    watcher = threading.Thread(target=watch)
    watcher.start()
    rate, statuses = load(server, body, MANY, seconds)
    done.set()
    watcher.join()
    time.sleep(rest)
    half = len(seen) // 2
    return {
        "clients": MANY,
        "seconds": seconds,
        "statuses": dict(statuses),
        "files_s": round(rate, 2),
        "memory_mb": {
            "before": round(before),
            "highest_first_half": round(max(seen[: half + 1])),
            "highest": round(max(seen)),
            "after": round(server.memory),
        },
    }


def run(repeats: int = 3, seconds: float = 10.0, stress_seconds: float = 60.0, rest: float = 5.0) -> dict:
    with temporary_folder() as folder:
        trained = make_run(Path(folder) / "runs")
        paths = make_songs(Path(folder))
        bodies = {name: body_of(path) for name, path in paths.items()}
        with serve(trained, bodies["30 s"]) as batched, serve(trained, bodies["30 s"], "--windows", "1") as single:
            facts = {
                "start_s": round(batched.start_s, 1),
                "latency": latency(trained, paths["30 s"], batched, repeats),
                "passes": passes(trained, repeats),
                "throughput": {name: throughput(batched, single, bodies[name], repeats, seconds) for name in bodies},
                "stress": stress(batched, bodies["30 s"], stress_seconds, rest),
                "load_average": [round(value, 1) for value in os.getloadavg()],
                "threads": torch.get_num_threads(),
            }
    long = facts["throughput"]["30 s"]
    result = {"plain": long["one_by_one_files_s"], "ours": long["batched_files_s"], "ratio": long["ratio"]}
    print(json.dumps(facts, indent=2))
    return report("serving", "files/s", result | facts)


if __name__ == "__main__":
    add = parser(__doc__)
    add.add_argument("--seconds", type=float, default=10.0, help="of each measurement of throughput")
    add.add_argument("--stress-seconds", type=float, default=60.0, help="that 64 clients ask")
    arguments = add.parse_args()
    run(arguments.repeats, arguments.seconds, arguments.stress_seconds)
