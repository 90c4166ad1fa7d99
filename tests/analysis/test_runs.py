"""Listing runs and caches, and deleting no more than was asked for."""

import json
from pathlib import Path

import pytest

from scripts.analysis.runs import main
from scripts.audio.build_cache import build_cache
from scripts.common.lock import locked
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from tests.corpus import SPEC, make_corpus, write_track


def make_run(root: Path, name: str, test: dict | None = None, **facts) -> Run:
    """A run with 1000 bytes of checkpoints beside the report."""
    run = Run(name, root)
    experiment = Experiment(name="own", table="own.csv", cache=str(root / "mels"), epochs=3)
    config = {"run": name, "experiment": experiment.as_dict(), "classes": ["a"], "split": "0123456789ab", **facts}
    for folder in (run.report, run.checkpoints, run.logs):
        folder.mkdir(parents=True)
    run.config_path.write_text(json.dumps(config))
    (run.report / "metrics.csv").write_text("epoch,validation_loss\n1,0.5\n2,0.4\n")
    for file, size in (("best.pt", 200), ("last.pt", 700), ("epoch_002.pt", 100)):
        (run.checkpoints / file).write_bytes(bytes(size))
    if test:
        (run.report / "test.json").write_text(json.dumps(test))
    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path, "tested", {"track_accuracy": 0.8125})
    make_run(tmp_path, "half")
    make_run(tmp_path, "own-mae", pretext="mae")
    (tmp_path / "mels" / "8000hz").mkdir(parents=True)
    for name in ("spec.json", "tracks.csv"):
        (tmp_path / "mels" / "8000hz" / name).write_bytes(bytes(1500))
    return tmp_path


def names(root: Path, kind: str = "reports") -> set[str]:
    return {path.name for path in (root / kind).iterdir()}


def test_the_list_says_what_each_run_is(root, capsys):
    (root / "reports" / "broken").mkdir()
    (root / "reports" / "broken" / "config.json").write_text("{")
    main(["list", "--runs", str(root)])
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines() if line]
    rows = {line[0]: line[1:] for line in lines}
    assert rows["tested"][:4] == ["own", "single_label", "track accuracy 0.812", "2 of 3"]
    assert rows["half"][2:4] == ["not tested", "2 of 3"]
    assert rows["own-mae"][1] == "pretraining (mae)"
    assert rows["broken"][:4] == ["-", "-", "not tested", "-"]
    assert rows[f"{root}/mels/8000hz"] == ["empty or damaged", "3.00kB", "-"]


def test_caches_are_listed_and_rid_of_replaced_rows(root, tmp_path, capsys):
    table = make_corpus(tmp_path / "songs", 3)
    folder = build_cache(table, root / "mels", SPEC, workers=1).folder
    write_track(tmp_path / "songs" / "audio" / "000001.wav", 3000, 99)
    build_cache(table, root / "mels", SPEC, workers=1)
    main(["list", "--runs", str(root)])
    line = next(line for line in capsys.readouterr().out.splitlines() if folder.name in line)
    assert [cell.strip() for cell in line.split("|")[2:-1]][::2] == ["3", "20.3kB"]
    main(["compact", "--runs", str(root)])
    assert f"20.3kB  {folder.as_posix()}: outdated rows; give --yes" in capsys.readouterr().out
    assert len(list(folder.glob("shards/*"))) == 4
    main(["compact", "--yes", "--runs", str(root)])
    assert len(list(folder.glob("shards/*"))) == 3


def test_prune_takes_what_was_never_tested_and_only_with_yes(root, capsys):
    main(["prune", "--runs", str(root)])
    assert "reports/half" in (out := capsys.readouterr().out) and "tested" not in out and "nothing was deleted" in out
    assert names(root) == {"tested", "half", "own-mae"}
    main(["prune", "--yes", "--runs", str(root)])
    for kind in ("reports", "checkpoints", "logs"):
        assert names(root, kind) == {"tested", "own-mae"}


def test_prune_by_name_and_an_unknown_name(root, refusal):
    assert "did you mean 'tested'" in refusal(main, ["prune", "testd", "--yes", "--runs", str(root)])
    main(["prune", "tested", "own-mae", "--yes", "--runs", str(root)])
    assert names(root) == {"half"}


def test_compact_keeps_the_best_weights_and_what_is_not_finished(root, capsys):
    main(["compact", "--runs", str(root)])
    assert "800B could be freed" in capsys.readouterr().out
    main(["compact", "--yes", "--runs", str(root)])
    assert "800B freed" in capsys.readouterr().out
    assert names(root, "checkpoints/tested") == {"best.pt"}
    assert names(root, "reports/tested") == {"config.json", "metrics.csv", "test.json"}
    for name in ("half", "own-mae"):
        assert names(root, f"checkpoints/{name}") == {"best.pt", "last.pt", "epoch_002.pt"}


def test_a_run_at_work_is_left_alone(root, capsys):
    with locked(root / "reports" / "half"):
        main(["prune", "--yes", "--runs", str(root)])
    assert "half: left alone" in capsys.readouterr().out and "half" in names(root)
