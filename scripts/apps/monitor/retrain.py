"""From people's corrections to the next version of a model, which takes over if it is not worse."""

import tempfile
from pathlib import Path

import pandas as pd

from scripts.analysis.compare import as_text, check_same_tracks, compare_pairs, read_tested
from scripts.apps import flags
from scripts.apps.monitor.corrections import FILES, export
from scripts.apps.store import FILE, Store, StoreError
from scripts.audio.build_cache import build_cache
from scripts.common.cli import command
from scripts.common.errors import ConfigError
from scripts.config.run import ROOT, Run
from scripts.evaluate import evaluate
from scripts.inference.registry import Registry, copy_run
from scripts.inference.registry_store import Version
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table
from scripts.train import train
from scripts.utils.merge import merge


def retrain(store: Store, name: str, runs: Path = ROOT, registry: str | None = None) -> Version:
    """Train the model in production again on what people corrected, and put it into production if it is not worse.

    The corrected sounds join the training tracks, see `merge`; both versions are tested on the same test tracks. The
    new one is not worse where its track accuracy, or of several labels its macro F1, is at least that of the other.
    Prints the comparison.

    Parameters
    ----------
    store : sounds that people corrected or confirmed.
    name : of a registered model that has a version in production.
    runs : folder of the runs.
    registry : folder or URL, see `find_run`.

    Returns
    -------
    The new version, in production or staging.

    Raises
    ------
    StoreError : nobody has corrected or confirmed a sound yet.
    ConfigError : no such model, none of its versions is in production, or the corrections change no training track.
    TableError, CacheError, CheckpointError, TrainingError : as `merge`, `train` and `evaluate`.
    """
    models = Registry(registry, runs)
    old = models.find(f"{name}@production")
    tag = f"{name}-{1 + max(version.version for version in models.versions() if version.name == name)}"
    with tempfile.TemporaryDirectory() as folder:
        production = copy_run(models.open(old), Path(folder))
        experiment = production.experiment()
        table = merge_corrections(store, experiment.task, Path(experiment.data.table), tag)
        if experiment.data.unit not in ("row", "patch"):
            tracks = read_table(table, NEEDED_TO_CACHE).drop_duplicates("track_id")
            build_cache(tracks, experiment.data.cache, experiment.features.spec)
        run = Run.of(experiment, tag, runs)
        train(experiment.updated(table=str(table)), tag, runs, overwrite=True)
        evaluate(production)
        tested = [read_tested(run), read_tested(production)]
    check_same_tracks(*tested)
    print(as_text(type(tested[0]), pd.DataFrame([test.row for test in tested]), compare_pairs(tested), group=False))
    score = "track_accuracy" if experiment.task == "single_label" else "f1_macro"
    takes_over = tested[0].row[score] >= tested[1].row[score]
    new = models.add(run, name, "production" if takes_over else "staging")
    if takes_over:
        print(f"{new.reference} is in production; back to the earlier one: registry promote {old.reference} production")
    else:
        print(f"{new.reference} is worse and in staging; all the same: registry promote {new.reference} production")
    return new


def merge_corrections(store: Store, task: str, source: Path, tag: str) -> Path:
    """Write `source` with the corrected sounds, as `<tag>.csv` beside it, and return the path; raises as `retrain`."""
    written = export(store, store.folder / "exports")
    corrections, table = store.folder / "exports" / FILES[task][0], source.with_name(f"{tag}.csv")
    if corrections not in written:
        raise ConfigError(f"{store.folder}: no checked sound has exactly one tag, as a model of genres needs")
    if merge(source, corrections, table).equals(read_table(source, NEEDED_TO_CACHE)):
        table.unlink()
        raise ConfigError(f"{source}: the checked sounds change no training track; check more sounds in the monitor")
    return table


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.retrain(argv)
    if not (args.store / FILE).is_file():
        raise StoreError(f"{args.store}: no store; give the folder that the tagger fills (--store)")
    retrain(Store(args.store), args.name, args.runs, args.registry)
