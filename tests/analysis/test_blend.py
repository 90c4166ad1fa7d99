"""Blends against cases worked by hand, scikit-learn, and the condition that the best weights fulfil."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, log_loss

from scripts.analysis.blend import choose_weights, fit_weights, main, mix, read_members
from scripts.analysis.compare import compare
from scripts.common.errors import ConfigError
from scripts.config.run import Run
from scripts.reports.predictions import read_saved

SPLIT = "0123456789ab"
GENRES = ["Folk", "Jazz", "Rock"]
LABELS = ["cello", "flute"]


def write_part(folder: Path, part: str, tracks: list[str], truth: dict, names: list[str], values: list) -> None:
    table = pd.DataFrame({"track_id": tracks, "clips": 10, **truth, "predicted": "-"})
    for name, column in zip(names, np.array(values, float).T, strict=True):
        table[f"p_{name}"] = column
    table.to_csv(folder / {"test": "predictions.csv", "validation": "predictions_validation.csv"}[part], index=False)


def write_genres(root: Path, name: str, test: list, validation: list | None = None, **changes) -> Path:
    """A run on 4 test tracks and as many for validation as there are rows; their genres repeat Folk, Jazz, Rock."""
    folder = root / "reports" / name
    folder.mkdir(parents=True)
    for part, values in (("test", test), ("validation", validation)):
        if values is not None:
            ids = [f"{part[0]}{number:03d}" for number in range(len(values))]
            genre = [GENRES[number % 3] for number in range(len(values))]
            write_part(folder, part, ids, {"genre": genre}, GENRES, values)
    report = {"split": SPLIT, "leaks": [], "majority": 0.25, "left_out": {"silent": 2}}
    (folder / "test.json").write_text(json.dumps(report | changes))
    return folder


def write_labels(root: Path, name: str, test: list, validation: list, **changes) -> Path:
    """A run with two labels a track; of t2 and v1 it is not known whether they have a flute."""
    folder = root / "reports" / name
    folder.mkdir(parents=True)
    labels, absent = ["cello;flute", "cello", "-", "flute"], ["-", "flute", "cello", "cello"]
    truth = {"labels": labels, "absent": absent}
    write_part(folder, "test", ["t0", "t1", "t2", "t3"], truth, LABELS, test)
    truth = {"labels": ["cello", "cello", "flute", "-"], "absent": ["flute", "-", "cello", "cello;flute"]}
    write_part(folder, "validation", ["v0", "v1", "v2", "v3"], truth, LABELS, validation)
    baselines = {
        "all_zero": dict.fromkeys(("f1_macro", "f1_micro", "average_precision_macro", "hamming_accuracy"), 0.5)
    }
    report = {"split": SPLIT, "leaks": [], "baselines": baselines, "left_out": {}, "threshold_rule": "label"}
    (folder / "test.json").write_text(json.dumps(report | changes))
    return folder


FIRST = [[0.6, 0.4, 0.0], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.7, 0.2]]  # right: t0, t2
SECOND = [[0.5, 0.1, 0.4], [0.1, 0.7, 0.2], [0.1, 0.5, 0.4], [0.7, 0.2, 0.1]]  # right: t0, t1, t3
SURE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]


@pytest.fixture(scope="module")
def genres(tmp_path_factory) -> Path:
    """Two runs, and their blend `both`."""
    root = tmp_path_factory.mktemp("genres")
    write_genres(root, "first", FIRST, FIRST)
    write_genres(root, "second", SECOND, SECOND)
    return blended(root, "first", "second", "--name", "both")


@pytest.fixture
def root(tmp_path) -> Path:
    """Two runs, not blended yet."""
    write_genres(tmp_path, "first", FIRST, FIRST)
    write_genres(tmp_path, "second", SECOND, SECOND)
    return tmp_path


def read(root: Path, name: str, file: str = "predictions.csv") -> pd.DataFrame:
    return pd.read_csv(root / "reports" / name / file, dtype={"track_id": str}, keep_default_na=False)


def call(root: Path, *arguments: str) -> None:
    main([*arguments, "--runs", str(root)])


def blended(root: Path, *arguments: str) -> Path:
    """The root, after a blend whose output is kept in printed.txt."""
    with open(root / "printed.txt", "w") as file, contextlib.redirect_stdout(file):
        call(root, *arguments)
    return root


def printed(root: Path) -> list[list[str]]:
    """The table of members and blend."""
    lines = (root / "printed.txt").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    return [rows[0], *rows[2:]]


def weights(root: Path, *names: str) -> np.ndarray:
    return choose_weights(read_members(list(names), root, "validation"), "validation")


# --- weights ------------------------------------------------------------------------------------------------


def test_weights_by_hand():
    """Three tracks that only the first run gets, one that only the second gets: 3/4 and 1/4 are likeliest."""
    likelihoods = np.array([[1, 1e-9]] * 3 + [[1e-9, 1]])
    np.testing.assert_allclose(fit_weights(likelihoods), [0.75, 0.25], atol=1e-5)


def test_equal_runs_share_their_weight_and_a_worse_one_gets_none():
    good = np.array([0.9, 0.8, 0.7])
    np.testing.assert_allclose(fit_weights(np.stack([good, good, good / 2], axis=1)), [0.5, 0.5, 0], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), members=st.integers(2, 5), entries=st.integers(1, 60))
def test_no_other_weights_are_better(seed, members, entries):
    """Kuhn and Tucker: the mean of a member's likelihood over the blend's is 1 where it has weight, at most 1 else."""
    likelihoods = np.random.default_rng(seed).uniform(1e-3, 1, (entries, members))
    weights = fit_weights(likelihoods)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    ratios = (likelihoods / (likelihoods @ weights)[:, None]).mean(axis=0)
    assert ratios.max() < 1 + 1e-3
    assert np.abs(ratios[weights > 0.01] - 1).max() < 1e-3


# --- one genre a track --------------------------------------------------------------------------------------


def test_mean_by_hand(genres):
    table = read(genres, "both")
    expected = [[0.55, 0.25, 0.2], [0.3, 0.5, 0.2], [0.15, 0.35, 0.5], [0.4, 0.45, 0.15]]
    np.testing.assert_allclose(table[[f"p_{name}" for name in GENRES]], expected, atol=1e-6)
    assert table["predicted"].tolist() == ["Folk", "Jazz", "Rock", "Jazz"]
    assert table["genre"].tolist() == ["Folk", "Jazz", "Rock", "Folk"]


def test_scores_are_those_of_scikit_learn(genres):
    test, table = json.loads((genres / "reports/both/test.json").read_text()), read(genres, "both")
    truth, predicted = table["genre"], table["predicted"]
    assert test["track_accuracy"] == 0.75
    assert test["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert test["loss"] == pytest.approx(log_loss(truth, table[[f"p_{name}" for name in GENRES]]), abs=1e-5)
    assert test["members"] == {"first": 0.5, "second": 0.5}
    assert (test["split"], test["majority"], test["left_out"]) == (SPLIT, 0.25, {"silent": 2})
    assert test["chance"] == pytest.approx(1 / 3)


def test_weights_come_from_validation_and_not_from_test(tmp_path):
    """The first run is right about all of test and wrong about all of validation; the second the other way round."""
    wrong = np.roll(SURE, 1, axis=1).tolist()
    write_genres(tmp_path, "learnt", SURE, wrong)
    write_genres(tmp_path, "honest", wrong, SURE)
    np.testing.assert_allclose(weights(tmp_path, "learnt", "honest"), [0, 1], atol=1e-4)


def test_weights_by_which_runs_are_mixed(root):
    mixed = mix(read_members(["first", "second"], root, "mean"), "test", np.array([0.25, 0.75]))
    np.testing.assert_allclose(mixed.probabilities[0], [0.525, 0.175, 0.3])
    np.testing.assert_allclose(mixed.probabilities, np.array(FIRST) / 4 + np.array(SECOND) * 3 / 4)


def test_a_blend_has_the_leaks_of_all_its_members(root):
    write_genres(root, "third", FIRST, FIRST, leaks=["its weights know the test"])
    blended(root, "first", "third", "--name", "both")
    assert json.loads((root / "reports" / "both" / "test.json").read_text())["leaks"] == ["its weights know the test"]
    assert "leaks: its weights know the test" in (root / "printed.txt").read_text()


def test_a_track_that_was_pooled_twice_is_refused(root, assert_one_line):
    path = root / "reports" / "first" / "predictions.csv"
    pooled = read(root, "first").assign(repeat=0)
    pd.concat([pooled, pooled.iloc[:1]]).to_csv(path, index=False)
    assert_one_line(root, ["first", "second", "--name", "both"], "needs a row per track")


def test_members_stand_beside_the_blend(genres):
    titles, *rows = printed(genres)
    assert titles == ["run", "weight", "track accuracy", "macro F1", "loss"]
    assert [row[:2] for row in rows] == [["first", "0.500"], ["second", "0.500"], ["both", ""]]
    assert [row[2][:5] for row in rows] == ["0.500", "0.750", "0.750"]
    assert float(rows[0][4]) == pytest.approx(
        log_loss(["Folk", "Jazz", "Rock", "Folk"], FIRST, labels=GENRES), abs=1e-4
    )


def test_a_blend_is_compared_and_blended_again(genres):
    write_genres(genres, "third", SURE)  # which has saved nothing of validation
    (genres / "reports/three").mkdir()
    (genres / "reports/three/config.json").write_text('{"blend": {}}')
    (genres / "reports/three/predictions_validation.csv").write_text("of another blend")
    call(genres, "both", "third", "--name", "three")
    names = [f"p_{name}" for name in GENRES]
    expected = (np.array(FIRST) + SECOND) / 4 + np.array(SURE) / 2
    np.testing.assert_allclose(read(genres, "three")[names], expected, atol=2e-6)
    assert not (genres / "reports/three/predictions_validation.csv").exists()
    table = compare(["both", "three"], genres)
    assert table["track_accuracy"].tolist() == [0.75, 1]


def test_a_blend_is_no_network(genres):
    config = json.loads((genres / "reports/both/config.json").read_text())
    assert config["blend"] == {"weights": "mean", "members": {"first": 0.5, "second": 0.5}}
    assert (config["classes"], config["split"]) == (GENRES, SPLIT)
    with pytest.raises(ConfigError):
        Run("both", genres).experiment()


def test_the_order_of_rows_does_not_matter(genres):
    shuffled = read(genres, "first").sample(frac=1, random_state=1)
    shuffled.to_csv(genres / "reports/first/predictions.csv", index=False)
    saved = read_saved(Run("first", genres))
    assert saved.tracks["track_id"].tolist() == ["t000", "t001", "t002", "t003"]
    assert saved.probabilities.tolist() == FIRST


# --- several labels a track ---------------------------------------------------------------------------------

CELLO = [[0.9, 0.5], [0.7, 0.1], [0.3, 0.9], [0.1, 0.4]]
FLUTE = [[0.5, 0.8], [0.5, 0.4], [0.1, 0.1], [0.3, 0.8]]
VALIDATION = [[0.9, 0.1], [0.7, 0.9], [0.3, 0.8], [0.1, 0.4]]


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("labels")
    write_labels(root, "strings", CELLO, VALIDATION)
    write_labels(root, "winds", FLUTE, VALIDATION)
    return blended(root, "strings", "winds", "--weights", "validation", "--name", "both")


def test_labels_by_hand(labels):
    """On validation 0.5 parts who has a cello (0.9, 0.7) from who has none, and 0.6 the flutes (0.8) from 0.4."""
    test, table = json.loads((labels / "reports/both/test.json").read_text()), read(labels, "both")
    assert test["thresholds"] == pytest.approx({"cello": 0.5, "flute": 0.6}, abs=1e-6)
    np.testing.assert_allclose(table["p_cello"], [0.7, 0.6, 0.2, 0.2], atol=1e-6)
    np.testing.assert_allclose(table["p_flute"], [0.65, 0.25, 0.5, 0.6], atol=1e-6)
    assert table["predicted"].tolist()[:3] == ["cello;flute", "cello", "-"]
    assert list(table) == ["track_id", "clips", "labels", "absent", "p_cello", "p_flute", "predicted"]
    assert table["absent"].tolist() == ["-", "flute", "cello", "cello"]
    assert read(labels, "both", "predictions_validation.csv")["p_flute"].tolist() == [0.1, 0.9, 0.8, 0.4]


def test_the_first_members_rule_chooses_the_thresholds(labels):
    """One for both labels: halfway from what is there, 0.7 and more, to what is not, 0.4 and less."""
    write_labels(labels, "one", CELLO, VALIDATION, threshold_rule="global")
    call(labels, "one", "winds", "--name", "by_one")
    test = json.loads((labels / "reports/by_one/test.json").read_text())
    assert test["threshold_rule"] == "global"
    assert test["thresholds"] == pytest.approx({"cello": 0.55, "flute": 0.55})


def test_label_scores_leave_out_what_is_unknown(labels):
    """Whether t2 has a flute is unknown."""
    test, table = json.loads((labels / "reports/both/test.json").read_text()), read(labels, "both")
    precisions = [
        average_precision_score([1, 1, 0, 0], table["p_cello"]),
        average_precision_score([1, 0, 1], table["p_flute"][[0, 1, 3]]),
    ]
    assert test["average_precision_macro"] == pytest.approx(np.mean(precisions))
    loss = log_loss([1, 1, 0, 0, 1, 0, 1], [*table["p_cello"], *table["p_flute"][[0, 1, 3]]])
    assert test["loss"] == pytest.approx(loss, abs=1e-5)
    assert test["baselines"]["all_zero"]["f1_macro"] == 0.5


def test_unknown_entries_weigh_nothing(tmp_path):
    """The runs differ in what they say of v1, whose flute is unknown, and of v3, where the second is nearer."""
    write_labels(tmp_path, "first", CELLO, [*VALIDATION[:3], [0.1, 0.9]])
    write_labels(tmp_path, "second", CELLO, [VALIDATION[0], [0.7, 0.0], *VALIDATION[2:]])
    np.testing.assert_allclose(weights(tmp_path, "first", "second"), [0, 1], atol=1e-4)


def test_members_have_thresholds_of_their_own(labels):
    """Those of both are 0.5 and 0.6: strings finds its cellos but no flute, winds all of both."""
    titles, *rows = printed(labels)
    assert titles == ["run", "weight", "macro F1", "micro F1", "mAP", "loss"]
    assert [row[:2] for row in rows] == [["strings", "0.500"], ["winds", "0.500"], ["both", ""]]
    assert [float(value) for row in rows[:2] for value in row[2:4]] == pytest.approx([0.5, 4 / 6, 1, 1], abs=1e-3)


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.fixture
def assert_one_line(refusal: Callable[..., str]) -> Callable[..., None]:
    def check(root: Path, arguments: list[str], *words: str) -> None:
        line = refusal(call, root, *arguments, "--name", "new")
        assert all(word in line for word in words), line
        assert not (root / "reports" / "new").exists()

    return check


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["first"], ["two or more"]),
        (["first", "first"], ["two or more different"]),
        (["first", "secnd"], ["did you mean 'second'"]),
        (["first", "second", "--weights", "median"], ["kind of weights 'median'", "mean, validation"]),
    ],
)
def test_names_that_do_not_fit(root, assert_one_line, arguments, words):
    assert_one_line(root, arguments, *words)


def test_without_any_run(tmp_path, assert_one_line):
    assert_one_line(tmp_path, ["a", "b"], "no tested run", "scripts train")


def test_a_blend_takes_the_place_of_no_run(root, refusal):
    write_genres(root, "network", FIRST)
    before = read(root, "network")
    for name in ("network", "first"):
        assert f"--name {name} is the name of a run" in refusal(call, root, "first", "second", "--name", name)
    assert read(root, "network").equals(before)


def test_runs_that_do_not_fit_together(root, assert_one_line):
    write_genres(root, "moved", FIRST, FIRST, split="ba9876543210")
    write_genres(root, "longer", [*FIRST, FIRST[0]], FIRST)
    other = write_genres(root, "renamed", FIRST, FIRST) / "predictions.csv"
    other.write_text(other.read_text().replace("Rock", "Metal"))
    swapped = write_genres(root, "swapped", FIRST, FIRST) / "predictions_validation.csv"
    swapped.write_text(swapped.read_text().replace("v001,10,Jazz", "v001,10,Folk"))
    write_labels(root, "tags", CELLO, VALIDATION)
    for name, words in (
        ("moved", ["splits", SPLIT, "ba9876543210"]),
        ("longer", ["1 tracks of test", "t004"]),
        ("renamed", ["classes or labels differ in Metal, Rock"]),
        ("swapped", ["tracks of validation have another genre"]),
        ("tags", ["Folk, Jazz, Rock"]),
    ):
        assert_one_line(root, ["first", name], "first and " + name, *words)


def test_missing_and_damaged_predictions(root, assert_one_line):
    write_genres(root, "early", FIRST)
    assert_one_line(
        root, ["first", "early", "--weights", "validation"],
        "early has saved no predictions of its validation part", "python -m scripts evaluate early",
    )  # fmt: skip
    path = root / "reports/early/predictions.csv"
    sound = path.read_text()
    changes = ("0.7", "1.7"), ("0.7", ""), ("0.7", "high"), ("t001", "t000"), ("genre", "style"), ("track_id", "id")
    for damage in ("", "track_id,genre\nt000,Folk\n", *(sound.replace(*change) for change in changes)):
        path.write_text(damage)
        assert_one_line(root, ["first", "early"], "early/predictions.csv", "score the run again")
    for damage in ("{", "{}", "[]"):
        (root / "reports/early/test.json").write_text(damage)
        assert_one_line(root, ["first", "early"], "early/test.json", "python -m scripts evaluate early")


def test_a_genre_without_probabilities(root, assert_one_line):
    for name in ("first", "second"):
        path = root / "reports" / name / "predictions.csv"
        path.write_text(path.read_text().replace("10,Jazz", "10,Polka"))
    assert_one_line(root, ["first", "second"], "no column p_Polka")
