"""docs/corrections.md as written: a model tags, people correct, and the next version of the model takes over."""

import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from scripts.__main__ import main
from scripts.apps.api.server import create_app, load, load_newer
from scripts.apps.store import Store
from scripts.config.experiments import EXPERIMENTS
from scripts.config.run import Run
from scripts.inference.registry import Registry
from tests.corpus import CHORDS, PITCHES, SPEC, make_chords, make_corpus, write_track

pytestmark = pytest.mark.usefixtures("quick_reports")

DOCS = Path(__file__).resolve().parents[2] / "docs" / "corrections.md"
RETRAIN, GENRES, TAGS = re.findall(r"```\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
SMALL = {"spec": SPEC, "device": "cpu", "threads": 1, "batch_size": 8}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three recordings: a high, a low and a middle tone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    for name, pitch in zip(("high", "low", "mid"), PITCHES, strict=True):
        write_track(tmp_path / "recordings" / f"{name}.wav", pitch, seed=1000 + round(pitch))
    return tmp_path


def set_experiment(monkeypatch: pytest.MonkeyPatch, name: str, **settings) -> None:
    monkeypatch.setitem(EXPERIMENTS, name, EXPERIMENTS[name].updated(**SMALL, **settings))


def answers(client: TestClient) -> set[tuple[str, str]]:
    """The model and its version, as an answer, the list of models and a stream name them."""
    song = Path("recordings/low.wav").read_bytes()
    answer = client.post("/predict", files={"files": ("low.wav", song)}).json()
    stream = client.post("/predict/stream", files={"files": ("low.wav", song)}).text.splitlines()[-1]
    [listed] = client.get("/models").json()
    return {(one["model"], one["version"]) for one in (answer, json.loads(stream), {"model": listed["name"], **listed})}


def follow(block: str, correct: Callable[[Store], None]) -> tuple[set, set]:
    """Run the commands; people do `correct` in the monitor. What the API answers before the last command, and after."""
    lines = [shlex.split(line, comments=True)[3:] for line in block.splitlines()]
    commands = "registry api tagger monitor corrections merge mels train registry registry"
    assert " ".join(name for name, *_ in lines) == commands
    first, (_, *of_api), *rest, last = lines
    main(first)
    loaded = load([of_api[1]], Path("runs"), None, 60)
    app = create_app(loaded, newer=partial(load_newer, runs=Path("runs"), registry=None))
    with TestClient(app) as client:
        for name, *flags in rest:
            if name == "monitor":
                correct(Store(flags[1]))
            else:
                main([name, *flags])
        client.portal.call(app.state.refresh)
        before = answers(client)
        main(last)
        client.portal.call(app.state.refresh)
        return before, answers(client)


def kept_parts(old: str, new: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of a table before and after: the rows that are new, after a look that the others are as they were."""
    before, after = (pd.read_csv(path, dtype=str).drop_duplicates("track_id") for path in (old, new))
    pd.testing.assert_frame_equal(after[: len(before)].reset_index(drop=True), before.reset_index(drop=True))
    return before, after[len(before) :]


def test_genres_from_a_correction_to_the_next_version(folder, monkeypatch, refusal):
    """One recording is High, one is Low, and one is said to have two genres, which no table of genres can hold."""
    make_corpus(folder / "data")
    set_experiment(monkeypatch, "fma_cnn_3s", epochs=2, unit="crop")
    main(["mels", "--experiment", "fma_cnn_3s"])
    main(["train", "--experiment", "fma_cnn_3s"])

    def correct(store: Store) -> None:
        sounds = {one.sound.title: one for one in store.newest(9)}
        for title, tags in {"high": ["High"], "low": ["Low"], "mid": ["Low", "Mid"]}.items():
            for tag in {*sounds[title].tags} - {*tags}:
                store.correct(sounds[title].sound.key, tag, "remove", "Ana")
            for tag in {*tags} - {*sounds[title].tags}:
                store.correct(sounds[title].sound.key, tag, "add", "Ana")
            store.confirm(sounds[title].sound.key, "Ana")

    before, after = follow(GENRES, correct)
    assert (before, after) == ({("genres@production", "genres@1")}, {("genres@production", "genres@2")})
    _, new = kept_parts("data/metadata_30_secs.csv", "data/corrected.csv")
    assert sorted(zip(new["genre"], new["class"], new["split"], strict=True)) == [
        ("High", "0", "train"),
        ("Low", "1", "train"),
    ]
    first, second = Run("fma_cnn_3s"), Run("fma_cnn_3s-corrected")
    assert first.load_config()["classes"] == second.load_config()["classes"] == ["High", "Low", "Mid"]
    tested = [sorted(pd.read_csv(run.report / "predictions.csv", dtype=str)["track_id"]) for run in (first, second)]
    assert tested[0] == tested[1]

    command = shlex.split(RETRAIN)[3:]
    assert "change no training track" in refusal(main, command, after=("18 of 18 tracks", "2 of 20 tracks"))
    store = Store("data/sounds")
    [mid] = [one.sound.key for one in store.newest(9) if one.sound.title == "mid"]
    store.correct(mid, "Low", "remove", "Ana")
    main(command)
    assert pd.read_csv("data/genres-3.csv", dtype=str).tail(1)[["genre", "split"]].to_numpy().tolist() == [
        ["Mid", "train"]
    ]
    stages = {version.version: version.stage for version in Registry().versions()}
    before, now = (json.loads((Registry().open(Registry().find(f"genres@{number}")).report / "test.json").read_text())
                   for number in (2, 3))  # fmt: skip
    not_worse = now["track_accuracy"] >= before["track_accuracy"]
    assert (stages[2], stages[3]) == (("archived", "production") if not_worse else ("production", "staging"))


def test_tags_from_a_correction_to_the_next_version(folder, monkeypatch):
    """Each recording is said to have two tags, and one tag that no model knows; that one is taken off."""
    make_chords(folder / "data" / "polyphony")
    network = {name: CHORDS[name] for name in ("model", "learning_rate")}
    place = {"table": "data/polyphony/metadata.csv", "cache": "data/polyphony/mels", "mix": {"max_sources": 2}}
    set_experiment(monkeypatch, "philharmonia_polyphony", epochs=3, **network, **place)
    main(["train", "--experiment", "philharmonia_polyphony", "--seeds", "0"])

    def correct(store: Store) -> None:
        for one in store.newest(9):
            for tag in one.tags:
                store.correct(one.sound.key, tag, "remove", "Ana")
            for tag in ("low", "mid", "rain"):
                store.correct(one.sound.key, tag, "add", "Ben")

    before, after = follow(TAGS, correct)
    assert before == {("instruments@production", "instruments@1")}
    assert after == {("instruments@production", "instruments@2")}
    _, new = kept_parts("data/polyphony/metadata.csv", "data/more.csv")
    assert new[["labels", "split"]].to_numpy().tolist() == [["low;mid", "train"]] * 3
    classes = [Run(f"philharmonia_polyphony-{tag}").load_config()["classes"] for tag in ("seed0", "corrected")]
    assert classes == [["high", "low", "mid"]] * 2
    main(["train", "--experiment", "philharmonia_polyphony", "--tag", "over", "--set", "table=data/more.csv",
          "overrides=data/takes/exports/overrides.csv"])  # fmt: skip
