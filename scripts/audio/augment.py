"""Augmentation of batches of spectrograms, on the device they are on, drawn anew for each item.

What is drawn for item i in epoch e depends on (seed, e, i) alone. All act on spectrograms, so nothing has to be decoded
again: tempo stretches the time axis, pitch moves the frequency axis, an equaliser adds decibels to rows, a low-pass
takes the highest of them away, noise and backgrounds add power, and a room spreads it over the frames that follow.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from scripts.audio.backgrounds import read_backgrounds
from scripts.audio.features import FLOOR_POWER, mel_points
from scripts.audio.spec import MelSpec
from scripts.common.cli import pick
from scripts.common.errors import ConfigError

BANK_FRAMES = 4096  # of noise in an epoch, of which each item takes a piece
BANDS = 7  # of the equaliser, evenly spaced in octaves
LOWEST = 60.0  # Hz, of the equaliser's bands and of what a low-pass leaves
DRIEST, WETTEST = -20.0, 0.0  # dB, what a room sends back relative to what it is sent
SHORTEST_ROOM = 0.1  # seconds until its sound has fallen by 60 dB


class Draws(NamedTuple):
    """What was drawn for the items of a batch.

    uniform : float32 [batch, columns], in [0, 1).
    bank : float32 [rows, frames], power of mean 1 to take pieces from: noise, the same for the whole epoch, or
        recordings; empty where none is needed.
    """

    uniform: torch.Tensor
    bank: torch.Tensor

    def between(self, low: float, high: float, column: int = 0) -> torch.Tensor:
        """[batch]."""
        return low + (high - low) * self.uniform[:, column]


Action = Callable[..., torch.Tensor]


# --- on decibels: (x [batch, channels, rows, frames], draws, spec, settings) -> x -------------------------------


def tempo(x: torch.Tensor, draws: Draws, spec: MelSpec, change: float) -> torch.Tensor:
    """Faster or slower by up to the share `change`, pitch unchanged; what runs out of the clip starts over."""
    frames = torch.arange(x.shape[-1], device=x.device)
    middle, rate = (x.shape[-1] - 1) / 2, 1 + draws.between(-change, change)
    return take_frames(x, middle + (frames - middle) * rate[:, None])


def time_shift(x: torch.Tensor, draws: Draws, spec: MelSpec, share: float) -> torch.Tensor:
    """Later by up to the share `share` of the clip; what leaves at the end enters at the beginning."""
    frames, shift = torch.arange(x.shape[-1], device=x.device), draws.between(0, share) * x.shape[-1]
    return take_frames(x, frames - shift.floor()[:, None])


def loop(x: torch.Tensor, draws: Draws, spec: MelSpec, shortest: float) -> torch.Tensor:
    """A part of the clip, at least the share `shortest` of it, again and again: a note as long as any other's."""
    frames = torch.arange(x.shape[-1], device=x.device)
    length = (draws.between(shortest, 1) * x.shape[-1]).round().clamp(min=1)
    start = (draws.between(0, 1, column=1) * (x.shape[-1] - length + 1)).floor()
    return take_frames(x, start[:, None] + frames.remainder(length[:, None]))


def take_frames(x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """The frames at fractional positions [batch, frames], between their neighbours, wrapping around."""
    below = position.floor()
    first = below.long().remainder(x.shape[-1])
    low, high = (
        x.gather(3, index[:, None, None, :].expand(*x.shape[:3], -1)) for index in (first, (first + 1) % x.shape[-1])
    )
    return torch.lerp(low, high, (position - below)[:, None, None, :])


def pitch(x: torch.Tensor, draws: Draws, spec: MelSpec, semitones: float) -> torch.Tensor:
    """Higher or lower by up to `semitones`, tempo unchanged; rows from beyond the spectrum repeat its edge."""
    frequency = row_frequencies(spec, x.device)
    source = frequency / 2 ** (draws.between(-semitones, semitones) / 12)[:, None]
    above = torch.searchsorted(frequency, source).clamp(1, len(frequency) - 1)
    weight = (source - frequency[above - 1]) / (frequency[above] - frequency[above - 1])
    low, high = (
        x.gather(2, index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])) for index in (above - 1, above)
    )
    return torch.lerp(low, high, weight.clamp(0, 1)[:, None, :, None])


def gain(x: torch.Tensor, draws: Draws, spec: MelSpec, decibel: float) -> torch.Tensor:
    """Louder or softer by up to `decibel`."""
    return x + draws.between(-decibel, decibel)[:, None, None, None]


