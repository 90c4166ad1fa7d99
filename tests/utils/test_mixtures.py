"""Polyphony: what is in the mixtures, that nothing crosses the split, restarts, and bad input."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from scripts.audio.waveform_mixing import Job, MixtureSettings, mixture, take_piece
from scripts.utils.mixtures import main, parse_request
from tests.corpus import GENRES, PITCHES, make_corpus

RATE = 8000
ASKED = ["train=9:1-3", "test=6:2-3"]


def make(folder: Path, *more: str, output: str = "out", parts: list[str] = ASKED, table: str = "") -> pd.DataFrame:
    """Run the command on the corpus below `folder`; returns the table that it wrote."""
    source = folder / (table or "metadata_30_secs.csv")
    paths = ["--input", str(source), "--output", str(folder / output)]
    main([*paths, "--part", *parts, "--sample-rate", str(RATE), "--seconds", "1.5", "--workers", "1", *more])
    return pd.read_csv(folder / output / "metadata.csv", dtype={"artist_id": str, "album_id": str})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "audio").iterdir()}


def levels(waveform: np.ndarray) -> dict[str, float]:
    """Power of each genre's band in dB, of the loudest."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))) ** 2
    hertz = np.fft.rfftfreq(len(waveform), 1 / RATE)
    power = np.array([spectrum[(hertz > 0.88 * pitch) & (hertz < 1.12 * pitch)].sum() for pitch in PITCHES])
    return dict(zip(GENRES, 10 * np.log10(power / power.max()), strict=True))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def made(corpus: Path) -> pd.DataFrame:
    return make(corpus, "--spread", "0", output="made")


# --- table and audio --------------------------------------------------------------------------------------------


def test_sources_are_of_the_mixtures_own_part_and_labels_of_its_sources(corpus, made):
    tracks = pd.read_csv(corpus / "metadata_30_secs.csv", dtype=str).set_index("track_id")
    for row in made.itertuples():
        sources = tracks.loc[row.sources.split(";")]
        assert set(sources["split"]) == {row.split}
        assert row.labels.split(";") == sorted(sources["genre"])
        assert set(row.artist_id.split(";")) == set(sources["artist_id"])
        assert set(row.album_id.split(";")) == set(sources["album_id"])


def test_numbers_are_as_asked(made):
    assert made["split"].value_counts().to_dict() == {"train": 9, "test": 6}
    sources = made["sources"].str.split(";").map(len).groupby(made["split"]).value_counts()
    assert sources.to_dict() == {("train", 1): 3, ("train", 2): 3, ("train", 3): 3, ("test", 2): 3, ("test", 3): 3}
    assert made["track_id"].is_unique
    assert "absent" not in made


def test_audio_holds_its_labels_equally_loud_and_nothing_else(made):
    for row in made.itertuples():
        waveform, rate = soundfile.read(row.file_path)
        assert (rate, len(waveform) / rate, row.duration_s) == (RATE, 1.5, 1.5)
        assert np.abs(waveform).max() == pytest.approx(0.9, abs=1e-3)
        found = levels(waveform)
        assert {name for name in GENRES if found[name] > -2} == set(row.labels.split(";"))
        assert max((found[name] for name in set(GENRES) - set(row.labels.split(";"))), default=-99) < -10


def test_a_track_is_taken_from_another_place_each_time(corpus):
    table = make(corpus, output="twice", parts=["test=6:1"])
    assert table["sources"].value_counts().tolist() == [2, 2, 2]
    assert len(set(contents(corpus / "twice").values())) == 6


def test_a_soft_file_is_made_as_loud_as_a_loud_one(tone, tmp_path):
    files = [str(tone(f"{pitch}.wav", 1.0, RATE, frequency=pitch)) for pitch in PITCHES[:2]]
    soundfile.write(tmp_path / "soft.wav", 0.02 * soundfile.read(files[1])[0], RATE)
    job = Job("", (files[0], str(tmp_path / "soft.wav")), (0,))
    found = levels(mixture(MixtureSettings(seconds=1.0, sample_rate=RATE, spread=0.0), job))
    assert found[GENRES[0]] == pytest.approx(found[GENRES[1]], abs=0.5)


def test_spread_makes_them_unequal(corpus):
    table = make(corpus, "--spread", "12", output="spread", parts=["train=8:2"])
    softest = [sorted(levels(soundfile.read(path)[0]).values())[1] for path in table["file_path"]]
    assert -13 < min(softest) < -4


