"""Exported runs answer as the runs do: ONNX graphs on ONNX Runtime, 8-bit ones, weights in the hub's layout."""

import contextlib
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import softmax

from scripts.audio.cache import MelCache
from scripts.audio.decoding import decode
from scripts.audio.features import make_transform
from scripts.audio.normalise import normalise
from scripts.audio.spec import KINDS, MelSpec
from scripts.common.errors import AudioError, CheckpointError, ConfigError
from scripts.config.experiments import get_experiment
from scripts.config.run import Run, make_model
from scripts.exporting import graphs
from scripts.exporting.__main__ import main as export_command
from scripts.exporting.front_end import ENDINGS, Windows, make_front_end
from scripts.exporting.hub import ExportedRun
from scripts.inference.predictor import Predictor
from scripts.metrics.multi_label import AGGREGATIONS, aggregate
from scripts.models import MODELS, Network
from scripts.training.checkpoints import save_checkpoint
from tests.corpus import GENRES, SPEC, TONES, write_track

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PARITY = 1e-4  # of probabilities
PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def export(run: Run, folder: Path, *flags: str) -> None:
    export_command(["--model", run.name, "--runs", str(run.root), "--output", str(folder), *flags])


def answer(folder: Path, name: str, values: np.ndarray) -> list[np.ndarray]:
    """What a graph makes of float32 values, on ONNX Runtime."""
    session = ort.InferenceSession(folder / "onnx" / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {name.removesuffix("_int8"): values.astype(np.float32)})


@torch.inference_mode()
def torch_logits(run: Run, values: np.ndarray) -> np.ndarray:
    """Spectrograms as the cache holds them -> logits, by the run's own network."""
    x = normalise(torch.from_numpy(values.astype(np.float32)), run.experiment().features.normalise)
    return run.load_model()(x).numpy()


def sound(seconds: float, seed: int = 0, rate: int = 8000) -> np.ndarray:
    """A gliding tone over noise, float32 [samples]."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.05, len(time))
    return (0.3 * np.sin(2 * np.pi * (200 + 150 * time) * time) + noise).astype(np.float32)


def cached_clips(run: Run) -> np.ndarray:
    cache = MelCache.open(run.experiment().data.cache, run.experiment().features.spec)
    return cache.clips[:].reshape(-1, *cache.clips.shape[2:])


@pytest.fixture(scope="module")
def genres(genre_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything there is of the 4-block CNN; `printed.txt` beside the folder holds what the command said."""
    folder = tmp_path_factory.mktemp("exported") / "genres"
    with (folder.parent / "printed.txt").open("w") as file, contextlib.redirect_stdout(file):
        export(genre_run, folder, "--int8")
    return folder


