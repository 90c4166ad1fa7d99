"""The README's FMA rows: the way from the unzipped archives to a row, and what its cells say."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fma as benchmark
from scripts.common.errors import ConfigError
from scripts.config.experiment import Experiment
from scripts.datasets import fma
from tests.corpus import SPEC

pytestmark = pytest.mark.usefixtures("quick_reports")


def test_mean_and_deviation_over_seeds_and_interval_over_tracks():
    reports = [{"clip_accuracy": clip, "track_accuracy": track} for clip, track in ((0.4, 0.5), (0.5, 0.7))]
    assert benchmark.describe(reports, np.ones(50)) == "0.450 ± 0.071 | 0.600 ± 0.141 (1.000–1.000)"
    assert benchmark.describe(reports[:1], np.zeros(50)) == "0.400 | 0.500 (0.000–0.000)"


def test_from_the_archives_to_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fma.make_tiny(tmp_path / "data")
    settings = {"epochs": 1, "batch_size": 8, "device": "cpu", "threads": 1, "spec": SPEC}
    experiment = Experiment(name="small", table="to be made", cache=str(tmp_path / "mels"), **settings)
    monkeypatch.setattr(benchmark, "get_experiment", lambda name: experiment)
    row = benchmark.measure("small", "official", [0, 1], tmp_path / "data", tmp_path / "runs")
    reports = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("reports/*/test.json")]
    assert len(reports) == 2
    clip = np.mean([report["clip_accuracy"] for report in reports])
    assert row.startswith(f"| `small` | FMA-small, official | {clip:.3f} ± ")
    assert row.count("|") == 5
    monkeypatch.setattr(benchmark, "get_experiment", lambda name: experiment.changed(["learning_rate=0.5"]))
    with pytest.raises(ConfigError, match="run small-official-seed0 was started with another optimizer.learning_rate;"):
        benchmark.measure("small", "official", [0, 1], tmp_path / "data", tmp_path / "runs")
