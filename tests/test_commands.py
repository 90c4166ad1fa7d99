"""The commands as people type them: by name or by file, their help, and bad input in one line with exit code 2."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from scripts.__main__ import COMMANDS, GROUPS, main
from scripts.audio import shards
from scripts.common import engines
from scripts.common.storage import write_aside
from scripts.utils import mels
from tests.corpus import SPEC_FLAGS, make_corpus, make_experiment

ROOT = Path(__file__).resolve().parents[1]
MODULES = {name: module for group in GROUPS for name, module in group.modules.items()}
HEAVY = {"torch", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "numba"}
BY_FILE = {name: [f"scripts/{module.replace('.', '/')}.py"] for name, module in MODULES.items() if "utils." in module}
BY_MODULE = {name: ["-m", f"scripts.{module}"] for name, module in MODULES.items() if "." not in module}
BY_THEMSELVES = BY_FILE | BY_MODULE | {"networks": ["-m", "scripts.models"]}
EVERY_HELP = """
import contextlib, io, json, sys
from scripts.__main__ import COMMANDS, main

pages, codes = {}, {}
for name in ("--help", "label-svm", *COMMANDS):
    with contextlib.redirect_stdout(io.StringIO()) as page:
        try:
            main([name, "--help"])
        except SystemExit as stopped:
            codes[name] = stopped.code
    pages[name] = page.getvalue()
print(json.dumps({"pages": pages, "codes": codes, "modules": list(sys.modules)}))
"""


def call(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, **options)


def assert_one_line(result: subprocess.CompletedProcess, *words: str) -> None:
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") or ": error: " in last
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in last


# --- help ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def every_help() -> dict:
    """What `python -m scripts` and each command print for --help, their exit codes, and what was imported for it."""
    result = call("-c", EVERY_HELP)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_list_has_a_line_for_each_command(every_help):
    lines = every_help["pages"]["--help"].splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)
    assert call("-m", "scripts").stdout.splitlines() == lines


def test_help_needs_no_heavy_module(every_help):
    pages = every_help["pages"]
    assert all(pages[name].startswith(f"usage: python -m scripts {name} ") for name in COMMANDS)
    assert pages["label-svm"] == pages["label_svm"]
    assert every_help["codes"] == dict.fromkeys(["label-svm", *COMMANDS], 0)
    assert HEAVY.isdisjoint(every_help["modules"])


@pytest.mark.parametrize("name", BY_THEMSELVES)
def test_files_that_run_by_themselves_print_the_same_help(name, every_help):
    result = call(*BY_THEMSELVES[name], "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout == every_help["pages"][name]


def test_an_unknown_command_is_answered_by_the_nearest_name():
    result = call("-m", "scripts", "mel", "--workers", "2")
    assert_one_line(result, "unknown command 'mel'", "did you mean 'mels'?")
    assert len(result.stderr.splitlines()) == 1


def parser_of(name: str) -> Callable:
    return getattr(importlib.import_module(f"scripts.{COMMANDS[name].flags}"), name)


def test_every_command_on_the_pages_parses():
    """Those in blocks of code, and the examples of each help."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(block for page in pages for block in re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL))
    parsers = {name: parser_of(name) for name in COMMANDS}
    text += "\n".join(parser.__doc__ for parser in parsers.values()).replace("\\\n", " ")
    found = re.findall(r"^ *(?:\S+=\S+ )*(?:\S+/)?python -m scripts (\w.*)", text, re.MULTILINE)
    assert len(found) > 80
    for line in found:
        name, *argv = shlex.split(line.split(" && ")[0], comments=True)
        if "--help" not in argv:
            parsers[name](argv)  # ends the test where a flag or a value does not exist


# --- from audio to prediction -------------------------------------------------------------------------------


def table_flags(folder: Path) -> list[str]:
    tables = ["--csv", f"{folder}/metadata_ensemble.csv", "--full-csv", f"{folder}/metadata_30_secs.csv"]
    return [*tables, "--output-root", f"{folder}/mels", *SPEC_FLAGS]


