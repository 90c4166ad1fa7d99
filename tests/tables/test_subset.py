"""Subsets of a table: the same share of each part and class, nested, and what an experiment takes of its table."""

import pandas as pd
import pytest

from scripts.common.errors import TableError
from scripts.config.experiment import Experiment
from scripts.loading.experiment_data import read_split
from scripts.tables.splits import fingerprint, stratified_subset

SIZES = {("train", "A"): 40, ("train", "B"): 20, ("validation", "B"): 10, ("test", "A"): 10}


def make_table() -> pd.DataFrame:
    rows = [(*pair, "AB".index(pair[1])) for pair, size in SIZES.items() for _ in range(size)]
    table = pd.DataFrame(rows, columns=["split", "genre", "class"])
    return table.assign(track_id=[f"t{number}" for number in range(len(table))])


def sizes(table: pd.DataFrame) -> dict:
    return table.groupby(["split", "genre"]).size().to_dict()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
def test_each_part_and_class_keeps_its_share(share: float) -> None:
    expected = {pair: round(share * size) for pair, size in SIZES.items()}
    assert sizes(stratified_subset(make_table(), round(share * 80))) == expected


def test_few_tracks_are_one_of_each_and_more_hold_them() -> None:
    table = make_table()
    chosen = [set(stratified_subset(table, count)["track_id"]) for count in (4, 17, 41, 200)]
    assert sizes(table[table["track_id"].isin(chosen[0])]) == dict.fromkeys(SIZES, 1)
    assert [len(ids) for ids in chosen] == [4, 17, 41, 80]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]


def test_the_order_of_rows_does_not_matter() -> None:
    table = make_table()
    shuffled = table.sample(frac=1, random_state=1)
    assert set(stratified_subset(shuffled, 23)["track_id"]) == set(stratified_subset(table, 23)["track_id"])


def test_a_track_with_several_labels_counts_for_the_rarest() -> None:
    labels = ["a"] * 30 + ["a;b"] * 6 + ["-"] * 4
    table = pd.DataFrame({"track_id": map(str, range(40)), "labels": labels, "split": "train"})
    assert stratified_subset(table, 20)["labels"].value_counts().to_dict() == {"a": 15, "a;b": 3, "-": 2}


@pytest.fixture
def experiment(tmp_path) -> Experiment:
    make_table().to_csv(tmp_path / "table.csv", index=False)
    return Experiment(name="small", table=str(tmp_path / "table.csv"), cache=str(tmp_path))


def test_limit_takes_of_every_part_and_train_share_of_the_training_alone(experiment) -> None:
    rows, whole, classes = read_split(experiment)
    limited_rows, limited, limited_classes = read_split(experiment.updated(limit=40))
    assert sizes(limited) == {pair: size // 2 for pair, size in SIZES.items()}
    assert limited_rows.equals(limited) and limited_classes == classes == ["A", "B"]
    assert fingerprint(limited) != fingerprint(whole)
    quarter, half = (read_split(experiment.updated(train_share=share))[1] for share in (0.25, 0.5))
    assert sizes(quarter) == SIZES | {("train", "A"): 10, ("train", "B"): 5}
    assert set(quarter["track_id"]) < set(half["track_id"]) < set(whole["track_id"])
    assert sizes(read_split(experiment.updated(limit=40, train_share=0.5))[1])[("train", "A")] == 10


def test_the_limit_is_taken_before_the_folds(experiment) -> None:
    ids = set(read_split(experiment.updated(limit=40))[1]["track_id"])
    folds = [read_split(experiment.updated(limit=40, fold={"num_folds": 4, "number": number}))[1] for number in (0, 1)]
    assert [set(table["track_id"]) for table in folds] == [ids, ids]


def test_too_small_a_subset_is_refused_in_a_line(experiment) -> None:
    with pytest.raises(TableError, match="limit=3 leaves 3 of 80 tracks; give one that leaves at least 4"):
        read_split(experiment.updated(limit=3))
    with pytest.raises(TableError, match="train_share=0.01 leaves 1 of 60 tracks; give one that leaves at least 2"):
        read_split(experiment.updated(train_share=0.01))
