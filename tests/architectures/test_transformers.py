"""AST, wav2vec2 and LoRA, against the libraries that they are made of; all networks are tiny and random."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from torch import nn
from torch.nn import functional as F

from scripts.architectures.audio_transformer import PUBLISHED, log_mels
from scripts.architectures.wav2vec2 import standardise
from scripts.common.errors import CheckpointError, ConfigError
from scripts.datasets.irmas import IRMAS_ROWS
from scripts.models import build_model, known_models
from scripts.training.checkpoints import load_checkpoint, load_weights, save_checkpoint
from scripts.training.freezing import freeze_backbone, train_mode, unfreeze

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
AST = SIZES | {"max_length": 48, "num_mel_bins": 64}
WAV2VEC2 = SIZES | {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
NETWORKS = [
    ("ast", {"config": AST}),
    ("wav2vec2", {"config": WAV2VEC2}),
    ("wav2vec2", {"config": WAV2VEC2, "part": "features", "pooling": "attention"}),
]


def build(name: str, classes: int = 3, samples: int = 8000, **settings) -> nn.Module:
    """A network for half a second of waveform."""
    torch.manual_seed(0)
    return build_model(name, classes, samples, mels=1, **settings)


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    """Four clips of half a second, of different loudness and offset."""
    noise = torch.randn(4, 1, 1, 8000, generator=torch.Generator().manual_seed(1))
    return noise * torch.tensor([0.2, 0.1, 0.05, 0.01])[:, None, None, None] + 0.03


@torch.no_grad()
def scramble(network: nn.Module) -> nn.Module:
    """Give every tensor values of its own; first weights are partly zero."""
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        parameter.normal_(0, 0.2, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def tagger() -> transformers.ASTForAudioClassification:
    config = transformers.ASTConfig(**AST, num_labels=527)
    return scramble(transformers.ASTForAudioClassification(config))


@pytest.fixture(scope="module")
def speech_network() -> transformers.Wav2Vec2ForPreTraining:
    return scramble(transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**WAV2VEC2)))


@pytest.fixture
def ast_folder(tmp_path, tagger) -> Path:
    tagger.save_pretrained(tmp_path / "ast")
    return tmp_path / "ast"


@pytest.fixture
def wav2vec2_folder(tmp_path, speech_network) -> Path:
    speech_network.save_pretrained(tmp_path / "wav2vec2")
    return tmp_path / "wav2vec2"


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Let `change` edit the tensors of a folder's `model.safetensors`."""
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, {"format": "pt"})


