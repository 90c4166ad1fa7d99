"""Normalised spectrograms against NumPy in double, and those that have nothing to divide by."""

import numpy as np
import pytest
import torch

from scripts.audio.normalise import as_image, standardise

CONSTANTS = [-100.0, -47.3125, -0.1, 0.0, 1e-6, 3.0, 700.0]


def test_standardised_as_numpy_does_it():
    clips = np.random.default_rng(0).normal(-40, 15, (3, 32, 40)).astype(np.float16)
    wide = clips.astype(float).reshape(3, -1)
    expected = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    np.testing.assert_allclose(standardise(torch.from_numpy(clips)).flatten(1), expected, atol=2e-6)


def test_an_image_is_numpys():
    clips = np.random.default_rng(0).normal(-40, 15, (3, 32, 40)).astype(np.float16)
    wide = clips.astype(float).reshape(3, -1)
    low, high = wide.min(1, keepdims=True), wide.max(1, keepdims=True)
    expected = (wide - low) / (high - low)
    assert np.abs(as_image(torch.from_numpy(clips)).flatten(1).numpy() - expected).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("how", [standardise, as_image])
@pytest.mark.parametrize("value", CONSTANTS)
@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
def test_a_constant_becomes_zeros(how, value, kind):
    assert (how(torch.full((2, 128, 259), value, dtype=kind)) == 0).all()


def test_rounding_is_no_deviation():
    """What summing one constant in another order leaves must not be blown up to a spectrogram."""
    constant = torch.full((1, 128, 259), -47.3)
    constant[0, 0, 0] += 4e-6
    assert standardise(constant).abs().max() == 0


def test_what_is_soft_counts_as_what_is_loud():
    """A waveform 120 dB down keeps its shape."""
    wave = torch.sin(torch.arange(800.0))[None]
    torch.testing.assert_close(standardise(1e-6 * wave), standardise(wave), atol=1e-5, rtol=1e-5)
