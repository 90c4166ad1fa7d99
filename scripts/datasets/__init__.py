"""One module per public dataset: its files -> a label table. `python -m scripts.datasets` lists them."""

from scripts.cli import pick
from scripts.datasets import fma, folder, gtzan, gtzan_features, table
from scripts.datasets.contract import Dataset

DATASETS: dict[str, Dataset] = {
    module.DATASET.name: module.DATASET for module in (fma, gtzan, gtzan_features, folder, table)
}


def get_dataset(name: str) -> Dataset:
    """The dataset of this name.

    Raises
    ------
    ConfigError : unknown name.
    """
    return DATASETS[pick("dataset", name, DATASETS)]
