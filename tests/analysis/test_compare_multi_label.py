"""Comparing runs that give several labels: differences and intervals against scikit-learn, refusals."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score

from scripts.analysis.compare import MultiLabelTest, bootstrap_p, compare, compare_pairs, main
from scripts.common.errors import ConfigError
from scripts.config.run import Run
from scripts.tables.label_matrix import join
from tests.analysis.test_compare import cells, write_run

NAMES, TRACKS = ["drums", "flute", "voice"], 60
TRUTH = np.random.default_rng(0).random((TRACKS, 3)) < 0.4


def noisy(seed: int, noise: float) -> np.ndarray:
    """Probabilities [tracks, labels] that are right but for some noise."""
    return np.random.default_rng(seed).normal(np.where(TRUTH, 0.7, 0.3), noise).clip(0, 1).round(6)


GOOD, BAD = noisy(1, 0.1), noisy(2, 0.4)


def f1(probabilities: np.ndarray, **settings) -> float:
    return f1_score(TRUTH, probabilities >= 0.5, average="macro", **settings)


def write_tags(root: Path, name: str, probabilities: np.ndarray, truth: np.ndarray = TRUTH, **changes) -> None:
    folder = root / "reports" / name
    folder.mkdir(parents=True)
    labels = [join(np.array(NAMES)[row]) for row in truth]
    table = pd.DataFrame({"track_id": [f"{number:03d}" for number in range(TRACKS)], "clips": 1, "labels": labels})
    table = table.join(pd.DataFrame(probabilities, columns=[f"p_{label}" for label in NAMES]))
    table.sample(frac=1, random_state=0).to_csv(folder / "predictions.csv", index=False)
    test = {"split": "0123456789ab", "tracks": TRACKS, "thresholds": dict.fromkeys(NAMES, 0.5)}
    test |= {"f1_macro": f1(probabilities), "f1_micro": 0.7, "average_precision_macro": 0.8}
    test |= {f"{score}_interval_95": [0.1, 0.95] for score in ("f1_macro", "f1_micro", "average_precision_macro")}
    test |= {"baselines": {"prevalence": {"f1_macro": 0.55}}}
    (folder / "test.json").write_text(json.dumps(test | changes))


def load(root: Path, *names: str) -> list[MultiLabelTest]:
    runs = [Run(name, root) for name in names]
    return [MultiLabelTest(run, json.loads((run.report / "test.json").read_text())) for run in runs]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tags(tmp_path, "good-seed0", GOOD)
    write_tags(tmp_path, "good-seed1", noisy(3, 0.12))
    write_tags(tmp_path, "bad", BAD)
    return tmp_path


def test_differences_are_those_of_scikit_learn(root):
    pair = compare_pairs(load(root, "good-seed0", "bad")).iloc[0]
    assert pair["f1_macro"] == pytest.approx(f1(GOOD) - f1(BAD), abs=1e-6)
    precisions = [average_precision_score(TRUTH, probabilities, average="macro") for probabilities in (GOOD, BAD)]
    assert pair["average_precision_macro"] == pytest.approx(precisions[0] - precisions[1], abs=1e-6)


def test_the_interval_is_that_of_a_paired_bootstrap(root):
    """Other draws, scored by scikit-learn: the same spread but for chance, and less than that of unpaired draws."""
    draws = np.random.default_rng(9).multinomial(TRACKS, np.full(TRACKS, 1 / TRACKS), 400)
    good, near = ([f1(p, sample_weight=times) for times in draws] for p in (GOOD, noisy(3, 0.12)))
    low, high = np.quantile(np.subtract(good, near), [0.025, 0.975])
    pair = compare_pairs(load(root, "good-seed0", "good-seed1")).iloc[0]
    width = pair["f1_macro_high"] - pair["f1_macro_low"]
    assert width == pytest.approx(high - low, rel=0.25)
    assert (pair["f1_macro_high"] + pair["f1_macro_low"]) / 2 == pytest.approx(pair["f1_macro"], abs=width / 5)


def test_a_run_and_its_double_do_not_differ(root):
    write_tags(root, "double", GOOD)
    same, other = compare_pairs(load(root, "good-seed0", "double", "bad")).iloc[:2].to_dict("records")
    assert (same["f1_macro"], same["f1_macro_low"], same["f1_macro_high"], same["p"]) == (0, 0, 0, 1)
    assert other["f1_macro_low"] > 0 and other["p"] < 0.01


@pytest.mark.parametrize(("found", "p"), [(0.0, 1.0), (0.3, 0.6), (0.31, 0.2), (-0.4, 0.2)])
def test_p_by_hand(found, p):
    """Draws 0.3 above and below their mean, twice: with the difference itself, none, two or four go as far."""
    assert bootstrap_p(np.array([found, 0.2, 0.8, 0.5, 0.5])) == pytest.approx(p)


def test_what_is_written(root, capsys):
    main(["good-seed0", "good-seed1", "bad", "--group", "--runs", str(root)])
    text = (root / "compare" / "compare.md").read_text()
    assert text in capsys.readouterr().out
    assert "60 tracks; macro F1 of the labels' frequencies 0.550." in text
    own, *pairs = cells(text, "good-seed0")
    assert own[2:] == [f"{f1(GOOD):.3f} (0.100-0.950)", "0.800 (0.100-0.950)", "0.700 (0.100-0.950)"]
    assert [pair[1] for pair in pairs] == ["good-seed1", "bad"]
    assert pairs[1][2].startswith(f"{f1(GOOD) - f1(BAD):+.3f} (+0.")
    mean = np.mean([f1(GOOD), f1(noisy(3, 0.12))])
    assert cells(text, "good")[0][1:3] == ["2", f"{mean:.3f} ± {abs(f1(GOOD) - mean) * 2**0.5:.3f}"]
    assert (root / "compare" / "compare.png").stat().st_size > 5000


def test_what_cannot_be_compared(root, refusal):
    write_run(root, "genres", range(3))
    write_tags(root, "others", GOOD, ~TRUTH, f1_macro=f1_score(~TRUTH, GOOD >= 0.5, average="macro"))
    write_tags(root, "mixed up", BAD, f1_macro=0.99)
    write_tags(root, "old", BAD, thresholds={"drums": 0.5})
    for other, words in {
        "genres": ("one gives a track a genre", "several labels"),
        "others": ("60 tracks have other labels, such as 000, 001, 002",),
        "mixed up": ("of different tests", "scripts evaluate mixed up"),
        "old": ("incomplete", "scripts evaluate old"),
    }.items():
        line = refusal(main, ["bad", other, "--runs", str(root)])
        assert all(word in line for word in words), line


def test_unknown_labels_count_as_part_of_the_truth(root):
    for name, absent in (("partial", "voice"), ("other", "-")):
        write_tags(root, name, GOOD)
        path = root / "reports" / name / "predictions.csv"
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table["absent"] = np.where(table["labels"].str.contains("voice"), "-", absent)
        table.to_csv(path, index=False)
        test = json.loads((path.parent / "test.json").read_text())
        [tested] = load(root, name)
        test["f1_macro"] = float(tested.draws["f1_macro"][0])
        (path.parent / "test.json").write_text(json.dumps(test))
    with pytest.raises(ConfigError, match="tracks have other labels"):
        compare(["partial", "other"], root)
