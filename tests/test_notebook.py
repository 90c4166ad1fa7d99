"""The notebook: it runs from top to bottom, shows what it promises, and holds no logic."""

import ast
import base64
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "notebook.ipynb", as_version=4)


@pytest.fixture(scope="module")
def executed(notebook, tmp_path_factory):
    """The notebook run on a small demo, one epoch per training, in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    copy = nbformat.from_dict(notebook)
    replace(copy, "SETTINGS = []", 'SETTINGS = ["epochs=1"]')
    replace(copy, "make_demo(data)", "make_demo(data, tracks_per_genre=10)")
    replace(copy, '"train", 400', '"train", 80')
    client = NotebookClient(copy, timeout=None, resources={"metadata": {"path": folder}})
    return client.execute(), folder


def replace(notebook, old: str, new: str) -> None:
    cells = [cell for cell in notebook.cells if old in cell.source]
    assert len(cells) == 1, f"{old!r} stands in {len(cells)} cells"
    cells[0].source = cells[0].source.replace(old, new)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def output_of(notebook, source: str) -> str:
    """All text that the one cell with this source shows."""
    (cell,) = [cell for cell in code_cells(notebook) if source in cell.source]
    texts = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts)


def test_every_cell_ran(executed):
    notebook, _ = executed
    cells = code_cells(notebook)
    assert len(cells) >= 15
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


def test_shows_what_it_promises(executed):
    notebook, folder = executed
    assert "'ok': 8" in output_of(notebook, "build_cache(tracks")  # 80 and some of the deliberate faults
    assert "'unreadable': 3" in output_of(notebook, "build_cache(tracks")
    assert "duplicate" in output_of(notebook, "verify_tracks(")
    assert "track accuracy" in output_of(notebook, "ensemble_test = train(")
    assert "0% of the test tracks are by an artist in train" in output_of(notebook, 'split="official"')
    assert "tracks at random" in output_of(notebook, "audit_own(")
    assert "demo_cnn_30s-fair" in output_of(notebook, "compare([")
    assert "demo_cnn_3s-random80" in output_of(notebook, '["split", *columns]')
    assert "macro F1" in output_of(notebook, "tags_test = train(")
    assert "roc_auc" in output_of(notebook, 'tags_test["per_label"]')
    for run in ("demo_cnn_3s", "demo_cnn_30s", "demo_cnn_30s-fair", "demo_cnn_3s-random80", "demo_polyphony"):
        assert (folder / "runs" / "reports" / run / "test.json").is_file()


def test_draws_its_figures(executed):
    images = [
        base64.b64decode(output.data["image/png"])
        for cell in code_cells(executed[0])
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(images) == 9
    assert all(len(image) > 10_000 for image in images)


def test_holds_no_logic(notebook):
    for cell in code_cells(notebook):
        source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        assert len(source.splitlines()) <= 15
        assert not any(
            isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda) for node in ast.walk(ast.parse(source))
        )


def test_each_code_cell_is_explained(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds == ["markdown", "code"] * (len(kinds) // 2)


def test_is_committed_with_outputs(notebook):
    assert sum(bool(cell.outputs) for cell in code_cells(notebook)) >= 10
