"""Training the 4-block CNN on 3 s clips: samples per second, loading included, same network and batch size."""

import time

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


def plain_rate(steps: int) -> float:
    with temporary_folder() as folder:
        items = make_items(folder, (steps + WARM_UP) * BATCH // 10 + 1)
        files = plain.Files(make_files(folder, items), items.labels)
        loader = torch.utils.data.DataLoader(files, batch_size=BATCH, shuffle=True)
        model = plain.network(FRAMES, CLASSES)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for step, (x, y) in enumerate(loader):
            if step == WARM_UP:
                start = time.perf_counter()
            if step == WARM_UP + steps:
                break
            plain.train_step(model, optimizer, x, y)
        return steps * BATCH / (time.perf_counter() - start)


def our_rate(steps: int) -> float:
    keep_freed_memory()
    with temporary_folder() as folder:
        items = make_items(folder, steps * BATCH // 10 + 1)
        model = build_model("cnn4", CLASSES, FRAMES)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        trainer = Trainer(model, torch.nn.functional.cross_entropy, optimizer, settings=TrainingSettings(device="cpu"))
        few = items.select(items.tracks.index.to_numpy() < WARM_UP * BATCH // 10)
        trainer.train(Loader(few, BATCH, shuffle=True), 0)
        return trainer.train(Loader(items, BATCH, shuffle=True), 1)["samples_per_second"]


def run(repeats: int = 3, steps: int = 60) -> dict:
    torch.manual_seed(0)
    result = compare(
        lambda: in_fresh_process(plain_rate, steps), lambda: in_fresh_process(our_rate, 3 * steps), repeats
    )
    return report("training", "samples/s", result)


if __name__ == "__main__":
    run(parser(__doc__).parse_args().repeats)
