"""What leaks are worth, on data in which each artist gives itself away."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from scripts.analysis import audit
from scripts.analysis import leak_cost as leakage
from scripts.analysis.leak_cost import clip_statistics, draw_sizes, measure_clips, measure_splits, measure_tracks
from scripts.audio.build_cache import build_cache
from scripts.common.errors import ConfigError, TableError
from scripts.datasets import get_dataset
from scripts.datasets.gtzan import GENRES
from scripts.datasets.gtzan_features import FEATURES, FILES
from scripts.datasets.gtzan_split import fault_filtered
from scripts.datasets.tiny import write_tone
from scripts.loading.loader import Items
from tests.corpus import SPEC, make_corpus

CLASSES, ARTISTS, TRACKS, CLIPS = 3, 8, 4, 5  # artists of a class, tracks of an artist, clips of a track


def feature_table(clips: int = 1) -> pd.DataFrame:
    """Features that tell artists apart but hardly classes; an artist of each class is in validation, two in test."""
    generator, rows = np.random.default_rng(0), []
    for label in range(CLASSES):
        for artist in range(ARTISTS):
            voice = generator.normal(0, 1, 10) + 0.3 * label
            for track in range(TRACKS):
                name = f"{label}-{artist}-{track}"
                part = {0: "test", 1: "test", 2: "validation"}.get(artist, "train")
                take = voice + generator.normal(0, 0.2, 10)
                for clip in range(clips):
                    rows.append((name, clip + 1, f"genre {label}", label, part, *take + generator.normal(0, 0.1, 10)))
    return pd.DataFrame(rows, columns=["track_id", "clip", "genre", "class", "split", *map(str, range(10))])


def corpus_items() -> tuple[Items, pd.Series]:
    """Clips that sound like their track, tracks that sound like their artist, artists unlike their class."""
    generator, table = np.random.default_rng(1), feature_table()
    voices = generator.normal(0, 1, (CLASSES * ARTISTS, 16, 1)).repeat(TRACKS, axis=0)
    tracks = voices + generator.normal(0, 0.3, (len(table), 16, 1))
    array = tracks.repeat(CLIPS, axis=0) + generator.normal(0, 0.5, (len(table) * CLIPS, 16, 40))
    track = np.arange(len(table)).repeat(CLIPS)
    labels = table["class"].to_numpy()[track]
    items = Items(array.astype(np.float16), np.arange(len(track)), labels, track, table.assign(items=CLIPS))
    return items, table["track_id"].str.rsplit("-", n=1).str[0]


# --- the table of features ----------------------------------------------------------------------------------


def test_scores_are_scikit_learns() -> None:
    table, model = feature_table(), make_pipeline(StandardScaler(), SVC(C=10))
    x, y = table[list(map(str, range(10)))].to_numpy(), table["class"].to_numpy()
    folds = cross_val_score(model, x, y, cv=RepeatedStratifiedKFold(n_splits=10, n_repeats=5, random_state=3))
    test = (table["split"] == "test").to_numpy()
    clean = model.fit(x[~test], y[~test]).score(x[test], y[test])
    found = measure_tracks(table, "svm", draws=4, seed=3)
    assert (found["tenfold"].mean, found["tenfold"].sd) == pytest.approx((folds.mean(), folds.std(ddof=1)))
    assert found["fault_filtered"].mean == pytest.approx(clean)
    low, high = found["fault_filtered"].interval_95
    assert low < clean < high
    assert {name: (score.n, score.unit) for name, score in found.items()} == {
        "tenfold": (50, "folds"),
        "random_same_sizes": (4, "draws"),
        "random_same_tracks": (4, "draws"),
        "fault_filtered": (test.sum(), "tracks"),
    }


def test_artists_on_both_sides_raise_the_score() -> None:
    found = measure_tracks(feature_table(), "nearest", draws=5)
    assert found["random_same_sizes"].mean > 0.9
    assert found["fault_filtered"].interval_95[1] < found["random_same_sizes"].mean


def test_clips_on_both_sides_raise_it_more() -> None:
    found = measure_clips(feature_table(clips=3), "nearest")
    assert found["clips_at_random"].mean >= found["clips_by_track"].mean > found["clips_fault_filtered"].mean
    assert found["clips_fault_filtered"].n == 2 * TRACKS * CLASSES
    assert found["clips_at_random"].n == 5


def test_random_splits_have_the_sizes_of_the_official_one() -> None:
    labels = np.repeat([0, 1, 2], [20, 30, 40])
    pool = np.flatnonzero(np.arange(90) % 5 > 0)
    draws = list(draw_sizes(labels, pool, (np.array([7, 8, 9]), np.array([5, 6, 20])), 6, seed=0))
    assert len({tuple(sorted(test)) for _, test in draws}) == 6
    for train, test in draws:
        assert np.bincount(labels[train]).tolist() == [7, 8, 9]
        assert np.bincount(labels[test]).tolist() == [5, 6, 20]
        assert not set(train) & set(test)
        assert set(train) | set(test) <= set(pool)


def test_too_few_tracks_or_draws() -> None:
    table = feature_table()
    with pytest.raises(TableError, match="genre 'genre 1' has 9 tracks; the audit needs at least 10"):
        measure_tracks(table[(table["class"] != 1) | (table.groupby("class").cumcount() < 9)])
    with pytest.raises(TableError, match="some of them in train and in test"):
        measure_tracks(table.assign(split=np.nan))
    with pytest.raises(ConfigError, match="at least 2"):
        measure_tracks(table, draws=1)


# --- one's own data -----------------------------------------------------------------------------------------


def test_statistics_of_a_clip() -> None:
    clip = np.array([[1, 2, 3, 6], [5, 5, 5, 5]], np.float16)
    items = Items(np.stack([0 * clip, clip]), np.array([1]), np.zeros(1, int), np.zeros(1, int), pd.DataFrame())
    expected = [3, 5, np.sqrt(3.5), 0, np.std([1, 1, 3]), 0]
    assert clip_statistics(items)[0] == pytest.approx(expected, rel=1e-6)


def test_statistics_of_many_clips_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    items, _ = corpus_items()
    at_once = clip_statistics(items)
    monkeypatch.setattr(leakage, "CLIPS_AT_ONCE", 7)
    assert np.array_equal(clip_statistics(items), at_once)


def test_the_same_sizes_under_every_split() -> None:
    items, artists = corpus_items()
    found = measure_splits(items, artists, "nearest", draws=3)
    assert list(found) == ["clip", "track", "artist", "table"]
    test_clips = 2 * CLASSES * TRACKS * CLIPS
    for split in found.values():
        assert (split["train_clips"], split["test_clips"]) == (len(items) - test_clips, test_clips)
    assert [found[name]["draws"] for name in found] == [3, 3, 3, 1]
    assert "track_accuracy" not in found["clip"]
    scores = {name: split["clip_accuracy"]["mean"] for name, split in found.items()}
    assert scores["clip"] > scores["artist"] + 0.2
    assert scores["track"] > scores["artist"] + 0.2
    assert scores["track"] > scores["table"] + 0.2


def test_who_is_known_from_train() -> None:
    items, artists = corpus_items()
    found = measure_splits(items, artists, "nearest", draws=2)
    assert [found[name]["seen_tracks"] for name in ("track", "artist", "table")] == [0, 0, 0]
    assert [found[name]["seen_artists"] for name in ("artist", "table")] == [0, 0]
    assert found["clip"]["seen_tracks"] > 0.9
    assert found["track"]["seen_artists"] > 0.9
    half = artists.where(np.arange(len(artists)) % 2 == 0)
    train, test = np.flatnonzero(items.track % TRACKS > 0), np.flatnonzero(items.track % TRACKS == 0)
    assert leakage.seen_in_train(items, half, train, test) == (0, 1)
    assert leakage.seen_in_train(items, half, test, train) == (0, 1 / 3)


def test_votes_of_a_track(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three clips say 2, 2, 0 of a track of class 2, and 1, 0, 0 of a track of class 1."""
    predictions, track = np.array([2, 2, 0, 1, 0, 0]), np.repeat([4, 7], 3)
    tracks = pd.DataFrame({"class": [0, 0, 0, 0, 2, 0, 0, 1]})
    items = Items(np.empty((6, 1, 1)), np.arange(6), tracks["class"].to_numpy()[track], track, tracks)
    monkeypatch.setattr(leakage.Examples, "predict", lambda *_: predictions)
    examples = leakage.Examples(np.empty((6, 1)), items.labels, "nearest")
    shares = leakage.track_shares(examples, items, np.arange(0), np.arange(6))
    assert shares["clip"].to_dict() == pytest.approx({4: 2 / 3, 7: 1 / 3})
    assert shares["track"].to_dict() == {4: 1, 7: 0}


