"""Trained runs with versions and stages, for the programs that use them."""

import argparse
import dataclasses
import os
import re
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError
from scripts.common.storage import sha256, write_text
from scripts.config.run import ROOT, Run
from scripts.inference import flags
from scripts.inference.model_card import describe_score, main_scores, read_report, write_card
from scripts.inference.registry_store import STAGES, RegistryStore, Stage, Version

VARIABLE = "AUDIO_REGISTRY"
DEFAULTS = ("fma_cnn_3s", "demo_cnn_3s")  # runs that are taken without a reference
BEST, CARD = "best.pt", "card.md"
TRAIN = "train one first: `make run`, or python -m scripts train --experiment fma_cnn_3s"
ADD = f"add a run (python -m scripts registry add RUN), or {TRAIN}"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def find_run(reference: str | None = None, runs: Path = ROOT, registry: str | Path | None = None) -> Run:
    """The run that a reference means, ready for a Predictor.

    Parameters
    ----------
    reference : "name@stage" or "name@3" of a registered model; "name" of a registered model (its production version,
        else its newest) or of a run in `runs`; None takes the first model in production, else the run fma_cnn_3s,
        else demo_cnn_3s, else the newest run that can predict.
    runs : folder of the runs.
    registry : folder or URL; default: the variable AUDIO_REGISTRY, else `runs`/registry.

    Raises
    ------
    ConfigError : nothing of that name (the nearest is suggested), a damaged registry, or nothing trained yet.
    """
    models = Registry(registry, runs)
    if version := models.resolve(reference):
        return models.open(version)
    if reference is None:
        return default_run(runs)
    names = {version.name for version in models.versions()}
    known = names | {path.parent.name for path in runs.glob("reports/*/config.json")}
    if not known:
        raise ConfigError(f"no model {reference!r}, and no run in {runs}/; {TRAIN}")
    return Run(pick("model or run", reference, sorted(known)), runs)


def default_run(runs: Path) -> Run:
    """That of `DEFAULTS`, or the newest, that can predict; raises a ConfigError if there is none."""
    able = [run for path in runs.glob(f"checkpoints/*/{BEST}") if can_predict(run := Run(path.parent.name, runs))]
    if not able:
        raise ConfigError(f"no run in {runs}/ that can predict; {TRAIN}")
    by_name = {run.name: run for run in able}
    newest = max(able, key=lambda run: (run.checkpoints / BEST).stat().st_mtime)
    return next((by_name[name] for name in DEFAULTS if name in by_name), newest)


def can_predict(run: Run) -> bool:
    """It has a valid configuration, and takes audio."""
    try:
        return run.experiment().data.unit != "row"
    except ConfigError:
        return False


def version_of(run: Run) -> str:
    """Of a registered run "name@3", since it lies in models/name/3; else the run's name."""
    folder = run.root.absolute()
    registered = folder.parent.parent.name == "models" and folder.name.isdecimal()
    return f"{folder.parent.name}@{folder.name}" if registered else run.name


def tracked_reference(reference: str | None, run: Run) -> str | None:
    """The reference whose newer versions take over from a run that `find_run` gave for this one.

    Without a reference it is that model's production version, whatever other models there are later.
    """
    if reference is None and version_of(run) != run.name:
        return f"{version_of(run).partition('@')[0]}@production"
    return reference


