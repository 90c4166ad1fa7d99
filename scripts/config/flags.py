"""The flags of the commands that train and test."""

import argparse
from pathlib import Path

from scripts.common.cli import flags, positive_int, positive_number

RUNS = Path("runs")


def add_experiment_flags(parser: argparse.ArgumentParser, runs_exist: bool = True) -> None:
    """The flags that choose, change and name what is trained, and what to do if it exists."""
    add = parser.add_argument
    add("--experiment", metavar="NAME", help="`python -m scripts experiments` lists them")
    add("--config", type=Path, metavar="FILE", help="config.json of a run, to run it again")
    add(
        "--set", action="append", default=[], nargs="+", metavar="NAME=VALUE", dest="changes",
        help="change a setting, such as epochs=10 spec.n_mels=64 augment.mixup.alpha=0.3",
    )  # fmt: skip
    add("--tag", default="", help="call the run <experiment>-<tag>")
    add_runs_flag(parser)
    add("--allow-leak", action="store_true", help="train on a split that is known to leak")
    if runs_exist:
        add("--resume", action="store_true", help="go on where it stopped; what is finished is kept")
        add("--overwrite", action="store_true", help="delete earlier runs of this name")


def add_devices_flag(parser: argparse.ArgumentParser) -> None:
    """Where independent runs go."""
    parser.add_argument(
        "--devices", type=lambda text: text.split(","), default=[], metavar="LIST",
        help="train several runs at once, one a device, as 0,1,2,3 (GPUs) or cpu,cpu",
    )  # fmt: skip


def add_runs_flag(parser: argparse.ArgumentParser) -> None:
    """Where the runs are."""
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="FOLDER", help="default: %(default)s")


def add_embedder_flags(parser: argparse.ArgumentParser) -> None:
    """A network that makes embeddings, its weights and layer, where it runs, and where runs are."""
    add = parser.add_argument
    add(
        "--network", default="musicnn", metavar="NAME",
        help="musicnn, ast, clap, wav2vec2, one of timm's such as resnet50, or a run; default: %(default)s",
    )  # fmt: skip
    add(
        "--weights", default="", metavar="NAME|PATH",
        help="of musicnn: jamendo (default), mtat, or a file with one of them; of the others a name on the hub, or a "
        "folder or file of theirs",
    )  # fmt: skip
    add("--layer", type=int, metavar="N", help="embed what a hidden layer gives, from 0 on, or -1 for the last")
    add("--pool", choices=("mean", "mean_std"), help="of that layer's positions in time; default with --layer: mean")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps; default: auto")
    add_runs_flag(parser)


@flags
def train(parser: argparse.ArgumentParser) -> None:
    """Train one experiment, then score its best epoch on the test set once.

        python -m scripts train --experiment fma_cnn_3s
        python -m scripts train --experiment fma_cnn_3s --set epochs=10 --set model.norm=batch --tag bn
        python -m scripts train --experiment best_scratch --seeds 0 1 2
        python -m scripts train --config runs/reports/fma_cnn_3s/config.json --tag again
        torchrun --nproc-per-node 4 -m scripts.train --experiment fma_cnn_3s      one training on 4 GPUs

    Watch it live: tensorboard --logdir runs/logs
    """
    add_experiment_flags(parser)
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="train once with each seed, as <run>-seedN")
    add_devices_flag(parser)


@flags
def crossval(parser: argparse.ArgumentParser) -> None:
    """Cross-validate: train on all folds but one, test on that one, until every track is tested.

        python -m scripts crossval --experiment best_scratch --folds 5 --repeats 2
        python -m scripts crossval --experiment fma_cnn_3s --folds 10 --by track --allow-leak --resume

    A dataset's own folds (column `fold` of its table) are taken as they are; elsewhere the tracks are dealt out, the
    classes in equal shares. Each fold is a run of its own; the predictions of all folds are pooled. With metric=last
    nothing is chosen on a validation part, and all other folds train; otherwise the next fold validates.
    """
    add_experiment_flags(parser)
    add = parser.add_argument
    add("--folds", type=positive_int, help="default: 5, or the number of official folds")
    add("--repeats", type=positive_int, default=1, help="so many times with other folds; default: %(default)s")
    add(
        "--by", choices=("official", "artist", "track"),
        help="official: the dataset's own folds; else what stays whole; default: official where there are some, else "
        "artist where artists are known, else track",
    )  # fmt: skip
    add("--fold-seed", type=int, default=0, help="of the first repeat's folds; default: %(default)s")
    add_devices_flag(parser)


@flags
def sweep(parser: argparse.ArgumentParser) -> None:
    """Search settings by Optuna, by the validation score alone; the test part stays untouched.

        python -m scripts sweep --experiment fma_cnn_3s --trials 30 \\
            --space learning_rate=log:1e-4:1e-2 augment.mixup.alpha=0:0.5 batch_size=8,16,32

    Each --space is NAME=LOW:HIGH, NAME=log:LOW:HIGH (whole numbers stay whole) or NAME=A,B,C. The study lives in
    runs/sweeps/<experiment>-<tag>/study.db: start the command again and it goes on until --trials are done; start it
    several times at once and they share the work. A trial whose process was killed is given up after two minutes and
    another takes its place. At the end each prints the best settings as the flags of `train`. Needs
    `pip install optuna`.
    """
    add_experiment_flags(parser, runs_exist=False)
    add = parser.add_argument
    add("--space", action="append", nargs="+", default=[], metavar="NAME=RANGE", help="see above")
    add("--trials", type=positive_int, default=20, help="in all, earlier ones included; default: %(default)s")
    add("--sweep-seed", type=int, default=0, help="of the search; default: %(default)s")
    add_devices_flag(parser)


