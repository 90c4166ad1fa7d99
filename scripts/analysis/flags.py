"""The flags of the commands that look at finished runs and at networks."""

import argparse
from pathlib import Path

from scripts.common.cli import flags, positive_int
from scripts.config.flags import add_runs_flag


@flags
def compare(parser: argparse.ArgumentParser) -> None:
    """Compare runs that were tested on the same tracks: intervals, and whether they differ at all.

        python -m scripts compare fma_cnn_3s fma_cnn_30s
        python -m scripts compare wide-seed0 wide-seed1 deep-seed0 deep-seed1 --group --out runs/compare/depth

    Prints, and writes as compare.csv, compare.md and compare.png, the scores of each run with 95 % bootstrap intervals
    over tracks, beside those of baselines without audio: of genres track and clip accuracy, macro F1 and the
    calibration error (ECE); of several labels macro F1, mAP and micro F1. Each pair of runs is tested on the same
    tracks: genres by McNemar's exact test, labels by the bootstrap of the difference, corrected after Holm for more
    than two runs. Runs must have been tested (python -m scripts evaluate RUN).
    """
    parser.add_argument("names", nargs="+", metavar="RUN", help="two or more, as in runs/reports/")
    parser.add_argument("--group", action="store_true", help="also mean ± sd over <name>-seed0, <name>-seed1, ...")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write; default: runs/compare")
    add_runs_flag(parser)


@flags
def blend(parser: argparse.ArgumentParser) -> None:
    """Blend runs by their saved predictions: the weighted mean of their probabilities.

        python -m scripts blend cnn-seed0 cnn-seed1 cnn-seed2 --name cnn_blend
        python -m scripts blend openmic_cnn label_svm_rbf --weights validation --name openmic_blend

    Weights are equal, or those that make the blend likeliest on the validation tracks. Probabilities are averaged, not
    their logarithms: a run that is sure and wrong cannot silence the others, one rule does for genres and for labels,
    and the loss is convex in the weights. Runs have to be of one split, with the same tracks and labels; the members'
    scores on its test part are printed beside the blend's. The report runs/reports/NAME/ is that of a run, so that a
    blend can be compared with runs and blended again; it knows no clips: its clip accuracy is its track accuracy.
    """
    add = parser.add_argument
    add("names", nargs="+", metavar="RUN", help="two or more, as in runs/reports/")
    add("--weights", default="mean", metavar="HOW", help="mean, or validation: the best there; default: mean")
    add("--name", required=True, help="of the blend")
    add_runs_flag(parser)


@flags
def runs(parser: argparse.ArgumentParser) -> None:
    """List runs and caches with scores and sizes; delete runs, or what only resuming needs.

        python -m scripts runs list
        python -m scripts runs prune
        python -m scripts runs prune fma_cnn_3s-try fma_cnn_3s-try2 --yes
        python -m scripts runs compact --yes

    list     prints a row a run: experiment, task, score, epochs, size on disk and last change; and the caches that
             the runs use, with their tracks, sizes, and what part of them newer rows have replaced
    prune    deletes the runs that are given, with logs, checkpoints and report; without names, every training that was
             never tested
    compact  deletes last.pt and epoch_NNN.pt of tested runs, all or those given; best.pt and the report stay. To train
             such a run for longer starts it anew. Without names it also takes replaced rows out of the caches.

    prune and compact only say what they would delete, until --yes is given. A run that is being trained is left alone,
    and so are pretrainings, which are pruned by name alone. --runs runs/sweeps/STUDY looks at the trials of a sweep.
    """
    parser.add_argument("action", choices=("list", "prune", "compact"), help="see above")
    parser.add_argument("names", nargs="*", metavar="RUN", help="as in runs/reports/; default: see above")
    parser.add_argument("--yes", action="store_true", help="delete")
    add_runs_flag(parser)


@flags
def audit(parser: argparse.ArgumentParser) -> None:
    """Audit how much of a score is leakage: one classifier under leaky and clean splits.

        python -m scripts audit --dataset gtzan_features --root data/gtzan
        python -m scripts audit --experiment fma_cnn_3s
        python -m scripts audit --table data/metadata_30_secs.csv --cache data/mels

    The first takes GTZAN's public table of 57 features: 10-fold and random splits against the split without common
    artists, repeated or faulty files. The others take your own cached data: clips at random, tracks at random, artists
    at random and the table's own split, with a classical classifier on statistics of each clip's spectrogram (mean and
    deviation of each row, and deviation of its change), and they list the recordings that stand in two parts.
    """
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dataset", metavar="NAME", help="gtzan_features, the public table; needs --root")
    what.add_argument("--experiment", metavar="NAME", help="a named experiment, for its table and cache")
    what.add_argument("--table", type=Path, metavar="CSV", help="your metadata table; needs --cache")
    parser.add_argument("--root", type=Path, default=Path("data/gtzan"), help="of --dataset; default: data/gtzan")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of --table, such as data/mels")
    parser.add_argument(
        "--classifier", metavar="NAME",
        help="svm, logistic, lda, boosting, forest, mlp or nearest; default: svm for --dataset, otherwise nearest, "
        "which is quick and memorises its tracks as an overgrown network does",
    )  # fmt: skip
    parser.add_argument("--draws", type=positive_int, help="of each random split; default: 20 for --dataset, else 5")
    parser.add_argument("--seed", type=int, default=0, help="of the random splits and the classifier; default: 0")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: runs/reports/audit-<what is audited>")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object, and nothing else")


