"""The runs and caches there are, with scores and sizes; deleting runs, or what nothing but resuming needs."""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from scripts.analysis import flags
from scripts.audio.cache import MelCache, read_spec
from scripts.audio.compact import compact, dead_bytes
from scripts.common.cli import command, pick
from scripts.common.errors import BusyError, CacheError, ProjectError
from scripts.common.lock import locked
from scripts.common.storage import in_bytes
from scripts.config.experiment import Experiment
from scripts.config.resuming import TEST
from scripts.config.run import ROOT, Run
from scripts.reports.markdown import markdown_table
from scripts.trainer import HISTORY

SCORES = {"track_accuracy": "track accuracy", "f1_macro": "macro F1"}
MAIN_CACHE = "data/mels"  # listed also where no run uses it


def find_runs(root: Path = ROOT, names: Sequence[str] = ()) -> list[Run]:
    """The runs called `names`, or all below `root`; an unknown name raises a ConfigError with the nearest."""
    known = sorted(path.parent.name for path in root.glob("reports/*/config.json"))
    return [Run(pick("run", name, known), root) for name in names or known]


def is_tested(run: Run) -> bool:
    return (run.report / TEST).is_file()


def is_unfinished(run: Run) -> bool:
    """It was begun as a training and has not been tested; pretrainings, which are never tested, are not meant."""
    config = read_json(run.config_path)
    return "experiment" in config and "pretext" not in config and not is_tested(run)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    return found if isinstance(found, dict) else {}


def read_experiment(run: Run) -> Experiment | None:
    """What the run was of; None of a blend or a classical classifier, or where config.json cannot be read."""
    try:
        return Experiment.from_dict(read_json(run.config_path)["experiment"])
    except (ProjectError, KeyError, TypeError, ValueError, AttributeError):
        return None


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of files, and of all files in folders."""
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]))
    return sum(file.stat().st_size for file in files if file.is_file())


def folders(run: Run) -> list[Path]:
    """Those of its three folders that are there."""
    return [folder for folder in (run.logs, run.checkpoints, run.report) if folder.is_dir()]


# --- list ---------------------------------------------------------------------------------------------------


def describe_run(run: Run) -> dict[str, str]:
    """The run's row of the table."""
    config, test, experiment = read_json(run.config_path), read_json(run.report / TEST), read_experiment(run)
    history = run.report / HISTORY
    trained = max(0, len(history.read_text().splitlines()) - 1) if history.is_file() else 0
    changed = max(file.stat().st_mtime for file in run.report.iterdir())
    task = f"pretraining ({config['pretext']})" if "pretext" in config else experiment.task if experiment else "-"
    return {
        "run": run.name,
        "experiment": experiment.name if experiment else "-",
        "task": task,
        "score": next((f"{title} {test[name]:.3f}" for name, title in SCORES.items() if name in test), "not tested"),
        "epochs": f"{trained} of {experiment.training.epochs}" if experiment else "-",
        "size": in_bytes(size_of(folders(run))),
        "last change": time.strftime("%Y-%m-%d %H:%M", time.localtime(changed)),
    }


def find_caches(runs: Sequence[Run]) -> list[Path]:
    """The caches in the folders that the runs name, and in the main one."""
    roots = {MAIN_CACHE} | {experiment.data.cache for run in runs if (experiment := read_experiment(run))}
    return sorted(path.parent for root in roots for path in Path(root).glob("*/spec.json"))


def describe_cache(folder: Path) -> dict[str, str]:
    """The cache's row of the table."""
    try:
        cache = MelCache.read(folder, read_spec(folder))
    except CacheError:
        tracks, outdated = "empty or damaged", "-"
    else:
        tracks, outdated = f"{len(cache.rows):,}", in_bytes(dead_bytes(cache))
    return {"cache": folder.as_posix(), "tracks": tracks, "size": in_bytes(size_of([folder])), "outdated": outdated}


def show(runs: Sequence[Run]) -> None:
    """Print the tables of runs and of caches."""
    tables = [[describe_run(run) for run in runs], [describe_cache(cache) for cache in find_caches(runs)]]
    print("\n\n".join(markdown_table(rows) for rows in tables if rows) or "no run and no cache")


# --- prune, compact -----------------------------------------------------------------------------------------


def only_for_resuming(run: Run) -> list[Path]:
    """Of a tested run's checkpoints all but the best, which is what everything but going on with training needs."""
    best = run.checkpoints / "best.pt"
    return sorted({*run.checkpoints.glob("last.pt"), *run.checkpoints.glob("epoch_*.pt")}) if best.is_file() else []


def delete(runs: Sequence[Run], chosen: Callable[[Run], list[Path]], really: bool) -> int:
    """Delete what is `chosen` of each run, or only print what would be; returns how many bytes that is.

    A run that another process is at work on is left alone.
    """
    total = 0
    for run in runs:
        try:
            with locked(run.report):
                paths = chosen(run)
                size = size_of(paths)
                for path in paths if really else ():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        except BusyError as error:
            print(f"{run.name}: left alone; {error}")
            continue
        if paths:
            print(f"{in_bytes(size):>7}  {', '.join(path.relative_to(run.root).as_posix() for path in paths)}")
        total += size
    print(f"{in_bytes(total)} {'freed' if really else 'could be freed; nothing was deleted: give --yes to delete'}")
    return total


def compact_caches(folders: Iterable[Path], really: bool) -> None:
    """Take the rows out of caches that newer ones have replaced, or only print how much that is."""
    for folder in folders:
        try:
            cache = MelCache.read(folder, read_spec(folder))
        except CacheError as error:
            print(f"left alone; {error}")
            continue
        size = dead_bytes(cache)
        if size:
            print(f"{in_bytes(size):>7}  {folder.as_posix()}: outdated rows{'' if really else '; give --yes'}")
        if really:
            compact(cache)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.runs(argv)
    runs = find_runs(args.runs, args.names)
    if args.action == "list":
        show(runs)
    elif args.action == "prune":
        delete(runs if args.names else list(filter(is_unfinished, runs)), folders, args.yes)
    else:
        delete(list(filter(is_tested, runs)), only_for_resuming, args.yes)
        compact_caches(() if args.names else find_caches(runs), args.yes)
