"""Procedural music: instruments, drum patterns, effects, and `compose`, which turns a genre into a track.

A track is a row of sections of a few seconds. Each section plays one of three songs in the same key and
tempo: the verse and the chorus in the track's own genre, and a bridge in a guest genre. A clip from a bridge
misleads about the genre while the whole track does not. The artist's production is laid over everything, so
it tells who made a track and says nothing about the genre.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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

# --- Instruments


class Patch(NamedTuple):
    """An instrument: what swings, seconds of attack, seconds to fall by 1/e, low-pass in harmonics, overdrive."""

    kind: str
    attack: float = 0.005
    decay: float = 30.0
    harmonics: float = 12.0
    drive: float = 0.0


PATCHES = {
    "sub": Patch("sine", decay=0.8), "finger bass": Patch("pluck", decay=0.6, harmonics=8),
    "synth bass": Patch("saws", decay=0.35, harmonics=7, drive=1.5),
    "acid bass": Patch("pulse", decay=0.2, harmonics=14, drive=3), "drone": Patch("saws", attack=0.4, harmonics=5),
    "nylon": Patch("pluck", decay=0.8, harmonics=14), "steel": Patch("pluck", decay=1.2, harmonics=40),
    "crunch": Patch("power", decay=1.5, harmonics=22, drive=4),
    "fuzz": Patch("power", decay=3.0, harmonics=30, drive=14), "piano": Patch("piano", harmonics=20),
    "organ": Patch("organ", attack=0.02), "pad": Patch("saws", attack=0.35, harmonics=6),
    "supersaw": Patch("saws", attack=0.01, harmonics=30), "stab": Patch("saws", decay=0.12, harmonics=16),
    "pulse": Patch("pulse", decay=0.25, harmonics=16), "chip": Patch("pulse", attack=0.01, harmonics=20),
    "bell": Patch("bell", decay=0.9, harmonics=20), "strings": Patch("bowed", attack=0.15, harmonics=9),
    "fiddle": Patch("bowed", attack=0.06, harmonics=16), "flute": Patch("flute", attack=0.05, harmonics=30),
    "voice": Patch("voice", attack=0.05, harmonics=30), "whistle": Patch("sine", attack=0.03, harmonics=10),
}  # fmt: skip


def oscillate(kind: str, frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """The bare tone of an instrument, float [count], peak about 1; `frequency` in Hz, `colour` is 0..1."""
    match kind:
        case "sine":
            return partials(cycles(frequency, count), 1, 0.3 * colour)
        case "organ":
            return partials(cycles(frequency, count, 0.002), 1, 0.7, 0.5 * colour, 0.5, 0.2, 0.3 * colour)
        case "flute":
            breath = rng.standard_normal(count) * 0.15 * colour
            return partials(cycles(frequency, count, 0.006), 1, 0.35, 0.1) + breath
        case "pluck":
            return pluck(frequency, count, colour, rng)
        case "power":  # a string and its fifth, to be overdriven
            root, fifth = (pluck(f, count, 0.9, rng) for f in (frequency, 1.5 * frequency))
            return root + (0.4 + 0.5 * colour) * fifth
        case "piano":  # slightly inharmonic partials, of which the higher ones die sooner
            order = np.arange(1, 7, dtype=np.float32)[:, None]
            time = np.arange(count, dtype=np.float32) / SAMPLE_RATE
            tone = np.sin(2 * np.pi * np.float32(frequency) * order * np.sqrt(1 + 4e-4 * order**2) * time)
            return (tone * np.exp(-time * order * (1 + frequency / 300)) * order ** (-1.6 + colour)).sum(0) / 2
        case "saws":  # five, detuned
            detune = 1 + (0.001 + 0.008 * colour) * np.linspace(-1, 1, 5)[:, None]
            phase = rng.random((5, 1)) + detune * cycles(frequency, count)
            return (2 * (phase - np.floor(phase)) - 1).mean(0) * 1.6
        case "pulse":
            return np.where(cycles(frequency, count) % 1 < 0.5 - 0.35 * colour, 0.7, -0.7)
        case "bowed":
            return 2 * (cycles(frequency, count, 0.004 + 0.008 * colour) % 1) - 1
        case "voice":  # a sawtooth through the formants of a vowel between 'o' and 'a'
            source = oscillate("bowed", frequency, count, 0.8, rng)
            formants = ((450 + 350 * colour, 4), (900 + 500 * colour, 6), (2700, 8))
            return np.sum([signal.lfilter(*signal.iirpeak(f, q, SAMPLE_RATE), source) for f, q in formants], 0)
        case _:  # a bell: frequency modulation at an inharmonic ratio, brightest at the stroke
            time, ratio = np.arange(count) / SAMPLE_RATE, (1.41, 2.0, 2.76, 3.5)[int(colour * 3.99)]
            modulator = 4 * np.exp(-3 * time) * np.sin(2 * np.pi * frequency * ratio * time)
            return np.sin(2 * np.pi * frequency * time + modulator)


def cycles(frequency: float, count: int, vibrato: float = 0.0) -> np.ndarray:
    """Phase in cycles, float64 [count]; `vibrato` is its depth as a share of the frequency."""
    time = np.arange(count) / SAMPLE_RATE
    if vibrato:
        time -= vibrato * np.cos(2 * np.pi * 5.5 * time.astype(np.float32)) / (2 * np.pi * 5.5)
    return frequency * time


def partials(phase: np.ndarray, *levels: float) -> np.ndarray:
    """Sum of sines at 1, 2, 3, ... times the phase, float32."""
    turns = (2 * np.pi * (phase % 1)).astype(np.float32)
    tone = sum((level * np.sin(k * turns) for k, level in enumerate(levels, 1)), np.zeros_like(turns))
    return tone / np.float32(sum(levels))


def pluck(frequency: float, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """Karplus-Strong: a burst of noise in a delay line that loses its highs."""
    period, softness = max(2, round(SAMPLE_RATE / frequency - 0.5)), 0.8 - 0.7 * colour
    line = np.zeros(1 + count, np.float32)
    line[1 : 1 + period] = rng.uniform(-1, 1, min(period, count))
    for start in range(1 + period, 1 + count, period):
        before = line[start - period - 1 : min(start, 1 + count - period)]
        line[start : start + period] = 0.497 * (before[1:] + before[:-1])
    return signal.lfilter([1 - softness], [1, -softness], line[1:])


def play(patch: Patch, pitch: float, seconds: float, colour: float, rng: np.random.Generator) -> np.ndarray:
    """One note, float32 [samples]; `pitch` is a MIDI number, with cents after the point."""
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    time = np.arange(int(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    tone = oscillate(patch.kind, frequency, len(time), colour, rng)
    tone = band_pass(tone, 20, frequency * patch.harmonics * (0.6 + 0.8 * colour)).astype(np.float32)
    if patch.drive:
        tone = np.tanh(patch.drive * tone)
    release = np.clip((seconds - time) / 0.03, 0, 1)
    return tone * release * np.minimum(time / patch.attack, 1) * np.exp(-time / patch.decay)


def band_pass(tone: np.ndarray, low: float, high: float) -> np.ndarray:
    """Second-order Butterworth by the bilinear transform; frequencies in Hz, `high` is kept below Nyquist."""
    low, high = np.tan(np.pi * np.minimum((low, high), 0.45 * SAMPLE_RATE) / SAMPLE_RATE)
    width, middle = high - low, low * high
    return signal.lfilter([width, 0, -width], [1 + middle + width, 2 * (middle - 1), 1 + middle - width], tone)


# --- Drums


class Hit(NamedTuple):
    """A drum: a sine that sweeps down to `pitch` (Hz) and noise in `band` (Hz), both dying in `decay` (s)."""

    pitch: float
    sweep: float
    decay: float
    noise: float
    band: tuple[float, float]
    level: float = 1.0


HITS = {
    "kick": Hit(52, 3.0, 0.16, 0.05, (1000, 5000)), "boom": Hit(44, 1.5, 0.45, 0.02, (1000, 3000)),
    "snare": Hit(185, 0.6, 0.10, 0.7, (900, 9000), 0.8), "clap": Hit(900, 0.0, 0.08, 0.97, (800, 4500), 0.7),
    "rim": Hit(820, 0.2, 0.03, 0.4, (1500, 7000), 0.5), "hat": Hit(6000, 0.0, 0.03, 1.0, (7000, 16000), 0.35),
    "open": Hit(6000, 0.0, 0.18, 1.0, (6000, 15000), 0.35), "shaker": Hit(5000, 0.0, 0.05, 1.0, (4000, 11000), 0.3),
    "brush": Hit(3000, 0.0, 0.12, 1.0, (1500, 7000), 0.3), "tom": Hit(95, 0.8, 0.22, 0.15, (400, 3000), 0.8),
    "conga": Hit(230, 0.25, 0.12, 0.12, (800, 4000), 0.6), "dum": Hit(85, 0.5, 0.25, 0.1, (300, 1500), 0.9),
    "tek": Hit(640, 0.1, 0.05, 0.5, (2000, 8000), 0.5), "metal": Hit(1370, 0.02, 0.5, 0.3, (2500, 12000), 0.4),
    "glitch": Hit(2500, 3.0, 0.02, 0.6, (1000, 15000), 0.5), "crash": Hit(5000, 0.0, 0.7, 1.0, (3500, 15000), 0.3),
}  # fmt: skip

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
    time = np.arange(int(4 * hit.decay * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    sweep = hit.sweep * hit.decay / 5 * (1 - np.exp(-5 / hit.decay * time))
    body = np.sin(2 * np.pi * hit.pitch * tuning * (time + sweep))
    noise = band_pass(rng.standard_normal(len(time)), hit.band[0] * tuning**0.5, hit.band[1] * tuning**0.5)
    mixed = (1 - hit.noise) * body + hit.noise * noise.astype(np.float32)
    return hit.level * mixed * np.exp(-time / (hit.decay * tuning))


# --- Textures


def texture(kind: str, count: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """A background, float [count]; `colour` is 0..1."""
    match kind:
        case "wind":
            swell = 0.6 + 0.4 * np.sin(2 * np.pi * (cycles(0.3, count) + rng.random()))
            return swell * band_pass(rng.standard_normal(count), 200 + 400 * colour, 900 + 3000 * colour)
        case "crackle":
            clicks = (rng.random(count) < 2e-4 + 6e-4 * colour) * rng.standard_normal(count)
            return 6 * band_pass(clicks, 500, 8000)
        case "grains":  # short tones at random pitches, stitched without a beat
            size = int((0.04 + 0.2 * colour) * SAMPLE_RATE)
            pitch, loud = rng.uniform(100, 4000, -(-count // size)), rng.random(-(-count // size)) ** 2
            phase = np.cumsum(pitch.repeat(size)[:count]) / SAMPLE_RATE
            return loud.repeat(size)[:count] * partials(phase, 1)
        case "rumble":
            beating = 2 * np.pi * cycles(48 + 40 * colour, count)
            return np.tanh(3 * (np.sin(beating) + np.sin(1.013 * beating)))
        case _:  # feedback
            tone = partials(cycles(700 + 1200 * colour, count, 0.004), 1)
            return 0.4 * tone + 0.3 * band_pass(rng.standard_normal(count), 1500, 9000)


# --- Harmony, and what a genre is made of

# fmt: off
SCALES = {  # semitones above the key
    "major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10), "hijaz": (0, 1, 4, 5, 7, 8, 10), "double harmonic": (0, 1, 4, 5, 7, 8, 11),
    "octatonic": (0, 1, 3, 4, 6, 7, 9), "whole tone": (0, 2, 4, 6, 8, 10, 12),
}
PROGRESSIONS = {  # a scale degree per bar
    "axis": (0, 4, 5, 3), "doo-wop": (0, 5, 3, 4), "folk": (0, 3, 0, 4), "vamp": (0, 6, 5, 6), "drone": (0, 0),
}
LINES = {  # each character is a sixteenth: a digit plays that tone of the chord, x the whole chord
    "hold": "x...............", "halves": "x.......x.......", "strum": "x...x.x...x.x.x.",
    "eighths": "x.x.x.x.x.x.x.x.", "offbeat": "..x...x...x...x.", "charleston": "x.....x.........",
    "picking": "0.2.1.2.0.2.1.2.", "arpeggio": "0123210301232103", "pulse": "0.0.0.0.0.0.0.0.",
    "root": "0.......0.......", "octave": "..3...3...3...3.", "walk": "0...1...2...1...",
    "syncopated": "0..0..0.0..0.2..", "tumbao": "......2.....3...", "sixteenths": "0030003000300030",
}
# fmt: on


class Genre(NamedTuple):
    """What its songs are drawn from: names separated by commas, the most typical first."""

    name: str
    tempo: tuple[float, float]  # beats per minute
    swing: tuple[float, float]  # delay of off-beat sixteenths, as a share of one
    lead_density: float  # chance of a note on each eighth
    presence: tuple[float, float, float, float, float]  # chance of drums, bass, chords, lead, texture
    scales: str
    progressions: str
    beats: str
    bass: str
    bass_lines: str
    chords: str
    chord_lines: str
    lead: str
    textures: str


GENRES = (
    Genre("Hip-Hop", (78, 104), (0.1, 0.45), 0.45, (1.0, 0.95, 0.7, 0.6, 0.6), "minor, dorian", "vamp, drone, axis",
          "trap, boom bap, lazy", "sub, finger bass", "syncopated, root, tumbao",
          "organ, stab, piano", "charleston, halves, offbeat", "voice, bell, pulse", "crackle, rumble"),
    Genre("Pop", (94, 128), (0.0, 0.15), 0.7, (0.95, 0.9, 0.9, 0.95, 0.05), "major, minor", "axis, doo-wop",
          "pop, backbeat, four", "synth bass, finger bass", "pulse, syncopated, root",
          "pad, piano, supersaw", "halves, strum, hold", "voice, chip, supersaw", "wind"),
    Genre("Folk", (80, 130), (0.0, 0.3), 0.45, (0.6, 0.45, 1.0, 0.6, 0.15), "major, dorian, mixolydian",
          "folk, axis, doo-wop", "none, train, shuffle", "finger bass", "root, walk",
          "steel, nylon", "picking, strum, arpeggio", "whistle, fiddle, voice", "crackle"),
    Genre("Experimental", (60, 140), (0.0, 0.6), 0.3, (0.65, 0.4, 0.45, 0.4, 1.0), "octatonic, whole tone, minor",
          "drone, vamp", "scatter, ritual, none", "drone, acid bass", "root, sixteenths",
          "bell, pad, fuzz", "hold, charleston, arpeggio", "whistle, bell, chip", "grains, feedback, rumble, wind"),
    Genre("Rock", (104, 160), (0.0, 0.1), 0.5, (0.95, 0.95, 0.95, 0.5, 0.2), "minor, mixolydian, major",
          "axis, vamp, folk", "punk, backbeat, stomp", "finger bass, synth bass", "pulse, syncopated",
          "fuzz, crunch, steel", "eighths, strum, hold", "fuzz, voice, crunch", "feedback"),
    Genre("International", (84, 136), (0.0, 0.25), 0.75, (0.95, 0.6, 0.65, 0.9, 0.05),
          "hijaz, double harmonic, mixolydian", "drone, folk", "clave, tabla, maqsum", "finger bass, sub",
          "tumbao, syncopated", "nylon, organ, strings", "offbeat, arpeggio, picking", "flute, fiddle, nylon", "wind"),
    Genre("Electronic", (112, 142), (0.0, 0.15), 0.65, (0.95, 0.9, 0.8, 0.6, 0.3), "minor, dorian",
          "vamp, drone, axis", "four, techno, break", "acid bass, synth bass", "sixteenths, octave, pulse",
          "supersaw, stab, pulse", "arpeggio, charleston, offbeat", "chip, pulse, supersaw", "wind, rumble"),
    Genre("Instrumental", (60, 96), (0.0, 0.2), 0.35, (0.35, 0.55, 1.0, 0.75, 0.35), "major, minor, dorian",
          "axis, doo-wop, vamp", "none, soft, ritual", "drone, finger bass", "root, walk",
          "strings, piano, pad", "hold, arpeggio, halves", "piano, strings, flute", "wind, rumble"),
)  # fmt: skip


class Artist:
    """A name, and a way of producing that is drawn once for all tracks of the artist."""

    def __init__(self, name: str, rng: np.random.Generator) -> None:
        self.name = name
        self.mono = bool(rng.random() < 0.75)  # releases in mono, which takes half the time to encode
        self.room = rng.uniform(0.2, 1.0)  # reverberation time in seconds
        self.wet = rng.uniform(0.02, 0.45)  # level of the reverberation
        self.width = rng.uniform(0.2, 1.4)  # of the stereo image, 0 is mono
        self.tilt = rng.uniform(-1.6, 1.0)  # dB per octave around 1 kHz
        self.low_cut = float(np.exp(rng.uniform(np.log(25), np.log(80))))  # Hz
        self.high_cut = float(np.exp(rng.uniform(np.log(8000), np.log(18000))))  # Hz
        self.hum = max(0.0, rng.uniform(-0.02, 0.02))  # level of the mains hum
        self.hiss = 10 ** rng.uniform(-4, -2.2)  # level of the tape hiss
        self.drive = 10 ** rng.uniform(-0.9, -0.2)  # saturation
        self.loudness = rng.uniform(-22, -12)  # dB RMS re full scale
        self.tuning = rng.uniform(-0.4, 0.4)  # semitones off concert pitch
        self.drums = float(np.exp(rng.uniform(-0.15, 0.15)))  # tuning of the kit
        self.drum_level = 10 ** rng.uniform(-0.2, 0.1)
        self.colour = rng.uniform(0.2, 0.8)  # of the synthesizers, 0..1
        self.pace = rng.random()  # slow 0 .. 1 fast, within the genre
        self.taste = {part: rng.random() for part in PARTS}  # the quantile of the preferred options


# --- Composition


class Song:
    """What is settled once for all sections that play this song."""

    def __init__(self, genre: Genre, artist: Artist, rng: np.random.Generator) -> None:
        def prefer(options: str, part: str) -> str:
            """The option at the artist's quantile, or now and then any."""
            usual, other = rng.random() < OWN_WAY, rng.random()
            return choose(options, artist.taste[part] if usual else other)

        self.scale = SCALES[choose(genre.scales, rng.random())]
        self.progression = PROGRESSIONS[choose(genre.progressions, rng.random())]
        self.beat = BEATS[prefer(genre.beats, "drums")]
        self.swing, self.lead_density = rng.uniform(*genre.swing), genre.lead_density
        bass, bass_line = prefer(genre.bass, "bass"), prefer(genre.bass_lines, "bass")
        chords, chord_line = prefer(genre.chords, "chords"), prefer(genre.chord_lines, "chords")
        self.lines = {"bass": LINES[bass_line], "chords": LINES[chord_line]}
        self.patches = {"bass": bass, "chords": chords, "lead": prefer(genre.lead, "lead")}
        self.texture = prefer(genre.textures, "texture")
        plays = rng.random(len(PARTS)) < np.array(genre.presence)
        plays[np.argmax(genre.presence)] = True  # the most typical part of the genre
        self.parts = list(itertools.compress(PARTS, plays))


