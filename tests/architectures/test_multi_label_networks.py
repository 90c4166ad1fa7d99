"""Networks for instruments and tags: deep heads, a head for each label, LSTMs, parallel networks, wavelets."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from scripts.architectures.heads import AttentionPooling, DeepHead, LabelHeads
from scripts.architectures.wavelet import WAVELETS, WaveletBank
from scripts.common.errors import ConfigError
from scripts.models import Network, build_model

RATE, KERNEL, STRIDE = 8000, 256, 64
BANK = {"filters": 16, "kernel": KERNEL, "stride": STRIDE, "sample_rate": RATE, "f_min": 250.0, "f_max": 3000.0}
SMALL_CNN = {"network": "short_chunk", "settings": {"channels": [4, 8], "dropout": 0.0}}
MELS, WAVEFORM = (1, 20, 24), (1, 1, 1600)
NETWORKS = [
    ("deep_head", {"widths": [6, 5], **SMALL_CNN}, MELS),
    ("fluffy", {"widths": [6], "settings": {"channels": [4, 8], "width": 16, "norm": "batch"}}, MELS),
    ("attention_lstm", {"width": 6, "bidirectional": True}, MELS),
    ("attention_lstm", {"width": 6, "layers": 1, "widths": [5]}, (3, 20, 24)),
    ("conv_lstm", {"width": 6, "channels": [4, 8]}, MELS),
    ("parallel_mobilenets", SMALL_CNN, MELS),
    ("wavelet", {**SMALL_CNN, **BANK}, WAVEFORM),
    ("wavelet", {**SMALL_CNN, **BANK}, (2, 1, 1600)),
    ("fluffy", {"network": "wavelet", "settings": {**SMALL_CNN, **BANK}}, WAVEFORM),
]


def make(name: str, shape: tuple[int, int, int], labels: int = 3, seed: int = 0, **options) -> Network:
    """The network for items of [channels, rows, frames]."""
    torch.manual_seed(seed)
    return build_model(name, labels, shape[2], shape[1], in_channels=shape[0], **options)


def items(shape: tuple[int, int, int], count: int = 4) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


# --- what all of them share ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options", "shape"), NETWORKS)
def test_logits_are_the_head_on_the_embeddings_and_items_do_not_mix(name, options, shape):
    model, x = make(name, shape, **options).eval(), items(shape)
    with torch.no_grad():
        logits = model(x)
        torch.testing.assert_close(model.head(model.embed(x)), logits)
        torch.testing.assert_close(model(x[1:2]), logits[1:2], atol=1e-4, rtol=1e-4)
    assert logits.shape == (4, 3)
    assert len(logits.unique(dim=0)) == 4
    assert list(model._modules)[-1] == "head"


@pytest.mark.parametrize(("name", "options", "shape"), NETWORKS)
def test_every_weight_learns_in_bfloat16_and_channels_last(name, options, shape):
    model = make(name, shape, **options).to(memory_format=torch.channels_last).train()
    y = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 1, 0], [1, 0, 1]])
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(items(shape).to(memory_format=torch.channels_last))
    F.binary_cross_entropy_with_logits(logits.float(), y).backward()
    assert logits.isfinite().all()
    assert [key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize(("name", "options", "shape"), NETWORKS)
def test_saved_weights_give_the_same_logits_with_one_label(name, options, shape, tmp_path):
    saved, loaded = (make(name, shape, 1, seed, **options).eval() for seed in (0, 1))
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    x = items(shape)
    assert not torch.allclose(saved(x), loaded(x))
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(saved(x), loaded(x))
    assert saved(x).shape == (4, 1)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("fluffy", MELS, {"network": "cnn_4"}, "unknown model 'cnn_4'; did you mean 'cnn4'"),
        ("fluffy", MELS, {"network": "short_chunk", "settings": {"chanels": [4]}}, "did you mean 'channels'"),
        ("fluffy", MELS, {**SMALL_CNN, "widths": [0]}, "fluffy cannot be built .* change these settings"),
        ("deep_head", MELS, {**SMALL_CNN, "widths": [4], "dropout": 2}, "deep_head cannot be built"),
        ("attention_lstm", MELS, {"width": 0}, "attention_lstm cannot be built"),
        ("conv_lstm", MELS, {"channels": []}, "conv_lstm cannot be built"),
        ("parallel_mobilenets", MELS, {**SMALL_CNN, "nets": 4}, "nets=4 for 3 labels"),
        ("parallel_mobilenets", MELS, {**SMALL_CNN, "nets": 0}, "at least 1 network"),
        ("wavelet", MELS, BANK, "items of 20 rows; .* kind to waveform"),
        ("wavelet", WAVEFORM, {**BANK, "wavelet": "morlet"}, "unknown wavelet 'morlet'"),
        ("wavelet", WAVEFORM, {**BANK, "f_min": 100}, "256 samples at 8000 Hz allows 156.25 to 4000 Hz"),
        ("wavelet", WAVEFORM, {**BANK, "f_max": 5000}, "wavelets from 250 to 5000 Hz"),
        ("wavelet", WAVEFORM, {**BANK, "kernel": 0}, "wavelet cannot be built"),
        ("wavelet", WAVEFORM, {**BANK, "stride": 0}, "wavelet cannot be built"),
        ("wavelet", WAVEFORM, {**BANK, "network": "cnn4", "f_min": 500.0, "stride": 800}, "16 mels x 3 frames"),
    ],
)
def test_wrong_settings_say_what_is_allowed(name, shape, options, message):
    with pytest.raises(ConfigError, match=message):
        make(name, shape, **options)


# --- heads --------------------------------------------------------------------------------------------------


def normalised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


def test_deep_head_by_hand():
    head, x = DeepHead(8, [6, 5], 3).eval(), torch.randn(4, 8)
    expected = x.numpy()
    for layer in (layer for layer in head if isinstance(layer, nn.Linear)):
        weight, bias = (tensor.detach().numpy() for tensor in (layer.weight, layer.bias))
        expected = np.maximum(normalised(expected), 0) @ weight.T + bias
    np.testing.assert_allclose(head(x).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("make_head", [DeepHead, LabelHeads])
def test_dropout_acts_on_hidden_layers_and_never_on_logits(make_head):
    x = torch.randn(4, 8)
    head = make_head(8, [], 50, dropout=0.9).train()
    assert torch.equal(head(x), head.eval()(x))
    head = make_head(8, [6], 50, dropout=0.5).train()
    assert not torch.equal(head(x), head(x))
    assert head(x).all()


@settings(max_examples=10)
@given(labels=st.integers(1, 4), widths=st.lists(st.integers(1, 5), max_size=2), batch=st.integers(1, 3))
def test_heads_of_all_labels_equal_a_deep_head_for_each(labels, widths, batch):
    heads, x = LabelHeads(6, widths, labels).eval(), torch.randn(batch, 6)
    for parameter in heads.parameters():
        nn.init.normal_(parameter)
    columns = []
    for label in range(labels):
        single = DeepHead(6, widths, 1).eval()
        for theirs, ours in zip(single.parameters(), heads.parameters(), strict=True):
            theirs.data = ours.data[label].T if theirs.ndim == 2 else ours.data[label, 0]
        columns.append(single(x))
    torch.testing.assert_close(heads(x), torch.cat(columns, 1), atol=1e-5, rtol=1e-4)


def test_a_label_moves_its_own_head_only():
    heads = LabelHeads(6, [5], 3)
    heads(torch.randn(4, 6))[:, 1].sum().backward()
    for parameter in heads.parameters():
        assert [bool(gradient.any()) for gradient in parameter.grad] == [False, True, False]


def test_first_weights_of_label_heads_are_spread_like_those_of_a_linear_layer():
    torch.manual_seed(0)
    ours, theirs = LabelHeads(400, [30], 8)[2], nn.Linear(400, 240)
    for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        assert mine.std().item() == pytest.approx(other.std().item(), rel=0.1)
        assert mine.abs().max().item() <= 1 / 20


@pytest.mark.parametrize("name", ["deep_head", "fluffy"])
def test_the_backbone_is_the_one_that_is_named(name):
    model, x = make(name, MELS, widths=[5], **SMALL_CNN).eval(), items(MELS)
    alone = make("short_chunk", MELS, seed=7, **SMALL_CNN["settings"]).eval()
    alone.backbone.load_state_dict(model.backbone.backbone.state_dict())
    assert torch.equal(model.embed(x), alone.embed(x))
    assert model(x).shape == (4, 3)


# --- attention and LSTM -------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(time=st.integers(1, 9), width=st.integers(1, 5), seed=st.integers(0, 99))
def test_attention_pooling_by_its_formula(time, width, seed):
    torch.manual_seed(seed)
    pool, steps = AttentionPooling(width, 4), 3 * torch.randn(2, time, width)
    first, _, second = pool.score
    w1, b1, w2 = (tensor.detach().numpy() for tensor in (first.weight, first.bias, second.weight[0]))
    for item, pooled in zip(steps.numpy(), pool(steps), strict=True):
        energies = np.exp([w2 @ np.tanh(w1 @ step + b1) for step in item])
        expected = sum(energy * step for energy, step in zip(energies / energies.sum(), item, strict=True))
        np.testing.assert_allclose(pooled.detach().numpy(), expected, atol=1e-5)


def test_attention_lstm_steps_through_the_frames():
    """Its parts in the textbook's order: normalise each row, LSTM over the columns, pool, head."""
    model, x = make("attention_lstm", MELS, width=6, bidirectional=True).train(), items(MELS)
    recurrent = model.backbone[-1]
    recurrent.lstm.dropout = 0.0
    rows = (x[:, 0] - x[:, 0].mean((0, 2), keepdim=True)) / x[:, 0].std((0, 2), keepdim=True, correction=0)
    steps = recurrent.lstm(torch.stack([rows[:, :, frame] for frame in range(24)], dim=1))[0]
    assert steps.shape == (4, 24, 12)
    torch.testing.assert_close(model(x), model.head(recurrent.pool(steps)), atol=1e-4, rtol=1e-4)


