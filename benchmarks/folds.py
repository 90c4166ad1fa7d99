"""Accuracy of the project's CNN on a folder per class, k-fold by track, beside the plain method.

python -m benchmarks.folds FOLDER --epochs 20 --repeats 2 [--plain]
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks import plain
from scripts.audio.decoding import SUFFIXES, decode, slice_clips
from scripts.audio.features import LogMel
from scripts.audio.normalise import standardise
from scripts.audio.spec import MelSpec
from scripts.common.memory import keep_freed_memory
from scripts.config.experiment import TrainingSettings
from scripts.loading.loader import Items, Loader
from scripts.models import build_model
from scripts.tables.splits import k_folds
from scripts.trainer import Trainer

BATCH, LEARNING_RATE = 16, 1e-3


def read_folder(folder: Path, sample_rate: int) -> tuple[Items, list[str]]:
    """All whole 3 s clips of `folder/<class>/<track>`, and the class names."""
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    names = sorted({path.parent.name for path in files})
    spec = MelSpec(sample_rate=sample_rate)
    transform = LogMel(spec)
    clips = [transform(slice_clips(decode(path, sample_rate), spec.clip_samples)).astype(np.float16) for path in files]
    labels = np.array([names.index(path.parent.name) for path in files])
    counts = np.array([len(track) for track in clips])
    track = np.repeat(np.arange(len(files)), counts)
    tracks = pd.DataFrame(
        {
            "track_id": [path.relative_to(folder).as_posix() for path in files],
            "class": labels,
            "genre": [names[n] for n in labels],
            "items": counts,
        }
    )
    return Items(np.concatenate(clips), np.arange(len(track)), labels[track], track, tracks), names


def score_fold(train: Items, test: Items, classes: int, epochs: int, seed: int) -> tuple[float, np.ndarray]:
    """Clip accuracy, and for each test track whether its prediction is correct, after the last epoch."""
    torch.manual_seed(seed)
    model = build_model("cnn4", classes, train.array.shape[-1])
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    trainer = Trainer(model, torch.nn.functional.cross_entropy, optimizer, settings=TrainingSettings(device="cpu"))
    loader = Loader(train, BATCH, shuffle=True, seed=seed)
    for epoch in range(epochs):
        trainer.train(loader, epoch)
    scores = trainer.test(Loader(test, 64))
    return scores.clip_accuracy, scores.predictions == scores.labels


def score_fold_plainly(train: Items, test: Items, classes: int, epochs: int, seed: int) -> tuple[float, np.ndarray]:
    """The same with torch's own layers, in float32."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = plain.network(train.array.shape[-1], classes)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    x, y = standardise(torch.from_numpy(train.array[train.index])).unsqueeze(1), torch.from_numpy(train.labels)
    for _ in range(epochs):
        order = generator.permutation(len(x))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            plain.train_step(model, optimizer, x[batch], y[batch])
    model.eval()
    with torch.no_grad():
        logits = model(standardise(torch.from_numpy(test.array[test.index])).unsqueeze(1)).numpy()
    sums = np.zeros((len(test.tracks), classes))
    np.add.at(sums, test.track, logits)
    return float(np.mean(logits.argmax(1) == test.labels)), sums.argmax(1) == test.tracks["class"].to_numpy()


def cross_validate(items: Items, names: list[str], args: argparse.Namespace, score) -> dict:
    """Mean clip accuracy, and pooled track accuracy of each repeat."""
    start, clip, track = time.perf_counter(), [], []
    for repeat in range(args.repeats):
        folds, correct = k_folds(items.tracks, args.folds, repeat), []
        for fold in range(args.folds):
            test = folds == fold
            clips, tracks = score(items.select(~test), items.select(test), len(names), args.epochs, 100 * repeat + fold)
            clip.append(clips)
            correct.append(tracks)
        track.append(float(np.concatenate(correct).mean()))
    return {
        "clip_accuracy": round(float(np.mean(clip)), 4),
        "track_accuracy": [round(value, 4) for value in track],
        "track_accuracy_mean": round(float(np.mean(track)), 4),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--sample-rate", type=int, default=22_050)
    parser.add_argument("--plain", action="store_true", help="train the plain method on the same folds too")
    args = parser.parse_args(argv)
    keep_freed_memory()
    items, names = read_folder(args.folder, args.sample_rate)
    result = {"tracks": len(items.tracks), "clips": len(items), "epochs": args.epochs, "folds": args.folds}
    result["ours"] = cross_validate(items, names, args, score_fold)
    if args.plain:
        result["plain"] = cross_validate(items, names, args, score_fold_plainly)
        result["ratio"] = round(result["ours"]["track_accuracy_mean"] / result["plain"]["track_accuracy_mean"], 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
