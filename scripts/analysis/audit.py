"""How much of a score is leakage: the same classifier under leaky and clean splits, side by side."""

import argparse
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scripts.analysis import flags
from scripts.analysis.duplicates import exact_duplicates, near_duplicates
from scripts.analysis.leak_cost import known_artists, measure_clips, measure_splits, measure_tracks
from scripts.audio.cache import MelCache, read_spec
from scripts.audio.spec import MelSpec
from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError, TableError
from scripts.common.plotting import ABOVE, COLOURS, GRID, LEGEND, new_figure, save
from scripts.common.storage import write_json, write_text
from scripts.config.experiments import get_experiment
from scripts.config.run import ROOT
from scripts.datasets.gtzan import artists
from scripts.datasets.gtzan_features import FILES, find_csv, read_features
from scripts.loading.loader import load_items
from scripts.tables.label_table import NEEDED_TO_TRAIN, read_table
from scripts.tables.leaks import describe_leaks
from scripts.tables.splits import fingerprint, known_ids
from scripts.training.classifiers import CLASSIFIERS

DATASETS = ("gtzan_features",)
LABELS = {
    "tenfold": "10-fold, random, all tracks",
    "random_same_sizes": "random, sizes of the fault-filtered",
    "random_same_tracks": "random, its sizes and its tracks",
    "fault_filtered": "fault-filtered: no common artist or file",
    "clips_at_random": "3 s clips at random",
    "clips_by_track": "3 s clips, whole tracks",
    "clips_fault_filtered": "3 s clips, fault-filtered",
    "clip": "clips at random",
    "track": "tracks at random",
    "artist": "artists at random",
    "table": "the table's own split",
}
NOTE = "share correct; bars: 95 % interval over tracks,\nor one standard deviation over folds or draws"
PAIRS_SHOWN = 20


# --- measuring ----------------------------------------------------------------------------------------------


def audit_features(root: Path, classifier: str = "svm", draws: int = 20, seed: int = 0) -> dict[str, Any]:
    """What leaks are worth on GTZAN's public table of features; with the clips, where their table is there too.

    Parameters
    ----------
    root : folder of the table.
    classifier : see `make_classifier`.
    draws : random splits of the fault-filtered split's sizes.
    seed : of the random splits and the classifier.

    Returns
    -------
    dataset, classifier, seed, tracks, artists (see `artists_of_genres`); tenfold, random_same_sizes, random_same_tracks
    and fault_filtered (and clips_...), each with mean, n and sd or interval_95, see `measure_tracks`; leakage, the
    difference between random_same_sizes and fault_filtered and its share of the former.

    Raises
    ------
    TableError, ConfigError : no such table, or an unknown classifier.
    """
    table = read_features(root, "30s")
    scores = measure_tracks(table, classifier, draws, seed)
    with contextlib.suppress(TableError):
        find_csv(root, FILES["3s"])
        scores |= measure_clips(read_features(root, "3s"), classifier, seed)
    leaky, clean = scores["random_same_sizes"].mean, scores["fault_filtered"].mean
    facts = {"dataset": "gtzan_features", "classifier": classifier, "seed": seed, "tracks": len(table)}
    facts["artists"] = artists_of_genres(table.assign(artist_id=table["track_id"].map(artists(root))))
    measured = {name: score.as_dict() for name, score in scores.items()}
    return facts | measured | {"leakage": {"difference": leaky - clean, "share": (leaky - clean) / leaky}}


def audit_own(
    table_path: str | Path, cache: MelCache, classifier: str = "nearest", draws: int = 5, seed: int = 0
) -> dict[str, Any]:
    """What the leaks of one's own table are worth, and which recordings stand in two parts of its split.

    Parameters
    ----------
    table_path : metadata CSV with the split.
    cache : of its tracks.
    classifier, draws, seed : as for `measure_splits`.

    Returns
    -------
    table, split (fingerprint), classifier, seed, tracks, left_out (counts by status), artists (see
    `artists_of_genres`), leaks (a line each), splits (see `measure_splits`), duplicates (see `duplicates_across`) and
    duplicates_within_parts, their number.

    Raises
    ------
    TableError, CacheError, ConfigError : the table, the cache or the classifier is not there or does not fit.
    """
    table = read_table(table_path, NEEDED_TO_TRAIN)
    items, left_out = load_items(table, cache, "clip")
    splits = measure_splits(items, known_artists(table, items), classifier, draws, seed)
    across, within = duplicates_across(table, cache, items.tracks["track_id"])
    return {
        "table": str(table_path),
        "split": fingerprint(table),
        "classifier": classifier,
        "seed": seed,
        "tracks": len(items.tracks),
        "left_out": left_out["status"].value_counts().to_dict(),
        "artists": artists_of_genres(table.drop_duplicates("track_id")),
        "leaks": describe_leaks(table),
        "splits": splits,
        "duplicates": across,
        "duplicates_within_parts": within,
    }


