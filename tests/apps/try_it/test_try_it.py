"""The try-it page: what it computes of a sound, what becomes of uploads, and the page in a real browser."""

import asyncio
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from starlette.requests import ClientDisconnect

pytest.importorskip("gradio", reason="needs the package gradio")
pytest_plugins = ["tests.browser"]

from scripts.apps.try_it import examples as example_sounds  # noqa: E402
from scripts.apps.try_it import html as try_it_html  # noqa: E402
from scripts.apps.try_it import page as try_it_page  # noqa: E402
from scripts.apps.try_it import uploads as try_it_uploads  # noqa: E402
from scripts.apps.try_it.__main__ import main as try_it  # noqa: E402
from scripts.apps.try_it.analyser import SoundAnalyser, SoundAnalysis, drop_silent_windows, lay_out, picture, whole  # noqa: E402
from scripts.apps.try_it.neighbours import Neighbours, describe_labels  # noqa: E402
from scripts.apps.try_it.page import SoundService, build  # noqa: E402
from scripts.apps.try_it.uploads import CONSENT, UploadTracker, keep  # noqa: E402
from scripts.audio.build_cache import build_cache  # noqa: E402
from scripts.audio.decoding import SUFFIXES, decode  # noqa: E402
from scripts.common.errors import AudioError  # noqa: E402
from scripts.config.experiment import Experiment  # noqa: E402
from scripts.config.run import Run  # noqa: E402
from scripts.inference.predictor import Prediction, Predictor  # noqa: E402
from scripts.inference.registry import Registry, find_run, tracked_reference  # noqa: E402
from scripts.train import train  # noqa: E402
from scripts.utils.metadata import repeat_clips  # noqa: E402
from tests.corpus import SPEC, write_track  # noqa: E402

PITCHES = {"A": 150.0, "B": 300.0, "C": 600.0, "D": 1000.0, "E": 1700.0, "F": 2800.0}
PARTS = ["test", "validation", "train", "train", "train"]


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """A folder with a run, `tones`, on six pitches, five tracks each, in audio/<track_id>.wav."""
    folder = tmp_path_factory.mktemp("tones")
    (folder / "audio").mkdir()
    rows = []
    for number, (kind, (genre, pitch)) in enumerate([one for one in enumerate(PITCHES.items()) for _ in PARTS]):
        path = folder / "audio" / f"{number}.wav"
        write_track(path, pitch, number)
        rows.append((f"{number}", str(path), genre, kind, number, number, PARTS[number % len(PARTS)], 5.0))
    columns = ["track_id", "file_path", "genre", "class", "artist_id", "album_id", "split", "duration_s"]
    table = pd.DataFrame(rows, columns=columns)
    repeat_clips(table, SPEC.clips_per_track).to_csv(folder / "metadata_ensemble.csv", index=False)
    build_cache(table, folder / "mels", SPEC, workers=1)
    train(
        Experiment(
            name="tones",
            table=str(folder / "metadata_ensemble.csv"),
            cache=str(folder / "mels"),
            spec=SPEC,
            epochs=8,
            metric="loss",
            batch_size=8,
            device="cpu",
            threads=1,
        ),
        root=folder / "runs",
    )
    return folder


@pytest.fixture(scope="module")
def analyser(tones) -> SoundAnalyser:
    analyser = SoundAnalyser(Run("tones", tones / "runs"))
    analyser.embedding.join()
    return analyser


@pytest.fixture(scope="module")
def song(tones) -> Path:
    """Three seconds of C, then three of F."""
    for name in "CF":
        write_track(tones / f"{name}.wav", PITCHES[name], 100, seconds=3)
    parts = [soundfile.read(tones / f"{name}.wav")[0] for name in "CF"]
    soundfile.write(tones / "a song.wav", np.concatenate(parts), 8000)
    return tones / "a song.wav"


# --- what is computed of a sound ----------------------------------------------------------------------------


