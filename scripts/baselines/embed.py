"""What trained networks make of every clip, as a cache of embeddings for the classical baselines."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.architectures.musicnn import PUBLISHED, SPEC, find_weights, published_name
from scripts.audio.build_cache import build_cache
from scripts.audio.spec import MelSpec
from scripts.baselines import flags
from scripts.common.cli import command
from scripts.common.errors import ConfigError
from scripts.common.machine import choose_device
from scripts.common.parallel import available_cores
from scripts.common.storage import sha256
from scripts.config.run import Run
from scripts.evaluate import BEST
from scripts.loading.embedding_cache import EmbeddingCache, embed_values, fill_embeddings
from scripts.models import Network, build_model, embedding_width
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table

TABLE, MELS, OUTPUT = Path("data/labeled_tracks.csv"), Path("data/mels"), Path("data/embeddings")


@dataclass(frozen=True)
class Embedder:
    """A network and what it takes.

    Attributes
    ----------
    model : in evaluation, on its device.
    spec : of its spectrograms.
    normalisation : of their values, see `normalise`.
    whole : it takes whole tracks, not clips.
    facts : what tells its embeddings from another network's.
    """

    model: Network
    spec: MelSpec
    normalisation: str
    whole: bool
    facts: dict[str, Any]

    @classmethod
    def musicnn(cls, weights: str = "jamendo", device: str = "auto") -> "Embedder":
        """MusiCNN with published weights, or those of a file; raises as `find_weights`."""
        path = find_weights(weights)
        name = published_name(path)
        model = build_model("musicnn", 50, SPEC.clip_shape[1], SPEC.n_mels, pretrained=str(path))
        published = PUBLISHED[name]
        facts = {"network": "musicnn", "weights": name, "sha256": published.sha256, "licence": published.licence}
        facts["trained_on"] = published.trained_on
        return cls(model.to(choose_device(device)).eval(), SPEC, "none", False, facts)

    @classmethod
    def of_run(cls, run: Run, device: str = "auto") -> "Embedder":
        """A run's best epoch.

        Raises
        ------
        ConfigError, CheckpointError : there is no such run, it reads no spectrograms, or its checkpoint is damaged.
        """
        experiment = run.experiment()
        unit = experiment.data.unit
        if unit in ("row", "patch"):
            raise ConfigError(f"{run.name} has data.unit={unit}; give a run on clips or whole tracks")
        model = run.load_model(BEST, choose_device(device))
        facts = {"network": run.name, "sha256": sha256(run.checkpoints / BEST)}
        features = experiment.features
        return cls(model, features.spec, features.normalise, unit == "track", facts)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Spectrograms [items, (channels,) rows, frames] as they are cached -> float32 [items, width]."""
        return embed_values(self.model, values, self.normalisation)


def embed(
    table: pd.DataFrame,
    embedder: Embedder,
    output: Path,
    mels: Path = MELS,
    workers: int | None = None,
    overwrite: bool = False,
) -> EmbeddingCache:
    """Cache the spectrograms of a table's tracks, then their embeddings, and open these.

    Parameters
    ----------
    table : with `track_id` and `file_path`.
    embedder : the network.
    output : folder of the embeddings.
    mels : folder of the caches of spectrograms.
    workers : processes that compute spectrograms, then threads that embed; default: one a core.
    overwrite : start anew, spectrograms included.

    Raises
    ------
    TableError, CacheError : as `build_cache`, or `output` holds the embeddings of another network.
    """
    spec = embedder.spec
    cache = build_cache(table, mels, spec, workers, overwrite)
    if overwrite:
        shutil.rmtree(output, ignore_errors=True)
    channels = (spec.channels, *(spec.track_shape if embedder.whole else spec.clip_shape))
    windows = 1 if embedder.whole else spec.clips_per_track
    facts = {"width": embedding_width(embedder.model, *channels), "windows": windows, "spec": spec.fingerprint()}
    on_cpu = next(embedder.model.parameters()).device.type == "cpu"
    at_once = workers or available_cores() if on_cpu else 1
    return fill_embeddings(output, embedder.facts | facts, cache, embedder.whole, embedder, at_once)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.embed(argv)
    csv, mels = TABLE, MELS
    if args.network == "musicnn":
        embedder = Embedder.musicnn(args.weights, args.device)
    else:
        run = Run(args.network, args.runs)
        embedder = Embedder.of_run(run, args.device)
        csv, mels = Path(run.experiment().data.table), Path(run.experiment().data.cache)
    table, output = read_table(args.csv or csv, NEEDED_TO_CACHE), args.output or OUTPUT / args.network
    cache = embed(table, embedder, output, args.output_root or mels, args.workers, args.overwrite)
    counts = cache.rows["status"].value_counts()
    print(f"{output}: {len(cache.rows)} tracks: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    print(", ".join(f"{name} {value}" for name, value in cache.facts.items() if name != "sha256"))
