"""What a run's weights have learnt from, by way of the runs it started from as well, and what of it is tested again."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scripts.common.errors import ConfigError, TableError
from scripts.common.storage import read_csv, write_csv
from scripts.config.experiment import Experiment
from scripts.config.run import Run, without_download
from scripts.loading.experiment_data import Data, read_split, read_unlabelled
from scripts.tables.file_identity import file_keys
from scripts.tables.splits import fingerprint, known_ids

FILE = "trained_on.csv"
COLUMNS = ["track_id", "file_path", "artist_id", "sources", "table"]
UNKNOWN = "started from weights whose training tracks are unknown"


def save_trained_on(run: Run, experiment: Experiment, tracks: pd.DataFrame) -> list[str]:
    """Write down which tracks the run's weights learn from: these, and those of the weights that it starts from.

    Returns
    -------
    A line that begins with `UNKNOWN` if the latter are not known.
    """
    earlier, unknown = ancestors(experiment)
    every = pd.concat([described(tracks, experiment.data.table), earlier], ignore_index=True)
    write_csv(run.report / FILE, every.drop_duplicates(["track_id", "table"]))
    return unknown


def inherited_leaks(experiment: Experiment, table: pd.DataFrame) -> list[str]:
    """What makes a test too good because of the weights that the experiment starts from, one line each.

    The tracks that these have learnt from are looked for among the test tracks of `table` (and among the sources of
    its mixtures), and so are their artists where both are of the same table. A line that begins with `UNKNOWN` is no
    leak: it says that nobody can know.
    """
    earlier, lines = ancestors(experiment)
    if earlier.empty:
        return lines
    mine = described(table[table["split"] == "test"], experiment.data.table)
    earlier = earlier.assign(track_id=common_ids(earlier, mine))
    shared = names_of(mine).isin(names_of(earlier)).groupby(level=0).any()
    artists = known_ids(earlier[earlier["table"].isin(mine["table"])], "artist_id").dropna()
    for what, found in (("", shared), ("by artists ", known_ids(mine, "artist_id").isin(artists) & ~shared)):
        if found.any():
            lines = [
                f"{found.sum()} of the {len(mine)} test tracks, such as {mine['track_id'][found].iloc[0]}, are {what}"
                f"among what the weights it starts from have learnt from ({experiment.model.initial})",
                *lines,
            ]
    return lines


def refuse_leaks(experiment: Experiment, data: Data, inherited: Sequence[str] = ()) -> None:
    """A TableError if the split leaks, or the first weights know the test, unless the experiment allows it."""
    known = [line for line in inherited if not line.startswith(UNKNOWN)]
    if (data.leaks or known) and not experiment.data.allow_leak:
        remedy = "choose another --split of `metadata`" if data.leaks else "start from other weights (initial)"
        raise TableError(
            f"{experiment.data.table}, split {data.fingerprint}, leaks: {'; '.join([*data.leaks, *known])}; {remedy}, "
            "or give --allow-leak, and the report will say so"
        )


def names_of(tracks: pd.DataFrame) -> pd.Series:
    """The ids of the tracks and of what they are mixed from."""
    sources = [f";{ids}" if isinstance(ids, str) else "" for ids in tracks["sources"]]
    return (tracks["track_id"] + sources).str.split(";").explode()


def ancestors(experiment: Experiment) -> tuple[pd.DataFrame, list[str]]:
    """The tracks that the weights an experiment starts from have learnt from, and a line if not all are known."""
    nothing = pd.DataFrame(columns=COLUMNS)
    network = experiment.model.keywords.get("network", experiment.model.name)
    published = [] if without_download(experiment) == experiment else [f"{UNKNOWN} (pretrained {network})"]
    if not experiment.model.initial:
        return nothing, published
    run = source_of(experiment.model.initial)
    try:
        if run is not None:
            tracks, unknown = trained_on(run)
            return tracks, list(dict.fromkeys([*published, *unknown]))
    except (ConfigError, TableError, OSError, ValueError, KeyError, TypeError):
        pass  # a run whose table has gone, or now has another split
    return nothing, [*published, f"{UNKNOWN} ({experiment.model.initial})"]


def source_of(checkpoint: str | Path) -> Run | None:
    """The run that a checkpoint is of, by its place `<runs>/checkpoints/<run>/`; None elsewhere."""
    folder = Path(checkpoint).resolve().parent
    run = Run(folder.name, folder.parent.parent)
    return run if folder.parent.name == "checkpoints" and run.exists() else None


def trained_on(run: Run) -> tuple[pd.DataFrame, list[str]]:
    """As `ancestors`, of the weights of a run; of one that did not write it down, by its table if that is unchanged."""
    config = json.loads(run.config_path.read_text(encoding="utf-8"))
    if (run.report / FILE).is_file():
        unknown = [line for line in config.get("inherited", []) if line.startswith(UNKNOWN)]
        return read_csv(run.report / FILE), unknown
    experiment = Experiment.from_dict(config["experiment"])
    if "pretext" in config:
        learnt = read_unlabelled(experiment, config["parts"])[1]
        split = fingerprint(learnt)
    else:
        table = read_split(experiment)[1]
        learnt, split = table[table["split"].isin(learning_parts(experiment))], fingerprint(table)
    if split != config["split"]:
        raise TableError(f"{experiment.data.table} now has another split")
    earlier, unknown = ancestors(experiment)
    return pd.concat([described(learnt, experiment.data.table), earlier], ignore_index=True), unknown


def learning_parts(experiment: Experiment) -> list[str]:
    """The parts that a training learns from or chooses by."""
    return ["train"] if experiment.test.metric == "last" else ["train", "validation"]


def described(tracks: pd.DataFrame, table: str) -> pd.DataFrame:
    """The tracks in the columns of `FILE`, their files by real path."""
    rows = tracks.drop_duplicates("track_id").reindex(columns=COLUMNS).reset_index(drop=True)
    real = rows["file_path"].map(os.path.realpath, na_action="ignore")
    return rows.assign(track_id=rows["track_id"].astype(str), file_path=real, table=os.path.realpath(table))


def common_ids(earlier: pd.DataFrame, mine: pd.DataFrame) -> pd.Series:
    """The id of each earlier track: the one it has in `mine` if it is there, and one that is not there if it is not.

    Tracks of one table are known by their ids. Of two tables they are the same if their files are, or the contents of
    these; or if they have the same id, unless both files are there and differ.
    """
    ids, known = earlier["track_id"].copy(), mine.dropna(subset="file_path")
    other = earlier[~earlier["table"].isin(mine["table"])].dropna(subset="file_path")
    keys = file_keys([*known["file_path"], *other["file_path"]], contents=True)
    same = dict(zip(keys, known["track_id"], strict=False))
    there = set(known["track_id"][known["file_path"].map(os.path.exists).astype(bool)])
    for index, path, key in zip(other.index, other["file_path"], keys[len(known) :], strict=True):
        if key in same:
            ids[index] = same[key]
        elif ids[index] in there and Path(path).exists():
            ids[index] = f"{path} of another table"
    return ids
