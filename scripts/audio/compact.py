"""Taking rows out of a cache that count no more, as their tracks have newer ones."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.audio.cache import MelCache, generation, list_shards, read_rows
from scripts.audio.layout import array_paths, array_shapes
from scripts.audio.shards import Row, Track, shard_name, write_shard
from scripts.audio.spec import MelSpec
from scripts.audio.stacked import TYPE


def dead_bytes(cache: MelCache) -> int:
    """The size of the spectrograms in shards that count no more; packed ones of earlier versions stay as they are."""
    rows = sum(len(read_rows(shard, cache.folder)) for shard in list_shards(cache.folder) if generation(shard) >= 0)
    dead = rows - int((cache.rows["generation"] >= 0).sum())
    return dead * TYPE.itemsize * sum(map(math.prod, array_shapes(cache.spec)))


def compact(cache: MelCache) -> None:
    """Write each shard with dead rows anew without them, then delete it.

    Killed in between it leaves both, which agree. A training that reads the cache meanwhile may miss a file.
    """
    identity = list(Track._fields)
    newest = cache.rows.reset_index()[[*identity, "generation"]]
    for shard in list_shards(cache.folder):
        table = read_rows(shard, cache.folder)
        columns = table[identity].assign(generation=generation(shard))
        alive = columns.merge(newest, "left", [*columns], indicator=True)["_merge"].eq("both").to_numpy()
        if alive.all() or generation(shard) < 0:
            continue
        if alive.any():
            rewrite(shard, table, alive, cache.spec)
        shutil.rmtree(shard)


def rewrite(shard: Path, table: pd.DataFrame, alive: np.ndarray, spec: MelSpec) -> None:
    """Write a shard of some rows of another one."""
    kept = table[alive].drop(columns="row")
    name = shard_name(generation(shard), [Track(*row) for row in kept[list(Track._fields)].itertuples(index=False)])
    tracks, clips = (np.load(path, mmap_mode="r") for path in array_paths(shard, spec))
    places = zip(kept.to_dict("records"), np.flatnonzero(alive), strict=True)
    rows = (Row(record, tracks[place], clips[place]) for record, place in places)
    write_shard(shard.with_name(name), spec, len(kept), rows)
