"""Fitting the head of a `Fitted` network to the embeddings of all training items; these stay on disk."""

import functools
from collections.abc import Callable

import numpy as np

from scripts.architectures.fitted import Fitted
from scripts.audio.cache import MelCache
from scripts.common.distributed import ranks
from scripts.common.errors import ConfigError
from scripts.common.machine import choose_device
from scripts.common.parallel import available_cores
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.loading.embedding_cache import embed_values, fill_embeddings
from scripts.loading.experiment_data import Data
from scripts.metrics.familiarity import Familiarity
from scripts.models import state_sha256
from scripts.training.checkpoints import save_checkpoint
from scripts.training.classifiers import fit_head

FOLDER = "embeddings"  # in that of the spectrograms


def fit_and_save(experiment: Experiment, data: Data, run: Run, model: Fitted) -> None:
    """Fit the model's head to the training items, and save all as the run's best.pt.

    With it goes where the embeddings of training lie, for `Predictor` to tell sounds that are unlike them.

    Raises
    ------
    ConfigError : as `fit_head`.
    CacheError : the embeddings on disk are damaged.
    """
    device, method, items = (
        choose_device(experiment.training.device),
        experiment.features.normalise,
        data.items.part("train"),
    )
    embed = functools.partial(embed_values, model.to(device).eval().embed, method=method, device=device)
    if experiment.data.limit:
        values = embed(items.array[items.index])
    else:
        values = embed_cache(experiment, model, embed)[items.index]
    print(f"{run.name}: {model.classifier} on {model.width} numbers of each of {len(items)} items")
    settings = len(data.classes), experiment.training.seed, experiment.loss.class_weights == "balanced"
    model.head.load_state_dict(fit_head(model.classifier, values, items.labels, items.track, *settings))
    familiarity = Familiarity.fit_in_folds(values[:, : model.network_width], items.track).as_tensors()
    state = {"epoch": 1, "model": model.state_dict(), "precision": "float32", "familiarity": familiarity}
    save_checkpoint(run.checkpoints / "best.pt", state)


def check_fitted(experiment: Experiment) -> None:
    """Raise a ConfigError for what a head that is fitted at once cannot take."""
    if ranks() > 1:
        raise ConfigError(f"{ranks()} ranks for a head that is fitted at once; start one process")
    if experiment.data.unit not in ("clip", "track"):
        raise ConfigError(f"unit={experiment.data.unit} with model=fitted; set unit=clip or unit=track")
    given = [name for name in ("augment", "mix") if getattr(experiment, name)]
    if given or experiment.training.epochs != 1:
        raise ConfigError(
            f"{', '.join(given) or 'epochs'} for a head that is fitted at once; leave out augment and mix, and set "
            "epochs=1; a head that is trained takes them (another model with frozen_epochs)"
        )


def embed_cache(experiment: Experiment, model: Fitted, embed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Embeddings of all items of the experiment's cache, float32 [items, width]; they stay on disk."""
    cache = MelCache.open(experiment.data.cache, experiment.features.spec)
    whole, network = experiment.data.unit == "track", state_sha256(model.network)
    facts = {"network": network, "statistics": model.statistics is not None, "whole": whole, "width": model.width}
    facts |= {"normalise": experiment.features.normalise, "windows": 1 if whole else cache.spec.clips_per_track}
    folder = cache.folder / FOLDER / f"{network[:12]}-{model.width}-{experiment.data.unit}"
    at_once = available_cores() if next(model.buffers()).device.type == "cpu" else 1
    filled = fill_embeddings(folder, facts, cache, whole, embed, at_once)
    return filled.array[:].reshape(-1, model.width).astype(np.float32)