def test_from_audio_to_prediction_by_commands_alone(tmp_path, capsys, run):
    """mp3s in, a report and a prediction out, nothing but commands in between; by file, by module and by name."""
    make_corpus(tmp_path, suffix=".mp3")
    tables = [f"--output={tmp_path}/metadata_ensemble.csv", f"--full-output={tmp_path}/metadata_30_secs.csv"]
    split = ["--input", f"{tmp_path}/metadata_30_secs.csv", *tables, "--clips", "5", "--split", "official"]
    assert "3 validation, 3 test" in call("scripts/utils/metadata.py", *split).stdout
    assert "18 tracks: 18 ok" in call("scripts/utils/mels.py", *table_flags(tmp_path)).stdout
    settings = [f"table={tmp_path}/metadata_ensemble.csv", f"cache={tmp_path}/mels", "epochs=2", "batch_size=8"]
    settings += [f"spec.{flag.strip('-').replace('-', '_')}" for flag in SPEC_FLAGS]
    runs = ["--runs", f"{tmp_path}/runs"]
    train = ["--experiment", "fma_cnn_3s", "--tag", "t", "--set", *settings, *runs]
    trained = call("-m", "scripts.train", *train)
    assert "track accuracy 1.000" in trained.stdout, trained.stderr
    assert (tmp_path / "runs" / "reports" / "fma_cnn_3s-t" / "test.json").is_file()
    main(["predict", f"{tmp_path}/audio/000000.mp3", "--run", "fma_cnn_3s-t", *runs, "--top", "1"])
    assert "High" in capsys.readouterr().out
    main(["evaluate", "fma_cnn_3s-t", *runs])
    assert "track accuracy 1.000" in capsys.readouterr().out
    assert_one_line(run("train", *train), "fma_cnn_3s-t exists", "--resume")


# --- what does not fit --------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys) -> Callable[..., subprocess.CompletedProcess]:
    """`run(NAME, *flags)` is `python -m scripts NAME flags`, in this process, which has imported torch already."""

    def run_here(*arguments: object) -> subprocess.CompletedProcess:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        return subprocess.CompletedProcess(arguments, stopped.value.code, *capsys.readouterr())

    return run_here


def test_tables_that_do_not_fit(tmp_path, run):
    table = make_corpus(tmp_path, 3)
    flags = table_flags(tmp_path)
    full = tmp_path / "metadata_30_secs.csv"
    table.drop(columns="file_path").to_csv(full, index=False)
    assert_one_line(run("mels", *flags), "lacks the column file_path")
    table.assign(file_path="elsewhere/" + table["track_id"]).to_csv(full, index=False)
    assert_one_line(run("mels", *flags), "none of the 3 audio files exists", "elsewhere/0")
    table[:2].to_csv(full, index=False)
    assert_one_line(run("mels", *flags), "track 2 is in only one of")
    full.write_bytes(b"\xff\xfe\x00binary")
    assert_one_line(run("mels", *flags), "not a CSV table")
    full.unlink()
    assert_one_line(run("mels", *flags), "no such table", "make it first")


def test_flags_that_do_not_fit(tmp_path, run):
    assert_one_line(run("mels", "--workers", "0"), "'0' is not a whole number of at least 1")
    assert_one_line(run("mels", "--n-mels", "-3"), "n_mels is -3; it must be above 0")
    assert_one_line(run("train"), "give either --experiment NAME or --config FILE", "fma_cnn_3s")
    assert_one_line(run("train", "--experiment", "fma_cnn3s"), "did you mean 'fma_cnn_3s'")
    assert_one_line(run("evaluate", "ensembel", "--runs", tmp_path), "train one first")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission(tmp_path, run):
    make_corpus(tmp_path, 3)
    (tmp_path / "mels").mkdir(mode=0o500)
    assert_one_line(run("mels", *table_flags(tmp_path)), "Permission denied", "choose another folder")


def test_a_file_where_the_folder_should_be(tmp_path, run):
    make_corpus(tmp_path, 3)
    (tmp_path / "mels").write_text("in the way")
    assert_one_line(run("mels", *table_flags(tmp_path)), str(tmp_path / "mels"))
    experiment = make_experiment(tmp_path / "other")
    (tmp_path / "runs").write_text("in the way")
    settings = [f"table={experiment.data.table}", f"cache={experiment.data.cache}"]
    settings += [f"spec.{flag.strip('-').replace('-', '_')}" for flag in SPEC_FLAGS]
    command = ["train", "--experiment", "fma_cnn_3s", "--runs", tmp_path / "runs", "--set", *settings]
    assert_one_line(run(*command), str(tmp_path / "runs"))


def test_full_disk_while_caching_keeps_what_was_finished(tmp_path, monkeypatch, capsys, refusal):
    make_corpus(tmp_path, 6)
    original, full = shards.RowWriter.write, {"at": 3}

    def write(self, values):
        full["at"] -= 1
        if full["at"] < 0:
            raise OSError(28, "No space left on device")
        original(self, values)

    monkeypatch.setattr(engines, "parallel_map", lambda function, jobs, workers: map(function, jobs))
    monkeypatch.setattr(shards.RowWriter, "write", write)
    line = refusal(mels.main, [*table_flags(tmp_path), "--workers", "1"], after=("6 of 6 tracks to cache",))
    assert "No space left on device; free some space" in line
    assert len(list((tmp_path / "mels").glob("*/shards/*"))) == 1
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
