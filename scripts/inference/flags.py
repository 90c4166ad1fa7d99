"""The flags of the commands that use a trained run, and where runs and models are."""

import argparse
from pathlib import Path

from scripts.common.cli import flags, positive_int
from scripts.common.engines import add_engine_flags
from scripts.config.flags import add_embedder_flags, add_runs_flag

FORMATS = ("csv", "parquet", "audacity", "raven")


def add_registry_flags(parser: argparse.ArgumentParser) -> None:
    """Where runs and models are."""
    add_runs_flag(parser)
    parser.add_argument(
        "--registry", metavar="PLACE",
        help="folder or URL of the models; default: the variable AUDIO_REGISTRY, else registry in --runs",
    )  # fmt: skip


@flags
def predict(parser: argparse.ArgumentParser) -> None:
    """Predict the genre, or the labels, of audio files of any length by a trained run.

        python -m scripts predict song.mp3 other.wav --top 3
        python -m scripts predict my_music --model genres@production --out predictions.csv
        python -m scripts predict my_music --out predictions.csv --write-tags --dry-run
        python -m scripts predict my_music --out windows.csv --windows
        python -m scripts predict my_music --out labels --format audacity
        python -m scripts predict my_music --out predictions.csv --playlist folk.m3u8 --only Folk --min-probability 0.7

    Of folders, all audio files at any depth are taken. With --out each file gets a row as soon as it is predicted, also
    one that cannot be used, with the reason; started again, the command passes over files that have not changed. Many
    files are decoded on all cores.
    docs/predict.md says more.
    """
    add = parser.add_argument
    add("files", nargs="+", help="audio files of any length from one clip up, and folders of them")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--run", help="name of a trained run, as in runs/reports/")
    model.add_argument(
        "--model", metavar="REFERENCE", help="name@stage, name@version or name in the registry, or a run"
    )
    add("--top", type=positive_int, default=3, help="how many genres or labels to print; default: 3")
    add("--min-probability", type=float, metavar="P", help="from which on a genre or label is predicted; see docs")
    add("--least", type=float, dest="min_probability", help=argparse.SUPPRESS)  # its earlier name
    add("--overlap", type=float, help="share of a window that the next repeats; default: as in the test")
    add("--longest", type=float, metavar="SECONDS", help="refuse longer files; default: none is too long")
    add("--json", action="store_true", help="one JSON object a line")
    add("--windows", action="store_true", help="a line or a row for each window, with start_s and end_s")
    add("--out", type=Path, metavar="PLACE", help="write a row for each file instead; goes on where it was stopped")
    add(
        "--format", choices=FORMATS, default="csv",
        help="of --out: a table as CSV or Parquet, or a folder with a label track (Audacity) or a selection table "
        "(Raven Pro) for each file; default: %(default)s",
    )  # fmt: skip
    add("--playlist", type=Path, metavar="M3U8", help="also write a playlist of the files with a prediction")
    add("--only", metavar="NAME", help="the playlist holds only files for which this one is predicted")
    add("--write-tags", action="store_true", help="also put what is predicted into the files' own metadata, as genre")
    add("--dry-run", action="store_true", help="only show what --write-tags would change, and where it would fail")
    add("--yes", action="store_true", help="let --write-tags change the files without a question")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--keep", action="store_true", help="--write-tags leaves a genre that a file has")
    existing.add_argument("--append", action="store_true", help="--write-tags adds to the genres that a file has")
    existing.add_argument("--only-missing", action="store_true", help="pass over files that have a genre, unpredicted")
    add("--as-genre", action="store_true", help="let --write-tags write labels that need not be genres, as several are")
    add_engine_flags(parser)
    add_registry_flags(parser)


@flags
def search(parser: argparse.ArgumentParser) -> None:
    """Find the tracks of a collection that sound most like a song, or like a text.

        python -m scripts search song.mp3 --in my_music
        python -m scripts search song.mp3 --in my_music other_music --count 20 --json
        python -m scripts search --text "solo piano, rain" --in my_music --network clap

    A line for each: the cosine of the mean embeddings, and the file; the song itself is left out. The embeddings are
    kept: only new and changed files are embedded, and after a kill it goes on where it was. docs/search.md says more.
    """
    add = parser.add_argument
    add("song", nargs="?", help="an audio file")
    add("--text", help="words in place of a song; needs a network that knows words, as clap")
    add(
        "--in",
        dest="folders",
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="folders and files to search",
    )
    add("--count", type=positive_int, default=10, help="how many tracks; default: %(default)s")
    add("--json", action="store_true", help="one JSON object a line")
    add("--index", type=Path, metavar="FOLDER", help="of the embeddings; default: one in data/search for these folders")
    add("--workers", type=positive_int, help="processes that decode, then threads that embed; default: one a core")
    add_embedder_flags(parser)


@flags
def registry(parser: argparse.ArgumentParser) -> None:
    """Keep trained runs with versions and stages, for the programs that use them.

        python -m scripts registry add fma_cnn_3s --name genres --stage staging
        python -m scripts registry promote genres@1 production
        python -m scripts registry list
        python -m scripts registry show genres@production
        python -m scripts registry remove genres@1

    The registry is the folder runs/registry, or what --registry or the variable AUDIO_REGISTRY names: another folder,
    or a URL such as s3://bucket/models. docs/registry.md says more.
    """
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="register a tested run as the next version of a model")
    add.add_argument("run", help="name of a run, as in runs/reports/")
    add.add_argument("--name", default="", help="of the model; default: the run's")
    add.add_argument("--stage", default="none", help="none, staging, production or archived; default: none")
    add.add_argument("--dataset", default="", help="what it was trained on, as python -m scripts datasets lists it")
    listing = actions.add_parser("list", help="all versions, with stage and scores")
    show = actions.add_parser("show", help="the card of a version, and its files")
    promote = actions.add_parser("promote", help="give a version another stage")
    remove = actions.add_parser("remove", help="delete a version")
    for action in (show, promote, remove):
        action.add_argument("reference", help="name@version, name@stage, or name")
    promote.add_argument("stage", help="none, staging, production or archived")
    for action in (add, listing, show, promote, remove):
        add_registry_flags(action)


@flags
def export(parser: argparse.ArgumentParser) -> None:
    """Export a trained run for other programs: ONNX graphs, safetensors for the Hugging Face hub.

        python -m scripts export --model fma_cnn_3s                           # everything below but --int8
        python -m scripts export --model genres@production --onnx --int8
        python -m scripts export --model fma_cnn_3s --safetensors --output exported

        onnx/waveform.onnx     audio of any length -> probabilities of the whole and of each window
        onnx/spectrogram.onnx  a spectrogram as the cache holds it -> probabilities
        onnx/*_int8.onnx       the same with weights of 8 bits; how far their probabilities are off on noise is printed
        model.safetensors, config.json, README.md    weights, settings with labels and thresholds, model card

    Each graph is compared with PyTorch before it is written. docs/export.md shows how to use the files.
    """
    add = parser.add_argument
    add("--model", required=True, metavar="REF", help="a run, or a registered model as name@stage or name@version")
    add("--output", type=Path, metavar="FOLDER", help="default: exported/RUN in the folder of the runs")
    add("--onnx", action="store_true", help="the graphs alone")
    add("--safetensors", action="store_true", help="weights, settings and card alone")
    add("--without-mel", action="store_true", help="no graph from waveforms, only the network's")
    add("--int8", action="store_true", help="also graphs with weights of 8 bits")
    add_registry_flags(parser)
