"""A spectrogram on the axes of a figure: each frame at its time, each row at its frequency."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from scripts.audio.features import hz_to_mel
from scripts.audio.spec import MelSpec

KILOHERTZ = (0.5, 1, 2, 4, 8, 16)  # ticks of a mel axis


def draw_mel(axes: Axes, decibel: np.ndarray, spec: MelSpec, norm: Normalize | None = None) -> AxesImage:
    """Show a spectrogram; each frame is centred on its time in seconds, each row on its frequency.

    Parameters
    ----------
    axes : to draw on.
    decibel : [rows, frames].
    spec : that it was made with.
    norm : from values to colours; default: the whole range of the values.
    """
    rows, frames = decibel.shape
    seconds = spec.frame_step / spec.sample_rate
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
    low, high, mel = (hz_to_mel(value, spec.mel_scale) for value in (spec.f_min, spec.top_frequency, hz))
    return (mel - low) / (high - low) * (spec.n_mels + 1) - 1
