"""Comparing runs: the table against their reports, paired tests, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scripts.analysis.compare import compare, group_seeds, main
from scripts.common.errors import ConfigError

TRACKS = 40


def write_run(root: Path, name: str, wrong: range, tracks: int = TRACKS, first: int = 0, **changes) -> None:
    """A report of so many tracks, of which those at `wrong` are taken for another genre."""
    folder = root / "reports" / name
    folder.mkdir(parents=True)
    ids = np.arange(first, first + tracks)
    genre = np.where(ids % 2, "Folk", "Rock")
    swapped = np.where(ids % 2, "Rock", "Folk")
    predicted = np.where(np.isin(ids, wrong), swapped, genre)
    table = pd.DataFrame({"track_id": [f"{number:03d}" for number in ids], "clips": 10, "genre": genre})
    table.assign(predicted=predicted, p_Folk=0.5, p_Rock=0.5).to_csv(folder / "predictions.csv", index=False)
    accuracy = float((genre == predicted).mean())
    test = {"split": "0123456789ab", "tracks": tracks, "chance": 0.5, "majority": 0.5, "macro_f1": 0.7}
    test |= {"track_accuracy": accuracy, "track_accuracy_interval_95": [accuracy - 0.1, accuracy + 0.1]}
    test |= {"clip_accuracy": 0.6, "clip_accuracy_interval_95": [0.5, 0.65], "calibration": {"ece": 0.2}}
    (folder / "test.json").write_text(json.dumps(test | changes))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Wrong: 4, 14 and 12 of 40 tracks; the first and second share two of them."""
    write_run(tmp_path, "wide-seed0", range(4), clip_accuracy=0.7)
    write_run(tmp_path, "wide-seed1", range(2, 16))
    write_run(tmp_path, "deep", range(20, 32))
    return tmp_path


def call(root: Path, *arguments: str) -> None:
    main([*arguments, "--runs", str(root)])


@pytest.fixture
def assert_one_line(refusal: Callable[..., str]) -> Callable[..., None]:
    def check(root: Path, arguments: list[str], *words: str) -> None:
        line = refusal(main, [*arguments, "--runs", str(root)])
        assert all(word in line for word in words), line

    return check


def test_table_repeats_the_reports(root):
    table = compare(["wide-seed0", "deep"], root)
    assert table.equals(pd.read_csv(root / "compare" / "compare.csv"))
    assert table["run"].tolist() == ["wide-seed0", "deep"]
    assert table["track_accuracy"].tolist() == [0.9, 0.7]
    assert table["clip_accuracy"].tolist() == [0.7, 0.6]
    assert table[["split", "tracks", "ece", "macro_f1"]].drop_duplicates().values.tolist() == [
        ["0123456789ab", 40, 0.2, 0.7]
    ]
    assert table["track_accuracy_low"].tolist() == pytest.approx([0.8, 0.6])
    assert (root / "compare" / "compare.png").stat().st_size > 5000