def train(model: nn.Module, x: torch.Tensor, steps: int = 3) -> list[float]:
    """A few steps of training; the loss before each."""
    train_mode(model)
    losses, y = [], torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]])
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def moved(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


# --- what goes in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [400, 4000, 12000])
def test_log_mels_are_those_of_the_feature_extractor(samples):
    waveforms = np.random.default_rng(0).normal(0, 0.1, (3, samples)).astype(np.float32)
    extract = transformers.ASTFeatureExtractor(num_mel_bins=64, max_length=48)
    expected = extract(list(waveforms), sampling_rate=16_000, return_tensors="pt")["input_values"]
    torch.testing.assert_close(log_mels(torch.from_numpy(waveforms), 64, 48), expected)


def test_log_mels_keep_their_precision_in_mixed_precision(clips):
    waveforms = clips.flatten(1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = log_mels(waveforms, 64, 48)
    assert torch.equal(mixed, log_mels(waveforms, 64, 48))


def test_waveforms_are_standardised_as_by_the_feature_extractor(clips):
    waveforms = clips.flatten(1)
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = extract(list(waveforms.numpy()), sampling_rate=16_000, return_tensors="pt")["input_values"]
    torch.testing.assert_close(standardise(waveforms), expected, atol=1e-4, rtol=1e-4)


# --- the networks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_contract(name, settings, clips):
    model = build(name, **settings).eval()
    with torch.no_grad():
        logits, embeddings = model(clips), model.embed(clips)
        torch.testing.assert_close(model.head(embeddings), logits)
        torch.testing.assert_close(model(clips[2:]), logits[2:], atol=1e-5, rtol=1e-4)
        assert model(clips[..., :5000]).shape == logits.shape
    assert logits.shape == (4, 3)
    assert embeddings.shape == (4, model.head[-1].in_features)
    assert list(model._modules)[-1] == "head"
    assert isinstance(model.head[-1], nn.Linear)


@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_training_moves_every_weight_and_lowers_the_loss(name, settings, clips):
    model = build(name, **settings)
    before = snapshot(model)
    losses = train(model, clips)
    assert moved(model, before) == set(before)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_pooling_over_time(pooling, clips, speech_network, wav2vec2_folder):
    model = build("wav2vec2", config=WAV2VEC2, pretrained=str(wav2vec2_folder), pooling=pooling).eval()
    with torch.no_grad():
        steps = speech_network.wav2vec2(standardise(clips.flatten(1))).last_hidden_state
        weights = model.pool.score(steps).softmax(1) if pooling == "attention" else None
        expected = {"mean": steps.mean(1), "max": steps.amax(1)}.get(pooling)
        expected = (weights * steps).sum(1) if expected is None else expected
        torch.testing.assert_close(model.embed(clips), expected)


def test_frozen_convolutions_keep_nothing_for_the_gradient(clips):
    model = build("wav2vec2", config=WAV2VEC2)
    freeze_backbone(model)
    train_mode(model)
    assert not model.embed(clips).requires_grad


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ast", {"mels": 128}, "choose the spectrogram kind waveform"),
        ("ast", {"in_channels": 3}, "choose the spectrogram kind waveform"),
        ("wav2vec2", {"frames": 399}, "clips of 399 samples.* of at least 400 samples"),
        ("wav2vec2", {"part": "feature"}, "unknown part 'feature'; did you mean 'features'"),
        ("wav2vec2", {"pooling": "sum"}, "unknown pooling 'sum'; .* attention"),
        (
            "ast",
            {"config": {"hidden_siz": 16}},
            "unknown setting of ASTConfig 'hidden_siz'; did you mean 'hidden_size'",
        ),
        ("ast", {"config": {"hidden_size": "many"}}, "'hidden_size' expected int, got str"),
        ("ast", {"config": AST, "audioset_rows": [1, 2]}, "2. for 3 classes; give one row for each, from 0 to 526"),
        ("ast", {"config": AST, "audioset_rows": [1, 2, 527]}, "give one row for each"),
        ("lora", {"settings": {"config": AST}, "targets": ["query"]}, "'query'. not found in the base model"),
        ("lora", {"settings": {"config": AST}, "rank": 0}, "`r` should be a positive integer"),
        ("lora", {"network": "lora"}, "give another network"),
    ],
)
def test_wrong_settings_say_what_is_allowed(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        build_model(name, **{"classes": 3, "frames": 8000, "mels": 1, **settings})


@pytest.mark.parametrize(("name", "package"), [("ast", "transformers"), ("wav2vec2", "transformers"), ("lora", "peft")])
def test_a_missing_library_is_named(name, package, monkeypatch):
    known_models()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"install it: pip install {package}"):
        build(name, network="cnn4", samples=400, settings={"mels": 64}) if name == "lora" else build(name)


# --- pretrained weights -------------------------------------------------------------------------------------


def test_untrained_ast_tags_with_the_rows_of_audioset(ast_folder, tagger, clips):
    rows = list(IRMAS_ROWS.values())
    model = build("ast", classes=11, config=AST, pretrained=str(ast_folder), audioset_rows=rows).eval()
    extract = transformers.ASTFeatureExtractor(num_mel_bins=64, max_length=48)
    inputs = extract(list(clips.flatten(1).numpy()), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = tagger(**inputs).logits[:, [193, 198, 196, 143, 141, 155, 153, 197, 187, 191, 27]]
        torch.testing.assert_close(model(clips), expected, atol=1e-5, rtol=1e-4)


def test_ast_without_rows_takes_a_folder_without_a_classifier(tmp_path, tagger, clips):
    tagger.audio_spectrogram_transformer.save_pretrained(tmp_path)
    model = build("ast", config=AST, pretrained=str(tmp_path))
    assert model.backbone.training
    model.eval()
    with torch.no_grad():
        expected = tagger.audio_spectrogram_transformer(log_mels(clips.flatten(1), 64, 48)).pooler_output
        torch.testing.assert_close(model.embed(clips), expected)


def test_wav2vec2_takes_the_names_of_the_published_file(wav2vec2_folder, speech_network):
    """Those of 2020 call the two factors of the positional convolution weight_g and weight_v."""
    factors = "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original"

    def to_old_names(tensors):
        for number, letter in ((0, "g"), (1, "v")):
            tensors[f"wav2vec2.encoder.pos_conv_embed.conv.weight_{letter}"] = tensors.pop(f"{factors}{number}")

    rewrite(wav2vec2_folder, to_old_names)
    model = build("wav2vec2", config=WAV2VEC2, pretrained=str(wav2vec2_folder)).eval()
    loaded, expected = model.backbone.state_dict(), speech_network.wav2vec2.state_dict()
    assert set(expected) - set(loaded) == {"masked_spec_embed"}  # no time steps are masked here
    assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.items())


