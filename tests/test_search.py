"""Search in a collection: against SciPy's cosines, a kept index, kills, text, and wrong input."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from scipy.spatial.distance import cosine

from scripts import search
from scripts.baselines.embed import Embedder
from scripts.loading.embedding_cache import EmbeddingCache
from scripts.models import build_model
from scripts.search import Collection, build_index, embed_file, for_search
from tests.corpus import SPEC, write_track
from tests.networks import save_clap


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Eight short sounds, and one that cannot be read."""
    (tmp_path / "songs").mkdir()
    for number in range(8):
        write_track(tmp_path / "songs" / f"{number}.wav", 200.0 * (1 + number), number, seconds=(0.6, 2.0)[number % 2])
    (tmp_path / "songs" / "broken.wav").write_bytes(b"no sound")
    return tmp_path / "songs"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    model = build_model("cnn4", 3, SPEC.clip_shape[1], SPEC.n_mels).eval()
    return for_search(Embedder(model, SPEC, "item", False, {"network": "random"}))


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save_clap(tmp_path_factory.mktemp("networks") / "clap")


def paths(folder: Path) -> list[str]:
    return sorted(map(str, folder.iterdir()))


def test_the_nearest_by_scipy(songs: Path, embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    collection = Collection(build_index(songs.parent / "index", paths(songs), embedder, 1), paths(songs))
    assert "broken.wav: " in capsys.readouterr().err and len(collection.rows) == 8
    vectors = {path: embed_file(path, embedder) for path in paths(songs)[:-1]}
    query = vectors[str(songs / "3.wav")]
    expected = {path: 1 - cosine(query, vector) for path, vector in vectors.items()}
    found = collection.nearest(query, 99)
    assert [path for path, _ in found] == sorted(expected, key=lambda path: -expected[path])
    np.testing.assert_allclose([value for _, value in found], [expected[path] for path, _ in found], atol=2e-3)


def test_the_graph_gives_the_same_and_is_kept(songs: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    files = paths(songs)
    cache = build_index(songs.parent / "index", files, embedder, 1)
    query = embed_file(files[2], embedder)
    exact = Collection(cache, files).nearest(query, 5)
    monkeypatch.setattr(search, "MANY", 1)
    for _ in range(2):  # made, then opened
        found = Collection(cache, files).nearest(query, 5)
        assert [path for path, _ in found] == [path for path, _ in exact]
        np.testing.assert_allclose([value for _, value in found], [value for _, value in exact], atol=2e-3)
        [kept] = (songs.parent / "index").glob("*.usearch")
        monkeypatch.setattr(EmbeddingCache, "means", None)
    monkeypatch.undo()
    monkeypatch.setattr(search, "MANY", 1)
    Collection(cache, files[1:]).nearest(query, 5)
    assert [kept] != list((songs.parent / "index").glob("*.usearch"))


def test_only_new_and_changed_files_are_embedded(
    songs: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, calls, original = songs.parent / "index", [], Embedder.__call__

    def count(self: Embedder, values: np.ndarray) -> np.ndarray:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(values))
        return original(self, values)

    def build(files: Sequence[str]) -> EmbeddingCache:
        return build_index(index, files, embedder, 1)

    monkeypatch.setattr(Embedder, "__call__", count)
    with pytest.raises(KeyboardInterrupt):
        build(paths(songs))
    calls[:] = [0] * 10  # and so no further kill
    first = build(paths(songs))
    assert len(calls) == 10 + 8 - 3 and not (index / "spectrograms").exists()
    build(paths(songs))
    assert len(calls) == 15
    write_track(songs / "1.wav", 3000.0, 99)
    write_track(songs / "new.wav", 500.0, 50)
    (songs / "0.wav").unlink()
    second = build(paths(songs))
    assert len(calls) == 17 and str(songs / "0.wav") not in second.rows.index
    row, other = (cache.rows.at[str(songs / "1.wav"), "row"] for cache in (first, second))
    expected = embed_file(str(songs / "1.wav"), embedder)
    np.testing.assert_allclose(second.means(second.rows[second.rows["row"] == other])[0], expected, atol=2e-3)


def call(*arguments: object) -> None:
    search.main([*map(str, arguments), "--device=cpu", "--workers=1"])


def test_the_command(songs: Path, clap: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(songs.parent)
    network = ["--in", "songs", "--network=clap", f"--weights={clap}"]
    shutil.copy(songs / "2.wav", songs / "copy.wav")
    call("songs/2.wav", *network, "--count=3")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1.00  songs/copy.wav" and len(lines) == 3 and "songs/2.wav" not in " ".join(lines)
    call("songs/2.wav", *network, "--count=1", "--json")
    assert json.loads(capsys.readouterr().out) == {"file": "songs/copy.wav", "cosine": 1.0}
    call("--text", "solo piano, rain", *network)
    found = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    tokens = transformers.AutoTokenizer.from_pretrained(clap)(["solo piano, rain"], return_tensors="pt")
    model = transformers.ClapModel.from_pretrained(clap).eval()
    text = model.get_text_features(tokens["input_ids"], tokens["attention_mask"]).pooler_output[0].detach()
    embedder = for_search(Embedder.by_name("clap", str(clap), "cpu"))
    expected = {file: 1 - cosine(text, embed_file(file, embedder)) for _, file in found}
    assert len(found) == 9
    np.testing.assert_allclose([float(value) for value, _ in found], list(expected.values()), atol=8e-3)
    assert [value for value, _ in found] == sorted((value for value, _ in found), key=float, reverse=True)


def test_wrong_input_is_a_line(
    songs: Path, clap: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(songs.parent)
    Path("empty").mkdir()
    network = ["--network=clap", f"--weights={clap}"]
    call("songs/1.wav", "--in", "songs", *network, "--index=index")
    shutil.copytree("index", "other")
    facts = json.loads(Path("other/embeddings.json").read_text()) | {"network": "ast"}
    Path("other/embeddings.json").write_text(json.dumps(facts))
    capsys.readouterr()
    wrong = [
        (["songs/1.wav", "--in", "empty", *network], "holds no audio file"),
        (["songs/1.wav", "--in", "none", *network], "--in none: no such folder"),
        (["songs/broken.wav", "--in", "songs", *network], "songs/broken.wav: "),
        (["none.wav", "--in", "songs", *network], "none.wav: "),
        (["songs/1.wav", "--in", "songs", *network, "--index=other"], "network is ast, not clap"),
        (["songs/1.wav", "--in", "songs", *network, "--layer=7"], "layer 7 of clap; give one of 0 to 2"),
        (["--text=rain", "--in", "songs", *network, "--layer=1"], "--text needs a network that knows words"),
        (["--in", "songs", *network], "give either a song or --text"),
        (["songs/1.wav", "--in", "songs/1.wav", *network], "no usable track besides the song"),
    ]
    for arguments, message in wrong:
        with pytest.raises(SystemExit, match="2"):
            call(*arguments)
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and message in error, error
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        call("--text=rain", "--in", "songs", *network)
    assert "needs the package transformers" in capsys.readouterr().err
