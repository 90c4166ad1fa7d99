"""The flags of the commands that prepare data."""

import argparse
import dataclasses
from pathlib import Path

from scripts.audio.spec import ENDINGS, EXCERPTS, KINDS, MEL_SCALES, PAD_MODES, SELECTIONS, MelSpec
from scripts.common.cli import flags, positive_int
from scripts.common.engines import add_engine_flags

SPECTROGRAM = {
    "sample_rate": "Hz",
    "n_fft": "window in samples",
    "hop_length": "step between frames in samples",
    "n_mels": "mel bands",
    "f_min": "lowest frequency of the mel bands in Hz",
    "f_max": "highest frequency of the mel bands in Hz; default: half the sample rate",
    "top_db": "range below the maximum in dB",
    "track_seconds": "a track is cut or completed to this",
    "clip_seconds": "length of a clip",
    "kind": "log-mel, power spectrogram in dB, cepstral coefficients, log-mels of three windows as channels, natural "
    "log of a magnitude mel, the samples themselves, or pictures of log-mels (--sample-rate: frames a second)",
    "n_mfcc": "coefficients of kind mfcc",
    "clip_overlap": "share of a clip that the next one repeats, below 1",
    "ending": "what completes a short track: silence, the track again, its last sample, the track backwards, or "
    "silence under faint noise",
    "selection": "all clips of a track, or only the loudest among those that start at each step",
    "min_seconds": "a shorter track is left out; default: the length of a clip",
    "excerpt": "of a longer file its start, its middle, or pieces as long as a clip, spread evenly over it",
    "mel_scale": "of the mel bands, with triangles of equal area (slaney) or height (htk)",
    "pad_mode": "beyond both ends of a waveform: silence, or the waveform backwards",
}
CHOICES = {
    "kind": KINDS, "ending": ENDINGS, "selection": SELECTIONS, "excerpt": EXCERPTS, "mel_scale": MEL_SCALES,
    "pad_mode": PAD_MODES,
}  # fmt: skip


@flags
def download(parser: argparse.ArgumentParser) -> None:
    """Download a public dataset's files, check them and unpack them; goes on where it was stopped.

        python -m scripts download --list
        python -m scripts download metadata && python -m scripts download small    (FMA-small)
        python -m scripts download irmas

    Each file is checked against the published checksum, and unpacked to where `labeled_tracks` looks for it. GTZAN,
    Philharmonia and COALA's patches are not among them: no licence, or no checksum known here.
    """
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="of FMA metadata (342 MiB), small (7.2 GiB), medium, large or full; "
        "or another dataset of --list")  # fmt: skip
    add("--list", action="store_true", help="show what can be downloaded, with size and licence, and nothing else")
    add("--data", type=Path, default=Path("data"), metavar="FOLDER", help="to unpack below; default: data")
    add("--keep", "--keep-zip", action="store_true", help="do not delete the archives after unpacking")


@flags
def demo(parser: argparse.ArgumentParser) -> None:
    """Make a small synthetic corpus in exactly FMA-small's layout, with FMA's faults, from a seed.

    It has <output>/fma_metadata/tracks.csv, <output>/fma_small/<first 3 digits>/<6-digit id>.mp3 and, when all of it is
    there, <output>/demo.json. Artists, ids and audio follow from the seed and the track's number.
    """
    add = parser.add_argument
    add("--output", type=Path, default=Path("data/demo"), help="folder of the corpus; default: %(default)s")
    add("--seed", type=int, default=0, help="another seed, other artists and tracks; default: %(default)s")
    add("--tracks-per-genre", type=positive_int, default=20, metavar="N", help="at least 3; default: %(default)s")
    add("--workers", type=positive_int, help="processes; default: one a core")


@flags
def demo_notes(parser: argparse.ArgumentParser) -> None:
    """Make a small synthetic corpus of single notes, a folder for each of six rough instruments.

    Each instrument is a spectrum of partials, an envelope and a manner of its own; pitch, level, length and brightness
    are drawn for each note. They are caricatures: scores on them show how things work, not what instruments are like.
    """
    add = parser.add_argument
    add("--root", type=Path, default=Path("data/demo/notes"), help="folder of the corpus; default: %(default)s")
    add("--notes", type=positive_int, default=40, help="of each instrument; default: %(default)s")
    add("--seed", type=int, default=0, help="of all that is drawn; default: %(default)s")


@flags
def datasets(parser: argparse.ArgumentParser) -> None:
    """List the datasets that can be turned into a label table, or show one of them in full.

    Each is read by `python -m scripts labeled_tracks --dataset NAME --root FOLDER`.
    """
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this one in full; default: list all")


