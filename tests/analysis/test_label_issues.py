"""Label issues against cases worked by hand and against cleanlab; overrides change training tracks alone."""

import math

import numpy as np
import pandas as pd
import pytest

from scripts.analysis import label_issues
from scripts.common.errors import ConfigError, TableError
from scripts.config.run import Run
from scripts.reports.predictions import SavedPredictions
from scripts.tables.label_matrix import join
from scripts.tables.overrides import apply_overrides
from tests.corpus import GENRES

NAMES = ["bass", "drums", "flute"]


def genres(given_genres: list[str], probabilities: np.ndarray) -> SavedPredictions:
    tracks = [f"t{number}" for number in range(len(given_genres))]
    return SavedPredictions(
        pd.DataFrame({"track_id": tracks, "genre": given_genres}), GENRES, np.asarray(probabilities, float)
    )


def tags(truth: np.ndarray, probabilities: np.ndarray) -> SavedPredictions:
    """`truth` [tracks, labels], with NaN for unknown."""
    truth, names = np.asarray(truth, float), np.array([f"l{number}" for number in range(np.shape(truth)[1])])
    cells = {"labels": [join(names[row == 1]) for row in truth], "absent": [join(names[row == 0]) for row in truth]}
    tracks = pd.DataFrame({"track_id": [f"t{number:03d}" for number in range(len(truth))], **cells})
    return SavedPredictions(tracks, names.tolist(), np.asarray(probabilities, float))


def noisy(tracks: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Given classes, every tenth of them wrong; the true ones; probabilities of a network that is mostly right."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, 3, tracks)
    given_classes = np.where(np.arange(tracks) % 10 == 0, (true + 1) % 3, true)
    logits = generator.normal(0, 1, (tracks, 3)) + 5 * np.eye(3)[true]
    return given_classes, true, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


# --- quality and suggestions, by hand -------------------------------------------------------------------------


def test_quality_of_a_genre_is_its_probability():
    saved = genres(["High", "Low", "Mid"], [[0.05, 0.9, 0.05], [0.1, 0.7, 0.2], [0.5, 0.46, 0.04]])
    table = label_issues.quality_table(saved, label_issues.below(saved, 0.1))
    assert table["track_id"].tolist() == ["t2", "t0", "t1"]
    assert table["quality"].tolist() == [0.04, 0.05, 0.7]
    assert table["issue"].tolist() == [1, 1, 0]
    assert table["genre"].tolist() == ["High", "Low", "Low"]
    assert table["given"].tolist() == ["Mid", "High", "Low"]


def test_a_genre_that_nothing_contradicts_is_no_issue():
    saved = genres(["High", "Mid"], [[0.34, 0.33, 0.33], [0.34, 0.33, 0.33]])
    assert label_issues.below(saved, 0.5).any(axis=1).tolist() == [False, True]


def test_the_worst_label_counts_and_unknown_ones_do_not():
    tracks = {
        "track_id": ["a", "b", "c", "d"],
        "labels": ["bass", "drums;flute", "bass", "-"],
        "absent": ["drums", "-", "drums;flute", "-"],
    }
    probabilities = np.array([[0.9, 0.2, 0.99], [0.99, 0.06, 0.03], [0.8, 0.1, 0.97], [0.9, 0.9, 0.9]])
    saved = SavedPredictions(pd.DataFrame(tracks), NAMES, probabilities)
    table = label_issues.quality_table(saved, label_issues.below(saved, 0.1)).set_index("track_id")
    assert list(table.index) == ["b", "c", "a"]  # nothing is known of d
    assert table["quality"].tolist() == pytest.approx([0.03, 0.03, 0.8])
    assert table["suspect"].tolist() == ["flute", "flute", "drums"]
    assert table["suspect_is"].tolist() == ["present", "absent", "absent"]
    assert table["labels"].tolist() == ["-", "bass;flute", "bass"]
    assert table["issue"].tolist() == [1, 1, 0]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 1])