def test_conv_lstm_averages_rows_and_keeps_frames():
    """After the blocks 2 of 20 rows and 6 of 24 frames are left; the LSTM must see the 6."""
    model, x = make("conv_lstm", MELS, width=6, channels=[4, 8]).eval(), items(MELS)
    *blocks, _, _, recurrent = model.backbone
    maps = nn.Sequential(*blocks)(x)
    assert maps.shape == (4, 8, 2, 6)
    steps = recurrent.lstm((maps[:, :, 0] + maps[:, :, 1]).transpose(1, 2) / 2)[0]
    torch.testing.assert_close(model(x), model.head(recurrent.pool(steps)))


@settings(max_examples=8)
@given(frames=st.integers(1, 40), name=st.sampled_from(["attention_lstm", "conv_lstm"]))
def test_recurrent_networks_take_any_number_of_frames(frames, name):
    model = make(name, MELS, width=4).eval()
    assert model(torch.randn(2, 1, 20, frames)).shape == (2, 3)


# --- parallel networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nets", "shares"), [(None, [1] * 11), (4, [3, 3, 3, 2]), (1, [11])])
def test_labels_are_dealt_out_evenly_and_in_order(nets, shares):
    model, x = make("parallel_mobilenets", MELS, 11, nets=nets, **SMALL_CNN).eval(), items(MELS)
    pairs = list(zip(model.backbones, model.head.heads, strict=True))
    assert [head(backbone.embed(x)).shape[1] for backbone, head in pairs] == shares
    torch.testing.assert_close(model(x), torch.cat([head(backbone.embed(x)) for backbone, head in pairs], 1))


