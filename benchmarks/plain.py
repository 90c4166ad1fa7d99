"""The plain method: what a first version in librosa and PyTorch does. Slow on purpose, right in its values."""

from pathlib import Path

import librosa
import numpy as np
import torch
from torch import nn

SAMPLE_RATE, TRACK_SECONDS, CLIP_SECONDS, CLIPS = 44_100, 30, 3, 10


def log_mel(waveform: np.ndarray, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """[samples] -> standardised log-mel [mels, frames]."""
    mel = librosa.feature.melspectrogram(y=waveform, sr=sample_rate, n_fft=2048, hop_length=512, n_mels=128)
    decibel = librosa.power_to_db(mel).astype(np.float32)
    return (decibel - decibel.mean()) / (decibel.std() + 1e-8)


def load_track(path: Path) -> np.ndarray:
    waveform, _ = librosa.load(path, sr=SAMPLE_RATE)
    return librosa.util.fix_length(waveform, size=TRACK_SECONDS * SAMPLE_RATE)


def cache(files: list[Path], folder: Path) -> None:
    """One pass for the clips and one for the whole tracks, each with its own decoding, a file per spectrogram."""
    length = CLIP_SECONDS * SAMPLE_RATE
    for path in files:
        track = load_track(path)
        for clip in range(CLIPS):
            np.save(folder / f"{path.stem}_{clip + 1}.npy", log_mel(track[clip * length : (clip + 1) * length]))
    for path in files:
        np.save(folder / f"{path.stem}.npy", log_mel(load_track(path)))


def network(frames: int, classes: int) -> nn.Sequential:
    """The 4-block CNN from torch's own layers, in the order of the textbook."""
    layers, inputs = [], 1
    for outputs in (16, 32, 64, 128):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)]
        inputs = outputs
    flat = 128 * 8 * (frames // 16)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(), nn.Linear(128, classes))


class Files(torch.utils.data.Dataset):
    """One .npy file an item."""

    def __init__(self, paths: list[Path], labels: np.ndarray) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(np.load(self.paths[item])).unsqueeze(0), int(self.labels[item])


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def ensemble_test(model: nn.Module, loader: torch.utils.data.DataLoader) -> float:
    """Track accuracy: clip logits are collected one by one, ten make a track."""
    model.eval()
    buffer, correct, tracks = [], 0, 0
    for x, y in loader:
        for logits, label in zip(model(x), y, strict=True):
            buffer.append(logits)
            if len(buffer) == CLIPS:
                correct += int(torch.stack(buffer).mean(0).argmax() == label)
                tracks += 1
                buffer = []
    return correct / tracks
