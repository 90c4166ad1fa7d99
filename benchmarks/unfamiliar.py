"""Whether MusiCNN's embeddings tell noises and speech from a folder of music: ROC-AUC, and what is refused.

python -m benchmarks.unfamiliar FOLDER --weights jamendo --others speech_folder
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scripts.audio.decoding import SUFFIXES, decode, slice_clips
from scripts.audio.features import LogMel
from scripts.baselines.embed import Embedder
from scripts.metrics.familiarity import Familiarity

SECONDS = 15
LEVELS = (-10, -20, -30, -45)  # dB, full scale 0
Tracks = list[np.ndarray]


def noises(rate: int, count: int, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Waveforms [samples] of each kind, at several levels; "near-silence" at -70 dB, or one bit of dither."""
    random, size = np.random.default_rng(seed), SECONDS * rate
    time = np.arange(size) / rate

    def coloured(slope: float) -> np.ndarray:
        frequencies = np.maximum(np.fft.rfftfreq(size, 1 / rate), 20)
        return np.fft.irfft(np.fft.rfft(random.standard_normal(size)) / frequencies ** (slope / 2), size)

    def hum() -> np.ndarray:
        base = 2 * np.pi * random.choice([50, 60]) * time
        tones = [random.uniform(0.2, 1) / n * np.sin(n * base + random.uniform(0, 6)) for n in range(1, 9)]
        return sum(tones, 1e-3 * random.standard_normal(size))

    def clicks() -> np.ndarray:
        result = 1e-4 * random.standard_normal(size)
        for start in random.integers(0, size - 100, random.integers(15, 150)):
            result[start : start + 100] += random.standard_normal(100) * np.exp(-np.arange(100) / random.uniform(3, 20))
        return result

    def bursts() -> np.ndarray:
        result = 1e-4 * random.standard_normal(size)
        for _ in range(random.integers(10, 60)):
            low, length = random.uniform(100, 3500), int(random.uniform(0.05, 0.6) * rate)
            start = random.integers(0, size - length)
            band = butter(2, [low, 2 * low], "bandpass", fs=rate, output="sos")
            result[start : start + length] += sosfilt(band, random.standard_normal(length)) * np.hanning(length)
        return result

    def at(waveform: np.ndarray, level: float) -> np.ndarray:
        return (waveform / np.sqrt(np.mean(waveform**2)) * 10 ** (level / 20)).clip(-1, 1).astype(np.float32)

    kinds: dict[str, Callable[[], np.ndarray]] = {
        "white": lambda: coloured(0), "pink": lambda: coloured(1), "brown": lambda: coloured(2),
        "hum": hum, "clicks": clicks, "bursts": bursts,
    }  # fmt: skip
    result = {name: [at(make(), LEVELS[n % len(LEVELS)]) for n in range(count)] for name, make in kinds.items()}
    quiet = [at(coloured(n % 3), -70) if n % 2 else random.integers(-1, 2, size) / 2**15 for n in range(count)]
    return result | {"near-silence": [one.astype(np.float32) for one in quiet]}


def measure(music: Tracks, labels: np.ndarray, others: dict[str, Tracks], folds: int = 10, seed: int = 0) -> dict:
    """Each track tested once by a discriminant and a threshold that have not seen it.

    Parameters
    ----------
    music, others : embeddings [clips, width] of each track.
    labels : [tracks], the class of each of `music`.

    Returns
    -------
    `accuracy` of tracks without and with the threshold, the share `refused`, and of each kind of others ROC-AUC and the
    share refused; means over folds.
    """
    random, fold = np.random.default_rng(seed), np.zeros(len(music), int)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        fold[random.permutation(mine)] = np.arange(len(mine)) % folds
    rows = []
    for number in range(folds):
        test, validation = fold == number, fold == (number + 1) % folds
        train = np.flatnonzero(~test & ~validation)
        x = np.concatenate([music[n] for n in train])
        y = np.repeat(labels[train], [len(music[n]) for n in train])
        classifier = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
        classifier.fit(x, y)
        unseen = [music[n] for n in np.flatnonzero(validation)]
        tracks = np.repeat(np.arange(len(unseen)), [len(one) for one in unseen])
        known = Familiarity.fit(x).with_threshold(np.concatenate(unseen), tracks)
        tested = [music[n] for n in np.flatnonzero(test)]
        names = classifier.classes_
        predicted = [names[classifier.decision_function(one).mean(axis=0).argmax()] for one in tested]
        correct = np.array(predicted) == labels[test]
        distances = np.array([known.distances(one).mean() for one in tested])
        row = {"accuracy": correct.mean(), "accuracy_with_threshold": (correct & (distances <= 1)).mean()}
        row["refused"] = (distances > 1).mean()
        for name, sounds in others.items():
            far = np.array([known.distances(one).mean() for one in sounds])
            truth = np.repeat([0, 1], [len(distances), len(far)])
            row[f"{name}_auc"] = roc_auc_score(truth, np.concatenate([distances, far]))
            row[f"{name}_refused"] = (far > 1).mean()
        rows.append(row)
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of music, a folder for each class")
    parser.add_argument("--weights", default="jamendo", help="jamendo, mtat, or a file")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="folders of speech, or of anything else")
    parser.add_argument("--count", type=int, default=20, help="noises of each kind")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1, help="other folds each time")
    args = parser.parse_args(argv)
    embedder = Embedder.musicnn(args.weights)
    spec, transform = embedder.spec, LogMel(embedder.spec)

    def embed(waveform: np.ndarray) -> np.ndarray:
        return embedder(transform(slice_clips(waveform, spec.clip_samples)).astype(np.float16))

    def embed_folder(folder: Path) -> dict[Path, np.ndarray]:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        waveforms = {path: decode(path, spec.sample_rate) for path in files}
        return {path: embed(one) for path, one in waveforms.items() if len(one) >= spec.clip_samples}

    music = embed_folder(args.folder)
    labels = np.array([path.parent.name for path in music])
    others = {name: [*map(embed, sounds)] for name, sounds in noises(spec.sample_rate, args.count).items()}
    others |= {folder.name: [*embed_folder(folder).values()] for folder in args.others}
    for seed in range(args.repeats):
        print(json.dumps({"seed": seed} | measure([*music.values()], labels, others, args.folds, seed)), flush=True)


if __name__ == "__main__":
    main()
