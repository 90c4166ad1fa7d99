"""Datasets of notes, solo clips and noises: hand-made trees with the tables they should give, and damaged ones."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.common.errors import ConfigError, TableError
from scripts.datasets import esc50, medley_solos_db, nsynth, philharmonia, tinysol
from scripts.datasets.contract import Dataset
from scripts.datasets.tiny import write_tone
from scripts.tables.label_matrix import label_matrix
from scripts.tables.label_table import LABEL_COLUMNS

FOLDED = pytest.mark.parametrize("module", [tinysol, esc50], ids=["tinysol", "esc50"])


def rows_of(table: pd.DataFrame, columns: str) -> list[tuple]:
    """The rows of some columns, with None for what is empty."""
    chosen = table[columns.split()].astype(object)
    return list(chosen.where(chosen.notna(), None).itertuples(index=False, name=None))


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def complaint(dataset: Dataset, root: Path, **options: str) -> str:
    """The one line that a damaged dataset is refused with."""
    with pytest.raises(TableError) as caught:
        dataset.label_table(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- philharmonia -------------------------------------------------------------------------------------------


def test_philharmonia_takes_the_instrument_from_the_folder(tmp_path: Path) -> None:
    names = {
        "cor anglais": "english-horn_A3_15_forte_normal.mp3",
        "bass clarinet": "bass-clarinet_Cs2_phrase_mezzo-forte_.mp3",
        "percussion/snare drum": "snare-drum__025_forte_with-snares.mp3",
    }
    for folder, name in names.items():
        write_tone(tmp_path / folder / name, 0, seconds=0.25)
    (tmp_path / "viola").mkdir()
    (tmp_path / "viola" / "viola_D6_05_piano_arco-normal.mp3").write_bytes(b"")
    table = philharmonia.DATASET.label_table(tmp_path)
    assert list(table) == LABEL_COLUMNS
    assert rows_of(table, "track_id genre class artist_id album_id split") == [
        ("bass-clarinet_Cs2_phrase_mezzo-forte_", "bass clarinet", 0, None, None, None),
        ("english-horn_A3_15_forte_normal", "cor anglais", 1, None, None, None),
        ("snare-drum__025_forte_with-snares", "percussion", 2, None, None, None),
        ("viola_D6_05_piano_arco-normal", "viola", 3, None, None, None),
    ]
    assert table["file_path"].iloc[2] == f"{tmp_path}/percussion/snare drum/snare-drum__025_forte_with-snares.mp3"
    assert table["duration_s"].notna().tolist() == [True, True, True, False]


def test_philharmonia_refuses_other_names_and_doubles(tmp_path: Path) -> None:
    philharmonia.make_tiny(tmp_path)
    note = tmp_path / "banjo" / "banjo_C4_1_forte_normal.mp3"
    (tmp_path / "banjo" / "banjo_C4.mp3").write_bytes(note.read_bytes())
    message = complaint(philharmonia.DATASET, tmp_path)
    assert "banjo/banjo_C4.mp3: not named instrument_pitch_length_dynamics_technique" in message
    (tmp_path / "banjo" / "banjo_C4.mp3").rename(tmp_path / "viola" / note.name)
    assert "banjo_C4_1_forte_normal stands 2 times" in complaint(philharmonia.DATASET, tmp_path)


# --- nsynth -------------------------------------------------------------------------------------------------

NOTES = {
    "valid": {"reed_acoustic_037-068-127": ("reed", "acoustic", "reed_acoustic_037")},
    "train": {
        "vocal_synthetic_003-060-050": ("vocal", "synthetic", "vocal_synthetic_003"),
        "bass_synthetic_068-049-025": ("bass", "synthetic", "bass_synthetic_068"),
    },
}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """NSynth without its test part, and without the audio of one of three notes."""
    for part, facts in NOTES.items():
        folder = tmp_path / f"nsynth-{part}"
        named = {
            note: {"note_str": note, "pitch": 60, "qualities": [0, 1]}
            | dict(zip(["instrument_family_str", "instrument_source_str", "instrument_str"], values, strict=True))
            for note, values in facts.items()
        }
        folder.mkdir()
        (folder / "examples.json").write_text(json.dumps(named))
        write_tone(folder / "audio" / f"{list(facts)[-1]}.wav", 0, seconds=0.25)
    return tmp_path


def test_nsynth_by_family(notes: Path) -> None:
    table = nsynth.DATASET.label_table(notes)
    assert list(table) == LABEL_COLUMNS
    assert rows_of(table, "track_id genre class artist_id album_id split duration_s") == [
        ("vocal_synthetic_003-060-050", "vocal", 2, "vocal_synthetic_003", None, "train", None),
        ("bass_synthetic_068-049-025", "bass", 0, "bass_synthetic_068", None, "train", 0.25),
        ("reed_acoustic_037-068-127", "reed", 1, "reed_acoustic_037", None, "validation", 0.25),
    ]
    assert table["file_path"].iloc[2] == f"{notes}/nsynth-valid/audio/reed_acoustic_037-068-127.wav"


def test_nsynth_by_source_or_instrument(notes: Path) -> None:
    by_source = nsynth.DATASET.label_table(notes, label="source")
    assert by_source["genre"].tolist() == ["synthetic", "synthetic", "acoustic"]
    by_instrument = nsynth.DATASET.label_table(notes, label="instrument")
    assert by_instrument["genre"].tolist() == by_source["artist_id"].tolist()
    assert by_source["split"].notna().all() and by_instrument["split"].isna().all()
    with pytest.raises(ConfigError, match="unknown label 'famly'; did you mean 'family'"):
        nsynth.DATASET.label_table(notes, label="famly")


def test_nsynth_keeps_the_instruments_of_train_apart(tmp_path: Path) -> None:
    nsynth.make_tiny(tmp_path)
    table = nsynth.DATASET.label_table(tmp_path)
    played = table.groupby("split")["artist_id"].agg(set)
    assert not played["train"] & (played["validation"] | played["test"])
    assert played["validation"] == played["test"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{", "", "examples.json: damaged ("),
        ('"reed"', "7", "note reed_acoustic_037-068-127 has 7 for instrument_family_str, not a name"),
        ("instrument_str", "instrument_", "note reed_acoustic_037-068-127 has None for instrument_str"),
    ],
)
def test_nsynth_that_is_damaged(notes: Path, old: str, new: str, words: str) -> None:
    replace_in(notes / "nsynth-valid" / "examples.json", old, new)
    message = complaint(nsynth.DATASET, notes)
    assert message.startswith(f"{notes}/nsynth-valid/examples.json") and words in message


def test_nsynth_that_is_not_all_there(notes: Path) -> None:
    path = notes / "nsynth-valid" / "examples.json"
    path.write_text("[]")
    assert "not a JSON object of notes" in complaint(nsynth.DATASET, notes)
    path.write_text('{"reed_acoustic_037-068-127": "reed"}')
    assert "note reed_acoustic_037-068-127 has None for instrument_family_str" in complaint(nsynth.DATASET, notes)
    path.write_bytes(b"\xff\xfe\x00")
    assert "damaged (" in complaint(nsynth.DATASET, notes)
    path.unlink()
    assert "examples.json: no such file" in complaint(nsynth.DATASET, notes)


# --- medley_solos_db ----------------------------------------------------------------------------------------

MEDLEY = """subset,instrument,instrument_id,song_id,uuid4
validation,flute,3,210,d07b1fc0-567d-52c2-fef4-239f31c9d40e
training,violin,7,12,0334342a-d60a-58d7-fdd3-336d304471ec
test,female singer,2,99,00fa5f4e-3114-58a4-f829-f13c30f59946
"""


def csv_in(root: Path, path: Path, text: str) -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    return root / path


def test_medley_solos_db(tmp_path: Path) -> None:
    csv_in(tmp_path, medley_solos_db.METADATA, MEDLEY)
    audio = tmp_path / "audio" / "Medley-solos-DB_validation-3_d07b1fc0-567d-52c2-fef4-239f31c9d40e.wav"
    write_tone(audio, 0, seconds=0.25)
    table = medley_solos_db.DATASET.label_table(tmp_path)
    assert list(table) == [*LABEL_COLUMNS, "fold"] and table["fold"].tolist() == ["3", "1", "2"]
    assert rows_of(table, "track_id genre class artist_id album_id split duration_s") == [
        ("d07b1fc0-567d-52c2-fef4-239f31c9d40e", "flute", 1, None, "song-210", "validation", 0.25),
        ("0334342a-d60a-58d7-fdd3-336d304471ec", "violin", 2, None, "song-12", "train", None),
        ("00fa5f4e-3114-58a4-f829-f13c30f59946", "female singer", 0, None, "song-99", "test", None),
    ]
    assert table["file_path"].iloc[0] == audio.as_posix()
    assert Path(table["file_path"].iloc[2]).name == ("Medley-solos-DB_test-2_00fa5f4e-3114-58a4-f829-f13c30f59946.wav")


def test_medley_solos_db_without_songs(tmp_path: Path) -> None:
    lines = [line.split(",") for line in MEDLEY.splitlines()]
    csv_in(tmp_path, medley_solos_db.METADATA, "\n".join(",".join(line[:3] + line[4:]) for line in lines))
    table = medley_solos_db.DATASET.label_table(tmp_path)
    assert table["album_id"].isna().all() and table["split"].tolist() == ["validation", "train", "test"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("uuid4", "uuid", "lacks uuid4; it has subset, instrument"),
        ("training,", "train,", "row 3 has 'train' for subset, not one of training, validation, test"),
        ("violin", "fiddle", "row 3 has 'fiddle' for instrument, not one of clarinet"),
        (",2,99", ",,99", "row 4 has no instrument_id"),
        ("subset,", 'subset,"', "not a CSV table"),
        ("00fa5f4e-3114-58a4-f829-f13c30f59946", "0334342a-d60a-58d7-fdd3-336d304471ec", "stands 2 times"),
    ],
)
def test_medley_solos_db_that_is_wrong(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = csv_in(tmp_path, medley_solos_db.METADATA, MEDLEY)
    replace_in(path, old, new)
    message = complaint(medley_solos_db.DATASET, tmp_path)
    assert message.startswith(str(path)) and words in message


# --- tinysol and esc50: folds -------------------------------------------------------------------------------

TINYSOL = """Path,Fold,Family,Instrument (abbr.),Instrument (in full),Pitch ID,String ID (if applicable)
Strings/Contrabass/ordinario/Cb-ord-A2-mf-2c-N.wav,4,Strings,Cb,Contrabass,45,2.0
Winds/Flute/ordinario/Fl-ord-C4-mf-N-T14d.wav,0,Winds,Fl,Flute,60,
"""
ESC50 = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
5-9032-B-46.wav,5,46,church_bells,False,9032,B
2-100786-A-1.wav,2,1,rooster,True,100786,A
"""


