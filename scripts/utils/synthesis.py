"""Procedural music: instruments, drum patterns, effects, and `compose`, which turns a genre into a track.

A track is a row of sections of a few seconds. Each section plays one of three songs in the same key and
tempo: the verse and the chorus in the track's own genre, and a bridge in a guest genre. A clip from a bridge
misleads about the genre while the whole track does not. The artist's production is laid over everything, so
it tells who made a track and says nothing about the genre.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import fft, signal

SAMPLE_RATE = 44_100  # Hz
MAINS = 50  # Hz
KEYS = (55, 67)  # MIDI numbers
STEPS = 16  # per bar of four beats
OWN_WAY = 0.85  # chance that a song takes the option that its artist prefers
SECTION_SECONDS = (3.0, 7.0)
SONG_ODDS = (0.68, 0.26, 0.06)  # verse, chorus, bridge
BREAK = 0.06  # chance that only one part of the song plays in a section
PARTS = ("drums", "bass", "chords", "lead", "texture")
PAN = {"bass": 0.5, "chords": 0.35, "lead": 0.62}  # 0 left, 1 right
LEVELS = {"bass": 0.5, "chords": 0.4, "lead": 0.35, "texture": 0.25}
OCTAVES = {"bass": -24, "chords": 0, "lead": 12}  # semitones from the key around middle C

Option = TypeVar("Option")

# --- Instruments: (frequency in Hz, samples, colour 0..1, rng) -> float32 [samples], peak about 1

Oscillator = Callable[[float, int, float, np.random.Generator], np.ndarray]


def cycles(frequency: float, count: int, vibrato: float = 0.0) -> np.ndarray:
    """Phase in cycles, float64 [count]; `vibrato` is its depth as a share of the frequency."""
    time = np.arange(count) / SAMPLE_RATE
    return frequency * (time - vibrato * np.cos(2 * np.pi * 5.5 * time) / (2 * np.pi * 5.5))


def partials(phase: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Sum of sines at 1, 2, 3, ... times the phase."""
    turns = (2 * np.pi * (phase % 1)).astype(np.float32)
    return sum(level * np.sin(k * turns) for k, level in enumerate(levels, 1)) / sum(levels)


