"""The tracks of a collection that sound most like a song or a text, by a kept index of embeddings."""

if __name__ == "__main__":  # as `python -m scripts search`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("search")

import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from scripts.architectures.clap import Clap
from scripts.audio.build_cache import list_files, plan_shards
from scripts.audio.cache import in_natural_order, list_shards, read_rows
from scripts.audio.decoding import decoder_version
from scripts.audio.layout import SHARDS, USABLE
from scripts.audio.shards import Track, cache_track, make_shard, remove_leftovers
from scripts.baselines.embed import Embedder
from scripts.common.cli import command
from scripts.common.errors import AudioError, ConfigError
from scripts.common.lock import locked
from scripts.common.parallel import available_cores, parallel_map
from scripts.common.storage import write_json
from scripts.inference import flags
from scripts.inference.predict_folder import audio_files, stamp
from scripts.loading.embedding_cache import FACTS, EmbeddingCache, check_facts, embed_shard, one_thread_each

INDEXES = Path("data/search")
SHORTEST = 0.25  # s
MANY = 100_000  # tracks from which on not all of them are compared
SPECTROGRAMS = "spectrograms"  # folder in the index of those of the tracks at work


class Collection:
    """An index, opened: the usable tracks and their mean embeddings, compared by the cosine.

    Parameters
    ----------
    cache : the embeddings.
    files : absolute paths of the tracks that count.
    """

    def __init__(self, cache: EmbeddingCache, files: Sequence[str]) -> None:
        rows = cache.rows.loc[list(files)]
        self.cache, self.rows = cache, rows[rows["status"] == USABLE]

    def nearest(self, vector: np.ndarray, count: int) -> list[tuple[str, float]]:
        """The nearest tracks to an embedding [width] with their cosines, best first."""
        count = min(count, len(self.rows))
        if len(self.rows) >= MANY and importlib.util.find_spec("usearch"):
            found = self.graph().search(unit_length(vector), count)
            places, distances = found.keys, found.distances
        else:
            from sklearn.neighbors import NearestNeighbors

            neighbours = NearestNeighbors(metric="cosine").fit(self.cache.means(self.rows))
            ((distances,), (places,)) = neighbours.kneighbors(vector[None], count)
        return [(self.rows.index[place], 1 - float(far)) for place, far in zip(places, distances, strict=True)]

    def graph(self) -> Any:
        """usearch's index of these tracks, kept beside the embeddings until they are others."""
        from usearch.index import Index

        facts = self.rows.reset_index()[["track_id", "size", "mtime_ns"]].to_csv().encode("utf-8", "surrogateescape")
        path = self.cache.folder / f"nearest_{hashlib.sha256(facts).hexdigest()[:16]}.usearch"
        if path.is_file():
            return Index.restore(str(path), view=True)
        for old in self.cache.folder.glob("nearest_*.usearch"):
            old.unlink()
        index = Index(ndim=self.cache.facts["width"], metric="cos", dtype="f16")
        index.add(np.arange(len(self.rows)), unit_length(self.cache.means(self.rows)))
        index.save(str(path))
        return index


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """[..., width], of length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def for_search(embedder: Embedder) -> Embedder:
    """The embedder, for clips from all over a file, and for short sounds too."""
    spec = embedder.spec
    spread = spec.excerpt == "start" and not spec.clip_overlap and not embedder.whole
    spec = replace(spec, min_seconds=SHORTEST, excerpt="spread" if spread else spec.excerpt)
    return replace(embedder, spec=spec)


def embed_file(path: str, embedder: Embedder) -> np.ndarray:
    """The mean embedding [width] of a file; raises an AudioError if it cannot be used."""
    row = cache_track(Track(path, path, *stamp(path)), embedder.spec)
    if row.track is None or row.clips is None:
        raise AudioError(path, row.record["status"], row.record["reason"], "give another file")
    windows = row.track[None] if embedder.whole else row.clips[: row.record["clips"]]
    return embedder(windows.astype(np.float16)).mean(0)


def build_index(folder: Path, files: Sequence[str], embedder: Embedder, workers: int | None = None) -> EmbeddingCache:
    """Embed the files that the index in `folder` lacks or that have changed, and drop those that are not among them.

    Spectrograms are there only while their tracks are embedded. Killed at any moment and started again it goes on where
    it was. Files that cannot be used are named on stderr when they are met, and counted later.

    Parameters
    ----------
    folder : of the index, an `EmbeddingCache` by absolute path.
    files : absolute paths.
    embedder : see `for_search`.
    workers : processes that decode, then threads that embed; default: one a core.

    Raises
    ------
    CacheError : the folder holds the embeddings of another network, or is damaged.
    BusyError : another process builds it.
    """
    facts, workers = embedder.all_facts(), workers or available_cores()
    with locked(folder):
        check_facts(folder, facts)
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        write_json(folder / FACTS, facts)
        cache = EmbeddingCache.open(folder) if list_shards(folder) else None
        missing = find_missing(files, cache)
        embed_missing(folder, missing, len(files), embedder, (facts["windows"], facts["width"]), workers)
        if cache is None or len(missing):
            cache = EmbeddingCache.open(folder)
        if len(missing) or len(cache.rows) > len(files):
            drop_shards(folder, cache.rows.loc[list(files)])
            cache = EmbeddingCache.open(folder)
    rows = cache.rows.loc[list(files)]
    unusable = rows[rows["status"] != USABLE]
    for path in unusable.index.intersection(missing["track_id"]):
        print(f"{path}: {unusable.at[path, 'reason']}; left out", file=sys.stderr)
    if len(unusable):
        print(f"{len(unusable)} of {len(rows)} files cannot be used", file=sys.stderr)
    return cache


def find_missing(files: Sequence[str], old: EmbeddingCache | None) -> pd.DataFrame:
    """Files that are not in an index as they are now, as `plan_shards` takes them."""
    there = list_files(pd.DataFrame({"track_id": files, "file_path": files}))
    if old is None:
        return in_natural_order(there.assign(generation=0))
    kept = old.rows.reset_index()[["track_id", "size", "mtime_ns", "generation", "status", "decoder"]]
    both = there.merge(kept, "left", "track_id", suffixes=("", "_old"))
    same = (both["size"] == both["size_old"]) & (both["mtime_ns"] == both["mtime_ns_old"])
    retried = (both["status"] != USABLE) & (both["decoder"] != decoder_version())
    missing = both[~same | retried]
    generation = (missing["generation"] + 1).fillna(0).astype(int)
    return in_natural_order(missing[there.columns].assign(generation=generation))


def embed_missing(
    folder: Path, missing: pd.DataFrame, tracks: int, embedder: Embedder, shape: tuple[int, int], workers: int
) -> None:
    """Add shards of embeddings [windows, width] of the `missing` of so many tracks to an index."""
    work = folder / SPECTROGRAMS
    if len(missing):
        (work / SHARDS).mkdir(parents=True, exist_ok=True)
        remove_leftovers(work)
    shards = plan_shards(work, missing, tracks, embedder.spec)
    at_once = workers if embedder.device.type == "cpu" else 1
    with one_thread_each(at_once) as pool, tqdm(total=len(missing), unit=" tracks", disable=None) as bar:
        for start in range(0, len(shards), workers):
            group = shards[start : start + workers]
            for _ in parallel_map(make_shard, group, workers):
                pass
            for source in group:
                shard, table = folder / SHARDS / source.path.name, read_rows(source.path, work)
                rest = (embedder.spec, embedder.whole, shape, embedder, pool)
                for _ in embed_shard(shard, source.path, table, *rest):
                    bar.update()
                shutil.rmtree(source.path)
    shutil.rmtree(work, ignore_errors=True)


def drop_shards(folder: Path, rows: pd.DataFrame) -> None:
    """Delete the shards of an index that hold none of these rows of it."""
    for shard in list_shards(folder):
        table = read_rows(shard, folder).set_index("track_id")
        both = table.index.intersection(rows.index)
        if not (table.loc[both, "mtime_ns"] == rows.loc[both, "mtime_ns"]).any():
            shutil.rmtree(shard)


def default_index(network: str, folders: Sequence[str]) -> Path:
    """The folder of the index of these folders."""
    places = json.dumps(sorted(str(Path(folder).resolve()) for folder in folders))
    return INDEXES / f"{network}_{hashlib.sha256(places.encode()).hexdigest()[:8]}"


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.search(argv)
    if (args.song is None) == (args.text is None):
        raise ConfigError("give either a song or --text")
    for folder in args.folders:
        if not Path(folder).exists():
            raise ConfigError(f"--in {folder}: no such folder; give one that is there")
    files = {str(Path(path).resolve()): path for path in audio_files(args.folders)}
    embedder = Embedder.by_name(args.network, args.weights, args.device, args.layer, args.pool, args.runs)
    embedder = for_search(embedder)
    if args.text is None:
        vector = embed_file(args.song, embedder)
    elif isinstance(embedder.model, Clap) and embedder.layer is None:
        vector = embedder.model.embed_text([args.text])[0].cpu().numpy()
    else:
        raise ConfigError("--text needs a network that knows words: give --network clap, without --layer and --pool")
    index = args.index or default_index(args.network, args.folders)
    collection = Collection(build_index(index, list(files), embedder, args.workers), list(files))
    found = collection.nearest(vector, args.count + 1) if len(collection.rows) else []
    song = str(Path(args.song).resolve()) if args.song else ""
    found = [(files[path], cosine) for path, cosine in found if path != song]
    if not found:
        raise ConfigError(f"{', '.join(args.folders)}: holds no usable track besides the song; give another folder")
    for path, cosine in found[: args.count]:
        as_json = json.dumps({"file": path, "cosine": round(cosine, 4)})
        print(as_json if args.json else f"{cosine:.2f}  {path}")
