"""Weights that already know the test: through a run, a chain of runs, another table, and when nobody can tell."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.loading.experiment_data import read_split
from scripts.loading.inheritance import FILE, UNKNOWN, inherited_leaks, learning_parts, save_trained_on
from scripts.tables.splits import fingerprint
from tests.corpus import make_corpus


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    make_corpus(tmp_path)
    return Experiment(name="small", table=str(tmp_path / "metadata_ensemble.csv"), cache="none")


def store(folder: Path, name: str, experiment: Experiment, parts: list[str] | None = None) -> Experiment:
    """What a run that learnt from some parts leaves behind; returns the experiment as it starts from its weights."""
    run, table = Run(name, folder / "runs"), read_split(experiment)[1]
    unknown = save_trained_on(run, experiment, table[table["split"].isin(parts or learning_parts(experiment))])
    run.save_config(experiment, classes=[], split=fingerprint(table), inherited=unknown)
    return experiment.updated(initial=str(run.checkpoints / "best.pt"))


def leaks_of(experiment: Experiment) -> list[str]:
    return inherited_leaks(experiment, read_split(experiment)[1])


def retold(experiment: Experiment, path: Path, **columns) -> Experiment:
    """The experiment on a copy of its table with other columns."""
    table = pd.read_csv(experiment.data.table, dtype=str).drop_duplicates("track_id", ignore_index=True).astype(object)
    table.assign(**columns).dropna(axis="columns", how="all").to_csv(path, index=False)
    return experiment.updated(table=str(path))


def test_a_run_that_was_trained_on_the_test(tmp_path: Path, experiment: Experiment) -> None:
    assert leaks_of(experiment) == []
    assert leaks_of(store(tmp_path, "same", experiment)) == []
    (line,) = leaks_of(store(tmp_path, "test", experiment, ["test"]))
    assert (
        line.startswith("3 of the 3 test tracks, such as 0, are among what the weights it starts from")
        and "test" in line
    )
    turned = experiment.updated(fold={"num_folds": 3, "number": 0, "by": "artist"})
    (line,) = leaks_of(store(tmp_path, "fold", turned).updated(fold=None))
    assert "test tracks" in line
    last = experiment.updated(metric="last", fold={"num_folds": 3, "number": 0, "by": "artist"})
    assert leaks_of(store(tmp_path, "last", last)) == []


def test_through_a_chain_of_runs_and_after_the_first_has_gone(tmp_path: Path, experiment: Experiment) -> None:
    second = store(tmp_path, "second", store(tmp_path, "first", experiment, ["test"]))
    third = store(tmp_path, "third", second)
    shutil.rmtree(tmp_path / "runs" / "reports" / "first")
    assert "3 of the 3 test tracks" in leaks_of(third)[0]


@pytest.mark.parametrize("how", ["other ids", "links", "copies", "no files", "other files"])
def test_another_table_of_the_same_tracks(tmp_path: Path, experiment: Experiment, how: str) -> None:
    paths = pd.read_csv(experiment.data.table).drop_duplicates("track_id")["file_path"].map(Path).tolist()
    if how in ("links", "copies"):
        (tmp_path / "more").mkdir()
        for number, path in enumerate(paths):
            place = tmp_path / "more" / f"{number}.wav"
            place.symlink_to(path) if how == "links" else shutil.copy(path, place)
        paths = [tmp_path / "more" / f"{number}.wav" for number in range(len(paths))]
    elif how == "other files":  # under the same ids
        for number, path in enumerate(paths):
            paths[number] = path.with_suffix(".flac")
            paths[number].write_bytes(path.read_bytes()[:-2] + b"xx")
    ids = [str(number + 100 * (how not in ("no files", "other files"))) for number in range(len(paths))]
    told = {"track_id": ids, "file_path": None if how == "no files" else paths, "artist_id": None}
    source = store(tmp_path, "source", retold(experiment, tmp_path / "other.csv", **told), ["test"])
    lines = leaks_of(experiment.updated(initial=source.model.initial))
    assert [line.startswith("3 of the 3 test tracks") for line in lines] == [True] * (how != "other files")


def test_tracks_inside_mixtures(tmp_path: Path, experiment: Experiment) -> None:
    source = store(tmp_path, "source", experiment, ["test"])  # tracks 0, 1 and 2
    mixed = retold(experiment, tmp_path / "mixed.csv", track_id=[f"m{n}" for n in range(18)], file_path=None,
                   sources=["0;5", "7;8", "9", *["3;4"] * 15], artist_id=None)  # fmt: skip
    (line,) = leaks_of(mixed.updated(initial=source.model.initial))
    assert line.startswith("1 of the 3 test tracks, such as m0")


def test_other_tracks_of_the_artists_in_test(tmp_path: Path, experiment: Experiment) -> None:
    table = pd.read_csv(experiment.data.table, dtype=str).assign(artist_id="one")
    table.to_csv(experiment.data.table, index=False)
    (line,) = leaks_of(store(tmp_path, "source", experiment))
    assert line.startswith("3 of the 3 test tracks, such as 0, are by artists among")


def test_weights_of_nobody_knows_where(tmp_path: Path, experiment: Experiment) -> None:
    foreign = experiment.updated(initial=str(tmp_path / "weights.pt"))
    (line,) = leaks_of(foreign)
    assert line.startswith(UNKNOWN) and line.endswith("weights.pt)")
    assert leaks_of(store(tmp_path, "child", foreign)) == [line]


def test_published_weights_may_have_learnt_from_anything(tmp_path: Path, experiment: Experiment) -> None:
    """Also where they are inside another network, and of a run that starts from such a run without any."""
    settings = {"network": "timm", "settings": {"pretrained": True}}
    published = experiment.updated(model={"name": "fluffy"} | settings)
    expected = [f"{UNKNOWN} (pretrained timm)"]
    assert leaks_of(published) == expected
    child = store(tmp_path, "parent", published)
    assert (
        leaks_of(child) == leaks_of(child.updated(model={"name": "cnn4", "initial": child.model.initial})) == expected
    )
    assert leaks_of(published.changed(["model.settings.pretrained=false"])) == []


def test_a_run_of_an_earlier_version_is_known_by_its_table(tmp_path: Path, experiment: Experiment) -> None:
    flipped = experiment.updated(table=str(tmp_path / "flipped.csv"))
    table = pd.read_csv(experiment.data.table, dtype=str)
    table.assign(split=table["split"].replace({"test": "train", "train": "test"})).to_csv(
        flipped.data.table, index=False
    )
    source = Run("source", tmp_path / "runs")
    started = store(tmp_path, "source", flipped)
    (source.report / FILE).unlink()
    config = json.loads(source.config_path.read_text())
    source.config_path.write_text(json.dumps({name: config[name] for name in config if name != "inherited"}))
    child = experiment.updated(initial=started.model.initial)
    assert "3 of the 3 test tracks" in leaks_of(child)[0]
    table.to_csv(flipped.data.table, index=False)
    assert leaks_of(child)[0].startswith(UNKNOWN)