@flags
def label_issues(parser: argparse.ArgumentParser) -> None:
    """List tracks whose labels are probably wrong, by networks that did not train on them.

        python -m scripts crossval --experiment fma_cnn_3s --folds 5
        python -m scripts label_issues fma_cnn_3s-folds
        python -m scripts label_issues fma_cnn_3s-folds --cleanlab --relabel --output data/overrides.csv

    The quality of a label is the probability of what it says ("self-confidence"); that of a track with several labels
    is its worst label's, those that are unknown left out. An issue is a track that the prediction contradicts and whose
    quality is at most a cut-off, or that confident learning calls wrong (C. Northcutt, L. Jiang, I. Chuang, JAIR 70,
    2021; needs the package cleanlab). All tracks are listed in runs/reports/RUN/label_quality.csv, the worst first; the
    issues in overrides.csv, for the setting `overrides` of an experiment. Listen to them and edit that file:
    `leave_out` 1 takes a track out of training, 0 trains it with the label that is suggested there. A run that is no
    cross-validation has predictions only of tracks that no override touches: its list is to look at.
    """
    add = parser.add_argument
    add("run", help="as in runs/reports/, such as fma_cnn_3s-folds")
    add("--part", default="test", help="of the run's predictions, test or validation; default: test")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quality", type=float, default=0.1, help="greatest of an issue; default: %(default)s")
    choice.add_argument("--share", type=float, help="instead: of the tracks, the worst ones")
    choice.add_argument("--cleanlab", action="store_true", help="instead: what confident learning finds")
    add("--relabel", action="store_true", help="train on the suggestions; default: leave the issues out")
    add("--output", type=Path, metavar="FILE", help="the overrides; default: runs/reports/RUN/overrides.csv")
    add_runs_flag(parser)


@flags
def explain(parser: argparse.ArgumentParser) -> None:
    """Show where in a spectrogram a network finds a label: Grad-CAM over an audio file's windows.

        python -m scripts explain song.mp3 --run fma_cnn_3s
        python -m scripts explain song.mp3 --run fma_cnn_3s --label Rock Jazz --output explained

    For each window a figure, <file>_<start>s.png, with a panel for each label, and the window's audio beside it as
    .wav. Heat shows what speaks for a label relative to the window's own maximum, so it says where, not how much: that
    is the probability above each panel.
    """
    add = parser.add_argument
    add("file", type=Path, help="audio of any length from one clip up")
    add("--run", required=True, help="name of a trained run on spectrograms, as in runs/reports/")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--label", nargs="+", default=[], metavar="NAME", help="which to explain")
    choice.add_argument("--top", type=positive_int, default=3, help="or so many, the file's likeliest; default: 3")
    add("--output", type=Path, metavar="FOLDER", help="default: runs/reports/RUN/explained")
    add_runs_flag(parser)


@flags
def embeddings(parser: argparse.ArgumentParser) -> None:
    """Write the embeddings of a run's tracks, as a table and as a map of the plane.

        python -m scripts embeddings fma_cnn_3s
        python -m scripts embeddings fma_cnn_3s --part validation --method tsne

    A track's embedding is the mean over its clips of what the network's head is given. Written into runs/reports/RUN/:
    embeddings.csv (of another part than test, embeddings_<part>.csv) with a column e0, e1, ... for each dimension, and
    the map, embeddings_<method>.png, by principal components (PCA, with the variance that they explain) or t-SNE (L.
    van der Maaten, G. Hinton, JMLR 9, 2008; which keeps neighbours together, but neither distances nor sizes of
    clusters). The colour is the genre, or the first of a track's labels. To walk around in them, see `python -m scripts
    evaluate RUN --tensorboard`.
    """
    add = parser.add_argument
    add("run", help="name of a run, as in runs/reports/")
    add("--part", default="test", help="train, validation or test; default: test")
    add("--method", default="pca", help="of the map, pca or tsne; default: pca")
    add("--seed", type=int, default=0, help="of the map; default: 0")
    add_runs_flag(parser)


@flags
def networks(parser: argparse.ArgumentParser) -> None:
    """List what each network costs: parameters, multiply-accumulates (MACs), milliseconds a clip.

        python -m scripts networks
        python -m scripts networks cnn4 secnn short_chunk --classes 10 --frames 130 --mels 513
        python -m scripts networks --markdown

    Times are medians of single clips in evaluation mode on the device that is named; MACs leave out everything but
    convolutions and matrix products.
    """
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all that take spectrograms")
    parser.add_argument("--classes", type=positive_int, default=8, help="default: %(default)s")
    parser.add_argument("--frames", type=positive_int, default=259, help="of the input; default: %(default)s, 3 s")
    parser.add_argument("--mels", type=positive_int, default=128, help="of the input; default: %(default)s")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps; default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
