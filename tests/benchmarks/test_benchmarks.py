"""Every benchmark runs, at sizes that say nothing of speed, and prints what its readers look for."""

import json

from benchmarks import __main__ as all_of_speed
from benchmarks import caching, folds, loading, serving, testing, training
from tests.corpus import make_corpus

LINES = {"caching": "files/s", "training": "samples/s", "testing": "clips/s", "loading": "clips/s"}


def test_the_table_of_speed(monkeypatch, capsys):
    for benchmark in (caching, training, testing, loading):
        monkeypatch.setattr(benchmark, "in_fresh_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(training, "WARM_UP", 1)
    all_of_speed.main(
        caching={"repeats": 1, "tracks": 1, "plain_tracks": 1, "seconds": 3.0},
        training={"repeats": 1, "steps": 1},
        testing={"repeats": 1, "tracks": 1},
        loading={"repeats": 1, "tracks": 2},
    )
    printed = capsys.readouterr().out
    lines = {line["benchmark"]: line for line in map(json.loads, printed.splitlines()[:4])}
    assert {name: line["unit"] for name, line in lines.items()} == LINES
    for name, line in lines.items():
        assert min(line["plain"], line["ours"], line["ratio"]) > 0
        assert f"| {name} | {line['unit']} | {line['plain']} | {line['ours']} | {line['ratio']} × |" in printed


def test_folds_of_both_methods(tmp_path, capsys):
    table = make_corpus(tmp_path, tracks=6)
    for path, genre in zip(table["file_path"], table["genre"], strict=True):
        (tmp_path / "classes" / genre).mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes" / genre / path.rsplit("/")[-1]).symlink_to(path)
    sizes = ["--epochs", "1", "--repeats", "1", "--folds", "2", "--sample-rate", "8000", "--plain"]
    folds.main([str(tmp_path / "classes"), *sizes])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["tracks"], result["clips"]) == (6, 6)
    for method in ("ours", "plain"):
        assert 0 <= result[method]["track_accuracy_mean"] <= 1
        assert len(result[method]["track_accuracy"]) == 1


def test_serving(monkeypatch, capsys):
    monkeypatch.setattr(serving, "LENGTHS", {"30 s": 3.0})
    monkeypatch.setattr(serving, "CLIENTS", 2)
    monkeypatch.setattr(serving, "MANY", 3)
    serving.run(repeats=1, seconds=0.1, stress_seconds=0.1, rest=0)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {*line["stress"]["statuses"]} == {"200"}
    assert min(line["latency"]["ratio"], line["passes"]["ratio"], line["throughput"]["30 s"]["ratio"]) > 0
