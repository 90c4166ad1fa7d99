"""Training the 4-block CNN on 3 s clips: samples per second, loading included, same network and batch size.

Against the plain loop, against one that is tuned as torch's guides advise (channels-last memory, bfloat16 autocast),
and with a second process that keeps a core busy.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import torch

from benchmarks import plain
from benchmarks.common import (
    CLASSES,
    FRAMES,
    compare,
    in_fresh_process,
    make_files,
    make_items,
    parser,
    report,
    temporary_folder,
)
from scripts.common.memory import keep_freed_memory
from scripts.config.experiment import TrainingSettings
from scripts.loading.loader import Loader
from scripts.models import build_model
from scripts.trainer import Trainer

BATCH, WARM_UP = 16, 5


def plain_rate(steps: int, tuned: bool = False) -> float:
    with temporary_folder() as folder:
        items = make_items(folder, (steps + WARM_UP) * BATCH // 10 + 1)
        files = plain.Files(make_files(folder, items), items.labels)
        loader = torch.utils.data.DataLoader(files, batch_size=BATCH, shuffle=True)
        model = plain.network(FRAMES, CLASSES)
        model = model.to(memory_format=torch.channels_last) if tuned else model
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=tuned)
        for step, (x, y) in enumerate(loader):
            if step == WARM_UP:
                start = time.perf_counter()
            if step == WARM_UP + steps:
                break
            with torch.autocast("cpu", torch.bfloat16, enabled=tuned):
                plain.train_step(model, optimizer, x, y)
        return steps * BATCH / (time.perf_counter() - start)


def our_rate(steps: int, precision: str = "auto") -> float:
    keep_freed_memory()
    with temporary_folder() as folder:
        items = make_items(folder, steps * BATCH // 10 + 1)
        model = build_model("cnn4", CLASSES, FRAMES)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        settings = TrainingSettings(device="cpu", precision=precision)
        trainer = Trainer(model, torch.nn.functional.cross_entropy, optimizer, settings=settings)
        few = items.select(items.tracks.index.to_numpy() < WARM_UP * BATCH // 10)
        trainer.train(Loader(few, BATCH, shuffle=True), 0)
        return trainer.train(Loader(items, BATCH, shuffle=True), 1)["samples_per_second"]


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Another process computes without end."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(repeats: int = 3, steps: int = 60) -> dict[str, float | str]:
    torch.manual_seed(0)

    def ours(precision: str = "auto") -> float:
        return in_fresh_process(our_rate, 3 * steps, precision)

    def plainly(tuned: bool = False) -> float:
        return in_fresh_process(plain_rate, steps, tuned)

    result = compare(plainly, ours, repeats)
    result["times_tuned"] = compare(lambda: plainly(tuned=True), ours, repeats)["ratio"]
    result["float32_ratio"] = compare(plainly, lambda: ours("float32"), repeats)["ratio"]
    with busy_core():
        result["beside_a_busy_process"] = compare(ours, ours, 1)["ours"]
    return report("training", "samples/s", result)


if __name__ == "__main__":
    run(parser(__doc__).parse_args().repeats)