def test_tinysol(tmp_path: Path) -> None:
    csv_in(tmp_path, tinysol.METADATA, TINYSOL)
    note = tmp_path / "audio" / "Winds" / "Flute" / "ordinario" / "Fl-ord-C4-mf-N-T14d.wav"
    write_tone(note, 0, seconds=0.25)
    table = tinysol.DATASET.label_table(tmp_path)
    assert list(table) == [*LABEL_COLUMNS, "fold"] and table["fold"].tolist() == ["4", "0"]
    assert rows_of(table, "track_id genre class artist_id album_id split duration_s") == [
        ("Cb-ord-A2-mf-2c-N", "Contrabass", 0, None, None, "train", None),
        ("Fl-ord-C4-mf-N-T14d", "Flute", 1, None, None, "test", 0.25),
    ]
    assert table["file_path"].iloc[1] == note.as_posix()


def test_esc50(tmp_path: Path) -> None:
    csv_in(tmp_path, esc50.METADATA, ESC50)
    write_tone(tmp_path / "audio" / "5-9032-B-46.wav", 0, seconds=0.25)
    table = esc50.DATASET.label_table(tmp_path, fold="5")
    assert list(table) == [*LABEL_COLUMNS, "fold"] and table["fold"].tolist() == ["1", "5", "2"]
    assert rows_of(table, "track_id genre class artist_id album_id split duration_s") == [
        ("1-100032-A-0", "dog", 1, None, "freesound-100032", "validation", None),
        ("5-9032-B-46", "church_bells", 0, None, "freesound-9032", "test", 0.25),
        ("2-100786-A-1", "rooster", 2, None, "freesound-100786", "train", None),
    ]
    assert len(set(esc50.CATEGORIES)) == 50 and esc50.CATEGORIES[46] == "church_bells"


