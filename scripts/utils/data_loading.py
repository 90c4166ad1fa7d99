"""Batches of spectrograms from the cache: one gather from the memory map for a whole batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from scripts.cache import USABLE, MelCache
from scripts.errors import TableError
from scripts.tables import NEEDED_TO_TRAIN

EPSILON = 1e-8
RESIDENT_SHARE = 0.5  # of the free device memory that the data may take


class Batch(NamedTuple):
    """What a loader yields.

    x : float32 [batch, 1, mels, frames], standardised.
    y : int64 [batch], class numbers.
    track : int64 [batch], which track of `loader.items.tracks` an item belongs to.
    """

    x: torch.Tensor
    y: torch.Tensor
    track: torch.Tensor


@dataclass(frozen=True)
class Items:
    """What there is to load: an item is a clip, or a whole track.

    Attributes
    ----------
    array : float16 [items, mels, frames], dB; a view of the cache.
    index : int64 [n], rows of `array`, those of a track one after another.
    labels, track : int64 [n], class number and position in `tracks`.
    tracks : one row per track, with `track_id`, `genre`, `class`, `split` and `items`, its number of items.
    """

    array: np.ndarray
    index: np.ndarray
    labels: np.ndarray
    track: np.ndarray
    tracks: pd.DataFrame

    def __len__(self) -> int:
        return len(self.index)

    def part(self, name: str) -> "Items":
        """Only the tracks of train, validation or test."""
        return self.select((self.tracks["split"] == name).to_numpy())

    def select(self, keep: np.ndarray) -> "Items":
        """Only the tracks for which the bool array `keep` [tracks] is true."""
        mine = keep[self.track]
        position = np.cumsum(keep) - 1
        tracks = self.tracks[keep].reset_index(drop=True)
        return Items(self.array, self.index[mine], self.labels[mine], position[self.track[mine]], tracks)


def load_items(table: pd.DataFrame, cache: MelCache, unit: str) -> tuple[Items, pd.DataFrame]:
    """Join a metadata table with the cache.

    `unit` is "clip" or "track". Of a track shorter than the full length only the clips with at least half a
    clip of audio count.

    Returns
    -------
    The items of all usable tracks, in the order of the table, and the tracks that are left out with their
    `status` and `reason`.

    Raises
    ------
    TableError : a track of the table is not in the cache, or none is usable.
    """
    tracks = table.drop_duplicates("track_id")[[*NEEDED_TO_TRAIN]]
    unknown = ~tracks["track_id"].isin(cache.rows.index)
    if unknown.any():
        track = tracks.loc[unknown, "track_id"].iloc[0]
        raise TableError(
            f"{unknown.sum()} tracks of the table are not in {cache.folder}, such as {track}; "
            "cache them with this table (python scripts/utils/mels.py --help)"
        )
    tracks = tracks.join(cache.rows, on="track_id")
    usable = tracks[tracks["status"] == USABLE].reset_index(drop=True)
    if usable.empty:
        raise TableError(f"no track of the table is usable in {cache.folder}; see its tracks.csv for the reasons")
    left_out = tracks.loc[tracks["status"] != USABLE, ["track_id", "split", "genre", "status", "reason"]]
    return (clip_items if unit == "clip" else track_items)(usable, cache), left_out.reset_index(drop=True)


def clip_items(tracks: pd.DataFrame, cache: MelCache) -> Items:
    per_track = cache.clips.shape[1]
    counts = tracks["clips"].to_numpy()
    track = np.repeat(np.arange(len(tracks)), counts)
    clip = np.concatenate([np.arange(count) for count in counts])
    index = tracks["row"].to_numpy()[track] * per_track + clip
    array = cache.clips.reshape(-1, *cache.clips.shape[2:])
    return Items(array, index, tracks["class"].to_numpy()[track], track, tracks.assign(items=counts))


def track_items(tracks: pd.DataFrame, cache: MelCache) -> Items:
    index, labels = tracks["row"].to_numpy(), tracks["class"].to_numpy()
    return Items(cache.tracks, index, labels, np.arange(len(tracks)), tracks.assign(items=1))


class Loader:
    """Batches of items, standardised, on a device.

    In training (`shuffle=True`) the order of epoch e depends on (seed, e) alone. On a GPU the whole data stays
    in its memory if it fits into half of what is free.

    Parameters
    ----------
    items : what to load.
    batch_size : items per batch; the last one may be smaller.
    shuffle : draw a new order each epoch.
    seed : of the order.
    device : where batches go.
    """

    def __init__(
        self, items: Items, batch_size: int, shuffle: bool = False, seed: int = 0, device: str | torch.device = "cpu"
    ) -> None:
        self.items, self.batch_size, self.shuffle, self.seed = items, batch_size, shuffle, seed
        self.device, self.epoch = torch.device(device), 0
        self.labels, self.track = torch.tensor(items.labels), torch.tensor(items.track)
        self.resident = self.load_resident()

    def __len__(self) -> int:
        return -(-len(self.items) // self.batch_size)

    def load_resident(self) -> torch.Tensor | None:
        """All items on a GPU, float16, if they fit."""
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        size = len(self.items) * self.items.array[:1].nbytes
        if size > RESIDENT_SHARE * free:
            return None
        return torch.from_numpy(self.items.array[self.items.index]).to(self.device)

    def set_epoch(self, epoch: int) -> None:
        """Choose whose order the next pass takes."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        order = np.arange(len(self.items))
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        for start in range(0, len(order), self.batch_size):
            yield self.gather(order[start : start + self.batch_size])

    def gather(self, chosen: np.ndarray) -> Batch:
        """The batch of some positions in `items`."""
        if self.resident is not None:
            x = self.resident[torch.from_numpy(chosen).to(self.device)]
        else:
            x = torch.from_numpy(self.items.array[self.items.index[chosen]]).to(self.device)
        y, track = (values[chosen].to(self.device) for values in (self.labels, self.track))
        return Batch(standardise(x).unsqueeze(1), y, track)


def standardise(x: torch.Tensor) -> torch.Tensor:
    """[batch, mels, frames] in dB -> float32 with zero mean and unit deviation each; a constant one becomes zeros."""
    flat = x.float().flatten(1)
    deviation, mean = torch.std_mean(flat, dim=1, keepdim=True, correction=0)
    return flat.sub(mean).div_(deviation + EPSILON).view(x.shape)
