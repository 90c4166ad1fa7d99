"""The demo's instruments against scipy's plain filters, and that a track draws on what its genre lists."""

import numpy as np
import pytest
from scipy import signal

from scripts.utils import synthesis
from scripts.utils.demo import make_artist
from scripts.utils.synthesis import GENRES, SAMPLE_RATE, Genre, Mixer, Song


@pytest.mark.parametrize(("low", "high"), [(20.0, 700.0), (900.0, 30_000.0)])
def test_band_pass_is_butterworths(low: float, high: float) -> None:
    noise = np.random.default_rng(0).standard_normal(5_000)
    edges = (low, min(high, 0.45 * SAMPLE_RATE))
    sections = signal.butter(1, edges, "bandpass", fs=SAMPLE_RATE, output="sos")
    np.testing.assert_allclose(synthesis.band_pass(noise, low, high), signal.sosfilt(sections, noise), atol=1e-9)


@pytest.mark.parametrize(("frequency", "count"), [(55.0, 3_000), (880.0, 1_000), (55.0, 500)])
def test_plucked_string_is_karplus_and_strongs(frequency: float, count: int) -> None:
    colour, period = 0.5, round(SAMPLE_RATE / frequency - 0.5)
    burst = np.zeros(count)
    burst[:period] = np.random.default_rng(3).uniform(-1, 1, min(period, count))
    loop = [1, *np.zeros(period - 1), -0.497, -0.497]
    expected = signal.lfilter([1], loop, signal.lfilter([0.55], [1, -0.45], burst))
    found = synthesis.pluck(frequency, count, colour, np.random.default_rng(3))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_note_is_played_once() -> None:
    mixer = Mixer(make_artist(0, 0), 1.0, 60, np.random.default_rng(0))
    first = mixer.play("flute", 4, 0.25)
    assert mixer.play("flute", 4, 0.25) is first
    assert mixer.play("flute", 5, 0.25) is not first
    assert len(first) == 0.25 * SAMPLE_RATE


@pytest.mark.parametrize("genre", GENRES, ids=lambda genre: genre.name)
def test_songs_draw_on_all_that_their_genre_lists(genre: Genre) -> None:
    songs = [Song(genre, make_artist(0, number), np.random.default_rng(number)) for number in range(150)]
    assert {song.patches["lead"] for song in songs} == set(genre.lead.split(", "))
    assert {song.texture for song in songs} == set(genre.textures.split(", "))
    typical = synthesis.PARTS[int(np.argmax(genre.presence))]
    assert all(typical in song.parts for song in songs)
    shares = [np.mean([part in song.parts for song in songs]) for part in synthesis.PARTS if part != typical]
    expected = [share for part, share in zip(synthesis.PARTS, genre.presence, strict=True) if part != typical]
    np.testing.assert_allclose(shares, expected, atol=0.2)


def test_every_instrument_is_heard_somewhere() -> None:
    listed = {
        name for genre in GENRES for field in (genre.bass, genre.chords, genre.lead) for name in field.split(", ")
    }
    assert listed == set(synthesis.PATCHES)
    assert {name for genre in GENRES for name in genre.beats.split(", ")} == set(synthesis.BEATS)
    lines = {name for genre in GENRES for field in (genre.bass_lines, genre.chord_lines) for name in field.split(", ")}
    assert lines == set(synthesis.LINES)
    assert {hit for beat in [*synthesis.BEATS.values(), synthesis.FILL] for hit in beat} == set(synthesis.HITS)
