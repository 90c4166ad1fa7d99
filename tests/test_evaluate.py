"""Evaluating a run: its report against scikit-learn, what is printed, and what TensorBoard gets."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, log_loss
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.api_pb2 import ListSessionGroupsRequest
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from scripts.common.errors import CheckpointError, ConfigError
from scripts.config.run import Run
from scripts.evaluate import evaluate, main
from scripts.loading.experiment_data import Data
from scripts.metrics.test_scores import SingleLabelScores
from scripts.reports.single_label import describe_summary, summarise
from scripts.reports.tensorboard import MISTAKES, surest_mistakes
from scripts.train import train
from tests.corpus import GENRES, make_experiment


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """It hardly learns, so that there are mistakes; one track of each genre goes from train to test."""
    experiment = make_experiment(tmp_path_factory.mktemp("corpus"), epochs=1, learning_rate=1e-9, allow_leak=True)
    table = pd.read_csv(experiment.data.table, dtype={"track_id": "str"})
    table.loc[table["track_id"].astype(int) > 14, "split"] = "test"
    table.to_csv(experiment.data.table, index=False)
    return experiment


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory):
    run = Run("small", tmp_path_factory.mktemp("runs"))
    train(experiment, root=run.root)
    return run


@pytest.fixture(scope="module", autouse=True)
def quick(run):
    """Once trained and reported in full, a test here needs neither more figures nor many draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.metrics.single_label.DRAWS", 500)
        patch.setattr("scripts.reports.single_label.draw", lambda *_: {})
        yield


@pytest.fixture
def report(run) -> dict:
    return json.loads((run.report / "test.json").read_text())


@pytest.fixture
def predictions(run) -> pd.DataFrame:
    return pd.read_csv(run.report / "predictions.csv", dtype={"track_id": "str"})


def call(run: Run, *arguments: str) -> None:
    main([run.name, "--runs", str(run.root), *arguments])


def test_scores_are_scikit_learns(report, predictions):
    genre, predicted = predictions["genre"], predictions["predicted"]
    probabilities = predictions[[f"p_{name}" for name in GENRES]].to_numpy()
    assert report["tracks"] == len(predictions) == 6
    assert report["track_accuracy"] == pytest.approx((genre == predicted).mean())
    assert report["macro_f1"] == pytest.approx(f1_score(genre, predicted, average="macro", labels=GENRES))
    rounded = probabilities / probabilities.sum(axis=1, keepdims=True)
    assert report["loss"] == pytest.approx(log_loss(genre, rounded, labels=GENRES), abs=1e-4)
    ranks = (-probabilities).argsort(axis=1)[:, :2]
    hits = [name in {GENRES[rank] for rank in row} for name, row in zip(genre, ranks, strict=True)]
    assert report["top_k"] == {"k": 2, "track_accuracy": pytest.approx(np.mean(hits))}


