"""Tables of features as items, and a perceptron trained on them."""

import numpy as np
import pandas as pd
import pytest

from scripts.common.errors import ConfigError, TableError
from scripts.config.experiments import get_experiment
from scripts.loading.feature_rows import load_rows
from scripts.train import train


@pytest.fixture
def tables(tmp_path):
    """A metadata table of 40 tracks and two rows of three features for each but the last."""
    generator, classes = np.random.default_rng(0), np.arange(40) % 2
    ids = [f"t{number:02d}" for number in range(40)]
    split = np.where(np.arange(40) < 24, "train", np.where(np.arange(40) < 32, "validation", "test"))
    table = pd.DataFrame({"track_id": ids, "genre": np.array(["a", "b"])[classes], "class": classes, "split": split})
    table.to_csv(tmp_path / "metadata.csv", index=False)
    values = generator.normal(5, 2, (78, 3)) + 4 * np.repeat(classes[:39], 2)[:, None]
    rows = pd.DataFrame(values, columns=["x", "y", "z"]).assign(track_id=np.repeat(ids[:39], 2))
    rows.to_csv(tmp_path / "features.csv", index=False)
    return table, tmp_path


def test_rows_are_scaled_by_the_training_part(tables):
    table, folder = tables
    items, left_out = load_rows(table, str(folder / "features.csv"), 3)
    training = items.part("train")
    assert items.array.shape == (78, 3, 1)
    assert items.array[training.index].mean((0, 2)) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(items.array[training.index].std(axis=0), 1, atol=1e-5)
    assert left_out["track_id"].tolist() == ["t39"]
    assert items.tracks["items"].tolist() == [2] * 39


def test_another_number_of_features_is_named(tables):
    table, folder = tables
    with pytest.raises(TableError, match="3 features, not 57"):
        load_rows(table, str(folder / "features.csv"), 57)


def test_the_perceptron_learns_them(tables):
    _, folder = tables
    experiment = get_experiment("gtzan_mlp_features").updated(
        table=str(folder / "metadata.csv"), cache=str(folder / "features.csv"), columns=3, epochs=30, device="cpu"
    )
    report = train(experiment, root=folder / "runs")
    assert report["track_accuracy"] >= 0.85
    assert report["left_out"] == {"missing": 1}


def test_rows_and_only_they_have_features():
    with pytest.raises(ConfigError, match="only they"):
        get_experiment("gtzan_mlp_features").updated(columns=0)
