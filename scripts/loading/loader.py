"""Batches of spectrograms from the cache: one gather from the memory map for a whole batch."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from scripts.audio.augment import Augmentation
from scripts.audio.cache import MelCache
from scripts.audio.layout import USABLE
from scripts.audio.normalise import normalise
from scripts.audio.spectrogram_mixing import Mixing
from scripts.audio.stacked import JoinedArray, StackedArray
from scripts.common.errors import TableError

KEPT = ("track_id", "genre", "class", "labels", "absent", "split")  # columns of a table that reports need
RESIDENT_SHARE = 0.5  # of the free device memory that the data may take


class Batch(NamedTuple):
    """What a loader yields.

    x : float32 [batch, channels, rows, frames], normalised.
    y : int64 [batch], class numbers; with mixup float32 [batch, classes], the share of each; with several labels a
        track float32 [batch, labels], 1, 0 or NaN for unknown.
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
    array : float16 [items, rows, frames] or [items, channels, rows, frames], dB; the cache on disk.
    index : int64 [n], rows of `array`, those of a track one after another.
    labels : int64 [n], class numbers, or float32 [n, labels], 1, 0 or NaN for unknown.
    track : int64 [n], position in `tracks`.
    tracks : one row per track, with `track_id`, `split`, `genre` and `class` or `labels`, and `items`, its number
        of items.
    whole : float16 [tracks of the cache, ..., rows, frames], to cut random clips from; None where there are none.
    """

    array: np.ndarray | StackedArray
    index: np.ndarray
    labels: np.ndarray
    track: np.ndarray
    tracks: pd.DataFrame
    whole: np.ndarray | StackedArray | None = None

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
        track = position[self.track[mine]]
        return dataclasses.replace(self, index=self.index[mine], labels=self.labels[mine], track=track, tracks=tracks)


def load_items(
    table: pd.DataFrame, cache: MelCache, unit: str, labels: np.ndarray | None = None
) -> tuple[Items, pd.DataFrame]:
    """Join a metadata table with the cache.

    Parameters
    ----------
    table : with `track_id`, `split`, and `class` or `labels`; a row per track or per clip.
    cache : of the spectrograms.
    unit : "clip", "crop" (as "clip", but trained on pieces cut anywhere) or "track". Only clips with at least half a
        clip of audio count.
    labels : int64 [tracks] or float32 [tracks, labels], of each track of the table; default: its column `class`.

    Returns
    -------
    The items of all usable tracks, in the order of the table, and the tracks that are left out with their
    `status` and `reason`.

    Raises
    ------
    TableError : a track of the table is not in the cache, or none is usable.
    """
    tracks = table.drop_duplicates("track_id")
    labels = tracks["class"].to_numpy() if labels is None else labels
    tracks = tracks[[column for column in KEPT if column in tracks]]
    unknown = ~tracks["track_id"].isin(cache.rows.index)
    if unknown.any():
        track = tracks.loc[unknown, "track_id"].iloc[0]
        raise TableError(
            f"{unknown.sum()} tracks of the table are not in {cache.folder}, such as {track}; "
            "cache them with this table (python -m scripts mels --help)"
        )
    tracks = tracks.join(cache.rows, on="track_id")
    usable = (tracks["status"] == USABLE).to_numpy()
    if not usable.any():
        raise TableError(f"no track of the table is usable in {cache.folder}; see its tracks.csv for the reasons")
    make = {"clip": clip_items, "crop": crop_items, "track": track_items}[unit]
    items = make(tracks[usable].reset_index(drop=True), labels[usable], cache)
    return items, tracks.loc[~usable, ["track_id", "split", "status", "reason"]].reset_index(drop=True)


def clip_items(tracks: pd.DataFrame, labels: np.ndarray, cache: MelCache) -> Items:
    per_track = cache.clips.shape[1]
    counts = tracks["clips"].to_numpy()
    track = np.repeat(np.arange(len(tracks)), counts)
    clip = np.arange(len(track)) - np.repeat(np.cumsum(counts) - counts, counts)
    index = tracks["row"].to_numpy()[track] * per_track + clip
    return Items(JoinedArray(cache.clips), index, labels[track], track, tracks.assign(items=counts))


def crop_items(tracks: pd.DataFrame, labels: np.ndarray, cache: MelCache) -> Items:
    """Clips, together with the whole tracks and the number of frames that each one fills."""
    spec = cache.spec
    frames = [spec.frames(min(spec.track_samples, round(s * spec.sample_rate))) for s in tracks["seconds"]]
    return dataclasses.replace(clip_items(tracks.assign(frames=frames), labels, cache), whole=cache.tracks)


def track_items(tracks: pd.DataFrame, labels: np.ndarray, cache: MelCache) -> Items:
    return Items(cache.tracks, tracks["row"].to_numpy(), labels, np.arange(len(tracks)), tracks.assign(items=1))


class Loader:
    """Batches of items, normalised, on a device.

    In training (`shuffle=True`) the order of epoch e depends on (seed, e) alone, and what is random at item i on
    (seed, e, i). On a GPU the whole data stays in its memory if it fits into half of what is free.

    Parameters
    ----------
    items : what to load.
    batch_size : items per batch; the last one may be smaller.
    shuffle : draw a new order each epoch, and cut each item anywhere from its track if `items.whole` is there.
    seed : of the order and the cuts.
    device : where batches go.
    normalisation : of each item, see `normalise`.
    augmentation : what changes the items, or None.
    mixing : what adds other items to them first, or None.
    balance : draw the items of an epoch with replacement, each as often as its rarest label is rare.
    rank, ranks : of several processes that share the items: in training each has its part of every batch, elsewhere
        its part of the tracks.
    """

    def __init__(
        self,
        items: Items,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        normalisation: str = "item",
        augmentation: Augmentation | None = None,
        mixing: Mixing | None = None,
        balance: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.items, self.batch_size, self.shuffle, self.seed = items, batch_size, shuffle, seed
        self.device, self.normalisation = torch.device(device), normalisation
        self.augmentation, self.mixing = augmentation, mixing
        self.rank, self.ranks = rank, ranks
        self.labels, self.track = torch.tensor(items.labels), torch.tensor(items.track)
        self.classes = items.labels.shape[1] if items.labels.ndim == 2 else int(items.tracks["class"].max()) + 1
        self.odds = rarity(items.labels, self.classes) if balance else None
        self.crops = shuffle and items.whole is not None
        self.chosen = np.arange(len(items))
        if not shuffle:
            self.chosen = self.chosen[np.isin(items.track, self.share(np.arange(len(items.tracks))))]
        self.source, self.rows = self.load_source()
        self.set_epoch(0)

    def __len__(self) -> int:
        return -(-len(self.chosen) // self.batch_size)

    def load_source(self) -> tuple[np.ndarray | StackedArray | torch.Tensor, np.ndarray]:
        """What batches are taken from, and the row of each item in it; on a GPU resident, if it fits."""
        items = self.items
        source = items.array if items.whole is None or not self.crops else items.whole
        rows = items.tracks["row"].to_numpy()[items.track] if self.crops else items.index
        if self.device.type != "cuda":
            return source, rows
        used, places = np.unique(rows, return_inverse=True)
        free, _ = torch.cuda.mem_get_info(self.device)
        if len(used) * source[:1].nbytes > RESIDENT_SHARE * free:
            return source, rows
        return torch.from_numpy(source[used]).to(self.device), places

    def set_epoch(self, epoch: int) -> None:
        """Choose whose order, cuts and augmentations the next pass takes."""
        self.epoch = epoch
        for part in (self.augmentation, self.mixing):
            if part:
                part.set_epoch(epoch)
        if self.crops:
            spare = self.items.tracks["frames"].to_numpy()[self.items.track] - self.items.array.shape[-1]
            drawn = np.random.default_rng((self.seed, epoch, 1)).random(len(self.items))
            self.starts = (drawn * (np.maximum(spare, 0) + 1)).astype(int)

    def __iter__(self) -> Iterator[Batch]:
        order = self.chosen
        if self.shuffle:
            generator = np.random.default_rng((self.seed, self.epoch))
            drawn = self.odds is not None
            order = generator.choice(order, len(order), p=self.odds) if drawn else generator.permutation(order)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            yield self.gather_share(batch) if self.shuffle and self.ranks > 1 else self.gather(batch)

    def share(self, values: np.ndarray) -> np.ndarray:
        """This rank's part of them; the first ranks have the larger ones."""
        return np.array_split(values, self.ranks)[self.rank]

    def gather_share(self, batch: np.ndarray) -> Batch:
        """This rank's part of a batch, as it is in the whole one; without items, x has one, for the network to take."""
        places = self.share(np.arange(len(batch)))
        if not len(places):
            x, y, track = self.gather(batch[:1])
            return Batch(x, y[:0], track[:0])
        before = [places[0] - 1] if self.augmentation and "mixup" in self.augmentation.augment else []
        parts = self.gather(batch[[*before, *places]])  # mixup gives each item some of the one before it
        return Batch(*(part[len(before) :] for part in parts))

    def gather(self, chosen: np.ndarray) -> Batch:
        """The batch of some positions in `items`."""
        x, (y, track) = self.fetch(chosen), (values[chosen].to(self.device) for values in (self.labels, self.track))
        if self.augmentation is None and self.mixing is None:
            return Batch(normalise(x, self.normalisation), y, track)
        x = with_channels(x)
        if self.mixing:
            x, y = self.mix(self.mixing, x, y, chosen)
        if self.augmentation is None:
            return Batch(normalise(x, self.normalisation), y, track)
        x = normalise(self.augmentation.on_decibel(x, chosen), self.normalisation)
        x, y = self.augmentation.mix(self.augmentation.on_normalised(x, chosen), y, chosen, self.classes)
        return Batch(x, y, track)

    def mix(
        self, mixing: Mixing, x: torch.Tensor, y: torch.Tensor, chosen: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The items with others added to them, and the union of their labels."""
        partners = mixing.partners(chosen)
        others = with_channels(self.fetch(partners.clip(0).ravel())).view(*partners.shape, *x.shape[1:])
        return mixing.combine(x, others, y, self.labels[partners.clip(0)].to(self.device), chosen)

    def fetch(self, chosen: np.ndarray) -> torch.Tensor:
        return self.cut(chosen) if self.crops else self.take(chosen)

    def take(self, chosen: np.ndarray) -> torch.Tensor:
        rows = self.rows[chosen]
        if isinstance(self.source, torch.Tensor):
            return self.source[torch.from_numpy(rows).to(self.device)]
        return torch.from_numpy(self.source[rows]).to(self.device)

    def cut(self, chosen: np.ndarray) -> torch.Tensor:
        """Clips from anywhere in their tracks."""
        frames, places = self.items.array.shape[-1], zip(self.rows[chosen], self.starts[chosen], strict=True)
        pieces: list[Any] = [self.source[row, ..., start : start + frames] for row, start in places]
        stack = torch.stack(pieces) if isinstance(self.source, torch.Tensor) else torch.from_numpy(np.stack(pieces))
        return stack.to(self.device)


def with_channels(x: torch.Tensor) -> torch.Tensor:
    """float32 [batch, channels, rows, frames]."""
    return x.float().unsqueeze(1) if x.ndim == 3 else x.float()


def rarity(labels: np.ndarray, classes: int) -> np.ndarray:
    """float64 [items], summing to 1: inverse to how often an item's rarest label occurs; without labels the least."""
    present = np.nan_to_num(labels) > 0 if labels.ndim == 2 else np.eye(classes, dtype=bool)[labels]
    rate = (present / np.maximum(present.sum(0), 1)).max(1)
    rate[rate == 0] = rate[rate > 0].min()
    return rate / rate.sum()