def test_parallel_networks_share_nothing():
    model = make("parallel_mobilenets", MELS, **SMALL_CNN)
    model(items(MELS))[:, 1].sum().backward()
    moved = [any(weight.grad.any() for weight in backbone.parameters()) for backbone in model.backbones]
    assert moved == [False, True, False]


def test_parallel_networks_are_mobilenets_unless_told_otherwise():
    with torch.device("meta"):
        model = build_model("parallel_mobilenets", 2, 40, 32)
        single = build_model("mobilenetv3_large", 1, 40, 32)
    shapes = [weight.shape for weight in single.parameters()]
    assert sorted(weight.shape for weight in model.parameters()) == sorted(2 * shapes)


# --- wavelets -----------------------------------------------------------------------------------------------


def bank(wavelet: str, **options) -> WaveletBank:
    return WaveletBank(wavelet, **(BANK | options))


def centres(f_max: float) -> np.ndarray:
    """16 frequencies from 250 Hz, each as many times the last."""
    return 250 * (f_max / 250) ** (np.arange(16) / 15)


def analytic_wavelet(name: str, centre: float) -> np.ndarray:
    """Its closed form in time, complex [KERNEL], scaled so that a tone at its centre frequency gives 1."""
    seconds = np.arange(-8 * KERNEL, 8 * KERNEL) / RATE
    if name == "pulse":
        real, imaginary = scipy.signal.gausspulse(seconds, centre, bw=0.5, bwr=20 * math.log10(0.5), retquad=True)
        wave = real + 1j * imaginary
    else:
        order = {"derivative": 1, "ricker": 2}[name]
        t = seconds * 2 * np.pi * centre / np.sqrt(order)  # in deviations: f^n exp(-(s f)^2 / 2) peaks at sqrt(n) / s
        wave = scipy.signal.hilbert({"derivative": -t, "ricker": 1 - t**2}[name] * np.exp(-(t**2) / 2))
    wave = 2 * wave / abs(np.sum(wave * np.exp(-2j * np.pi * centre * seconds)))
    return wave[len(wave) // 2 - KERNEL // 2 : len(wave) // 2 + KERNEL // 2]


@pytest.mark.parametrize("name", WAVELETS)
def test_scalogram_agrees_with_numpys_correlation(name):
    """Up to a fifth of the highest frequency, where sampling the closed form in time does no harm."""
    waveform = np.random.default_rng(3).uniform(-1, 1, 1600)
    padded = np.pad(waveform, KERNEL // 2)
    wavelets = [analytic_wavelet(name, centre) for centre in centres(800)]
    decibel = 20 * np.log10([abs(np.correlate(padded, wavelet)[::STRIDE]) for wavelet in wavelets])
    expected = (decibel - decibel.mean()) / decibel.std()
    ours = bank(name, f_max=800.0)(torch.as_tensor(waveform, dtype=torch.float32)[None, None, None])[0, 0].numpy()
    assert ours.shape == (16, 1 + 1600 // STRIDE)
    difference = abs(ours - expected)
    assert np.median(difference) < 0.01
    assert difference.max() < 0.1  # where both are soft, the ends of the kernel show


@settings(max_examples=20)
@given(name=st.sampled_from(sorted(WAVELETS)), place=st.integers(0, 15), phase=st.floats(0, 6.28))
def test_a_tone_excites_the_wavelet_of_its_frequency_most(name, place, phase):
    tone = np.sin(2 * np.pi * centres(3000)[place] * np.arange(1600) / RATE + phase)
    scalogram = bank(name)(torch.as_tensor(tone, dtype=torch.float32)[None, None, None])[0, 0]
    inner = scalogram[:, 3:-3]  # far from the ends, where the tone starts and stops
    assert (inner.argmax(0) == place).all()
    assert inner[place].std() < 0.02  # whatever the tone's phase at that moment


def test_the_bank_does_not_learn_and_survives_saving():
    model = make("wavelet", WAVEFORM, **SMALL_CNN, **BANK)
    before = model.bank.filters.clone()
    assert list(model.bank.parameters()) == []
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.5)
    F.binary_cross_entropy_with_logits(model(items(WAVEFORM)), torch.ones(4, 3)).backward()
    optimizer.step()
    assert torch.equal(model.bank.filters, before)
    assert before.dtype == torch.float32


def test_each_item_is_normalised_and_loudness_and_silence_do_no_harm():
    x = items(WAVEFORM)
    scalograms = bank("pulse")(x)
    torch.testing.assert_close(scalograms.mean((1, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(scalograms.std((1, 2, 3), correction=0), torch.ones(4))
    torch.testing.assert_close(bank("pulse")(x / 50), scalograms, atol=1e-3, rtol=1e-3)
    assert not bank("pulse")(torch.zeros(1, *WAVEFORM)).any()


def test_autocast_does_not_coarsen_the_scalogram():
    x = items(WAVEFORM)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = bank("ricker")(x)
    assert torch.equal(coarse, bank("ricker")(x))
