"""MusiCNN against its formula in torch's own convolutions, on random weights and, if they are there, the published."""

import hashlib
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests
import torch
from torch.nn import functional as F

from scripts.architectures import musicnn
from scripts.architectures.musicnn import FOLDER, PUBLISHED, SPEC, Weights, find_weights, load_published, read_weights
from scripts.audio.features import hann, mel_filters
from scripts.common.errors import CheckpointError, ConfigError, DownloadError
from scripts.models import build_model

State = dict[str, torch.Tensor]
WEIGHTS = Path(__file__).resolve().parents[2] / FOLDER


def random_state(classes: int = 50) -> State:
    """A state dictionary with the names and shapes of the published ones."""
    random = torch.Generator().manual_seed(0)
    shapes = {f"layers.{i}": shape for i, shape in enumerate([(204, 1, 67, 7), (204, 1, 38, 7)])}
    shapes |= {f"layers.{i}": (51, 1, length) for i, length in ((2, 129), (3, 65), (4, 33))}
    shapes |= {f"layer{i}": (64, channels, 7) for i, channels in ((1, 561), (2, 64), (3, 64))}
    state, norms = {"spec.spectrogram.window": torch.zeros(512), "spec.mel_scale.fb": torch.zeros(257, 96)}, {}
    for name, shape in shapes.items():
        state[f"{name}.conv.weight"] = torch.randn(shape, generator=random) / torch.tensor(shape[1:]).prod().sqrt()
        state[f"{name}.conv.bias"] = torch.randn(shape[0], generator=random)
        norms[f"{name}.bn"] = shape[0]
    for name, shape in (("dense1", (200, 1506)), ("dense2", (classes, 200))):
        state[f"{name}.weight"] = torch.randn(shape, generator=random) / shape[1] ** 0.5
        state[f"{name}.bias"] = torch.randn(shape[0], generator=random)
    for name, width in (norms | {"spec_bn": 1, "bn": 200}).items():
        state[f"{name}.weight"] = torch.randn(width, generator=random)  # some below 0, which turn the maximum around
        state[f"{name}.bias"], state[f"{name}.running_mean"] = torch.randn(2, width, generator=random)
        state[f"{name}.running_var"] = torch.rand(width, generator=random) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(1)
    return state


