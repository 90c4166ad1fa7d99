"""The scheduled tagger: what it stores, that it may fail or be killed anywhere, and when it comes back."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import colormaps, pyplot
from matplotlib.colors import Normalize
from matplotlib.image import imread

from scripts.apps.store import Store
from scripts.apps.tagger import __main__ as tagger
from scripts.apps.tagger import schedule
from scripts.apps.tagger.schedule import StopRequested, StopSignal, period, until_next
from scripts.apps.tagger.sources import freesound
from scripts.apps.tagger.sources.contract import SourceError
from scripts.audio.decoding import slice_clips
from scripts.audio.features import make_transform
from scripts.audio.spec import MelSpec
from scripts.common.errors import ConfigError
from scripts.common.lock import locked
from scripts.config.run import Run
from scripts.inference.predictor import Predictor
from scripts.inference.windows import Windows
from tests.corpus import TONES, write_track
from tests.freesound_server import (
    SEARCH,
    TOKEN,
    FreesoundServer,
    Handler,
    body,
    ogg,
    preview,
    silent,
    status,
    truncated,
)

HERTZ = {1: TONES["low"], 2: TONES["high"], 3: TONES["mid"], 10: TONES["low"], 11: TONES["high"]}
NEWEST = [11, 10, 3, 2, 1]
Flags, Server, Capture, Patch = list[str], FreesoundServer, pytest.CaptureFixture[str], pytest.MonkeyPatch


@pytest.fixture
def server(monkeypatch: Patch) -> Iterator[FreesoundServer]:
    """Five tones, the ones with higher ids newer; no real wait."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(freesound.VARIABLE, TOKEN)
    monkeypatch.setattr(schedule.time, "sleep", lambda seconds: None)
    with FreesoundServer() as server:
        for number, hertz in HERTZ.items():
            server.add(number, ogg(hertz), day=number, seconds=2.0)
        monkeypatch.setattr(freesound, "ADDRESS", server.url + SEARCH)
        yield server


@pytest.fixture
def flags(tag_run: Run, tmp_path: Path) -> list[str]:
    run = ["--model", tag_run.name, "--runs", str(tag_run.root), "--registry", str(tmp_path / "registry")]
    return ["--source", "freesound", "--allow-private", "--count", "5", *run, "--store", str(tmp_path / "sounds")]


@pytest.fixture
def once(flags: Flags, capsys: Capture) -> Callable[..., tuple[str, str]]:
    """`once(*more flags)` runs a round and returns what stood on stdout and stderr."""

    def run(*more: str) -> tuple[str, str]:
        tagger.main([*flags, "--once", *more])
        return capsys.readouterr()

    return run


