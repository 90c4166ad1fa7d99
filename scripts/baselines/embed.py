"""What trained networks make of every clip, as a cache of embeddings for the classical baselines."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scripts.architectures.hub import read_settings
from scripts.architectures.musicnn import PUBLISHED, SPEC, find_weights, published_name
from scripts.audio.build_cache import build_cache
from scripts.audio.spec import MelSpec
from scripts.baselines import flags
from scripts.common.cli import command, pick, require
from scripts.common.errors import ConfigError
from scripts.common.machine import choose_device
from scripts.common.parallel import available_cores
from scripts.common.storage import sha256
from scripts.config.run import Run
from scripts.evaluate import BEST
from scripts.loading.embedding_cache import EmbeddingCache, embed_values, fill_embeddings
from scripts.models import Network, Pretraining, build_model, known_models, state_sha256
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table

TABLE, MELS, OUTPUT = Path("data/labeled_tracks.csv"), Path("data/mels"), Path("data/embeddings")
POOLS = ("mean", "mean_std")


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
    layer, pool : as `by_name` takes them; None of both: the network's own embedding.
    """

    model: Network
    spec: MelSpec
    normalisation: str
    whole: bool
    facts: dict[str, Any]
    layer: int | None = None
    pool: str | None = None

    @classmethod
    def by_name(
        cls,
        name: str,
        weights: str = "",
        device: str = "auto",
        layer: int | None = None,
        pool: str | None = None,
        runs: Path = Path("runs"),
    ) -> "Embedder":
        """A published network, or a run.

        Parameters
        ----------
        name : of `published_networks`, or of a run.
        weights : of a published network: a name or a path; default: its usual ones.
        device : auto, cpu, cuda or mps.
        layer : which of `Network.hidden_layers` the embedding is of; the last is -1, and the default if there is a
            `pool`.
        pool : what becomes of that layer's positions: their "mean" (default if there is a `layer`), or "mean_std",
            which puts their deviations beside it.
        runs : folder of the runs.

        Raises
        ------
        ConfigError : unknown name, no such layer or weights, or weights that are given for a run.
        CheckpointError : damaged weights.
        """
        if name == "musicnn":
            embedder = cls.musicnn(weights or "jamendo", device)
        elif name in published_networks():
            embedder = cls.published(name, weights, device)
        elif weights:
            raise ConfigError(f"--weights {weights} with the run {name}, which has its own; leave them out")
        else:
            embedder = cls.of_run(Run(name, runs), device)
        return embedder if layer is None and pool is None else embedder.with_layer(layer, pool)

    @classmethod
    def published(cls, name: str, weights: str = "", device: str = "auto") -> "Embedder":
        """A network of `published_networks`, by default with its usual weights; raises as its class."""
        pretraining = published_networks()[name]
        settings: dict[str, Any] = {}
        if pretraining.architecture:
            require("transformers", what="this network")
            settings["config"] = read_settings(weights or pretraining.weights, pretraining.architecture)
        rows, frames = pretraining.spec.clip_shape
        model = build_model(name, 1, frames, rows, pretrained=weights or True, **settings)
        made = model.pretraining or pretraining  # the network may know more of them
        source = Path(weights).name if Path(weights).exists() and weights else weights or made.weights
        facts = {"network": name, "weights": source, "sha256": state_sha256(model)}
        facts |= {"licence": made.licence, "trained_on": made.trained_on}
        return cls(model.to(choose_device(device)).eval(), made.spec, made.normalisation, False, facts)

    def with_layer(self, layer: int | None, pool: str | None) -> "Embedder":
        """The same network, with the embedding of a layer; parameters and errors as of `by_name`."""
        pool = pick("pool", pool or POOLS[0], POOLS)
        with torch.inference_mode():
            count = len(self.model.hidden_layers(self.zeros()))
        number = count - 1 if layer is None else layer + count if layer < 0 else layer
        if not 0 <= number < count:
            raise ConfigError(f"layer {layer} of {self.facts['network']}; give one of 0 to {count - 1}")
        facts = self.facts | {"layer": number, "pool": pool}
        return replace(self, layer=number, pool=pool, facts=facts)

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
        return embed_values(self.embed, values, self.normalisation, self.device)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[items, channels, rows, frames] as the network takes them -> [items, width]."""
        if self.layer is None:
            return self.model.embed(x)
        positions = self.model.hidden_layers(x)[self.layer].float()
        parts = [positions.mean(1)] + [positions.std(1, correction=0)] * (self.pool == "mean_std")
        return torch.cat(parts, 1)

    @property
    def device(self) -> torch.device:
        """Of the network."""
        return next(self.model.parameters()).device

    def zeros(self) -> torch.Tensor:
        """One item as the network takes it."""
        shape = self.spec.track_shape if self.whole else self.spec.clip_shape
        return torch.zeros(1, self.spec.channels, *shape, device=self.device)

    @property
    def windows(self) -> int:
        """Of a track, at most."""
        return 1 if self.whole else self.spec.clips_per_track

    def all_facts(self) -> dict[str, Any]:
        """Those of `embeddings.json`: the network's, and the windows, their spectrograms and the width."""
        with torch.inference_mode():
            width = self.embed(self.zeros()).shape[1]
        chosen = {"layer": self.layer, "pool": self.pool}  # None too, to tell them from other embeddings
        return self.facts | chosen | {"width": width, "windows": self.windows, "spec": self.spec.fingerprint()}


def published_networks() -> dict[str, Pretraining]:
    """By name, the networks that have `pretraining`."""
    networks = {name: getattr(network, "func", network) for name, network in known_models().items()}
    pretrainings = {name: getattr(network, "pretraining", None) for name, network in networks.items()}
    return {name: pretraining for name, pretraining in pretrainings.items() if pretraining}


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
    at_once = workers or available_cores() if embedder.device.type == "cpu" else 1
    return fill_embeddings(output, embedder.all_facts(), cache, embedder.whole, embedder, at_once)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.embed(argv)
    csv, mels = TABLE, MELS
    embedder = Embedder.by_name(args.network, args.weights, args.device, args.layer, args.pool, args.runs)
    if args.network not in ("musicnn", *published_networks()):
        data = Run(args.network, args.runs).experiment().data
        csv, mels = Path(data.table), Path(data.cache)
    table, name = read_table(args.csv or csv, NEEDED_TO_CACHE), args.network
    if embedder.layer is not None:
        name += f"_layer{embedder.layer}_{embedder.pool}"
    output = args.output or OUTPUT / name
    cache = embed(table, embedder, output, args.output_root or mels, args.workers, args.overwrite)
    counts = cache.rows["status"].value_counts()
    print(f"{output}: {len(cache.rows)} tracks: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    print(", ".join(f"{name} {value}" for name, value in cache.facts.items() if name != "sha256" and value is not None))