@pytest.fixture(scope="module")
def tags(tag_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the lean tagger."""
    folder = tmp_path_factory.mktemp("exported") / "tags"
    export(tag_run, folder)
    return folder


# --- spectrogram -> probabilities ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7])
def test_spectrograms_of_the_cache_get_torchs_probabilities(genre_run, tag_run, genres, tags, batch):
    clips = cached_clips(genre_run)[:batch]
    [found] = answer(genres, "spectrogram", clips)
    np.testing.assert_allclose(found, softmax(torch_logits(genre_run, clips), axis=1), atol=PARITY)
    clips = cached_clips(tag_run)[:batch]
    [found] = answer(tags, "spectrogram", clips)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-torch_logits(tag_run, clips))), atol=PARITY)


def test_frames_may_vary_where_the_network_takes_that(tag_run, tags, genres):
    longer = np.concatenate(cached_clips(tag_run)[:3], axis=-1)[None]
    [found] = answer(tags, "spectrogram", longer)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-torch_logits(tag_run, longer))), atol=PARITY)
    fixed, any_length = (onnx.load(folder / "onnx" / "spectrogram.onnx").graph.input[0] for folder in (genres, tags))
    shapes = [
        [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in (fixed, any_length)
    ]
    assert shapes == [["batch", *SPEC.clip_shape], ["batch", SPEC.rows, "frames"]]


# --- waveform -> probabilities ------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.0, 1.499, 1.51, 4.2, 5.0, 5.6, 12.75])
def test_waveforms_of_any_length_get_torchs_probabilities(genre_run, genres, seconds):
    waveforms = np.stack([sound(seconds, seed) for seed in range(3)])
    whole, windows = answer(genres, "waveform", waveforms)
    predictor, transform = Predictor(genre_run), make_transform(SPEC)
    for waveform, found, parts in zip(waveforms, whole, windows, strict=True):
        logits = torch_logits(genre_run, transform(predictor.cut(waveform)[1]))
        np.testing.assert_allclose(parts, softmax(logits, axis=1), atol=PARITY)
        np.testing.assert_allclose(found, softmax(logits.mean(axis=0)), atol=PARITY)


def test_waveforms_get_the_tags_of_the_run(tag_run, tags):
    waveform = sound(3.2)
    [whole], [windows] = answer(tags, "waveform", waveform[None])
    logits = torch_logits(tag_run, make_transform(SPEC)(Predictor(tag_run).cut(waveform)[1]))
    np.testing.assert_allclose(windows, 1 / (1 + np.exp(-logits)), atol=PARITY)
    np.testing.assert_allclose(whole, aggregate(logits, np.zeros(len(logits), int), "mean")[0], atol=PARITY)


def test_a_head_is_part_of_the_graph(head_run):
    """With statistics of the rows; each graph is compared with PyTorch as it is made."""
    graph, predictor = graphs.spectrogram_graph(Predictor(head_run)), Predictor(head_run)
    values = predictor.values(0.1 * np.random.default_rng(0).normal(size=(1, 8000)).astype(np.float32))
    values = values.astype(np.float32)
    [found] = ort.InferenceSession(graph.SerializeToString()).run(None, {"spectrogram": values})
    expected = predictor.probabilities(predictor.forward(values))[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_file_gets_the_predictors_answer_but_for_its_rounding_to_float16(genre_run, genres, tone):
    path = tone("song.mp3", seconds=7.3, rate=44_100, channels=2)
    predictor = Predictor(genre_run)
    rounded = predictor(path)
    predictor.outputs = lambda windows: torch_logits(genre_run, make_transform(SPEC)(windows))
    [exact] = predictor.predict([predictor.prepare(path)])
    rounding = np.abs(rounded.windows - exact.windows).max()
    [whole], [windows] = answer(genres, "waveform", decode(path, SPEC.sample_rate)[None])
    assert 0 < rounding < 0.02
    np.testing.assert_allclose(windows, rounded.windows, atol=rounding + PARITY)
    np.testing.assert_allclose(whole, rounded.probabilities, atol=rounding + PARITY)


SOFT = {  # what stands in the second of three windows
    "silence": np.zeros(8000, np.float32),
    "a constant": np.full(8000, 0.25, np.float32),
    "a click": np.eye(1, 8000, 4000, dtype=np.float32)[0],
    "nearly nothing": np.eye(1, 8000, 4000, dtype=np.float32)[0] * 1e-9,
    "very loud noise": 1e5 * sound(1, 7),
}


@pytest.mark.parametrize("name", ["waveform", "waveform_int8"])
@pytest.mark.parametrize("soft", SOFT)
def test_a_window_that_holds_nothing_spoils_no_song(genre_run, genres, name, soft, tmp_path):
    song = np.concatenate([sound(1), SOFT[soft], sound(1, 1)])
    soundfile.write(tmp_path / "song.wav", song, SPEC.sample_rate, "FLOAT")
    expected = Predictor(genre_run)(tmp_path / "song.wav")
    [whole], [windows] = answer(genres, name, song[None])
    tolerance = 0.1 if "int8" in name else 0.01
    assert np.isfinite(windows).all()
    np.testing.assert_allclose(windows, expected.windows, atol=tolerance)
    np.testing.assert_allclose(whole, expected.probabilities, atol=tolerance)


@pytest.mark.parametrize("how", ["item", "image"])
@pytest.mark.parametrize("name", ["spectrogram", "waveform"])
def test_degenerate_inputs_of_other_normalisations(tmp_path, how, name):
    """The exporter's optimiser takes constants up to 1e-8 for zero, and silence has no deviation to divide by."""
    predictor = Predictor(untrained(tmp_path, model={"name": "cnn4"}, unit="clip", normalise=how))
    graph = {"spectrogram": graphs.spectrogram_graph, "waveform": graphs.waveform_graph}[name](predictor)
    flat = np.full((1, *SPEC.clip_shape), -47.3) if name == "spectrogram" else np.zeros((1, 16_000))
    flat[:, 8000:] += sound(1) if name == "waveform" else 0
    found = graphs.open_session(graph).run(None, {name: flat.astype(np.float32)})
    assert all(np.isfinite(one).all() for one in found)


def test_examples_are_answered_or_refused_as_a_whole(genre_run):
    examples = graphs.make_examples(Predictor(genre_run), "waveform")
    module = graphs.FromWaveform(Predictor(genre_run))
    answered = [name for name, x in examples.items() if np.isfinite(graphs.run_module(module, x)[1]).all()]
    assert answered == ["noise", "a song of noise, silence, a constant, a click, loud noise", "short noise"]
    refused = [name for name, x in examples.items() if np.isnan(graphs.run_module(module, x)[1]).all()]
    assert refused == ["too short noise", "nothing but silence", "nothing but a constant", "infinity"]


REFUSED = {
    "short": sound(0.9999),
    "very short": sound(0.2),
    "silent": 1e-4 * sound(2),
    "a constant": np.full(16_000, 0.5, np.float32) + 1e-4 * sound(2),
    "silent for 96 %": np.concatenate([sound(0.2), np.zeros(40_000, np.float32)]),
    "not finite": np.where(np.arange(16_000) == 9000, np.nan, sound(2)),
}
TAKEN = {
    "as short as may be": sound(1),
    "soft": 0.01 * sound(2),
    "on an offset": sound(2) + 0.5,
    "silent for 93 %": np.concatenate([sound(0.4), np.zeros(40_000, np.float32)]),
}


@pytest.mark.parametrize("case", [*REFUSED, *TAKEN])
def test_what_the_predictor_refuses_has_no_probabilities(genre_run, genres, case, tmp_path):
    waveform = (REFUSED | TAKEN)[case].astype(np.float32)
    soundfile.write(tmp_path / "song.wav", waveform, SPEC.sample_rate, "FLOAT")
    for name in ("waveform", "waveform_int8"):
        found = [np.isnan(one).all() for one in answer(genres, name, waveform[None])]
        assert found == [case in REFUSED] * 2
    with pytest.raises(AudioError) if case in REFUSED else contextlib.nullcontext():
        Predictor(genre_run).prepare(tmp_path / "song.wav")


def test_one_refused_recording_of_a_batch_leaves_the_others_alone(genres):
    both = np.stack([sound(3.2), np.zeros(25_600, np.float32)])
    whole, windows = answer(genres, "waveform", both)
    alone, _ = answer(genres, "waveform", both[:1])
    np.testing.assert_allclose(whole[:1], alone, atol=1e-6)
    assert np.isnan(whole[1]).all() and np.isnan(windows[1]).all()


SAMPLES = [1, 2, 7, 50, 51, 100, 149, 150, 151, 499, 500, 501, 549, 550, 551, 570, 571, 1234]


def windows_of(run: Run, track: float, overlap: float, ending: str) -> tuple[Predictor, Windows]:
    """What cuts windows of 100 samples: the reference, and the module."""
    sizes = {"sample_rate": 100, "n_fft": 16, "hop_length": 8, "n_mels": 4, "clip_seconds": 1}
    spec = MelSpec(**sizes, track_seconds=track, ending=ending)
    predictor = Predictor(run, overlap)
    predictor.experiment = predictor.experiment.updated(spec=spec)
    return predictor, Windows(spec, predictor.window_samples, overlap)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("track", "overlap"), [(5.0, 0), (5.7, 0), (5.0, 0.5), (1.0, 0.25)])
