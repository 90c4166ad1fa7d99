"""Published networks under `embed`, as small random ones: against transformers and timm themselves."""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers

from scripts import models
from scripts.architectures.audio_transformer import log_mels
from scripts.architectures.wav2vec2 import standardise
from scripts.audio.cache import MelCache
from scripts.baselines.embed import Embedder, published_networks
from scripts.baselines.embed import main as embed_command
from scripts.common.errors import CheckpointError, ConfigError
from scripts.loading.embedding_cache import EmbeddingCache
from scripts.models import build_model
from tests.corpus import make_corpus
from tests.networks import save_ast, save_clap, save_wav2vec2


def ast_states(folder: Path, waveforms: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    made = transformers.ASTModel.from_pretrained(folder).eval()(log_mels(waveforms, 32, 64), output_hidden_states=True)
    return made.pooler_output, [state[:, 2:] for state in made.hidden_states]


def wav2vec2_states(folder: Path, waveforms: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    network = transformers.Wav2Vec2Model.from_pretrained(folder).eval()
    made = network(standardise(waveforms), output_hidden_states=True)
    return made.last_hidden_state.mean(1), list(made.hidden_states)


def clap_states(folder: Path, waveforms: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    front_end = transformers.AutoFeatureExtractor.from_pretrained(folder)
    features = front_end(list(waveforms.numpy()), sampling_rate=48_000, return_tensors="pt")["input_features"].float()
    network = transformers.ClapModel.from_pretrained(folder).eval()
    states = network.audio_model(features, output_hidden_states=True).hidden_states
    states = [state.flatten(2).transpose(1, 2) for state in states]
    return network.get_audio_features(features).pooler_output, states


NETWORKS = {
    "ast": (save_ast, ast_states, 16_000),
    "wav2vec2": (save_wav2vec2, wav2vec2_states, 16_000),
    "clap": (save_clap, clap_states, 48_000),
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_embeddings_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    save, states, rate = NETWORKS[name]
    folder = save(tmp_path / name)
    embedder = Embedder.by_name(name, str(folder), "cpu")
    assert (embedder.spec.kind, embedder.spec.sample_rate) == ("waveform", rate)
    waveforms = 0.1 * torch.randn(2, rate * 2, generator=torch.Generator().manual_seed(0)).half().float()
    values, (own, hidden) = waveforms[:, None].numpy().astype(np.float16), states(folder, waveforms.half().float())
    np.testing.assert_allclose(embedder(values), own, rtol=1e-3, atol=2e-4)
    layer = Embedder.by_name(name, str(folder), "cpu", layer=1, pool="mean_std")
    expected = torch.cat([hidden[1].mean(1), hidden[1].std(1, correction=0)], 1)
    np.testing.assert_allclose(layer(values), expected, rtol=1e-3, atol=2e-4)
    last = Embedder.by_name(name, str(folder), "cpu", pool="mean")
    np.testing.assert_allclose(last(values), hidden[-1].mean(1), rtol=1e-3, atol=2e-4)
    with pytest.raises(ConfigError, match=f"layer 9 of {name}; give one of 0 to {len(hidden) - 1}"):
        Embedder.by_name(name, str(folder), "cpu", layer=9)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="not the weights of this network"):
        Embedder.by_name(name, str(folder), "cpu")


def test_the_command_embeds_waveforms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_corpus(tmp_path, 2)
    folder, out = save_clap(tmp_path / "clap"), tmp_path / "embeddings"
    given = ["--network=clap", f"--weights={folder}", f"--csv={tmp_path}/metadata_30_secs.csv", f"--output={out}"]
    embed_command([*given, f"--output-root={tmp_path}/mels", "--workers=1", "--device=cpu"])
    last = capsys.readouterr().out
    assert "network clap, weights clap, licence Apache-2.0, trained_on LAION-Audio-630K and AudioSet" in last
    cache = EmbeddingCache.open(out)
    embedder = Embedder.by_name("clap", str(folder), "cpu")
    assert cache.array.shape == (2, 3, 12) and cache.facts["spec"] == embedder.spec.fingerprint()
    clips = MelCache.open(tmp_path / "mels", embedder.spec).clips[[0]][0][:1]
    [expected], _ = clap_states(folder, torch.from_numpy(clips[:, 0]).float())
    np.testing.assert_allclose(cache.array[0][0], expected.detach(), rtol=2e-3, atol=2e-3)
    with pytest.raises(SystemExit, match="2"):
        embed_command([*given, f"--output-root={tmp_path}/mels", "--layer=0", "--workers=1"])
    assert "holds other embeddings: layer is None, not 0; pool is None, not mean" in capsys.readouterr().err


def test_layers_of_timm_and_musicnn(tmp_path: Path) -> None:
    assert {"ast", "clap", "wav2vec2", "timm", "resnet50"} <= published_networks().keys()
    network = timm.create_model("mobilenetv3_large_100", in_chans=3, num_classes=1000)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    embedder = Embedder.by_name("mobilenetv3_large", str(tmp_path / "weights.pth"), "cpu", layer=0)
    images = np.random.default_rng(0).normal(-40, 20, (1, *embedder.spec.clip_shape)).astype(np.float16)
    x = torch.from_numpy(images.astype(np.float32))
    x = ((x - x.mean()) / x.std(correction=0)).expand(1, 3, -1, -1)
    with torch.inference_mode():
        expected = network.eval().forward_intermediates(x, intermediates_only=True)[0].mean((2, 3))
    np.testing.assert_allclose(embedder(images), expected, rtol=1e-3, atol=1e-3)
    assert embedder.facts["licence"] == "apache-2.0" and embedder.facts["trained_on"].endswith("no sound")
    musicnn, clips = build_model("musicnn", 50, 188, 96).eval(), torch.randn(2, 1, 96, 188)
    with torch.inference_mode():
        stages = musicnn.hidden_layers(clips)
        long = musicnn.layers[-1](musicnn.spec_bn(clips))
    assert [tuple(stage.shape) for stage in stages] == [(2, 188, 561), *[(2, 188, 64)] * 3]
    np.testing.assert_allclose(stages[0][:, :, -51:], long.transpose(1, 2))


def test_the_example_of_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MODELS", models.known_models().copy())
    page = Path(__file__).parents[2] / "docs" / "search.md"
    [example] = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(example, {**vars(models), "register": lambda name: functools.partial(models.MODELS.setdefault, name)})
    folder, waveforms = save_wav2vec2(tmp_path / "mert"), 0.1 * torch.randn(1, 9600).half().float()
    embedder = Embedder.by_name("mert", str(folder), "cpu", layer=2)
    expected = wav2vec2_states(folder, waveforms)[1][2].mean(1).detach()
    np.testing.assert_allclose(embedder(waveforms[:, None].numpy()), expected, rtol=1e-3, atol=2e-4)


WRONG: dict[str, Callable[[Path], tuple[str, str]]] = {
    "no such file, nor published": lambda folder: ("musicnn", "none.pth"),
    "are no folder and could not be downloaded": lambda folder: ("ast", "nobody/nothing"),
    "with fusion; give one without": lambda folder: ("clap", str(save_clap(folder, enable_fusion=True))),
    "which has its own": lambda folder: ("some_run", "jamendo"),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_weights_are_a_line(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name, weights = WRONG[message](tmp_path)
    with pytest.raises(ConfigError, match=message):
        Embedder.by_name(name, weights, "cpu")