def choose(options: str, quantile: float) -> str:
    """The option at a quantile in 0..1; the first is the likeliest, the k-th 1/k as likely."""
    names = options.split(", ")
    weights = np.cumsum(1 / np.arange(1, len(names) + 1))
    return names[int(np.searchsorted(weights / weights[-1], quantile))]


def line_notes(song: Song, part: str, times: np.ndarray, step: float) -> Iterator[tuple[float, int, float, float]]:
    """(start in seconds, degree of the scale, seconds, gain) of each note of the bass or the chords.

    `times` is the start of every sixteenth, float64 [bars, steps], and `step` its length, in seconds.
    """
    line = song.lines[part]
    starts = [place for place, mark in enumerate(line) if mark != "."]
    for bar, root in zip(times, itertools.cycle(song.progression)):
        for place, after in itertools.pairwise([*starts, STEPS]):
            tones = (0, 2, 4) if line[place] == "x" else (2 * int(line[place]),)
            seconds = min((after - place) * step, 3.0)
            for tone in tones:
                yield bar[place], root + tone, seconds, len(tones) ** -0.5


def lead_notes(
    song: Song, times: np.ndarray, step: float, rng: np.random.Generator
) -> Iterator[tuple[float, int, float, float]]:
    """A melody: a random walk over the scale, repeated with rests; otherwise as `line_notes`."""
    played = rng.random(STEPS // 2) < song.lead_density
    walk = np.clip(np.cumsum(rng.integers(-2, 3, STEPS // 2)), -4, 7)
    for bar in times[:, ::2]:
        starts = np.flatnonzero(played & (rng.random(STEPS // 2) < 0.9))
        for place, after in itertools.pairwise([*starts, STEPS // 2]):
            yield bar[place], int(walk[place]), min(2 * (after - place) * step, 1.5), 1.0


# --- Rendering


class Mixer:
    """A stereo track, float32 [2, samples], to which an artist adds sounds."""

    def __init__(self, artist: Artist, seconds: float, key: int, rng: np.random.Generator) -> None:
        self.audio = np.zeros((2, int(seconds * SAMPLE_RATE)), np.float32)
        self.artist, self.key, self.rng = artist, key, rng
        self.hits = {name: strike(hit, artist.drums, rng) for name, hit in HITS.items()}
        self.tones: dict[tuple[str, int, float], np.ndarray] = {}

    def add(self, sound: np.ndarray, start: float, gain: float, pan: float = 0.5) -> None:
        """Add mono `sound` at `start` seconds; what lies beyond the end is lost."""
        first = max(0, int(start * SAMPLE_RATE))
        sound = sound[: max(0, self.audio.shape[1] - first)]
        for channel, share in zip(self.audio, (1 - pan, pan), strict=True):
            channel[first : first + len(sound)] += np.float32(gain * share) * sound

    def add_section(self, song: Song, parts: Sequence[str], times: np.ndarray, step: float) -> None:
        """Add what these parts of the song play; `times` and `step` as in `line_notes`."""
        if "drums" in parts:
            self.add_drums(song.beat, times)
        if "texture" in parts:
            count = int(times.shape[0] * STEPS * step * SAMPLE_RATE)
            fade = np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.3 * SAMPLE_RATE)
            sound = texture(song.texture, count, self.artist.colour, self.rng) * np.minimum(fade, 1)
            self.add(sound.astype(np.float32), times[0, 0], LEVELS["texture"])
        for part in (part for part in parts if part in OCTAVES):
            is_lead = part == "lead"
            notes = lead_notes(song, times, step, self.rng) if is_lead else line_notes(song, part, times, step)
            for start, degree, seconds, gain in notes:
                octave, place = divmod(degree, len(song.scale))
                semitones = OCTAVES[part] + 12 * octave + song.scale[place]
                tone = self.play(song.patches[part], semitones, seconds)
                self.add(tone, start, LEVELS[part] * gain, PAN[part])

    def add_drums(self, beat: dict[str, str], times: np.ndarray) -> None:
        """Add a beat in every bar; some sections end with a fill."""
        beats = [beat] * len(times)
        if self.rng.random() < 0.4 and beat:
            beats[-1] = beat | FILL
        for strokes, bar in zip(beats, times, strict=True):
            for hit, pattern in strokes.items():
                for start, mark in zip(bar, pattern, strict=True):
                    if mark != ".":
                        late, gain = self.rng.normal(0, 0.003), int(mark) / 9 * self.rng.uniform(0.8, 1)
                        self.add(self.hits[hit], start + late, self.artist.drum_level * gain)

    def play(self, patch: str, semitones: int, seconds: float) -> np.ndarray:
        """The sound of a note so far from the key; one that was heard before is the same again."""
        heard = patch, semitones, round(seconds, 3)
        if heard not in self.tones:
            pitch = self.key + self.artist.tuning + semitones
            self.tones[heard] = play(PATCHES[patch], pitch, seconds, self.artist.colour, self.rng)
        return self.tones[heard]


def produce(audio: np.ndarray, artist: Artist, rng: np.random.Generator) -> np.ndarray:
    """The artist's sound over a dry mix; float32 [2, samples] to the same, within -1..1."""
    room, middle = response(artist, rng)
    count = audio.shape[1]
    audio = signal.oaconvolve(audio, room, axes=1)[:, middle : middle + count]
    audio = np.tanh(np.float32(artist.drive / max(float(audio.std()), 1e-6)) * audio) / np.float32(artist.drive)
    audio = ((1 + artist.width) * audio + (1 - artist.width) * audio[::-1]) / 2
    hum = partials(cycles(MAINS, SAMPLE_RATE // MAINS), 1, 0.5, 0.6, 0.2, 0.3)
    audio += artist.hum * np.resize(hum, count) + artist.hiss * rng.standard_normal(count, np.float32)
    audio *= np.float32(10 ** (artist.loudness / 20) / max(float(audio.std()), 1e-6))
    return np.clip(audio, -0.99, 0.99)


def response(artist: Artist, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Reverberation and equalizer in one filter, float32 [2, taps], and which of its taps is at no delay."""
    time = np.arange(int(artist.room * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal((2, len(time)), np.float32) * np.exp(-6.9 * time / artist.room).astype(np.float32)
    tail *= artist.wet / np.linalg.norm(tail, axis=1, keepdims=True)
    tail[:, 0] += 1
    middle = SAMPLE_RATE // 8  # the equalizer rings as long, before and after
    size = fft.next_fast_len(len(time) + 2 * middle, real=True)
    frequency = np.maximum(fft.rfftfreq(size, 1 / SAMPLE_RATE), 1).astype(np.float32)
    gain = (frequency / 1000) ** (artist.tilt / 6.02)
    gain /= np.sqrt((1 + (artist.low_cut / frequency) ** 4) * (1 + (frequency / artist.high_cut) ** 8))
    return np.roll(fft.irfft(fft.rfft(tail, size) * gain, size), middle, axis=1), middle


def compose(genre: Genre, artist: Artist, track_seed: int, seconds: float = 30.0) -> np.ndarray:
    """A track at `SAMPLE_RATE`, float32 [samples, 2], the same for the same arguments."""
    rng = np.random.default_rng(track_seed)
    slow, fast = genre.tempo
    step = 60 / 4 / (slow + (fast - slow) * float(np.clip(rng.normal(artist.pace, 0.15), 0, 1)))
    guests = [other for other in GENRES if other is not genre]
    guest = guests[rng.integers(len(guests))]
    songs = [Song(style, artist, rng) for style in (genre, genre, guest)]
    mixer = Mixer(artist, seconds, int(rng.integers(*KEYS)), rng)
    start = 0.0
    while start < seconds:
        song = songs[rng.choice(len(songs), p=SONG_ODDS)]
        bars = max(1, round(rng.uniform(*SECTION_SECONDS) / (STEPS * step)))
        alone = song.parts[rng.integers(len(song.parts))]
        parts = [alone] if rng.random() < BREAK else song.parts
        steps = np.arange(bars * STEPS).reshape(bars, STEPS) + song.swing * (np.arange(STEPS) % 2)
        mixer.add_section(song, parts, start + step * steps, step)
        start += bars * STEPS * step
    return produce(mixer.audio, artist, rng).T