def test_windows_are_the_predictors(genre_run, track, overlap, ending):
    predictor, module = windows_of(genre_run, track, overlap, ending)
    for waveform in (sound(samples, rate=1) for samples in SAMPLES):
        found = module(torch.from_numpy(waveform)[None])[0].numpy()
        np.testing.assert_array_equal(found, predictor.cut(waveform)[1], str(len(waveform)))


def test_windows_in_a_graph_are_the_predictors(genre_run):
    predictor, module = windows_of(genre_run, 5.7, 0.25, "repeat")
    examples, axes = {"noise": torch.rand(2, 275)}, {0: "batch", 1: "samples"}
    graph = graphs.make_graph(module, examples, axes, "waveform", ["windows"], "none")
    session = graphs.open_session(graph)
    for waveform in (sound(samples, rate=1) for samples in SAMPLES):
        [[found]] = session.run(None, {"waveform": waveform[None]})
        np.testing.assert_array_equal(found, predictor.cut(waveform)[1], str(len(waveform)))


@pytest.mark.parametrize(
    "settings", [*({"kind": kind} for kind in KINDS[:-1]), {"mel_scale": "htk", "pad_mode": "reflect"}]
)
def test_every_kind_of_spectrogram_is_that_of_the_cache(settings):
    spec = dataclasses.replace(SPEC, **settings)
    waveforms = np.stack([sound(1), sound(1, 1) * np.linspace(0, 1, 8000, dtype=np.float32) ** 6, np.zeros(8000)])
    found = make_front_end(spec)(torch.from_numpy(waveforms.astype(np.float32))).numpy()
    np.testing.assert_allclose(found, make_transform(spec)(waveforms), atol=1e-3)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_windows_add_up_as_in_the_test(how):
    logits = np.random.default_rng(0).normal(0, 3, (2, 5, 4)).astype(np.float32)
    expected = aggregate(logits.reshape(10, 4), np.repeat([0, 1], 5), how)
    np.testing.assert_allclose(graphs.AGGREGATIONS[how](torch.from_numpy(logits)).numpy(), expected, atol=1e-6)