def equalizer(x: torch.Tensor, draws: Draws, spec: MelSpec, decibel: float) -> torch.Tensor:
    """Each of `BANDS` bands louder or softer by up to `decibel`, straight in between: another microphone."""
    lowest = min(LOWEST, spec.top_frequency / 2)
    frequency = row_frequencies(spec, x.device).clamp(lowest, spec.top_frequency)
    place = (BANDS - 1) * (frequency / lowest).log2() / math.log2(spec.top_frequency / lowest)
    below = place.floor().clamp(max=BANDS - 2).long()
    bands = decibel * (2 * draws.uniform - 1)
    curve = torch.lerp(bands[:, below], bands[:, below + 1], place - below)
    return x + curve[:, None, :, None]


def low_pass(x: torch.Tensor, draws: Draws, spec: MelSpec, lowest: float) -> torch.Tensor:
    """Nothing above a frequency between `lowest` and the top of the spectrum, in octaves: what a codec leaves."""
    top = spec.top_frequency
    cut = top * (max(lowest, LOWEST) / top) ** draws.uniform[:, 0]
    hidden = row_frequencies(spec, x.device) > cut[:, None]
    return torch.where(hidden[:, None, :, None], x.amin((2, 3), keepdim=True), x)


def room(x: torch.Tensor, draws: Draws, spec: MelSpec, seconds: float) -> torch.Tensor:
    """A room in which a sound falls by 60 dB within up to `seconds`.

    Late reverberation as noise that dies away exponentially (J.-D. Polack, 1988), whose power adds to that of the
    sound: each frame's is spread over those that follow, between `DRIEST` and `WETTEST` dB of it in all.
    """
    frames = torch.arange(x.shape[-1], device=x.device)
    lag = frames - frames[:, None]  # [from, to]
    duration = draws.between(min(SHORTEST_ROOM, seconds), seconds) * spec.sample_rate / spec.hop_length
    ratio = 10 ** (-6 / duration.clamp(min=1e-3))[:, None, None]
    wet = 10 ** (draws.between(DRIEST, WETTEST, column=1) / 10)[:, None, None]
    later = (1 - ratio) * ratio ** (lag - 0.5).clamp(min=0)
    spread = torch.where(lag > 0, wet * later, torch.where(lag == 0, 1 + wet * (1 - ratio**0.5), 0))
    power = (10 ** (x / 10)) @ spread[:, None]
    return 10 * torch.log10(power.clamp(min=FLOOR_POWER))


def noise(x: torch.Tensor, draws: Draws, spec: MelSpec, snr_low: float, snr_high: float, slope: float) -> torch.Tensor:
    """Noise at a signal-to-noise ratio between `snr_low` and `snr_high` dB, that falls by up to `slope` dB an octave.

    With a slope of 0 it is white, 3 is pink, and 6 brown. White noise has the same mean power in every Slaney mel,
    whose areas are equal, and in every linear bin; in an HTK mel, of height 1, it is as great as the mel is wide.
    """
    width, area = row_widths(spec, x.device)
    if slope:
        octaves = row_frequencies(spec, x.device).clamp(min=LOWEST).log2()[:, None]
        tint = 10 ** (-draws.between(0, slope, column=2)[:, None, None] * octaves / 10)
        area = area * (tint / (tint * width / width.sum()).sum(1, keepdim=True))[:, None]
    return add_piece(x, draws, spec, snr_low, snr_high, area)


def background(
    x: torch.Tensor, draws: Draws, spec: MelSpec, folder: str, snr_low: float, snr_high: float
) -> torch.Tensor:
    """A piece of a recording in `folder`, at a signal-to-noise ratio between `snr_low` and `snr_high` dB.

    The ratio is that of the whole recording, so that its quiet pieces stay quiet.
    """
    return add_piece(x, draws, spec, snr_low, snr_high)


