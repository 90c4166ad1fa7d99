"""The notebook: it runs from top to bottom on each kind of source, shows what it promises, and holds no logic."""

import ast
import base64
import os
import shutil
from pathlib import Path

import nbformat
import pytest
import soundfile
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tests.conftest import tone_samples

ROOT = Path(__file__).resolve().parents[1]
SET_UP = 5  # code cells after the first


@pytest.fixture(scope="module")
def notebook() -> NotebookNode:
    return nbformat.read(ROOT / "notebook.ipynb", as_version=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project, but for the code."""
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def demo(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook run on a small demo, one epoch per training."""
    copy = with_first_cell(notebook, "demo")
    replace(copy, "open_source(SOURCE)", "open_source(SOURCE, tracks_per_genre=7)")
    replace(copy, '"train", 400', '"train", 80')
    return run(copy, folder)


@pytest.fixture(scope="module")
def own(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook run on two classes of six tones of half a second, one of them damaged."""
    make_tones(folder / "my tones", {"high": 6, "low": 6})
    (folder / "my tones" / "low" / "0.wav").write_bytes(b"RIFF, and nothing else")
    return run(with_first_cell(notebook, "my tones"), folder)


def make_tones(folder: Path, classes: dict[str, int]) -> None:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pitch = {"high": 2000.0}.get(name, 300.0) * (1 + number / 50)
            soundfile.write(folder / name / f"{number}.wav", tone_samples(0.5, 16_000, frequency=pitch), 16_000)


def with_first_cell(notebook: NotebookNode, source: str) -> NotebookNode:
    copy = nbformat.from_dict(notebook)
    code_cells(copy)[0].source = f'SOURCE = "{source}"\nSETTINGS = ["epochs=1"]'
    return copy


def replace(notebook: NotebookNode, old: str, new: str) -> None:
    cells = [cell for cell in notebook.cells if old in cell.source]
    assert len(cells) == 1, f"{old!r} stands in {len(cells)} cells"
    cells[0].source = cells[0].source.replace(old, new)


def run(notebook: NotebookNode, folder: Path, allow_errors: bool = False) -> NotebookNode:
    """Execute it, on one thread: the other core has tests of its own."""
    resources, one_thread = {"metadata": {"path": folder}}, os.environ | {"OMP_NUM_THREADS": "1"}
    client = NotebookClient(notebook, timeout=None, resources=resources, allow_errors=allow_errors)
    return client.execute(env=one_thread)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: NotebookNode) -> str:
    """All text that a cell shows."""
    return "\n".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in cell.outputs)


def output_of(notebook: NotebookNode, source: str) -> str:
    """All text that the one cell with this source shows."""
    (cell,) = [cell for cell in code_cells(notebook) if source in cell.source]
    return text_of(cell)


def shown(notebook: NotebookNode, kind: str) -> list:
    """All outputs of a MIME type."""
    outputs = [output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs]
    return [data[kind] for data in outputs if kind in data]


# --- what it shows ------------------------------------------------------------------------------------------


def test_shows_what_it_promises(demo: NotebookNode, folder: Path) -> None:
    assert output_of(demo, "cache = build_cache(tracks").count("unreadable") == 3  # of the deliberate faults
    assert "duplicate" in output_of(demo, "verify_tracks(")
    layers = ["Conv2d", "ReLU", "MaxPool2d", "Dropout"]
    assert [
        name for name in output_of(demo, "print(model").replace("(", " ").split() if name in layers
    ] == layers * 4 + ["ReLU"]
    assert "x (16, 1, 128, 259)" in output_of(demo, "training_loader(clips, data)")
    assert "track accuracy" in output_of(demo, "test = train(clips")
    assert "0% of the test tracks are by an artist in train" in output_of(demo, "write_metadata(*paths")
    assert "test tracks are wrong" in output_of(demo, "surest_mistakes(saved")
    assert "demo_cnn_30s-fair" in output_of(demo, "compare([clips.name, whole")
    assert "the weights are not here" in output_of(demo, "has_ears = ")
    assert "known artists bring" in output_of(demo, "mcnemar(*correct)")
    assert "roc_auc" in output_of(demo, 'tags_test["per_label"]')
    for name in ("demo_cnn_3s", "demo_cnn_30s", "demo_cnn_30s-fair", "demo_polyphony"):
        assert (folder / "runs" / "reports" / name / "test.json").is_file()


def test_own_sounds_go_the_whole_way(own: NotebookNode, folder: Path) -> None:
    assert "of each, the first 0.5 s are taken, in 2 clips of 0.25 s" in output_of(own, "choose_experiments(source")
    assert "unreadable" in output_of(own, "cache = build_cache(tracks")
    assert "11 tracks" in output_of(own, "cross_validate(folded, number")
    assert output_of(own, 'tag="by-artist"').startswith("does not apply: ")
    assert output_of(own, "requests = ").startswith("does not apply: ")
    assert {"high", "low"} == {name for name in ("high", "low") if name in output_of(own, "answer.top(3)")}
    assert (folder / "runs" / "reports" / "my_tones_tracks-fair" / "test.json").is_file()


@pytest.mark.parametrize("kind", ["demo", "own"])
def test_every_cell_ran(kind: str, request: pytest.FixtureRequest) -> None:
    notebook = request.getfixturevalue(kind)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not shown(notebook, "application/vnd.jupyter.widget-view+json")
    images = [base64.b64decode(image) for image in shown(notebook, "image/png")]
    assert len(images) >= 8
    assert all(len(image) > 5_000 for image in images)
    sounds = [html for html in shown(notebook, "text/html") if "<audio" in html]
    assert 1 <= len(sounds) <= 4
    assert all(len(sound) < 150_000 for sound in sounds)


def test_runs_from_any_chapter_after_the_set_up(demo: NotebookNode, folder: Path) -> None:
    """Chapters that train nothing read what earlier ones left in the run folders, in any order."""
    first = code_cells(demo)[: SET_UP + 1]
    cheap = [cell for cell in chapters(demo) if "train(" not in cell.source and "cross_validate(" not in cell.source]
    assert len(cheap) >= 4
    copies = [new_code_cell(cell.source) for cell in [*first, *reversed(cheap)]]
    run(new_notebook(cells=copies, metadata=demo.metadata), folder)


def chapters(notebook: NotebookNode) -> list[NotebookNode]:
    """The code of each numbered chapter as one cell."""
    found: list[list[str]] = []
    for text, code in zip(notebook.cells[::2], notebook.cells[1::2], strict=True):
        if text.source.startswith("## ") and text.source[3].isdigit():
            found.append([])
        if found:
            found[-1].append(code.source)
    return [new_code_cell("\n".join(sources)) for sources in found]


# --- bad sources --------------------------------------------------------------------------------------------


def test_a_bad_source_gives_one_line(notebook: NotebookNode, folder: Path) -> None:
    make_tones(folder / "single class", {"high": 6})
    make_tones(folder / "single files", {"high": 6, "low": 1})
    make_tones(folder / "top", {"": 2})
    expected = {
        "nowhere": 'is \'nowhere\', which is no folder; give "demo", "fma", or a folder',
        "single class": "one class, 'high', leaves no choice",
        "single files": "genre 'low' has 1 tracks; this split needs at least 5 in every genre",
        "top": "holds no folders; put the audio into one folder for each class",
    }
    set_up = "\n".join(cell.source for cell in code_cells(notebook)[1:SET_UP])
    cells = [new_code_cell(f'SOURCE, SETTINGS = "{source}", []\n{set_up}') for source in expected]
    run(new_notebook(cells=cells, metadata=notebook.metadata), folder, allow_errors=True)
    for cell, message in zip(cells, expected.values(), strict=True):
        assert all(output.output_type == "stream" for output in cell.outputs)
        (line,) = "".join(output.text for output in cell.outputs if output.name == "stderr").splitlines()
        assert line.startswith("error: ")
        assert message in line


# --- what is committed --------------------------------------------------------------------------------------


def test_holds_no_logic(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        assert len(source.splitlines()) <= 15
        assert not any(
            isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda) for node in ast.walk(ast.parse(source))
        )


def test_each_code_cell_is_explained(notebook: NotebookNode) -> None:
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds == ["markdown", "code"] * (len(kinds) // 2)


def test_is_committed_with_outputs_and_without_widgets(notebook: NotebookNode) -> None:
    assert sum(bool(cell.outputs) for cell in code_cells(notebook)) >= 20
    assert not shown(notebook, "application/vnd.jupyter.widget-view+json")
    assert "widgets" not in notebook.metadata
