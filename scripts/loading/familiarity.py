"""What a run's best.pt holds of its training embeddings, so that it can tell sounds that are unlike them."""

import numpy as np
import torch

from scripts.config.experiment import Experiment
from scripts.loading.embedding_cache import embed_values
from scripts.loading.experiment_data import Data
from scripts.loading.loader import Items
from scripts.metrics.familiarity import Familiarity
from scripts.models import Network

MAX_ITEMS = 10_000  # of training that are embedded; more would change little
AT_ONCE = 64


def fit_familiarity(experiment: Experiment, data: Data, model: Network) -> dict[str, torch.Tensor]:
    """Embeddings of training, and of validation what the threshold follows from, as tensors for a checkpoint.

    Parameters
    ----------
    model : in evaluation, on its device.

    Returns
    -------
    `Familiarity.as_tensors`; empty without a validation part, where the network sees neither clips nor tracks of
    spectrograms or waveforms, or where embeddings are all the same or no numbers.
    """
    parts = [data.items.part(name) for name in ("train", "validation")]
    if experiment.data.unit in ("row", "patch") or not all(len(items) for items in parts):
        return {}
    train, validation = parts
    train = train.select(np.arange(len(train.tracks)) % max(1, -(-len(train) // MAX_ITEMS)) == 0)
    known = embed_items(model, train, experiment.features.normalise)
    unseen = embed_items(model, validation, experiment.features.normalise)
    if not (np.isfinite(known).all() and np.isfinite(unseen).all() and known.std(axis=0).any()):
        return {}
    return Familiarity.fit(known).with_threshold(unseen, validation.track).as_tensors()


@torch.inference_mode()
def embed_items(model: Network, items: Items, method: str) -> np.ndarray:
    """float32 [items, width]."""
    rows = (items.array[items.index[first : first + AT_ONCE]] for first in range(0, len(items), AT_ONCE))
    return np.concatenate([embed_values(model, values, method) for values in rows])