def test_report_holds_intervals_baselines_and_calibration(report, run):
    for name in ("track_accuracy", "clip_accuracy", "gain_over_clips"):
        low, high = report[f"{name}_interval_95"]
        assert low <= report[name] <= high
    assert report["gain_over_clips"] == pytest.approx(report["track_accuracy"] - report["clip_accuracy"])
    assert report["accuracy_by_clips"][-1] == pytest.approx(report["track_accuracy"])
    assert len(report["accuracy_by_clips_intervals_95"]) == len(report["accuracy_by_clips"]) == 5
    assert (report["chance"], report["majority"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert report["split"] == run.load_config()["split"]
    assert 0 <= report["calibration"]["ece"] <= 1 and "temperature" in report["calibration"]
    assert (run.report / "reliability.png").is_file()


def test_baselines_split_and_genres_are_printed(run, capsys):
    call(run)
    text = capsys.readouterr().out
    for words in ("chance 0.333", "majority 0.333", run.load_config()["split"], "clip accuracy", "ECE", "macro F1"):
        assert words in text
    assert all(any(line.startswith(name) for line in text.splitlines()) for name in GENRES)


def test_leaks_are_printed_and_kept(experiment, run, capsys):
    data = dataclasses.replace(Data.load(experiment), leaks=["2 artists are in train and test"])
    evaluate(run, data)
    assert "leaks: 2 artists are in train and test" in capsys.readouterr().out
    assert json.loads((run.report / "test.json").read_text())["leaks"] == ["2 artists are in train and test"]
    evaluate(run)


def test_only_the_best_epochs_test_is_kept(run, capsys):
    before = (run.report / "test.json").read_bytes()
    call(run, "--part", "validation")
    assert "validation, split" in capsys.readouterr().out
    call(run, "--checkpoint", "last.pt", "--top-k", "1")
    assert "top-1 track accuracy" in capsys.readouterr().out
    assert (run.report / "test.json").read_bytes() == before
    with pytest.raises(CheckpointError, match="none.pt"):
        evaluate(run, checkpoint="none.pt")


def test_without_validation_there_is_no_temperature(experiment, tmp_path, capsys):
    table = pd.read_csv(experiment.data.table, dtype={"track_id": "str"})
    table[table["split"] != "validation"].to_csv(tmp_path / "table.csv", index=False)
    changed = experiment.updated(table=str(tmp_path / "table.csv"), metric="last")
    summary = train(changed, root=tmp_path / "runs")
    assert "temperature" not in summary["calibration"]
    assert "ECE" in capsys.readouterr().out


@pytest.mark.parametrize("sure", [True, False])
def test_a_temperature_that_validation_does_not_tell_is_said(experiment, sure):
    """Where the network is right of each track of validation, or only of two of three."""
    data = Data.load(experiment)
    right = scores_of([[2.0, 0, 0], [0, 2, 0], [0, 0, 2]], [0, 1, 2], [0, 1, 2 if sure else 1])
    items = data.items.select(np.arange(len(data.items.tracks)) < 3)
    summary = summarise(right, items, items, GENRES, pd.DataFrame({"status": []}), right)
    calibration, text = summary["calibration"], describe_summary(summary)
    assert (
        ("temperature not identified" in text) is (json.loads(json.dumps(calibration))["temperature"] is None) is sure
    )
    assert ("ece_scaled" in calibration) is (" at temperature " in text) is not sure


def test_scores_are_float32s_whatever_training_computes_with(experiment, tmp_path, capsys):
    report = train(experiment.updated(precision="bfloat16"), root=tmp_path)
    said = "training bfloat16, scores float32"
    assert report["precision"] == said
    start, *_, tested = (line for line in capsys.readouterr().out.splitlines() if said in line)
    assert "parameters" in start and "split" in tested
    run, loader = Run("small", tmp_path), Data.load(experiment).scoring_loader(experiment, "test")
    with torch.inference_mode():
        logits = torch.cat([run.load_model()(batch.x) for batch in loader]).numpy()
    found = pd.read_csv(run.report / "clips.csv")[[f"l_{name}" for name in GENRES]].to_numpy()
    np.testing.assert_allclose(found, logits, atol=1e-5)


def scores_of(clips: list[list[float]], tracks: list[int], labels: list[int]) -> SingleLabelScores:
    clips, tracks, labels = np.array(clips), np.array(tracks), np.array(labels)
    means = np.stack([clips[tracks == track].mean(axis=0) for track in range(len(labels))])
    hits = clips.argmax(axis=1) == labels[tracks]
    return SingleLabelScores(0.0, hits.mean(), np.mean(means.argmax(axis=1) == labels), clips, tracks, means, labels)


def test_mean_of_probabilities_by_hand(experiment):
    """One very sure clip outvotes two others in logits, but not in probabilities."""
    items = Data.load(experiment).items
    items = items.select(np.arange(len(items.tracks)) == 0)
    scores = scores_of([[20, 0, 0], [0, 3, 0], [0, 3, 0]], [0, 0, 0], [1])
    summary = summarise(scores, items, items, GENRES, pd.DataFrame({"status": ["short", "short"]}))
    assert summary["track_accuracy"] == 0 and summary["track_accuracy_mean_of_probabilities"] == 1
    assert summary["clip_accuracy"] == pytest.approx(2 / 3)
    assert "left out: 2 short" in describe_summary(summary)


# --- TensorBoard --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(run) -> str:
    """What is printed; called twice, since a second call must not spoil the first one's pages."""
    evaluate(run, tensorboard=True)
    evaluate(run, tensorboard=True)
    return run.name


def test_settings_and_scores_are_one_row(shown, run, report):
    """As TensorBoard itself reads the log."""
    logs = EventMultiplexer(tensor_size_guidance={"hparams": 0})
    logs.AddRunsFromDirectory(str(run.root / "logs")).Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(logs, str(run.root))))
    request = ListSessionGroupsRequest(start_index=0, slice_size=9, include_metrics=True, allowed_statuses=[1])
    (row,) = Handler(RequestContext(), context, "", request).run().session_groups
    assert [session.name for session in row.sessions] == ["small"]
    assert row.hparams["training.batch_size"].number_value == 8
    assert row.hparams["model.name"].string_value == "cnn4"
    assert row.hparams["split"].string_value == report["split"]
    assert "training.device" not in row.hparams
    scores = {metric.name.tag: metric.value for metric in row.metric_values}
    assert scores["test/accuracy"] == pytest.approx(report["track_accuracy"])
    assert scores["test/ece"] == pytest.approx(report["calibration"]["ece"])