def test_concatenated_tracks_sound_one_after_another(corpus):
    table = make(corpus, "--mode", "concatenate", output="joined", parts=["test=3:3"])
    genre = pd.read_csv(corpus / "metadata_30_secs.csv", dtype=str).set_index("track_id")["genre"]
    for row in table.itertuples():
        thirds = soundfile.read(row.file_path)[0].reshape(3, -1)
        assert [max(found, key=found.get) for found in map(levels, thirds)] == genre[row.sources.split(";")].tolist()
        assert max(sorted(levels(third).values())[1] for third in thirds) < -10


def test_partial_labels_stay_partial(tmp_path):
    table = make_corpus(tmp_path)
    known = {"High": ("High", "Low"), "Low": ("Low", "-"), "Mid": ("Mid;pad", "High")}  # labels, absent
    cells = pd.DataFrame([known[genre] for genre in table["genre"]], columns=["labels", "absent"])
    table.drop(columns=["genre", "class"]).join(cells).to_csv(tmp_path / "partial.csv", index=False)
    made = make(tmp_path, table="partial.csv", parts=["train=12:1-2"])
    found = set(zip(made["labels"], made["absent"], strict=True))
    pairs = {("High;Low", "-"), ("High;Mid;pad", "-"), ("Low;Mid;pad", "-")}
    single = {("High", "Low"), ("Low", "-"), ("Mid;pad", "High")}
    assert found <= pairs | single
    assert found & pairs and found & single


def test_unknown_artists_stay_unknown(tmp_path):
    make_corpus(tmp_path).assign(artist_id=None, album_id=-1).to_csv(tmp_path / "nobody.csv", index=False)
    made = make(tmp_path, table="nobody.csv", parts=["test=2:2"])
    assert made[["artist_id", "album_id"]].isna().all(axis=None)


def test_a_table_of_several_labels_keeps_those_with_a_common_one_apart(tmp_path):
    table = make_corpus(tmp_path)
    labels = table["genre"].map({"High": "a;b", "Low": "b;c", "Mid": "d"})
    table.drop(columns=["genre", "class"]).assign(labels=labels).to_csv(tmp_path / "several.csv", index=False)
    made = make(tmp_path, table="several.csv", parts=["train=40:1-2"])
    assert set(made["labels"]) <= {"a;b", "b;c", "d", "a;b;d", "b;c;d"}


# --- pieces -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 9000), st.integers(0, 1000))
def test_a_piece_is_cut_where_there_is_sound(place, seed):
    waveform = np.zeros(10_000, np.float32)
    waveform[place : place + 1000] = 0.5
    piece = take_piece(waveform, 2000, np.random.default_rng(seed))
    assert len(piece) == 2000
    assert np.count_nonzero(piece) >= 100


@given(st.integers(1, 2000), st.integers(0, 1000))
def test_a_short_waveform_is_kept_whole(length, seed):
    waveform = np.arange(1, length + 1, dtype=np.float32)
    piece = take_piece(waveform, 2000, np.random.default_rng(seed))
    assert len(piece) == 2000
    assert piece[piece != 0].tolist() == waveform.tolist()


def test_a_short_waveform_starts_anywhere():
    pieces = [take_piece(np.ones(1990, np.float32), 2000, np.random.default_rng(seed)) for seed in range(300)]
    assert {int(piece.argmax()) for piece in pieces} == set(range(11))


def test_pieces_start_anywhere():
    waveform = np.sin(np.arange(5000.0))
    pieces = [take_piece(waveform, 1000, np.random.default_rng(seed)) for seed in range(200)]
    starts = [int(np.flatnonzero(np.isclose(waveform[:4001], piece[0], atol=1e-12))[0]) for piece in pieces]
    assert min(starts) < 200 and max(starts) > 3800


def test_turns_that_do_not_divide_the_length_fill_it(tone):
    files = tuple(str(tone(f"{pitch}.wav", 1.0, RATE, frequency=pitch)) for pitch in (300, 500, 900))
    form = MixtureSettings("concatenate", seconds=0.5, sample_rate=RATE)
    waveform = mixture(form, Job("", files, (0,)))
    assert len(waveform) == 4000
    assert np.abs(waveform[-20:]).max() > 0.1


# --- restarts ---------------------------------------------------------------------------------------------------


def test_number_of_workers_changes_nothing(corpus, made):
    again = make(corpus, "--spread", "0", "--workers", "2", output="again")
    assert contents(corpus / "again") == contents(corpus / "made")
    assert again.drop(columns="file_path").equals(made.drop(columns="file_path"))


