"""Files in processes: what crashes, hangs or fails costs itself alone."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import AudioError
from scripts.inference.file_workers import Word, map_files
from tests.inference.jobs import pieces


def run(folder: Path, *texts: str, **settings: Any) -> dict[int, list[Any]]:
    """Number of the file -> its pieces; an error as its status."""
    paths = [folder / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    found = defaultdict(list)
    for number, piece in map_files(pieces, map(str, paths), **settings):
        found[number].append(piece.status if isinstance(piece, AudioError) else piece)
    return dict(found)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_kills_or_hangs_its_process_costs_itself_alone(tmp_path: Path, workers: int) -> None:
    texts = ["a\nb", "c\ndie", "refuse", "d\nhang", "e\ndie once", "f"]
    found = run(tmp_path, *texts, workers=workers, hangs=2.0)
    assert found == {
        0: ["a", "b", Word.DONE],
        1: ["c", Word.AGAIN, "c", "crashed"],
        2: ["unreadable"],
        3: ["d", "hangs"],
        4: ["e", Word.AGAIN, "second try", Word.DONE],
        5: ["f", Word.DONE],
    }


def test_a_defect_is_no_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a defect"):
        run(tmp_path, "a", "fail", workers=1)


def test_no_files(tmp_path: Path) -> None:
    assert run(tmp_path) == {}


def test_files_are_taken_when_a_process_is_free(tmp_path: Path) -> None:
    taken = []

    def paths() -> Any:
        for number in range(6):
            path = tmp_path / f"{number}.txt"
            path.write_text("a")
            taken.append(number)
            yield str(path)

    for number, _ in map_files(pieces, paths(), workers=1):
        assert taken == list(range(number + 1))


def test_no_file_is_far_ahead_of_one_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.inference.file_workers.FILES_AHEAD", 2)
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text("a" if number else "hang")
    paths = [str(tmp_path / f"{number}.txt") for number in range(6)]
    order = [number for number, piece in map_files(pieces, paths, workers=2, hangs=2.0) if piece != "a"]
    assert order[:3] == [1, 2, 0] and sorted(order) == list(range(6))