@pytest.mark.parametrize("labels", [1, 4])
def test_a_share_takes_the_worst_tracks_that_are_contradicted(share, labels):
    generator = np.random.default_rng(labels)
    truth, probabilities = generator.integers(0, 2, (25, labels)), generator.random((25, labels))
    worst = np.where(truth == 1, probabilities, 1 - probabilities).min(axis=1)
    allowed = np.argsort(worst)[: math.ceil(share * 25)]
    expected = {track for track in allowed if worst[track] < 0.5}
    found = label_issues.below(tags(truth, probabilities), share=share)
    assert set(np.flatnonzero(found.any(axis=1))) == expected


# --- against cleanlab -----------------------------------------------------------------------------------------


def test_quality_is_cleanlabs_self_confidence():
    rank = pytest.importorskip("cleanlab.rank")
    labels, _, probabilities = noisy()
    table = label_issues.quality_table(saved := genres([GENRES[n] for n in labels], probabilities), np.zeros((300, 3)))
    expected = rank.get_label_quality_scores(labels, probabilities)
    np.testing.assert_allclose(
        table.set_index("track_id").loc[saved.tracks["track_id"], "quality"], expected, atol=1e-6
    )


def test_quality_of_tags_is_cleanlabs():
    rank = pytest.importorskip("cleanlab.multilabel_classification.rank")
    truth, probabilities = tag_case()
    table = label_issues.quality_table(tags(truth, probabilities), np.zeros(truth.shape, bool)).sort_values("track_id")
    lists = [np.flatnonzero(row).tolist() for row in truth]
    expected = rank.get_label_quality_scores(lists, probabilities, aggregator_kwargs={"method": np.min})
    np.testing.assert_allclose(table["quality"], expected, atol=1e-6)


def test_confident_learning_of_tags_is_cleanlabs():
    cleanlab = pytest.importorskip("cleanlab.multilabel_classification.filter")
    truth, probabilities = tag_case()
    lists = [np.flatnonzero(row).tolist() for row in truth]
    expected = cleanlab.find_multilabel_issues_per_class(lists, probabilities, n_jobs=1)
    assert expected.any()
    np.testing.assert_array_equal(label_issues.confident_learning(tags(truth, probabilities)), expected)


def test_confident_learning_looks_at_known_labels_only():
    pytest.importorskip("cleanlab")
    truth, probabilities = tag_case()
    known = label_issues.confident_learning(tags(truth[:200], probabilities[:200]))
    truth[200:, 0] = np.nan
    assert not label_issues.confident_learning(tags(truth, probabilities))[200:, 0].any()
    np.testing.assert_array_equal(label_issues.confident_learning(tags(truth, probabilities))[:200, 0], known[:, 0])
    truth[:, 1] = 1  # present everywhere: there is nothing to learn from
    assert not label_issues.confident_learning(tags(truth, probabilities))[:, 1].any()


def tag_case(tracks: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Labels [tracks, 3], some of them turned around, and probabilities that are mostly right."""
    generator = np.random.default_rng(1)
    true = generator.integers(0, 2, (tracks, 3)).astype(float)
    probabilities = 1 / (1 + np.exp(-(generator.normal(0, 1, true.shape) + 6 * (true - 0.5))))
    return np.where(generator.random(true.shape) < 0.08, 1 - true, true), probabilities


@pytest.mark.parametrize("cleanlab", [False, True])
def test_turned_labels_are_found_and_corrected(cleanlab):
    if cleanlab:
        pytest.importorskip("cleanlab")
    labels, true, probabilities = noisy()
    saved = genres([GENRES[number] for number in labels], probabilities)
    suspects = (label_issues.confident_learning if cleanlab else label_issues.below)(saved)
    wrong, found = labels != true, suspects.any(axis=1)
    assert (found & wrong).sum() >= 0.8 * wrong.sum()
    assert (found & wrong).sum() >= 0.9 * found.sum()
    suggested = np.array([GENRES.index(genre) for genre in label_issues.suggest(saved, suspects)])
    assert (suggested != true).sum() < 0.4 * wrong.sum()


# --- the command ----------------------------------------------------------------------------------------------


@pytest.fixture
def folds(tmp_path) -> Run:
    """A cross-validation's predictions for 300 tracks."""
    labels, _, probabilities = noisy()
    run = Run("small-folds", tmp_path)
    run.report.mkdir(parents=True)
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in GENRES])
    table.insert(0, "track_id", [f"{number:03d}" for number in range(300)])
    table.insert(1, "genre", [GENRES[number] for number in labels])
    table.to_csv(run.report / "predictions.csv", index=False)
    return run