# --- other networks -----------------------------------------------------------------------------------------


def untrained(folder: Path, **settings: Any) -> Run:
    """A run with random weights that gives decided answers."""
    values = {"spec": SPEC, "device": "cpu", "name": "untrained", "table": "none.csv", "cache": "none"}
    experiment = get_experiment("best_scratch").updated(**values | settings)
    torch.manual_seed(0)
    network, run = make_model(experiment, len(GENRES)), Run("untrained", folder / "runs")
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        if "head" in name and name.endswith("weight"):
            tensor.mul_(10)
    run.save_config(experiment, classes=GENRES, split="00000000")
    save_checkpoint(run.checkpoints / "best.pt", {"epoch": 1, "model": network.state_dict()})
    return run


def test_the_best_network_from_scratch_made_smaller(tmp_path):
    spec = dataclasses.replace(SPEC, clip_overlap=0.5, ending="reflect")
    settings = get_experiment("best_scratch").model.keywords
    smaller = {"members": 2, "settings": settings["settings"] | {"channels": [8, 16]}}
    run = untrained(tmp_path, spec=spec, **{f"model.{name}": value for name, value in (settings | smaller).items()})
    graph, waveform = graphs.waveform_graph(Predictor(run)), sound(2.7)
    [whole], [windows] = graphs.open_session(graph).run(None, {"waveform": waveform[None]})
    logits = torch_logits(run, make_transform(spec)(Predictor(run).cut(waveform)[1]))
    assert run.experiment().model.name == "committee"
    assert windows.shape == (5, len(GENRES))
    assert np.ptp(windows, axis=0).max() > 100 * PARITY  # so that a constant answer would be noticed
    np.testing.assert_allclose(windows, softmax(logits, axis=1), atol=PARITY)
    np.testing.assert_allclose(whole, softmax(logits.mean(axis=0)), atol=PARITY)


class Unusual(Network):
    """It needs the determinant of a matrix that it makes of the input, and takes no other length."""

    def __init__(self, classes: int, frames: int, mels: int, in_channels: int = 1) -> None:
        super().__init__()
        self.backbone, self.head = torch.nn.Flatten(), torch.nn.Linear(mels * frames, classes)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(x) * torch.linalg.eigvals(x[..., :8, :8]).real.sum((1, 2))[:, None]


