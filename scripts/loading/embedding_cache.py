"""The cache of embeddings: what networks make of the clips of a cache of spectrograms, shard by shard.

<folder>/
    embeddings.json    the network, what its embeddings are of, and their width
    shards/<name>/     called like the shard of spectrograms
        embeddings.npy   float16 [tracks, windows, width]
        tracks.csv       that of the shard of spectrograms
A shard is there whole or not at all, and never changes.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from scripts.audio.cache import MelCache, check_sizes, list_shards, read_rows, stack_rows
from scripts.audio.layout import SHARDS, TRACKS, USABLE, array_paths
from scripts.audio.normalise import normalise
from scripts.audio.shards import RowWriter, new_shard, remove_leftovers
from scripts.audio.spec import MelSpec
from scripts.audio.stacked import TYPE, StackedArray
from scripts.common.errors import CacheError
from scripts.common.machine import in_float32
from scripts.common.storage import write_json

FACTS, EMBEDDINGS = "embeddings.json", "embeddings.npy"
PACKED = "0--packed"  # the shard of a cache of an earlier version; sorted before all others


@dataclass(frozen=True)
class EmbeddingCache:
    """An opened cache.

    Attributes
    ----------
    facts : what `embeddings.json` holds: whatever tells the network, and "windows" and "width".
    rows : one row per track, indexed by `track_id`; `row` counts into the array, `clips` holds how many of the windows
        have sound, `status` is "ok" or why the track is left out.
    array : float16 [tracks, windows, width].
    """

    folder: Path
    facts: dict[str, Any]
    rows: pd.DataFrame
    array: StackedArray

    @classmethod
    def open(cls, folder: str | Path) -> "EmbeddingCache":
        """Open the cache in a folder; raises a CacheError if there is none, or it is damaged."""
        folder = Path(folder)
        facts, shards = read_facts(folder), list_shards(folder)
        if not shards:
            raise CacheError(f"{folder}: no embeddings here; make them first (python -m scripts embed --help)")
        rows, counts, order = stack_rows(folder, shards)
        paths, shape = [shard / EMBEDDINGS for shard in shards], (facts["windows"], facts["width"])
        check_sizes(paths, counts, shape)
        return cls(folder, facts, rows, StackedArray(paths, counts, shape, order))

    def means(self, rows: pd.DataFrame) -> np.ndarray:
        """The mean of each track's windows with sound, for usable rows of `rows`: float32 [tracks, width]."""
        counts = np.minimum(rows["clips"].to_numpy(), self.facts["windows"])
        pairs = zip(rows["row"], counts, strict=True)
        vectors = [self.array[row][:count].mean(0, dtype=np.float32) for row, count in pairs]
        return np.stack(vectors)

    def table(self) -> pd.DataFrame:
        """A row for each window with sound of each usable track: track_id, clip (1, 2, ...) and e0, e1, ..."""
        usable = self.rows[self.rows["status"] == USABLE]
        counts = np.minimum(usable["clips"].to_numpy(), self.facts["windows"])
        vectors = [self.array[row][:count] for row, count in zip(usable["row"], counts, strict=True)]
        keys = {
            "track_id": np.repeat(usable.index.to_numpy(), counts),
            "clip": np.concatenate([np.arange(1, count + 1) for count in counts]),
        }
        values = pd.DataFrame(np.concatenate(vectors).astype(np.float32)).add_prefix("e")
        return pd.concat([pd.DataFrame(keys), values], axis=1)


def read_facts(folder: Path) -> dict[str, Any]:
    """What `embeddings.json` holds; raises a CacheError if there is none, or it is damaged."""
    path = folder / FACTS
    if not path.is_file():
        raise CacheError(f"{folder}: no embeddings here; make them first (python -m scripts embed --help)")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return facts | {name: int(facts[name]) for name in ("windows", "width")}
    except (ValueError, TypeError, KeyError):
        raise CacheError(f"{path}: damaged; delete the folder and embed again") from None