@flags
def labeled_tracks(parser: argparse.ArgumentParser) -> None:
    """Turn a dataset's files into the label table, a row for each track.

    `python -m scripts datasets` lists the datasets.
    """
    add = parser.add_argument
    add("--dataset", default="fma", metavar="NAME", help="default: fma")
    add(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="where the dataset lies; default: data for fma, data/NAME for others",
    )
    add("--output", type=Path, default=Path("data/labeled_tracks.csv"), help="the label table; default: %(default)s")
    add(
        "--option", action="extend", default=[], nargs="+", metavar="NAME=VALUE", dest="options",
        help="of the dataset, such as subset=medium; `python -m scripts datasets NAME` lists them",
    )  # fmt: skip


@flags
def verify(parser: argparse.ArgumentParser) -> None:
    """Check every file of a table: what is missing, unreadable, silent, short, or there twice.

    Faults are findings, not errors: the exit code stays 0.
    """
    add = parser.add_argument
    add("--csv", type=Path, default=Path("data/labeled_tracks.csv"), help="table of tracks; default: %(default)s")
    add("--output", type=Path, metavar="CSV", help="also write the findings to this file")
    add("--workers", type=positive_int, help="processes; default: one a core")


@flags
def metadata(parser: argparse.ArgumentParser) -> None:
    """Deal the tracks of a label table out to train, validation and test."""
    add = parser.add_argument
    add("--input", type=Path, default=Path("data/labeled_tracks.csv"), help="the label table; default: %(default)s")
    add(
        "--output",
        type=Path,
        default=Path("data/metadata_ensemble.csv"),
        help="a row a clip, or, of many tracks, a row a track with the number of its clips; default: %(default)s",
    )
    add(
        "--full-output",
        type=Path,
        default=Path("data/metadata_30_secs.csv"),
        help="a row a track; default: %(default)s",
    )
    add(
        "--split", metavar="NAME",
        help="official: the dataset's own, default where there is one; artist: 70/10/20, no artist in two parts, "
        "default where artists are known; random80: 80/20 of tracks, an eighth of the 80 for validation, default "
        "otherwise; artist_album: as artist, and artists who share an album stay together; shuffled: the official "
        "parts dealt out anew at random within each genre",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="of the split and of the order of rows; default: %(default)s")
    add("--clips", type=positive_int, help="rows a track in --output; default: 10 up to 25,000 tracks")


@flags
def merge(parser: argparse.ArgumentParser) -> None:
    """Put checked sounds with their corrected labels into the training part of a table.

        python -m scripts corrections --store data/sounds
        python -m scripts merge data/sounds/exports/genres.csv --output data/metadata_corrected.csv
        python -m scripts train --experiment fma_cnn_3s --set table=data/metadata_corrected.csv --tag corrected

    A sound that the training part has already, by its id or as the same file, gets the new labels there; others become
    new training tracks. Validation and test tracks, and other sounds by their artists, are left out, and the genres
    keep their numbers.
    """
    add = parser.add_argument
    add("corrections", type=Path, metavar="CSV", help="label table of the sounds, as `corrections` exports it")
    add("--table", type=Path, default=Path("data/metadata_30_secs.csv"), metavar="CSV",
        help="with a split, a row a track or a clip; default: %(default)s")  # fmt: skip
    add("--output", type=Path, required=True, metavar="CSV", help="the table with the sounds; may be --table itself")


@flags
def compare_tables(parser: argparse.ArgumentParser) -> None:
    """Compare two label tables of the same tracks: how far annotators, or a table and its correction, agree.

        python -m scripts compare_tables data/labels.csv data/relabelled.csv --output data/differing.csv

    Prints the share of tracks with the same labels, of those that share a label, of all pairs of track and label that
    are judged alike (Hamming), and the mean of labels in both / labels in either (Jaccard); then how often each label
    stands in the first, the second and both. A genre counts as a track's only label; unknown labels are left out.
    """
    add = parser.add_argument
    add("first", type=Path, metavar="FIRST", help="label table, or metadata, with labels or genre")
    add("second", type=Path, metavar="SECOND", help="another of the same tracks, by track_id")
    add("--output", type=Path, metavar="CSV", help="also write the tracks that differ, with both labels")


