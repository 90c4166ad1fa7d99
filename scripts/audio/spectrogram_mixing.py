"""Mixtures of cached spectrograms, drawn anew for each item and epoch: several sources at once, or one after another.

What is drawn for item i in epoch e depends on (seed, e, i) alone. Powers add up: in a row and frame where two sources
meet, the mixed waveform has the sum of their powers on average.
"""

import math
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from scripts.audio.augment import SUITED, Draws, pitch, row_frequencies
from scripts.audio.features import FLOOR_POWER
from scripts.audio.spec import MelSpec
from scripts.audio.waveform_mixing import WAYS
from scripts.common.cli import pick
from scripts.common.errors import ConfigError

PARTNERS = ("any", "other", "same_genre")
DEFAULTS: dict[str, Any] = {
    "min_sources": 1, "max_sources": 3, "mode": "sum", "partners": "other", "max_labels": None, "spread": 3.0,
    "pitch": 0.0,
}  # fmt: skip
OLD_NAMES = {"least": "min_sources", "most": "max_sources", "how": "mode"}  # of earlier versions, in files
KINDS = ("mel", "linear", "stack")  # their values are powers in dB
OCTAVES = math.log2(10) / 10  # of power in a dB: exp2 takes a tenth of the time of 10 ** x
TRIES = 200  # for a partner; if one item in 20 fits, 35 searches in a million fail


