"""COALA's files: the label table, the packed patches, and audio that is made like them."""

import json
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.preprocessing import MinMaxScaler

from scripts.common.errors import ConfigError, TableError
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.datasets import DATASETS, coala
from scripts.datasets.coala import FILES, FRONT_END, PATCH, RANGES, VOCABULARY
from scripts.inference.predictor import Predictor
from scripts.inference.windows import scale
from scripts.loading.coala_patches import load_patches, read_ranges
from scripts.loading.experiment_data import Data
from scripts.tables.label_matrix import label_matrix
from scripts.train import train

pytestmark = pytest.mark.usefixtures("quick_reports")

h5py = pytest.importorskip("h5py")
TRAIN, TEST = FILES.values()
TAGS = ["bell", "crunch", "drone", "hum", "kick", "voice"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    coala.make_tiny(tmp_path)
    return tmp_path


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file["dataset"][name][()] for name in ("id", "data", "label")}


def write(path: Path, **arrays: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[f"dataset/{name}"] = values


def load(root: Path) -> tuple:
    table = DATASETS["coala"].label_table(root)
    return table, *load_patches(table, label_matrix(table, TAGS), root, PATCH)


# --- the label table ----------------------------------------------------------------------------------------


def test_every_sound_has_its_tags_and_its_file(root: Path) -> None:
    table = DATASETS["coala"].label_table(root)
    for file in (TRAIN, TEST):
        source, rows = read(root / file), table[table["file_path"].str.startswith(f"{root}/{file}#")]
        assert rows["track_id"].tolist() == [str(number) for number in source["id"][:, 0]]
        np.testing.assert_array_equal(label_matrix(rows, TAGS), source["label"])
    assert (table["labels"] == "-").sum() == (len(table) - read_labels(root).any(axis=1).sum()) > 0


def read_labels(root: Path) -> np.ndarray:
    return np.concatenate([read(root / file)["label"] for file in (TRAIN, TEST)])


def test_tenth_of_the_training_file_is_validation_whatever_its_order(root: Path) -> None:
    table = DATASETS["coala"].label_table(root)
    files = table["file_path"].str.split("#").str[0].groupby(table["split"]).unique().map(list)
    assert files.to_dict() == {
        "test": [f"{root}/{TEST}"],
        "train": [f"{root}/{TRAIN}"],
        "validation": [f"{root}/{TRAIN}"],
    }
    assert table["split"].value_counts().to_dict() == {"train": 36, "test": 12, "validation": 4}
    write(root / TRAIN, **{name: values[::-1] for name, values in read(root / TRAIN).items()})
    again = DATASETS["coala"].label_table(root)
    assert again.set_index("track_id")["split"].to_dict() == table.set_index("track_id")["split"].to_dict()


def test_rows_that_were_never_filled_are_left_out(root: Path) -> None:
    arrays = read(root / TRAIN)
    for values in arrays.values():
        values[-2:] = 0
    write(root / TRAIN, **arrays)
    table, items, left_out = load(root)
    assert len(table) == len(items) == 50 and "0" not in set(table["track_id"])
    assert left_out.empty


def break_vocabulary(root: Path, change: Callable[[dict], dict]) -> None:
    path = root / VOCABULARY
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def without(name: str) -> Callable[[Path], None]:
    return lambda root: write(root / TRAIN, **{key: v for key, v in read(root / TRAIN).items() if key != name})


def with_array(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda root: write(root / TRAIN, **{**read(root / TRAIN), **arrays})


def without_group(root: Path) -> None:
    with h5py.File(root / TRAIN, "w") as file:
        file["data"] = np.zeros(3)


def cut_short(root: Path) -> None:
    content = (root / TRAIN).read_bytes()
    (root / TRAIN).write_bytes(content[: len(content) // 2])


FAULTS = {
    "no training file": (lambda root: (root / TRAIN).unlink(), f"{TRAIN}: no such file.*--root"),
    "no test file": (lambda root: (root / TEST).unlink(), f"{TEST}: no such file"),
    "no vocabulary": (lambda root: (root / VOCABULARY).unlink(), f"{VOCABULARY}: no such file"),
    "text": (lambda root: (root / TRAIN).write_text("<html>"), f"{TRAIN}: not a whole HDF5 file"),
    "cut short": (cut_short, f"{TRAIN}: not a whole HDF5 file"),
    "no group": (without_group, f"{TRAIN}: has no group 'dataset'"),
    "no labels": (without("label"), r"dataset/label has the shape None, not \(40, 6\)"),
    "no ids": (without("id"), "dataset/id has the shape None"),
    "other patches": (with_array(data=np.zeros((40, 96, 128))), r"\(40, 96, 128\), not \(40, 96, 96\)"),
    "fewer labels": (with_array(label=np.zeros((39, 6), int)), r"\(39, 6\), not \(40, 6\)"),
    "shorter vocabulary": (
        lambda root: break_vocabulary(root, lambda tags: {k: v for k, v in tags.items() if k != "5"}),
        rf"dataset/label has the shape \(40, 6\), not \(40, 5\), with 5 tags in {VOCABULARY}",
    ),
    "gap": (
        lambda root: break_vocabulary(root, lambda tags: {k: v for k, v in tags.items() if k != "0"}),
        f"{VOCABULARY}: not a vocabulary",
    ),
    "list": (lambda root: break_vocabulary(root, lambda tags: list(tags)), f"{VOCABULARY}: not a vocabulary"),
    "separator": (lambda root: break_vocabulary(root, lambda tags: tags | {"2": "dr;one"}), "'dr;one'.*correct it"),
    "twice": (lambda root: break_vocabulary(root, lambda tags: tags | {"2": "bell"}), "'bell'.*twice"),
    "sound twice": (with_array(id=np.full((40, 1), 7)), "track 7 stands 40 times"),
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=list(FAULTS))
def test_wrong_files_are_named(root: Path, fault: Callable[[Path], None], words: str) -> None:
    fault(root)
    with pytest.raises(TableError, match=words):
        DATASETS["coala"].label_table(root)


# --- the packed patches -------------------------------------------------------------------------------------


def test_each_item_is_the_patch_of_its_sound(root: Path) -> None:
    table = DATASETS["coala"].label_table(root).sample(frac=1, random_state=3, ignore_index=True)
    labels = label_matrix(table, TAGS)
    items, left_out = load_patches(table, labels, root, PATCH)
    sources = [read(root / file) for file in (TRAIN, TEST)]
    patch = {str(n[0]): data for source in sources for n, data in zip(source["id"], source["data"], strict=True)}
    assert left_out.empty and isinstance(items.array, np.memmap) and items.array.dtype == np.float16
    assert items.tracks["track_id"].tolist() == table["track_id"].tolist()
    assert (items.tracks["items"] == 1).all()
    np.testing.assert_array_equal(items.labels, labels)
    for track, row in zip(table["track_id"], items.index, strict=True):
        np.testing.assert_allclose(items.array[row], patch[track], atol=2**-11)
    assert len(items.part("test")) == 12


def test_sounds_that_are_not_there_are_left_out(root: Path) -> None:
    table = DATASETS["coala"].label_table(root)
    table.loc[[3, 45], "track_id"] = ["999999", "none"]
    items, left_out = load_patches(table, label_matrix(table, TAGS), root, PATCH)
    assert left_out["track_id"].tolist() == ["999999", "none"]
    assert left_out["reason"].tolist() == ["no patch"] * 2
    np.testing.assert_array_equal(items.labels, np.delete(read_labels(root), [3, 45], axis=0))
    table["track_id"] += "x"
    with pytest.raises(TableError, match="holds none of the table's 52 sounds"):
        load_patches(table, label_matrix(table, TAGS), root, PATCH)


def test_packed_once_and_anew_when_a_file_changes(root: Path) -> None:
    load(root)
    (packed,) = root.glob("patches_*.npy")
    before = packed.stat().st_mtime_ns
    load(root)
    assert packed.stat().st_mtime_ns == before
    write(root / TEST, **{**read(root / TEST), "data": np.full((12, *PATCH), 0.25, np.float32)})
    _, items, _ = load(root)
    assert (items.array[items.part("test").index] == 0.25).all()
    assert len(list(root.glob("patches_*.npy"))) == 1


def test_patches_that_are_not_scaled_leave_nothing_behind(root: Path) -> None:
    before = sorted(root.iterdir())
    write(root / TEST, **{**read(root / TEST), "data": np.full((12, *PATCH), -14.1, np.float32)})
    with pytest.raises(TableError, match=rf"{TEST}: values from -14.1 to -14.1; .*scaled to 0-1"):
        load(root)
    assert sorted(root.iterdir()) == before


def test_experiment_with_another_shape(root: Path) -> None:
    table = DATASETS["coala"].label_table(root)
    with pytest.raises(ConfigError, match="patches of 64 mels x 96 frames; COALA's are 96 x 96"):
        load_patches(table, label_matrix(table, TAGS), root, (64, 96))


# --- audio, made like the patches ---------------------------------------------------------------------------


def test_scaled_as_by_scikit_learn() -> None:
    """The published ranges are those of its scaler, clipped when tagging."""
    random = np.random.default_rng(0)
    scaler = MinMaxScaler(clip=True).fit(random.normal(-5, 2, (500, 96)))
    ranges = np.stack([scaler.data_min_, scaler.data_max_])
    patch = random.normal(-5, 4, PATCH)
    np.testing.assert_allclose(scale(patch, ranges), scaler.transform(patch), atol=1e-12)
    np.testing.assert_array_equal(scale(patch[None], ranges)[0], scale(patch, ranges))


def test_ranges_are_read_column_by_column(tmp_path: Path) -> None:
    low, high = np.linspace(-14, -12, 96), np.linspace(3, 6, 96)
    pd.DataFrame({"data_min": low, "data_max": high}).to_csv(tmp_path / RANGES, index=False)
    np.testing.assert_allclose(read_ranges(tmp_path), [low, high], rtol=1e-6)


def test_published_ranges_where_there_are_no_others(tmp_path: Path) -> None:
    """Against what is known of COALA's scaler; its first frame is unlike the others, and its greatest value is late."""
    low, high = read_ranges(tmp_path)
    assert low.shape == high.shape == (96,)
    assert (low[0], high[0]) == (np.float32(-14.1106968), np.float32(5.21643496))
    assert (low.min().round(2), low.max().round(2)) == (-14.11, -11.74)
    assert (high.min().round(2), high.max().round(2)) == (2.71, 6.65)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("low,high\n1,2\n", "not a CSV with data_min and data_max"),
        ("data_min,data_max\na,b\n", "not a CSV with data_min"),
        ("data_min,data_max\n" + "-14,7\n" * 95, "95 rows"),
        ("data_min,data_max\n" + "-14,7\n" * 95 + "7,7\n", "a range without width"),
        ("data_min,data_max\n" + "-14,7\n" * 95 + "-14,\n", "a range without width"),
    ],
)
def test_ranges_that_are_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / RANGES).write_text(text)
    with pytest.raises(TableError, match=rf"{RANGES}: .*{words}"):
        read_ranges(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict]:
    """A small network trained on the tiny files, and its scores."""
    folder = tmp_path_factory.mktemp("coala")
    coala.make_tiny(folder)
    DATASETS["coala"].label_table(folder).to_csv(folder / "labels.csv", index=False)
    experiment = Experiment(
        name="tiny", table=str(folder / "labels.csv"), cache=str(folder), task="multi_label", unit="patch",
        spec=FRONT_END, normalise="none", model={"name": "mlp", "widths": [16], "dropouts": [0.0]}, loss="bce",
        metric="last", epochs=20, batch_size=6, learning_rate=3e-3, device="cpu",
    )  # fmt: skip
    report = train(experiment, root=folder / "runs")
    return Run("tiny", folder / "runs"), report


def test_patches_train_and_score(run: tuple[Run, dict]) -> None:
    """Each tag is a band of mels, so it can be learnt from 36 sounds."""
    found, report = run
    assert Data.load(found.experiment()).classes == TAGS
    assert report["average_precision_macro"] > 0.7  # by chance 0.21


def test_audio_is_seen_as_the_patches_were_made(run: tuple[Run, dict], tmp_path: Path) -> None:
    """The loudest 96 frames of the log-magnitude mel, 12 apart, scaled: all of it by librosa and NumPy."""
    rate, random = FRONT_END.sample_rate, np.random.default_rng(1)
    waveform = random.normal(0, 0.003, 12 * rate)
    waveform[5 * rate : 8 * rate] += 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * rate) / rate)
    soundfile.write(tmp_path / "a.wav", waveform, rate, subtype="FLOAT")
    predictor = Predictor(run[0])
    starts, windows = predictor.cut(waveform.astype(np.float32))
    assert starts.tolist() == [0] and windows.shape == (1, 10 * rate)
    mel = librosa.feature.melspectrogram(
        y=waveform[: 10 * rate].astype(np.float32), sr=rate, n_fft=1024, hop_length=512, n_mels=96, power=1
    )
    values = np.log(mel + np.finfo(np.float32).eps)
    best = max(range(0, 430 - 96 + 1, 12), key=lambda start: values[:, start : start + 96].sum())
    expected = np.clip((values[:, best : best + 96] + 14) / 21, 0, 1)
    np.testing.assert_allclose(predictor.values(windows)[0], expected, atol=5e-4)
    assert predictor(tmp_path / "a.wav").probabilities.shape == (len(TAGS),)


def test_short_sound_is_tagged_too(run: tuple[Run, dict], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", np.random.default_rng(0).normal(0, 0.2, 8000), 22_000)
    prediction = Predictor(run[0])(tmp_path / "click.wav")
    assert len(prediction.windows) == 1 and ((prediction.probabilities > 0) & (prediction.probabilities < 1)).all()
