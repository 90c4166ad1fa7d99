"""Classical features of every track, or of every clip, as one table for `scripts.baselines.classical`."""

import functools
import hashlib
import itertools
import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import librosa
import numpy as np
import pandas as pd
import scipy.stats
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter
from scipy.signal import welch
from tqdm import tqdm

from scripts.audio.build_cache import file_identity
from scripts.audio.decoding import check_silence, decode, decoder_version, fit_length, resample, slice_clips
from scripts.audio.features import FLOOR_POWER, LogMel
from scripts.audio.spec import MelSpec
from scripts.baselines import flags
from scripts.common.cli import command, pick
from scripts.common.errors import AudioError, ConfigError, TableError
from scripts.common.journal import appending, whole_lines
from scripts.common.lock import locked
from scripts.common.parallel import parallel_map
from scripts.common.storage import write_csv, write_text
from scripts.tables.label_table import NEEDED_TO_CACHE, read_table

SAMPLE_RATE = 22_050  # Hz, of all sets but "recording"
FULL_RATE = 44_100  # Hz, of "recording"
CLIP_SECONDS = MelSpec().clip_seconds
SHORTEST = 4096 / SAMPLE_RATE  # seconds: a few frames of librosa's default length
MEDIAN_FRAMES = 31  # of the harmonic-percussive separation, librosa's default
ORDER = 3  # neighbouring samples that the entropies of the waveform compare
LAGS = 1, 4  # frames, 23 and 93 ms, between which a band's change is measured
EDGES = {
    "rumble": (0, 15, 30, 45, 60),
    "top": (*range(10_000, 22_000, 1000), FULL_RATE // 2),
    "quiet": (0, 30, 60, 250, 1000, 4000, 8000, 12_000),
}  # Hz, of bands
QUIET_SHARE = 0.1  # of the frames


# --- one waveform -------------------------------------------------------------------------------------------


def describe_waveform(waveform: np.ndarray, sample_rate: int, which: str = "gtzan57") -> dict[str, float]:
    """One number per descriptor of a waveform, in the order of the set.

    Parameters
    ----------
    waveform : float32 [samples], mono, between -1 and 1; at least 0.19 s.
    sample_rate : of the waveform, in Hz; it is brought to that of the set first.
    which : one of `DESCRIPTOR_SETS`: "gtzan57", "irmas28", "mel_statistics" or "recording".

    Returns
    -------
    Descriptor -> value, all finite: what silence leaves undefined (0/0) is 0.

    Raises
    ------
    ConfigError : an unknown set, or a waveform that is too short.
    """
    describe, rate = DESCRIPTOR_SETS[pick("descriptor set", which, DESCRIPTOR_SETS)]
    waveform = resample(np.asarray(waveform, np.float32), sample_rate, rate)
    if len(waveform) < SHORTEST * rate:
        raise ConfigError(f"{len(waveform) / rate:.2f} s of sound; descriptors need at least {SHORTEST:.2f} s")
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings(action="ignore"):
        values = describe(waveform)
    return {name: float(np.nan_to_num(value)) + 0.0 for name, value in values.items()}


def gtzan57(waveform: np.ndarray) -> dict[str, float]:
    """The 57 columns of the public GTZAN feature table (A. Olteanu, Kaggle, 2020), in its order.

    Mean and variance over frames of librosa's features (McFee et al., SciPy 2015) with their defaults of that
    time: 2048 samples every 512, mirrored at both ends. "harmony" and "perceptr" are mean and variance of the
    samples of the harmonic and the percussive part (Fitzgerald, DAFx 2010), "tempo" is in beats per minute.
    """
    spectrum = librosa.stft(waveform, pad_mode="reflect")
    magnitude = np.abs(spectrum)
    power = magnitude**2
    mel = librosa.power_to_db(librosa.feature.melspectrogram(S=power, sr=SAMPLE_RATE))
    harmonic, percussive = separate(spectrum, magnitude, len(waveform))
    series = {
        "chroma_stft": librosa.feature.chroma_stft(S=power, sr=SAMPLE_RATE),
        "rms": librosa.feature.rms(y=waveform, pad_mode="reflect"),
        "spectral_centroid": librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE),
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(S=magnitude, sr=SAMPLE_RATE),
        "rolloff": librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(waveform),
        "harmony": harmonic,
        "perceptr": percussive,
    }
    cepstrum = librosa.feature.mfcc(S=mel, n_mfcc=20)
    mfcc = {f"mfcc{number}": row for number, row in enumerate(cepstrum, start=1)}
    return mean_and_variance(series) | {"tempo": tempo(mel)} | mean_and_variance(mfcc)


