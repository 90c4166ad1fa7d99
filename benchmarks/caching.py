"""Caching 30 s and 3 s log-mels of mp3 tracks: files per second, against librosa and against decoding alone."""

import functools
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from benchmarks.common import compare, in_fresh_process, make_tracks, parser, report, temporary_folder
from scripts.audio.build_cache import build_cache
from scripts.common.engines import Engine
from scripts.common.parallel import available_cores, parallel_map


def plain_rate(files: list[Path]) -> float:
    """Files per second of the plain method, after one file to warm up."""
    from benchmarks import plain  # here, so that the memory of our workers is not librosa's

    with temporary_folder() as folder:
        plain.cache(files[:1], Path(folder))
        start = time.perf_counter()
        plain.cache(files, Path(folder))
        return len(files) / (time.perf_counter() - start)


class MeasuredEngine(Engine):
    """The cores of this machine; `peak` is the most memory of a worker, in MB."""

    peak = 0.0

    def map_jobs(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], workers: int | None = None
    ) -> Iterator[Any]:
        """As of `Engine`."""
        for result, peak in parallel_map(functools.partial(with_peak, function), jobs, workers):
            self.peak = max(self.peak, peak)
            yield result


def with_peak(function: Callable[[Any], Any], job: Any) -> tuple[Any, float]:
    """`function(job)`, and the most memory that this process has had, in MB."""
    return function(job), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def our_rate(files: list[Path]) -> tuple[float, float]:
    """Files per second, and the peak memory of a worker in MB."""
    table = pd.DataFrame({"track_id": [path.stem for path in files], "file_path": list(map(str, files))})
    engine = MeasuredEngine()
    with temporary_folder() as folder:
        start = time.perf_counter()
        build_cache(table, folder, engine=engine)
        return len(files) / (time.perf_counter() - start), engine.peak


def decode_rate(files: list[Path]) -> float:
    """Files per second of decoding alone, on as many processes."""
    start = time.perf_counter()
    for _ in parallel_map(decode_only, files):
        pass
    return len(files) / (time.perf_counter() - start)


def decode_only(path: Path) -> int:
    return len(soundfile.read(path, dtype="float32")[0])


def run(repeats: int = 3, tracks: int = 40, plain_tracks: int = 8, seconds: float = 30.0) -> dict:
    """On mp3s of so many seconds; `plain_tracks` are enough for the plain method, whose rate is that of any number."""
    with temporary_folder() as folder:
        files, memory = make_tracks(Path(folder), tracks, seconds), []

        def ours() -> float:
            rate, peak = in_fresh_process(our_rate, files)
            memory.append(peak)
            return rate

        result = compare(lambda: in_fresh_process(plain_rate, files[:plain_tracks]), ours, repeats)
        decoding = compare(ours, lambda: in_fresh_process(decode_rate, files), repeats)
    extra = {"times_decoding": decoding["ratio"], "worker_mb": round(max(memory)), "workers": available_cores()}
    return report("caching", "files/s", result | extra)


if __name__ == "__main__":
    add = parser(__doc__)
    add.add_argument("--tracks", type=int, default=40, help="30 s mp3s to make")
    arguments = add.parse_args()
    from benchmarks import caching  # by its name, under which worker processes import it

    caching.run(arguments.repeats, arguments.tracks)
