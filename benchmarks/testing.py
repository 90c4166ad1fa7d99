"""Ensemble testing of the 4-block CNN: clips per second, loading included."""

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

BATCH = 64


def plain_rate(tracks: int) -> float:
    with temporary_folder() as folder:
        items = make_items(folder, tracks)
        loader = torch.utils.data.DataLoader(plain.Files(make_files(folder, items), items.labels), batch_size=16)
        model = plain.network(FRAMES, CLASSES)
        plain.ensemble_test(model, loader)
        start = time.perf_counter()
        plain.ensemble_test(model, loader)
        return len(items) / (time.perf_counter() - start)


def our_rate(tracks: int) -> float:
    keep_freed_memory()
    with temporary_folder() as folder:
        loader = Loader(make_items(folder, tracks), BATCH)
        model = build_model("cnn4", CLASSES, FRAMES)
        optimizer = torch.optim.SGD(model.parameters())
        trainer = Trainer(model, torch.nn.functional.cross_entropy, optimizer, settings=TrainingSettings(device="cpu"))
        trainer.test(loader)
        start = time.perf_counter()
        trainer.test(loader)
        return len(loader.items) / (time.perf_counter() - start)


def run(repeats: int = 3, tracks: int = 60) -> dict:
    result = compare(
        lambda: in_fresh_process(plain_rate, tracks), lambda: in_fresh_process(our_rate, 2 * tracks), repeats
    )
    return report("testing", "clips/s", result)


if __name__ == "__main__":
    run(parser(__doc__).parse_args().repeats)