def test_unknown_artists_have_no_artist_split() -> None:
    items, artists = corpus_items()
    found = measure_splits(items, pd.Series(np.nan, artists.index, object), "nearest", draws=1)
    assert list(found) == ["clip", "track", "table"]
    assert found["table"]["seen_artists"] is None


def test_a_test_part_too_small_for_all_genres() -> None:
    items, artists = corpus_items()
    items.tracks.loc[2:, "split"] = "train"
    with pytest.raises(TableError, match="2 test tracks of 96 for 3 genres; the audit needs at least 3"):
        measure_splits(items, artists)


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gtzan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up table of 57 features: eight tracks of each genre in train, four in test, two in neither."""
    folder, generator, rows = tmp_path_factory.mktemp("gtzan"), np.random.default_rng(0), []
    parts = fault_filtered()
    for label, genre in enumerate(GENRES):
        names = [f"{genre}.{number:05d}" for number in range(100)]
        for part, count in (("train", 8), ("test", 4), (None, 2)):
            for name in [name for name in names if parts.get(name) == part][:count]:
                rows.append((f"{name}.wav", 661_794, *label + generator.normal(0, 4, len(FEATURES)), genre))
    table = pd.DataFrame(rows, columns=["filename", "length", *FEATURES, "label"])
    table.to_csv(folder / FILES["30s"], index=False)
    return folder


def test_features_as_json(gtzan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--dataset", "gtzan_features", "--root", str(gtzan), "--draws", "3", "--output", str(tmp_path)]
    audit.main([*flags, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "audit.json").read_text())
    assert list(result["fault_filtered"]) == ["mean", "n", "unit", "interval_95"]
    assert result["fault_filtered"]["n"] == 40
    for name in ("tenfold", "random_same_sizes", "random_same_tracks"):
        assert list(result[name]) == ["mean", "n", "unit", "sd"]
    leaky, clean = result["random_same_sizes"]["mean"], result["fault_filtered"]["mean"]
    assert result["leakage"] == pytest.approx({"difference": leaky - clean, "share": (leaky - clean) / leaky})
    assert "clips_at_random" not in result
    assert (tmp_path / "accuracies.png").read_bytes().startswith(b"\x89PNG")
    assert f"| {clean:.3f} |" in (tmp_path / "audit.md").read_text()


def test_leakage_in_words() -> None:
    line = audit.describe_leakage({"difference": 0.2471, "share": 0.338})
    assert line.startswith("0.247 of") and "34% of that score is leakage" in line


def test_no_leakage_in_words() -> None:
    assert "nothing" in audit.describe_leakage({"difference": -0.01, "share": -0.02})


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose second track, in test, is in train again under another name; an artist is on both sides."""
    folder = tmp_path_factory.mktemp("own")
    table = make_corpus(folder)
    copy = shutil.copy(table["file_path"][1], folder / "audio" / "copy.wav")
    again = table.iloc[[1]].assign(track_id="99", file_path=str(copy), split="train", artist_id="someone else")
    table = pd.concat([table.astype({"artist_id": str}), again], ignore_index=True)
    table.loc[table["track_id"] == "17", "artist_id"] = table["artist_id"][0]
    table.to_csv(folder / "leaky.csv", index=False)
    build_cache(table, folder / "mels", SPEC, workers=1)
    return folder