def test_command_writes_issues_that_training_accepts(folds, tmp_path, capsys):
    path = tmp_path / "mine.csv"
    label_issues.main([folds.name, "--runs", str(tmp_path), "--relabel", "--output", str(path)])
    written = pd.read_csv(path, dtype={"track_id": str})
    quality = pd.read_csv(folds.report / "label_quality.csv", dtype={"track_id": str})
    assert list(written) == ["track_id", "genre", "leave_out", "quality", "given"]
    assert set(written["track_id"]) == set(quality.loc[quality["issue"] == 1, "track_id"])
    assert (written["quality"] <= 0.1).all() and (written["leave_out"] == 0).all()
    assert f"{len(written)} of 300 tracks have a label issue" in capsys.readouterr().out
    labels, true, _ = noisy()
    numbers = [f"{number:03d}" for number in range(300)]
    table = pd.DataFrame({"track_id": numbers, "genre": np.array(GENRES)[labels], "class": labels, "split": "train"})
    corrected = apply_overrides(table, path, "single_label")["class"]
    assert (corrected != true).sum() < 0.4 * (labels != true).sum()


def test_issues_are_left_out_unless_they_are_relabelled(folds):
    label_issues.label_issues(folds)
    written = pd.read_csv(folds.report / "overrides.csv")
    assert len(written) and (written["leave_out"] == 1).all()


def test_repeats_are_averaged(folds):
    path = folds.report / "predictions.csv"
    table = pd.read_csv(path, dtype={"track_id": str})
    columns = [f"p_{name}" for name in GENRES]
    other = table.assign(**dict.fromkeys(columns, 1 / 3))
    pd.concat([table.assign(repeat=0), other.assign(repeat=1)]).to_csv(path, index=False)
    quality = label_issues.label_issues(folds).set_index("track_id")["quality"]
    given_column = table[columns].to_numpy()[range(300), table["genre"].map(GENRES.index)]
    np.testing.assert_allclose(quality.loc[table["track_id"]], (given_column + 1 / 3) / 2, atol=1e-6)


def test_what_cannot_be_judged(folds, monkeypatch, refusal):
    with pytest.raises(ConfigError, match="quality is 0; it must be above 0"):
        label_issues.label_issues(folds, quality=0)
    with pytest.raises(ConfigError, match="share is 2; it must be above 0"):
        label_issues.label_issues(folds, share=2)
    with pytest.raises(ConfigError, match="no track has a known label"):
        saved = tags(np.full((2, 3), np.nan), np.full((2, 3), 0.5))
        label_issues.quality_table(saved, label_issues.below(saved))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install cleanlab"):
        label_issues.label_issues(folds, cleanlab=True)
    assert "nowhere has saved no predictions" in refusal(label_issues.main, ["nowhere", "--runs", str(folds.root)])


# --- overrides ------------------------------------------------------------------------------------------------

SINGLE = {
    "track_id": ["1", "2", "3", "4", "5"],
    "genre": ["High", "Low", "Mid", "Low", "Low"],
    "class": [0, 1, 2, 1, 1],
    "split": ["train", "train", "train", "validation", "test"],
}
MULTI = {
    "track_id": ["1", "2", "3", "4"],
    "labels": ["bass", "bass;drums", "-", "flute"],
    "split": ["train", "train", "train", "test"],
}
GOOD = "track_id,genre,leave_out\n1,Mid,0\n3,Low,1\n4,High,0\n5,High,1\n"


def write(path, text: str):
    path.write_text(text)
    return path


