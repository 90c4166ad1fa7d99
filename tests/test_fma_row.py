"""The README's FMA rows: how they are found, filled and counted."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fma import README, SPLITS, describe, fill
from scripts.errors import TableError

ROOT = Path(__file__).resolve().parents[1]


def test_mean_and_deviation_over_seeds_and_interval_over_tracks():
    reports = [{"clip_accuracy": clip, "track_accuracy": track} for clip, track in ((0.4, 0.5), (0.5, 0.7))]
    assert describe(reports, np.ones(50)) == "0.450 ± 0.071 | 0.600 ± 0.141 (1.000–1.000)"
    assert describe(reports[:1], np.zeros(50)) == "0.400 | 0.500 (0.000–0.000)"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["fma_cnn_3s", "best_scratch"])
def test_fills_one_row_of_the_readme_and_nothing_else(name, split):
    before = (ROOT / README).read_text(encoding="utf-8")
    after = fill(before, name, split, "0.1 | 0.2 (0.1–0.3)")
    changed = [(a, b) for a, b in zip(before.split("\n"), after.split("\n"), strict=True) if a != b]
    ((old, new),) = changed
    assert new.startswith(f"| `{name}` | FMA-small, {split} | 0.1 | 0.2 (0.1–0.3) |")
    assert new.count("|") == old.count("|") and new.split("|")[-2] == old.split("|")[-2]
    assert fill(after, name, split, "0.1 | 0.2 (0.1–0.3)") == after


def test_a_row_that_is_not_there():
    with pytest.raises(TableError, match="0 rows"):
        fill("# nothing", "fma_cnn_3s", "official", "")
