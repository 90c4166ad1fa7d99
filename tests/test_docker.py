"""Dockerfile and compose.yaml name what there is: files, modules, flags, ports, variables. No daemon is needed."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.__main__ import COMMANDS

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
NOT_INSTALLED = "torchaudio librosa IPython jupyter pooch onnx onnxruntime optuna transformers"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, each with its arguments."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


def arguments(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def compose() -> dict:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_every_command_and_flag_exists():
    """Those of the three files, parsed by the command's own flags."""
    page = re.findall(r"python -m scripts [^#\n`]*", (ROOT / "docs" / "docker.md").read_text())
    services = [service["command"] for service in compose()["services"].values()]
    found = [*page, *services, " ".join(json.loads(arguments("CMD")[0]))]
    assert len(found) >= 11
    for command in found:
        python, _, scripts, name, *flags = shlex.split(command)
        assert (python, scripts) == ("python", "scripts")
        parse = getattr(importlib.import_module(f"scripts.{COMMANDS[name].flags}"), name)
        if "--help" not in flags:
            parse(flags)  # ends the test where a flag or a value does not exist


def test_what_is_copied_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    for line in arguments("COPY"):
        *sources, target = line.split()
        assert target.startswith("/app/")
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored
    [install] = [line for line in arguments("RUN") if "pip install" in line]
    assert install.split()[-1] == "/app/requirements-apps.txt"
    assert {f"/app/{name}" for name in included("requirements-apps.txt")} <= {
        f"/app/{source}" for line in arguments("COPY") for source in line.split()[:-1]
    }


def included(name: str) -> set[str]:
    """A file of requirements and those that it includes."""
    text = (ROOT / name).read_text()
    return {name}.union(*(included(other) for other in re.findall(r"^-r (\S+)", text, re.M)))


def test_the_apps_load_without_what_the_image_does_not_have():
    files = (path.relative_to(ROOT) for path in (ROOT / "scripts" / "apps").rglob("*.py"))
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    code = (
        f"import sys, importlib; sys.modules.update(dict.fromkeys({NOT_INSTALLED.split()!r}))\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "from scripts.models import known_models; from scripts.inference.predictor import Predictor; known_models()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nobody_is_root():
    names = [name for name, _ in instructions()]
    assert arguments("USER") == ["app"]
    assert names.index("USER") < names.index("CMD")
    assert not any(name in ("RUN", "COPY", "ADD") for name in names[names.index("USER") :])
    assert all(service["cap_drop"] == ["ALL"] for service in compose()["services"].values())
