"""Cache the spectrograms of all tracks, whole and in clips: decode once, both lengths, all cores.

Killed at any moment and started again it goes on where it was, and ends with the same bytes. Tracks that are
already there and whose files have not changed are kept; new ones are added.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

if not __package__:  # run as a file: let `import scripts` work
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd

from scripts.audio.build_cache import build_cache
from scripts.audio.cache import MelCache
from scripts.audio.decoding import ENDINGS
from scripts.audio.spec import KINDS, SELECTIONS, MelSpec
from scripts.common.cli import command, positive_int
from scripts.common.errors import TableError
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table


def read_tracks(full: Path | None, ensemble: Path | None) -> pd.DataFrame:
    """Tracks of the table `full` with a row a track; if `ensemble` is given, after checking that both hold the same.

    Without either, the pair that metadata.py writes, or the first of it alone.

    Raises
    ------
    TableError : a given table is missing or wrong, or a track is in only one of them.
    """
    if full is None and ensemble is None and ENSEMBLE.is_file():
        ensemble = ENSEMBLE
    full = full or FULL
    tracks = read_table(full, NEEDED_TO_CACHE)
    odd = set(tracks["track_id"]) ^ set(read_table(ensemble, NEEDED_TO_CACHE)["track_id"]) if ensemble else ()
    if odd:
        raise TableError(f"track {sorted(odd)[0]} is in only one of {full} and {ensemble}; make both with metadata.py")
    return tracks


def summary(cache: MelCache) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in cache.counts().items())
    return f"{cache.folder}: {len(cache.rows)} tracks: {counts}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--full-csv", type=Path, help=f"metadata or label table with a row per track; default: {FULL}")
    add("--csv", type=Path, help=f"metadata with rows per clip, to check against; default: {PAIR}")
    add("--output-root", type=Path, default=Path("data/mels"), help="of this dataset's caches; default: %(default)s")
    add("--workers", type=positive_int, help="processes; default: one a core")
    add("--overwrite", action="store_true", help="start anew instead of keeping what is there")
    add("--limit", type=positive_int, help="only the first so many tracks")
    spec = parser.add_argument_group("spectrogram (another value gets another folder)")
    spec.add_argument("--experiment", metavar="NAME", help="take what follows, and --output-root, from this experiment")
    for field in dataclasses.fields(MelSpec):
        flag, kind = "--" + field.name.replace("_", "-"), float if field.default is None else type(field.default)
        help = PARAMETERS[field.name] + ("" if field.default is None else "; default: %(default)s")
        spec.add_argument(flag, type=kind, default=field.default, choices=CHOICES.get(field.name), help=help)
    return parse_with_experiment(parser, argv)


def parse_with_experiment(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Parse again with the experiment's parameters as defaults, if one is named; flags that are given still win."""
    args = parser.parse_args(argv)
    if args.experiment:
        from scripts.config.experiments import get_experiment

        experiment = get_experiment(args.experiment)
        parser.set_defaults(output_root=Path(experiment.cache), **experiment.spec.as_dict())
    return parser.parse_args(argv)


PARAMETERS = {
    "sample_rate": "Hz",
    "n_fft": "window in samples",
    "hop": "step between frames in samples",
    "n_mels": "mel bands",
    "f_min": "lowest frequency of the mel bands in Hz",
    "f_max": "highest frequency of the mel bands in Hz; default: half the sample rate",
    "top_db": "range below the maximum in dB",
    "track_seconds": "a track is cut or completed to this",
    "clip_seconds": "length of a clip",
    "kind": "log-mel, power spectrogram in dB, cepstral coefficients, log-mels of three windows as channels, natural "
    "log of a magnitude mel, or the samples themselves",
    "n_mfcc": "coefficients of kind mfcc",
    "clip_overlap": "share of a clip that the next one repeats, below 1",
    "ending": "what completes a short track: silence, the track again, its last sample, the track backwards, or "
    "silence under faint noise",
    "selection": "all clips of a track, or only the loudest among those that start at each step",
    "least_seconds": "a shorter track is left out; default: the length of a clip",
}
CHOICES = {"kind": KINDS, "ending": list(ENDINGS), "selection": SELECTIONS}
FULL, ENSEMBLE = Path("data/metadata_30_secs.csv"), Path("data/metadata_ensemble.csv")
PAIR = f"without --full-csv {ENSEMBLE}, if it is there"
EXAMPLES = """examples:
  python scripts/utils/mels.py --workers 8
  for an experiment:    --experiment best_scratch
  10 s images:          --sample-rate 22050 --track-seconds 10 --clip-seconds 10
  19 clips per track:   --sample-rate 22050 --n-fft 1024 --kind linear --clip-overlap 0.5 --ending hold
  one label table:      --full-csv data/gtzan/labels.csv --output-root data/mels/gtzan"""


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    spec = MelSpec(**{field.name: getattr(args, field.name) for field in dataclasses.fields(MelSpec)})
    tracks = read_tracks(args.full_csv, args.csv)[: args.limit]
    cache = build_cache(tracks, args.output_root, spec, args.workers, args.overwrite)
    print(summary(cache))


if __name__ == "__main__":
    main()
