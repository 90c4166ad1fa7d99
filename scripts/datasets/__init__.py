"""One module per public dataset: its files -> a label table. `python -m scripts datasets` lists them."""

from scripts.common.cli import pick
from scripts.datasets import (
    coala,
    esc50,
    fma,
    fma_genres,
    folder,
    gtzan,
    gtzan_features,
    gtzan_images,
    irmas,
    medley_solos_db,
    multi_table,
    nsynth,
    openmic,
    philharmonia,
    table,
    tinysol,
)
from scripts.datasets.contract import Dataset

DATASETS: dict[str, Dataset] = {
    module.DATASET.name: module.DATASET
    for module in (
        fma, gtzan, gtzan_features, gtzan_images, philharmonia, nsynth, medley_solos_db, tinysol, esc50, irmas, openmic,
        fma_genres,
        coala, folder, table, multi_table,
    )
} | {esc50.NEGATIVES.name: esc50.NEGATIVES}  # fmt: skip


def get_dataset(name: str) -> Dataset:
    """The dataset of this name.

    Raises
    ------
    ConfigError : unknown name.
    """
    return DATASETS[pick("dataset", name, DATASETS)]
