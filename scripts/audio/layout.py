"""What lies in the folder of a cache, for those who write it and for those who read it.

<root>/<sample rate>hz_<rows><kind>_<fingerprint>/       such as 44100hz_128mel_23283e5d
    spec.json    every parameter that changes a number, and what decoded the audio
    shards/<generation>-<digest of its tracks>/
        30s.npy      float16 [tracks, rows, frames], dB      (30s and 3s stand for the lengths of the spec)
        3s.npy       float16 [tracks, clips, rows, frames], dB
        tracks.csv   row, track_id, file, size, mtime_ns, seconds, clips, status, reason, decoder
        checksums.json
Spectrograms of several channels have an axis for them before the rows; some kinds are not in dB, as spec.json says.
A shard is there whole or not at all, and never changes. A track whose file has changed has a newer row in a shard of
a later generation, which counts. Caches of earlier versions have the arrays and tracks.csv beside spec.json: that is
one shard, of the earliest generation.
"""

from pathlib import Path

from scripts.audio.spec import MelSpec

USABLE = "ok"
SHARDS, TRACKS = "shards", "tracks.csv"


def array_paths(folder: Path, spec: MelSpec) -> tuple[Path, Path]:
    """The packed tracks and the packed clips."""
    tracks, clips = (f"{seconds:g}s" for seconds in (spec.track_seconds, spec.clip_seconds))
    return folder / f"{tracks}.npy", folder / f"{clips if clips != tracks else clips + '_clips'}.npy"


def array_shapes(spec: MelSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of one track's row in the packed tracks and the packed clips."""
    channels = (spec.channels,) if spec.channels > 1 else ()
    return (*channels, *spec.track_shape), (spec.clips_per_track, *channels, *spec.clip_shape)
