"""Rows of files that are damaged, or of which nothing is heard."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from scripts.config.run import Run
from scripts.inference.predict_folder import FilePredictor
from scripts.inference.predictor import Predictor
from tests.conftest import tone_samples


def test_rows_say_what_is_wrong_with_a_file(genre_run: Run, tone: Callable[..., Path], tmp_path: Path) -> None:
    damaged, left = tone("damaged.flac", seconds=4.0), tone_samples(2.0, 8000)
    damaged.write_bytes(damaged.read_bytes()[: round(0.6 * damaged.stat().st_size)])
    soundfile.write(tmp_path / "cancelled.wav", np.hstack([left, -left]), 8000)
    soundfile.write(tmp_path / "offset.wav", np.full(16_000, 0.1), 8000)
    file_predictor = FilePredictor(Predictor(genre_run), "a model")
    paths = (damaged, tmp_path / "cancelled.wav", tmp_path / "offset.wav")
    rows = [row for path in paths for row in file_predictor(str(path))]
    assert [row.status for row in rows] == ["ok", "cancelled", "silent"]
    assert rows[0].reason == f"damaged after {rows[0].seconds:.1f} s" and rows[0].probabilities
    assert rows[1].reason.startswith("the channels cancel; ")