def test_the_analysis_of_a_song(analyser, song):
    analysis = analyser.analyse(song)
    assert analysis.names == [name for name, _ in analysis.prediction.top(5)]
    starts, best = analysis.curves.starts, analysis.curves.windows.argmax(axis=1)
    assert starts.tolist() == pytest.approx([i / 3 for i in range(16)], abs=2e-3)  # to the end, none beyond
    assert {list(PITCHES)[one] for one in best[starts <= 2]} == {"C"}
    assert {list(PITCHES)[one] for one in best[starts >= 3]} == {"F"}
    assert analysis.spectrogram.shape == (32, 188) and analysis.heat.shape == (5, 32, 188)
    expected = Predictor(analyser.run)(song)
    np.testing.assert_allclose(analysis.prediction.probabilities, expected.probabilities, atol=0.01)
    assert len(analysis.prediction.starts) == len(expected.starts) == 6
    c = analysis.heat[analysis.names.index("C")]
    assert c[:, :94].sum() > 3 * c[:, 94:].sum()  # C was found in the first half


def test_the_spectrogram_is_brightest_where_the_tone_is(analyser, song):
    rows = analyser.analyse(song).spectrogram.argmax(axis=0)
    assert np.ptp(rows[5:85]) <= 1 and np.ptp(rows[100:180]) <= 1 and rows[150] > rows[50] + 5