class Registry:
    """Models with versions and stages, in a folder or behind a URL."""

    def __init__(self, where: str | Path | None = None, runs: Path = ROOT) -> None:
        """Nothing is written yet; `where` is a folder or a URL, see `find_run`."""
        self.where = str(where or os.environ.get(VARIABLE) or runs / "registry")
        self.store = RegistryStore(self.where, runs / "registry_cache")

    def versions(self) -> list[Version]:
        """All that are not removed, in the order they were added."""
        return self.store.versions()

    def find(self, reference: str) -> Version:
        """The version that "name@stage" (the newest of it), "name@3" or "name" (in production, else newest) means.

        Raises
        ------
        ConfigError : there is none; the nearest is suggested.
        """
        name, at, which = reference.partition("@")
        versions = self.versions()
        if not versions:
            raise ConfigError(f"no model {reference!r}, the registry {self.where} is empty; {ADD}")
        pick("model", name, dict.fromkeys(version.name for version in versions))
        versions = sorted((version for version in versions if version.name == name), key=lambda one: one.version)
        known = {str(version.version): version for version in versions} | {one.stage: one for one in versions}
        if not at:
            return known.get("production", versions[-1])
        return known[pick(f"version or stage of {name}", which, known)]

    def resolve(self, reference: str | None) -> Version | None:
        """The version that a reference means, as `find_run` takes it; None where it means a run.

        Raises
        ------
        ConfigError : the reference names a version or stage that is not there, or the registry is damaged.
        """
        versions = self.versions()
        if reference is None:
            return next((version for version in versions if version.stage == "production"), None)
        if "@" in reference or reference in {version.name for version in versions}:
            return self.find(reference)
        return None

    def open(self, version: Version) -> Run:
        """The version as a run; raises a ConfigError if a file of it is missing or has changed."""
        return Run(version.run, self.store.get(version))

    def newer(self, reference: str | None, run: Run) -> Run | None:
        """What a reference means now, if it is another version than `run`; raises as `resolve` and `open`."""
        version = self.resolve(reference)
        return None if version is None or version.reference == version_of(run) else self.open(version)

    def add(self, run: Run, name: str = "", stage: Stage = "none", dataset: str = "") -> Version:
        """Register a tested run as the next version of a model; its settings, report and best weights are copied.

        Parameters
        ----------
        name : of the model; default: the run's.
        stage : one of `STAGES`; with "production", the version that was there becomes archived.
        dataset : of `scripts.datasets`, for the card; default: what the run's paths tell.

        Raises
        ------
        ConfigError, CheckpointError : an unknown stage or dataset, a name that cannot be a folder's, or a run that
            cannot predict or was not tested.
        """
        name = name or run.name
        if not re.fullmatch(NAME, name):
            raise ConfigError(
                f"name {name!r}; give up to 100 of a-z, A-Z, 0-9, '.', '_' and '-', a letter or digit first"
            )
        pick("stage", stage, STAGES)
        test = check_run(run)
        with tempfile.TemporaryDirectory() as folder, self.store.claim(name) as number:
            copy = copy_run(run, Path(folder))
            version = describe(copy, test, name, number)
            write_text(copy.root / CARD, write_card(copy, test, version.reference, version.added_at, dataset))
            version = dataclasses.replace(version, files=checksums(copy.root))
            self.store.put(copy.root, version)
        return version if stage == "none" else self.store.move(version, stage)

    def promote(self, reference: str, stage: Stage) -> Version:
        """Give a version another stage; the one that was in production before becomes archived.

        Raises
        ------
        ConfigError : an unknown version or stage.
        """
        pick("stage", stage, STAGES)
        return self.store.move(self.find(reference), stage)

    def remove(self, reference: str) -> Version:
        """Delete a version's files; its number is not given again. Raises a ConfigError if there is none."""
        version = self.find(reference)
        self.store.remove(version)
        return version


def check_run(run: Run) -> dict[str, Any]:
    """The run's test.json, after a look whether it can predict; raises as `Registry.add`."""
    if not can_predict(run):
        run.load_config()
        raise ConfigError(f"{run.name} reads a table of features, not audio; give a run on spectrograms")
    run.load_model()
    return read_report(run)


def copy_run(run: Run, root: Path) -> Run:
    """The run, as far as prediction needs it, with its report, below another folder."""
    copy = Run(run.name, root)
    copy.report.mkdir(parents=True)
    copy.checkpoints.mkdir(parents=True)
    for name in ("config.json", "test.json"):
        shutil.copy(run.report / name, copy.report)
    shutil.copy(run.checkpoints / BEST, copy.checkpoints)
    return copy


def describe(run: Run, test: dict[str, Any], name: str, number: int) -> Version:
    """The row of a version, without its files."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    task, split = run.experiment().task, run.load_config()["split"]
    return Version(name, number, run.name, task, main_scores(test, task), split, now, {})


def checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


# --- the command ----------------------------------------------------------------------------------------------


def show_list(versions: list[Version]) -> str:
    """A line for each version with its first score, the newest last."""
    rows = [("model", "stage", "run", "split", "added", "scores")]
    for one in versions:
        scores = "; ".join(describe_score(*score) for score in [*one.metrics.items()][:1])
        rows.append((one.reference, one.stage, one.run, one.split, one.added_at, scores))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def show(models: Registry, version: Version) -> str:
    """The card, the stage, and the files with their sums."""
    run = models.open(version)
    files = [f"{digest}  {run.root / name}" for name, digest in version.files.items()]
    return "\n".join([(run.root / CARD).read_text(encoding="utf-8"), f"stage: {version.stage}", *files])


def act(models: Registry, args: argparse.Namespace) -> str:
    """Do what the flags ask for; returns what is printed."""
    match args.action:
        case "add":
            version = models.add(Run(args.run, args.runs), args.name, args.stage, args.dataset)
            return f"{version.reference}: {args.run} added, stage {version.stage}"
        case "list":
            return show_list(models.versions())
        case "show":
            return show(models, models.find(args.reference))
        case "promote":
            version = models.promote(args.reference, args.stage)
            return f"{version.reference}: stage {version.stage}"
        case _:  # "remove"
            return f"{models.remove(args.reference).reference}: removed; its number is not given again"


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.registry(argv)
    print(act(Registry(args.registry, args.runs), args))
