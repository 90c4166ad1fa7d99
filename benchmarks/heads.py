"""Accuracy of a linear discriminant on MusiCNN's embeddings, on descriptors and on both, k-fold by track.

python -m benchmarks.heads FOLDER --weights jamendo --repeats 4
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from scripts.audio.decoding import SUFFIXES, decode, slice_clips
from scripts.audio.features import LogMel
from scripts.baselines.classical import FeatureData, fold_accuracies, score_rows
from scripts.baselines.descriptors import CLIP_SECONDS, SAMPLE_RATE, describe_waveform
from scripts.baselines.embed import Embedder
from scripts.loading.loader import Items
from scripts.tables.splits import k_folds


def describe_folder(folder: Path, embedder: Embedder) -> tuple[pd.DataFrame, np.ndarray, dict[str, np.ndarray]]:
    """All whole clips of 3 s of `folder/<class>/<track>`.

    Returns
    -------
    A row per track, the track of each clip, and the features of the clips by their source.
    """
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    names = sorted({path.parent.name for path in files})
    spec, embeddings, descriptors = embedder.spec, [], []
    transform = LogMel(spec)
    for path in files:
        clips = slice_clips(decode(path, SAMPLE_RATE), round(CLIP_SECONDS * SAMPLE_RATE))
        described = [describe_waveform(clip, SAMPLE_RATE, "mel_statistics") for clip in clips]
        waveforms = slice_clips(decode(path, spec.sample_rate), spec.clip_samples)[: len(clips)]
        descriptors.append(pd.DataFrame(described[: len(waveforms)]).to_numpy())
        embeddings.append(embedder(transform(waveforms)))
    labels = [names.index(path.parent.name) for path in files]
    ids = [path.relative_to(folder).as_posix() for path in files]
    tracks = pd.DataFrame({"track_id": ids, "class": labels, "genre": [names[label] for label in labels]})
    features = {"musicnn": np.concatenate(embeddings), "mel_statistics": np.concatenate(descriptors)}
    features["both"] = np.hstack([*features.values()])
    return tracks, np.repeat(np.arange(len(files)), [len(clips) for clips in embeddings]), features


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="jamendo", help="jamendo, mtat, or a file with one of them")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4, help="other folds each time")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    start = time.process_time()
    tracks, track, features = describe_folder(args.folder, Embedder.musicnn(args.weights, "cpu"))
    result = {"tracks": len(tracks), "clips": len(track), "folds": args.folds, "repeats": args.repeats}
    result["cpu_seconds_of_features"] = round(time.process_time() - start, 1)
    for source, values in features.items():
        accuracies = []
        for seed in range(args.repeats):
            split = [f"fold {number}" for number in k_folds(tracks, args.folds, seed)]
            dealt, labels = tracks.assign(split=split), tracks["class"].to_numpy()[track]
            items = Items(values, np.arange(len(track)), labels, track, dealt)
            data = FeatureData(items.tracks, items, sorted(set(split)), sorted(set(tracks["genre"])))
            accuracies.append(fold_accuracies(data, score_rows(data, "lda", seed, balanced=False)))
        repeats = {kind: [float(np.mean(one[kind])) for one in accuracies] for kind in accuracies[0]}
        result[source] = {kind: [round(value, 4) for value in means] for kind, means in repeats.items()}
        result[source] |= {f"{kind}_mean": round(float(np.mean(means)), 4) for kind, means in repeats.items()}
    result["cpu_seconds"] = round(time.process_time() - start, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
