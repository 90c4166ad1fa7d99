"""The benchmark of prediction runs, at sizes that say nothing of speed."""

import json

import pytest

from benchmarks import predicting


def test_predicting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(predicting, "in_fresh_process", lambda function, *arguments: function(*arguments))
    predicting.run(repeats=1, tracks=2, seconds=3.0, long_seconds=6.0)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["benchmark"], line["unit"]) == ("predicting", "files/s")
    assert min(line["plain"], line["ours"], line["ratio"]) > 0 <= line["long_mb"]
