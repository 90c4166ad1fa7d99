"""A multi-label experiment from its table to its report, and single-label and multi-label tables mixed up."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score

from scripts.analysis.compare import compare
from scripts.analysis.label_issues import label_issues
from scripts.common.errors import ConfigError, TableError
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.crossval import cross_validate
from scripts.evaluate import evaluate
from scripts.inference.predictor import Predictor
from scripts.train import train, train_seeds
from scripts.training.checkpoints import load_checkpoint
from tests.corpus import CHORDS, TONES, make_chords, make_experiment

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def chords(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    table = make_chords(tmp_path_factory.mktemp("chords"))
    return Experiment(name="chords", table=str(table), cache=str(table.parent / "mels"), epochs=10, **CHORDS)


@pytest.fixture(scope="module")
def report(chords: Experiment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict]:
    root = tmp_path_factory.mktemp("runs")
    return Run("chords", root), train(chords, root=root)


def test_learns_which_tones_there_are(report):
    _, summary = report
    assert summary["f1_macro"] > 0.9 > summary["baselines"]["prevalence"]["f1_macro"]
    assert summary["baselines"]["all_zero"]["f1_micro"] == 0


def test_files_agree_with_the_report(report, chords):
    run, summary = report
    table = pd.read_csv(run.report / "predictions.csv", dtype={"track_id": str})
    names = list(TONES)
    truth, found = ([[name in text.split(";") for name in names] for text in table[c]] for c in ("labels", "predicted"))
    assert summary["f1_macro"] == pytest.approx(f1_score(truth, found, average="macro"))
    clips = pd.read_csv(run.report / "clips.csv", dtype={"track_id": str})
    means = clips.groupby("track_id")[[f"l_{name}" for name in names]].mean()
    expected = 1 / (1 + np.exp(-means.loc[table["track_id"]].to_numpy()))
    np.testing.assert_allclose(table[[f"p_{name}" for name in names]], expected, atol=1e-4)
    assert len(pd.read_csv(run.report / "predictions_validation.csv")) == 12
    assert json.loads((run.report / "test.json").read_text())["f1_macro"] == summary["f1_macro"]
    figures = {"f1_per_label", "ranking_curves", "score_histograms", "co_occurrence", "pairwise_confusion"}
    assert figures <= {path.stem for path in run.report.glob("*.png")}


def test_thresholds_come_with_the_checkpoint(report):
    run, summary = report
    assert load_checkpoint(run.checkpoints / "best.pt")["thresholds"] == summary["thresholds"]
    np.testing.assert_array_equal(run.thresholds(), list(summary["thresholds"].values()))


def test_predicts_the_labels_of_a_file(report, chords):
    run, _ = report
    table = pd.read_csv(chords.data.table, dtype={"track_id": str})
    row = table[(table["split"] == "test") & (table["labels"].str.contains(";"))].iloc[0]
    prediction = Predictor(run)(row["file_path"])
    assert sorted(prediction.labels) == row["labels"].split(";")
    saved = pd.read_csv(run.report / "predictions.csv", dtype={"track_id": str}).set_index("track_id")
    expected = saved.loc[row["track_id"], [f"p_{name}" for name in TONES]].to_numpy(float)
    np.testing.assert_allclose(prediction.probabilities, expected, atol=2e-2)


def test_scored_again_gives_the_same(report):
    run, summary = report
    again = evaluate(run)
    assert {name: again[name] for name in ("f1_macro", "average_precision_macro", "loss")} == {
        name: summary[name] for name in ("f1_macro", "average_precision_macro", "loss")
    }


def test_killed_and_resumed_with_everything_on(chords, tmp_path):
    settings = {"mix": {"max_sources": 2, "partners": "any"}, "sampling": "balanced", "augment": {"mixup": {}}}
    full = chords.updated(epochs=3, loss="asymmetric", class_weights="balanced", **settings)
    train(full, "whole", tmp_path)
    train(full.updated(epochs=1), "cut", tmp_path)
    train(full, "cut", tmp_path, resume=True)
    whole, cut = (load_checkpoint(tmp_path / "checkpoints" / f"chords-{tag}" / "last.pt") for tag in ("whole", "cut"))
    assert all(torch.equal(values, cut["model"][name]) for name, values in whole["model"].items())


def test_unknown_labels_change_nothing(tmp_path):
    """Where `low` and `mid` are unknown of every track, only `high` is learnt and scored."""
    table = make_chords(tmp_path / "chords", absent=True)
    rows = pd.read_csv(table, dtype={"track_id": str})
    rows["labels"] = ["high" if "high" in labels else "-" for labels in rows["labels"]]
    rows.to_csv(table, index=False)
    values = {"table": str(table), "cache": str(table.parent / "mels"), "labels": ["high", "low"], "epochs": 2}
    summary = train(Experiment(name="masked", **CHORDS, **values), root=tmp_path)
    assert summary["labels_scored"] == 1 and summary["labels_without_positives"] == 1
    assert summary["per_label"]["low"]["known"] == 0
    assert summary["f1_macro"] == pytest.approx(summary["per_label"]["high"]["f1"], abs=1e-4)


def test_arcface_trains_its_own_directions(tmp_path):
    experiment = make_experiment(tmp_path, loss="arcface", epochs=2)
    train(experiment, "whole", tmp_path)
    train(experiment.updated(epochs=1), "cut", tmp_path)
    train(experiment, "cut", tmp_path, resume=True)
    first, last = (load_checkpoint(tmp_path / "checkpoints" / f"small-{tag}" / "last.pt") for tag in ("whole", "cut"))
    assert torch.equal(first["criterion"]["metric_loss.W"], last["criterion"]["metric_loss.W"])
    assert all(torch.equal(values, last["model"][name]) for name, values in first["model"].items())


def test_arcface_wants_one_label_of_each_training_track(chords, tmp_path):
    rows = pd.read_csv(chords.data.table, dtype={"track_id": str})
    one = (rows["labels"] != "-") & ~rows["labels"].str.contains(";")
    rows[one | (rows["split"] != "train")].to_csv(tmp_path / "one.csv", index=False)
    arcface = chords.updated(loss="arcface", epochs=1)
    assert train(arcface.updated(table=str(tmp_path / "one.csv")), root=tmp_path)["f1_macro"] >= 0
    with pytest.raises(ConfigError, match="loss=arcface needs one label for each training track; .* have none or sev"):
        train(arcface, "many", tmp_path)
    with pytest.raises(ConfigError, match="mix makes several; drop one"):
        arcface.updated(mix={"max_sources": 2})


def test_seeds_of_a_tagger(chords, tmp_path, capsys):
    reports = train_seeds(chords.updated(epochs=1), [0, 1], root=tmp_path)
    mean = np.mean([report["f1_macro"] for report in reports])
    assert f"f1 macro {mean:.3f} ± " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "CrossEntropyLoss"}, ["loss of task multi", "bce"]),
        ({"metric": "track_accuracy"}, ["metric of task multi", "macro_f1"]),
        ({"task": "single_label", "loss": "bce"}, ["loss of task single", "CrossEntropyLoss"]),
        ({"loss": "family", "augment": {"mixup": {}}}, ["mixup", "bce"]),
        ({"mix": {"max_sources": 0}}, ["mixtures of 1 to 0"]),
        ({"thresholds": "best"}, ["thresholds", "label"]),
        ({"aggregation": "men"}, ["did you mean 'mean'"]),
    ],
)
def test_settings_that_do_not_fit(chords, changes, words):
    with pytest.raises(ConfigError) as error:
        chords.updated(**changes)
    assert all(word in str(error.value) for word in words)


def test_tables_of_the_other_task(chords, tmp_path):
    single = make_experiment(tmp_path)
    with pytest.raises(TableError, match=r"a single_label table .* chords has task=multi_label"):
        train(chords.updated(table=single.data.table), root=tmp_path)
    with pytest.raises(TableError, match=r"a multi_label table .* small has task=single_label"):
        train(single.updated(table=chords.data.table), root=tmp_path)


def test_a_label_that_the_vocabulary_lacks(chords, tmp_path):
    with pytest.raises(TableError, match=r"metadata.csv: row \d+, labels: unknown label 'mid'"):
        train(chords.updated(labels=["high", "low"]), root=tmp_path)


def test_an_empty_cell_of_labels(chords, tmp_path):
    rows = pd.read_csv(chords.data.table, dtype=str)
    rows.loc[4, "labels"] = ""
    rows.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(TableError, match=r"table.csv: row 6 has no labels; write - for none of them"):
        train(chords.updated(table=str(tmp_path / "table.csv")), root=tmp_path)


def test_folds_of_a_tagger_and_their_label_issues(chords, tmp_path, capsys):
    summary = cross_validate(chords.updated(epochs=2, metric="last"), 2, root=tmp_path)
    folds = [json.loads((tmp_path / f"reports/chords-r0f{n}/test.json").read_text())["f1_macro"] for n in (0, 1)]
    assert summary["f1_macro"] == pytest.approx(np.mean(folds))
    assert summary["f1_macro_sd"] == pytest.approx(np.std(folds, ddof=1))
    pooled = pd.read_csv(tmp_path / "reports/chords-folds/predictions.csv", dtype={"track_id": str})
    assert sorted(pooled["track_id"]) == sorted(pd.read_csv(chords.data.table, dtype=str)["track_id"])
    quality = label_issues(Run("chords-folds", tmp_path), share=0.1)
    assert len(quality) == len(pooled) and quality["quality"].is_monotonic_increasing


def test_a_tagger_is_compared_with_its_copy(report, tmp_path):
    run, test = report
    for name in ("one", "two"):
        shutil.copytree(run.report, tmp_path / "reports" / name)
    table = compare(["one", "two"], tmp_path)
    assert table["f1_macro"].tolist() == [test["f1_macro"]] * 2
    assert "+0.000 (+0.000 to +0.000)" in (tmp_path / "compare/compare.md").read_text()


def test_starts_from_another_runs_weights(chords, report, tmp_path):
    run, _ = report
    source = run.checkpoints / "best.pt"
    still = chords.updated(epochs=0, metric="last", initial=str(source))
    train(still, root=tmp_path)
    begun, given = (load_checkpoint(path)["model"] for path in (tmp_path / "checkpoints/chords/best.pt", source))
    same = {name: torch.equal(values, begun[name]) for name, values in given.items()}
    assert all(equal for name, equal in same.items() if not name.startswith("head"))
    assert not all(equal for name, equal in same.items() if name.startswith("head"))
