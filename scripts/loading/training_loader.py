"""The batches that an experiment trains on."""

from scripts.audio.augment import Augmentation
from scripts.audio.spectrogram_mixing import Mixing
from scripts.common.distributed import rank, ranks
from scripts.common.machine import choose_device
from scripts.config.experiment import Experiment
from scripts.loading.experiment_data import Data
from scripts.loading.loader import Loader


def training_loader(experiment: Experiment, data: Data) -> Loader:
    """Shuffled batches of the training part, augmented as the experiment says."""
    items, features, training = data.items.part("train"), experiment.features, experiment.training
    augmentation = mixing = None
    if experiment.augment:
        augmentation = Augmentation(experiment.augment, features.spec, len(items), training.seed, features.normalise)
    if experiment.mix:
        genres = items.tracks["genre"].to_numpy(object)[items.track] if "genre" in items.tracks else None
        mixing = Mixing(experiment.mix, items.labels, features.spec, training.seed, genres)
    return Loader(
        items,
        training.batch_size,
        shuffle=True,
        seed=training.seed,
        device=choose_device(training.device),
        normalisation=features.normalise,
        augmentation=augmentation,
        mixing=mixing,
        balance=training.sampling == "balanced",
        rank=rank(),
        ranks=ranks(),
    )