def fill_embeddings(
    folder: Path,
    facts: dict[str, Any],
    mels: MelCache,
    whole: bool,
    embed: Callable[[np.ndarray], np.ndarray],
    workers: int = 1,
) -> EmbeddingCache:
    """Make the shards that the cache in `folder` lacks, delete those of which there are no spectrograms, and open it.

    Killed at any moment and started again it makes the shards that are not there yet.

    Parameters
    ----------
    folder : of the embeddings.
    facts : what tells them from others, with "windows" and "width".
    mels : the cache of spectrograms.
    whole : take the tracks' whole spectrograms instead of their clips.
    embed : float16 [windows, (channels,) rows, frames] -> [windows, width].
    workers : threads that call it, each with the windows of a track.

    Raises
    ------
    CacheError : the folder holds other embeddings; what differs is named.
    """
    check_facts(folder, facts)
    remove_leftovers(folder)
    sources = {shard.name if shard != mels.folder else PACKED: shard for shard in list_shards(mels.folder)}
    for shard in list_shards(folder):
        if shard.name not in sources:
            shutil.rmtree(shard)
    write_json(folder / FACTS, facts)
    (folder / SHARDS).mkdir(exist_ok=True)
    missing = {folder / SHARDS / name: source for name, source in sources.items()}
    missing = {shard: source for shard, source in missing.items() if not shard.is_dir()}
    tables = [read_rows(source, mels.folder) for source in missing.values()]
    total, shape = sum(map(len, tables)), (facts["windows"], facts["width"])
    with one_thread_each(workers) as pool, tqdm(total=total, desc="embedding", unit=" tracks", disable=None) as bar:
        for (shard, source), table in zip(missing.items(), tables, strict=True):
            for _ in embed_shard(shard, source, table, mels.spec, whole, shape, embed, pool):
                bar.update()
    return EmbeddingCache.open(folder)


@contextlib.contextmanager
def one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """So many threads, of which none waits for another: torch computes in one each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def embed_values(
    embed: Callable[[torch.Tensor], torch.Tensor], values: np.ndarray, method: str, device: torch.device
) -> np.ndarray:
    """Spectrograms [items, (channels,) rows, frames] as they are cached -> float32 [items, width], in float32.

    Parameters
    ----------
    embed : of a network in evaluation: [items, channels, rows, frames] -> [items, width].
    values : float16, dB.
    method : of their normalisation, see `normalise`.
    device : of the network.
    """
    x = normalise(torch.from_numpy(np.array(values)).to(device), method).to(memory_format=torch.channels_last)
    with in_float32(device):
        return embed(x).float().cpu().numpy()


def embed_shard(
    shard: Path,
    source: Path,
    table: pd.DataFrame,
    spec: MelSpec,
    whole: bool,
    shape: tuple[int, int],
    embed: Callable[[np.ndarray], np.ndarray],
    pool: Executor,
) -> Iterator[None]:
    """Make a shard of embeddings, with a step for each track.

    Parameters
    ----------
    shard, source : its folder, and that of the shard of spectrograms.
    table : the rows of the source.
    spec : of the spectrograms.
    whole, embed : as `fill_embeddings` takes them.
    shape : windows of a track, and width.
    pool : threads.
    """
    nothing = np.zeros((0, shape[1]), TYPE)
    tracks, clips = (np.load(path, mmap_mode="r") for path in array_paths(source, spec))
    windows = tracks[:, None] if whole else clips
    counts = np.where(table["status"] == USABLE, np.minimum(table["clips"], windows.shape[1]), 0)
    jobs = (windows[row, :count] for row, count in enumerate(counts))
    with new_shard(shard) as aside:
        with RowWriter(aside / EMBEDDINGS, len(table), shape) as writer:
            for vectors in pool.map(lambda values: embed(values) if len(values) else nothing, jobs):
                writer.write(np.pad(vectors, ((0, shape[0] - len(vectors)), (0, 0))))
                yield
        shutil.copyfile(source / TRACKS, aside / TRACKS)


def check_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Raise a CacheError that names what differs if the folder holds other embeddings."""
    if not (folder / FACTS).is_file():
        return
    made = read_facts(folder)
    differing = [f"{name} is {made.get(name)}, not {facts[name]}" for name in facts if made.get(name) != facts[name]]
    if differing:
        raise CacheError(f"{folder}: holds other embeddings: {'; '.join(differing)}; choose another --output")