def mean_and_variance(series: dict[str, np.ndarray]) -> dict[str, float]:
    """<name>_mean and <name>_var of each series, over all of its values."""
    statistics: dict[str, Callable[[np.ndarray], float]] = {"mean": np.mean, "var": np.var}
    return {f"{name}_{kind}": f(values) for name, values in series.items() for kind, f in statistics.items()}


def separate(spectrum: np.ndarray, magnitude: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The harmonic and the percussive waveform [samples] of a spectrum [bins, frames]; both end in zeros.

    As librosa's `decompose.hpss`, but row by row, for which SciPy has a median five times as fast.
    """
    across_time = np.stack([smooth(row) for row in magnitude])
    across_frequency = np.stack([smooth(row) for row in np.ascontiguousarray(magnitude.T)]).T
    harmonic = librosa.util.softmask(across_time, across_frequency, power=2, split_zeros=True)
    percussive = librosa.util.softmask(across_frequency, across_time, power=2, split_zeros=True)
    harmonic, percussive = (fit_length(librosa.istft(spectrum * mask), samples) for mask in (harmonic, percussive))
    return harmonic, percussive


smooth = functools.partial(median_filter, size=MEDIAN_FRAMES, mode="reflect")


def tempo(mel: np.ndarray) -> float:
    """Beats per minute of a log-mel [mels, frames]: librosa's estimate within `beat_track`, without the beats."""
    onsets = librosa.onset.onset_strength(S=mel, sr=SAMPLE_RATE, aggregate=np.median)
    return librosa.feature.tempo(onset_envelope=onsets, sr=SAMPLE_RATE)[0] if onsets.any() else 0.0


def irmas28(waveform: np.ndarray) -> dict[str, float]:
    """28 descriptors for the SVM on the 3 s clips of IRMAS: spectrum, entropies and Hjorth's parameters.

    The whole waveform is a single frame under a Hann window, so each is one number. Spectral contrast: Jiang et al.
    (ICME 2002); permutation entropy: Bandt and Pompe (Physical Review Letters, 2002); mobility and complexity:
    Hjorth (Electroencephalography and Clinical Neurophysiology, 1970). Entropies lie between 0 and 1.
    """
    length = len(waveform)
    frame: dict[str, Any] = {"frame_length": length, "hop_length": length, "center": False}
    magnitude = np.abs(librosa.stft(waveform, n_fft=length, hop_length=length, center=False))
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=SAMPLE_RATE, n_fft=length)
    spectral = {"S": magnitude, "sr": SAMPLE_RATE, "n_fft": length}
    mobility, complexity = hjorth(waveform)
    return {
        **numbered("mfcc", librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=10)),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(waveform, **frame).item(),
        "rms": librosa.feature.rms(y=waveform, **frame).item(),
        "rolloff": librosa.feature.spectral_rolloff(**spectral).item(),
        "spectral_centroid": librosa.feature.spectral_centroid(**spectral).item(),
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(**spectral).item(),
        **numbered("contrast", librosa.feature.spectral_contrast(**spectral)),
        "flatness": librosa.feature.spectral_flatness(S=magnitude).item(),
        "permutation_entropy": entropy(ordinal_counts(waveform)),
        "spectral_entropy": entropy(welch(waveform, SAMPLE_RATE)[1]),
        "svd_entropy": entropy(np.linalg.svd(sliding_window_view(waveform, ORDER), compute_uv=False)),
        "hjorth_mobility": mobility,
        "hjorth_complexity": complexity,
    }


def numbered(name: str, values: np.ndarray) -> dict[str, float]:
    return {f"{name}{number}": value for number, value in enumerate(np.ravel(values), start=1)}


def entropy(weights: np.ndarray) -> float:
    """Shannon's entropy of weights >= 0, as a share of the largest one possible."""
    return scipy.stats.entropy(weights) / np.log(len(weights))


def ordinal_counts(waveform: np.ndarray) -> np.ndarray:
    """How often each order of neighbouring samples occurs: int64 [6] for the orders of three."""
    orders = np.argsort(sliding_window_view(waveform, ORDER), axis=1, kind="stable")
    codes = orders @ ORDER ** np.arange(ORDER)
    possible = [np.dot(order, ORDER ** np.arange(ORDER)) for order in itertools.permutations(range(ORDER))]
    return np.bincount(codes, minlength=ORDER**ORDER)[possible]