def test_nearest_tracks_are_those_of_the_same_pitch(analyser, tones):
    for number in (0, 5, 10, 25):  # test tracks; three of each pitch were trained on
        nearest = analyser.analyse(tones / "audio" / f"{number}.wav").nearest
        assert set(nearest["label"][:2]) == {list(PITCHES)[number // 5]}
        assert nearest["similarity"].is_monotonic_decreasing and len(nearest) == 5
    known = analyser.analyse(tones / "audio" / "12.wav").nearest.iloc[0]
    assert known["track_id"] == "12" and known["similarity"] > 0.98


def test_without_its_cache_the_page_says_why_there_are_no_neighbours(tones, song, tmp_path):
    shutil.copytree(tones / "runs", tmp_path / "runs")
    config = tmp_path / "runs" / "reports" / "tones" / "config.json"
    config.write_text(config.read_text().replace(str(tones / "mels"), str(tmp_path / "gone")))
    analyser = SoundAnalyser(Run("tones", tmp_path / "runs"))
    analyser.embedding.join()
    analysis = analyser.analyse(song)
    assert "no cache here" in analysis.nearest
    assert "no cache here" in try_it_html.answer(analysis, "song.wav", 0)


def test_neighbours_by_hand():
    tracks = pd.DataFrame({"track_id": list("abc"), "label": ["x", "y", "z"]})
    neighbours = Neighbours.from_vectors(tracks, np.array([[3.0, 1], [1, 3], [-1, -1]]))  # mean (1, 1)
    found = neighbours.nearest(np.array([1.0, 2]), 2)
    assert found["track_id"].tolist() == ["b", "a"]
    np.testing.assert_allclose(found["similarity"], [1, 0], atol=1e-9)


@pytest.mark.parametrize("seconds", [1.0, 1.3, 5.0, 7.77])
def test_windows_give_the_waveform_back(analyser, tmp_path, seconds):
    write_track(tmp_path / "song.wav", 200, 5, seconds=seconds)
    file = analyser.predictor.prepare(tmp_path / "song.wav")
    expected = decode(tmp_path / "song.wav", 8000)
    np.testing.assert_array_equal(whole(file, 8000)[:-10], expected[:-10])
    assert len(whole(file, 8000)) == len(expected)
    kept = drop_silent_windows(file, 8000)
    assert kept.starts[0] == 0 and (kept.starts[1:] + 1 <= seconds + 1 / 6 + 1e-6).all()
    assert len(kept.starts) == len(kept.waveforms)


def test_a_picture_keeps_the_loudest_frame_of_each_column():
    values = np.zeros((2, 5000))
    values[1, 2501] = 1
    pixels = picture(values)
    assert pixels.shape == (2, 1000) and np.argwhere(pixels).tolist() == [[1, 500]]


def test_heat_lies_where_its_window_does():
    heat = np.full((1, 2, 1, 5), 0.5)  # windows of 2 s, two frames a second, the first at 0
    heat[0, 1, 0] = [0, 0, 0, 1, 1]  # the second at 1
    found = lay_out(heat, np.array([0.0, 1.0]), seconds=4, frame_rate=2, columns=4)  # middles at 0.5, 1.5, 2.5, 3.5
    np.testing.assert_array_equal(found[0, 0], [0.5, 0.5, 1, 0])


def test_several_people_at_a_time_get_the_same(analyser, song):
    """Grad-CAM hooks the layers of the network that they share."""
    expected, found = analyser.analyse(song), []
    threads = [threading.Thread(target=lambda: found.append(analyser.analyse(song))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for analysis in found:
        np.testing.assert_allclose(analysis.heat, expected.heat, atol=1e-5)
        np.testing.assert_allclose(analysis.prediction.windows, expected.prediction.windows, atol=1e-5)


# --- what the page says -------------------------------------------------------------------------------------


def prediction(**values) -> Prediction:
    windows = np.array([[0.2, 0.8], [0.4, 0.6]])
    basic = {"path": "x.wav", "seconds": 4.0, "starts": np.array([0.0, 2.0]), "windows": windows, "names": ["a", "b"]}
    return Prediction(**basic | {"probabilities": windows.mean(axis=0)} | values)


def analysis_of(one: Prediction) -> SoundAnalysis:
    names = [name for name, _ in one.top(5)]
    return SoundAnalysis(one, one, 2.0, SPEC, np.zeros((32, 10)), names, np.zeros((len(names), 32, 10)), "none")


def test_curves_run_through_the_middles_of_the_windows_from_end_to_end():
    assert try_it_html.curve(prediction(), 2.0, 1) == "0.00,20.00 25.00,20.00 75.00,40.00 100.00,40.00"
    assert try_it_html.curve(prediction(seconds=3.0), 2.0, 0).split()[2] == "83.33,60.00"  # half of it is sound


def test_of_several_labels_those_above_their_thresholds_are_found():
    page = try_it_html.answer(analysis_of(prediction(thresholds=np.array([0.25, 0.75]))), "x.wav", 0)
    assert '<h2 tabindex="-1">Predicted: <em>a</em></h2>' in re.sub(r"\s+", " ", page)
    marks = re.findall(r'<i style="left: ([\d.]+)%"', page)
    assert marks == ["75.0", "25.0"]  # b is likelier, and not found
    none = try_it_html.answer(analysis_of(prediction(thresholds=np.array([0.9, 0.9]))), "x.wav", 0)
    assert "None of its 2 labels" in none


def test_the_verdict_says_when_it_is_not_sure():
    assert "Most likely" in try_it_html.answer(analysis_of(prediction()), "x.wav", 0)
    unsure = prediction(probabilities=np.array([0.4, 0.35]))
    assert "Not sure" in try_it_html.answer(analysis_of(unsure), "x.wav", 0)


def test_names_are_no_markup():
    page = try_it_html.answer(analysis_of(prediction()), '<img src=x onerror="alert(1)">{{a}}${b}.wav', 0)
    assert "<img" not in page and "{{" not in page and "${" not in page and "&lt;img" in page


def test_the_page_says_what_the_model_is_and_cannot_do(tones):
    run = Run("tones", tones / "runs")
    test = json.loads((run.report / "test.json").read_text())
    page = try_it_html.render("about", **try_it_html.facts(run))
    assert f"track accuracy {test['track_accuracy']:.3f}" in page and test["split"] in page
    assert "no leak known" in page and "always names one" in page and "synthetic" not in page


def test_the_page_of_a_head_says_that_it_tells_other_sounds(head_run):
    page = try_it_html.render("about", **try_it_html.facts(head_run))
    assert "It says “none of these”" in page and "always names one" not in page


def test_of_several_labels_it_says_so(tag_run):
    analysis = SoundAnalyser(tag_run).analyse(tag_run.root.parent / "audio" / "001.wav")
    assert ">Predicted: " in try_it_html.answer(analysis, "1.wav", 0) and analysis.prediction.thresholds.shape == (3,)
    facts = try_it_html.facts(tag_run)
    page = try_it_html.render("head", **facts) + try_it_html.render("about", **facts)
    assert "3 labels" in page and "macro F1 over tracks" in page and "knows no other label" in page


def test_a_run_that_was_not_tested(tones, tmp_path):
    (tmp_path / "reports" / "tones").mkdir(parents=True)
    shutil.copy(tones / "runs" / "reports" / "tones" / "config.json", tmp_path / "reports" / "tones")
    page = try_it_html.render("about", **try_it_html.facts(Run("tones", tmp_path)))
    assert "python -m scripts evaluate tones" in page


def test_the_time_axis_has_round_ticks():
    assert [try_it_html.times(seconds) for seconds in (5, 30)] == [[0, 1, 2, 3, 4], [0, 5, 10, 15, 20, 25]]
    assert try_it_html.times(542) == try_it_html.times(600) == [0, 120, 240, 360, 480]


def test_a_long_song_is_drawn_by_means_that_can_be_told_apart():
    """Of 540 windows, each third of another probability, 100 means are drawn, and the page says so."""
    starts, values = np.arange(540.0), np.repeat([0.2, 0.8, 0.5], 180)
    song = prediction(seconds=540.0, starts=starts, windows=np.stack([values, 1 - values], axis=1))
    points = [tuple(map(float, one.split(","))) for one in try_it_html.curve(song, 1.0, 0).split()]
    assert len(points) == 102 and points[0] == (0, 80) and points[-1] == (100, 50)
    assert {round(y) for x, y in points if 34.5 < x < 65.5} == {20}
    assert "the mean of about 5 windows" in try_it_html.answer(analysis_of(song), "x.wav", 0)
    assert "the mean of" not in try_it_html.answer(analysis_of(prediction()), "x.wav", 0)


def test_what_is_wrong_with_a_file_that_could_be_decoded_in_part_is_said():
    assert "damaged after 2.4 s" in try_it_html.answer(analysis_of(prediction(note="damaged after 2.4 s")), "x.wav", 0)


def test_a_genre_with_the_sign_between_labels_stays_one():
    assert describe_labels("Drum; Bass", "genre") == "Drum; Bass"
    assert describe_labels("bass;drums", "labels") == "bass + drums"
    assert describe_labels("-", "labels") == "none of the labels"


# --- examples -----------------------------------------------------------------------------------------------


def test_examples_are_copies_of_the_runs_test_tracks(tones, tmp_path):
    found = example_sounds.examples(Run("tones", tones / "runs"), tmp_path / "examples")
    assert list(found) == [f"test track: {genre}" for genre in "ABCD"]
    assert {path.parent for path in found.values()} == {tmp_path / "examples"}
    for path, number in zip(found.values(), (0, 5, 10, 15), strict=True):
        assert path.read_bytes() == (tones / "audio" / f"{number}.wav").read_bytes()


def test_where_they_are_gone_some_are_composed(tones, tmp_path, monkeypatch):
    monkeypatch.setattr(example_sounds, "COUNT", 1)
    monkeypatch.setattr(example_sounds, "SECONDS", 1.0)
    monkeypatch.setattr(example_sounds, "tracks_of_test_part", lambda run: {})
    [(name, path)] = example_sounds.examples(Run("tones", tones / "runs"), tmp_path).items()
    assert name == "made here: Hip-Hop" and decode(path, 8000).any()


def test_no_cleaning_of_gradio_takes_an_example_away(analyser, tones, tmp_path):
    """Nor a visitor who uploads the same sound, whose file is deleted."""
    from gradio.route_utils import delete_files_created_by_app

    uploads, kept = tmp_path / "uploads", example_sounds.examples(Run("tones", tones / "runs"), tmp_path / "examples")
    uploads.mkdir()
    service = SoundService(analyser, kept, tmp_path / "contributed", uploads)
    delete_files_created_by_app(build(service), age=None)
    (uploads / "hash").mkdir()
    path = shutil.copy(kept["test track: B"], uploads / "hash")
    service.uploads.add([path])
    assert "Most likely <em>B</em>" in service.answer(Event({"path": path, "allowed": False}))
    assert list(uploads.iterdir()) == []
    assert "Most likely <em>B</em>" in service.answer(Event({"example": 1}))


# --- answers ------------------------------------------------------------------------------------------------


class Event:
    """What the page sends, as gr.EventData has it."""

    def __init__(self, data: object) -> None:
        self._data = data


@pytest.fixture
def service(tmp_path) -> SoundService:
    """One that cannot listen: what it is given is silence to it."""

    class Deaf:
        def analyse(self, path: str) -> SoundAnalysis:
            raise AudioError(path, "silent", "only silence", "record it again")

    (tmp_path / "uploads").mkdir()
    return SoundService(Deaf(), {"one": tmp_path / "0.wav"}, tmp_path / "contributed", tmp_path / "uploads")


def test_nothing_is_answered_that_was_neither_uploaded_nor_is_an_example(service):
    examples = [None, [], {}, *({"example": number} for number in (1, -1, "0"))]
    paths = [{"path": path, "allowed": True} for path in ("/etc/passwd", "\0", None)]
    for data in [*examples, *paths]:
        assert "is not here, or not any more" in service.answer(Event(data)), data


@pytest.mark.parametrize("failing", [False, True])
def test_a_sound_and_its_memory_go_whatever_happens(service, monkeypatch, failing):
    returned = []
    monkeypatch.setattr(try_it_page, "return_freed_memory", lambda: returned.append(1))
    path = stored(service.uploads.folder)
    service.uploads.add([path])
    if failing:
        monkeypatch.setattr(service.analyser, "analyse", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            service.answer(Event({"path": path, "allowed": False}))
    else:
        page = service.answer(Event({"path": path, "allowed": False}))
        assert "song.wav</span>: only silence; record it again." in page and path not in page
    assert returned == [1] and list(service.uploads.folder.iterdir()) == []


def test_no_two_answers_are_the_same(service):
    """The page shows an answer where it changed."""
    assert service.answer(Event({"example": 0})) != service.answer(Event({"example": 0}))


# --- newer versions -----------------------------------------------------------------------------------------


def test_a_promoted_version_takes_over(tones, song, genre_run, tmp_path):
    """In answers, in what the page says of its model and in the notes of sounds that are kept."""
    (tmp_path / "uploads").mkdir()
    registry = Registry(tmp_path / "registry")
    registry.add(Run("tones", tones / "runs"), "m", "production")
    run = find_run(None, tmp_path, tmp_path / "registry")
    newer = partial(registry.newer, tracked_reference(None, run))
    service = SoundService(SoundAnalyser(run), {"song": song}, tmp_path / "kept", tmp_path / "uploads", newer)
    registry.add(genre_run, "m", "staging")
    service.refresh()
    assert "m@1" in service.model()[0] and ">C</span>" in service.answer(Event({"example": 0}))
    registry.promote("m@2", "production")
    service.refresh()
    assert all("m@2" in part for part in service.model())
    path = stored(tmp_path / "uploads")
    shutil.copy(song, path)
    service.uploads.add([path])
    assert ">Mid</span>" in service.answer(Event({"path": path, "allowed": True}))
    assert [json.loads(note.read_text())["model"] for note in (tmp_path / "kept").glob("*.json")] == ["m@2"]


# --- uploads ------------------------------------------------------------------------------------------------


def stored(folder: Path) -> str:
    path = folder / "hash" / "song.wav"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"sound")
    return str(path)


def test_a_file_goes_when_all_who_uploaded_it_have_their_answer(tmp_path):
    tracker, path = UploadTracker(tmp_path), stored(tmp_path)
    tracker.add([path])
    tracker.add([path])
    tracker.finish(path)
    assert Path(path).exists() and tracker.has(path)
    tracker.finish(path)
    assert list(tmp_path.iterdir()) == [] and not tracker.has(path)


def test_who_never_asks_does_not_keep_the_file_of_others(tmp_path, monkeypatch):
    """One uploads and goes, before an answer; an hour later another uploads the same."""
    tracker, path = UploadTracker(tmp_path), stored(tmp_path)
    now = time.monotonic()
    monkeypatch.setattr(try_it_uploads.time, "monotonic", lambda: now)
    tracker.add([path])
    now += 3600
    tracker.add([path])
    tracker.finish(path)
    assert list(tmp_path.iterdir()) == [] and not tracker.has(path)


def upload(tracker: UploadTracker, server: Callable) -> list[dict]:
    """What is sent to somebody whose upload `server` answers."""
    sent = []

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(tracker.watch(server)({"type": "http", "path": "/gradio_api/upload"}, None, send))
    return sent


def test_nothing_goes_while_an_upload_may_be_putting_it_there_again(tmp_path):
    tracker, path = UploadTracker(tmp_path), stored(tmp_path)
    tracker.add([path])

    async def server(scope, receive, send) -> None:
        tracker.finish(path)
        assert Path(path).exists()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": json.dumps([path]).encode()})

    assert len(upload(tracker, server)) == 2 and Path(path).exists() and tracker.has(path)
    tracker.finish(path)
    assert not Path(path).exists()


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path):
    async def server(scope, receive, send) -> None:
        (tmp_path / "tmp1").write_bytes(b"half a so")
        raise ClientDisconnect

    tracker = UploadTracker(tmp_path)
    assert upload(tracker, server) == [] and list(tmp_path.iterdir()) == [] and tracker.running == 0


def test_an_upload_without_end_is_ended(tmp_path, monkeypatch):
    """It would keep everybody's sounds on the disk."""
    monkeypatch.setattr(try_it_uploads, "LONGEST_UPLOAD", 0.0)

    async def server(scope, receive, send) -> None:
        (tmp_path / "tmp1").write_bytes(b"half a so")
        await asyncio.Event().wait()

    tracker = UploadTracker(tmp_path)
    assert upload(tracker, server)[0]["status"] == 408
    assert list(tmp_path.iterdir()) == [] and tracker.running == 0


def test_what_is_kept_has_a_note_of_the_consent(tmp_path):
    path = stored(tmp_path)
    kept = {keep(path, tmp_path / "kept", "tones", prediction()) for _ in range(2)}
    [sound] = kept
    assert sound.suffix == ".wav" and sound.read_bytes() == b"sound"
    note = json.loads(sound.with_suffix(".json").read_text())
    assert note["consent"] == CONSENT and note["name"] == "song.wav" and note["model"] == "tones"
    assert note["probabilities"] == {"b": 0.7, "a": 0.3} and note["received"].endswith("+00:00")
    assert len(list(sound.parent.iterdir())) == 2


# --- the command --------------------------------------------------------------------------------------------


def test_without_a_model_it_says_how_to_train_one(tmp_path, refusal):
    assert "train one first" in refusal(try_it, ["--runs", str(tmp_path)])


def test_a_port_that_is_taken(tones, capsys):
    with socket.socket() as other, pytest.raises(SystemExit) as stopped:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        try_it(["--runs", str(tones / "runs"), "--port", str(port)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"error: port {port} of 127.0.0.1 is taken")


# --- in a browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(serve, chromium, tones, tmp_path_factory):
    """The page of `tones`, run in a folder of its own; its temporary files lie in `folder / "tmp"`."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "tmp").mkdir()
    flags = ["--model", "tones", "--runs", tones / "runs"]
    return serve("try_it", *flags, folder=folder, TMPDIR=str(folder / "tmp")), folder


def give(page, *files: Path) -> None:
    page.set_input_files("#sound input[type=file]", [str(path) for path in files])


def wait_for_answer(page, name: str) -> None:
    """Until the live region tells of the file, and the page works on nothing else."""
    status = "document.querySelector('.sound-status')?.textContent"
    page.wait_for_function(f"name => {status}?.startsWith(name + ': ') && !{status}.includes('…')", arg=name)


def left_behind(folder: Path) -> list[str]:
    """The uploaded files that the app still holds."""
    return [path.name for path in (folder / "tmp").glob("*/uploads/**/*")]


def measure(page, expression: str):
    return page.evaluate(f"(() => {{ const audio = document.querySelector('.answer audio'); return {expression}; }})()")


def wait_until_playable(page, seconds: float) -> None:
    page.wait_for_function("least => document.querySelector('.answer audio')?.duration > least", arg=seconds)


def brightness(page) -> int:
    """Of the background, 0 to 765."""
    return sum(map(int, re.findall(r"\d+", measure(page, "getComputedStyle(document.body).backgroundColor"))[:3]))


def test_a_song_gives_bars_and_curves_below_its_spectrogram_and_stays_nowhere(app, open_page, song, serious_findings):
    page = open_page(app[0].address)
    page.locator("#sound input[type=file]").focus()
    assert page.get_by_text("No microphone").count() == 0 and serious_findings(page) == []
    give(page, song)
    wait_for_answer(page, "a song.wav")
    assert page.locator(".sound-status[role=status]").inner_text().startswith("a song.wav: ")
    assert measure(page, "document.activeElement.type") == "file"
    assert page.locator(".bars .bar").count() == page.locator(".curves polyline").count() == 5
    assert {"C", "F"} < set(page.locator(".bars .label").all_inner_texts())
    sound, curves = page.locator(".sound .ink").bounding_box(), page.locator(".curves svg").bounding_box()
    assert (sound["x"], sound["width"]) == (curves["x"], curves["width"])
    assert curves["y"] >= sound["y"] + sound["height"] and brightness(page) > 600
    assert left_behind(app[1]) == [] and not (app[1] / "data").exists()
    assert serious_findings(page) == []

    chosen = page.locator(".bars label", has_text="C").first
    chosen.click()
    number = chosen.locator("input").get_attribute("value")
    assert page.locator(".heat.on").count() == page.locator(f".heat.on.c{number}").count() == 1
    page.locator(".bars .none").click()
    assert page.locator(".heat.on").count() == 0

    wait_until_playable(page, 5.9)  # the browser has it yet
    page.locator(".panels").click(position={"x": sound["width"] / 2, "y": 20})
    assert measure(page, "audio.currentTime") == pytest.approx(3, abs=0.05)


def test_the_same_song_twice_plays_twice(app, open_page, song):
    page = open_page(app[0].address)
    numbers = []
    for _ in range(2):
        give(page, song)
        page.wait_for_selector(f".answer[data-number]:not([data-number='{''.join(numbers)}'])")
        numbers.append(page.locator(".answer").get_attribute("data-number"))
        wait_until_playable(page, 5.9)
    assert measure(page, "audio.error") is None and left_behind(app[1]) == []


def test_songs_given_while_one_is_answered_are_answered_too(app, open_page, song, tones):
    """The second is dropped, a third chosen, before the first has even arrived."""
    page, held = open_page(app[0].address), []
    page.route("**/upload*", lambda route: held.append(route), times=1)
    with page.expect_request("**/upload*"):
        give(page, song)
    drop = "new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })"
    page.evaluate(
        "text => { const data = new DataTransfer(); data.items.add(new File([text], 'no song.webm'));"
        f"document.querySelector('.drop').dispatchEvent({drop}); }}",
        "<html>not found</html>",
    )
    give(page, tones / "audio" / "5.wav")
    status = page.locator(".sound-status[role=status]").inner_text()
    assert status == "Analysing a song.wav … Next: no song.webm, 5.wav."
    held[0].continue_()
    wait_for_answer(page, "5.wav")
    assert page.locator(".answer h2 em").inner_text() == "B" and left_behind(app[1]) == []
    assert "Traceback" not in "".join(app[0].lines)


def test_a_bad_file_gives_a_readable_message_and_so_does_no_microphone(app, open_page, tmp_path, serious_findings):
    bad = tmp_path / "no song.mp3"
    bad.write_text("<html>not found</html>")
    page = open_page(app[0].address)
    give(page, bad)
    wait_for_answer(page, "no song.mp3")
    message = page.locator(".problem").inner_text()
    assert "no song.mp3: not audio" in message and str(app[1]) not in message
    assert "not audio" in page.locator(".sound-status[role=status]").inner_text()
    assert "Traceback" not in page.content() + "".join(app[0].lines) and left_behind(app[1]) == []
    page.get_by_role("button", name="Record").click()
    page.get_by_text("No microphone found or allowed here").wait_for()
    assert serious_findings(page) == []


def test_too_large_a_file_is_refused_in_words(app, open_page, tmp_path):
    with (tmp_path / "large.wav").open("wb") as file:
        file.truncate(try_it_page.LARGEST * 2**20 + 1)
    page = open_page(app[0].address)
    give(page, tmp_path / "large.wav")
    page.get_by_text("large.wav could not be sent").wait_for()
    assert left_behind(app[1]) == []


def test_a_phone_at_night_scrolls_in_one_direction(app, open_page, song, serious_findings):
    page = open_page(app[0].address, width=390, height=800, dark=True)
    page.wait_for_selector("#sound input[type=file]", state="attached")
    assert measure(page, "document.documentElement.scrollWidth") == 390 and brightness(page) < 150
    give(page, song)
    wait_for_answer(page, "a song.wav")
    assert measure(page, "document.documentElement.scrollWidth") == 390
    assert serious_findings(page) == []


def test_a_recording(app, open_page):
    """As the browser records it: WebM without a length in its header, which can be listened to and heard again."""
    page = open_page(app[0].address, permissions=("microphone",))
    page.get_by_role("button", name="Record").click()
    page.wait_for_function("parseInt(document.querySelector('.record').textContent.slice(6)) >= 2")  # Stop (2 s)
    page.get_by_role("button", name="Stop").click()
    wait_for_answer(page, "recording.webm")
    assert page.locator(".bars .bar").count() == 5 and left_behind(app[1]) == []
    page.wait_for_function("document.querySelector('.answer audio').readyState > 0")
    assert page.get_by_role("button", name="Record").is_visible()


def test_every_kind_of_file_that_can_be_decoded_may_be_chosen(app, open_page):
    page = open_page(app[0].address)
    accepted = page.locator("#sound input[type=file]").get_attribute("accept").split(",")
    assert set(accepted) == {"audio/*", *SUFFIXES} and ".webm" in accepted


def test_an_example(app, open_page):
    page = open_page(app[0].address)
    example = page.get_by_role("button", name="test track: B")
    example.click()
    wait_for_answer(page, "test track: B")
    wait_until_playable(page, 4.9)
    assert page.locator(".answer h2 em").inner_text() == "B" and page.locator(".fate").count() == 0
    assert example.evaluate("button => button === document.activeElement")


def test_a_sound_is_kept_where_that_was_allowed(app, open_page, song):
    page = open_page(app[0].address)
    page.locator("#allowed input").check()
    give(page, song)
    wait_for_answer(page, "a song.wav")
    [sound] = (app[1] / "data" / "contributed").glob("*.wav")
    assert sound.read_bytes() == song.read_bytes() and sound.name in page.locator(".fate").inner_text()
    assert CONSENT in sound.with_suffix(".json").read_text() and left_behind(app[1]) == []


def test_two_people_with_the_same_song(app, open_page, song):
    pages = [open_page(app[0].address) for _ in range(2)]
    for page in pages:
        page.wait_for_selector("#sound input[type=file]", state="attached")
    for page in pages:
        give(page, song)
    for page in pages:
        wait_for_answer(page, "a song.wav")
    assert left_behind(app[1]) == []
