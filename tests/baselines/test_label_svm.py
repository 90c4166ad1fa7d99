"""Support vector machines for each label: against scikit-learn used plainly, and what they must not see."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import average_precision_score, log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from scripts.analysis.blend import read_members
from scripts.baselines.label_svm import label_probabilities, main, make_svm, read_items
from scripts.common.errors import ConfigError
from scripts.config.run import Run
from scripts.tables.label_matrix import join
from scripts.tables.label_table import PARTS, read_table
from scripts.tables.splits import fingerprint
from scripts.training.classifiers import calibrate_svm

LABELS = ["cello", "flute", "rare"]
FEATURES = ["centroid", "rms", "tempo"]
TRACKS = 60


def make_tables(clips: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metadata, and features that tell cello and flute more or less; a single track of each part has "rare"."""
    generator, number = np.random.default_rng(0), np.arange(TRACKS)
    parts = np.array(["train", "train", "train", "validation", "test"])[number % 5]
    present = np.column_stack([generator.random((TRACKS, 2)) < 0.5, np.isin(number, [0, 3, 4])])
    names = np.array(LABELS)
    tracks = pd.DataFrame({"track_id": [f"{track:03d}" for track in number], "split": parts})
    tracks["labels"] = [join(names[row]) for row in present]
    track = np.repeat(number, clips)
    values = present[track] * [300.0, 1, 0] + generator.normal(0, [300, 1, 5], (len(track), 3))
    rows = pd.DataFrame({"track_id": tracks["track_id"].to_numpy()[track], "clip": np.tile(np.arange(clips), TRACKS)})
    return tracks, rows.assign(**dict(zip(FEATURES, values.T, strict=True)))


def call(folder: Path, tracks: pd.DataFrame, rows: pd.DataFrame, *arguments: str) -> Path:
    """Run the command on tables; returns the folder of the only report."""
    folder.mkdir(exist_ok=True)
    tracks.to_csv(folder / "metadata.csv", index=False)
    rows.to_csv(folder / "features.csv", index=False)
    given = f"--table={folder}/metadata.csv", f"--features={folder}/features.csv", f"--runs={folder}/runs"
    main([*given, *arguments])
    (report,) = folder.glob("runs/reports/*")
    return report