def test_a_network_that_onnx_cannot_express(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(MODELS, "unusual", Unusual)
    run = untrained(tmp_path, model={"name": "unusual"})
    with pytest.raises(SystemExit) as stopped:
        export(run, tmp_path / "out", "--onnx")
    assert stopped.value.code == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("error: model unusual cannot be expressed in ONNX (")
    assert line.endswith("--safetensors")
    assert not (tmp_path / "out").exists()


def test_a_graph_that_answers_something_else_is_refused(genre_run, genres):
    graph = onnx.load(genres / "onnx" / "spectrogram.onnx")
    module = graphs.FromSpectrogram(Predictor(genre_run))
    examples = {"two clips": torch.from_numpy(cached_clips(genre_run)[:2].astype(np.float32))}
    graphs.check(graph, module, examples, "cnn4")
    torch.nn.init.zeros_(module.network.head.weight)
    with pytest.raises(ConfigError, match="model cnn4: the graph's probabilities of two clips are off by 0.*--safeten"):
        graphs.check(graph, module, examples, "cnn4")


@pytest.mark.parametrize(("setting", "value"), [("ending", "noise"), ("selection", "loudest")])
def test_a_run_that_hears_in_a_way_of_its_own_has_no_graph_from_waveforms(tmp_path, setting, value):
    run = untrained(tmp_path, spec=dataclasses.replace(SPEC, **{setting: value}), unit="clip")
    with pytest.raises(ConfigError, match=f"{value}.*--without-mel"):
        graphs.waveform_graph(Predictor(run))


# --- facts --------------------------------------------------------------------------------------------------


def test_a_graph_says_all_that_its_user_has_to_know(tag_run, tags):
    config = json.loads((tags / "config.json").read_text())
    for name in ("waveform", "spectrogram"):
        stored = {entry.key: json.loads(entry.value) for entry in onnx.load(tags / f"onnx/{name}.onnx").metadata_props}
        assert stored == {key: value for key, value in config.items() if key != "experiment"}
    assert config["classes"] == sorted(TONES)
    assert config["thresholds"] == dict(zip(sorted(TONES), tag_run.thresholds().tolist(), strict=True))
    assert (config["task"], config["sample_rate"], config["window_seconds"]) == ("multi_label", 8000, 1.0)
    assert MelSpec(**config["spec"]) == SPEC


def run_example(genres: Path, folder: Path) -> subprocess.CompletedProcess:
    """The page's code on `song.wav` in the folder, without this project's packages."""
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "onnxruntime" in block]
    (folder / "exported").symlink_to(genres)
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'scripts', 'librosa', 'soundfile']))\n"
    return subprocess.run([sys.executable, "-I", "-c", blocked + code], cwd=folder, capture_output=True, text=True)


