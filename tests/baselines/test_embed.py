"""Embeddings of runs and of MusiCNN: the cache against the network itself, kills, wrong input, and their use."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scripts.architectures.musicnn import PUBLISHED, SPEC, Weights
from scripts.audio.cache import MelCache, list_shards
from scripts.audio.normalise import normalise
from scripts.baselines.classical import FeatureData
from scripts.baselines.embed import Embedder, embed
from scripts.baselines.embed import main as embed_command
from scripts.common.errors import CacheError, ConfigError, TableError
from scripts.config.experiments import get_experiment
from scripts.config.run import Run
from scripts.loading import embedding_cache
from scripts.loading.embedding_cache import EmbeddingCache
from scripts.loading.feature_rows import load_rows, read_sources
from scripts.train import train
from tests.architectures.test_musicnn import random_state
from tests.corpus import make_corpus, make_experiment, write_track


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, quick_reports: None) -> Path:
    """A corpus, its spectrograms, and the run `small` on them."""
    folder = tmp_path_factory.mktemp("embed")
    train(make_experiment(folder, epochs=1), root=folder / "runs")
    return folder


def call(folder: Path, *arguments: str, output: str = "embeddings") -> EmbeddingCache:
    given = ["--network=small", f"--runs={folder}/runs", f"--output={folder / output}", "--workers=1", "--device=cpu"]
    embed_command([*given, *arguments])
    return EmbeddingCache.open(folder / output)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_embeds_every_clip(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, run = call(folder), Run("small", folder / "runs")
    assert f"{folder}/embeddings: 18 tracks: 18 ok" in capsys.readouterr().out
    experiment, model = run.experiment(), run.load_model()
    mels = MelCache.open(experiment.data.cache, experiment.features.spec)
    assert cache.array.shape == (18, 5, 128) and cache.array.dtype == np.float16
    assert cache.rows.index.tolist() == mels.rows.index.tolist()
    for row in (0, 17):
        with torch.inference_mode():
            expected = model.embed(normalise(torch.from_numpy(mels.clips[[row]][0]), experiment.features.normalise))
        np.testing.assert_allclose(cache.array[row], expected, atol=2e-3, rtol=2e-3)
    table = cache.table()
    assert table.columns[:3].tolist() == ["track_id", "clip", "e0"] and len(table) == 18 * 5
    np.testing.assert_array_equal(table[table["track_id"] == "17"].iloc[:, 2:], cache.array[17].astype(np.float32))


def test_killed_and_started_again_it_ends_with_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = contents(call(folder).folder), []
    original = Embedder.__call__

    def kill(self: Embedder, values: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return original(self, values)

    monkeypatch.setattr(Embedder, "__call__", kill)
    with pytest.raises(SystemExit) as stopped:
        call(folder, output="again")
    assert stopped.value.code == 130
    assert 0 < len(list_shards(folder / "again")) < len(list_shards(folder / "embeddings"))
    monkeypatch.setattr(Embedder, "__call__", original)
    assert contents(call(folder, output="again").folder) == whole
    monkeypatch.setattr(Embedder, "__call__", None)  # everything is there
    assert contents(call(folder, output="again").folder) == whole


def test_new_changed_short_and_lost_tracks(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "all")
    work, mels = tmp_path / "all", tmp_path / "mels"
    table = make_corpus(work, 9)
    embedder = Embedder.of_run(Run("small", work / "runs"), "cpu")
    first = embed(table[:6], embedder, work / "e", mels, 1)
    assert len(first.rows) == 6
    write_track(Path(table["file_path"][0]), 700.0, 99)
    write_track(Path(table["file_path"][7]), 700.0, 7, seconds=0.5)
    write_track(Path(table["file_path"][8]), 700.0, 8, seconds=2.4)
    second = embed(table, embedder, work / "e", mels, 1)
    np.testing.assert_array_equal(first.array[1], second.array[1])
    assert not np.array_equal(first.array[0], second.array[0])
    assert second.rows["status"].tolist() == ["ok"] * 7 + ["short", "ok"]
    assert second.table().groupby("track_id").size().to_dict() == {str(n): 5 for n in range(7)} | {"8": 2}
    assert not second.array[7].any() and not second.array[8][2:].any()
    shutil.rmtree(mels)
    assert len(embed(table[:3], embedder, work / "e", mels, 1).rows) == 3


def test_a_cache_of_an_earlier_version_is_one_shard(tmp_path: Path, folder: Path) -> None:
    table, embedder = make_corpus(tmp_path, 3), Embedder.of_run(Run("small", folder / "runs"), "cpu")
    mels = embed(table[:1], embedder, tmp_path / "first", tmp_path / "mels", 1) and next((tmp_path / "mels").iterdir())
    for path in next((mels / "shards").iterdir()).iterdir():
        path.rename(mels / path.name)
    shutil.rmtree(mels / "shards")
    (mels / "checksums.json").unlink()
    assert len(embed(table[:1], embedder, tmp_path / "e", tmp_path / "mels", 1).rows) == 1
    write_track(Path(table["file_path"][0]), 700.0, 99)
    cache = embed(table, embedder, tmp_path / "e", tmp_path / "mels", 1)
    assert [*cache.rows.index] == ["0", "1", "2"]
    first, anew = (
        EmbeddingCache.open(tmp_path / "first").array[0],
        embed(table, embedder, tmp_path / "n", tmp_path / "m", 1),
    )
    np.testing.assert_array_equal(cache.array[:], anew.array[:])
    assert not np.array_equal(first, cache.array[0])


def test_wrong_input_is_a_line(folder: Path, tmp_path: Path) -> None:
    call(folder)
    with pytest.raises(ConfigError, match="unknown run 'smal'; did you mean 'small'"):
        Embedder.of_run(Run("smal", folder / "runs"))
    rows = Run("rows", tmp_path)
    rows.save_config(get_experiment("gtzan_mlp_features"), classes=["a", "b"], split="")
    with pytest.raises(ConfigError, match="rows has data.unit=row; give a run on clips"):
        Embedder.of_run(rows)
    other = Embedder.of_run(Run("small", folder / "runs"), "cpu")
    other.facts["network"] = "other"
    table = pd.read_csv(folder / "metadata_30_secs.csv", dtype={"track_id": str})
    with pytest.raises(CacheError, match="other embeddings: network is small, not other; choose another --output"):
        embed(table, other, folder / "embeddings", folder / "mels", 1)
    with pytest.raises(CacheError, match="no embeddings here"):
        EmbeddingCache.open(tmp_path)
    copy = shutil.copytree(folder / "embeddings", tmp_path / "copy")
    first = list_shards(copy)[0] / embedding_cache.EMBEDDINGS
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(CacheError, match="embeddings.npy: .* bytes instead of"):
        EmbeddingCache.open(copy)
    (copy / "embeddings.json").write_text("{}")
    with pytest.raises(CacheError, match="embeddings.json: damaged"):
        EmbeddingCache.open(copy)


# --- their use ----------------------------------------------------------------------------------------------


def test_embeddings_stand_beside_descriptors(folder: Path, tmp_path: Path) -> None:
    embeddings = call(folder).table()
    described = embeddings[["track_id", "clip"]].assign(loud=np.arange(90.0), genre="x")
    described[described["clip"] > 3].to_csv(tmp_path / "clips.csv", index=False)
    pd.DataFrame({"track_id": ["3", "4"], "tempo": [90.0, 120.0]}).to_csv(tmp_path / "tracks.csv", index=False)
    sources = [str(folder / "embeddings"), str(tmp_path / "clips.csv"), str(tmp_path / "tracks.csv")]
    rows = read_sources(sources)
    assert rows[["track_id", "clip"]].to_numpy().tolist() == [["3", 4], ["3", 5], ["4", 4], ["4", 5]]
    assert rows["2_loud"].astype(float).tolist() == [18.0, 19.0, 23.0, 24.0]
    assert rows["3_tempo"].astype(float).tolist() == [90.0, 90.0, 120.0, 120.0]
    assert rows["1_e5"].tolist() == embeddings.loc[[18, 19, 23, 24], "e5"].tolist()
    assert rows.shape[1] == 2 + 128 + 1 + 1


def test_baselines_and_networks_read_them(folder: Path) -> None:
    call(folder)
    data = FeatureData.load(str(folder / "embeddings"), folder / "metadata_30_secs.csv", folder, folds=3, by="track")
    assert data.items.array.shape == (90, 128) and len(data.tests) == 3
    items, left_out = load_rows(data.tracks.assign(split="train"), str(folder / "embeddings"), 128)
    assert items.array.shape == (90, 128, 1) and left_out.empty
    with pytest.raises(ConfigError, match="gtzan has tracks of its own"):
        FeatureData.load(["gtzan", str(folder / "embeddings")], folder / "metadata_30_secs.csv", folder)
    with pytest.raises(TableError, match="no such table"):
        FeatureData.load([str(folder / "embeddings"), "none.csv"], folder / "metadata_30_secs.csv", folder)


def test_musicnn_embeds_clips_of_3_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, table = tmp_path / "weights.pth", make_corpus(tmp_path, 2)
    torch.save(random_state(), path)
    published = Weights("https://example.org", hashlib.sha256(path.read_bytes()).hexdigest(), "noise")
    monkeypatch.setitem(PUBLISHED, "mtat", published)
    embedder = Embedder.musicnn(str(path), "cpu")
    cache = embed(table, embedder, tmp_path / "embeddings", tmp_path / "mels", 1)
    assert cache.array.shape == (2, 10, 200) and cache.rows["clips"].tolist() == [2, 2]
    assert (cache.facts["weights"], cache.facts["trained_on"]) == ("mtat", "noise")
    mels = MelCache.open(tmp_path / "mels", SPEC)
    with torch.inference_mode():
        expected = embedder.model.embed(torch.from_numpy(mels.clips[[0]][0][:2]).float()[:, None])
    np.testing.assert_allclose(cache.array[0][:2], expected, rtol=2e-3, atol=2e-3)