def test_the_feature_extractor_alone_is_the_loaded_one(wav2vec2_folder, speech_network, clips):
    model = build("wav2vec2", config=WAV2VEC2, part="features", pretrained=str(wav2vec2_folder)).eval()
    with torch.no_grad():
        expected = speech_network.wav2vec2.feature_extractor(standardise(clips.flatten(1))).mean(2)
        torch.testing.assert_close(model.embed(clips), expected)


def test_weights_of_pytorch_and_of_half_precision_are_read(wav2vec2_folder, speech_network):
    rewrite(wav2vec2_folder, lambda tensors: tensors.update({key: value.half() for key, value in tensors.items()}))
    tensors = safetensors.torch.load_file(wav2vec2_folder / "model.safetensors")
    torch.save(tensors, wav2vec2_folder / "pytorch_model.bin")
    (wav2vec2_folder / "model.safetensors").unlink()
    model = build("wav2vec2", config=WAV2VEC2, pretrained=str(wav2vec2_folder))
    loaded = model.backbone.feature_projection.projection.weight
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, speech_network.wav2vec2.feature_projection.projection.weight.half().float())


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def cached_ast(cache, ast_folder) -> Path:
    """The published AST's place in the cache, with tiny weights."""
    model = cache / f"models--{PUBLISHED.replace('/', '--')}"
    shutil.copytree(ast_folder, model / "snapshots" / "0123")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123")
    return model / "snapshots" / "0123"


@pytest.mark.parametrize("pretrained", [True, PUBLISHED])
def test_the_cache_of_the_hub_is_used_without_a_network(cached_ast, tagger, pretrained):
    model = build("ast", config=AST, pretrained=pretrained)
    expected = tagger.audio_spectrogram_transformer.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.backbone.state_dict().items())


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_one_file_of_weights_is_downloaded(cache, tmp_path, monkeypatch, tagger, weights):
    """A hub that is empty in the cache and offers the published AST, with its weights in either form."""
    tagger.save_pretrained(tmp_path / "ast")
    if weights == "pytorch_model.bin":
        torch.save(tagger.state_dict(), tmp_path / "ast" / weights)
        (tmp_path / "ast" / "model.safetensors").unlink()
    fetched = []

    def snapshot_download(name, allow_patterns, local_files_only):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
        fetched.extend(file for file in allow_patterns if (tmp_path / "ast" / file).exists())
        return str(tmp_path / "ast")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = build("ast", config=AST, pretrained=True)
    assert set(fetched) == {"config.json", weights}
    assert torch.equal(model.backbone.layernorm.weight, tagger.audio_spectrogram_transformer.layernorm.weight)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_half_a_download_is_no_download(cached_ast, file):
    (cached_ast / file).unlink()
    with pytest.raises(ConfigError, match="could not be downloaded"):
        build("ast", config=AST, pretrained=True)


def test_pretrained_without_a_network_says_what_to_do(cache):
    with pytest.raises(ConfigError, match="facebook/wav2vec2-base .* could not be downloaded") as caught:
        build("wav2vec2", pretrained=True)
    assert "set pretrained=false" in str(caught.value)
    assert str(cache) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "no/such", "/no/such/folder"])
def test_neither_a_folder_nor_a_name_of_the_hub(cache, name):
    with pytest.raises(ConfigError, match=f"the weights {name} are no folder and could not be downloaded"):
        build("ast", config=AST, pretrained=name)