def test_genres_of_training_tracks_alone_are_replaced(tmp_path, capsys):
    table = pd.DataFrame(SINGLE)
    result = apply_overrides(table, write(tmp_path / "overrides.csv", GOOD), "single_label")
    assert result["track_id"].tolist() == ["1", "2", "4", "5"]
    assert result["genre"].tolist() == ["Mid", "Low", "Low", "Low"]
    assert result["class"].tolist() == [2, 1, 1, 1] and result["class"].dtype == int
    assert "1 training tracks relabelled, 1 left out; 2 tracks of validation and test" in capsys.readouterr().out
    pd.testing.assert_frame_equal(table, pd.DataFrame(SINGLE))


def test_only_leaving_out_changes_no_label(tmp_path):
    path = write(tmp_path / "overrides.csv", "track_id,genre,leave_out\n2,High,1\n")
    result = apply_overrides(pd.DataFrame(SINGLE), path, "single_label")
    pd.testing.assert_frame_equal(result, pd.DataFrame(SINGLE).drop(index=1).reset_index(drop=True))


def test_tracks_that_the_table_lacks_are_counted(tmp_path, capsys):
    """Whatever is said of them."""
    path = write(tmp_path / "overrides.csv", "track_id,labels,leave_out\n1,bass,0\n99,basso,0\n")
    assert apply_overrides(pd.DataFrame(MULTI), path, "multi_label")["labels"][0] == "bass"
    assert "1 training tracks relabelled" in (said := capsys.readouterr().out)
    assert said.endswith("not touched; 1 passed over that the table lacks\n")


def test_labels_are_replaced(tmp_path):
    path = write(tmp_path / "overrides.csv", "track_id,labels,leave_out\n1,-,0\n2,flute;bass,0\n4,-,0\n")
    result = apply_overrides(pd.DataFrame(MULTI), path, "multi_label")
    assert result["labels"].tolist() == ["-", "flute;bass", "-", "flute"]


def test_what_was_known_stays_known(tmp_path):
    table = pd.DataFrame(MULTI).assign(absent=["flute", "-", "bass", "-"])
    path = write(tmp_path / "overrides.csv", "track_id,labels,leave_out\n1,drums;flute,0\n2,bass,0\n3,bass,0\n")
    result = apply_overrides(table, path, "multi_label")
    assert result["labels"].tolist() == ["drums;flute", "bass", "bass", "flute"]
    assert result["absent"].tolist() == ["bass", "drums", "-", "-"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track_id,genre\n1,Mid\n", "lacks the column leave_out"),
        ("track_id,genre,leave_out\n99,Mid,0\n98,Mid,0\n", r"row 2 has track_id '99'; the table lacks it, and all"),
        ("track_id,genre,leave_out\n1,Med,0\n", r"row 2 has genre 'Med'; the table has High, Low, Mid"),
        ("track_id,genre,leave_out\n1,,0\n", "row 2 has no genre"),
        ("track_id,genre,leave_out\n1,Mid,0\n2,Mid,yes\n", "row 3 has leave_out 'yes'; write 1"),
        ("track_id,genre,leave_out\n1,Mid,0\n2,Mid,\n", "row 3 has leave_out 'nan'; write 1"),
        ("track_id,genre,leave_out\n1,Mid,0\n1,Low,0\n", "row 3 has track_id '1'; it has that track before"),
        ("", "not a CSV table"),
    ],
)
def test_overrides_that_cannot_be_used(tmp_path, text, message):
    path = write(tmp_path / "overrides.csv", text)
    with pytest.raises(TableError, match=message) as caught:
        apply_overrides(pd.DataFrame(SINGLE), path, "single_label")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("cell", "message"), [("basso", "did you mean 'bass'"), ("", "row 2 has no labels")])
def test_labels_that_the_table_lacks(tmp_path, cell, message):
    path = write(tmp_path / "overrides.csv", f"track_id,labels,leave_out\n1,{cell},0\n")
    with pytest.raises(TableError, match=message):
        apply_overrides(pd.DataFrame(MULTI), path, "multi_label")
    with pytest.raises(TableError, match="no such table"):
        apply_overrides(pd.DataFrame(MULTI), tmp_path / "none.csv", "multi_label")
