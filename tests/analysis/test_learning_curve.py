"""A learning curve: nested training tracks, one test, kept runs, and a sentence that says no more than the interval."""

from types import SimpleNamespace

import pandas as pd
import pytest

from scripts.analysis.learning_curve import conclusion, learning_curve
from scripts.common.errors import ConfigError
from scripts.common.storage import read_csv
from scripts.config.run import Run
from tests.corpus import make_experiment

pytestmark = pytest.mark.usefixtures("quick_reports")


def test_shares_are_nested_tested_alike_and_kept(tmp_path, capsys):
    experiment, root = make_experiment(tmp_path, epochs=1), tmp_path / "runs"
    table = learning_curve(experiment, [1, 0.5], "t", root)
    assert table["train_tracks"].tolist() == [6, 12] and table["tracks"].tolist() == [3, 3]
    runs = [Run(f"small-t-{name}", root) for name in ("share50", "share100")]
    half, whole = (set(read_csv(run.report / "trained_on.csv")["track_id"]) for run in runs)
    assert half < whole
    folder = root / "reports" / "small-t-curve"
    assert pd.read_csv(folder / "learning_curve.csv")["share"].tolist() == [0.5, 1.0]
    assert (folder / "learning_curve.png").stat().st_size > 0
    assert "From 6 to 12 training tracks, track accuracy changes by" in (folder / "learning_curve.md").read_text()
    before = [(run.checkpoints / "best.pt").stat().st_mtime_ns for run in runs]
    learning_curve(experiment, [0.5, 1], "t", root, resume=True)
    assert [(run.checkpoints / "best.pt").stat().st_mtime_ns for run in runs] == before
    with pytest.raises(ConfigError, match="give --resume"):
        learning_curve(experiment, [0.5, 1], "t", root)
    with pytest.raises(ConfigError, match="two or more different shares"):
        learning_curve(experiment, [0.5, 0.5], "t", root)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.05, "would probably help"), (-0.01, 0.05, "do not show"), (-0.05, -0.01, "would probably not help")],
)
def test_the_sentence_says_what_the_interval_allows(low, high, words):
    change = {"f1_macro": (low + high) / 2, "f1_macro_low": low, "f1_macro_high": high, "p": 0.5}
    test = SimpleNamespace(DRAWN={"f1_macro": "macro F1"}, difference=lambda other: change)
    sentence = conclusion(pd.DataFrame({"train_tracks": [10, 20, 40]}), [None, test, test])
    assert sentence.startswith("From 20 to 40 training tracks, macro F1 changes by ") and words in sentence
