"""The registry: stages, two processes, kills, damaged files, remote places, and what a reference means."""

import dataclasses
import errno
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from scripts.common.errors import CheckpointError, ConfigError
from scripts.config.run import Run
from scripts.inference import registry as registry_module
from scripts.inference.model_card import find_dataset
from scripts.inference.predictor import Predictor
from scripts.inference.registry import VARIABLE, Registry, check_run, find_run, main
from scripts.inference.registry_store import RegistryStore
from tests.corpus import GENRES, write_track

FILES = ["card.md", "checkpoints/small/best.pt", "reports/small/config.json", "reports/small/test.json"]


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(params=["folder", "memory", "file"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """An empty registry, in a folder or behind a URL."""
    places = {
        "folder": tmp_path / "registry",
        "memory": f"memory://{uuid.uuid4()}/models",
        "file": (tmp_path / "bucket").as_uri(),
    }
    return Registry(places[request.param], tmp_path / "runs")


def listing(models: Registry) -> dict[str, str]:
    """Reference -> stage."""
    return {version.reference: version.stage for version in models.versions()}


# --- versions and stages ------------------------------------------------------------------------------------


def test_version_is_the_run_unchanged(models: Registry, genre_run: Run, tmp_path: Path) -> None:
    version = models.add(genre_run, "genres")
    assert (version.reference, version.stage, version.task) == ("genres@1", "none", "single_label")
    assert version.split == genre_run.load_config()["split"] and sorted(version.files) == FILES
    test = json.loads((genre_run.report / "test.json").read_text())
    assert version.metrics["track_accuracy"] == {
        "value": test["track_accuracy"], "interval_95": test["track_accuracy_interval_95"],
    }  # fmt: skip
    run = models.open(models.find("genres@1"))
    assert run.experiment() == genre_run.experiment()
    write_track(tmp_path / "song.wav", 200, 5, seconds=3)
    found, expected = (Predictor(one)(tmp_path / "song.wav").probabilities for one in (run, genre_run))
    assert found.tolist() == expected.tolist()


def test_only_one_version_is_in_production(models: Registry, genre_run: Run) -> None:
    for stage in ("none", "production", "staging"):
        models.add(genre_run, "genres", stage)
    models.add(genre_run, "other", "production")
    models.promote("genres@3", "production")
    after = {"genres@1": "none", "genres@2": "archived", "genres@3": "production", "other@1": "production"}
    assert listing(models) == after
    models.promote("genres@production", "production")
    assert listing(models) == after
    assert [models.find(one).version for one in ("genres", "genres@archived", "genres@1")] == [3, 2, 1]
    models.promote("genres", "archived")
    assert models.find("genres").version == 3  # the newest, as none is in production


def test_number_of_a_removed_version_is_not_given_again(models: Registry, genre_run: Run) -> None:
    versions = [models.add(genre_run) for _ in range(2)]
    models.remove("small@2")
    assert listing(models) == {"small@1": "none"}
    with pytest.raises(ConfigError, match="unknown version or stage of small '2'"):
        models.find("small@2")
    with pytest.raises(ConfigError, match="missing or changed"):
        models.open(versions[1])
    assert models.add(genre_run).reference == "small@3"
    with pytest.raises(ConfigError, match="just been removed"):
        models.store.move(versions[1], "production")
    assert listing(models) == {"small@1": "none", "small@3": "none"}


def test_changed_file_is_found_out(models: Registry, genre_run: Run) -> None:
    version = models.add(genre_run)
    card = models.open(version).root / "card.md"
    kept = card.read_text()
    card.write_text("changed")
    if models.store.remote:  # a copy, which is fetched again
        assert models.open(version).root / "card.md" == card and card.read_text() == kept
        models.store.files.pipe_file(f"{version.place}/card.md", b"changed")
        models.open(version)  # the copy is still right
        shutil.rmtree(models.store.folder)
    with pytest.raises(ConfigError, match=f"{version.place}: .*changed since it was added: card.md; add the run again"):
        models.open(version)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a@1", "x" * 101])
def test_names_that_could_lead_elsewhere(genre_run: Run, tmp_path: Path, name: str) -> None:
    run = dataclasses.replace(genre_run, name=name) if not name else genre_run
    with pytest.raises(ConfigError):
        Registry(tmp_path / "registry").add(run, name)
    assert not (tmp_path / "registry").exists()


def test_run_that_cannot_be_registered(genre_run: Run, tmp_path: Path) -> None:
    models, runs = Registry(tmp_path / "registry"), tmp_path / "runs"
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        models.add(Run("smal", genre_run.root))
    copy = shutil.copytree(genre_run.root, runs) and Run("small", runs)
    (copy.report / "test.json").unlink()
    with pytest.raises(ConfigError, match="python -m scripts evaluate small"):
        models.add(copy)
    (copy.checkpoints / "best.pt").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        models.add(copy)
    rows = genre_run.experiment().updated(unit="row", columns=57, model={"name": "mlp"})
    copy.save_config(rows, classes=GENRES, split="0")
    with pytest.raises(ConfigError, match="reads a table of features"):
        models.add(copy)
    with pytest.raises(ConfigError, match="did you mean 'production'"):
        models.add(genre_run, stage="prodction")
    with pytest.raises(ConfigError, match="unknown dataset 'fmaa'"):
        models.add(genre_run, dataset="fmaa")
    assert models.versions() == []


# --- two at once, kills, damage ------------------------------------------------------------------------------


def in_processes(count: int, work: Callable[[int], None]) -> list[int]:
    """Exit codes of forked processes that each do the work; they must not compute with torch."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=work, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.fixture
def checked(genre_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run, whose weights need not be loaded again to be added."""
    test = check_run(genre_run)
    monkeypatch.setattr(registry_module, "check_run", lambda run: test)
    return genre_run


@pytest.mark.parametrize("models", ["folder", "file"], indirect=True)
def test_processes_that_add_at_once_get_their_own_numbers(models: Registry, checked: Run) -> None:
    def work(number: int) -> None:
        for _ in range(4):
            models.promote(models.add(checked, "genres").reference, "production")

    assert in_processes(4, work) == [0] * 4
    versions = models.versions()
    assert {version.reference for version in versions} == {f"genres@{number}" for number in range(1, 17)}
    assert [version.stage for version in versions].count("production") == 1
    for version in versions:
        models.open(version)


def test_number_that_another_process_has_just_taken(models: Registry, checked: Run, monkeypatch) -> None:
    models.add(checked, "genres", "production")
    monkeypatch.setattr(RegistryStore, "numbers", lambda *_: [])  # as they were before the other one's `add`
    second = models.add(checked, "genres")
    monkeypatch.undo()
    assert second.reference == "genres@2"
    assert listing(models) == {"genres@1": "production", "genres@2": "none"}


def test_failed_add_gives_its_number_back(models: Registry, genre_run: Run, monkeypatch) -> None:
    models.add(genre_run)
    before = models.store.files.find("")
    with monkeypatch.context() as patch:
        patch.setattr(RegistryStore, "write", lambda *_: 1 / 0)  # all files are there by then
        with pytest.raises(ZeroDivisionError):
            models.add(genre_run)
    assert models.store.files.find("") == before and models.add(genre_run).reference == "small@2"


def kill(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kills_in(work: Callable[[], object], patched: type, method: str, calls: int) -> None:
    """Do the work in a process that is killed instead of this call of the method."""

    def killed(_: int) -> None:
        original, left = getattr(patched, method), itertools.count(calls, -1)
        setattr(patched, method, lambda *args, **kwargs: original(*args, **kwargs) if next(left) else kill())
        work()

    assert in_processes(1, killed) == [-signal.SIGKILL]


# what an `add` calls: files are copied, the version's JSON file is made aside, then renamed
@pytest.mark.parametrize("step", [*(("cp_file", call) for call in (0, 2, 5)), ("pipe_file", 0), ("mv", 0)])
@pytest.mark.parametrize("models", ["folder", "file"], indirect=True)
def test_killed_add_leaves_no_version(models: Registry, checked: Run, step: tuple[str, int]) -> None:
    models.add(checked, "genres", "production")
    kills_in(lambda: models.add(checked, "genres", "production"), LocalFileSystem, *step)
    assert listing(models) == {"genres@1": "production"}
    version = models.add(checked, "genres", "production")
    assert models.open(version).exists()
    assert listing(models) == {"genres@1": "archived", version.reference: "production"}


@pytest.mark.parametrize(("step", "after"), [("pipe_file", 1), ("mv", 1), ("mv", 2)])
def test_killed_change_of_stage_leaves_one_in_production(checked: Run, tmp_path: Path, step: str, after: int) -> None:
    """Killed before its file is made aside, before it is renamed, and in a second change."""
    models = Registry(tmp_path / "registry")
    models.add(checked, "genres", "production")

    def work() -> None:
        models.add(checked, "genres", "production")
        models.promote("genres@1", "production")

    kills_in(work, LocalFileSystem, step, after)
    production = "genres@2" if after == 2 else "genres@1"
    stages = listing(models)
    assert [name for name, stage in stages.items() if stage == "production"] == [production] and len(stages) == 2
    models.promote("genres@2", "production")
    assert listing(models) == {"genres@1": "archived", "genres@2": "production"}


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("1.json", "{", "Invalid JSON"),
        ("1.json", '["a list of mine"]', "Input should be an object"),
        ("1.json", '{"name": "genres", "version": 1}', "run: Field required"),
        ("stages.json", '{"1": "prodction"}', "1: Input should be 'none', 'staging'"),
    ],
)
def test_damaged_json_is_named(models: Registry, checked: Run, file: str, text: str, reason: str) -> None:
    for _ in range(2):
        models.add(checked, "genres", "production")
    path = f"models/genres/{file}"
    models.store.files.pipe_file(path, text.encode())
    with pytest.raises(ConfigError, match=f"{path}: damaged .{reason}.*; restore it, or empty it to go on without"):
        models.versions()
    models.store.files.pipe_file(path, b"")
    without = {"genres@2": "production"} if file == "1.json" else {"genres@1": "none", "genres@2": "none"}
    assert listing(models) == without


@pytest.mark.parametrize("name", ["../card.md", "a/../../card.md", "/card.md", ""])
def test_version_cannot_name_files_elsewhere(models: Registry, checked: Run, name: str) -> None:
    place = f"{models.add(checked, 'genres').place}.json"
    row = json.loads(models.store.files.cat_file(place))
    models.store.files.pipe_file(place, json.dumps(row | {"files": {name: "0" * 64}}).encode())
    with pytest.raises(ConfigError, match="genres/1.json: damaged .files: "):
        models.versions()


def test_other_files_do_no_harm(models: Registry, checked: Run) -> None:
    for place in ("README.md", "models/.DS_Store", "models/genres/notes.json", "models/genres/01.json", "models/a b/c"):
        models.store.files.makedirs(place.rpartition("/")[0], exist_ok=True)
        models.store.files.pipe_file(place, b"mine")
    assert models.add(checked, "genres").reference == "genres@1" and listing(models) == {"genres@1": "none"}


def test_registry_of_the_sqlite_program_is_named(models: Registry, checked: Run) -> None:
    models.store.files.makedirs("models/genres/1", exist_ok=True)
    for place in ("index.sqlite", "models/genres/1/card.md"):
        models.store.files.pipe_file(place, b"old")
    with pytest.raises(ConfigError, match="index.sqlite: made by an earlier program.*add the runs again"):
        models.versions()
    assert models.open(models.add(checked, "genres")).exists() and listing(models) == {"genres@1": "none"}


@pytest.mark.parametrize("url", ["nope://place", "s3://bucket/models"])
def test_places_that_cannot_be_reached(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = fsspec.core.url_to_fs

    def without_s3(path: str) -> tuple:
        if path.startswith("s3"):
            raise ImportError("Install s3fs to access S3")
        return known(path)

    monkeypatch.setattr(fsspec.core, "url_to_fs", without_s3)
    with pytest.raises(ConfigError, match="give a folder, or a URL that fsspec can open"):
        Registry(url).versions()


def test_broken_connection_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentialsError(Exception):
        """Of a backend."""

    models = Registry("memory://bucket/models", tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentialsError("who are you?")

    monkeypatch.setattr(type(models.store.files), "ls", refuse)
    with pytest.raises(ConfigError, match="NoCredentialsError: who are you.; check the address"):
        models.versions()


def test_full_disk_is_called_so(checked: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "cp_file", full)
    with pytest.raises(ConfigError, match="No space left on device; free some space"):
        Registry(tmp_path / "registry").add(checked, "genres")


@pytest.mark.parametrize("place", ["registry", "registry/models/genres"])
def test_file_in_the_place_of_a_folder_is_one_line(checked: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("mine")
    with pytest.raises(ConfigError, match=f"{place}.*; check the address"):
        Registry(tmp_path / "registry").add(checked, "genres")
    assert (tmp_path / place).read_text() == "mine"


# --- find_run -----------------------------------------------------------------------------------------------


@pytest.fixture
def runs(genre_run: Run, tmp_path: Path) -> Path:
    """The runs small, demo_cnn_3s and latest, in this order."""
    folder = tmp_path / "runs"
    for age, name in enumerate(("latest", "demo_cnn_3s", "small")):
        for kind in ("reports", "checkpoints"):
            shutil.copytree(genre_run.root / kind / "small", folder / kind / name)
        os.utime(folder / "checkpoints" / name / "best.pt", (10**9 - age, 10**9 - age))
    return folder


def test_nothing_said_takes_production_then_the_main_runs_then_the_newest(runs: Path) -> None:
    def found() -> str:
        return find_run(None, runs).name

    assert found() == "demo_cnn_3s"
    shutil.copytree(runs / "reports" / "small", runs / "reports" / "fma_cnn_3s")
    assert found() == "demo_cnn_3s"  # the other has no weights yet
    shutil.copytree(runs / "checkpoints" / "small", runs / "checkpoints" / "fma_cnn_3s")
    assert found() == "fma_cnn_3s"
    for name in ("fma_cnn_3s", "demo_cnn_3s"):
        (runs / "reports" / name / "config.json").write_text("{}")
    assert found() == "latest"
    models = Registry(runs=runs)
    models.add(Run("small", runs), "genres", "staging")
    assert found() == "latest"
    models.promote("genres@1", "production")
    assert find_run(None, runs) == models.open(models.find("genres@production"))


def test_reference_means_a_model_or_a_run(runs: Path) -> None:
    models = Registry(runs=runs)
    for stage in ("production", "none"):
        models.add(Run("small", runs), "genres", stage)
    for reference in ("genres", "genres@1", "genres@production"):
        assert find_run(reference, runs).root == runs / "registry" / "models" / "genres" / "1"
    assert find_run("genres@2", runs).root == runs / "registry" / "models" / "genres" / "2"
    assert find_run("small", runs) == Run("small", runs)
    models.add(Run("latest", runs), "small")
    assert find_run("small", runs).root == runs / "registry" / "models" / "small" / "1"


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("genre", "did you mean 'genres'"),
        ("latst", "did you mean 'latest'"),
        ("genres@prod", "did you mean 'production'"),
        ("genres@7", "unknown version or stage of genres '7'; known: 1, production"),
        ("genre@1", "did you mean 'genres'"),
        ("../runs", "unknown model or run"),
    ],
)
def test_unknown_reference_suggests_the_nearest(runs: Path, reference: str, hint: str) -> None:
    Registry(runs=runs).add(Run("small", runs), "genres", "production")
    with pytest.raises(ConfigError, match=hint):
        find_run(reference, runs)


@pytest.mark.parametrize("reference", [None, "genres", "genres@production"])
def test_nothing_trained_says_which_command_trains(tmp_path: Path, reference: str | None) -> None:
    with pytest.raises(ConfigError, match=r"`make run`, or python -m scripts train --experiment fma_cnn_3s"):
        find_run(reference, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_variable_names_the_registry(genre_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"memory://{uuid.uuid4()}"
    Registry(place, tmp_path).add(genre_run, "far", "production")
    monkeypatch.setenv(VARIABLE, place)
    found = find_run(None, tmp_path)
    assert found.name == "small" and (tmp_path / "registry_cache") in found.root.parents
    assert find_run("far@1", tmp_path) == found
    with pytest.raises(ConfigError, match="no run"):
        find_run(None, tmp_path, tmp_path / "registry")


# --- the card and the command -------------------------------------------------------------------------------


def test_card_says_what_the_scores_are_of(genre_run: Run, tag_run: Run, tmp_path: Path) -> None:
    models = Registry(tmp_path / "registry")
    run = models.open(models.add(genre_run, "genres", dataset="gtzan"))
    card, test = (run.root / "card.md").read_text(), json.loads((genre_run.report / "test.json").read_text())
    low, high = test["track_accuracy_interval_95"]
    assert f"| track accuracy | {test['track_accuracy']:.3f} | {low:.3f} to {high:.3f} |" in card
    assert f"Of the test part: {test['tracks']} tracks" in card and f"`{test['split']}`" in card
    assert "High, Low, Mid" in card and "track accuracy of 0.333" in card
    assert "for research only" in card and 'find_run("genres@1")' in card and "{" not in card
    tags = (models.open(models.add(tag_run)).root / "card.md").read_text()
    assert "| macro F1 over tracks |" in tags and "any number of 3 labels" in tags and "all zero" in tags
    assert "not known here" in tags


@pytest.mark.parametrize(
    ("table", "classes", "name"),
    [
        ("data/metadata_ensemble.csv", ["Rock", "Hip-Hop"], "fma"),
        ("data/metadata_ensemble.csv", ["My own genre"], None),  # a folder of one's own, at the usual place
        ("data/demo/metadata_ensemble.csv", ["Rock"], None),
        ("data/irmas/metadata_ensemble.csv", ["cello", "flute"], "irmas"),
        ("data/polyphony/metadata.csv", ["cello", "flute"], "philharmonia"),
        ("elsewhere/table.csv", ["Rock"], None),
    ],
)
def test_dataset_is_told_by_folder_and_labels(genre_run: Run, table: str, classes: list[str], name: str | None) -> None:
    found = find_dataset(genre_run.experiment().updated(table=table), classes)
    assert (found and found.name) == name


def test_commands(genre_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    place = ["--runs", str(genre_run.root), "--registry", str(tmp_path / "registry")]

    def say(*words: str) -> str:
        main([*words, *place])
        return capsys.readouterr().out

    assert say("list").splitlines() == ["model  stage  run  split  added  scores"]
    assert (
        say("add", "small", "--name", "genres", "--stage", "production") == "genres@1: small added, stage production\n"
    )
    say("add", "small", "--name", "genres")
    assert say("promote", "genres@2", "production") == "genres@2: stage production\n"
    lines = say("list").splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["genres@1", "archived", "small"],
        ["genres@2", "production", "small"],
    ]
    assert all("track accuracy" in line for line in lines[1:])
    shown = say("show", "genres")
    assert shown.startswith("# genres@2\n") and "stage: production" in shown and "best.pt" in shown
    assert say("remove", "genres@1").startswith("genres@1: removed")
    with pytest.raises(SystemExit) as stopped:
        main(["show", "genres@1", *place])
    assert stopped.value.code == 2 and capsys.readouterr().err.count("\n") == 1
