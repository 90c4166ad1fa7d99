"""What many tracks cost before any audio is decoded: CPU seconds and peak memory of each step, and how they grow.

python -m benchmarks.scale --tracks 10000 100000 1000000
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import in_fresh_process, temporary_folder
from scripts.common.storage import write_csv, write_json

# what else is needed is imported where it is, so that each process has the memory of its own step

GENRES, TRACKS_AN_ARTIST, TRACKS_A_FOLDER, MOST_OF_A_SHARD, SHARDS_AT_LEAST = 16, 8, 1000, 128, 64


def make_listing(folder: Path, tracks: int) -> None:
    """`listing.csv` of so many tracks, of whose files the first alone is there.

    An artist has eight tracks on three albums, most of them of one genre; of one track in twenty the artist is not
    known, and one in five hundred is on a compilation.
    """
    generator, number = np.random.default_rng(0), np.arange(tracks)
    artist = generator.integers(0, max(1, tracks // TRACKS_AN_ARTIST), tracks)
    genre = np.where(generator.random(tracks) < 0.1, generator.integers(0, GENRES, tracks), artist * 7919 % GENRES)
    album = np.where(generator.random(tracks) < 0.002, -1 - number % max(1, tracks // 5000), 3 * artist + number % 3)
    table = pd.DataFrame(
        {
            "path": [f"audio/{place // TRACKS_A_FOLDER:04d}/{place:07d}.flac" for place in number],
            "label": [f"genre {one:02d}" for one in genre],
            "artist": [f"artist {one}" for one in artist],
            "album": [f"album {one}" for one in album],
            "split": generator.choice(["train", "validation", "test"], tracks, p=[0.7, 0.1, 0.2]),
        }
    )
    table.loc[generator.random(tracks) < 0.05, "artist"] = None
    from scripts.datasets.tiny import write_tone

    write_csv(folder / "listing.csv", table)
    write_tone(folder / table["path"][0], 0, 0)


def make_sparse_cache(folder: Path) -> None:
    """A cache of the label table's tracks whose arrays are holes that read as zeros."""
    from scripts.audio.cache import cache_folder, spec_record
    from scripts.audio.decoding import decoder_version
    from scripts.audio.layout import SHARDS, TRACKS, USABLE, array_paths, array_shapes
    from scripts.audio.spec import MelSpec
    from scripts.audio.stacked import npy_bytes, npy_header

    ids, spec = pd.read_csv(folder / "labels.csv", dtype=str)["track_id"], MelSpec()
    place, step = cache_folder(folder / "mels", spec), min(MOST_OF_A_SHARD, -(-len(ids) // SHARDS_AT_LEAST))
    record = {"size": 960_000, "mtime_ns": 1, "seconds": 30.0, "clips": spec.clips_per_track, "status": USABLE}
    for start in range(0, len(ids), step):
        mine, shard = ids[start : start + step], place / SHARDS / f"0-{start:016x}"
        shard.mkdir(parents=True)
        for path, shape in zip(array_paths(shard, spec), array_shapes(spec), strict=True):
            path.write_bytes(npy_header((len(mine), *shape)))
            os.truncate(path, npy_bytes((len(mine), *shape)))
        rows = {"row": range(len(mine)), "track_id": mine, "file": mine + ".flac", **record, "reason": ""}
        write_csv(shard / TRACKS, pd.DataFrame(rows).assign(decoder=decoder_version()))
    write_json(place / "spec.json", spec_record(spec, decoder_version()))


def label_table(folder: Path) -> None:
    from scripts.utils.labeled_tracks import write_label_table

    write_label_table("table", folder / "listing.csv", folder / "labels.csv")


def split_table(folder: Path, split: str) -> None:
    from scripts.utils.metadata import write_metadata

    write_metadata(folder / "labels.csv", folder / "clips.csv", folder / "tracks.csv", split)


def open_cache(folder: Path) -> None:
    from scripts.audio.cache import MelCache

    MelCache.open(folder / "mels")


def order_of_epoch(folder: Path) -> None:
    """What a training does before its second step: table, cache, items, the order of an epoch and its first batch."""
    from scripts.config.experiments import get_experiment
    from scripts.loading.experiment_data import Data
    from scripts.loading.training_loader import training_loader

    experiment = get_experiment("fma_cnn_3s").updated(
        table=str(folder / "clips.csv"), cache=str(folder / "mels"), device="cpu"
    )
    next(iter(training_loader(experiment, Data.load(experiment))))


def measure(step: Callable[..., None], *arguments: Any) -> dict[str, float]:
    """CPU seconds of this process, its start and imports included, and its peak memory in MB."""
    step(*arguments)
    return {"seconds": round(time.process_time(), 2), "mb": round(peak_memory() / 1e6)}


def peak_memory() -> int:
    """Bytes, of this process alone: what `getrusage` gives may be that of the process that started it."""
    if sys.platform != "linux":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def run(sizes: list[int]) -> dict[str, list[dict[str, float]]]:
    """Measure each step at each size, and print a table in Markdown and a line in JSON."""
    from scripts.tables.splits import SPLITS

    results: dict[str, list[dict[str, float]]] = {}
    for tracks in sizes:
        with temporary_folder() as name:
            folder = Path(name)
            in_fresh_process(make_listing, folder, tracks)
            found = {"label table": in_fresh_process(measure, label_table, folder)}
            for split in sorted(SPLITS):  # the last one stays for the epoch
                found[f"metadata, {split}"] = in_fresh_process(measure, split_table, folder, split)
            in_fresh_process(make_sparse_cache, folder)
            found["opening the cache"] = in_fresh_process(measure, open_cache, folder)
            found["an epoch's order"] = in_fresh_process(measure, order_of_epoch, folder)
        for step, cost in found.items():
            results.setdefault(step, []).append(cost)
    print("\n| step | " + " | ".join(f"{tracks:,} tracks" for tracks in sizes) + " |")
    print("|---" * (1 + len(sizes)) + "|")
    for step, found in results.items():
        print(f"| {step} | " + " | ".join(f"{one['seconds']:.1f} s, {one['mb']} MB" for one in found) + " |")
    print(json.dumps({"benchmark": "scale", "tracks": sizes, **results}))
    return results


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="N")
    run(parser.parse_args(argv).tracks)


if __name__ == "__main__":
    main()