def rename(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a mixing by their present names."""
    return {OLD_NAMES.get(name, name): value for name, value in settings.items()}


def complete(settings: dict[str, Any]) -> dict[str, Any]:
    """All settings of a mixing, defaults included.

    Parameters
    ----------
    settings : any of
        min_sources, max_sources : how many sources a mixture has, each number equally often; default 1 to 3.
        mode : "sum", all at once, or "concatenate", each in its share of the frames, one after another.
        partners : "any" other item; "other", one without a label of those already in, the default; "same_genre", one
            that also is of the item's own genre, the column `genre` of the table.
        max_labels : how many labels a mixture has at most; default None, any number.
        spread : partners have the item's mean power but for a gain of up to so many dB up or down; default 3.
        pitch : each source by itself is moved by up to so many semitones up or down; default 0.

    Raises
    ------
    ConfigError : an unknown setting (the nearest is suggested), or a value that is not allowed.
    """
    for name in settings:
        pick("setting of mixing", name, DEFAULTS)
    result = DEFAULTS | settings
    pick("way of mixing", result["mode"], WAYS)
    pick("partners", result["partners"], PARTNERS)
    low, high = result["min_sources"], result["max_sources"]
    if not (isinstance(low, int) and isinstance(high, int) and 1 <= low <= high >= 2):
        raise ConfigError(
            f"mixtures of {low!r} to {high!r} sources; min_sources must be at least 1, max_sources at least 2 and not "
            "below min_sources"
        )
    most = result["max_labels"]
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise ConfigError(f"mixing with max_labels={most!r}; it must be a whole number, at least 1, or None for any")
    for name, unit in (("spread", "dB"), ("pitch", "semitones")):
        value = result[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"mixing with {name}={value!r}; it must be a number of {unit}, at least 0")
    return result


@dataclass
class Mixing:
    """An experiment's mixing, for a training set with these labels.

    Parameters
    ----------
    settings : see `complete`.
    labels : float32 [items, labels], 1 present, 0 absent, NaN unknown.
    spec : of the spectrograms.
    seed : of everything that is drawn.
    genres : of each item, NaN where unknown, for partners="same_genre".

    Raises
    ------
    ConfigError : a wrong setting, a kind of spectrogram whose values are no powers, no genres where they are needed,
        or no item that finds as many partners as it should, such as with one class only.
    """

    settings: dict[str, Any]
    labels: np.ndarray
    spec: MelSpec
    seed: int
    genres: Sequence[Hashable] | None = None

    def __post_init__(self) -> None:
        self.settings = complete(self.settings)
        if self.spec.kind not in KINDS:
            raise ConfigError(f"mixing adds powers, and kind={self.spec.kind} has none; set it to {', '.join(KINDS)}")
        if self.settings["pitch"] and "pitch" not in SUITED[self.spec.kind]:
            raise ConfigError(f"mixing with pitch does not suit spectrograms of kind {self.spec.kind}; set mix.pitch=0")
        if self.settings["partners"] == "same_genre":
            lacking = len(self.labels) if self.genres is None else int(pd.isna(np.asarray(self.genres, object)).sum())
            if lacking:
                raise ConfigError(
                    f"partners=same_genre needs the genre of each item; {lacking} of {len(self.labels)} training items "
                    "have none: fill in the table's column genre, or set partners=other"
                )
        widths = torch.gradient(row_frequencies(self.spec, torch.device("cpu")))[0]
        self.row_share = widths / widths.sum()
        self.set_epoch(0)
        self.check_partners()

    def set_epoch(self, epoch: int) -> None:
        """Draw for all items of an epoch."""
        low, high, spread = (self.settings[name] for name in ("min_sources", "max_sources", "spread"))
        generator, items = np.random.default_rng((self.seed, epoch, zlib.crc32(b"mixing"))), len(self.labels)
        self.sources = generator.integers(low, high + 1, items)
        self.gain = torch.from_numpy(generator.uniform(-spread, spread, (items, high - 1)).astype(np.float32))
        self.start = torch.from_numpy(generator.random((items, high), np.float32))
        self.drawn = self.draw(generator)
        self.shift = torch.from_numpy(generator.random((items, high, 1), np.float32))

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """int64 [items, max_sources - 1], the partners of all items."""
        among, most = self.settings["partners"], self.settings["max_labels"]
        genres = self.genres if among == "same_genre" else None
        items, sources = np.arange(len(self.labels)), self.settings["max_sources"]
        return draw_partners(
            self.labels == 1, items, self.sources, sources, generator, genres, shared=among == "any", max_labels=most
        )

    def check_partners(self) -> None:
        found, wanted = 1 + (self.drawn >= 0).sum(1).max(), self.sources.max()
        if found < wanted:
            raise ConfigError(
                f"no {wanted} of the {len(self.labels)} training items can be mixed with "
                f"partners={self.settings['partners']}; set max_sources={found} or partners=any, or add items of "
                "other labels" + "; or raise max_labels" * (self.settings["max_labels"] is not None)
            )

    def partners(self, chosen: np.ndarray) -> np.ndarray:
        """int64 [batch, max_sources - 1], the items to mix with the items `chosen`; -1 for none."""
        return self.drawn[chosen]

    def combine(
        self, x: torch.Tensor, others: torch.Tensor, y: torch.Tensor, y_others: torch.Tensor, chosen: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch; each source starts at a drawn frame, and what it is short of at the end is its beginning.

        Parameters
        ----------
        x : float32 [batch, channels, rows, frames] in dB, the items `chosen`.
        others : float32 [batch, max_sources - 1, channels, rows, frames] in dB, their partners; anything finite
            for none.
        y : float32 [batch, labels].
        y_others : float32 [batch, max_sources - 1, labels].
        chosen : int64 [batch].

        Returns
        -------
        x and y of the same shapes: decibels within `spec.top_db` of each maximum, as in the cache, and all labels.
        """
        there = torch.from_numpy(np.pad(self.drawn[chosen] >= 0, ((0, 0), (1, 0)), constant_values=True)).to(x.device)
        sources = self.move_pitch(torch.cat([x[:, None], others], 1), chosen)
        power = decibel_to_power(roll(sources, self.start[chosen].to(x.device)))
        scale = self.scale(power, self.gain[chosen].to(x.device))
        share = scale[:, :, None] * sounding(there, x.shape[-1], self.settings["mode"])
        mixed = 10 * torch.log10((power * share[:, :, None, None, :]).sum(1).clamp(min=FLOOR_POWER))
        floor = mixed.amax((2, 3), keepdim=True) - self.spec.top_db
        return torch.maximum(mixed, floor), union(torch.cat([y[:, None], y_others], 1), there)

    def move_pitch(self, sources: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
        """[batch, sources, channels, rows, frames] in dB, each source higher or lower by itself."""
        if not self.settings["pitch"]:
            return sources
        draws = Draws(self.shift[chosen].flatten(0, 1).to(sources.device), torch.empty(0))
        moved = pitch(sources.flatten(0, 1), draws, self.spec, self.settings["pitch"])
        return moved.view_as(sources)

    def scale(self, power: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """[batch, sources], what brings each source to the first one's mean power, and then to `gain` dB above it."""
        mean = power.mean((2, 4)) @ self.row_share.to(power.device)
        return mean[:, :1] / mean * decibel_to_power(torch.nn.functional.pad(gain, (1, 0)))


def decibel_to_power(x: torch.Tensor) -> torch.Tensor:
    return torch.exp2(x * OCTAVES)


def roll(x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """x [batch, sources, channels, rows, frames] from the share `start` [batch, sources] of its frames on."""
    frames = x.shape[-1]
    index = (torch.arange(frames, device=x.device) + (start * frames).long()[..., None]) % frames
    return x.gather(4, index[:, :, None, None, :].expand_as(x))


def sounding(there: torch.Tensor, frames: int, mode: str) -> torch.Tensor:
    """bool [batch, sources, frames], where each of the sources that are there [batch, sources] sounds."""
    if mode == "sum":
        return there[:, :, None].expand(-1, -1, frames)
    turn = torch.arange(frames, device=there.device) * there.sum(1, keepdim=True) // frames
    return there[:, :, None] & (there.cumsum(1)[:, :, None] - 1 == turn[:, None, :])


def union(y: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """The labels of mixtures, float32 [batch, labels].

    Present (1) if any source has it, else unknown (NaN) if it is unknown of any, else absent (0).

    Parameters
    ----------
    y : float32 [batch, sources, labels].
    there : bool [batch, sources], the sources that count.
    """
    y = y.masked_fill(~there[:, :, None], 0)
    return torch.where((y == 1).any(1), 1.0, y.amax(1))


def draw_partners(
    present: np.ndarray,
    first: np.ndarray,
    sources: np.ndarray,
    max_sources: int,
    generator: np.random.Generator,
    groups: Sequence[Hashable] | None = None,
    shared: bool = False,
    max_labels: int | None = None,
) -> np.ndarray:
    """Items to mix with others; within a mixture no item stands twice.

    Parameters
    ----------
    present : bool [items, labels], the labels of each item.
    first : int64 [mixtures], an item of each mixture.
    sources : int64 [mixtures], how many items each mixture is to have, the first included.
    max_sources : at least the greatest of these.
    groups : of each item; partners are of the first item's group. Default: all are of one group.
    shared : whether the items of a mixture may have labels in common.
    max_labels : how many labels a mixture has at most; None: any number.

    Returns
    -------
    int64 [mixtures, max_sources - 1], -1 where none is wanted or none was found in 200 tries.
    """
    mixtures = np.full((len(first), max_sources), -1)
    mixtures[:, 0], taken = first, present[first]
    group = np.unique(np.asarray(groups), return_inverse=True)[1] if groups is not None else np.zeros(len(present), int)
    members, sizes = np.argsort(group, kind="stable"), np.bincount(group)
    begin, size = (np.cumsum(sizes) - sizes)[group[first]], sizes[group[first]]
    for place in range(1, max_sources):
        waiting = np.flatnonzero(sources > place)
        for _ in range(TRIES):
            drawn = members[begin[waiting] + (generator.random(len(waiting)) * size[waiting]).astype(int)]
            fits = (mixtures[waiting] != drawn[:, None]).all(1)
            if not shared:
                fits &= ~(taken[waiting] & present[drawn]).any(1)
            if max_labels is not None:
                fits &= (taken[waiting] | present[drawn]).sum(1) <= max_labels
            mixtures[waiting[fits], place] = drawn[fits]
            taken[waiting[fits]] |= present[drawn[fits]]
            waiting = waiting[~fits]
    return mixtures[:, 1:]