def failure(flags: Flags, capsys: Capture) -> str:
    """The one line of a round that ends with exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        tagger.main([*flags, "--once"])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err and TOKEN not in err
    assert err.splitlines()[-1].startswith("error: ")
    return err.splitlines()[-1]


def stored_ids(folder: Path) -> list[int]:
    return [int(one.sound.key.removeprefix("freesound-")) for one in Store(folder / "sounds").newest(99)]


def check_aligned(folder: Path, server: Server, run: Run) -> None:
    """Every stored sound has the facts, the audio and the probabilities of its own id, and nothing else lies about."""
    predictor, stored = Predictor(run), Store(folder / "sounds").newest(99)
    for one in stored:
        number = int(one.sound.key.removeprefix("freesound-"))
        assert one.audio.read_bytes() == server.previews[number]
        assert (one.sound.title, one.sound.creator) == (f"sound {number}.wav", f"user{number}")
        expected = predictor(one.audio)
        assert list(one.sound.probabilities.values()) == expected.probabilities.tolist()
        assert one.tags == expected.labels
        spec = predictor.experiment.features.spec
        assert imread(one.image).shape[:2] == (spec.rows, spec.frames(round(expected.seconds * spec.sample_rate)))
    for kind in ("audio", "images"):
        assert len(list((folder / "sounds" / kind).iterdir())) == len(stored)
    assert not list((folder / "sounds").rglob("*.tmp"))


# --- what it stores -------------------------------------------------------------------------------------------


def test_newest_sounds_are_tagged_and_stored(server: Server, once: Callable, tmp_path: Path, tag_run: Run) -> None:
    out, err = once("--json", str(tmp_path / "tags.json"))
    assert out == "freesound: 5 newest sounds, 0 there already, 5 stored, 0 failed\n" and err == ""
    assert stored_ids(tmp_path) == NEWEST
    tags = json.loads((tmp_path / "tags.json").read_text())
    assert list(tags) == [f"freesound-{number}" for number in reversed(NEWEST)]
    for one in Store(tmp_path / "sounds").newest(99):
        found = one.sound.probabilities
        assert sorted(tags[one.sound.key]) == ["high", "low", "mid"]
        assert tags[one.sound.key][0] == max(found, key=found.__getitem__)
    check_aligned(tmp_path, server, tag_run)
    [sound] = [one.sound for one in Store(tmp_path / "sounds").newest(1)]
    assert (sound.model, sound.seconds) == ("chords", pytest.approx(2, abs=0.1))
    assert sound.created.startswith("2024-05-11T10:00:00")
    assert list(sound.probabilities) == ["high", "low", "mid"]
    assert list((tmp_path / "sounds" / "tagger" / "freesound" / "downloads").iterdir()) == []
    assert pyplot.get_fignums() == []


def test_second_round_asks_for_nothing_twice(server: Server, once: Callable, tmp_path: Path) -> None:
    once()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sounds").glob("*/*.*")}
    server.requests.clear()
    out, _ = once()
    assert out == "freesound: 5 newest sounds, 5 there already, 0 stored, 0 failed\n"
    assert [target.split("?")[0] for target, _ in server.requests] == [SEARCH]
    assert stored_ids(tmp_path) == NEWEST
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "sounds").glob("*/*.*")}
    assert {path.parent.name for path in after} == {"audio", "images"} and after == before


def test_fewer_sounds_than_asked_for(server: Server, once: Callable, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        del server.sounds[number]
    out, _ = once()
    assert out == "freesound: 2 newest sounds (5 asked for), 0 there already, 2 stored, 0 failed\n"
    server.sounds.clear()
    assert once()[0] == "freesound: 0 newest sounds (5 asked for), 0 there already, 0 stored, 0 failed\n"
    assert stored_ids(tmp_path) == [11, 10]


def test_search_asks_for_lengths_that_the_model_can_hear(server: Server, once: Callable) -> None:
    once("--longest", "12.5")
    assert "duration%3A%5B1+TO+12.5%5D" in server.requests[0][0]


def test_folder_and_model_of_the_registry(tmp_path: Path, tag_run: Run, capsys: Capture, flags: Flags) -> None:
    (tmp_path / "in").mkdir()
    for number, hertz in HERTZ.items():
        write_track(tmp_path / "in" / f"ü {number}.wav", hertz, number, seconds=2)
    registered = tmp_path / "models" / "tones" / "3"
    registered.mkdir(parents=True)
    for folder in ("reports", "checkpoints"):
        (registered / folder).symlink_to(tag_run.root / folder)
    args = [*flags, "--source", "folder", "--folder", str(tmp_path / "in"), "--runs", str(registered), "--once"]
    for known, stored in ((0, 5), (5, 0)):
        tagger.main(args)
        assert f"folder: 5 newest sounds, {known} there already, {stored} stored" in capsys.readouterr().out
    sounds = [one.sound for one in Store(tmp_path / "sounds").newest(9)]
    assert {sound.title for sound in sounds} == {f"ü {number}" for number in HERTZ}
    assert {sound.model for sound in sounds} == {"tones@3"}
    assert len(list((tmp_path / "in").iterdir())) == 5


def test_feed(server: Server, tmp_path: Path, flags: Flags, capsys: Capture) -> None:
    items = "".join(
        f"<item><guid>{number}</guid><enclosure url='{preview(number)}' type='audio/ogg'/></item>" for number in HERTZ
    )
    server.fail("/feed", *[body(f"<rss version='2.0'><channel>{items}</channel></rss>".encode())] * 2)
    for stored in (5, 0):
        tagger.main([*flags, "--source", "rss", "--feed", f"{server.url}/feed", "--once"])
        assert f"{stored} stored, 0 failed" in capsys.readouterr().out
    assert Store(tmp_path / "sounds").count() == 5


@pytest.mark.parametrize("kind", ["mel", "stack"])
def test_picture_shows_the_whole_sound_high_frequencies_on_top(tmp_path: Path, kind: str) -> None:
    spec = MelSpec(sample_rate=8000, n_fft=512, hop_length=256, n_mels=32, track_seconds=5, clip_seconds=1, kind=kind)
    sound = two_and_a_half_seconds()
    tagger.save_picture(in_windows(sound), predictor_of(spec), tmp_path / "a.png")
    values = make_transform(spec)(sound).reshape(-1, 32, spec.frames(20_000))[0, ::-1]
    expected = colormaps["magma"](Normalize()(values))
    np.testing.assert_allclose(imread(tmp_path / "a.png"), expected, atol=1 / 255)


def test_picture_for_a_network_on_waveforms(tmp_path: Path) -> None:
    spec = MelSpec(sample_rate=8000, track_seconds=5, clip_seconds=1, kind="waveform")
    tagger.save_picture(in_windows(two_and_a_half_seconds()), predictor_of(spec), tmp_path / "loud.png")
    tagger.save_picture(in_windows(two_and_a_half_seconds() * 0.5), predictor_of(spec), tmp_path / "soft.png")
    assert imread(tmp_path / "loud.png").shape[1] == 960
    assert (imread(tmp_path / "loud.png") != imread(tmp_path / "soft.png")).any()


def two_and_a_half_seconds() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)


def in_windows(sound: np.ndarray) -> Windows:
    """Four overlapping ones a second, padded."""
    windows = slice_clips(np.pad(sound, (0, 2000)), 8000, 2000)
    return Windows("x", 2.5, np.arange(len(windows)) / 4, waveforms=windows)


def predictor_of(spec: MelSpec) -> SimpleNamespace:
    experiment = SimpleNamespace(features=SimpleNamespace(spec=spec))
    return SimpleNamespace(experiment=experiment, transform=make_transform(spec))


# --- what fails -----------------------------------------------------------------------------------------------


def test_failed_downloads_are_counted_and_tried_again(
    server: Server, once: Callable, tmp_path: Path, tag_run: Run
) -> None:
    server.fail(preview(10), status(404))
    server.fail(preview(3), *[status(503)] * 4)
    server.fail(preview(2), status(404))
    out, err = once()
    reasons = "3 failed (HTTP 404: 2, HTTP 503: 1); what is missing is tried again the next time"
    assert out == f"freesound: 5 newest sounds, 0 there already, 2 stored, {reasons}\n"
    assert re.findall(r"failed: (\S+): .* HTTP (\d+)", err) == [
        ("freesound-10", "404"),
        ("freesound-3", "503"),
        ("freesound-2", "404"),
    ]
    assert stored_ids(tmp_path) == [11, 1]
    check_aligned(tmp_path, server, tag_run)
    assert "2 there already, 3 stored, 0 failed" in once()[0]
    assert stored_ids(tmp_path) == NEWEST
    check_aligned(tmp_path, server, tag_run)


def test_a_failed_sound_is_tried_again_though_newer_ones_came(server: Server, once: Callable, tmp_path: Path) -> None:
    server.fail(preview(1), status(404))
    once()
    for number in range(20, 25):
        server.add(number, ogg(TONES["mid"]), day=number)
    assert once()[0] == "freesound: 5 newest sounds, 0 there already, 6 stored, 0 failed\n"
    assert stored_ids(tmp_path) == [24, 23, 22, 21, 20, *NEWEST]


def test_sounds_that_cannot_be_tagged(server: Server, once: Callable, tmp_path: Path) -> None:
    server.previews[1] = b"<html>not audio</html>"
    server.previews[2] = ogg(level=0.0)
    server.previews[3] = ogg(seconds=0.2)
    server.previews[10] = ogg(seconds=4.0)
    out, err = once("--longest", "3")
    for reason in ("unreadable: 1", "silent: 1", "short: 1", "long: 1"):
        assert reason in out
    assert stored_ids(tmp_path) == [11]
    assert len(err.splitlines()) == 4 and "longer than 3 s" in err


def test_none_stored_is_a_failure(server: Server, flags: Flags, capsys: Capture) -> None:
    for number in HERTZ:
        server.fail(preview(number), *[truncated] * 4)
    line = failure(flags, capsys)
    assert "0 stored, 5 failed (no connection, or it broke off: 5)" in line


def write_songs(folder: Path, **hertz: int) -> None:
    folder.mkdir(exist_ok=True)
    for number, (name, value) in enumerate(hertz.items()):
        write_track(folder / f"{name}.wav", value, number, seconds=2)


def test_a_file_that_can_never_work_is_remembered(flags: Flags, tmp_path: Path, capsys: Capture) -> None:
    """With its reason and by the user's own name for it, until it changes or the settings do."""
    bad, args = tmp_path / "in" / "bad.wav", [*flags, "--source", "folder", "--folder", str(tmp_path / "in"), "--once"]
    write_songs(tmp_path / "in", good=TONES["low"])
    bad.write_bytes(b"not audio at all")
    tagger.main(args)
    out, err = capsys.readouterr()
    assert out == "folder: 2 newest sounds (5 asked for), 0 there already, 1 stored, 1 failed (unreadable: 1)\n"
    assert str(bad) in err and "downloads" not in err and str(tmp_path / "sounds") not in err
    for _ in range(2):
        tagger.main(args)
        out, err = capsys.readouterr()
        line = "1 there already, 0 stored, 0 failed, 1 given up earlier (unreadable: 1)"
        assert out == f"folder: 2 newest sounds (5 asked for), {line}\n" and err == ""
    assert "0 stored, 1 failed (unreadable: 1)" in failure([*args[:-1], "--longest", "200"], capsys)
    write_track(bad, TONES["high"], 1, seconds=2)
    tagger.main(args)
    assert "1 there already, 1 stored, 0 failed\n" in capsys.readouterr().out


