"""An ensemble of any runs by their saved predictions: the weighted mean of their probabilities."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from scripts.analysis import flags
from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError
from scripts.common.storage import write_csv, write_json
from scripts.config.run import ROOT, Run
from scripts.metrics.multi_label import multi_label_scores
from scripts.metrics.single_label import bootstrap_interval, macro_f1, per_genre
from scripts.metrics.test_scores import MultiLabelScores, SingleLabelScores
from scripts.metrics.thresholds import best_thresholds
from scripts.reports import multi_label, single_label
from scripts.reports.markdown import markdown_table
from scripts.reports.predictions import FILES, SavedPredictions, describe_test, read_saved, read_test

WEIGHTS = ("mean", "validation")
TITLES = {"f1_macro": "macro F1", "f1_micro": "micro F1", "average_precision_macro": "mAP"}


@dataclass(frozen=True)
class Member:
    """A tested run: what its test.json holds, and its predictions by part; "validation" only if it has saved them."""

    name: str
    test: dict[str, Any]
    parts: dict[str, SavedPredictions]


# --- members ------------------------------------------------------------------------------------------------


def read_members(names: list[str], root: Path, weights: str) -> list[Member]:
    """The runs that are to be blended.

    Raises
    ------
    ConfigError : fewer than two runs, an unknown one, one without predictions of a part that is needed, or runs that
        do not fit together.
    TableError : a genre or label in the predictions of a run that it has no probability of.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"given: {' '.join(names)}; give two or more different runs")
    members = []
    for run in (Run(name, root) for name in names):
        test, parts = read_test(run), {"test": read_saved(run)}
        needed = weights == "validation" or parts["test"].task == "multi_label"  # for weights, or for thresholds
        if needed or (run.report / FILES["validation"]).is_file():
            parts["validation"] = read_saved(run, "validation")
        members.append(Member(run.name, test, parts))
    for other in members[1:]:
        check_same(members[0], other)
    return members


def check_same(first: Member, other: Member) -> None:
    """A ConfigError, which names what differs, unless both have the same split, tracks, names and truth."""
    one, two, what = first.test["split"], other.test["split"], ""
    if one != two:
        what = f"they are of the splits {one} and {two}"
    for part in sorted(first.parts.keys() & other.parts.keys()):
        what = what or difference(first.parts[part], other.parts[part], part)
    if what:
        raise ConfigError(
            f"{first.name} and {other.name} cannot be blended: {what}; train both on the same table and split"
        )


def difference(first: SavedPredictions, other: SavedPredictions, part: str) -> str:
    """How two runs' predictions for a part do not fit together; "" if they do."""
    if first.names != other.names:
        differing = sorted(set(first.names) ^ set(other.names))
        return f"their classes or labels differ in {', '.join(differing[:3]) or 'order'}"
    one, two = set(first.tracks["track_id"]), set(other.tracks["track_id"])
    if one != two:
        return f"{len(one ^ two)} tracks of {part} are in only one of them, such as {', '.join(sorted(one ^ two)[:3])}"
    if not np.array_equal(first.truth, other.truth, equal_nan=True):
        return f"some tracks of {part} have another genre or other labels"
    return ""


# --- weights ------------------------------------------------------------------------------------------------


def choose_weights(members: list[Member], weights: str) -> np.ndarray:
    """Weights [members] of at least 0 and of sum 1: equal for "mean", fitted for "validation"."""
    if weights == "mean":
        return np.full(len(members), 1 / len(members))
    return fit_weights(np.stack([member.parts["validation"].likelihoods for member in members], axis=1))


