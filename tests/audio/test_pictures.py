"""Pictures of spectrograms: colours back to levels, margins, and files that are none. The tests draw their own."""

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imsave
from PIL import Image

from scripts.audio.build_cache import build_cache
from scripts.audio.features import make_transform
from scripts.audio.pictures import COLOUR_MAPS, GREY, read_picture
from scripts.audio.spec import MelSpec
from scripts.common.errors import AudioError, ConfigError

SPEC = MelSpec(kind="picture", sample_rate=10, n_mels=32, track_seconds=6, clip_seconds=2)  # 32 by 60
STEP = 80 / 255  # dB from one colour to the next


def decibels(seed: int = 0) -> np.ndarray:
    """Bands of several loudnesses, from -80 to 0 dB: float64 [32, 60]."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 200, (32, 1)) + rng.integers(0, 56, (32, 60))
    levels[3, 7], levels[30, 50] = 0, 255
    return (levels / 255 - 1) * 80


def colours(values: np.ndarray, name: str = "magma") -> np.ndarray:
    """uint8 [rows, frames, 4], the highest row first, as matplotlib's `imsave` writes them."""
    return np.round(255 * mpl.colormaps[name](np.round((values[::-1] / 80 + 1) * 255).astype(int))).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.mark.parametrize("name", [*COLOUR_MAPS, *GREY])
def test_levels_come_back_from_what_matplotlib_writes(name: str, tmp_path: Path) -> None:
    imsave(tmp_path / "one.png", decibels(), cmap=name, vmin=-80, vmax=0, origin="lower")
    found = read_picture(str(tmp_path / "one.png"), SPEC)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, decibels(), atol=2.01 * STEP)  # it cuts colours off instead of rounding them


def test_margins_and_lines_around_the_axes_are_cropped(tmp_path: Path) -> None:
    figure = Figure(figsize=(4, 3), dpi=100)
    axes = figure.add_axes((0.125, 0.2, 0.6, 0.64))  # 240 by 192 pixels: 4 by 6 a cell
    axes.pcolormesh(decibels(), cmap="magma", vmin=-80, vmax=0)
    axes.set(xticks=[], yticks=[])
    figure.savefig(tmp_path / "framed.png")
    axes.set_axis_off()
    figure.savefig(tmp_path / "transparent.png", transparent=True)
    for name in ("framed.png", "transparent.png"):
        found = read_picture(str(tmp_path / name), SPEC)
        assert (np.abs(found - decibels()) <= 1.01 * STEP).mean() > 0.97, name  # the lines cover parts of outer cells


@pytest.mark.parametrize("shape", [(32, 60), (45, 133), (7, 11), (200, 301)])
def test_each_cell_has_the_pixel_at_its_middle(shape: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = (rng.integers(0, 256, shape) / 255 - 1) * 80
    found = read_picture(save(tmp_path / "one.png", colours(values)), SPEC)
    for row in range(32):
        for frame in (0, 1, 29, 58, 59):
            expected = values[int((row + 0.5) / 32 * shape[0]), int((frame + 0.5) / 60 * shape[1])]
            assert found[row, frame] == pytest.approx(expected, abs=1e-4)


def test_what_holds_no_spectrogram_alone_is_refused(tmp_path: Path, refusal: Callable[..., str]) -> None:
    rng, good = np.random.default_rng(0), colours(decibels())
    labelled = np.full((60, 80, 4), 255, np.uint8)
    labelled[10:42, 10:70] = good
    labelled[20:30, 20:60] = [0, 200, 0, 255]
    cases = {
        "photo": rng.integers(0, 256, (40, 50, 3), np.uint8),
        "white": np.full((40, 50, 3), 255, np.uint8),
        "jet": colours(decibels(), "jet"),
        "label": labelled,
    }
    for name, pixels in cases.items():
        with pytest.raises(AudioError, match="no spectrogram in one of the colour maps magma, .*; give a picture"):
            read_picture(save(tmp_path / f"{name}.png", pixels), SPEC)
    whole = Path(save(tmp_path / "good.png", good)).read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no picture"}.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        with pytest.raises(AudioError, match="no picture: "):
            read_picture(str(tmp_path / f"{name}.png"), SPEC)
    with pytest.raises(AudioError, match="no picture: .*such file"):
        read_picture(str(tmp_path / "none.png"), SPEC)


def test_cache_of_pictures_has_whole_tracks_and_clips(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    files = [save(tmp_path / f"{number}.png", colours(decibels(number))) for number in range(2)]
    table = pd.DataFrame({"track_id": ["a", "b", "c"], "file_path": [*files, str(tmp_path / "broken.png")]})
    cache = build_cache(table, tmp_path / "mels", SPEC, workers=1)
    assert cache.rows["status"].tolist() == ["ok", "ok", "unreadable"]
    assert cache.rows["clips"].tolist() == [3, 3, 0]
    assert json.loads((cache.folder / "spec.json").read_text())["spec"]["kind"] == "picture"
    for number in range(2):
        np.testing.assert_allclose(cache.tracks[number], decibels(number), atol=0.05)
        for clip in range(3):
            assert np.array_equal(cache.clips[number][clip], cache.tracks[number][:, 20 * clip : 20 * clip + 20])


def test_sound_is_refused_by_what_was_trained_on_pictures() -> None:
    with pytest.raises(ConfigError, match="no sound becomes one"):
        make_transform(SPEC)