@flags
def learning_curve(parser: argparse.ArgumentParser) -> None:
    """Would more files help? Train on a quarter, half and all of the training tracks; same test.

        python -m scripts learning_curve --experiment fma_cnn_3s
        python -m scripts learning_curve --experiment fma_cnn_3s --shares 0.1 0.3 1 --tag fine --resume

    Each share is a run of its own, <experiment>-<tag>-share25 and so on; of each class it takes the same share, and a
    smaller share is a part of a greater one. Validation and test stay whole. Printed, and written into
    runs/reports/<experiment>-<tag>-curve/, are the scores with 95 % intervals, a figure, and what the difference
    between the two greatest shares shows. All shares train for the same number of epochs, so that a smaller one takes
    fewer steps: give enough epochs for it, too.
    """
    add_experiment_flags(parser)
    parser.add_argument(
        "--shares", type=positive_number, nargs="+", default=[0.25, 0.5, 1.0], metavar="SHARE",
        help="of the training tracks, up to 1; default: 0.25 0.5 1",
    )  # fmt: skip


@flags
def pretrain(parser: argparse.ArgumentParser) -> None:
    """Teach an experiment's network a task without labels, to start training from its weights.

        python -m scripts pretrain --experiment best_scratch --task mae --epochs 100
        python -m scripts pretrain --experiment best_scratch --task tiles --epochs 100 --task-set grid=6 --tag fine
        python -m scripts pretrain --experiment best_scratch --task mae --table data/more/metadata_ensemble.csv \\
            --set cache=data/more/mels
        python -m scripts train --experiment best_scratch --set initial=runs/checkpoints/best_scratch-mae/last.pt

    mae     restores hidden patches of a spectrogram; settings patch (16 rows and frames), share (0.6 of them hidden)
    tiles   says of each tile whether it is in its place, moved, or another item's; settings grid (4 x 4 tiles),
            moved and replaced (0.3 of the tiles each)

    Of the experiment it takes spectrograms, network, optimiser and schedule; no labels, augmentation or validation.
    """
    add_experiment_flags(parser, runs_exist=False)
    add = parser.add_argument
    add("--task", required=True, metavar="NAME", help="mae or tiles")
    add("--task-set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the task, such as patch=8")
    add("--epochs", type=positive_int, metavar="N", help="default: the experiment's")
    add("--table", metavar="CSV", help="with track_id, and split if any; default: the experiment's")
    add(
        "--parts", nargs="+", default=["train"], metavar="PART",
        help="whose tracks to learn from: train, validation, test; default: train",
    )  # fmt: skip
    add("--resume", action="store_true", help="go on where it stopped")


@flags
def fit(parser: argparse.ArgumentParser) -> None:
    """Fit a classifier of your own sounds in a minute, on what a pretrained network hears.

        python -m scripts fit my_sounds
        python -m scripts fit my_sounds.csv --name takes --classifier svm

    MusiCNN, a network that has learnt to tag much music, turns each clip of 3 s into 200 numbers; a classical
    classifier learns from these and from statistics of the spectrogram. The run can do all that a trained one can:
    predict, try_it, api, registry, compare. Tables and spectrograms go into data/fit/NAME. docs/heads.md says more.
    """
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="folder with one for each class, or a CSV with a row for each file")
    add("--name", default="", help="of the run; default: that of the source")
    add("--classifier", default="lda", help="lda, logistic, svm, mlp or nearest; default: lda")
    add("--weights", default="jamendo", metavar="NAME",
        help="of MusiCNN: jamendo, mtat, a file, or none, which leaves MusiCNN out; default: jamendo")  # fmt: skip
    add("--folder", type=Path, default=Path("data/fit"), help="of tables and spectrograms; default: data/fit")
    add("--overwrite", action="store_true", help="delete an earlier run of this name")
    add_runs_flag(parser)


@flags
def evaluate(parser: argparse.ArgumentParser) -> None:
    """Score a run's best epoch again and write its report.

        python -m scripts evaluate fma_cnn_3s
        python -m scripts evaluate fma_cnn_3s --part validation --checkpoint last.pt
        python -m scripts evaluate fma_cnn_3s --tensorboard

    Printed, and kept in runs/reports/RUN/test.json: track and clip accuracy with 95 % bootstrap intervals over tracks,
    what averaging clips gains, top-k track accuracy, precision, recall and F1 per genre, the calibration error (ECE)
    before and after a temperature fitted on the validation tracks, and beside them chance, the majority baseline and
    the split's fingerprint. With several labels a track: F1, mAP, ROC-AUC and more, with thresholds that were chosen on
    the validation tracks, beside baselines without audio. Only the best epoch's scores on the test part are kept;
    others are printed.
    """
    add = parser.add_argument
    add("run", metavar="RUN", help="name of a run, as in runs/reports/")
    add("--part", default="test", help="train, validation or test; only test writes the report; default: test")
    add("--checkpoint", default="best.pt", metavar="FILE",
        help="in runs/checkpoints/RUN/; only best.pt writes the report")  # fmt: skip
    add("--top-k", type=positive_int, default=3, metavar="K", help="guesses per track; default: %(default)s")
    add("--tensorboard", action="store_true", help="also log settings, embeddings, and the audio of mistakes")
    add_runs_flag(parser)


@flags
def experiments(parser: argparse.ArgumentParser) -> None:
    """List every named experiment as a Markdown table.

    What each is and does otherwise than its source, the score that its source reported, and the score that was measured
    here, each with its split. Most have a twin on the synthetic demo corpus.
    """