def fit_weights(likelihoods: np.ndarray) -> np.ndarray:
    """The weights >= 0 of sum 1 with the lowest log loss (of several labels a track: binary cross entropy).

    The loss, the mean of -log(likelihoods @ weights), is convex: there is no start to choose and nothing random.

    Parameters
    ----------
    likelihoods : [entries, members], the probability above 0 that each member gave to what is true.
    """
    members = likelihoods.shape[1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        blended = likelihoods @ weights
        return -np.log(blended).mean(), -(likelihoods / blended[:, None]).mean(axis=0)

    result = minimize(
        loss,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    weights = np.clip(result.x, 0, 1)
    return weights / weights.sum()


def mix(members: list[Member], part: str, weights: np.ndarray) -> SavedPredictions:
    """The blend's predictions for a part."""
    parts = [member.parts[part] for member in members]
    mean = np.tensordot(weights, np.stack([one.probabilities for one in parts]), axes=1)
    return dataclasses.replace(parts[0], probabilities=mean)


# --- the blend ----------------------------------------------------------------------------------------------


def blend(names: list[str], name: str, weights: str = "mean", root: Path = ROOT) -> dict[str, Any]:
    """Average the saved predictions of runs, score the blend, print it beside its members and write its report.

    Parameters
    ----------
    names : of two or more tested runs.
    name : of the blend; one of this name is written anew.
    weights : "mean", or "validation" for those that are best on the validation tracks.
    root : the folder of the runs.

    Returns
    -------
    What test.json holds; "members" has the weights.

    Raises
    ------
    ConfigError, TableError : unknown `weights`, a name that is taken, or as `read_members`.
    """
    pick("kind of weights", weights, WEIGHTS)
    run = Run(name, root)
    check_name(run, names)
    members = read_members(names, root, weights)
    shares = choose_weights(members, weights)
    parts = {part: mix(members, part, shares) for part in FILES if all(part in member.parts for member in members)}
    made = {"weights": weights, "members": dict(zip(names, shares.round(6).tolist(), strict=True))}
    facts, summary = {"run": name, "part": "test"} | made, summarise(parts, members[0].test) | members[0].test
    summary["leaks"] = list(dict.fromkeys(line for member in members for line in member.test["leaks"]))
    config = {"run": name, "blend": made, "classes": parts["test"].names, "split": summary["split"]}
    write_json(run.config_path, config)
    write_report(run, facts, summary, parts)
    rows = [show(member, f"{share:.3f}") for member, share in zip(members, shares, strict=True)]
    leaks = f", leaks: {'; '.join(summary['leaks'])}" if summary["leaks"] else ""
    print(f"{name}, {weights} of {len(names)} runs, split {summary['split']}{leaks}")
    print(describe_test(summary))
    print(markdown_table([*rows, show(Member(name, summary, parts), "")]))
    return facts | summary


def check_name(run: Run, members: list[str]) -> None:
    """A blend takes the place of no member and of no other kind of run."""
    known = run.config_path.read_text(encoding="utf-8") if run.exists() else ""
    if run.name in members or (run.report.exists() and '"blend":' not in known):
        raise ConfigError(f"--name {run.name} is the name of a run; give another")


def summarise(parts: dict[str, SavedPredictions], first: dict[str, Any]) -> dict[str, Any]:
    """The scores of a test, but for what the training part is needed for.

    Thresholds of labels are chosen by the rule of the first member, of whose test.json `first` is a part.
    """
    test, scores = parts["test"], parts["test"].scores
    validation: Any = parts["validation"].scores if "validation" in parts else None  # of the same kind
    rest = test.items, test.items, test.names, pd.DataFrame({"status": []}), validation
    if isinstance(scores, MultiLabelScores):
        return multi_label.summarise(scores, *rest, rule=first["threshold_rule"])
    return single_label.summarise(scores, *rest)


def write_report(run: Run, facts: dict[str, Any], summary: dict[str, Any], parts: dict[str, SavedPredictions]) -> None:
    """Write the report of a run, and the predictions for validation where all members have some."""
    test, scores = parts["test"], parts["test"].scores
    if isinstance(scores, MultiLabelScores):
        multi_label.write_report(run.report, facts, summary, scores, test.items, test.names)
    else:
        single_label.write_report(run.report, facts, summary, test.table(summary), test.names)
    path = run.report / FILES["validation"]
    if "validation" in parts:
        write_csv(path, parts["validation"].table(summary))
    else:
        path.unlink(missing_ok=True)


def show(member: Member, weight: str) -> dict[str, str]:
    """A row of the table of members and blend."""
    test, scores = member.parts["test"], member.parts["test"].scores
    row = single_label_row(scores, test.names) if isinstance(scores, SingleLabelScores) else multi_label_row(member)
    return {"run": member.name, "weight": weight} | row | {"loss": f"{scores.loss:.4f}"}


def single_label_row(scores: SingleLabelScores, names: list[str]) -> dict[str, str]:
    correct = scores.predictions == scores.labels
    low, high = bootstrap_interval(correct)
    f1 = macro_f1(per_genre(scores.labels, scores.predictions, names))
    return {"track accuracy": f"{correct.mean():.3f} ({low:.3f}-{high:.3f})", "macro F1": f"{f1:.3f}"}


def multi_label_row(member: Member) -> dict[str, str]:
    """Thresholds are chosen on the predictions for validation by the member's own rule."""
    test, validation = member.parts["test"], member.parts["validation"]
    thresholds = best_thresholds(validation.truth, validation.probabilities, member.test["threshold_rule"])
    scores = multi_label_scores(test.truth, test.probabilities, thresholds)
    return {title: f"{scores[name]:.3f}" for name, title in TITLES.items()}


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.blend(argv)
    blend(args.names, args.name, args.weights, args.runs)
