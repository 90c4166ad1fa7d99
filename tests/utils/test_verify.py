"""Listening to every file of a table."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from scripts.common.errors import TableError
from scripts.utils import verify
from scripts.utils.verify import verify_tracks
from tests.conftest import tone_samples

RATE = 8_000
COLUMNS = ["track_id", "file_path", "fault", "detail"]


@pytest.fixture
def full(tone: Callable[..., Path]) -> Callable[..., Path]:
    """Write a sound file of 29.5 s; another frequency is other audio."""
    return lambda name, frequency=440.0: tone(name, seconds=29.5, rate=RATE, frequency=frequency)


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, RATE)
    return path


def quietened(share: float) -> np.ndarray:
    """29.5 s of which the first `share` is silent."""
    samples = tone_samples(29.5, RATE)
    samples[: round(share * len(samples))] = 0
    return samples


def table_of(files: dict[str, Path]) -> pd.DataFrame:
    return pd.DataFrame({"track_id": list(files), "file_path": [str(path) for path in files.values()]})


def faults(files: dict[str, Path], workers: int = 1) -> dict[str, list[str]]:
    """Faults found for each track id that has some."""
    found = verify_tracks(table_of(files), workers)
    assert list(found) == COLUMNS
    assert (found["file_path"] == found["track_id"].map({track: str(path) for track, path in files.items()})).all()
    return found.groupby("track_id")["fault"].apply(list).to_dict()


def test_sound_files_have_no_faults(full: Callable[..., Path]) -> None:
    assert faults({"1": full("1.flac"), "2": full("2.flac", 300.0)}) == {}


def test_every_fault_is_found(full: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "page.mp3").write_bytes(b"<!DOCTYPE html>\n<html></html>\n" * 50)
    (tmp_path / "empty.mp3").touch()
    files = {
        "sound": full("sound.flac"),
        "missing": tmp_path / "missing.flac",
        "page": tmp_path / "page.mp3",
        "empty": tmp_path / "empty.mp3",
        "silent": write(tmp_path / "silent.flac", quietened(1.0)),
        "quiet": write(tmp_path / "quiet.flac", quietened(0.69)),
        "loud enough": write(tmp_path / "loud.flac", quietened(0.4)),
        "short": write(tmp_path / "short.flac", tone_samples(28.0, RATE)),
        "tiny": write(tmp_path / "tiny.flac", tone_samples(1.6, RATE)),
        "tiny and silent": write(tmp_path / "both.flac", np.zeros(RATE)),
        "cancelled": write(
            tmp_path / "cancelled.flac", np.hstack([tone_samples(29.5, RATE), -tone_samples(29.5, RATE)])
        ),
        "offset": write(tmp_path / "offset.flac", quietened(1.0) + 0.1),
        "damaged": full("damaged.flac", 250.0),
        "copy": Path(shutil.copy(full("sound.flac"), tmp_path / "copy.flac")),
    }
    content = files["damaged"].read_bytes()
    files["damaged"].write_bytes(content[: len(content) // 2] + content[len(content) // 2 + 3000 :])
    assert faults(files, workers=2) == {
        "missing": ["missing"],
        "page": ["unreadable"],
        "empty": ["unreadable"],
        "silent": ["silent"],
        "quiet": ["near-silent"],
        "short": ["short"],
        "tiny": ["short"],
        "tiny and silent": ["short", "silent"],
        "cancelled": ["cancelled"],
        "offset": ["silent"],
        "damaged": ["short", "damaged"],
        "copy": ["duplicate"],
    }


def test_details_say_how_much(tmp_path: Path) -> None:
    files = {
        "1": write(tmp_path / "1.flac", quietened(0.7)),
        "2": write(tmp_path / "2.flac", tone_samples(12.3, RATE)),
        "3": write(tmp_path / "3.flac", tone_samples(1.6, RATE)),
    }
    quiet, short, tiny = verify_tracks(table_of(files), 1)["detail"]
    assert quiet.startswith("70% ") or quiet.startswith("71% ")
    assert short == "12.3 s"
    assert tiny == "1.6 s, less than one clip of 3 s"


def test_duplicates_are_equal_samples_not_equal_files(full: Callable[..., Path], tmp_path: Path) -> None:
    samples, rate = soundfile.read(full("first.flac"), dtype="float32")
    soundfile.write(tmp_path / "again.wav", samples, rate)
    soundfile.write(tmp_path / "almost.wav", np.append(samples[:-1], samples[-1] + 0.01), rate)
    files = {"first": tmp_path / "first.flac", "again": tmp_path / "again.wav", "almost": tmp_path / "almost.wav"}
    found = verify_tracks(table_of({**files, "third": tmp_path / "first.flac"}), 2)
    assert found["track_id"].tolist() == ["again", "third"]
    assert set(found["detail"]) == {"the same audio as track first"}


def test_silent_files_are_no_duplicates(tmp_path: Path) -> None:
    files = {name: write(tmp_path / f"{name}.flac", quietened(1.0)) for name in ("1", "2")}
    assert faults(files) == {"1": ["silent"], "2": ["silent"]}


def test_a_row_per_clip_is_one_look_per_track(tmp_path: Path) -> None:
    table = table_of({"1": write(tmp_path / "1.flac", tone_samples(5.0, RATE))})
    assert len(verify_tracks(table.loc[[0] * 10], 1)) == 1


# --- what is published about FMA ----------------------------------------------------------------------------


def details(files: dict[str, Path]) -> list[str]:
    return verify_tracks(table_of(files), 1)["detail"].tolist()


def test_known_fault_is_noted_beside_what_was_found(tmp_path: Path) -> None:
    (detail,) = details({"98567": write(tmp_path / "098567.flac", tone_samples(0.5, RATE))})
    assert detail == "0.5 s, less than one clip of 3 s (known in FMA: only 0.5 s)"


def test_sound_track_of_a_known_number_is_not_reported(full: Callable[..., Path]) -> None:
    assert details({"99134": full("099134.flac")}) == []


def test_file_of_another_name_is_not_fmas(tmp_path: Path) -> None:
    (detail,) = details({"98567": write(tmp_path / "mine.flac", tone_samples(0.5, RATE))})
    assert "FMA" not in detail


@pytest.mark.parametrize(
    ("names", "note"), [(("045102", "051785"), " (known in FMA)"), (("045102", "mine"), ""), (("45102", "51785"), "")]
)
def test_known_duplicate(full: Callable[..., Path], names: tuple[str, str], note: str) -> None:
    files = {track: full(f"{name}.flac") for track, name in zip(("45102", "51785"), names, strict=True)}
    assert details(files) == ["the same audio as track 45102" + note]


# --- the command --------------------------------------------------------------------------------------------


def test_command_prints_counts_and_writes_findings(
    full: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table_of({"007": full("7.flac"), "8": tmp_path / "none.mp3", "9": full("9.flac")}).to_csv(tmp_path / "labels.csv")
    verify.main(["--csv", str(tmp_path / "labels.csv"), "--output", str(tmp_path / "found.csv"), "--workers", "1"])
    out = capsys.readouterr().out
    assert "missing          1" in out
    assert "duplicate        1" in out
    assert "3 tracks verified: 2 with faults, 2 faults" in out
    found = pd.read_csv(tmp_path / "found.csv", dtype=str)
    assert list(found) == COLUMNS
    assert found["fault"].tolist() == ["missing", "duplicate"]
    assert found["detail"].iloc[1] == "the same audio as track 007"


def test_command_without_faults(full: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table_of({"1": full("1.flac")}).to_csv(tmp_path / "labels.csv")
    verify.main(["--csv", str(tmp_path / "labels.csv"), "--output", str(tmp_path / "found.csv"), "--workers", "1"])
    assert "1 tracks verified: 0 with faults, 0 faults" in capsys.readouterr().out
    assert (tmp_path / "found.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_long_list_is_cut_on_screen_only() -> None:
    found = pd.DataFrame([(str(n), "a.mp3", "missing", "no such file") for n in range(80)], columns=COLUMNS)
    text = verify.report(found, 100)
    assert text.count("a.mp3") == verify.ROWS_SHOWN
    assert "and 30 more; --output" in text


def test_table_without_any_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="none of the 1 audio files exists"):
        verify_tracks(table_of({"1": tmp_path / "none.mp3"}))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "labels.csv: no such table"),
        ("track_id,path\n1,a.mp3\n", "lacks the column file_path"),
        ("track_id,file_path\n1,none.mp3\n", "none of the 1 audio files exists"),
    ],
)
def test_bad_table_ends_with_one_line(
    tmp_path: Path, refusal: Callable[..., str], table: str | None, words: str
) -> None:
    path = tmp_path / "labels.csv"
    if table is not None:
        path.write_text(table)
    assert words in refusal(verify.main, ["--csv", str(path)])
