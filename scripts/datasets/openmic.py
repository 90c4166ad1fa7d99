"""OpenMIC-2018: 10 s excerpts, for each of which listeners were asked about a few of 20 instruments."""

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.common.errors import ConfigError, TableError
from scripts.datasets.annotations import check_rows, check_values, read_annotations
from scripts.datasets.contract import Archive, Dataset, finish_table
from scripts.datasets.tiny import write_tone
from scripts.tables.label_matrix import NONE, join, label_matrix
from scripts.tables.splits import artist_groups
from scripts.tables.stratify import hold_out

LABELS = (
    "accordion", "banjo", "bass", "cello", "clarinet", "cymbals", "drums", "flute", "guitar", "mallet_percussion",
    "mandolin", "organ", "piano", "saxophone", "synthesizer", "trombone", "trumpet", "ukulele", "violin", "voice",
)  # fmt: skip
ANSWERS, METADATA = "openmic-2018-aggregated-labels.csv", "openmic-2018-metadata.csv"
PARTITION = "partitions/split01_{}.csv"
VALIDATION_SHARE = 0.15  # of the artists in train


def read_openmic(root: Path, threshold: str = "0.5") -> pd.DataFrame:
    """One row per excerpt that listeners judged, in order of its key.

    An instrument is present if its relevance reaches the threshold, absent if not, and unknown if nobody was asked.
    `split` is the official one, with 15 % of the artists in train (of the excerpts where artists are not known)
    taken out for validation, always the same, so that what is known of each instrument keeps its proportion.

    Parameters
    ----------
    threshold : above 0, at most 1.
    """
    folder = next((place for place in (root, root / "openmic-2018") if (place / ANSWERS).is_file()), root)
    answers = read_answers(find(folder, ANSWERS))
    present = answers["relevance"] >= parse_threshold(threshold)
    keys = sorted(answers["sample_key"].unique())
    table = pd.DataFrame(
        {
            "track_id": keys,
            "file_path": [(folder / "audio" / key[:3] / f"{key}.ogg").as_posix() for key in keys],
            "labels": cells(answers[present], keys),
            "absent": cells(answers[~present], keys),
        }
    )
    table[["artist_id", "album_id"]] = read_ids(find(folder, METADATA)).reindex(keys).to_numpy()
    return finish_table(table.assign(split=parts(folder, table)), folder)


def find(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise TableError(f"{folder}: has no {name}; unpack openmic-2018 there or give another --root")
    return folder / name


def parse_threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 < value <= 1:
        raise ConfigError(f"threshold {text!r}; give a relevance above 0 and at most 1, such as 0.5")
    return value


def read_answers(path: Path) -> pd.DataFrame:
    """Columns `sample_key, instrument, relevance` (a number), each instrument of an excerpt once."""
    answers = read_annotations(path, ["sample_key", "instrument", "relevance"])
    check_values(path, answers["instrument"], LABELS)
    relevance = pd.to_numeric(answers["relevance"], errors="coerce")
    check_rows(path, answers["relevance"], relevance.between(0, 1), "a number from 0 to 1")
    once = ~answers.duplicated(["sample_key", "instrument"])
    check_rows(path, answers["sample_key"], once, "once for each instrument")
    return answers.assign(relevance=relevance)


def cells(answers: pd.DataFrame, keys: list[str]) -> list[str]:
    """The instruments of each key, as a table has them."""
    return answers.groupby("sample_key")["instrument"].agg(join).reindex(keys, fill_value=NONE).tolist()


def read_ids(path: Path) -> pd.DataFrame:
    """`artist_id` and `album_id` of each excerpt, those of the Free Music Archive; NaN where it does not say."""
    metadata = read_annotations(path, ["sample_key"]).drop_duplicates("sample_key").set_index("sample_key")
    return metadata.reindex(columns=["artist_id", "album_id"]).apply(lambda ids: ids.str.removesuffix(".0"))


def parts(folder: Path, table: pd.DataFrame) -> pd.Series:
    """The part of each row; empty for excerpts that the official split leaves out."""
    files = {part: find(folder, PARTITION.format(part)) for part in ("train", "test")}
    official = {key: part for part, path in files.items() for key in path.read_text().split()}
    result = table["track_id"].map(official)
    train = table[result == "train"]
    known = label_matrix(train, LABELS)
    held_out = hold_out(artist_groups(train), np.hstack([known == 1, known == 0]), VALIDATION_SHARE)
    result[train.index[held_out]] = "validation"
    return result


def make_tiny(root: Path) -> None:
    """Sixteen excerpts by eight artists about three instruments, with the official files around them."""
    rng, answers, ids = np.random.default_rng(0), [], []
    for number in range(16):
        key = f"{number * 70:06d}_3840"
        write_tone(root / "audio" / key[:3] / f"{key}.ogg", number % 3, number)
        ids.append((f"{number // 2}.0", number // 2, key))
        for kind, instrument in enumerate(("banjo", "cello", "voice")):
            if number % 2 or kind != (number + 1) % 3:
                answers.append((key, instrument, 0.5 * (kind == number % 3) + 0.4 * rng.random(), 3))
    columns = ["sample_key", "instrument", "relevance", "num_responses"]
    pd.DataFrame(answers, columns=columns).to_csv(root / ANSWERS, index=False)
    pd.DataFrame(ids, columns=["album_id", "artist_id", "sample_key"]).to_csv(root / METADATA, index=False)
    (root / PARTITION).parent.mkdir()
    for part, rows in {"train": ids[:12], "test": ids[12:]}.items():
        (root / PARTITION.format(part)).write_text("".join(f"{key}\n" for *_, key in rows))


DATASET = Dataset(
    name="openmic",
    title="OpenMIC-2018",
    citation="E. J. Humphrey, S. Durand, B. McFee. OpenMIC-2018: An Open Data-set for Multiple Instrument Recognition. "
    "ISMIR, 2018.",
    licence="labels CC BY 4.0; each excerpt has the Creative Commons licence that its row of the metadata names",
    url="https://zenodo.org/records/1432913 (openmic-2018-v1.0.0.tgz)",
    archives={
        "openmic": [
            Archive(
                "https://zenodo.org/records/1432913/files/openmic-2018-v1.0.0.tgz",
                "md5:e4ccf187e2bb5ab2e115416e8aafe7f4",
                "2.6 GB",
                ".",
                ANSWERS,
            )
        ]
    },
    size="20,000 excerpts of 10 s",
    root="data/openmic-2018",
    layout=(
        f"{ANSWERS}, {METADATA}",
        "partitions/split01_train.csv, partitions/split01_test.csv",
        "audio/000/000046_3840.ogg",
    ),
    reader=read_openmic,
    make_tiny=make_tiny,
    task="multi_label",
    labels=LABELS,
    options={
        "threshold": "relevance from which an instrument is present; below it is absent, without an answer unknown; "
        "default: 0.5"
    },
)