def artists_of_genres(tracks: pd.DataFrame) -> list[dict[str, Any]]:
    """How many artists each genre has, of the tracks whose artist is known; those with the fewest first.

    Each has genre, tracks, known (tracks), artists, and of the most frequent one its name and tracks: most_frequent,
    most_frequent_tracks. Empty if no artist is known.
    """
    names = known_ids(tracks, "artist_id")
    rows = []
    for genre, mine in names.groupby(tracks["genre"]):
        counts = mine.value_counts()
        if len(counts):
            first = tracks.loc[mine.index[mine == counts.index[0]][0], "artist_id"]
            facts = {"genre": genre, "tracks": len(mine), "known": int(counts.sum()), "artists": len(counts)}
            rows.append(facts | {"most_frequent": str(first).strip(), "most_frequent_tracks": int(counts.iloc[0])})
    return sorted(rows, key=lambda row: (row["artists"], row["genre"]))


def duplicates_across(table: pd.DataFrame, cache: MelCache, track_ids: pd.Series) -> tuple[list[dict[str, Any]], int]:
    """Pairs of tracks with the same recording in two parts, and the number of pairs within a part.

    Each pair has track_id, part, other_id, other_part, bit_errors, offset_s and exact: whether the files hold the
    same samples, None where one is not there.
    """
    rows = table.drop_duplicates("track_id").set_index("track_id")
    pairs = near_duplicates(cache, track_ids)
    pairs["part"], pairs["other_part"] = (rows["split"][pairs[name]].to_numpy() for name in ("track_id", "other_id"))
    across = pairs[pairs["part"] != pairs["other_part"]].round({"bit_errors": 4, "offset_s": 3})
    exact = same_samples(rows.loc[np.unique(across[["track_id", "other_id"]])].reset_index())
    across = across.assign(exact=[exact(*pair) for pair in across[["track_id", "other_id"]].to_numpy()])
    return across.to_dict("records"), len(pairs) - len(across)


def same_samples(tracks: pd.DataFrame) -> Callable[[str, str], bool | None]:
    """A function of two ids: do their files hold the same samples? None where a file is not there."""
    if "file_path" not in tracks:
        return lambda one, other: None
    there = {track for track, path in tracks[["track_id", "file_path"]].to_numpy() if Path(path).is_file()}
    first = dict(exact_duplicates(tracks[tracks["track_id"].isin(there)]).to_numpy())
    return lambda one, other: first.get(one, one) == first.get(other, other) if {one, other} <= there else None


# --- the report ---------------------------------------------------------------------------------------------


