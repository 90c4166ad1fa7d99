"""Loading shuffled, standardised batches of 3 s clips: clips per second."""

import time

import torch

from benchmarks import plain
from benchmarks.common import compare, in_fresh_process, make_files, make_items, parser, report, temporary_folder
from scripts.loading.loader import Loader

BATCH = 16


def plain_rate(tracks: int) -> float:
    with temporary_folder() as folder:
        items = make_items(folder, tracks)
        files = plain.Files(make_files(folder, items), items.labels)
        return rate(torch.utils.data.DataLoader(files, batch_size=BATCH, shuffle=True), len(items))


def our_rate(tracks: int) -> float:
    with temporary_folder() as folder:
        return rate(Loader(make_items(folder, tracks), BATCH, shuffle=True), tracks * 10)


def rate(loader, items: int) -> float:
    """Items per second of the second pass."""
    for _ in range(2):
        start = time.perf_counter()
        for _ in loader:
            pass
    return items / (time.perf_counter() - start)


def run(repeats: int = 3, tracks: int = 100) -> dict:
    result = compare(lambda: in_fresh_process(plain_rate, tracks), lambda: in_fresh_process(our_rate, tracks), repeats)
    return report("loading", "clips/s", result)


if __name__ == "__main__":
    run(parser(__doc__).parse_args().repeats)
