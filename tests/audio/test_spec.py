"""The parameters of the spectrograms: what is no number, or more than a memory holds, is refused in a line."""

import json

import numpy as np
import pytest

from scripts.audio.spec import MelSpec
from scripts.common.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_fft": 2**34}, "n_fft is 17179869184; give at most"),
        ({"n_mels": 10**9}, "n_mels is 1000000000; give at most"),
        ({"track_seconds": 1e12}, "give at most"),
        ({"n_fft": "many"}, "n_fft is 'many'; it must be a whole number"),
        ({"n_fft": None}, "it must be a whole number"),
        ({"hop_length": 0.5}, "hop_length is 0.5; it must be a whole number"),
        ({"sample_rate": float("inf")}, "it must be a whole number"),
        ({"track_seconds": "long"}, "track_seconds is 'long'; it must be a number"),
        ({"top_db": float("nan")}, "top_db is nan; it must be above 0"),
        ({"kind": 3}, "unknown kind '3'"),
        ({"n_fft": 2**18, "n_mels": 2**12}, "the mel filters would have 536,875,008 values"),
        ({"n_fft": 2**18, "kind": "linear", "hop_length": 8}, "a track's spectrogram would have"),
        ({"clip_overlap": 0.99999}, "a track's clips would have"),
    ],
)
def test_absurd_values_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        MelSpec(**settings)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_those_of_python() -> None:
    spec = MelSpec(n_fft=np.int64(1024), track_seconds=np.float32(20))
    assert (
        spec == MelSpec(n_fft=1024, track_seconds=20)
        and spec.fingerprint() == MelSpec(n_fft=1024, track_seconds=20.0).fingerprint()
    )
    assert json.loads(json.dumps(spec.as_dict()))["n_fft"] == 1024