def test_negatives_have_no_label_and_no_instrument(tmp_path: Path) -> None:
    csv_in(tmp_path, esc50.METADATA, ESC50)
    table = esc50.NEGATIVES.label_table(tmp_path, fold="2")
    assert list(table) == ["track_id", "file_path", "labels", "artist_id", "album_id", "split", "duration_s"]
    assert rows_of(table, "track_id labels album_id split") == [
        ("1-100032-A-0", "-", "freesound-100032", "train"),
        ("2-100786-A-1", "-", "freesound-100786", "test"),
    ]
    np.testing.assert_array_equal(label_matrix(table, ["flute", "violin"]), np.zeros((2, 2)))


@FOLDED
def test_every_fold_is_tested_on_once_and_validates_once(module, tmp_path: Path) -> None:
    module.make_tiny(tmp_path)
    folds = pd.read_csv(tmp_path / module.METADATA)["Fold" if module is tinysol else "fold"].to_numpy()
    first = folds.min()
    assert sorted(set(folds - first)) == [0, 1, 2, 3, 4]
    for test in range(5):
        split = module.DATASET.label_table(tmp_path, fold=str(first + test))["split"]
        expected = np.full(len(folds), "train", object)
        expected[folds - first == test] = "test"
        expected[folds - first == (test + 1) % 5] = "validation"
        assert split.tolist() == expected.tolist()


