"""Embeddings are the means of the network's own; the map is that of NumPy's singular values."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread

from scripts.analysis.embeddings import embeddings, project
from scripts.analysis.embeddings import main as embeddings_command
from scripts.analysis.explain_figures import MAX_GROUPS, embedding_map
from scripts.audio.cache import MelCache
from scripts.audio.normalise import normalise
from scripts.common.errors import ConfigError
from scripts.config.experiment import Experiment
from scripts.config.run import Run, make_model
from scripts.loading.experiment_data import Data
from scripts.training.checkpoints import save_checkpoint
from tests.corpus import SPEC, make_experiment

SETTINGS = {"model.width": 6, "precision": "bfloat16"}
CELLS = {"High": "b;a", "Low": "-", "Mid": "c"}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Experiment:
    return make_experiment(tmp_path_factory.mktemp("corpus"), **SETTINGS)


def untrained(experiment: Experiment, folder) -> Run:
    """A run with the weights that it starts with."""
    run, data = Run(experiment.name, folder), Data.load(experiment)
    run.save_config(experiment, classes=data.classes, split=data.fingerprint)
    torch.manual_seed(0)
    weights = make_model(experiment, len(data.classes)).state_dict()
    save_checkpoint(run.checkpoints / "best.pt", {"epoch": 1, "model": weights})
    return run


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory) -> Run:
    return untrained(experiment, tmp_path_factory.mktemp("runs"))


def test_a_row_is_the_mean_over_the_clips_of_what_the_head_is_given(run, experiment):
    table = embeddings(run, "train")
    tracks = (
        pd.read_csv(experiment.data.table, dtype={"track_id": str}).drop_duplicates("track_id").set_index("track_id")
    )
    assert set(table["track_id"]) == set(tracks.index[tracks["split"] == "train"])
    assert (table["genre"] == tracks.loc[table["track_id"], "genre"].to_numpy()).all()
    assert list(table)[2:] == [f"e{number}" for number in range(6)]
    cache, model = MelCache.open(experiment.data.cache, SPEC), run.load_model()
    for row in table.to_dict("records"):
        clips = torch.tensor(cache.clips[cache.rows.loc[row["track_id"], "row"]])
        with torch.no_grad():
            expected = model.embed(normalise(clips)).mean(0)
        np.testing.assert_allclose([row[f"e{number}"] for number in range(6)], expected, atol=1e-4)


def test_command_writes_table_and_map(run, capsys):
    embeddings_command([run.name, "--runs", str(run.root)])
    assert "of the variance" in capsys.readouterr().out
    written = pd.read_csv(run.report / "embeddings.csv", dtype={"track_id": str})
    pd.testing.assert_frame_equal(written, embeddings(run), check_dtype=False, check_exact=False, rtol=1e-5)
    assert imread(run.report / "embeddings_pca.png").std() > 0.05
    embeddings_command([run.name, "--runs", str(run.root), "--part", "train", "--method", "tsne"])
    assert (run.report / "embeddings_train.csv").is_file() and (run.report / "embeddings_train_tsne.png").is_file()


def test_several_labels_a_track(experiment, tmp_path):
    table = pd.read_csv(experiment.data.table, dtype={"track_id": str})
    table.assign(labels=table["genre"].map(CELLS)).drop(columns=["genre", "class"]).to_csv(
        tmp_path / "m.csv", index=False
    )
    settings = {"task": "multi_label", "table": str(tmp_path / "m.csv"), "loss": "bce", "metric": "loss"}
    result = embeddings(untrained(experiment.updated(**settings), tmp_path))
    genres = table.drop_duplicates("track_id").set_index("track_id")["genre"]
    assert result["labels"].tolist() == [CELLS[genres[track]] for track in result["track_id"]]


def test_a_part_that_the_run_does_not_have(experiment, tmp_path):
    table = pd.read_csv(experiment.data.table)
    table[table["split"] != "validation"].to_csv(tmp_path / "m.csv", index=False)
    run = untrained(experiment.updated(table=str(tmp_path / "m.csv"), metric="last"), tmp_path)
    with pytest.raises(ConfigError, match="has no validation tracks"):
        embeddings(run, "validation")


# --- maps -----------------------------------------------------------------------------------------------------


def groups_in_space() -> tuple[np.ndarray, np.ndarray]:
    """60 points in 5 dimensions around three centres, and the centre of each."""
    generator, group = np.random.default_rng(0), np.arange(60) % 3
    return (generator.normal(0, 3, (3, 5))[group] + generator.normal(0, 0.3, (60, 5))).astype(np.float32), group


def test_components_are_those_of_the_singular_value_decomposition():
    vectors, _ = groups_in_space()
    points, names = project(vectors, "pca")
    left, singular, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * singular[:2]), atol=1e-4)
    shares = singular**2 / (singular**2).sum()
    assert names == tuple(f"component {n + 1} ({shares[n]:.1%} of the variance)" for n in range(2))


def test_tsne_keeps_neighbours_and_repeats_itself():
    vectors, group = groups_in_space()
    points, _ = project(vectors, "tsne", seed=3)
    distances = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(60)
    assert (group[distances.argmin(axis=1)] == group).all()
    np.testing.assert_array_equal(points, project(vectors, "tsne", seed=3)[0])
    assert len(project(vectors[:3], "tsne")[0]) == 3


@pytest.mark.parametrize(("shape", "method"), [((2, 5), "pca"), ((9, 1), "tsne"), ((9, 5), "umap")])
def test_what_makes_no_map(shape, method):
    with pytest.raises(ConfigError, match="unknown method" if method == "umap" else "a map needs 3 tracks"):
        project(np.ones(shape), method)


def test_each_group_is_drawn_in_its_own_way_and_rare_ones_in_grey():
    groups = [f"g{number:02d}" for number in range(MAX_GROUPS) for _ in range(2)] + ["rare", "rarer"]
    points = np.random.default_rng(0).random((len(groups), 2))
    figure = embedding_map(points, groups, ("x", "y"))
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(lines) == {f"g{number:02d} (2)" for number in range(MAX_GROUPS)} | {"2 others"}
    assert len({(line.get_color(), line.get_marker()) for line in lines.values()}) == MAX_GROUPS + 1
    np.testing.assert_array_equal(lines["g03 (2)"].get_xydata(), points[6:8])
    np.testing.assert_array_equal(lines["2 others"].get_xydata(), points[-2:])
    few = embedding_map(points[:4], ["a", "b", "a", "b"], ("x", "y"))
    assert [text.get_text() for text in few.legends[0].get_texts()] == ["a (2)", "b (2)"]


def test_group_with_dollar_signs_is_no_formula():
    figure = embedding_map(np.eye(2), ["$^$", "a$b$"], ("x", "y"))
    figure.draw_without_rendering()
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"$^$ (1)", "a$b$ (1)"}
