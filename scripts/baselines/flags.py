"""The flags of the classical baselines."""

import argparse
from pathlib import Path

from scripts.common.cli import flags, positive_int, positive_number
from scripts.config.flags import add_embedder_flags, add_runs_flag


@flags
def descriptors(parser: argparse.ArgumentParser) -> None:
    """Compute classical features of every track, or of every clip, as one table for `classical`.

        python -m scripts descriptors --csv data/labeled_tracks.csv --output data/descriptors.csv
        python -m scripts descriptors --set mel_statistics --clips --output data/descriptors_clips.csv

    Killed at any moment and started again it goes on where it was, and ends with the same bytes. Files that cannot be
    used are counted and listed with their reasons in <output>_left_out.csv.
    """
    add = parser.add_argument
    add("--csv", type=Path, default=Path("data/labeled_tracks.csv"), help="table of tracks; default: %(default)s")
    add("--output", type=Path, default=Path("data/descriptors.csv"), help="default: %(default)s")
    add(
        "--set", default="gtzan57", metavar="NAME",
        help="gtzan57: those of the public GTZAN table (default); irmas28: spectrum and entropies of a clip as one "
        "frame, for --clips; mel_statistics: how each band of the log-mel is spread and moves; recording: rumble, "
        "the top of the spectrum and quiet frames, which tell of session and codec",
    )  # fmt: skip
    add("--clips", action="store_true", help="a row for every whole clip of 3 s instead of one a track")
    add("--min-seconds", type=positive_number, default=3.0, help="shorter tracks are left out; default: %(default)s")
    add("--workers", type=positive_int, help="processes; default: one a core")


@flags
def embed(parser: argparse.ArgumentParser) -> None:
    """Compute what a trained network makes of every clip, its embeddings, for `classical` and `label_svm`.

        python -m scripts embed --csv data/labeled_tracks.csv --output data/embeddings/musicnn
        python -m scripts embed --network best_scratch --output data/embeddings/best_scratch

    The published weights of musicnn (3.3 MB, MIT licence), a network that tags music, are fetched into data/weights;
    those of ast, clap, wav2vec2 (package transformers) and of timm's networks come from the Hugging Face hub, or from
    the folder or file that --weights names. The spectrograms or waveforms that the network takes are cached first, as
    by `mels`. Killed at any moment and started again it goes on where it was; new and changed tracks are added.
    """
    add = parser.add_argument
    add_embedder_flags(parser)
    add("--csv", type=Path, help="table of tracks; default: data/labeled_tracks.csv, or the run's")
    add("--output", type=Path, metavar="FOLDER", help="of the embeddings; default: data/embeddings/<network>")
    add("--output-root", type=Path, metavar="FOLDER", help="of the spectrograms; default: the run's, else data/mels")
    add("--overwrite", action="store_true", help="start anew, spectrograms included")
    add("--workers", type=positive_int, help="processes, then threads; default: one a core")


@flags
def classical(parser: argparse.ArgumentParser) -> None:
    """Train and test a classical classifier on a table of features: what a network has to beat.

        python -m scripts classical --table data/metadata_30_secs.csv --features data/descriptors.csv --classifier svm
        python -m scripts classical --features data/descriptors_clips.csv --classifier lda --folds 10 --by artist
        python -m scripts classical --features data/embeddings/musicnn data/descriptors_clips.csv --classifier lda
        python -m scripts classical --features gtzan --root data/gtzan --classifier svm

    Trains on train and validation, as it chooses nothing, and tests once. With a row per clip, a track's scores are the
    means of its clips' scores. The run `classical_<classifier>-<tag>` gets the same report as a network, so that
    compare can set them side by side; a run of the same name is written anew.
    """
    add = parser.add_argument
    add("--table", type=Path, default=Path("data/metadata_30_secs.csv"), help="metadata; default: %(default)s")
    add(
        "--features", nargs="+", default=["data/descriptors.csv"], metavar="TABLE",
        help="table with track_id and a column for each feature, a row per track or clip, or the folder of `embed`; "
        "several stand side by side, clip by clip; or gtzan, gtzan_clips: the public tables, with their own labels and "
        "fault-filtered split; default: data/descriptors.csv",
    )  # fmt: skip
    add("--root", type=Path, default=Path("data/gtzan"), help="of the public tables; %(default)s")
    add(
        "--classifier",
        default="svm",
        metavar="NAME",
        help="svm, logistic, lda, boosting, forest, mlp or nearest; default: svm",
    )
    add("--balanced", action="store_true", help="weigh every class alike, however many rows it has")
    add("--seed", type=int, default=0, help="of the classifier and the folds; default: 0")
    add(
        "--folds", type=positive_int,
        help="test every track once in so many folds, whatever its split; default with --by: 5, or the number of "
        "official folds",
    )  # fmt: skip
    add(
        "--by", choices=("official", "artist", "track"),
        help="official: the dataset's own folds; else what a fold keeps whole; default with --folds: official where "
        "there are some, else artist where artists are known, else track",
    )  # fmt: skip
    add("--tag", default="", help="ending of the run's name")
    add_runs_flag(parser)


@flags
def label_svm(parser: argparse.ArgumentParser) -> None:
    """Train a support vector machine for each label: what a multi-label network has to beat.

        python -m scripts descriptors --csv data/metadata_30_secs.csv --set irmas28 --clips
        python -m scripts label_svm --table data/metadata_30_secs.csv --features data/descriptors.csv
        python -m scripts label_svm --kernel linear --C 10 --tag c10

    Scaling, machines and probabilities are fitted to the training part alone and thresholds to validation; the test
    part is scored once. With a row per clip, a track's clips are averaged as those of a network. The run
    `label_svm_<kernel>-<tag>` gets the same report as a network, so that blend can average them; a run of the same name
    is written anew.
    """
    add = parser.add_argument
    add("--table", type=Path, default=Path("data/metadata_30_secs.csv"), help="metadata; default: %(default)s")
    add(
        "--features", nargs="+", type=Path, default=[Path("data/descriptors.csv")], metavar="TABLE",
        help="table with track_id and a column for each feature, a row per track or clip, or the folder of `embed`; "
        "several stand side by side, clip by clip; default: data/descriptors.csv",
    )  # fmt: skip
    add("--kernel", default="rbf", metavar="NAME", help="rbf or linear; default: rbf")
    add("--C", type=float, default=1, help="the greater, the closer it keeps to the training part; default: 1")
    add("--tag", default="", help="ending of the run's name")
    add_runs_flag(parser)