def add_piece(
    x: torch.Tensor, draws: Draws, spec: MelSpec, snr_low: float, snr_high: float, colour: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Add the power of a piece of the bank, times `colour` for each row."""
    power, frames = 10 ** (x / 10), draws.bank.shape[1]
    level = mean_power(power, spec) * 10 ** (-draws.between(snr_low, snr_high) / 10)[:, None, None, None]
    start = draws.between(0, frames, column=1).long()
    places = (start[:, None] + torch.arange(x.shape[-1], device=x.device)) % frames
    piece = draws.bank[:, places].transpose(0, 1).unsqueeze(1)
    return 10 * torch.log10((power + level * piece * colour).clamp(min=FLOOR_POWER))


def mean_power(power: torch.Tensor, spec: MelSpec) -> torch.Tensor:
    """That of the sound of which this is the spectrogram, up to a factor: [..., rows, frames] -> [..., 1, 1]."""
    width, area = row_widths(spec, power.device)
    return (power / area * width / width.sum()).sum(-2, keepdim=True).mean(-1, keepdim=True)


def row_widths(spec: MelSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row [rows, 1]: the width in Hz, and the power that white noise has in it, relative to the others."""
    width = torch.gradient(row_frequencies(spec, device))[0][:, None]
    return width, width if spec.mel_scale == "htk" and spec.kind != "linear" else torch.ones_like(width)


def row_frequencies(spec: MelSpec, device: torch.device) -> torch.Tensor:
    """The middle frequency of each row in Hz, float32 [rows]."""
    if spec.kind == "linear":
        return torch.linspace(0, spec.sample_rate / 2, spec.rows, device=device)
    return torch.as_tensor(mel_points(spec)[1:-1], dtype=torch.float32, device=device)


# --- on normalised values ---------------------------------------------------------------------------------------


def frequency_mask(x: torch.Tensor, draws: Draws, spec: MelSpec, width: int, count: int) -> torch.Tensor:
    """`count` bands of up to `width` rows become 0 (SpecAugment: Park et al., Interspeech 2019)."""
    return x.masked_fill(in_bands(draws.uniform, x.shape[2], width, count)[:, None, :, None], 0)


def time_mask(x: torch.Tensor, draws: Draws, spec: MelSpec, width: int, count: int) -> torch.Tensor:
    """`count` stretches of up to `width` frames become 0 (SpecAugment: Park et al., Interspeech 2019)."""
    return x.masked_fill(in_bands(draws.uniform, x.shape[3], width, count)[:, None, None, :], 0)


def in_bands(uniform: torch.Tensor, size: int, width: int, count: int) -> torch.Tensor:
    """bool [batch, size]: inside one of `count` bands, each of a drawn width and place."""
    place = torch.arange(size, device=uniform.device)
    length = (uniform[:, :count, None] * (width + 1)).floor().clamp(max=size)
    start = (uniform[:, count:, None] * (size - length + 1)).floor()
    return ((place >= start) & (place < start + length)).any(dim=1)


# --- all of an experiment's -------------------------------------------------------------------------------------

ON_DECIBEL: dict[str, Action] = {
    "tempo": tempo, "pitch": pitch, "time_shift": time_shift, "loop": loop, "equalizer": equalizer,
    "low_pass": low_pass, "gain": gain, "room": room, "noise": noise, "background": background,
}  # fmt: skip
ON_NORMALISED: dict[str, Action] = {"frequency_mask": frequency_mask, "time_mask": time_mask}
DEFAULTS: dict[str, dict[str, Any]] = {
    "tempo": {"change": 0.2},
    "pitch": {"semitones": 2.0},
    "time_shift": {"share": 1.0},
    "loop": {"shortest": 0.4},
    "equalizer": {"decibel": 6.0},
    "low_pass": {"lowest": 8000.0},
    "gain": {"decibel": 6.0},
    "room": {"seconds": 1.0},
    "noise": {"snr_low": 10.0, "snr_high": 30.0, "slope": 0.0},
    "background": {"folder": "", "snr_low": 0.0, "snr_high": 20.0},
    "frequency_mask": {"width": 16, "count": 2},
    "time_mask": {"width": 32, "count": 2},
    "mixup": {"alpha": 0.2},
}


GREATEST = 1e5  # of any setting
ANY_SIGN = {"snr_low", "snr_high", "slope"}
ANY = {"tempo", "time_shift", "loop", "mixup"}
DECIBELS = ANY | {"gain", *ON_NORMALISED}
SUITED: dict[str, set[str]] = {
    "mel": set(DEFAULTS), "linear": set(DEFAULTS), "stack": DECIBELS, "mfcc": DECIBELS,
    "log_magnitude": ANY | set(ON_NORMALISED), "waveform": ANY - {"tempo"},
    "picture": DECIBELS,
}  # fmt: skip


def complete(augment: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The augmentations by name with all of their settings; `probability` is that of an item to be changed.

    Raises
    ------
    ConfigError : unknown augmentation or setting (the nearest is suggested), a value that is not a number, is
        too great or too small, or a background without a folder.
    """
    result = {}
    for name, settings in augment.items():
        defaults = DEFAULTS[pick("augmentation", name, DEFAULTS)] | {"probability": 1.0}
        for setting, value in settings.items():
            pick(f"setting of {name}", setting, defaults)
            if setting == "folder":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= GREATEST:
                raise ConfigError(f"{name} with {setting}={value!r}; it must be a number, {GREATEST:g} at most")
            if setting == "probability" and not 0 <= value <= 1:
                raise ConfigError(f"{name} with probability={value}; it must be between 0 and 1")
            if value < 0 and setting not in ANY_SIGN:
                raise ConfigError(f"{name} with {setting}={value}; it must be at least 0")
        result[name] = defaults | settings
        if result[name].get("snr_low", 0) > result[name].get("snr_high", GREATEST):
            raise ConfigError(f"{name} with snr_low above snr_high; snr_low must not be greater")
        folder = result[name].get("folder")
        if name == "background" and not (folder and isinstance(folder, str)):
            raise ConfigError(f"background with folder={folder!r}; set augment.background.folder to one of recordings")
    return result


@dataclass
class Augmentation:
    """An experiment's augmentations.

    Parameters
    ----------
    augment : augmentations by name with their settings, see `DEFAULTS`.
    spec : of the spectrograms.
    items : how many the training set has.
    seed : of everything that is drawn.
    normalise : how the items are normalised, see `normalise`.

    Raises
    ------
    ConfigError : an unknown name or setting, one that this kind of spectrogram or normalisation would undo, or a
        background of no recordings.
    AudioError : a background that cannot be decoded, or is silent.
    """

    augment: dict[str, dict[str, Any]]
    spec: MelSpec
    items: int
    seed: int
    normalise: str = "item"

    def __post_init__(self) -> None:
        self.augment = complete(self.augment)
        if "gain" in self.augment and self.normalise in ("item", "image"):
            raise ConfigError(f"normalise={self.normalise} undoes gain; drop gain or set normalise=none")
        for name in sorted(set(self.augment) - SUITED[self.spec.kind]):
            kinds = ", ".join(kind for kind, suited in SUITED.items() if name in suited)
            raise ConfigError(f"{name} does not suit spectrograms of kind {self.spec.kind}, only of: {kinds}; drop it")
        if self.augment.get("low_pass", {}).get("lowest", 0) >= self.spec.top_frequency:
            lowest, top = self.augment["low_pass"]["lowest"], self.spec.top_frequency
            raise ConfigError(f"low_pass with lowest={lowest:g} Hz changes nothing; set it below {top:g} Hz, the top")
        self.banks: dict[str, torch.Tensor] = {}
        if "background" in self.augment:
            recordings = map(torch.from_numpy, read_backgrounds(self.augment["background"]["folder"], self.spec))
            parts = [recording / mean_power(recording, self.spec) for recording in recordings]
            self.banks["background"] = torch.cat(parts, dim=1)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw for all items of an epoch."""
        self.uniform = {
            name: torch.from_numpy(
                self.generator(epoch, name).random((self.items, columns(name, settings)), np.float32)
            )
            for name, settings in self.augment.items()
        }
        self.changed = {
            name: torch.from_numpy(self.generator(epoch, f"{name} at all").random(self.items) < settings["probability"])
            for name, settings in self.augment.items()
        }
        if "noise" in self.augment:
            shape = (self.spec.rows, BANK_FRAMES)
            noise = self.generator(epoch, "bank").standard_exponential(shape, np.float32)
            self.banks["noise"] = torch.from_numpy(noise)
        if "mixup" in self.augment:
            alpha = self.augment["mixup"]["alpha"]
            share = self.generator(epoch, "mixup").beta(alpha, alpha, self.items) if alpha else np.ones(self.items)
            share = np.where(self.changed["mixup"], np.maximum(share, 1 - share), 1)
            self.share = torch.from_numpy(share.astype(np.float32))

    def generator(self, epoch: int, name: str) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch, zlib.crc32(name.encode())))

    def on_decibel(self, x: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
        """Augment the items `chosen`, int [batch], of the training set: x [batch, channels, rows, frames] in dB."""
        return self.apply(ON_DECIBEL, x, chosen)

    def on_normalised(self, x: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
        """As `on_decibel`, of normalised values."""
        return self.apply(ON_NORMALISED, x, chosen)

    def apply(self, actions: dict[str, Action], x: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
        for name, settings in self.augment.items():
            if name in actions:
                self.banks[name] = self.banks.get(name, torch.empty(0)).to(x.device)
                draws = Draws(self.uniform[name][chosen].to(x.device), self.banks[name])
                values = {setting: settings[setting] for setting in DEFAULTS[name]}
                changed = self.changed[name][chosen].to(x.device)[:, None, None, None]
                x = torch.where(changed, actions[name](x, draws, self.spec, **values), x)
        return x

    def mix(self, x: torch.Tensor, y: torch.Tensor, chosen: np.ndarray, classes: int) -> tuple[torch.Tensor, ...]:
        """Each item with its neighbour in the batch: x and y [batch, classes] in the same shares (at least half own).

        Mixup: Zhang et al., ICLR 2018. Without it, x and y come back as they are.
        """
        if "mixup" not in self.augment:
            return x, y
        share = self.share[chosen].to(x.device)
        one_hot = y if y.ndim == 2 else torch.nn.functional.one_hot(y, classes).float()
        mixed = torch.lerp(x.roll(1, 0), x, share[:, None, None, None])
        return mixed, torch.lerp(one_hot.roll(1, 0), one_hot, share[:, None])


def columns(name: str, settings: dict[str, Any]) -> int:
    """How many random numbers an item needs."""
    if name == "equalizer":
        return BANDS
    return 2 * int(settings.get("count", 1)) + bool(settings.get("slope"))