def sine(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    return partials(cycles(frequency, count), (1, 0.3 * colour))


def organ(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    return partials(cycles(frequency, count, 0.002), (1, 0.7, 0.5 * colour, 0.5, 0.2, 0.3 * colour))


def pluck(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """Karplus-Strong: a burst of noise in a delay line that loses its highs."""
    period = max(2, round(SAMPLE_RATE / frequency - 0.5))
    burst = np.zeros(count, np.float32)
    burst[:period] = rng.uniform(-1, 1, min(period, count))
    softness = 0.8 - 0.7 * colour
    loop = np.zeros(period + 2, np.float32)
    loop[0], loop[-2:] = 1, -0.497
    return signal.lfilter(np.float32([1]), loop, signal.lfilter([1 - softness], [1, -softness], burst))


def piano(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """Slightly inharmonic partials, of which the higher ones die sooner."""
    order = np.arange(1, 7, dtype=np.float32)[:, None]
    time = np.arange(count, dtype=np.float32) / SAMPLE_RATE
    stretched = np.float32(frequency) * order * np.sqrt(1 + 4e-4 * order**2)
    tone = np.sin(2 * np.pi * stretched * time) * np.exp(-time * order * (1 + frequency / 300))
    return (tone * order ** (-1.6 + colour)).sum(0) / 2


def saws(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """Five detuned sawtooths, the more apart the higher the colour."""
    detune = 1 + (0.001 + 0.008 * colour) * np.linspace(-1, 1, 5)[:, None]
    phase = rng.random((5, 1)) + detune * cycles(frequency, count)
    return (2 * (phase % 1) - 1).mean(0) * 1.6


def pulse(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(cycles(frequency, count) % 1 < 0.5 - 0.35 * colour, 0.7, -0.7)


def bowed(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    return 2 * (cycles(frequency, count, 0.004 + 0.008 * colour) % 1) - 1


def flute(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    breath = rng.standard_normal(count) * 0.15 * colour
    return partials(cycles(frequency, count, 0.006), (1, 0.35, 0.1)) + breath


def voice(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """A sawtooth with vibrato through two formants of a vowel between 'o' and 'a'."""
    source = bowed(frequency, count, 0.8, rng)
    formants = ((450 + 350 * colour, 4), (900 + 500 * colour, 6), (2700, 8))
    return sum(signal.lfilter(*signal.iirpeak(f, q, SAMPLE_RATE), source) for f, q in formants)


def bell(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """Frequency modulation at an inharmonic ratio, brightest at the stroke."""
    time = np.arange(count) / SAMPLE_RATE
    ratio = (1.41, 2.0, 2.76, 3.5)[int(colour * 3.99)]
    modulator = 4 * np.exp(-3 * time) * np.sin(2 * np.pi * frequency * ratio * time)
    return np.sin(2 * np.pi * frequency * time + modulator)


def power(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """A string and its fifth; meant to be overdriven."""
    root, fifth = (pluck(f, count, 0.9, rng) for f in (frequency, 1.5 * frequency))
    return root + (0.4 + 0.5 * colour) * fifth


@dataclass(frozen=True)
class Patch:
    """An oscillator with its envelope: seconds of attack, seconds to fall by 1/e, low-pass in harmonics."""

    oscillator: Oscillator
    attack: float = 0.005
    decay: float = 30.0
    harmonics: float = 12.0
    drive: float = 0.0


PATCHES = {
    "sub": Patch(sine, decay=0.8),
    "finger bass": Patch(pluck, decay=0.6, harmonics=8),
    "synth bass": Patch(saws, decay=0.35, harmonics=7, drive=1.5),
    "acid bass": Patch(pulse, decay=0.2, harmonics=14, drive=3),
    "drone": Patch(saws, attack=0.4, harmonics=5),
    "nylon": Patch(pluck, decay=0.8, harmonics=14),
    "steel": Patch(pluck, decay=1.2, harmonics=40),
    "crunch": Patch(power, decay=1.5, harmonics=22, drive=4),
    "fuzz": Patch(power, decay=3.0, harmonics=30, drive=14),
    "piano": Patch(piano, harmonics=20),
    "organ": Patch(organ, attack=0.02),
    "pad": Patch(saws, attack=0.35, harmonics=6),
    "supersaw": Patch(saws, attack=0.01, harmonics=30),
    "stab": Patch(saws, decay=0.12, harmonics=16),
    "pulse": Patch(pulse, decay=0.25, harmonics=16),
    "chip": Patch(pulse, attack=0.01, harmonics=20),
    "bell": Patch(bell, decay=0.9, harmonics=20),
    "strings": Patch(bowed, attack=0.15, harmonics=9),
    "fiddle": Patch(bowed, attack=0.06, harmonics=16),
    "flute": Patch(flute, attack=0.05, harmonics=30),
    "voice": Patch(voice, attack=0.05, harmonics=30),
    "whistle": Patch(sine, attack=0.03, harmonics=10),
}


def play(patch: Patch, pitch: float, seconds: float, colour: float, rng: np.random.Generator) -> np.ndarray:
    """One note, float32 [samples]; `pitch` is a MIDI number, with cents after the point."""
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    count = int(seconds * SAMPLE_RATE)
    tone = patch.oscillator(frequency, count, colour, rng)
    tone = band_pass(tone, 20, frequency * patch.harmonics * (0.6 + 0.8 * colour))
    if patch.drive:
        tone = np.tanh(patch.drive * tone)
    time = np.arange(count) / SAMPLE_RATE
    envelope = np.minimum(time / patch.attack, 1) * np.exp(-time / patch.decay)
    release = np.clip((seconds - time) / 0.03, 0, 1)
    return (tone * envelope * release).astype(np.float32)


def band_pass(tone: np.ndarray, low: float, high: float) -> np.ndarray:
    """Second-order Butterworth; frequencies in Hz, `high` is kept below Nyquist."""
    edges = (low, min(high, 0.45 * SAMPLE_RATE))
    return signal.sosfilt(signal.butter(1, edges, "bandpass", fs=SAMPLE_RATE, output="sos"), tone)


# --- Drums


@dataclass(frozen=True)
class Hit:
    """A drum: a sine that sweeps down to `pitch` (Hz) and noise in `band` (Hz), both dying in `decay` (s)."""

    pitch: float
    sweep: float
    decay: float
    noise: float
    band: tuple[float, float]
    level: float = 1.0


HITS = {
    "kick": Hit(52, 3.0, 0.16, 0.05, (1000, 5000)),
    "boom": Hit(44, 1.5, 0.45, 0.02, (1000, 3000)),
    "snare": Hit(185, 0.6, 0.10, 0.7, (900, 9000), 0.8),
    "clap": Hit(900, 0.0, 0.08, 0.97, (800, 4500), 0.7),
    "rim": Hit(820, 0.2, 0.03, 0.4, (1500, 7000), 0.5),
    "hat": Hit(6000, 0.0, 0.03, 1.0, (7000, 16000), 0.35),
    "open": Hit(6000, 0.0, 0.18, 1.0, (6000, 15000), 0.35),
    "shaker": Hit(5000, 0.0, 0.05, 1.0, (4000, 11000), 0.3),
    "brush": Hit(3000, 0.0, 0.12, 1.0, (1500, 7000), 0.3),
    "tom": Hit(95, 0.8, 0.22, 0.15, (400, 3000), 0.8),
    "conga": Hit(230, 0.25, 0.12, 0.12, (800, 4000), 0.6),
    "dum": Hit(85, 0.5, 0.25, 0.1, (300, 1500), 0.9),
    "tek": Hit(640, 0.1, 0.05, 0.5, (2000, 8000), 0.5),
    "metal": Hit(1370, 0.02, 0.5, 0.3, (2500, 12000), 0.4),
    "glitch": Hit(2500, 3.0, 0.02, 0.6, (1000, 15000), 0.5),
    "crash": Hit(5000, 0.0, 0.7, 1.0, (3500, 15000), 0.3),
}

# Each character is a sixteenth; the digit is how hard it is struck, out of 9.
BEATS = {
    "boom bap": {"kick": "9.....7..79.....", "snare": "....9.......9..3", "hat": "7.5.7.5.7.5.7.5."},
    "lazy": {"kick": "9..6......9.....", "rim": "....8.......8...", "hat": "6.646.6.6.6.6464"},
    "trap": {"boom": "9.....8...9..7..", "clap": "........9.......", "hat": "7575757575777757"},
    "four": {"kick": "9...9...9...9...", "clap": "....8.......8...", "open": "..7...7...7...7."},
    "techno": {"kick": "9...9...9...9...", "hat": "5.8.5.8.5.8.5.85", "tek": "...6..6....6..6."},
    "break": {"kick": "9.9.......99....", "snare": "....9..4.4..9..4", "hat": "7.7.7.7.7.7.7.7."},
    "pop": {"kick": "9...9.7.9...9...", "snare": "....9.......9...", "shaker": "6464646464646464"},
    "backbeat": {"kick": "9.......9.9.....", "snare": "....9.......9...", "hat": "8.6.8.6.8.6.8.6."},
    "punk": {"kick": "9.9.9.9.9.9.9.9.", "snare": "..9...9...9...9.", "crash": "9.......7......."},
    "stomp": {"tom": "9..79...9..79...", "snare": "....9.......9..6", "crash": "8..............."},
    "train": {"brush": "6464864664648646", "kick": "7.......7......."},
    "shuffle": {"kick": "8.......8.......", "brush": "6..56..56..56..5", "rim": "....6.......6..."},
    "clave": {"conga": "8..6..8...6.8.66", "rim": "8..8...8..8.8...", "shaker": "6464646464646464"},
    "maqsum": {"dum": "9.......8.......", "tek": "..8...7.....8.5."},
    "tabla": {"dum": "9..6....8.......", "tek": "..6.6477.6647.66", "conga": "....7.....7....."},
    "scatter": {"glitch": "7..3.5.....6.2..", "metal": "5.........4....."},
    "ritual": {"tom": "8..............5", "metal": "......4.......3."},
    "soft": {"kick": "6.......5.......", "rim": "....4.......4...", "shaker": "4.3.4.3.4.3.4.3."},
    "none": {},
}
FILL = {"snare": "........6.67789.", "tom": "............8.99"}


def strike(hit: Hit, tuning: float, rng: np.random.Generator) -> np.ndarray:
    """One stroke, float32 [samples]; `tuning` multiplies pitch and decay."""
    time = np.arange(int(4 * hit.decay * SAMPLE_RATE)) / SAMPLE_RATE
    sweep = hit.sweep * hit.decay / 5 * (1 - np.exp(-5 * time / hit.decay))
    body = np.sin(2 * np.pi * hit.pitch * tuning * (time + sweep))
    noise = band_pass(rng.standard_normal(len(time)), *(edge * tuning**0.5 for edge in hit.band))
    mixed = (1 - hit.noise) * body + hit.noise * noise
    return (hit.level * mixed * np.exp(-time / (hit.decay * tuning))).astype(np.float32)


# --- Textures: (samples, colour 0..1, rng) -> float32 [samples]


def wind(count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * (np.arange(count) / SAMPLE_RATE * 0.3 + rng.random()))
    return swell * band_pass(rng.standard_normal(count), 200 + 400 * colour, 900 + 3000 * colour)


def crackle(count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    clicks = (rng.random(count) < 2e-4 + 6e-4 * colour) * rng.standard_normal(count)
    return 6 * band_pass(clicks, 500, 8000)


def grains(count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """Short tones at random pitches, stitched without a beat."""
    size = int((0.04 + 0.2 * colour) * SAMPLE_RATE)
    pitch = rng.uniform(100, 4000, -(-count // size)).repeat(size)[:count]
    loud = (rng.random(-(-count // size)) ** 2).repeat(size)[:count]
    return loud * np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)


def rumble(count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    beating = cycles(48 + 40 * colour, count)
    return np.tanh(3 * (np.sin(2 * np.pi * beating) + np.sin(2 * np.pi * 1.013 * beating)))


def feedback(count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    tone = np.sin(2 * np.pi * cycles(700 + 1200 * colour, count, 0.004))
    return 0.4 * tone + 0.3 * band_pass(rng.standard_normal(count), 1500, 9000)


TEXTURES = {"wind": wind, "crackle": crackle, "grains": grains, "rumble": rumble, "feedback": feedback}

# --- Harmony

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "hijaz": (0, 1, 4, 5, 7, 8, 10),
    "double harmonic": (0, 1, 4, 5, 7, 8, 11),
    "octatonic": (0, 1, 3, 4, 6, 7, 9),
    "whole tone": (0, 2, 4, 6, 8, 10, 12),
}
AXIS, DOOWOP, FOLK, VAMP, DRONE = (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (0, 6, 5, 6), (0, 0)

# Each character is a sixteenth: a digit plays that tone of the chord, x the whole chord.
LINES = {
    "hold": "x...............",
    "halves": "x.......x.......",
    "strum": "x...x.x...x.x.x.",
    "eighths": "x.x.x.x.x.x.x.x.",
    "offbeat": "..x...x...x...x.",
    "charleston": "x.....x.........",
    "picking": "0.2.1.2.0.2.1.2.",
    "arpeggio": "0123210301232103",
    "pulse": "0.0.0.0.0.0.0.0.",
    "root": "0.......0.......",
    "octave": "..3...3...3...3.",
    "walk": "0...1...2...1...",
    "syncopated": "0..0..0.0..0.2..",
    "tumbao": "......2.....3...",
    "sixteenths": "0030003000300030",
}


@dataclass(frozen=True)
class Genre:
    """What a song of this genre is drawn from, the most typical first; the tempo is in beats per minute."""

    name: str
    tempo: tuple[float, float]
    swing: tuple[float, float]  # delay of off-beat sixteenths, as a share of one
    scales: tuple[str, ...]
    progressions: tuple[tuple[int, ...], ...]  # a scale degree per bar
    beats: tuple[str, ...]
    bass: tuple[tuple[str, ...], tuple[str, ...]]  # patches, lines
    chords: tuple[tuple[str, ...], tuple[str, ...]]
    lead: tuple[str, ...]
    lead_density: float  # chance of a note on each eighth
    textures: tuple[str, ...]
    presence: tuple[float, float, float, float, float]  # chance of drums, bass, chords, lead, texture


GENRES = (
    Genre("Hip-Hop", (78, 104), (0.1, 0.45), ("minor", "dorian"), (VAMP, DRONE, AXIS),
          ("trap", "boom bap", "lazy"), (("sub", "finger bass"), ("syncopated", "root", "tumbao")),
          (("organ", "stab", "piano"), ("charleston", "halves", "offbeat")),
          ("voice", "bell", "pulse"), 0.45, ("crackle", "rumble"), (1.0, 0.95, 0.7, 0.6, 0.6)),
    Genre("Pop", (94, 128), (0.0, 0.15), ("major", "minor"), (AXIS, DOOWOP),
          ("pop", "backbeat", "four"), (("synth bass", "finger bass"), ("pulse", "syncopated", "root")),
          (("pad", "piano", "supersaw"), ("halves", "strum", "hold")),
          ("voice", "chip", "supersaw"), 0.7, ("wind",), (0.95, 0.9, 0.9, 0.95, 0.05)),
    Genre("Folk", (80, 130), (0.0, 0.3), ("major", "dorian", "mixolydian"), (FOLK, AXIS, DOOWOP),
          ("none", "train", "shuffle"), (("finger bass",), ("root", "walk")),
          (("steel", "nylon"), ("picking", "strum", "arpeggio")),
          ("whistle", "fiddle", "voice"), 0.45, ("crackle",), (0.6, 0.45, 1.0, 0.6, 0.15)),
    Genre("Experimental", (60, 140), (0.0, 0.6), ("octatonic", "whole tone", "minor"), (DRONE, VAMP),
          ("scatter", "ritual", "none"), (("drone", "acid bass"), ("root", "sixteenths")),
          (("bell", "pad", "fuzz"), ("hold", "charleston", "arpeggio")),
          ("whistle", "bell", "chip"), 0.3, ("grains", "feedback", "rumble", "wind"),
          (0.65, 0.4, 0.45, 0.4, 1.0)),
    Genre("Rock", (104, 160), (0.0, 0.1), ("minor", "mixolydian", "major"), (AXIS, VAMP, FOLK),
          ("punk", "backbeat", "stomp"), (("finger bass", "synth bass"), ("pulse", "syncopated")),
          (("fuzz", "crunch", "steel"), ("eighths", "strum", "hold")),
          ("fuzz", "voice", "crunch"), 0.5, ("feedback",), (0.95, 0.95, 0.95, 0.5, 0.2)),
    Genre("International", (84, 136), (0.0, 0.25), ("hijaz", "double harmonic", "mixolydian"), (DRONE, FOLK),
          ("clave", "tabla", "maqsum"), (("finger bass", "sub"), ("tumbao", "syncopated")),
          (("nylon", "organ", "strings"), ("offbeat", "arpeggio", "picking")),
          ("flute", "fiddle", "nylon"), 0.75, ("wind",), (0.95, 0.6, 0.65, 0.9, 0.05)),
    Genre("Electronic", (112, 142), (0.0, 0.15), ("minor", "dorian"), (VAMP, DRONE, AXIS),
          ("four", "techno", "break"),
          (("acid bass", "synth bass"), ("sixteenths", "octave", "pulse")),
          (("supersaw", "stab", "pulse"), ("arpeggio", "charleston", "offbeat")),
          ("chip", "pulse", "supersaw"), 0.65, ("wind", "rumble"), (0.95, 0.9, 0.8, 0.6, 0.3)),
    Genre("Instrumental", (60, 96), (0.0, 0.2), ("major", "minor", "dorian"), (AXIS, DOOWOP, VAMP),
          ("none", "soft", "ritual"), (("drone", "finger bass"), ("root", "walk")),
          (("strings", "piano", "pad"), ("hold", "arpeggio", "halves")),
          ("piano", "strings", "flute"), 0.35, ("wind", "rumble"), (0.35, 0.55, 1.0, 0.75, 0.35)),
)  # fmt: skip


@dataclass(frozen=True)
class Artist:
    """A name and a way of producing, the same on all tracks of the artist."""

    name: str
    mono: bool  # releases in mono
    room: float  # reverberation time in seconds
    wet: float  # level of the reverberation
    width: float  # of the stereo image, 0 is mono
    tilt: float  # dB per octave around 1 kHz
    low_cut: float  # Hz
    high_cut: float  # Hz
    hum: float  # level of the mains hum
    hiss: float  # level of the tape hiss
    drive: float  # saturation
    loudness: float  # dB RMS re full scale
    tuning: float  # semitones off concert pitch
    drums: float  # tuning of the kit
    drum_level: float
    colour: float  # of the synthesizers, 0..1
    pace: float  # slow 0 .. 1 fast, within the genre
    taste: dict[str, float]  # for each part, the quantile of the preferred options


# --- Composition


@dataclass(frozen=True)
class Part:
    patch: Patch
    line: str


@dataclass(frozen=True)
class Song:
    """What is settled once for all sections that play this song."""

    genre: Genre
    scale: tuple[int, ...]
    progression: tuple[int, ...]
    beat: dict[str, str]
    swing: float
    bass: Part
    chords: Part
    lead: Patch
    texture: str
    parts: tuple[str, ...]


class Section(NamedTuple):
    song: Song
    start: float  # seconds
    bars: int
    parts: tuple[str, ...]


class Note(NamedTuple):
    start: float  # seconds
    pitch: int  # semitones from the key
    seconds: float
    gain: float


def choose(options: Sequence[Option], quantile: float) -> Option:
    """The option at a quantile in 0..1; the first is the likeliest, the k-th 1/k as likely."""
    weights = np.cumsum(1 / np.arange(1, len(options) + 1))
    return options[int(np.searchsorted(weights / weights[-1], quantile))]


def prefer(options: Sequence[Option], taste: float, rng: np.random.Generator) -> Option:
    """The option at the artist's quantile, or now and then any."""
    usual, other = rng.random() < OWN_WAY, rng.random()
    return choose(options, taste if usual else other)


def draw_song(genre: Genre, artist: Artist, rng: np.random.Generator) -> Song:
    taste = artist.taste
    return Song(
        genre=genre,
        scale=SCALES[choose(genre.scales, rng.random())],
        progression=choose(genre.progressions, rng.random()),
        beat=BEATS[prefer(genre.beats, taste["drums"], rng)],
        swing=rng.uniform(*genre.swing),
        bass=draw_part(*genre.bass, taste["bass"], rng),
        chords=draw_part(*genre.chords, taste["chords"], rng),
        lead=PATCHES[prefer(genre.lead, taste["lead"], rng)],
        texture=prefer(genre.textures, taste["texture"], rng),
        parts=draw_parts(genre, rng),
    )


def draw_part(patches: Sequence[str], lines: Sequence[str], taste: float, rng: np.random.Generator) -> Part:
    return Part(PATCHES[prefer(patches, taste, rng)], LINES[prefer(lines, taste, rng)])


def draw_parts(genre: Genre, rng: np.random.Generator) -> tuple[str, ...]:
    """The parts that a song has, the most typical of the genre always among them."""
    drawn = rng.random(len(PARTS)) < np.array(genre.presence)
    drawn[np.argmax(genre.presence)] = True
    return tuple(part for part, plays in zip(PARTS, drawn, strict=True) if plays)


def draw_sections(songs: Sequence[Song], seconds: float, bar: float, rng: np.random.Generator) -> Iterator[Section]:
    """Sections that fill a track of `seconds`; `bar` is the length of a bar in seconds."""
    start = 0.0
    while start < seconds:
        song = songs[rng.choice(len(songs), p=SONG_ODDS)]
        bars = max(1, round(rng.uniform(*SECTION_SECONDS) / bar))
        break_part = song.parts[rng.integers(len(song.parts))]
        yield Section(song, start, bars, (break_part,) if rng.random() < BREAK else song.parts)
        start += bars * bar


def degree(scale: Sequence[int], index: int) -> int:
    """Semitones of a scale degree, of any octave."""
    octave, step = divmod(index, len(scale))
    return 12 * octave + scale[step]


def step_times(section: Section, bar: float) -> np.ndarray:
    """Start of every sixteenth, float64 [bars, steps], in seconds, with the swing."""
    steps = np.arange(STEPS) + section.song.swing * (np.arange(STEPS) % 2)
    return section.start + bar * (np.arange(section.bars)[:, None] + steps / STEPS)


def line_notes(section: Section, line: str, bar: float) -> Iterator[Note]:
    """The notes of a bass or chord line; each lasts until the next of the line."""
    starts = [step for step, mark in enumerate(line) if mark != "."]
    lengths = np.diff([*starts, STEPS]) * bar / STEPS
    for row, times in enumerate(step_times(section, bar)):
        root = section.song.progression[row % len(section.song.progression)]
        for step, seconds in zip(starts, lengths, strict=True):
            tones = (0, 2, 4) if line[step] == "x" else (2 * int(line[step]),)
            for tone in tones:
                pitch = degree(section.song.scale, root + tone)
                yield Note(times[step], pitch, min(seconds, 3.0), len(tones) ** -0.5)


def lead_notes(section: Section, bar: float, rng: np.random.Generator) -> Iterator[Note]:
    """A melody: a random walk over the scale, repeated with rests."""
    played = rng.random(STEPS // 2) < section.song.genre.lead_density
    walk = np.clip(np.cumsum(rng.integers(-2, 3, STEPS // 2)), -4, 7)
    for times in step_times(section, bar):
        starts = np.flatnonzero(played & (rng.random(STEPS // 2) < 0.9))
        for step, after in itertools.pairwise([*starts, STEPS // 2]):
            seconds = float((after - step) * bar / (STEPS // 2))
            yield Note(times[2 * step], degree(section.song.scale, int(walk[step])), min(seconds, 1.5), 1.0)


def drum_notes(section: Section, bar: float, rng: np.random.Generator) -> Iterator[tuple[str, float, float]]:
    """(hit, start in seconds, gain) of every stroke; some sections end with a fill."""
    times = step_times(section, bar)
    beats = [section.song.beat] * section.bars
    if rng.random() < 0.4 and section.song.beat:
        beats[-1] = section.song.beat | FILL
    for beat, row in zip(beats, times, strict=True):
        for hit, pattern in beat.items():
            for start, mark in zip(row, pattern, strict=True):
                if mark != ".":
                    yield hit, start + rng.normal(0, 0.003), int(mark) / 9 * rng.uniform(0.8, 1)


# --- Rendering


class Mixer:
    """A stereo track, float32 [2, samples], to which an artist adds sounds."""

    def __init__(self, artist: Artist, seconds: float, key: int, rng: np.random.Generator) -> None:
        self.audio = np.zeros((2, int(seconds * SAMPLE_RATE)), np.float32)
        self.artist, self.key, self.rng = artist, key, rng
        self.hits = {name: strike(hit, artist.drums, rng) for name, hit in HITS.items()}
        self.tones: dict[tuple[Patch, float, float], np.ndarray] = {}

    def add(self, sound: np.ndarray, start: float, gain: float, pan: float = 0.5) -> None:
        """Add mono `sound` at `start` seconds; what lies beyond the end is lost."""
        first = max(0, int(start * SAMPLE_RATE))
        sound = sound[: max(0, self.audio.shape[1] - first)]
        for channel, share in enumerate((1 - pan, pan)):
            self.audio[channel, first : first + len(sound)] += np.float32(gain * share) * sound

    def add_section(self, section: Section, bar: float) -> None:
        if "drums" in section.parts:
            for hit, start, gain in drum_notes(section, bar, self.rng):
                self.add(self.hits[hit], start, self.artist.drum_level * gain)
        if "texture" in section.parts:
            texture = render_texture(section, bar, self.artist.colour, self.rng)
            self.add(texture, section.start, LEVELS["texture"])
        for name in (part for part in section.parts if part in OCTAVES):
            patch, notes = score_part(section, name, bar, self.rng)
            for note in notes:
                self.add(self.tone(patch, name, note), note.start, LEVELS[name] * note.gain, PAN[name])

    def tone(self, patch: Patch, part: str, note: Note) -> np.ndarray:
        """The sound of a note, float32 [samples]; one that was heard before is the same again."""
        pitch = self.key + self.artist.tuning + OCTAVES[part] + note.pitch
        heard = (patch, pitch, round(note.seconds, 3))
        if heard not in self.tones:
            self.tones[heard] = play(patch, pitch, note.seconds, self.artist.colour, self.rng)
        return self.tones[heard]


def score_part(section: Section, name: str, bar: float, rng: np.random.Generator) -> tuple[Patch, Iterator[Note]]:
    """The patch and the notes of the bass, the chords or the lead."""
    if name == "lead":
        return section.song.lead, lead_notes(section, bar, rng)
    part = section.song.bass if name == "bass" else section.song.chords
    return part.patch, line_notes(section, part.line, bar)


def render_texture(section: Section, bar: float, colour: float, rng: np.random.Generator) -> np.ndarray:
    """The section's background, float32 [samples], faded in and out."""
    count = int(section.bars * bar * SAMPLE_RATE)
    fade = np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.3 * SAMPLE_RATE)
    sound = TEXTURES[section.song.texture](count, colour, rng)
    return (sound * np.minimum(fade, 1)).astype(np.float32)


# --- Production


def response(artist: Artist, size: int, rng: np.random.Generator) -> np.ndarray:
    """Reverberation and equalizer in one filter, complex64 [2, size // 2 + 1]."""
    time = np.arange(int(artist.room * SAMPLE_RATE)) / SAMPLE_RATE
    decay = np.exp(-6.9 * time / artist.room).astype(np.float32)
    tail = rng.standard_normal((2, len(time)), np.float32) * decay
    tail *= artist.wet / np.linalg.norm(tail, axis=1, keepdims=True)
    tail[:, 0] += 1
    frequency = np.maximum(fft.rfftfreq(size, 1 / SAMPLE_RATE), 1).astype(np.float32)
    gain = 10 ** (artist.tilt * np.log2(frequency / 1000) / 20)
    gain /= np.sqrt((1 + (artist.low_cut / frequency) ** 4) * (1 + (frequency / artist.high_cut) ** 8))
    return fft.rfft(tail, size) * gain.astype(np.float32)


def produce(audio: np.ndarray, artist: Artist, rng: np.random.Generator) -> np.ndarray:
    """The artist's sound over a dry mix; float32 [2, samples] to the same, within -1..1."""
    size = fft.next_fast_len(audio.shape[1] + int(artist.room * SAMPLE_RATE), real=True)
    audio = fft.irfft(fft.rfft(audio, size) * response(artist, size, rng), size)[:, : audio.shape[1]]
    audio = np.tanh(artist.drive * audio / max(float(audio.std()), 1e-6)) / artist.drive
    middle, side = audio.mean(0), artist.width * (audio[0] - audio[1]) / 2
    audio = np.stack([middle + side, middle - side]) + background(artist, audio.shape[1], rng)
    audio *= np.float32(10 ** (artist.loudness / 20) / max(float(audio.std()), 1e-6))
    return np.clip(audio, -0.99, 0.99).astype(np.float32)


def background(artist: Artist, count: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum and tape hiss, float32 [count]."""
    hum = partials(cycles(MAINS, SAMPLE_RATE // MAINS), (1, 0.5, 0.6, 0.2, 0.3))
    hiss = rng.standard_normal(count, np.float32)
    return np.float32(artist.hum) * np.resize(hum, count) + np.float32(artist.hiss) * hiss


def compose(genre: Genre, artist: Artist, track_seed: int, seconds: float = 30.0) -> np.ndarray:
    """A track at `SAMPLE_RATE`, float32 [samples, 2], the same for the same arguments."""
    rng = np.random.default_rng(track_seed)
    slow, fast = genre.tempo
    tempo = slow + (fast - slow) * np.clip(rng.normal(artist.pace, 0.15), 0, 1)
    bar = 4 * 60 / tempo
    guests = [other for other in GENRES if other is not genre]
    guest = guests[rng.integers(len(guests))]
    songs = [draw_song(style, artist, rng) for style in (genre, genre, guest)]
    mixer = Mixer(artist, seconds, int(rng.integers(*KEYS)), rng)
    for section in draw_sections(songs, seconds, bar, rng):
        mixer.add_section(section, bar)
    return produce(mixer.audio, artist, rng).T
