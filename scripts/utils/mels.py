"""Cache the spectrograms of all tracks, whole and in clips: decode once, both lengths, all cores."""

import dataclasses
import sys
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts mels`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("mels")

import pandas as pd

from scripts.audio.build_cache import build_cache
from scripts.audio.cache import MelCache
from scripts.audio.spec import MelSpec
from scripts.common.cli import command
from scripts.common.engines import open_engine
from scripts.common.errors import ConfigError, TableError
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table
from scripts.utils import flags

FULL, ENSEMBLE = Path("data/metadata_30_secs.csv"), Path("data/metadata_ensemble.csv")


def read_tracks(full: Path | None, ensemble: Path | None) -> pd.DataFrame:
    """Tracks of the table `full` with a row a track; if `ensemble` is given, after checking that both hold the same.

    Without either, the pair that `metadata` writes, or the first of it alone. `full` may also have rows per clip.

    Raises
    ------
    TableError : a given table is missing or wrong, or a track is in only one of them.
    """
    if full is None and ensemble is None and ENSEMBLE.is_file():
        ensemble = ENSEMBLE
    full = full or FULL
    tracks = read_table(full, NEEDED_TO_CACHE).drop_duplicates("track_id")
    odd = set(tracks["track_id"]) ^ set(read_table(ensemble, NEEDED_TO_CACHE)["track_id"]) if ensemble else ()
    if odd:
        raise TableError(f"track {sorted(odd)[0]} is in only one of {full} and {ensemble}; make both with `metadata`")
    return tracks


def summary(cache: MelCache) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in cache.counts().items())
    return f"{cache.folder}: {len(cache.rows)} tracks: {counts}"


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.mels(argv)
    spec, root, full = MelSpec(), "data/mels", args.full_csv
    if args.experiment:
        from scripts.config.experiments import get_experiment  # with torch, which nothing else here needs

        experiment = get_experiment(args.experiment)
        if experiment.data.unit in ("row", "patch"):
            raise ConfigError(f"{args.experiment} reads no spectrograms of this kind, so it needs no cache; train it")
        spec, root = experiment.features.spec, experiment.data.cache
        full = full or (None if args.csv else Path(experiment.data.table))
    given = {field.name: getattr(args, field.name) for field in dataclasses.fields(MelSpec) if field.name in args}
    spec = dataclasses.replace(spec, **given)
    tracks = read_tracks(full, args.csv)
    if args.limit:
        from scripts.tables.splits import stratified_subset  # with scikit-learn

        tracks = stratified_subset(tracks, args.limit)
    with open_engine(args.engine, args.address) as engine:
        cache = build_cache(tracks, args.output_root or root, spec, args.workers, args.overwrite, engine)
    print(summary(cache))