def formula(state: State, x: torch.Tensor, training: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Decibels [batch, 1, 96, frames] -> embeddings and logits: the paper's network, its filters in two dimensions."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = (state[f"{name}.{kind}"].clone() for kind in ("running_mean", "running_var"))
        return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], training)

    def layer(x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
        if weight.ndim == 4:
            values = F.conv2d(x, weight, bias, padding=(0, weight.shape[3] // 2))
        else:
            values = F.conv1d(x, weight, bias, padding=weight.shape[2] // 2)
        return norm(values, f"{name}.bn").relu()

    x = norm(x, "spec_bn")
    tall = [layer(x, f"layers.{i}").amax(2) for i in (0, 1)]
    front = torch.cat([*tall, *(layer(x.mean(2), f"layers.{i}") for i in (2, 3, 4))], 1)
    first = layer(front, "layer1")
    second = layer(first, "layer2") + first
    third = layer(second, "layer3") + second
    steps = torch.cat([front, first, second, third], 1)
    pooled = torch.cat([steps.amax(2), steps.mean(2)], 1)
    embedding = norm(F.linear(pooled, state["dense1.weight"], state["dense1.bias"]), "bn").relu()
    return embedding, F.linear(embedding, state["dense2.weight"], state["dense2.bias"])


def clips(count: int, frames: int = 188) -> torch.Tensor:
    return 20 * torch.randn(count, 1, 96, frames, generator=torch.Generator().manual_seed(1)) - 20


def with_state(state: State, classes: int = 50, **settings: float) -> musicnn.MusiCNN:
    model = build_model("musicnn", classes, 188, 96, **settings)
    load_published(model, state)
    return model


def published(name: str) -> State:
    path = WEIGHTS / f"musicnn_{name}.pth"
    return read_weights(path) if path.is_file() else pytest.skip(f"no {path}")


STATES = {"random": random_state, **{name: lambda name=name: published(name) for name in PUBLISHED}}


@pytest.mark.parametrize("weights", STATES)
def test_outputs_are_those_of_the_formula(weights: str) -> None:
    state = STATES[weights]()
    assert (len(state), sum(values.numel() for values in state.values())) == (72, 811_402)
    model, x = with_state(state).eval(), clips(2)
    with torch.no_grad():
        embedding, logits = formula(state, x)
        torch.testing.assert_close(model.embed(x), embedding, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model(x), logits, atol=1e-4, rtol=1e-4)
    assert (embedding.shape, logits.shape) == ((2, 200), (2, 50))


def test_training_normalises_over_all_places_as_in_two_dimensions() -> None:
    state = {name: values.double() for name, values in random_state().items()}
    model, x = with_state(state, dropout=0.0).double().train(), clips(3, 40).double()
    weight = state["layers.0.conv.weight"].requires_grad_()
    logits, (_, expected) = model(x), formula(state, x, training=True)
    torch.testing.assert_close(logits, expected)
    logits.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(model.layers[0].conv.weight.grad, weight.grad.squeeze(1))


@pytest.mark.parametrize("name", PUBLISHED)
def test_spec_is_the_front_end_of_the_published_networks(name: str) -> None:
    state = published(name)
    np.testing.assert_allclose(state["spec.mel_scale.fb"].T, mel_filters(SPEC), atol=2e-5)
    np.testing.assert_allclose(state["spec.spectrogram.window"], hann(512), atol=1e-6)


def test_subnormal_weights_become_zeros_and_every_tensor_is_needed() -> None:
    state = random_state()
    state["layers.2.conv.weight"] = torch.full((51, 1, 129), 1e-40)
    assert not with_state(state).layers[2].conv.weight.any()
    with pytest.raises(RuntimeError, match="layer3.conv.bias"):
        with_state({name: values for name, values in state.items() if name != "layer3.conv.bias"})


def test_another_number_of_classes_keeps_its_own_head() -> None:
    torch.manual_seed(0)
    head = build_model("musicnn", 3, 188, 96).head[1].weight
    torch.manual_seed(0)
    model = with_state(random_state(), classes=3)
    assert torch.equal(model.head[1].weight, head)
    assert torch.equal(model.dense1.weight, random_state()["dense1.weight"])


# --- files of weights ---------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of random weights, published as "jamendo" for the time being; nothing else is in the current folder."""
    path = tmp_path / "mine.pth"
    torch.save(random_state(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(PUBLISHED, "jamendo", Weights("https://example.org/jamendo.pth", sha256, "noise"))
    monkeypatch.chdir(tmp_path)
    return path


def download(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let pooch get the bytes of a file, whatever is asked for; the URLs that are."""
    asked: list[str] = []

    def get(url: str, output: str, pooch: object) -> None:
        asked.append(url)
        Path(output).write_bytes(path.read_bytes())

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: get)
    return asked


def test_weights_are_fetched_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = download(file, monkeypatch)
    for _ in range(2):
        assert find_weights("jamendo") == Path("data/weights/musicnn_jamendo.pth")
    assert asked == ["https://example.org/jamendo.pth"]
    model = build_model("musicnn", 50, 188, 96, pretrained="jamendo")
    assert torch.equal(model.head[1].weight, random_state()["dense2.weight"])


def test_a_file_with_published_weights_is_taken(file: Path) -> None:
    assert find_weights(str(file)) == file


def test_wrong_files_are_refused_in_a_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"weights 'jamendoo': no such file, nor published; give one of jamendo, mtat"
    ):
        find_weights("jamendoo")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1000])
    with pytest.raises(CheckpointError, match="mine.pth: its SHA-256 is .*delete it"):
        find_weights(str(file))
    download(file, monkeypatch)
    with pytest.raises(DownloadError, match="download failed .it is another file"):
        find_weights("jamendo")
    assert not list(FOLDER.glob("*"))
    (FOLDER / "musicnn_jamendo.pth").write_bytes(whole[:-1000])
    with pytest.raises(CheckpointError, match="musicnn_jamendo.pth: its SHA-256 is"):
        find_weights("jamendo")
    (FOLDER / "musicnn_mtat.pth").write_bytes(whole)
    with pytest.raises(CheckpointError, match="holds the weights jamendo"):
        find_weights("mtat")


def test_no_network_is_a_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", refuse)
    with pytest.raises(DownloadError, match="ConnectionError.*download it by hand to data/weights/musicnn_jamendo.pth"):
        find_weights("jamendo")


@pytest.mark.parametrize("input", [{"mels": 128}, {"in_channels": 3}])
def test_published_weights_want_their_own_input(file: Path, input: dict) -> None:
    with pytest.raises(ConfigError, match="are for 96 mels in 1 channel"):
        build_model("musicnn", 50, 188, **{"mels": 96, **input}, pretrained=str(file))