def score_rows(result: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(split, "track accuracy" or "clip accuracy", score) of all scores of a result."""
    if "splits" not in result:
        kinds = {name: "clip accuracy" if name.startswith("clips") else "track accuracy" for name in LABELS}
        return [(LABELS[name], kinds[name], result[name]) for name in LABELS if name in result]
    return [
        (LABELS[name], kind.replace("_", " "), split[kind])
        for kind in ("clip_accuracy", "track_accuracy")
        for name, split in result["splits"].items()
        if kind in split
    ]


def bounds(score: dict[str, Any]) -> tuple[float, float]:
    """The 95 % interval, or one standard deviation to either side."""
    mean, sd = score["mean"], score.get("sd", 0.0)
    return score.get("interval_95", (mean - sd, mean + sd))


def spread(score: dict[str, Any]) -> str:
    if "sd" in score:
        return f"± {score['sd']:.3f} ({score['n']} {score['unit']})"
    low, high = score["interval_95"]
    return f"95 % {low:.3f}-{high:.3f} ({score['n']} tracks)"


def describe(result: dict[str, Any]) -> list[str]:
    """The result in lines for the screen."""
    lines = [f"{label:42}{kind:16}{score['mean']:.3f}  {spread(score)}" for label, kind, score in score_rows(result)]
    return [*lines, "", *findings(result)]


def describe_leakage(leakage: dict[str, Any]) -> str:
    share = leakage["share"]
    if share <= 0:
        return "nothing is lost on the fault-filtered split: the random splits of the same sizes score no higher"
    return (
        f"{leakage['difference']:.3f} of the random splits' track accuracy is lost on the fault-filtered split of the "
        f"same sizes: {share:.0%} of that score is leakage"
    )


def findings(result: dict[str, Any]) -> list[str]:
    """What leakage is worth; of one's own data who is known from train, the leaks, and the recordings in two parts.

    And, where they are known, how many artists a genre has.
    """
    by_genre = [describe_artists(row) for row in result["artists"]]
    if "splits" not in result:
        return [describe_leakage(result["leakage"]), *by_genre]
    lines = [f"{LABELS[name]}: {describe_seen(split)}" for name, split in result["splits"].items()]
    lines += [*by_genre, *(f"leak: {leak}" for leak in result["leaks"])]
    pairs = result["duplicates"]
    lines.append(f"{len(pairs)} pairs of tracks with the same recording in two parts of the table's split")
    lines += [f"  {describe_pair(pair)}" for pair in pairs[:PAIRS_SHOWN]]
    if len(pairs) > PAIRS_SHOWN:
        lines.append(f"  and {len(pairs) - PAIRS_SHOWN} more; audit.json lists all")
    return lines


def describe_seen(split: dict[str, Any]) -> str:
    artists = "artists unknown" if split["seen_artists"] is None else f"{split['seen_artists']:.0%} by an artist in it"
    sizes = f"{split['train_clips']} clips to fit on, {split['test_clips']} to score"
    return f"{split['seen_tracks']:.0%} of the test tracks are in the other part, {artists}; {sizes}"


def describe_artists(row: dict[str, Any]) -> str:
    count, known = row["most_frequent_tracks"], row["known"]
    unknown = f", {row['tracks'] - known} of unknown artists" if known < row["tracks"] else ""
    who = f"{count} of {known} tracks ({count / known:.0%}) by {row['most_frequent']}"
    return f"{row['genre']}: {row['artists']} artist{'s' if row['artists'] > 1 else ''}, {who}{unknown}"


def describe_pair(pair: dict[str, Any]) -> str:
    kind = {True: "the same samples", False: "other samples", None: "files not there to compare"}[pair["exact"]]
    return (
        f"{pair['track_id']} ({pair['part']}) and {pair['other_id']} ({pair['other_part']}): {kind}, "
        f"{pair['bit_errors']:.1%} of the fingerprint's bits differ, offset {pair['offset_s']:.2f} s"
    )


def figure(result: dict[str, Any]) -> Figure:
    """Every score with its interval, clip accuracy and track accuracy in two colours."""
    rows = score_rows(result)[::-1]
    drawing, [[axes]] = new_figure(1.2 + 0.3 * len(rows))
    for colour, kind in zip(COLOURS, ("clip accuracy", "track accuracy"), strict=False):
        places = [place for place, row in enumerate(rows) if row[1] == kind]
        if places:
            means = np.array([rows[place][2]["mean"] for place in places])
            errors = np.abs(np.array([bounds(rows[place][2]) for place in places]).T - means)
            axes.errorbar(means, places, xerr=errors, fmt="o", color=colour, markersize=5, capsize=3, label=kind)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.set(xlim=(0, 1), xlabel=NOTE)
    axes.grid(axis="x", color=GRID)
    drawing.legend(loc=ABOVE, ncols=2, **LEGEND)
    return drawing


def write_report(folder: Path, result: dict[str, Any]) -> None:
    """Write audit.json, audit.md and accuracies.png."""
    table = ["| split | score | mean | spread |", "|---|---|---|---|"]
    for label, kind, score in score_rows(result):
        table.append(f"| {label} | {kind} | {score['mean']:.3f} | {spread(score)} |")
    parts = [
        f"# Leakage audit of {result.get('dataset') or result['table']}",
        f"Classifier: {result['classifier']}, seed {result['seed']}.",
        "\n".join(table),
        "![](accuracies.png)",
        "\n".join(f"- {line}" for line in findings(result)),
    ]
    save(figure(result), folder / "accuracies.png")
    write_text(folder / "audit.md", "\n\n".join(parts) + "\n")
    write_json(folder / "audit.json", result)


# --- the command --------------------------------------------------------------------------------------------


def run_audit(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What is audited, and the result."""
    if args.dataset:
        pick("dataset to audit", args.dataset, DATASETS)
        return args.dataset, audit_features(args.root, args.classifier or "svm", args.draws or 20, args.seed)
    choices = {"classifier": args.classifier or "nearest", "draws": args.draws or 5, "seed": args.seed}
    if args.experiment:
        experiment = get_experiment(args.experiment)
        cache = MelCache.open(experiment.data.cache, experiment.features.spec)
        return args.experiment, audit_own(experiment.data.table, cache, **choices)
    if not args.cache:
        raise ConfigError("--table without --cache; give the folder of its cache too, such as --cache data/mels")
    return args.table.stem, audit_own(args.table, MelCache.open(args.cache, only_spec(args.cache)), **choices)


def only_spec(root: Path) -> MelSpec | None:
    """The parameters of the cache at or below `root`, if there is one alone."""
    folders = [path.parent for path in (root / "spec.json", *root.glob("*/spec.json")) if path.is_file()]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return read_spec(folders[0]) if len(folders) == 1 else None
    return None


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.audit(argv)
    pick("classifier", args.classifier or "svm", CLASSIFIERS)
    name, result = run_audit(args)
    folder = args.output or ROOT / "reports" / f"audit-{name}"
    write_report(folder, result)
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join([*describe(result), f"{folder}: audit.md, audit.json, accuracies.png"]))
