"""Pictures of spectrograms, as published in place of the sound: their margins cropped, their colours back to decibels.

Such as librosa's display or matplotlib draw: one colour map, high frequencies at the top. What the drawing has lost
stays lost: how many decibels a colour is worth, and frames that fell between two columns of pixels.
"""

import functools
from typing import Any

import numpy as np

from scripts.audio.spec import MelSpec
from scripts.common.errors import AudioError

COLOUR_MAPS, GREY = ("magma", "viridis", "inferno", "plasma", "cividis"), ("gray",)
TOLERANCE = 3  # of a colour to that of the map, of 255: what rounding may change
FOREIGN = 0.05  # more of the pixels in other colours are no spectrogram alone
MOST_PIXELS = 2**26


def read_picture(path: str, spec: MelSpec) -> np.ndarray:
    """The spectrogram in a picture: float32 [rows, frames] of `spec.track_shape`, from -`spec.top_db` to 0 dB.

    The colour map is the one of `COLOUR_MAPS` that has most of the pixels with a hue; of a picture without hues it is
    grey, light for loud. Outer rows and columns that are mostly white or in other colours, such as margins and the
    lines around the axes, are cropped; each pixel takes the level of the nearest colour, and each cell of the result
    that of the pixel at its middle.

    Parameters
    ----------
    path : of a picture without loss (PNG, BMP, TIFF, lossless WebP).
    spec : of kind "picture".

    Raises
    ------
    AudioError : the file cannot be read, or does not hold a spectrogram alone.
    """
    packed = read_pixels(path).astype(int) @ [1 << 16, 1 << 8, 1]
    values, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1)
    counts = counts * (np.ptp(colours, axis=1) > TOLERANCE)
    maps = COLOUR_MAPS if counts.sum() > FOREIGN * packed.size else GREY
    levels, known = max((nearest(colours, name) for name in maps), key=lambda found: counts[found[1]].sum())
    drawn = (known & (colours.min(axis=1) < 255))[places]
    rows, columns = (crop(drawn.mean(axis)) for axis in (1, 0))
    inside = known[places[rows, columns]]
    if not drawn.any() or 1 - inside.mean() > FOREIGN:
        raise AudioError(
            path, "no_spectrogram", f"no spectrogram in one of the colour maps {', '.join((*COLOUR_MAPS, *GREY))}",
            "give a picture saved without loss (no JPEG), without labels and colour bar",
        )  # fmt: skip
    upright = levels[places[rows, columns]][::-1]
    row, frame = (
        ((np.arange(wanted) + 0.5) * there / wanted).astype(int)
        for wanted, there in zip(spec.track_shape, upright.shape, strict=True)
    )
    return ((upright[np.ix_(row, frame)] / 255 - 1) * spec.top_db).astype(np.float32)


def read_pixels(path: str) -> np.ndarray:
    """uint8 [height, width, 3], the top row first; what is transparent becomes white."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise AudioError(path, "too_large", f"{image.width} by {image.height} pixels", "give a smaller picture")
            picture = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AudioError(path, "unreadable", f"no picture: {error}", "save it again") from None
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


@functools.cache
def tree_of(name: str) -> Any:
    """Finds the nearest of the 256 colours of a colour map of matplotlib, the lowest first."""
    import matplotlib
    from scipy.spatial import KDTree

    return KDTree(np.round(255 * matplotlib.colormaps[name](np.arange(256))[:, :3]))  # bytes=True would cut off


def nearest(colours: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Of colours [n, 3] the number of the nearest one in the colour map, and whether it is within `TOLERANCE`."""
    distances, levels = tree_of(name).query(colours)
    return levels, distances <= TOLERANCE


def crop(shares: np.ndarray) -> slice:
    """From the first to the last line that has at least half of the largest share."""
    places = np.flatnonzero(shares >= shares.max() / 2)
    return slice(places[0], places[-1] + 1)
