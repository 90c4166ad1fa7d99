"""The commands as people type them: both forms, help, and bad input in one line with exit code 2."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from scripts.audio import build_cache as caching
from scripts.common.storage import write_aside
from scripts.utils import mels
from tests.corpus import SPEC_FLAGS, make_corpus, make_experiment

PREPARING = ["download", "demo", "labeled_tracks", "verify", "metadata", "mels", "visualisation", "demo_notes"]
ON_TOP = [
    f"scripts.{name}"
    for name in (
        "train", "evaluate", "predict", "datasets", "compare", "audit", "classical", "descriptors", "crossval", "sweep",
        "models", "config.experiments", "polyphony", "pretrain", "blend", "label_svm", "label_issues", "explain",
        "embeddings", "registry", "export", "apps.tagger", "apps.monitor", "apps.try_it", "apps.api",
        "apps.corrections",
    )
]  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]


def call(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, **options)


def assert_one_line(result: subprocess.CompletedProcess, *words: str) -> None:
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") or ": error: " in last
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in last


@pytest.mark.parametrize("name", PREPARING)
def test_runs_as_a_file(name):
    result = call(f"scripts/utils/{name}.py", "--help")
    assert result.returncode == 0
    assert "usage:" in result.stdout and len(result.stdout) > 300


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", [f"scripts.utils.{name}" for name in PREPARING] + ON_TOP)
def test_runs_as_a_module(name, monkeypatch, capsys):
    """In this process, which has imported torch already."""
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(name, run_name="__main__")
    assert not stopped.value.code
    out = capsys.readouterr().out
    assert "usage:" in out and len(out) > 300


def table_flags(folder: Path) -> list[str]:
    tables = ["--csv", f"{folder}/metadata_ensemble.csv", "--full-csv", f"{folder}/metadata_30_secs.csv"]
    return [*tables, "--output-root", f"{folder}/mels", *SPEC_FLAGS]


def test_from_audio_to_prediction_by_commands_alone(tmp_path):
    """mp3s in, a report and a prediction out, nothing but commands in between."""
    make_corpus(tmp_path, suffix=".mp3")
    tables = [f"--output={tmp_path}/metadata_ensemble.csv", f"--full-output={tmp_path}/metadata_30_secs.csv"]
    split = ["--input", f"{tmp_path}/metadata_30_secs.csv", *tables, "--clips", "5", "--split", "official"]
    assert "3 validation, 3 test" in call("scripts/utils/metadata.py", *split).stdout
    assert "18 tracks: 18 ok" in call("scripts/utils/mels.py", *table_flags(tmp_path)).stdout
    settings = [f"table={tmp_path}/metadata_ensemble.csv", f"cache={tmp_path}/mels", "epochs=2", "batch_size=8"]
    settings += [f"spec.{flag.strip('-').replace('-', '_')}" for flag in SPEC_FLAGS]
    runs = ["--runs", tmp_path / "runs"]
    trained = call("-m", "scripts.train", "--experiment", "fma_cnn_3s", "--tag", "t", "--set", *settings, *runs)
    assert "track accuracy 1.000" in trained.stdout, trained.stderr
    assert (tmp_path / "runs" / "reports" / "fma_cnn_3s-t" / "test.json").is_file()
    song = tmp_path / "audio" / "000000.mp3"
    assert "High" in call("-m", "scripts.predict", song, "--run", "fma_cnn_3s-t", *runs, "--top", "1").stdout
    assert "track accuracy 1.000" in call("-m", "scripts.evaluate", "fma_cnn_3s-t", *runs).stdout
    again = call("-m", "scripts.train", "--experiment", "fma_cnn_3s", "--tag", "t", "--set", *settings, *runs)
    assert_one_line(again, "fma_cnn_3s-t exists", "--resume")


def test_tables_that_do_not_fit(tmp_path):
    table = make_corpus(tmp_path, 3)
    flags = table_flags(tmp_path)
    full = tmp_path / "metadata_30_secs.csv"
    table.drop(columns="file_path").to_csv(full, index=False)
    assert_one_line(call("scripts/utils/mels.py", *flags), "lacks the column file_path")
    table.assign(file_path="elsewhere/" + table["track_id"]).to_csv(full, index=False)
    assert_one_line(call("scripts/utils/mels.py", *flags), "none of the 3 audio files exists", "elsewhere/0")
    table[:2].to_csv(full, index=False)
    assert_one_line(call("scripts/utils/mels.py", *flags), "track 2 is in only one of")
    full.write_bytes(b"\xff\xfe\x00binary")
    assert_one_line(call("scripts/utils/mels.py", *flags), "not a CSV table")
    full.unlink()
    assert_one_line(call("scripts/utils/mels.py", *flags), "no such table", "make it first")


def test_flags_that_do_not_fit(tmp_path):
    assert_one_line(call("scripts/utils/mels.py", "--workers", "0"), "'0' is not a whole number of at least 1")
    assert_one_line(call("scripts/utils/mels.py", "--n-mels", "-3"), "n_mels is -3; it must be above 0")
    assert_one_line(call("-m", "scripts.train"), "give either --experiment NAME or --config FILE", "fma_cnn_3s")
    assert_one_line(call("-m", "scripts.train", "--experiment", "fma_cnn3s"), "did you mean 'fma_cnn_3s'")
    unknown = call("-m", "scripts.evaluate", "ensembel", "--runs", str(tmp_path))
    assert_one_line(unknown, "train one first")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission(tmp_path):
    make_corpus(tmp_path, 3)
    (tmp_path / "mels").mkdir(mode=0o500)
    assert_one_line(call("scripts/utils/mels.py", *table_flags(tmp_path)), "Permission denied", "choose another folder")


def test_a_file_where_the_folder_should_be(tmp_path):
    make_corpus(tmp_path, 3)
    (tmp_path / "mels").write_text("in the way")
    assert_one_line(call("scripts/utils/mels.py", *table_flags(tmp_path)), str(tmp_path / "mels"))
    experiment = make_experiment(tmp_path / "other")
    (tmp_path / "runs").write_text("in the way")
    settings = [f"table={experiment.table}", f"cache={experiment.cache}"]
    settings += [f"spec.{flag.strip('-').replace('-', '_')}" for flag in SPEC_FLAGS]
    command = ["-m", "scripts.train", "--experiment", "fma_cnn_3s", "--runs", tmp_path / "runs", "--set", *settings]
    assert_one_line(call(*command), str(tmp_path / "runs"))


def test_full_disk_while_caching_keeps_what_was_finished(tmp_path, monkeypatch, capsys):
    make_corpus(tmp_path, 6)
    original, full = caching.RowWriter.write, {"at": 3}

    def write(self, row, values):
        if row >= full["at"]:
            raise OSError(28, "No space left on device")
        original(self, row, values)

    monkeypatch.setattr(caching.RowWriter, "write", write)
    with pytest.raises(SystemExit) as stopped:
        mels.main([*table_flags(tmp_path), "--workers", "1"])
    assert stopped.value.code == 2
    assert "No space left on device; free some space" in capsys.readouterr().err
    assert not list((tmp_path / "mels").glob("*mel_????????/tracks.csv"))
    full["at"] = 100
    mels.main([*table_flags(tmp_path), "--workers", "1"])
    assert "6 tracks: 6 ok" in capsys.readouterr().out


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    pd.DataFrame({"a": [1]}).to_csv(path, index=False)
    with pytest.raises(OSError), write_aside(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "a\n1\n"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
