"""Figures of tracks, training and scores; as a command: a track's waveform, its spectrogram, and its clips."""

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts visualisation`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("visualisation")

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scripts.audio.cache import HOW_TO_CACHE, USABLE, MelCache
from scripts.audio.decoding import decode
from scripts.audio.features import hz_to_mel
from scripts.audio.spec import MelSpec
from scripts.common.cli import command
from scripts.common.errors import TableError
from scripts.common.storage import write_aside
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table
from scripts.utils import flags

WIDTH = 6.4  # inches
DPI = 150  # 960 pixels wide
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito, 2008
GREY, GRID = "#888888", "#e6e6e6"
LEGEND = {"frameon": False, "fontsize": 9}
ABOVE, BELOW = "outside upper center", "outside lower center"
WAVEFORM_COLUMNS = 2000  # more would not be seen
KILOHERTZ = (0.5, 1, 2, 4, 8, 16)  # ticks of a mel axis
CLIPS_PER_ROW = 5
ACCURACY = "accuracy (share correct)"
PARTS = {":": "train, clips", "--": "validation, clips", "-": "validation, tracks"}  # by line style
LOSSES = {"train_loss": ":", "validation_loss": "-"}
ACCURACIES = {"train_clip_accuracy": ":", "validation_clip_accuracy": "--", "validation_track_accuracy": "-"}


def new_figure(
    height: float, rows: int = 1, columns: int = 1, title: str = "", share: bool = False
) -> tuple[Figure, np.ndarray]:
    """An empty figure, `height` in inches, and its Axes [rows, columns], which may share their axes."""
    figure = Figure((WIDTH, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    for axes in grid.flat:
        axes.spines[:].set_color(GREY)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(color=GREY, labelsize=9)
        axes.set_axisbelow(True)
    return figure, grid


def whole_numbers(axes: Axes) -> None:
    """No ticks between whole numbers on the x axis."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


# --- audio --------------------------------------------------------------------------------------------------


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


def draw_mel(axes: Axes, decibel: np.ndarray, spec: MelSpec, norm: Normalize | None = None) -> AxesImage:
    """Show [rows, frames]; each frame is centred on its time, each row on its frequency."""
    rows, frames = decibel.shape
    seconds = spec.hop / spec.sample_rate
    extent = (-seconds / 2, (frames - 0.5) * seconds, -0.5, rows - 0.5)
    values = np.asarray(decibel, np.float32)
    image = axes.imshow(values, "magma", norm, aspect="auto", origin="lower", extent=extent)
    axes.set_xlim(0, frames * seconds)
    mark_frequencies(axes, spec)
    return image


def mark_frequencies(axes: Axes, spec: MelSpec) -> None:
    """Ticks along the rows: of cepstra the number of the coefficient, of all others kHz."""
    if spec.kind == "mfcc":
        axes.set_yticks(range(0, spec.rows, 5), map(str, range(0, spec.rows, 5)))
        return
    linear = spec.kind == "linear"
    kilohertz = KILOHERTZ[2:] if linear else KILOHERTZ
    hertz = {f"{one:g}": 1000 * one for one in kilohertz}
    rows = {name: hz * spec.n_fft / spec.sample_rate if linear else mel_row(hz, spec) for name, hz in hertz.items()}
    inside = {name: row for name, row in rows.items() if 0 <= row <= spec.rows - 1}
    axes.set_yticks(list(inside.values()), list(inside))


def frequency_label(spec: MelSpec) -> str:
    """Of the axis along the rows."""
    return {"linear": "frequency (kHz)", "mfcc": "coefficient"}.get(spec.kind, "frequency (kHz, mel scale)")


def mel_row(hz: float, spec: MelSpec) -> float:
    """Where a frequency lies among the mel filters: 0 is the centre of the first, mels - 1 of the last."""
    low, high = hz_to_mel(spec.f_min), hz_to_mel(spec.top_frequency)
    return (hz_to_mel(hz) - low) / (high - low) * (spec.n_mels + 1) - 1


def add_colour_bar(figure: Figure, image: AxesImage, panels: Axes | np.ndarray, label: str) -> None:
    bar = figure.colorbar(image, ax=panels, label=label, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(color=GREY, labelsize=9)


# --- training and scores ------------------------------------------------------------------------------------


def training_curves(histories: Mapping[str, pd.DataFrame], chance: float | None = None) -> Figure:
    """Loss and accuracy of one or more runs against the epoch: a colour per run, a line style per part.

    Parameters
    ----------
    histories : by run name; columns epoch, train_loss, train_clip_accuracy, validation_loss (of tracks),
        validation_clip_accuracy, validation_track_accuracy.
    chance : accuracy of guessing, drawn as a line.
    """
    figure, [[loss, accuracy]] = new_figure(3.1 + 0.1 * len(histories), columns=2)
    draw_histories(loss, histories, LOSSES)
    draw_histories(accuracy, histories, ACCURACIES)
    loss.set(ylabel="loss (nats)")
    accuracy.set(ylabel=ACCURACY, ylim=(0, 1))
    if chance is not None:
        accuracy.axhline(chance, color=GREY, linewidth=1)
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
        accuracy.annotate("chance", (1, chance), (0, 3), fontsize=9, color=GREY, **place)
    pairs = zip(histories, colours(histories), strict=True)
    runs = [Line2D([], [], color=colour, label=run) for run, colour in pairs]
    parts = [Line2D([], [], color="black", linestyle=style, label=part) for style, part in PARTS.items()]
    figure.legend(handles=runs, loc=ABOVE, ncols=2, **LEGEND)
    figure.legend(handles=parts, loc=BELOW, ncols=3, **LEGEND)
    return figure


def draw_histories(axes: Axes, histories: Mapping[str, pd.DataFrame], styles: Mapping[str, str]) -> None:
    """Draw columns of each run's history; `styles` has the line style of each column."""
    for history, colour in zip(histories.values(), colours(histories), strict=True):
        marker = "." if len(history) == 1 else ""
        for column in [name for name in styles if name in history]:  # a run without validation has only some
            axes.plot(history["epoch"], history[column], styles[column], color=colour, linewidth=1.5, marker=marker)
    axes.grid(color=GRID)
    axes.margins(x=0.02)
    axes.set_xlabel("epoch")
    whole_numbers(axes)


def colours(names: Sequence[str] | Mapping[str, object]) -> list[str]:
    """One colour for each name; after seven they come again."""
    return [COLOURS[number % len(COLOURS)] for number in range(len(names))]


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts [true, predicted] of tracks; the colour is the share of the true genre's tracks."""
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, [[axes]] = new_figure(5.4)
    image = axes.imshow(shares, "Blues", vmin=0, vmax=1)
    size = min(9, 105 / len(names))
    for (true, predicted), count in np.ndenumerate(counts):
        colour = "white" if shares[true, predicted] > 0.5 else "black" if count else GREY
        axes.text(predicted, true, f"{count}", ha="center", va="center", color=colour, fontsize=size)
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), names, parse_math=False, **slanted)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted genre (number of tracks in the cells)", ylabel="true genre")
    axes.spines[:].set_visible(False)
    add_colour_bar(figure, image, axes, "share of the true genre's tracks")
    return figure


def f1_per_genre(table: pd.DataFrame) -> Figure:
    """F1 as bars, the best on top, with precision and recall as marks.

    Parameters
    ----------
    table : index genre; columns precision, recall, f1 (0 to 1), tracks (how many).
    """
    table = table.sort_values("f1")
    labels = [f"{genre} ({tracks:.0f})" for genre, tracks in table["tracks"].items()]
    rows = range(len(table))
    figure, [[axes]] = new_figure(1.2 + 0.28 * len(table))
    bars = axes.barh(rows, table["f1"], color=COLOURS[5], height=0.7, label="F1")
    stroke, dot = {"color": "black", "markersize": 10, "mew": 2}, {"color": COLOURS[1], "markersize": 4}
    precision = axes.plot(table["precision"], rows, "|", label="precision", clip_on=False, **stroke)
    recall = axes.plot(table["recall"], rows, "o", label="recall", clip_on=False, **dot)
    axes.set_yticks(rows, labels, parse_math=False)
    axes.set(xlim=(0, 1), xlabel="score (0 to 1)", ylabel="genre (number of tracks)")
    axes.grid(axis="x", color=GRID)
    axes.margins(y=0.02)
    figure.legend(handles=[bars, *precision, *recall], loc=ABOVE, ncols=3, **LEGEND)
    return figure


def accuracy_by_clips(
    curves: Mapping[str, Sequence[float]], intervals: Mapping[str, np.ndarray] | None = None
) -> Figure:
    """Track accuracy when 1, 2, ... clips of each track are averaged.

    Parameters
    ----------
    curves : by run name, accuracy with 1, 2, ... clips.
    intervals : by run name, lower and upper bounds [clips, 2] of 95 % intervals, drawn as bands.
    """
    figure, [[axes]] = new_figure(3.1 + 0.1 * len(curves))
    for (run, accuracies), colour in zip(curves.items(), colours(curves), strict=True):
        clips = np.arange(1, len(accuracies) + 1)
        banded = intervals is not None and run in intervals
        label = f"{run}, with 95 % interval over tracks" if banded else run
        axes.plot(clips, accuracies, color=colour, linewidth=1.4, marker="o", markersize=4, label=label)
        if banded:
            axes.fill_between(clips, *np.transpose(intervals[run]), color=colour, alpha=0.15, linewidth=0)
    axes.grid(color=GRID)
    axes.set(xlabel="clips averaged per track", ylabel=f"track {ACCURACY}")
    whole_numbers(axes)
    figure.legend(loc=ABOVE, ncols=2, **LEGEND)
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
    samples = decode(track["file"], spec.sample_rate, spec.track_seconds)
    clips = cache.clips[track["row"], : track["clips"]]
    return {
        "waveform": waveform(samples, spec.sample_rate, title),
        f"mel_{spec.track_seconds:g}s": mel(cache.tracks[track["row"]], spec, title),
        "mel_clips": mel_grid(clips, spec, title),
    }


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG."""
    with write_aside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


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
