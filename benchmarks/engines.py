"""Caching 30 s and 3 s log-mels of mp3 tracks by Ray on this machine, its workers up, against the local engine."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from benchmarks.common import compare, in_fresh_process, make_tracks, parser, report, temporary_folder
from scripts.audio.build_cache import build_cache
from scripts.common.engines import SETTINGS, STORE, open_engine
from scripts.common.parallel import available_cores


def rate(files: list[Path], name: str, address: str | None = None) -> tuple[float, float]:
    """Files per second of an engine, after a few to warm up; and the seconds until those were cached."""
    table = pd.DataFrame({"track_id": [path.stem for path in files], "file_path": list(map(str, files))})
    start = time.perf_counter()
    with open_engine(name, address) as engine, temporary_folder() as first, temporary_folder() as folder:
        build_cache(table[: 2 * available_cores()], first, engine=engine)
        warm = time.perf_counter()
        build_cache(table, folder, engine=engine)
        return len(files) / (time.perf_counter() - warm), warm - start


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a cluster of this machine alone, whose workers have the priority of other processes."""
    os.environ.update(SETTINGS | {"RAY_worker_niceness": "0"})
    from ray.cluster_utils import Cluster

    cores = {"num_cpus": available_cores(), "object_store_memory": STORE, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=cores)
    try:
        yield started.address
    finally:
        started.shutdown()


def run(address: str, repeats: int = 3, tracks: int = 300, seconds: float = 30.0) -> dict:
    """On mp3s of so many seconds, and by the cluster at an address."""
    with temporary_folder() as folder:
        files = make_tracks(Path(folder), tracks, seconds)
        seconds_to_start: dict[str, float] = {}

        def measure(*engine: str) -> float:
            measured, seconds_to_start[engine[0]] = in_fresh_process(rate, files, *engine)
            return measured

        result = compare(lambda: measure("local"), lambda: measure("ray", address), repeats)
    started = {f"{name}_start_s": round(seconds, 1) for name, seconds in seconds_to_start.items()}
    return report("engines", "files/s", result | started | {"tracks": tracks})


if __name__ == "__main__":
    add = parser(__doc__)
    add.add_argument("--tracks", type=int, default=300, help="30 s mp3s to make")
    arguments = add.parse_args()
    with cluster() as place:
        run(place, arguments.repeats, arguments.tracks)
