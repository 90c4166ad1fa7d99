"""`predict FOLDER` on 30 s mp3s, in files per second, against caching them; and the memory of a file of an hour."""

import resource
import time
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import caching
from benchmarks.common import compare, in_fresh_process, make_tracks, parser, report, temporary_folder
from benchmarks.serving import make_run
from scripts.common.memory import keep_freed_memory
from scripts.config.run import Run
from scripts.inference.predict_folder import FilePredictor
from scripts.inference.predictor import Predictor


def caching_rate(files: list[Path]) -> float:
    """Files per second, the start of the workers included."""
    return caching.our_rate(files)[0]


def predicting_rate(run: Run, files: list[Path]) -> float:
    """The same of prediction by the untrained 4-block CNN, loaded before."""
    keep_freed_memory(one_heap=True)
    predict_file = FilePredictor(Predictor(run), "")
    predict_file(str(files[0]))
    start = time.perf_counter()
    count = sum(len(rows) for rows in predict_file.in_processes(map(str, files)))
    return count / (time.perf_counter() - start)


def memory_of(run: Run, path: Path) -> float:
    """How much the peak memory grows by a file, above that of the loaded program, in MB."""
    predictor = Predictor(run)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor(path)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000


def make_long_file(path: Path, seconds: float) -> Path:
    """Stereo noise at 44.1 kHz, as FLAC."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((44_100, 2))
    with soundfile.SoundFile(path, "w", 44_100, 2) as file:
        for _ in range(round(seconds)):
            file.write(noise)
    return path


def run(repeats: int = 3, tracks: int = 40, seconds: float = 30.0, long_seconds: float = 3600.0) -> dict:
    """On mp3s of `seconds`, and on a file of `long_seconds`."""
    with temporary_folder() as folder:
        files, bench = make_tracks(Path(folder), tracks, seconds), make_run(Path(folder) / "runs")
        result = compare(
            lambda: in_fresh_process(caching_rate, files),
            lambda: in_fresh_process(predicting_rate, bench, files),
            repeats,
        )
        long_file = make_long_file(Path(folder) / "long.flac", long_seconds)
        memory = in_fresh_process(memory_of, bench, long_file)
    return report("predicting", "files/s", result | {"long_mb": round(memory), "long_seconds": long_seconds})


if __name__ == "__main__":
    add = parser(__doc__)
    add.add_argument("--tracks", type=int, default=40, help="30 s mp3s to make")
    arguments = add.parse_args()
    run(arguments.repeats, arguments.tracks)