def hjorth(waveform: np.ndarray) -> tuple[float, float]:
    """Mobility and complexity: the spread of the slope, and of the slope's slope, relative to the one before."""
    spreads = np.array([np.std(np.diff(waveform.astype(float), n)) for n in range(3)])
    mobility, change = spreads[1:] / spreads[:-1]
    return mobility, change / mobility


def mel_statistics(waveform: np.ndarray) -> dict[str, float]:
    """How the 128 bands of the log-mel and its 20 MFCCs are spread and move: 148 x 4 numbers.

    The spectrogram is that of the networks at 22,050 Hz, less its mean, so that the level does not count. For each row:
    mean and standard deviation over frames, and the standard deviation of the change within one frame (23 ms) and
    within four (93 ms). Made for --clips and "lda".
    """
    mel = log_mel()(waveform)
    mel -= mel.mean()
    rows = np.concatenate([mel, librosa.feature.mfcc(S=mel, n_mfcc=20)])
    names = [*(f"mel{band}" for band in range(1, len(mel) + 1)), *(f"mfcc{number}" for number in range(1, 21))]
    statistics = {"mean": rows.mean(axis=1), "sd": rows.std(axis=1)}
    for lag in LAGS:
        statistics[f"change{lag}_sd"] = np.std(rows[:, lag:] - rows[:, :-lag], axis=1)
    return {f"{name}_{kind}": values[row] for row, name in enumerate(names) for kind, values in statistics.items()}


@functools.cache
def log_mel() -> LogMel:
    return LogMel(MelSpec(sample_rate=SAMPLE_RATE))


