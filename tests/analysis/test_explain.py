"""Grad-CAM against networks whose answer is known to come from one place, and against class activation maps."""

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread
from torch import nn

from scripts.analysis.explain import explain, grad_cam
from scripts.analysis.explain import main as explain_command
from scripts.analysis.explain_figures import heat_maps
from scripts.audio.decoding import decode
from scripts.audio.spec import MelSpec
from scripts.common.errors import ConfigError
from scripts.config.experiment import Experiment
from scripts.config.run import Run, make_model
from scripts.inference.predictor import Predictor
from scripts.models import build_model
from scripts.training.checkpoints import save_checkpoint
from tests.corpus import GENRES, SPEC, write_track

REGIONS = ((slice(0, 8), slice(0, 12)), (slice(16, 32), slice(24, 48)))  # rows and frames of two labels


class Regions(nn.Module):
    """Logit k is `sign` times the sum of the input over region k."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        masks = torch.zeros(2, 32, 48)
        for mask, region in zip(masks, REGIONS, strict=True):
            mask[region] = 1
        self.sign, self.masks, self.maps = sign, masks, nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sign * self.maps(x * self.masks).sum((2, 3))


class Both(nn.Module):
    """Logits and their opposites."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, -x], dim=1)


def test_the_region_that_a_label_depends_on_lights_up():
    x = torch.rand(3, 1, 32, 48) + 0.5
    heat = grad_cam(Regions(), x)
    assert heat.shape == (2, 3, 32, 48) and heat.dtype == np.float32
    for one, region in zip(heat, REGIONS, strict=True):
        assert one[:, *region].min() > 0.3 and one.max() == 1
        outside = np.ones((32, 48), bool)
        outside[region] = False
        assert (one[:, outside] == 0).all()


def test_what_speaks_against_a_label_is_cold():
    assert (grad_cam(Regions(sign=-1), torch.rand(1, 1, 32, 48)) == 0).all()


def test_only_the_chosen_labels_in_their_order():
    x = torch.rand(2, 1, 32, 48)
    np.testing.assert_array_equal(grad_cam(Regions(), x, [1]), grad_cam(Regions(), x)[1:])
    np.testing.assert_array_equal(grad_cam(Regions(), x, [1, 0]), grad_cam(Regions(), x)[::-1])


def test_it_is_the_class_activation_map_where_a_linear_head_follows_the_mean():
    """Selvaraju et al., section 3.1: then the weights are those of the head (B. Zhou et al., CVPR 2016)."""
    torch.manual_seed(0)
    model = build_model("short_chunk", 4, 64, 48, width=0.1, channels=(64, 128), pool="average").eval()
    x = torch.randn(2, 1, 48, 64)
    with torch.no_grad():
        maps = model.backbone[:-1](x)
        heat = torch.einsum("kc,bchw->kbhw", model.head[1].weight, maps).relu()
    heat = nn.functional.interpolate(heat, (48, 64), mode="bilinear").numpy()
    expected = heat / heat.max(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(grad_cam(model, x), expected, atol=1e-4)


def test_each_label_is_explained_by_the_network_that_it_depends_on():
    torch.manual_seed(0)
    settings = {"nets": 2, "network": "lean_tagger", "settings": {"channels": (8, 8, 8)}}
    model, x = build_model("parallel_mobilenets", 2, 64, 64, **settings).eval(), torch.randn(2, 1, 64, 64)
    for label in range(2):
        alone = nn.Sequential(model.backbones[label], model.head.heads[label]).eval()
        np.testing.assert_allclose(grad_cam(model, x)[label], grad_cam(alone, x)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cnn4", {}),
        ("short_chunk", {"width": 0.1}),
        ("lean_tagger", {"channels": (8, 16)}),
        ("conv_lstm", {"channels": (8, 8)}),
        ("timm", {"backbone": "mobilenetv3_small_050"}),
        ("committee", {"settings": {"width": 0.1}}),
    ],
)
def test_networks_with_feature_maps(name, settings):
    torch.manual_seed(0)
    model, x = build_model(name, 3, 96, 64, **settings).eval(), torch.randn(2, 1, 64, 96)
    before = model(x)
    either = nn.Sequential(model, Both())  # random weights may speak against all labels, but then for their opposites
    heat = grad_cam(either, x)
    assert heat.shape == (6, 2, 64, 96)
    assert heat.min() >= 0 and heat.max() == pytest.approx(1) and heat.std() > 0
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.testing.assert_close(model(x), before)


@pytest.mark.parametrize("name", ["mlp", "attention_lstm"])
def test_a_network_without_feature_maps(name):
    with pytest.raises(ConfigError, match="no feature maps of at least 2 x 2"):
        grad_cam(build_model(name, 3, 32, 32).eval(), torch.randn(1, 1, 32, 32))