def only_the_config(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def config_cut_off(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def config_of_another_network(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def config_with_other_heads(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 4}))


def weights_cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def a_tensor_missing(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop("wav2vec2.encoder.layer_norm.bias"))


def a_tensor_of_another_shape(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"wav2vec2.encoder.layer_norm.bias": torch.zeros(5)}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (only_the_config, "no file named model.safetensors"),
        (no_config, "config.json is missing"),
        (config_cut_off, "config.json' is not a valid JSON file"),
        (config_of_another_network, "of the network bert.* give a folder .* of wav2vec2"),
        (config_with_other_heads, "other settings; set config={'num_attention_heads': 4}"),
        (weights_cut_off, "not the weights of this network .*give a folder .* of wav2vec2"),
        (a_tensor_missing, "1 tensors of Wav2Vec2Model are missing, such as encoder.layer_norm.bias"),
        (a_tensor_of_another_shape, "not the weights of this network"),
    ],
)
def test_spoilt_folders_are_named(wav2vec2_folder, spoil, message):
    spoil(wav2vec2_folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        build("wav2vec2", config=WAV2VEC2, pretrained=str(wav2vec2_folder))
    assert str(wav2vec2_folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_need_a_classifier(tmp_path, tagger):
    tagger.audio_spectrogram_transformer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="4 tensors of ASTForAudioClassification are missing, such as classifier"):
        build("ast", config=AST, pretrained=str(tmp_path), audioset_rows=[0, 1, 2])


# --- LoRA ---------------------------------------------------------------------------------------------------

ADAPTED = [{"network": name, "settings": settings} for name, settings in NETWORKS[:2]]


@pytest.mark.parametrize("settings", ADAPTED)
def test_adapters_start_without_effect(settings, clips):
    plain, adapted = build(settings["network"], **settings["settings"]).eval(), build("lora", **settings).eval()
    torch.testing.assert_close(adapted(clips), plain(clips))


def test_an_adapter_by_hand():
    layer = build("lora", **ADAPTED[0], rank=3, alpha=6.0).backbone.backbone.layers[0].attention.q_proj
    base, down, up = layer.base_layer, layer.lora_A["default"], layer.lora_B["default"]
    assert (tuple(down.weight.shape), tuple(up.weight.shape)) == ((3, 16), (16, 3))
    nn.init.normal_(up.weight)
    x = torch.randn(5, 16)
    torch.testing.assert_close(layer(x), base(x) + 2 * x @ down.weight.T @ up.weight.T)


@pytest.mark.parametrize("settings", ADAPTED)
def test_adapters_and_head_move_and_the_base_does_not(settings, clips):
    """Also after epochs with all but the head frozen."""
    model = build("lora", **settings)
    freeze_backbone(model)
    assert {key.split(".")[0] for key, weight in model.named_parameters() if weight.requires_grad} == {"head"}
    unfreeze(model)
    before = snapshot(model)
    losses = train(model, clips)
    attention = [key for key in before if ".q_proj.lora_" in key or ".v_proj.lora_" in key]
    assert len(attention) == 2 * 2 * 2  # layers, projections, matrices
    assert moved(model, before) == {*attention, *(key for key in before if key.startswith("head."))}
    assert losses[-1] < losses[0]


def test_pooling_by_attention_is_new_and_learns():
    settings = {"config": WAV2VEC2, "pooling": "attention"}
    model = build("lora", network="wav2vec2", settings=settings)
    trained = {key for key, weight in model.named_parameters() if weight.requires_grad}
    assert (
        {key for key in trained if ".pool." in key} == {key for key in model.state_dict() if ".pool." in key} != set()
    )


def test_other_layers_by_name():
    model = build_model("lora", 3, 40, 32, network="cnn4", settings={"channels": [4, 8]}, targets=["hidden.1"])
    assert {key for key, weight in model.named_parameters() if weight.requires_grad} == {
        "backbone.hidden.1.lora_A.default.weight",
        "backbone.hidden.1.lora_B.default.weight",
        "head.weight",
        "head.bias",
    }


def test_a_checkpoint_holds_the_base_and_the_adapters(tmp_path, ast_folder, clips):
    settings = {"config": AST, "pretrained": str(ast_folder)}
    model = build("lora", network="ast", settings=settings)
    train(model, clips)
    save_checkpoint(tmp_path / "best.pt", {"model": model.state_dict()})
    again = build("lora", network="ast", settings={"config": AST})
    load_weights(again, load_checkpoint(tmp_path / "best.pt"), "best.pt")
    with torch.no_grad():
        assert torch.equal(again.eval()(clips), model.eval()(clips))


@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_same_seed_same_training(name, settings, clips):
    assert train(build(name, **settings), clips) == train(build(name, **settings), clips)
