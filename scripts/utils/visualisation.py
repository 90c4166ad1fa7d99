"""Figures of a track: its waveform, its spectrogram, and its clips; the command writes all three."""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts visualisation`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("visualisation")

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from scripts.audio.cache import HOW_TO_CACHE, MelCache
from scripts.audio.decoding import cut_excerpt, decode
from scripts.audio.layout import USABLE
from scripts.audio.spec import MelSpec
from scripts.audio.spectrogram_axes import draw_mel, frequency_label
from scripts.common.cli import command
from scripts.common.errors import TableError
from scripts.common.plotting import COLOURS, GRID, add_colour_bar, new_figure, save
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table
from scripts.utils import flags

WAVEFORM_COLUMNS = 2000  # more would not be seen
CLIPS_PER_ROW = 5


def waveform(samples: np.ndarray, sample_rate: int, title: str = "") -> Figure:
    """Amplitude against time.

    Parameters
    ----------
    samples : float32 [samples]; of long ones the lowest and highest of each short stretch are drawn.
    sample_rate : in Hz.
    """
    figure, [[axes]] = new_figure(2.0, title=title)
    starts = np.arange(0, len(samples), max(1, len(samples) // WAVEFORM_COLUMNS))
    extremes = [np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)]
    axes.plot(np.repeat(starts / sample_rate, 2), np.ravel(extremes, "F"), color=COLOURS[0], linewidth=0.5)
    axes.grid(axis="y", color=GRID)
    axes.margins(x=0)
    axes.set(xlabel="time (s)", ylabel="amplitude\n(full scale = 1)")
    return figure


def mel(decibel: np.ndarray, spec: MelSpec, title: str = "") -> Figure:
    """One spectrogram [mels, frames] in dB, with time in seconds and frequency in kHz."""
    figure, [[axes]] = new_figure(2.7, title=title)
    image = draw_mel(axes, decibel, spec)
    axes.set(xlabel="time (s)", ylabel=frequency_label(spec))
    add_colour_bar(figure, image, axes, f"level ({spec.unit})")
    return figure


def mel_grid(decibels: np.ndarray, spec: MelSpec, title: str = "") -> Figure:
    """The clips [clips, mels, frames] of a track in dB, five in a row, all on one colour scale."""
    rows = -(-len(decibels) // CLIPS_PER_ROW)
    columns = min(len(decibels), CLIPS_PER_ROW)
    figure, grid = new_figure(0.9 + 1.3 * rows, rows, columns, title, share=True)
    norm = Normalize(decibels.min(), decibels.max())
    for number, axes in enumerate(grid.flat):
        if number < len(decibels):
            image = draw_mel(axes, decibels[number], spec, norm)
            axes.set_title(f"clip {number + 1}, {spec.clip_starts[number] / spec.sample_rate:g} s", fontsize=9)
        else:
            axes.set_axis_off()
    figure.supxlabel("time from the start of the clip (s)", fontsize=10)
    figure.supylabel(frequency_label(spec), fontsize=10)
    add_colour_bar(figure, image, grid, f"level ({spec.unit})")
    return figure


def augmented(before: np.ndarray, after: np.ndarray, spec: MelSpec, titles: Sequence[str]) -> Figure:
    """Items of a batch above the same ones after augmentation, all on one colour scale.

    Parameters
    ----------
    before, after : [items, rows, frames], normalised.
    spec : of the spectrograms.
    titles : one for each item, such as its class.
    """
    figure, grid = new_figure(3.6, 2, len(titles), share=True)
    norm = Normalize(*np.percentile([before, after], (1, 99)))
    for row, items, name in zip(grid, (before, after), ("before", "after"), strict=True):
        for axes, item, title in zip(row, items, titles, strict=True):
            image = draw_mel(axes, item, spec, norm)
            if items is before:
                axes.set_title(title, fontsize=9, parse_math=False)
        row[0].set_ylabel(name)
    figure.supxlabel("time from the start of the clip (s)", fontsize=10)
    figure.supylabel(frequency_label(spec), fontsize=10)
    add_colour_bar(figure, image, grid, "level (normalised)")
    return figure


# --- the command --------------------------------------------------------------------------------------------


def pick_track(table: pd.DataFrame, cache: MelCache, track_id: str | None, seed: int) -> str:
    """The given track of the table, or a random one, that the cache can show.

    Raises
    ------
    TableError : it is in neither or in only one of them, or was left out of the cache.
    """
    rows = cache.rows[cache.rows.index.isin(table["track_id"])]
    usable = rows.index[rows["status"] == USABLE].tolist()
    if not usable:
        raise TableError(f"{cache.folder}: holds no usable track of the table; cache them ({HOW_TO_CACHE})")
    if track_id is None:
        return random.Random(seed).choice(usable)
    if track_id in usable:
        return track_id
    if track_id in rows.index:
        status, reason = rows.loc[track_id, ["status", "reason"]]
        raise TableError(f"track {track_id} is left out: {status}, {reason}; take one such as {usable[0]}")
    raise TableError(f"no track {track_id!r} in both the table and {cache.folder}; one that is: {usable[0]}")


def draw_track(cache: MelCache, track_id: str, title: str) -> dict[str, Figure]:
    """The figures of one usable track, by file name."""
    spec, track = cache.spec, cache.rows.loc[track_id]
    samples = cut_excerpt(decode(track["file"], spec.sample_rate, spec.decoded_seconds), spec)
    clips = cache.clips[track["row"], : track["clips"]]
    return {
        "waveform": waveform(samples, spec.sample_rate, title),
        f"mel_{spec.track_seconds:g}s": mel(cache.tracks[track["row"]], spec, title),
        "mel_clips": mel_grid(clips, spec, title),
    }


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.visualisation(argv)
    table, cache = read_table(args.csv, NEEDED_TO_CACHE), MelCache.open(args.cache)
    track_id = pick_track(table, cache, args.track_id, args.seed)
    track = table[table["track_id"] == track_id].iloc[0]
    labels = [str(track[column]) for column in ("genre", "labels") if column in track]
    for name, figure in draw_track(cache, track_id, ", ".join([*labels, f"track {track_id}"])).items():
        save(figure, args.output / f"{name}.png")
    print(f"{args.output}: figures of track {track_id}")