@flags
def mels(parser: argparse.ArgumentParser) -> None:
    """Cache the spectrograms of all tracks, whole and in clips: decode once, on all cores.

    Killed at any moment and started again it goes on where it was, and ends with the same bytes. Tracks that are
    already there and whose files have not changed are kept; new ones are added.

        python -m scripts mels --workers 8
        for an experiment:    --experiment best_scratch
        10 s images:          --sample-rate 22050 --track-seconds 10 --clip-seconds 10
        19 clips per track:   --sample-rate 22050 --n-fft 1024 --kind linear --clip-overlap 0.5 --ending hold
        one label table:      --full-csv data/gtzan/labels.csv --output-root data/mels/gtzan
    """
    add = parser.add_argument
    add("--full-csv", type=Path, metavar="CSV",
        help="metadata or label table; default: the experiment's, else data/metadata_30_secs.csv")  # fmt: skip
    add("--csv", type=Path, metavar="CSV",
        help="metadata with rows per clip, to check against; default: without --full-csv and --experiment "
        "data/metadata_ensemble.csv, if it is there")  # fmt: skip
    add("--output-root", type=Path, metavar="FOLDER", help="of this dataset's caches; default: data/mels")
    add("--workers", type=positive_int, help="processes; default: one a core")
    add_engine_flags(parser)
    add("--overwrite", action="store_true", help="start anew instead of keeping what is there")
    add("--limit", type=positive_int, help="only so many tracks: those that an experiment takes with limit=N")
    spec = parser.add_argument_group("spectrogram (another value gets another folder)")
    spec.add_argument("--experiment", metavar="NAME", help="take what follows, the table and --output-root from it")
    for field in dataclasses.fields(MelSpec):
        kind = float if field.default is None else type(field.default)
        text = SPECTROGRAM[field.name] + ("" if field.default is None else f"; default: {field.default}")
        spec.add_argument(
            f"--{field.name.replace('_', '-')}", type=kind, default=argparse.SUPPRESS,
            choices=CHOICES.get(field.name), help=text,
        )  # fmt: skip
    hidden = argparse.SUPPRESS  # for an earlier name
    spec.add_argument("--least-seconds", type=float, dest="min_seconds", default=hidden, help=hidden)


@flags
def mixtures(parser: argparse.ArgumentParser) -> None:
    """Write mixtures of several tracks as audio files, with their multi-label table.

        python -m scripts mixtures --part train=2000:1 validation=300:2-3 test=500:2-3 --output data/polyphony

    writes <output>/audio/<part>_<number>.flac and, when all of them are there, <output>/metadata.csv. A mixture takes
    all of its tracks from its own part of the split, so no file is on both sides. What a mixture holds follows from the
    seed and its number: a run that was stopped goes on where it was.
    """
    add, unset = parser.add_argument, argparse.SUPPRESS
    add("--input", type=Path, default=Path("data/metadata_30_secs.csv"), metavar="CSV",
        help="table with a split and a genre or labels; default: %(default)s")  # fmt: skip
    add("--output", type=Path, default=Path("data/polyphony"), metavar="FOLDER", help="default: %(default)s")
    add("--part", nargs="+", required=True, dest="parts", metavar="PART=COUNT[:TRACKS]",
        help="train, validation or test, how many mixtures, and of how many tracks each, such as 2 or 1-3, the "
        "default; each number is taken equally often")  # fmt: skip
    add("--mode", metavar="NAME", help="sum, all tracks at once, or concatenate, in turn; default: sum", default=unset)
    add("--how", dest="mode", help=argparse.SUPPRESS, default=unset)  # its earlier name
    add("--seconds", type=float, help="length of a mixture; default: 2", default=unset)
    add("--sample-rate", type=positive_int, help="Hz; default: 44100", default=unset)
    add(
        "--spread",
        type=float,
        metavar="DB",
        help="tracks are equally loud but for a gain of up to so many dB up or down; default: 3",
        default=unset,
    )
    add("--seed", type=int, default=0, help="of everything that is drawn; default: %(default)s")
    add("--workers", type=positive_int, help="processes; default: one a core")


@flags
def visualisation(parser: argparse.ArgumentParser) -> None:
    """Draw a track of the cache: its waveform, its spectrogram, and its clips."""
    add = parser.add_argument
    add("--csv", type=Path, default=Path("data/metadata_30_secs.csv"), help="a row a track; default: %(default)s")
    add("--cache", type=Path, default=Path("data/mels"), help="folder of this dataset's caches; default: %(default)s")
    add("--output", type=Path, default=Path("sources/visualisation"), help="of the figures; default: %(default)s")
    add("--track-id", metavar="ID", help="which track; default: a random one")
    add("--seed", type=int, default=0, help="of the random choice; default: %(default)s")