def test_another_seed_makes_other_mixtures(corpus, made):
    other = make(corpus, "--spread", "0", "--seed", "1", output="other")
    assert not other["sources"].equals(made["sources"])


def test_a_folder_of_an_earlier_version_goes_on(corpus):
    make(corpus, "--mode", "concatenate", output="earlier")
    path = corpus / "earlier" / "polyphony.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({"how" if name == "mode" else name: value for name, value in record.items()}))
    before = contents(corpus / "earlier")
    make(corpus, "--how", "concatenate", output="earlier")
    assert contents(corpus / "earlier") == before and json.loads(path.read_text()) == record


def test_an_interrupted_run_goes_on(corpus):
    complete = make(corpus, output="whole")
    make(corpus, output="broken")
    folder = corpus / "broken"
    (folder / "metadata.csv").unlink()
    kept = sorted((folder / "audio").iterdir())
    for path in kept[::2]:
        path.unlink()
    before = {path: path.stat().st_mtime_ns for path in kept[1::2]}
    resumed = make(corpus, output="broken")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(folder) == contents(corpus / "whole")
    assert resumed["sources"].equals(complete["sources"])


@pytest.mark.parametrize(
    ("more", "message"),
    [(["--spread", "1"], "differ in spread;"), (["--seed", "1"], "differ in seed, spread, tracks;")],
)
def test_another_request_does_not_touch_what_is_there(corpus, made, more, message, refusal):
    before = contents(corpus / "made")
    assert message in refusal(make, corpus, *more, output="made")
    assert contents(corpus / "made") == before


def test_a_folder_with_other_audio_is_refused(tmp_path, refusal):
    make_corpus(tmp_path)
    assert "did not make" in refusal(make, tmp_path, output=".")
    assert not (tmp_path / "polyphony.json").exists()


def test_unusable_sources_are_left_out_and_counted(tmp_path, capsys):
    table = make_corpus(tmp_path)
    train = table.index[table["split"] == "train"]
    paths = [Path(table["file_path"][row]) for row in train[:3]]
    paths[0].write_text("<html>")
    soundfile.write(paths[1], np.zeros(RATE), RATE)
    paths[2].unlink()
    made = make(tmp_path, parts=["train=40:1-2"])
    used = {int(track) for cell in made["sources"].astype(str) for track in cell.split(";")}
    assert used == {int(table["track_id"][row]) for row in train[3:]}
    said = capsys.readouterr().out
    assert "3 of 12 tracks left out" in said
    assert all(f"1 {fault}" in said for fault in ("unreadable", "silent", "missing"))


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "least", "most"), [("test=7:2-3", 2, 3), ("test=7:2", 2, 2), ("test=7", 1, 3), ("test=7:10-12", 10, 12)]
)
def test_request_is_read(text, least, most):
    request = parse_request(text)
    assert (request.part, request.count, request.min_tracks, request.max_tracks) == ("test", 7, least, most)


@pytest.mark.parametrize(
    ("parts", "more", "message"),
    [
        (["tests=3"], [], "did you mean 'test'"),
        (["test"], [], "give it as train=2000"),
        (["test=3:3-"], [], "give it as train=2000"),
        (["test=0"], [], "at least one mixture"),
        (["test=3:3-2"], [], "3 to 2 tracks"),
        (["test=3:0-2"], [], "0 to 2 tracks"),
        (["test=3", "test=4"], [], "each part once"),
        (["test=3"], ["--seed", "-1"], "seed of at least 0"),
        (["test=3"], ["--seconds", "0"], "at least 0.1 s"),
        (["test=3"], ["--spread", "-1"], "at least 0"),
        (["test=3"], ["--sample-rate", "1000000"], "at most 655350"),
        (["test=3:4"], [], "mixtures of 4"),
    ],
)
def test_wrong_requests_are_one_line(corpus, parts, more, message, refusal):
    assert message in refusal(make, corpus, *more, parts=parts, output="refused")
    assert not (corpus / "refused").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": None}, "has no split"),
        ({"split": "train"}, "no usable track in test"),
        ({"genre": "Low"}, "have 1 of the labels; mixtures of 2"),
        ({"genre": None}, "row 2 has no genre"),
        ({"file_path": "nowhere.wav"}, "in two parts"),
        ({"track_id": 1}, "in two parts"),
    ],
)
def test_wrong_tables_are_one_line(tmp_path, change, message, refusal):
    make_corpus(tmp_path).assign(**change).to_csv(tmp_path / "wrong.csv", index=False)
    assert message in refusal(make, tmp_path, parts=["test=4:2"], table="wrong.csv")
