"""The floors of CONTRIBUTING.md: imports run downwards only, and in no circle."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
FLOORS = re.findall(r"^\d+\. (.+)$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
FLOOR_OF = {name: number for number, line in enumerate(FLOORS) for name in re.findall(r"`([\w/.]+)`", line)}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SCRIPTS.glob("*/**/*.py")
} | {f"scripts.{path.stem}": path for path in SCRIPTS.glob("*.py") if path.stem != "__init__"}


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one, but for what a file does only when it is run by itself."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"):
            yield node
            yield from nodes(node)


def imported(path: Path) -> set[str]:
    """The modules of this project that a file imports, inside functions too."""
    found = set()
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & MODULES.keys()


def place(module: str) -> str:
    """The folder right below scripts/ that a module lies in, or the file."""
    name = module.split(".")[1]
    return name if (SCRIPTS / name).is_dir() else f"{name}.py"


def test_every_folder_and_file_has_a_floor():
    assert {place(module) for module in MODULES} == FLOOR_OF.keys()


def test_imports_run_downwards():
    upwards = [
        f"{module} -> {other}"
        for module, path in MODULES.items()
        for other in imported(path)
        if place(module) != place(other) and FLOOR_OF[place(module)] <= FLOOR_OF[place(other)]
    ]
    assert not upwards


def test_no_circle_of_modules():
    imports = {module: imported(path) for module, path in MODULES.items()}
    while free := [module for module, others in imports.items() if not others & imports.keys()]:
        for module in free:
            del imports[module]
    assert not imports