def test_embeddings_are_means_over_clips(shown, run, experiment, predictions):
    (folder,) = run.logs.glob("*/test_tracks")
    vectors = np.loadtxt(folder / "tensors.tsv")
    items = Data.load(experiment).items.part("test")
    x = torch.from_numpy(items.array[items.index]).float().unsqueeze(1)
    x = (x - x.mean(dim=(2, 3), keepdim=True)) / x.std(dim=(2, 3), keepdim=True, correction=0)
    with torch.inference_mode():
        expected = run.load_model().embed(x).numpy().reshape(6, 5, -1).mean(axis=1)
    np.testing.assert_allclose(vectors, expected, atol=0.02)
    labels = pd.read_csv(folder / "metadata.tsv", sep="\t", dtype=str)
    assert labels["track"].tolist() == predictions["track_id"].tolist()
    assert labels["genre"].tolist() == predictions["genre"].tolist()
    assert (run.logs / "projector_config.pbtxt").read_text().count("tensor_path") == 1


def test_mistakes_can_be_heard(shown, run, predictions):
    events = EventAccumulator(str(run.logs))
    events.Reload()
    wrong = predictions[predictions["genre"] != predictions["predicted"]]
    assert len(wrong) >= 1
    tags = events.Tags()["audio"]
    assert {tag.split("track ")[1].split("/")[0] for tag in tags} == set(wrong["track_id"])
    audio = events.Audio(tags[0])[-1]
    assert audio.length_frames / audio.sample_rate == pytest.approx(5, abs=0.01)


def test_missing_audio_is_counted(run, experiment, monkeypatch, capsys, predictions):
    wrong = (predictions["genre"] != predictions["predicted"]).sum()
    monkeypatch.setattr("scripts.reports.tensorboard.file_paths", lambda table: {})
    evaluate(run, tensorboard=True)
    assert f"audio of 0 of {wrong} mistakes" in capsys.readouterr().out


def test_surest_mistakes_come_first():
    logits = np.array([[5.0, 0], [0, 1], [0, 3], [0, 9]])
    assert surest_mistakes(scores_of(logits.tolist(), [0, 1, 2, 3], [0, 0, 0, 1])) == [2, 1]
    many = np.column_stack([np.zeros(20), np.arange(1, 21)])
    assert surest_mistakes(scores_of(many.tolist(), list(range(20)), [0] * 20)) == list(range(19, 19 - MISTAKES, -1))


def test_tensorboard_goes_with_the_report(run):
    with pytest.raises(ConfigError, match="leave out --part"):
        evaluate(run, part="validation", tensorboard=True)


def test_bad_input_is_one_line(run, refusal):
    assert "did you mean 'small'" in refusal(main, ["smal", "--runs", str(run.root)])
    told = "epoch_099.pt: no such checkpoint; there are best.pt, last.pt"
    assert told in refusal(call, run, "--checkpoint", "epoch_099.pt")
