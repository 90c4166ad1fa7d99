"""Classical classifiers: against scikit-learn used plainly, and their reports against those of networks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from scripts.analysis.compare import check_same_tracks, read_tested
from scripts.baselines.classical import FeatureData, class_scores, main, score_rows
from scripts.common.errors import ConfigError, TableError
from scripts.config.run import Run
from scripts.datasets import gtzan_features
from scripts.tables.splits import fingerprint, k_folds
from scripts.training.classifiers import CLASSIFIERS, make_classifier

GENRES = ["Folk", "Jazz", "Rock"]
FEATURES = ["centroid", "rms", "tempo"]
TRACKS, CLIPS = 60, 4


def make_tables(folder: Path, spread: float = 1.5, clips: int = CLIPS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metadata, and features that tell the genres apart more or less; their rows are shuffled."""
    generator, number = np.random.default_rng(0), np.arange(TRACKS)
    parts = np.array(["train", "train", "train", "validation", "test"])[number // 3 % 5]
    ids = [f"{track:03d}" for track in number]
    tracks = pd.DataFrame({"track_id": ids, "genre": np.array(GENRES)[number % 3], "class": number % 3, "split": parts})
    rows = tracks[["track_id"]].loc[np.repeat(number, clips)].reset_index(drop=True)
    centres = 2 * np.eye(3)[np.repeat(number % 3, clips)]
    own = np.repeat(generator.normal(0, spread / 2, (TRACKS, 3)), clips, axis=0)
    values = (centres + own + generator.normal(0, spread, (len(rows), 3))) * [1000, 1, 0.01]
    rows = rows.assign(clip=np.tile(np.arange(1, clips + 1), TRACKS), **dict(zip(FEATURES, values.T, strict=True)))
    tracks = tracks.assign(artist_id=[f"a{track}" for track in number])
    tracks.to_csv(folder / "metadata.csv", index=False)
    rows.sample(frac=1, random_state=0).to_csv(folder / "features.csv", index=False)
    return tracks, rows


def call(folder: Path, *arguments: str) -> dict:
    """Run the command on the tables of a folder; returns what its only test.json holds."""
    given = f"--table={folder}/metadata.csv", f"--features={folder}/features.csv", f"--runs={folder}/runs"
    main([*given, *arguments])
    (report,) = folder.glob("runs/reports/*/test.json")
    return json.loads(report.read_text())


def load(folder: Path, **options) -> FeatureData:
    return FeatureData.load(str(folder / "features.csv"), folder / "metadata.csv", folder, **options)


def plain_svm() -> object:
    return make_pipeline(StandardScaler(), SVC(C=10))


# --- classifiers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_learns_and_is_the_same_again(name):
    generator, labels = np.random.default_rng(1), np.arange(90) % 3
    values = 4 * np.eye(3)[labels] + generator.normal(0, 0.5, (90, 3))
    scores = [class_scores(make_classifier(name, seed=3).fit(values[:60], labels[:60]), values[60:]) for _ in range(2)]
    assert np.mean(scores[0].argmax(1) == labels[60:]) == 1
    assert np.array_equal(*scores)


@pytest.mark.parametrize("name", ["svm", "logistic", "lda", "nearest"])
def test_the_unit_of_a_feature_does_not_matter(name, tmp_path):
    _, rows = make_tables(tmp_path)
    values, labels = rows[FEATURES].to_numpy(), rows["track_id"].astype(int) % 3
    plain, scaled = (
        class_scores(make_classifier(name).fit(data[::2], labels[::2]), data[1::2])
        for data in (values, values * [1e-3, 1, 1e4])
    )
    assert np.allclose(plain, scaled, atol=1e-3)


@pytest.mark.parametrize("name", ["boosting", "logistic", "svm"])
def test_balancing_finds_more_of_a_rare_class(name):
    generator = np.random.default_rng(2)
    labels = (np.arange(600) % 10 == 0).astype(int)
    values = labels[:, None] + generator.normal(0, 1, (600, 2))
    found = [
        make_classifier(name, balanced=balanced).fit(values[:400], labels[:400]).predict(values[400:]).sum()
        for balanced in (False, True)
    ]
    assert found[1] > found[0]


def test_two_classes_have_two_scores():
    values, labels = np.arange(20.0)[:, None], np.arange(20) // 10
    model = make_classifier("logistic").fit(values, labels)
    scores = class_scores(model, values)
    odds = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert np.allclose(odds, model.predict_proba(values))


@pytest.mark.parametrize("name", ["lda", "nearest"])
def test_what_has_no_weights_cannot_be_balanced(name):
    with pytest.raises(ConfigError, match="boosting, forest, logistic, svm"):
        make_classifier(name, balanced=True)


# --- reports ------------------------------------------------------------------------------------------------


def test_the_report_is_that_of_scikit_learn_used_plainly(tmp_path, capsys):
    tracks, rows = make_tables(tmp_path)
    report = call(tmp_path, "--classifier=svm", "--tag=x")
    rows = rows.merge(tracks, on="track_id")
    rest, test = rows[rows["split"] != "test"], rows[rows["split"] == "test"]
    values = plain_svm().fit(rest[FEATURES], rest["class"]).decision_function(test[FEATURES])
    means = pd.DataFrame(values).groupby(test["track_id"].to_numpy()).mean()
    truth = tracks.set_index("track_id").loc[means.index, "class"]
    assert report["track_accuracy"] == pytest.approx((means.idxmax(axis=1) == truth).mean())
    assert report["clip_accuracy"] == pytest.approx((values.argmax(1) == test["class"]).mean())
    assert 0.4 < report["clip_accuracy"] < 1
    assert (report["run"], report["tracks"], report["items"]) == ("classical_svm-x", 12, 12 * CLIPS)
    assert report["split"] == fingerprint(tracks) and report["leaks"] == []
    assert report["chance"] == pytest.approx(1 / 3) and report["majority"] == pytest.approx(1 / 3)
    predictions = pd.read_csv(tmp_path / "runs/reports/classical_svm-x/predictions.csv", dtype={"track_id": str})
    assert list(predictions) == ["track_id", "clips", "genre", "predicted", *(f"p_{name}" for name in GENRES)]
    expected = means.idxmax(axis=1).map(dict(enumerate(GENRES)))
    assert predictions.set_index("track_id")["predicted"].to_dict() == expected.to_dict()
    printed = capsys.readouterr().out
    assert "chance 0.333" in printed and "majority 0.333" in printed and report["split"] in printed


def test_folds_test_every_track_once(tmp_path, capsys):
    tracks, rows = make_tables(tmp_path, clips=1)
    report = call(tmp_path, "--classifier=svm", "--folds=4", "--by=track", "--seed=7")
    folds = k_folds(tracks, 4, 7)
    rows = rows.set_index("track_id").loc[tracks["track_id"]]
    values = cross_val_predict(
        plain_svm(), rows[FEATURES], tracks["class"], cv=PredefinedSplit(folds), method="decision_function"
    )
    right = values.argmax(1) == tracks["class"].to_numpy()
    assert report["tracks"] == TRACKS
    assert report["track_accuracy"] == pytest.approx(right.mean())
    accuracies = [right[folds == fold].mean() for fold in range(4)]
    assert report["folds"]["track_accuracy"] == pytest.approx(accuracies)
    mean, deviation = np.mean(accuracies), np.std(accuracies, ddof=1)
    assert f"4 folds: track accuracy {mean:.3f} ± {deviation:.3f}" in capsys.readouterr().out


def test_folds_go_by_the_datasets_own_else_by_artists_else_by_tracks(tmp_path, capsys):
    tracks, _ = make_tables(tmp_path, clips=1)
    artist = [f"a{number // 4}" for number in range(TRACKS)]
    for unit, columns in (
        ("official", {"artist_id": artist, "fold": [str(9 + number // 3 % 3) for number in range(TRACKS)]}),
        ("artist", {"artist_id": artist}),
        ("track", {"artist_id": None}),
    ):
        tracks.assign(**columns).to_csv(tmp_path / "metadata.csv", index=False)
        data = load(tmp_path, folds=3)
        assert f"--by {unit}, since" in capsys.readouterr().out
        found = data.items.tracks["split"].str.removeprefix("fold ").astype(int)
        expected = k_folds(tracks.assign(**columns), 3, by=unit)
        assert found.tolist() == expected.tolist() and (unit == "official" or not data.leaks)
    tracks.assign(fold=(["9"] * 3 + ["10"] * 3 + ["b"] * 3) * 6 + ["b"] * 6).to_csv(
        tmp_path / "metadata.csv", index=False
    )
    assert load(tmp_path, by="official").tests == ["fold 0", "fold 1", "fold 2"]
    with pytest.raises(ConfigError, match=r"5 folds, but.* 3 of its own .9, 10, b.; give that number"):
        load(tmp_path, folds=5)


def test_clips_of_a_track_are_never_on_both_sides(tmp_path):
    """Equal clips of tracks without any order in them: whoever saw one clip of a track would know the others."""
    tracks, rows = make_tables(tmp_path)
    own = np.random.default_rng(3).normal(size=(TRACKS, 3))
    rows[FEATURES] = own[rows["track_id"].astype(int)]
    rows.to_csv(tmp_path / "features.csv", index=False)
    data = load(tmp_path, folds=5)
    scores = score_rows(data, "nearest", 0, False)
    assert np.isfinite(scores).all()
    assert np.mean(scores.argmax(1) == data.items.labels) < 0.6


def test_tracks_without_features_are_counted(tmp_path):
    _, rows = make_tables(tmp_path)
    rows[~rows["track_id"].isin(["000", "012", "027"])].to_csv(tmp_path / "features.csv", index=False)
    report = call(tmp_path, "--classifier=nearest")
    assert report["left_out"] == {"without features": 2}  # of 012 and 027, which are in test; 000 is in train
    assert report["tracks"] == 10


def test_a_leak_is_told(tmp_path):
    tracks, _ = make_tables(tmp_path)
    tracks.loc[[0, 12], "artist_id"] = "both"  # in train and in test
    tracks.to_csv(tmp_path / "metadata.csv", index=False)
    (line,) = load(tmp_path).leaks
    assert "artist" in line and "both" in line
    assert load(tmp_path, folds=3, by="artist").leaks == []


def test_it_can_be_compared_and_is_no_network(tmp_path):
    make_tables(tmp_path)
    call(tmp_path, "--classifier=lda")
    main([f"--table={tmp_path}/metadata.csv", f"--features={tmp_path}/features.csv", f"--runs={tmp_path}/runs"])
    tested = [read_tested(Run(f"classical_{name}", tmp_path / "runs")) for name in ("lda", "svm")]
    check_same_tracks(*tested)
    assert [len(run.correct) for run in tested] == [12, 12]
    config = json.loads((tmp_path / "runs/reports/classical_lda/config.json").read_text())
    assert config["classical"]["classifier"] == "lda" and config["classes"] == GENRES
    with pytest.raises(ConfigError):
        Run("classical_lda", tmp_path / "runs").experiment()


def test_the_public_table_of_gtzan(tmp_path):
    gtzan_features.make_tiny(tmp_path)
    features = gtzan_features.read_features(tmp_path, "3s")
    data = FeatureData.load("gtzan_clips", tmp_path / "none.csv", tmp_path, folds=2)
    assert sorted(data.items.tracks["track_id"]) == sorted(features["track_id"].unique())
    assert data.items.array.shape == (len(features), 57)
    assert data.classes == list(gtzan_features.DATASET.labels)
    row = data.items.track == 3
    mine = features[features["track_id"] == data.items.tracks["track_id"][3]]
    assert np.array_equal(data.items.array[row], mine[gtzan_features.FEATURES])


# --- bad input ----------------------------------------------------------------------------------------------


def test_features_that_cannot_be_used(tmp_path):
    _, rows = make_tables(tmp_path)
    for changed, words in (
        (rows.assign(track_id="other"), "none of the tracks"),
        (rows[["track_id", "clip"]], "no column of features"),
        (rows.assign(tempo="fast"), "'tempo' holds what is no number"),
        (rows.assign(rms=np.nan), "'rms' holds what is no number"),
        (rows[rows["track_id"].astype(int) % 3 != 1], "no track of 'Jazz' to train on"),
    ):
        changed.to_csv(tmp_path / "features.csv", index=False)
        with pytest.raises(TableError, match=words):
            load(tmp_path)


def test_wrong_names_are_one_line(tmp_path, refusal):
    make_tables(tmp_path)
    for argument, words in (("--classifier=swm", "did you mean 'svm'"), ("--folds=1", "at least 2")):
        assert words in refusal(
            main, [f"--table={tmp_path}/metadata.csv", f"--features={tmp_path}/features.csv", argument]
        )