def recording(waveform: np.ndarray) -> dict[str, float]:
    """What tells of a recording session rather than of its sounds: rumble, the top of the spectrum, quiet frames.

    The power in bands below 60 Hz and above 10 kHz relative to all of it, and the power in bands of the quietest tenth
    of the frames, in dB. Labels that can be told by these alone are told by rooms, microphones, hum and what a codec
    has cut off: an MP3 of 64 kbit/s ends at 16 kHz or below.
    """
    length = 8192
    power = np.abs(librosa.stft(waveform, n_fft=length, hop_length=length // 2, center=False)) ** 2
    loudness = power.sum(axis=0)
    quiet = power[:, loudness <= np.quantile(loudness, QUIET_SHARE)].mean(axis=1)
    relative = power.mean(axis=1) / loudness.mean()
    spectra = {"rumble": relative, "top": relative, "quiet": quiet}
    frequency = librosa.fft_frequencies(sr=FULL_RATE, n_fft=length)
    return {
        f"{name}_{low}_hz": 10 * np.log10(spectra[name][(low <= frequency) & (frequency < high)].mean() + FLOOR_POWER)
        for name, edges in EDGES.items()
        for low, high in itertools.pairwise(edges)
    }


class DescriptorSet(NamedTuple):
    """A function of a waveform float32 [samples], and the sample rate in Hz that it takes."""

    describe: Callable[[np.ndarray], dict[str, float]]
    rate: int = SAMPLE_RATE


DESCRIPTOR_SETS = {
    "gtzan57": DescriptorSet(gtzan57),
    "irmas28": DescriptorSet(irmas28),
    "mel_statistics": DescriptorSet(mel_statistics),
    "recording": DescriptorSet(recording, FULL_RATE),
}


# --- all tracks ---------------------------------------------------------------------------------------------


class Settings(NamedTuple):
    """What is made of each track: a descriptor set, of its clips or of the whole, from so many seconds on."""

    which: str
    clips: bool
    min_seconds: float


def describe_tracks(
    table: pd.DataFrame,
    output: Path,
    which: str = "gtzan57",
    clips: bool = False,
    workers: int | None = None,
    min_seconds: float = 3.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Describe every file of a table, and write both results; a journal beside `output` keeps what is finished.

    Parameters
    ----------
    table : with the columns `track_id` and `file_path`.
    output : CSV of the descriptors; the tracks that are left out go beside it.
    which : one of `DESCRIPTOR_SETS`.
    clips : a row for each whole clip of 3 s, numbered 1, 2, ... in the column `clip`, instead of one per track.
    workers : processes; None takes all cores.
    min_seconds : a shorter track is left out; one that is no clip long is described as a whole.

    Returns
    -------
    The descriptors (`track_id`, perhaps `clip`, one column each), in the order of the table, and the tracks that are
    left out with their `status` and `reason`.

    Raises
    ------
    ConfigError : an unknown set, or `min_seconds` too few to be described.
    TableError : no file of the table can be used.
    BusyError : another process is writing `output`.
    """
    settings = Settings(pick("descriptor set", which, DESCRIPTOR_SETS), clips, min_seconds)
    if min_seconds < SHORTEST:
        raise ConfigError(f"min_seconds is {min_seconds}; descriptors need at least {SHORTEST:.2f} s")
    with locked(output):
        return describe_locked(table, output, settings, workers)


def describe_locked(
    table: pd.DataFrame, output: Path, settings: Settings, workers: int | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As `describe_tracks`, while `output` is locked."""
    tracks = table[["track_id", "file_path"]].astype(str).drop_duplicates("track_id", ignore_index=True)
    journal = output.with_name(f".{output.name}.journal")
    done = resume(journal, describe_plan(tracks, settings))
    jobs = [(row, path, settings) for row, path in enumerate(tracks["file_path"]) if row not in done]
    with appending(journal) as append:
        results = parallel_map(describe_file, jobs, workers)
        results = tqdm(results, "describing", len(tracks), initial=len(done), disable=None)
        for record in results:
            append(json.dumps(record) + "\n")
            done[record["row"]] = record
    described, left_out = collect(tracks, [done[row] for row in range(len(tracks))], settings.clips)
    write_csv(left_out_path(output), left_out)
    journal.unlink()
    if described.empty:
        raise TableError(f"none of the {len(tracks)} tracks can be described; see {left_out_path(output)} for why")
    write_csv(output, described)
    return described, left_out


def describe_file(job: tuple[int, str, Settings]) -> dict[str, Any]:
    """The record of one (row, path, settings): its rows of descriptors, or why there are none."""
    row, path, (which, clips, min_seconds) = job
    record, rate = {"row": row, "status": "ok", "reason": "", "values": []}, DESCRIPTOR_SETS[which].rate
    clip_samples = round(CLIP_SECONDS * rate)
    try:
        waveform = decode(path, rate)
        if len(waveform) < round(min_seconds * rate):
            return record | {"status": "short", "reason": f"less than {min_seconds:g} s"}
        check_silence(path, waveform)
    except AudioError as error:
        return record | {"status": error.status, "reason": error.reason}
    pieces = slice_clips(waveform, clip_samples) if clips and len(waveform) >= clip_samples else [waveform]
    return record | {"values": [describe_waveform(piece, rate, which) for piece in pieces]}


def describe_plan(tracks: pd.DataFrame, settings: Settings) -> str:
    """One line that differs whenever a result may: the set, the files as they are now, and what decodes them."""
    files = [(track, *file_identity(path)) for track, path in tracks.itertuples(index=False)]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    versions = f"{decoder_version()}, librosa {version('librosa')}"
    return json.dumps({"settings": settings, "edges": EDGES, "files": digest, "versions": versions})


def resume(journal: Path, plan: str) -> dict[int, dict[str, Any]]:
    """The finished records of a journal by row; one of another plan, or none, is begun anew."""
    first, *records = whole_lines(journal).splitlines() or [""]
    if first != plan:
        write_text(journal, plan + "\n")
        records = []
    return {record["row"]: record for record in map(json.loads, records)}


def collect(tracks: pd.DataFrame, records: list[dict[str, Any]], clips: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of described and of left-out tracks, from one record per track."""
    rows = [
        {"track_id": track, **({"clip": clip} if clips else {}), **values}
        for track, record in zip(tracks["track_id"], records, strict=True)
        for clip, values in enumerate(record["values"], start=1)
    ]
    outcome = pd.DataFrame(records)[["status", "reason"]]
    return pd.DataFrame(rows), tracks.join(outcome)[outcome["status"] != "ok"].reset_index(drop=True)


def left_out_path(output: Path) -> Path:
    return output.with_name(f"{output.stem}_left_out.csv")


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.descriptors(argv)
    described, left_out = describe_tracks(
        read_table(args.csv, NEEDED_TO_CACHE), args.output, args.set, args.clips, args.workers, args.min_seconds
    )
    for status, rows in left_out.groupby("status"):
        print(f"left out: {len(rows)} {status}, such as {rows['file_path'].iloc[0]}: {rows['reason'].iloc[0]}")
    print(f"{args.output}: {len(described)} rows of {described['track_id'].nunique()} tracks; {len(left_out)} left out")