def test_own_data_on_screen(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit.main(["--table", f"{own}/leaky.csv", "--cache", f"{own}/mels", "--draws", "2", "--output", str(tmp_path)])
    screen = capsys.readouterr().out
    (pair,) = json.loads((tmp_path / "audit.json").read_text())["duplicates"]
    assert {pair["track_id"]: pair["part"], pair["other_id"]: pair["other_part"]} == {"99": "train", "1": "test"}
    assert (pair["exact"], pair["bit_errors"], pair["offset_s"]) == (True, 0, 0)
    assert "99 (train) and 1 (test): the same samples, 0.0% of the fingerprint's bits differ" in screen
    assert "leak: 100% of the test tracks (3 of 3) are by an artist who is also in train" in screen
    assert "artists at random: 0% of the test tracks are in the other part, 0% by an artist in it" in screen
    assert "\nMid: 5 artists, 2 of 6 tracks (33%) by 0\n" in screen
    assert (tmp_path / "accuracies.png").is_file()


def test_artists_of_each_genre_by_hand(tmp_path: Path) -> None:
    """Sturm's index knows of blues; of rock one artist alone; of jazz nothing."""
    (tmp_path / "GTZANindex.txt").write_text(
        "## by hand ## ##\nblues.00000.wav ::: John Lee Hooker ::: One\nblues.00001.wav ::: john lee  hooker ::: \n"
        "blues.00002.wav ::: Robert Johnson ::: Cross\nrock.00000.wav ::: Morphine ::: X\njazz.00000.wav :::  ::: Y\n"
    )
    numbers = {"blues": 4, "jazz": 1, "rock": 1}
    for genre, number in numbers.items():
        for track in range(number):
            write_tone(tmp_path / "genres" / genre / f"{genre}.{track:05}.wav", number, track)
    table = get_dataset("gtzan").label_table(tmp_path)
    assert [audit.describe_artists(row) for row in audit.artists_of_genres(table)] == [
        "rock: 1 artist, 1 of 1 tracks (100%) by Morphine",
        "blues: 2 artists, 2 of 3 tracks (67%) by John Lee Hooker, 1 of unknown artists",
    ]
    (tmp_path / "GTZANindex.txt").unlink()
    assert audit.artists_of_genres(get_dataset("gtzan").label_table(tmp_path)) == []


def test_own_data_without_its_audio(own: Path) -> None:
    table = pd.read_csv(own / "leaky.csv", dtype={"track_id": str}).assign(file_path="gone.wav")
    cache = audit.MelCache.open(own / "mels", SPEC)
    (pair,), within = audit.duplicates_across(table, cache, table["track_id"])
    assert pair["exact"] is None
    assert within == 0
    assert audit.duplicates_across(table.assign(split="train"), cache, table["track_id"]) == ([], 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "gtzan_feature"], "did you mean 'gtzan_features'"),
        (["--dataset", "gtzan_features", "--root", "nowhere"], "nowhere: has no features_30_sec.csv"),
        (["--dataset", "gtzan_features", "--classifier", "svn"], "did you mean 'svm'"),
        (["--experiment", "nothing"], "unknown experiment 'nothing'"),
        (["--table", "table.csv"], "--table without --cache"),
        (["--table", "table.csv", "--cache", "nowhere"], "nowhere: no cache here"),
    ],
)
def test_errors_are_one_line(flags: list[str], message: str, refusal: Callable[..., str]) -> None:
    assert message in refusal(audit.main, flags)