def test_recordings_of_esc50_stay_whole(tmp_path: Path) -> None:
    esc50.make_tiny(tmp_path)
    table = esc50.DATASET.label_table(tmp_path)
    recordings = table.groupby("album_id")
    assert recordings["track_id"].count().eq(2).all() and recordings["split"].nunique().eq(1).all()


@FOLDED
def test_unknown_fold(module, tmp_path: Path) -> None:
    module.make_tiny(tmp_path)
    with pytest.raises(ConfigError, match=f"unknown fold '6'.*known: {', '.join(module.FOLDS)}"):
        module.DATASET.label_table(tmp_path, fold="6")


@pytest.mark.parametrize(
    ("dataset", "path", "text", "old", "new", "words"),
    [
        (tinysol.DATASET, tinysol.METADATA, TINYSOL, ",0,Winds", ",6,Winds", "row 3 has '6' for Fold, not one of 0, 1"),
        (tinysol.DATASET, tinysol.METADATA, TINYSOL, "(in full)", "", "lacks Instrument (in full); it has Path, Fold"),
        (esc50.DATASET, esc50.METADATA, ESC50, ",5,46", ",6,46", "row 3 has '6' for fold, not one of 1, 2"),
        (esc50.DATASET, esc50.METADATA, ESC50, "rooster", "cock", "row 4 has 'cock' for category, not one of dog"),
        (esc50.DATASET, esc50.METADATA, ESC50, "src_file", "source", "lacks src_file"),
        (esc50.NEGATIVES, esc50.METADATA, ESC50, ",9032,", ",,", "row 3 has no src_file"),
    ],
)
def test_folds_that_are_wrong(
    tmp_path: Path, dataset: Dataset, path: Path, text: str, old: str, new: str, words: str
) -> None:
    replace_in(csv_in(tmp_path, path, text), old, new)
    message = complaint(dataset, tmp_path)
    assert message.startswith(f"{tmp_path / path}") and words in message


@pytest.mark.parametrize("module", [medley_solos_db, tinysol, esc50])
def test_annotations_that_are_not_there(module, tmp_path: Path) -> None:
    assert complaint(module.DATASET, tmp_path).startswith(f"{tmp_path / module.METADATA}: no such file")


@pytest.mark.parametrize(
    ("make_tiny", "dataset", "name"),
    [(esc50.make_tiny, esc50.DATASET, "1-100-A-0.wav"), (tinysol.make_tiny, tinysol.DATASET, "Va-ord-C4-mf-N-N.wav")],
)
def test_row_whose_file_is_missing_stays(make_tiny: Callable, dataset: Dataset, name: str, tmp_path: Path) -> None:
    make_tiny(tmp_path)
    before = dataset.label_table(tmp_path)
    (path,) = tmp_path.rglob(name)
    path.unlink()
    after = dataset.label_table(tmp_path)
    assert after["file_path"].equals(before["file_path"])
    assert after.loc[after["duration_s"].isna(), "file_path"].tolist() == [path.as_posix()]
