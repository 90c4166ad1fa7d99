"""Every benchmark runs, at sizes that say nothing of speed, and prints what its readers look for."""

import hashlib
import json

import torch

from benchmarks import __main__ as all_of_speed
from benchmarks import caching, folds, heads, loading, scale, serving, testing, training, unfamiliar
from scripts.architectures.musicnn import PUBLISHED, Weights
from scripts.datasets.tiny import write_tone
from scripts.tables.splits import SPLITS
from tests.architectures.test_musicnn import random_state
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
    assert lines["caching"]["worker_mb"] > 20  # what Python with NumPy takes at least
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


def test_heads_on_embeddings(tmp_path, monkeypatch, capsys):
    for number in range(6):
        write_tone(tmp_path / "songs" / ("a", "b")[number % 2] / f"{number}.wav", number % 2, number, seconds=6.5)
    torch.save(random_state(), tmp_path / "weights.pth")
    sha256 = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    monkeypatch.setitem(PUBLISHED, "mtat", Weights("", sha256, "noise"))
    flags = ["--weights", str(tmp_path / "weights.pth"), "--folds", "2", "--repeats", "2"]
    heads.main([str(tmp_path / "songs"), *flags])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["tracks"], result["clips"]) == (6, 12)
    for source in ("musicnn", "mel_statistics", "both"):
        assert 0 <= result[source]["clip_accuracy_mean"] <= 1 and len(result[source]["track_accuracy"]) == 2
    monkeypatch.setattr(unfamiliar, "SECONDS", 4)
    songs = str(tmp_path / "songs")
    unfamiliar.main([songs, *flags[:2], "--others", songs, "--count", "1", "--folds", "3"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(0 <= result[f"{kind}_auc"] <= 1 for kind in ("white", "hum", "near-silence", "songs"))


def test_serving(monkeypatch, capsys):
    monkeypatch.setattr(serving, "LENGTHS", {"30 s": 3.0})
    monkeypatch.setattr(serving, "CLIENTS", 2)
    monkeypatch.setattr(serving, "MANY", 3)
    serving.run(repeats=1, seconds=0.1, stress_seconds=0.1, rest=0)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {*line["stress"]["statuses"]} == {"200"}
    assert min(line["latency"]["ratio"], line["passes"]["ratio"], line["throughput"]["30 s"]["ratio"]) > 0


def test_scale(monkeypatch, capsys):
    monkeypatch.setattr(scale, "in_fresh_process", lambda function, *arguments: function(*arguments))
    scale.main(["--tracks", "1000", "1200"])
    printed = capsys.readouterr().out
    line = json.loads(printed.splitlines()[-1])
    assert (line.pop("benchmark"), line.pop("tracks")) == ("scale", [1000, 1200])
    splits = [f"metadata, {name}" for name in sorted(SPLITS)]
    assert list(line) == ["label table", *splits, "opening the cache", "an epoch's order"]
    for step, found in line.items():
        assert all(one["seconds"] > 0 and one["mb"] > 0 for one in found)
        cells = " | ".join(f"{one['seconds']:.1f} s, {one['mb']} MB" for one in found)
        assert f"| {step} | {cells} |" in printed
