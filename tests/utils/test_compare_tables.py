"""Two label tables of the same tracks, against scikit-learn's scores."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, hamming_loss, jaccard_score

from scripts.tables.label_matrix import join
from scripts.utils.compare_tables import agreement, compare_tables, main


def test_shares_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    first, second = ((rng.random((200, 5)) < 0.3).astype(int) for _ in range(2))
    shares = agreement(first.astype(float), second.astype(float))
    assert shares["exact"] == pytest.approx(accuracy_score(first, second))
    assert shares["hamming"] == pytest.approx(1 - hamming_loss(first, second))
    jaccard = jaccard_score(first, second, average="samples", zero_division=1)
    assert shares["jaccard"] == pytest.approx(jaccard)
    pairs = [(set(np.flatnonzero(a)), set(np.flatnonzero(b))) for a, b in zip(first, second, strict=True)]
    assert shares["at_least_one"] == np.mean([bool(a & b) or not a | b for a, b in pairs])


def write(path: Path, **columns: list) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_a_genre_against_several_labels_and_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """By hand: tracks 1 and 2 agree wholly, 3 has one more label, 4 another one; 5 and 9 stand in one table alone."""
    first = write(tmp_path / "a.csv", track_id=["1", "2", "3", "4", "5"], genre=["cel", "vio", "vio", "cel", "cel"])
    labels = [join(names) for names in (["cel"], ["vio"], ["vio", "cel"], ["pia"], [])]
    second = write(tmp_path / "b.csv", track_id=["1", "2", "3", "4", "9"], labels=labels)
    main([str(first), str(second), "--output", str(tmp_path / "differ.csv")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 tracks in both; 5 in ")
    shares = {line[:14].strip(): float(line[14:19]) for line in lines[1:5]}
    assert shares == {"exact": 0.5, "at least one": 0.75, "hamming": 0.75, "jaccard": 0.625}
    counts = {name: list(map(int, row)) for name, *row in map(str.split, lines[6:9])}
    assert counts == {"cel": [2, 2, 1], "pia": [0, 1, 0], "vio": [2, 2, 2]}
    differing = pd.read_csv(tmp_path / "differ.csv", dtype=str)
    assert differing.to_numpy().tolist() == [["3", "vio", "cel;vio"], ["4", "cel", "pia"]]


def test_unknown_labels_are_left_out(tmp_path: Path):
    first = write(tmp_path / "a.csv", track_id=["1", "2"], labels=["x", "y"], absent=["y", "-"])
    second = write(tmp_path / "b.csv", track_id=["1", "2"], labels=["x;y", "x;y"])
    assert compare_tables(first, second) == pytest.approx(
        {"exact": 0.5, "at_least_one": 1, "hamming": 2 / 3, "jaccard": 0.75}
    )


def test_tables_that_cannot_be_compared(tmp_path: Path, refusal: Callable[..., str]):
    first = write(tmp_path / "a.csv", track_id=["1"], genre=["x"])
    other = write(tmp_path / "b.csv", track_id=["2"], genre=["x"])
    bare = write(tmp_path / "c.csv", track_id=["1"], title=["x"])
    unknown = write(tmp_path / "d.csv", track_id=["1"], labels=["-"], absent=["-"])
    assert "no track_id stands in both" in refusal(main, [str(first), str(other)])
    assert "neither labels nor genre" in refusal(main, [str(first), str(bare)])
    assert "no label of a track is known in both" in refusal(main, [str(first), str(unknown)])
    assert "no such table" in refusal(main, [str(first), str(tmp_path / "none.csv")])