def cells(text: str, start: str) -> list[list[str]]:
    """The cells of the lines of a Markdown table that begin with a name."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [line for line in lines if line[0] == start]


def test_pair_by_hand(root, capsys):
    """Right only in the first: tracks 4 to 15; only in the second: 0 and 1."""
    call(root, "wide-seed0", "wide-seed1", "--out", str(root / "here"))
    text = (root / "here" / "compare.md").read_text()
    assert text in capsys.readouterr().out
    assert "40 tracks; chance 0.500, majority 0.500" in text
    assert "Holm" not in text
    _, [first, second, difference, counts, p] = cells(text, "wide-seed0")
    assert (second, counts) == ("wide-seed1", "12, 2")
    assert difference.startswith("+0.250 (+0.")
    assert float(p) == pytest.approx(stats.binomtest(2, 14).pvalue, rel=0.05)


def test_three_runs_are_corrected_after_holm(root, capsys):
    call(root, "wide-seed0", "wide-seed1", "deep")
    text = capsys.readouterr().out
    rows = [*cells(text, "wide-seed0")[1:], *cells(text, "wide-seed1")[1:]]
    raw = [stats.binomtest(*counts).pvalue for counts in ((2, 14), (4, 16), (12, 26))]
    shown = [float(row[4]) for row in rows]
    assert shown == pytest.approx(raw, rel=0.05)
    assert [float(row[5]) for row in rows] == pytest.approx([3 * raw[0], 2 * raw[1], raw[2]], rel=0.05)


def test_interval_of_the_difference_is_paired(root):
    """A run against one that differs in a single track: the interval is as narrow as one track allows."""
    write_run(root, "nearly", range(5))
    compare(["wide-seed0", "nearly"], root)
    *_, row = cells((root / "compare" / "compare.md").read_text(), "wide-seed0")
    assert row[2:] == ["+0.025 (+0.000 to +0.075)", "1, 0", "1"]


def test_group_gives_mean_and_deviation_over_seeds(root, capsys):
    call(root, "wide-seed0", "wide-seed1", "deep", "--group")
    text = capsys.readouterr().out
    scores = np.array([0.9, 0.65])
    assert cells(text, "wide")[0][:3] == ["wide", "2", f"{scores.mean():.3f} ± {np.std(scores, ddof=1):.3f}"]
    assert cells(text, "deep")[1][:3] == ["deep", "1", "0.700"]
    call(root, "wide-seed0", "wide-seed1")
    assert "±" not in capsys.readouterr().out


def test_groups_are_made_of_names_that_differ_in_the_seed():
    names = ["a-seed0", "a-b-seed0", "a-seed12", "a", "seed3", "a-reseed"]
    table = pd.DataFrame({"run": names}).assign(macro_f1=0.5)
    groups = group_seeds(table, ["macro_f1"]).set_index("group")["runs"].to_dict()
    assert groups == {"a": 3, "a-b": 1, "seed3": 1, "a-reseed": 1}


def test_other_tracks_are_refused_and_counted(root, assert_one_line):
    write_run(root, "moved", range(3), first=2, tracks=39, split="ba9876543210")
    assert_one_line(
        root,
        ["wide-seed0", "moved", "--out", str(root / "out")],
        "3 tracks were tested by only one",
        "000, 001, 040",
        "0123456789ab",
        "ba9876543210",
    )
    assert not (root / "out").exists()


def test_other_genres_are_refused(root):
    path = root / "reports" / "deep" / "predictions.csv"
    table = pd.read_csv(path, dtype=str).replace({"genre": {"Folk": "Jazz"}, "predicted": {"Folk": "Jazz"}})
    table.to_csv(path, index=False)
    with pytest.raises(ConfigError, match="20 tracks have another genre, such as 001, 003, 005"):
        compare(["wide-seed0", "deep"], root)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["deep"], "two or more"),
        (["deep", "deep"], "two or more different"),
        (["deep", "wide-sed0"], "did you mean 'wide-seed0'"),
    ],
)
def test_names_that_do_not_fit(root, assert_one_line, names, message):
    assert_one_line(root, [*names], message)


@pytest.mark.parametrize("damage", ["gone", "old", "json", "mixed"])
def test_damaged_reports_say_how_to_write_them_again(root, assert_one_line, damage):
    report = root / "reports" / "deep"
    if damage == "gone":
        (report / "predictions.csv").unlink()
    elif damage == "mixed":
        (report / "predictions.csv").write_text((root / "reports" / "wide-seed0" / "predictions.csv").read_text())
    else:
        (report / "test.json").write_text('{"track_accuracy": 0.7}' if damage == "old" else "{")
    assert_one_line(root, ["wide-seed0", "deep"], "reports/deep", "python -m scripts evaluate deep")


def test_without_any_run(tmp_path, assert_one_line):
    assert_one_line(tmp_path, ["a", "b"], "no tested run", "scripts train")