def found(folder: Path, tracks: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Probabilities of all rows, without a report, by track (and clip)."""
    tracks.to_csv(folder / "metadata.csv", index=False)
    rows.to_csv(folder / "features.csv", index=False)
    table = read_table(folder / "metadata.csv", ["track_id", "labels"])
    items = read_items(table, LABELS, folder / "metadata.csv", folder / "features.csv")
    probabilities = label_probabilities(make_svm(), items.part("train"), items.array)
    ids = items.tracks["track_id"].to_numpy()[items.track]
    return pd.DataFrame(probabilities, index=ids, columns=LABELS)


def plain(tracks: pd.DataFrame, rows: pd.DataFrame, label: str, **settings) -> pd.Series:
    """The probabilities of all tracks with a row each, by scikit-learn as its documentation has it."""
    truth = tracks["labels"].str.split(";").map(lambda names: label in names)
    train = tracks["split"] == "train"
    machine = make_pipeline(StandardScaler(), SVC(**settings))
    model = CalibratedClassifierCV(machine, ensemble=False, cv=StratifiedKFold(5))
    model.fit(rows.loc[train, FEATURES].to_numpy(), truth[train])
    return pd.Series(model.predict_proba(rows[FEATURES].to_numpy())[:, 1], tracks["track_id"])


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return call(tmp_path_factory.mktemp("svm"), *make_tables(), "--kernel=linear", "--C=2", "--tag=x")


def read(report: Path, file: str = "predictions.csv") -> pd.DataFrame:
    return pd.read_csv(report / file, dtype={"track_id": str}).set_index("track_id")


# --- reports ------------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_scikit_learn_used_plainly(report):
    tracks, rows = make_tables()
    for label in ("cello", "flute"):
        expected = plain(tracks, rows, label, kernel="linear", C=2)
        for part, file in (("test", "predictions.csv"), ("validation", "predictions_validation.csv")):
            table = read(report, file)
            assert sorted(table.index) == sorted(tracks.loc[tracks["split"] == part, "track_id"])
            np.testing.assert_allclose(table[f"p_{label}"], expected[table.index], atol=2e-6)


def test_the_report_is_that_of_a_run_with_several_labels(report):
    test, table, (tracks, _) = json.loads((report / "test.json").read_text()), read(report), make_tables()
    assert (test["run"], test["split"], test["tracks"]) == ("label_svm_linear-x", fingerprint(tracks), 12)
    truth = np.array([[name in cell.split(";") for name in LABELS] for cell in table["labels"]])
    expected = np.mean([average_precision_score(truth[:, n], table[f"p_{name}"]) for n, name in enumerate(LABELS)])
    assert test["average_precision_macro"] == pytest.approx(expected, abs=1e-6)
    loss = np.mean([log_loss(truth[:, n], table[f"p_{name}"]) for n, name in enumerate(LABELS)])
    assert test["loss"] == pytest.approx(loss, abs=1e-5)
    assert test["per_label"]["cello"]["average_precision"] > test["per_label"]["cello"]["positives"] / 12
    assert set(test["baselines"]) == {"all_zero", "prevalence"}
    chosen = table.filter(regex="^p_").to_numpy() >= [test["thresholds"][name] for name in LABELS]
    assert table["predicted"].tolist() == [join(np.array(LABELS)[row]) for row in chosen]


def test_a_label_that_cannot_be_learnt_gets_its_prevalence(report):
    """One of the 36 training tracks has it."""
    assert json.loads((report / "test.json").read_text())["constant"] == ["rare"]
    assert read(report)["p_rare"].tolist() == pytest.approx([1 / 36] * 12, abs=1e-6)


def test_it_can_be_blended_and_is_no_network(report):
    other = report.parent / "other"
    other.mkdir()
    for path in report.glob("*.*"):
        (other / path.name).write_bytes(path.read_bytes())
    first, second = read_members([report.name, "other"], report.parents[1], "validation")
    assert first.parts.keys() == second.parts.keys() == {"test", "validation"}
    config = json.loads((report / "config.json").read_text())
    assert config["label_svm"]["kernel"] == "linear" and config["classes"] == LABELS
    with pytest.raises(ConfigError):
        Run(report.name, report.parents[1]).experiment()


def test_a_track_is_the_mean_of_its_clips(tmp_path):
    """Tracks without features are counted: 004 and 009 are in test, 000 is in train."""
    tracks, rows = make_tables(clips=3)
    rows = rows[~rows["track_id"].isin(["000", "004", "009"])]
    report = call(tmp_path / "clips", tracks, rows)
    table, clips = read(report), found(tmp_path, tracks, rows)
    expected = expit(logit(clips).groupby(level=0).mean())
    np.testing.assert_allclose(table["p_cello"], expected.loc[table.index, "cello"], atol=2e-6)
    assert len(table) == 10 and (table["clips"] == 3).all()
    assert json.loads((report / "test.json").read_text())["left_out"] == {"without features": 2}


# --- what is not seen ---------------------------------------------------------------------------------------


def test_tested_tracks_do_not_change_one_another(tmp_path):
    """Scaling that is fitted to the test part anew would."""
    tracks, rows = make_tables()
    before = found(tmp_path, tracks, rows)
    far = rows["track_id"].isin(tracks.loc[tracks["split"] == "test", "track_id"].iloc[::2])
    rows.loc[far, FEATURES] *= 1000
    after = found(tmp_path, tracks, rows)
    np.testing.assert_array_equal(after[~far.to_numpy()], before[~far.to_numpy()])


def test_unknown_entries_are_left_out(tmp_path):
    """Nothing is known of the flute of every third training track, whose features are beyond belief."""
    tracks, rows = make_tables()
    has = tracks["labels"].str.split(";")
    tracks["absent"] = [join(set(LABELS) - set(names)) for names in has]
    strange = (tracks["split"] == "train") & (tracks.index % 3 == 0)
    without = found(tmp_path, tracks[~strange], rows[~strange])
    rows.loc[strange, FEATURES] = 1e6
    for column in ("labels", "absent"):
        names = [join(set(cell.split(";")) - {"flute", "-"}) for cell in tracks[column]]
        tracks.loc[strange, column] = np.array(names, object)[strange]
    known = found(tmp_path, tracks, rows)
    np.testing.assert_allclose(known.loc[without.index, "flute"], without["flute"], atol=1e-12)
    assert np.abs(known.loc[without.index, "cello"] - without["cello"]).max() > 0.01


def test_the_sigmoid_sees_no_clip_of_a_track_that_was_learnt():
    """As scikit-learn with folds that are given row by row."""
    generator, track = np.random.default_rng(0), np.repeat(np.arange(30), 1 + np.arange(30) % 4)
    truth = (np.arange(30) % 2).astype(float)
    values = generator.normal(size=(30, 3))[track] + generator.normal(0, 0.1, (len(track), 3)) + truth[track, None]
    folds = [held_out for _, held_out in StratifiedKFold(5).split(truth, truth)]
    rows = [(np.flatnonzero(~np.isin(track, fold)), np.flatnonzero(np.isin(track, fold))) for fold in folds]
    expected = CalibratedClassifierCV(make_svm(), ensemble=False, cv=rows).fit(values, truth[track])
    model = calibrate_svm(make_svm(), values, track, truth)
    np.testing.assert_allclose(model.predict_proba(values), expected.predict_proba(values), atol=1e-12)


# --- bad input ----------------------------------------------------------------------------------------------


def test_bad_input_is_one_line(tmp_path, refusal):
    tracks, rows = make_tables()
    both = tracks.assign(absent="cello")
    genres = tracks.rename(columns={"labels": "genre"})
    of_part = {part: tracks.loc[tracks["split"] == part, "track_id"] for part in PARTS}
    for table, features, argument, words in (
        (tracks, rows, "--kernel=rdf", ["unknown kernel 'rdf'", "did you mean 'rbf'"]),
        (tracks, rows, "--C=0", ["C is 0.0", "above 0"]),
        (tracks, rows, "--C=nan", ["C is nan"]),
        (genres, rows, "--C=1", ["lacks the column labels"]),
        (both, rows, "--C=1", ["metadata.csv: row", "'cello' in labels and in absent"]),
        (tracks, rows.assign(track_id="other"), "--C=1", ["features of none of the tracks"]),
        (tracks, rows.assign(rms="loud"), "--C=1", ["'rms' holds what is no number"]),
        (tracks, rows[~rows["track_id"].isin(of_part["validation"])], "--C=1", ["has no validation track"]),
    ):
        line = refusal(call, tmp_path, table, features, argument)
        assert all(word in line for word in words), line
    assert not (tmp_path / "runs").exists()