def test_sounds_of_the_web_that_cannot_be_used(server: Server, once: Callable, tmp_path: Path) -> None:
    """Asked for five times, since the server may change them, but of those known to fail the exit code is 0."""
    for number in (2, 3, 10, 11):
        del server.sounds[number]
    server.previews[1] = ogg(level=0.0)
    with pytest.raises(SystemExit):
        once()
    for _ in range(4):
        out, err = once()
        assert "0 stored, 1 failed (silent: 1)" in out
        assert "https://freesound.org/people/user1/sounds/1/: below -60 dB" in err
    assert "tried again" not in out and server.asked(preview(1)) == 5
    assert "0 stored, 0 failed, 1 given up earlier (silent: 1)" in once()[0]
    assert server.asked(preview(1)) == 5


def test_each_folder_has_a_list_of_its_own(flags: Flags, tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    """What was not reached in one of them is not looked for in a round of the other."""

    def broken(*_: object) -> None:
        raise SourceError("a disk that comes and goes", "no disk", 0.0)

    common = [*flags, "--source", "folder", "--once", "--folder"]
    for name in ("one", "two"):
        write_songs(tmp_path / name, **{name: TONES["low"] if name == "one" else TONES["high"]})
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(tagger.Folder, "fetch", broken)
        tagger.main([*common, str(tmp_path / "one")])
    capsys.readouterr()
    tagger.main([*common, str(tmp_path / "two")])
    assert "1 newest sounds (5 asked for), 0 there already, 1 stored, 0 failed\n" in capsys.readouterr().out
    assert [stored.sound.title for stored in Store(tmp_path / "sounds").newest(9)] == ["two"]
    tagger.main([*common, str(tmp_path / "one")])
    assert "1 stored" in capsys.readouterr().out and Store(tmp_path / "sounds").count() == 2


def test_what_keeps_a_round_from_starting(
    server: Server, flags: Flags, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    for more, text in (
        (["--source", "folder"], "--source folder needs --folder"),
        (["--source", "rss"], "--source rss needs --feed"),
        (["--source", "folder", "--folder", "nowhere"], "nowhere: not a folder"),
        (["--runs", str(tmp_path / "none")], "train"),
    ):
        assert text in failure([*flags, *more], capsys)
    assert server.requests == []
    server.fail(SEARCH, *[status(503)] * 4)
    assert "the server answers HTTP 503; try again later" in failure(flags, capsys)
    monkeypatch.delenv(freesound.VARIABLE)
    assert "FREESOUND_TOKEN is not set; get a token at https://freesound.org" in failure(flags, capsys)
    monkeypatch.setenv(freesound.VARIABLE, "wrong")
    assert "Freesound does not accept the token in FREESOUND_TOKEN" in failure(flags, capsys)


def test_disk_full_keeps_what_was_stored(
    server: Server, flags: Flags, once: Callable, tmp_path: Path, capsys: Capture, monkeypatch: Patch, tag_run: Run
) -> None:
    original = Store.add

    def add(store: Store, *values: object) -> None:
        if store.count() == 2:
            raise OSError(28, "No space left on device", str(tmp_path))
        original(store, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", add)
        assert "No space left on device; free some space" in failure(flags, capsys)
    assert stored_ids(tmp_path) == NEWEST[:2]
    assert "2 there already, 3 stored" in once()[0]
    check_aligned(tmp_path, server, tag_run)


def test_two_taggers_on_one_store(server: Server, flags: Flags, tmp_path: Path, capsys: Capture) -> None:
    with locked(tmp_path / "sounds" / "tagger" / "freesound"):
        assert "freesound: another process is at work on it; wait until that is done" in failure(flags, capsys)
    assert server.requests == []


# --- killed anywhere ------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As if the process had ended here."""


def test_killed_with_a_download_in_hand(
    server: Server, flags: Flags, once: Callable, tmp_path: Path, tag_run: Run
) -> None:
    """A real process, ended by SIGKILL while the third download hangs half-way."""
    arrived = threading.Event()

    def half(handler: Handler) -> None:
        handler.send(200, server.previews[3], sent=1000)
        handler.wfile.flush()
        arrived.set()
        silent(handler)

    server.fail(preview(3), half)
    code = "from scripts.apps.tagger import __main__ as tagger; from scripts.apps.tagger.sources import freesound"
    code += f"; freesound.ADDRESS = {server.url + SEARCH!r}; tagger.main()"
    process = subprocess.Popen([sys.executable, "-c", code, *flags, "--once"])
    assert arrived.wait(120)
    process.kill()
    process.wait()
    assert stored_ids(tmp_path) == NEWEST[:2]
    assert "2 there already, 3 stored, 0 failed" in once()[0]
    assert stored_ids(tmp_path) == NEWEST
    check_aligned(tmp_path, server, tag_run)
    assert list((tmp_path / "sounds" / "tagger" / "freesound" / "downloads").iterdir()) == []


@pytest.mark.parametrize("place", ["prepare", "picture", "add", "after"])
def test_killed_at_any_step(
    server: Server, flags: Flags, tmp_path: Path, tag_run: Run, place: str, monkeypatch: Patch
) -> None:
    owners = {
        "prepare": (Predictor, "prepare"),
        "picture": (tagger, "save_picture"),
        "add": (Store, "add"),
        "after": (Store, "add"),
    }
    original, calls = getattr(*owners[place]), []

    def kill(*values: object) -> object:
        calls.append(1)
        if len(calls) == 2 and place != "after":
            raise Killed
        result = original(*values)
        if len(calls) == 2:
            raise Killed
        return result

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*owners[place], kill)
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # SIGKILL cleans nothing up
        tagger.main([*flags, "--once"])
    assert stored_ids(tmp_path) == NEWEST[: 2 if place == "after" else 1]
    tagger.main([*flags, "--once"])
    assert stored_ids(tmp_path) == NEWEST
    check_aligned(tmp_path, server, tag_run)


# --- again and again, until somebody stops it -----------------------------------------------------------------


def stop_in(number: int, server: Server) -> None:
    """SIGTERM to the tagger's thread while the preview of a sound is being sent: it has it before it goes on."""

    def answer(handler: Handler) -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        handler.send(200, server.previews[number])

    server.fail(preview(number), answer)


@pytest.mark.parametrize("when", [["--once"], ["--every", "3d"]])
def test_stop_finishes_the_sound_in_hand(
    server: Server, flags: Flags, tmp_path: Path, tag_run: Run, capsys: Capture, when: list[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stop_in(10, server)
    tagger.main([*flags, *when])
    closing, last = capsys.readouterr().out.splitlines()
    assert "2 stored, 0 failed, 3 not reached; what is missing is tried again the next time" in closing
    assert last == "stopped; the same command goes on where this one ended"
    assert stored_ids(tmp_path) == NEWEST[:2]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    tagger.main([*flags, "--once"])
    assert stored_ids(tmp_path) == NEWEST
    check_aligned(tmp_path, server, tag_run)


def test_stop_ends_the_wait_before_another_try(server: Server, flags: Flags, tmp_path: Path, capsys: Capture) -> None:
    def busy(handler: Handler) -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        handler.send_detail(429, "Slow down", Retry_After="200")

    server.fail(preview(11), busy)
    tagger.main([*flags, "--once"])
    closing, last = capsys.readouterr().out.splitlines()
    assert "0 stored, 0 failed, 5 not reached" in closing and last.startswith("stopped")
    assert server.asked(preview(11)) == 1


def test_every_reports_a_failed_round_and_tries_the_next(
    server: Server, flags: Flags, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    between = []

    def wait(_stop: StopSignal, seconds: float) -> None:
        if seconds < 3000:
            return
        between.append(seconds)
        if len(between) == 3:
            raise StopRequested

    monkeypatch.setattr(StopSignal, "wait", wait)
    server.fail(SEARCH, *[status(500)] * 4)
    tagger.main([*flags, "--every", "1h"])
    out, err = capsys.readouterr()
    assert re.fullmatch(r"failed round: .*HTTP 500; try again later\n", err)
    lines = [line for line in out.splitlines() if not line.startswith("next round: ")]
    assert [re.sub(r".*, (\d) there already, (\d) stored.*", r"\1 \2", line) for line in lines] == ["0 5", "5 0"]
    assert all(3000 < pause <= 3600 for pause in between)


def test_every_goes_on_whatever_fails(server: Server, flags: Flags, capsys: Capture, monkeypatch: Patch) -> None:
    faults = [OSError(28, "No space left on device"), ConfigError("nothing is trained"), StopRequested()]

    def find_run(*_: object) -> Run:
        raise faults.pop(0)

    monkeypatch.setattr(tagger, "find_run", find_run)
    tagger.main([*flags, "--every", "2s"])
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("failed round: input/output: No space left on device; free some space")
    assert second == "failed round: nothing is trained"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait(number: int) -> None:
    with StopSignal() as stop:
        threading.Timer(0.05, os.kill, [os.getpid(), number]).start()
        with pytest.raises(StopRequested):
            stop.wait(300)
        assert stop.requested
        with pytest.raises(StopRequested):
            stop.wait(300)


def test_second_signal_ends_at_once() -> None:
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)  # to this thread: another one might get that of os.kill, and later
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_rounds_are_counted_from_the_start() -> None:
    assert until_next(0.0, 3600.0) == 3600.0
    assert until_next(600.0, 3600.0) == 3000.0
    assert until_next(3600.0 + 5.0, 3600.0) == 3595.0  # a round of more than a period: the next multiple
    assert until_next(7300.0, 3600.0) == 3500.0


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("3d", 259_200)])
def test_periods(text: str, expected: float) -> None:
    assert period(text) == expected


@pytest.mark.parametrize("text", ["", "3", "d", "0s", "-1h", "1.5h", "3w", "3 d", "٣d"])
def test_no_periods(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write one such as 90s, 30m, 12h or 3d"):
        period(text)