# --- files ----------------------------------------------------------------------------------------------------


def untrained(folder, name: str = "small", **settings) -> Run:
    """A run with the weights that it starts with."""
    experiment = Experiment(name=name, table="none.csv", cache="none", device="cpu", **{"spec": SPEC, **settings})
    run = Run(name, folder)
    run.save_config(experiment, classes=GENRES, split="0")
    torch.manual_seed(0)
    save_checkpoint(run.checkpoints / "best.pt", {"epoch": 1, "model": make_model(experiment, 3).state_dict()})
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return untrained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "a song.wav"
    write_track(path, 700, 3, seconds=2.6)
    return path


def test_each_window_has_its_audio_its_spectrogram_and_the_probabilities_of_a_prediction(run, song):
    predictor = Predictor(run)
    found, prediction = list(explain(predictor, song, ["Mid", "High"])), predictor(song)
    assert [one.start for one in found] == [0, 1, 2]
    samples = np.pad(decode(song, 8000), (0, 3200))
    for number, one in enumerate(found):
        assert one.labels == ["Mid", "High"] and one.heat.shape == (2, *SPEC.clip_shape)
        np.testing.assert_array_equal(one.waveform, samples[number * 8000 : (number + 1) * 8000])
        np.testing.assert_array_equal(one.probabilities, prediction.windows[number, [2, 0]])
        np.testing.assert_allclose(one.values, predictor.transform(one.waveform), atol=0.05)


def test_without_labels_the_likeliest_of_the_file_are_explained(run, song):
    predictor = Predictor(run)
    expected = [name for name, _ in predictor(song).top(2)]
    assert [one.labels for one in explain(predictor, song, top=2)] == [expected] * 3


def test_command_writes_a_figure_and_the_audio_of_each_window(run, song, tmp_path, capsys):
    explain_command([str(song), "--run", "small", "--runs", str(run.root), "--output", str(tmp_path)])
    stems = [f"a song_{start}.0s" for start in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{stem}{suffix}" for stem in stems for suffix in (".png", ".wav")
    )
    assert "3 windows" in capsys.readouterr().out
    written, rate = soundfile.read(tmp_path / "a song_1.0s.wav", dtype="float32")
    assert rate == 8000
    np.testing.assert_allclose(written, decode(song, 8000)[8000:16000], atol=1e-4)
    assert imread(tmp_path / "a song_0.0s.png").std() > 0.05


def test_what_cannot_be_explained(run, song, tmp_path, refusal):
    arguments = [str(song), "--runs", str(run.root), "--output", str(tmp_path / "out"), "--run"]
    assert "did you mean 'High'" in refusal(explain_command, [*arguments, "small", "--label", "Hihg"])
    untrained(run.root, "perceptron", model="mlp")
    assert "no feature maps" in refusal(explain_command, [*arguments, "perceptron"])
    waves = MelSpec(sample_rate=8000, clip_seconds=1, track_seconds=5, kind="waveform")
    untrained(run.root, "waves", model="mlp", spec=waves)
    assert "reads waveforms" in refusal(explain_command, [*arguments, "waves"])
    assert not (tmp_path / "out").exists()


# --- the figure -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "label", "rows"),
    [
        ("mel", "frequency (kHz, mel scale)", None),
        ("linear", "frequency (kHz)", {"2": 128.0}),
        ("mfcc", "coefficient", {"5": 5}),
    ],
)
def test_heat_lies_on_the_spectrogram_with_both_axes(kind, label, rows):
    spec = MelSpec(sample_rate=8000, n_fft=512, hop_length=256, n_mels=32, track_seconds=5, clip_seconds=1, kind=kind)
    values = np.random.default_rng(0).random(spec.clip_shape)
    heat = np.stack([values, 1 - values])
    figure = heat_maps(values, heat, spec, ["one", "two"], "title")
    for axes, expected in zip(figure.axes, heat, strict=False):
        below, above = axes.images
        assert below.get_extent() == above.get_extent()
        np.testing.assert_allclose(above.get_array(), expected)
        assert above.get_cmap()(0.0)[3] == 0 < above.get_cmap()(1.0)[3] < 1
        assert axes.get_xlim()[1] == pytest.approx(1, abs=0.05)
        ticks = dict(zip([text.get_text() for text in axes.get_yticklabels()], axes.get_yticks(), strict=True))
        assert rows is None or rows.items() <= ticks.items()
    assert figure.get_supylabel() == label and "time" in figure.get_supxlabel()
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["one", "two"]