def test_the_example_of_the_page(genre_run, genres, tmp_path):
    write_track(tmp_path / "song.wav", 200, 5, seconds=4.6)
    with wave.open(str(tmp_path / "song.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SPEC.sample_rate)
    done = run_example(genres, tmp_path)
    assert done.returncode == 0, done.stderr
    printed = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    expected = Predictor(genre_run)(tmp_path / "song.wav")
    assert next(iter(printed)) == expected.top(1)[0][0]
    assert printed == pytest.approx(dict(expected.top(3)), abs=0.01)


@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_the_example_of_the_page_refuses_what_predict_refuses(genres, tmp_path, seconds):
    samples = sound(0.2) if seconds < 1 else np.zeros(round(seconds * SPEC.sample_rate))
    soundfile.write(tmp_path / "song.wav", samples, SPEC.sample_rate, "PCM_16")
    done = run_example(genres, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "song.wav: shorter than 1 s, silent nearly throughout, or not finite"


# --- 8 bits -------------------------------------------------------------------------------------------------


def test_8_bits_are_a_quarter_and_cost_what_is_printed(genre_run, genres):
    printed = (genres.parent / "printed.txt").read_text().splitlines()
    for name, line in zip(("spectrogram", "waveform"), printed[:2], strict=True):
        small, large = ((genres / "onnx" / f"{name}{end}.onnx").stat().st_size for end in ("_int8", ""))
        assert small < 0.4 * large
        worst = {}
        for example, x in graphs.make_examples(Predictor(genre_run), name).items():
            pairs = zip(answer(genres, name, x.numpy()), answer(genres, f"{name}_int8", x.numpy()), strict=True)
            worst[example] = max(np.nan_to_num(np.abs(before - after)).max() for before, after in pairs)
        assert line == (
            f"{name}_int8: probabilities up to {worst['noise']:.2g} from those of float32, on noise; "
            f"of all examples most on {max(worst, key=worst.get)}, {max(worst.values()):.2g}"
        )
    clips = cached_clips(genre_run)
    [before], [after] = (answer(genres, f"spectrogram{end}", clips) for end in ("", "_int8"))
    assert np.abs(before - after).max() < 0.1 < np.ptp(before)


def test_only_the_networks_weights_get_8_bits(genres):
    waveform = sound(1)
    [expected] = answer(genres, "spectrogram_int8", make_transform(SPEC)(waveform[None]))
    [whole], _ = answer(genres, "waveform_int8", waveform[None])
    np.testing.assert_allclose(whole, expected[0], atol=1e-3)
    kinds = [node.op_type for node in onnx.load(genres / "onnx" / "waveform_int8.onnx").graph.node]
    assert {"STFT", "MatMul", "ConvInteger"} <= {*kinds}


# --- the hub's layout ---------------------------------------------------------------------------------------


def test_weights_come_back_bit_for_bit(genre_run, tag_run, genres, tags, tmp_path):
    write_track(tmp_path / "song.wav", 700, 5, seconds=3.3)
    for run, folder in ((genre_run, genres), (tag_run, tags)):
        loaded = ExportedRun.open(folder)
        stored, original = loaded.load_model().state_dict(), run.load_model().state_dict()
        assert stored.keys() == original.keys()
        assert all(torch.equal(stored[name], original[name]) for name in original)
        ours, theirs = (Predictor(one)(tmp_path / "song.wav") for one in (loaded, run))
        np.testing.assert_array_equal(ours.windows, theirs.windows)
        np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
        assert (ours.names, ours.labels) == (theirs.names, theirs.labels)


def test_the_card_is_one_that_the_hub_reads(genre_run, genres):
    yaml = pytest.importorskip("yaml")
    _, header, card = (genres / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header)["pipeline_tag"] == "audio-classification"
    test = json.loads((genre_run.report / "test.json").read_text())
    assert f"| track accuracy | {test['track_accuracy']:.3f} |" in card
    assert test["precision"].endswith("scores float32") and test["precision"] in card
    assert "Licence" in card
    assert "ExportedRun.open" in card


def test_damaged_folders(genres, tmp_path):
    with pytest.raises(ConfigError, match="config.json: no such file"):
        ExportedRun.open(tmp_path)
    shutil.copy(genres / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="model.safetensors.*export again"):
        ExportedRun.open(tmp_path).load_model()
    (tmp_path / "model.safetensors").write_bytes((genres / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="model.safetensors.*export again"):
        ExportedRun.open(tmp_path).load_model()


# --- the command --------------------------------------------------------------------------------------------


def test_what_is_written_by_default_and_on_demand(genre_run, genres, tmp_path, monkeypatch):
    graphs_ = {f"onnx/{name}{end}.onnx" for name in ("waveform", "spectrogram") for end in ("", "_int8")}
    assert files(genres) == graphs_ | {"README.md", "config.json", "model.safetensors"}
    export(genre_run, tmp_path / "hub", "--safetensors")
    assert files(tmp_path / "hub") == {"README.md", "config.json", "model.safetensors"}
    assert len({(tmp_path / "hub" / name).stat().st_mode for name in files(tmp_path / "hub")}) == 1
    made = onnx.load(genres / "onnx" / "spectrogram.onnx")
    monkeypatch.setattr(graphs, "spectrogram_graph", lambda predictor: made)
    export(genre_run, tmp_path / "graphs", "--onnx", "--without-mel")
    assert files(tmp_path / "graphs") == {"onnx/spectrogram.onnx"}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_wrong_wishes(genre_run, tmp_path, monkeypatch, refusal):
    assert "add --onnx" in refusal(export, genre_run, tmp_path / "out", "--safetensors", "--int8")
    monkeypatch.setattr(graphs, "PACKAGES", ("onnx", "a_package_that_is_not_here"))
    assert "needs the package a_package_that_is_not_here; install it: pip install" in refusal(
        export, genre_run, tmp_path / "out", "--onnx"
    )
    assert "did you mean 'small'?" in refusal(
        export_command, ["--model", "smell", "--runs", str(genre_run.root), "--output", str(tmp_path / "out")]
    )
    assert not (tmp_path / "out").exists()
