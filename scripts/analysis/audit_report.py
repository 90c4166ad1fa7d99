"""The report of a leakage audit: lines for the screen, audit.md, audit.json and a figure of all scores."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from scripts.common.storage import write_json, write_text
from scripts.utils import visualisation

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


def score_rows(result: dict) -> list[tuple[str, str, dict]]:
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


def bounds(score: dict) -> tuple[float, float]:
    """The 95 % interval, or one standard deviation to either side."""
    mean, sd = score["mean"], score.get("sd", 0.0)
    return score.get("interval_95", (mean - sd, mean + sd))


def spread(score: dict) -> str:
    if "sd" in score:
        return f"± {score['sd']:.3f} ({score['n']} {score['of']})"
    low, high = score["interval_95"]
    return f"95 % {low:.3f}-{high:.3f} ({score['n']} tracks)"


def describe(result: dict) -> list[str]:
    """The result in lines for the screen."""
    lines = [f"{label:42}{kind:16}{score['mean']:.3f}  {spread(score)}" for label, kind, score in score_rows(result)]
    return [*lines, "", *findings(result)]


def describe_leakage(leakage: dict) -> str:
    share = leakage["share"]
    if share <= 0:
        return "nothing is lost on the fault-filtered split: the random splits of the same sizes score no higher"
    return (
        f"{leakage['difference']:.3f} of the random splits' track accuracy is lost on the fault-filtered split of the "
        f"same sizes: {share:.0%} of that score is leakage"
    )


def findings(result: dict) -> list[str]:
    """What leakage is worth; of one's own data who is known from train, the leaks, and the recordings in two parts."""
    if "splits" not in result:
        return [describe_leakage(result["leakage"])]
    lines = [f"{LABELS[name]}: {describe_seen(split)}" for name, split in result["splits"].items()]
    lines += [f"leak: {leak}" for leak in result["leaks"]]
    pairs = result["duplicates"]
    lines.append(f"{len(pairs)} pairs of tracks with the same recording in two parts of the table's split")
    lines += [f"  {describe_pair(pair)}" for pair in pairs[:PAIRS_SHOWN]]
    if len(pairs) > PAIRS_SHOWN:
        lines.append(f"  and {len(pairs) - PAIRS_SHOWN} more; audit.json lists all")
    return lines


def describe_seen(split: dict) -> str:
    artists = "artists unknown" if split["seen_artists"] is None else f"{split['seen_artists']:.0%} by an artist in it"
    sizes = f"{split['train_clips']} clips to fit on, {split['test_clips']} to score"
    return f"{split['seen_tracks']:.0%} of the test tracks are in the other part, {artists}; {sizes}"


def describe_pair(pair: dict) -> str:
    kind = {True: "the same samples", False: "other samples", None: "files not there to compare"}[pair["exact"]]
    return (
        f"{pair['track_id']} ({pair['part']}) and {pair['other_id']} ({pair['other_part']}): {kind}, "
        f"{pair['bit_errors']:.1%} of the fingerprint's bits differ, offset {pair['offset_s']:.2f} s"
    )


def figure(result: dict) -> Figure:
    """Every score with its interval, clip accuracy and track accuracy in two colours."""
    rows = score_rows(result)[::-1]
    drawing, [[axes]] = visualisation.new_figure(1.2 + 0.3 * len(rows))
    for colour, kind in zip(visualisation.COLOURS, ("clip accuracy", "track accuracy"), strict=False):
        places = [place for place, row in enumerate(rows) if row[1] == kind]
        means = np.array([rows[place][2]["mean"] for place in places])
        ends = np.array([bounds(rows[place][2]) for place in places]).reshape(-1, 2)
        if places:
            errors = np.abs(ends.T - means)
            axes.errorbar(means, places, xerr=errors, fmt="o", color=colour, markersize=5, capsize=3, label=kind)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.set(xlim=(0, 1), xlabel=NOTE)
    axes.grid(axis="x", color=visualisation.GRID)
    drawing.legend(loc=visualisation.ABOVE, ncols=2, **visualisation.LEGEND)
    return drawing


def write_report(folder: Path, result: dict) -> None:
    """Write audit.json, audit.md and accuracies.png."""
    title = result.get("dataset") or result["table"]
    table = [
        f"| {label} | {kind} | {score['mean']:.3f} | {spread(score)} |" for label, kind, score in score_rows(result)
    ]
    head = [f"# Leakage audit of {title}", f"Classifier: {result['classifier']}, seed {result['seed']}."]
    body = ["| split | score | mean | spread |\n|---|---|---|---|\n" + "\n".join(table), "![](accuracies.png)"]
    visualisation.save(figure(result), folder / "accuracies.png")
    write_text(
        folder / "audit.md", "\n\n".join([*head, *body, "\n".join(f"- {line}" for line in findings(result))]) + "\n"
    )
    write_json(folder / "audit.json", result)
