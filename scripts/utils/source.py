"""The sounds that the notebook runs on: the demo, FMA-small, or a folder of one's own."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scripts.audio.spec import MelSpec
from scripts.common.errors import ConfigError, TableError
from scripts.config.experiment import Experiment
from scripts.config.experiments import get_experiment
from scripts.utils.demo import make_demo
from scripts.utils.download import download

WHAT_TO_GIVE = 'give "demo", "fma", or a folder with a sub-folder of sounds for each class'
MIN_CLIP, MIN_TRACK = 0.2, 0.1  # seconds: a clip whose spectrogram can be halved four times, and a sound to use at all
EPOCHS = 20  # of one's own sounds, which are few as a rule


@dataclass(frozen=True)
class Source:
    """Where sounds lie, and where what is made of them goes.

    Attributes
    ----------
    name : "demo", "fma" or that of the folder; runs begin with it.
    dataset : what reads the files, one of `DATASETS`.
    root : folder of the sounds.
    data : folder of tables and caches.
    """

    name: str
    dataset: str
    root: Path
    data: Path


def open_source(source: str | Path, tracks_per_genre: int = 20) -> Source:
    """The sounds called `source`; the demo is made, and FMA-small downloaded, unless they are there.

    Parameters
    ----------
    source : "demo", "fma", or a folder with a sub-folder of sounds for each class.
    tracks_per_genre : of the demo.

    Raises
    ------
    ConfigError : there is no such folder.
    """
    if source == "demo":
        folder = make_demo(Path("data/demo"), tracks_per_genre=tracks_per_genre)
        return Source("demo", "fma", folder, folder)
    if source == "fma":
        for archive in ("metadata", "small"):
            download(archive, Path("data"))
        return Source("fma", "fma", Path("data"), Path("data"))
    root = Path(source).expanduser().absolute()
    if not root.is_dir():
        raise ConfigError(f"SOURCE is {str(source)!r}, which is no folder; {WHAT_TO_GIVE}")
    name = re.sub(r"\W+", "_", root.name) or "own"
    return Source(name, "folder", root, Path("data/notebook") / name)


def choose_experiments(source: Source, table: pd.DataFrame) -> tuple[Experiment, ...]:
    """The 4-block CNN on clips, and on whole tracks; of one's own sounds, prints the lengths that suit them.

    Parameters
    ----------
    table : the source's label table.

    Raises
    ------
    ConfigError : the table has one class alone.
    TableError : no file can be read.
    """
    experiments = get_experiment("fma_cnn_3s"), get_experiment("fma_cnn_30s")
    if source.dataset == "fma":
        return tuple(get_experiment(one.name.replace("fma", source.name, 1)) for one in experiments)
    if table["genre"].nunique() < 2:
        raise ConfigError(f"{source.root}: one class, {table['genre'].iloc[0]!r}, leaves no choice; {WHAT_TO_GIVE}")
    if table["duration_s"].isna().all():
        raise TableError(f"{source.root}: none of the {len(table)} files can be read; give others")
    spec, seconds = suitable_spec(table["duration_s"]), table["duration_s"]
    print(
        f"{len(table)} sounds of {seconds.min():.3g} to {seconds.max():.3g} s: of each, the first "
        f"{spec.track_seconds:g} s are taken, in {spec.clips_per_track} clips of {spec.clip_seconds:g} s"
    )
    return tuple(
        one.updated(
            name=f"{source.name}_{unit}",
            table=str(source.data / Path(one.data.table).name),
            cache=str(source.data / "mels"),
            spec=spec,
            epochs=EPOCHS,
        )
        for one, unit in zip(experiments, ("clips", "tracks"), strict=True)
    )


def suitable_spec(seconds: pd.Series) -> MelSpec:
    """The main task's spectrograms, in lengths that suit sounds of so many `seconds` (NaN where one cannot be read).

    A track is as long as nine of ten sounds at most, and no longer than 30 s; a clip half a track, and no longer than
    3 s. Sounds from a tenth of a second on are used, and padded.
    """
    default = MelSpec()
    track = round(min(max(seconds.quantile(0.9, "lower"), MIN_CLIP), default.track_seconds), 2)
    clip = round(min(max(track / 2, MIN_CLIP), default.clip_seconds), 2)
    return MelSpec(track_seconds=track, clip_seconds=clip, min_seconds=MIN_TRACK)
