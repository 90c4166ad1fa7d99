"""Sounds that people can pick if they have none at hand: a run's own test tracks, else short pieces made here."""

import shutil
from pathlib import Path

import soundfile

from scripts.apps.try_it.neighbours import describe_labels
from scripts.common.errors import ProjectError
from scripts.common.storage import write_aside
from scripts.config.run import Run
from scripts.loading.experiment_data import read_rows
from scripts.reports.tensorboard import said_of
from scripts.utils.demo import make_artist
from scripts.utils.synthesis import GENRES, SAMPLE_RATE, compose

COUNT = 4
SECONDS = 12.0
ARTIST = 10_000  # of none of the demo corpus's tracks


def examples(run: Run, folder: Path) -> dict[str, Path]:
    """What each is called, and its file, written or copied into `folder`, whose name alone the page gives away."""
    folder.mkdir(exist_ok=True)
    found = tracks_of_test_part(run)
    copies = {name: folder / f"{number}{path.suffix}" for number, (name, path) in enumerate(found.items())}
    for name, copy in copies.items():
        shutil.copyfile(found[name], copy)
    return copies or composed(folder)


def tracks_of_test_part(run: Run) -> dict[str, Path]:
    """One test track of each of the first genres, or mixes of labels, whose files are there."""
    experiment = run.experiment()
    try:
        rows = read_rows(experiment)
    except ProjectError:
        return {}
    if experiment.fold or "file_path" not in rows:
        return {}
    there = rows[(rows["split"] == "test") & rows["file_path"].map(lambda path: Path(str(path)).is_file())]
    if "duration_s" in there:
        there = there[there["duration_s"] * experiment.spec.sample_rate > experiment.spec.least_samples]
    said = said_of(rows)
    chosen = there.drop_duplicates(said).head(COUNT)
    return {
        f"test track: {describe_labels(row[said], said)}": Path(row["file_path"]) for row in chosen.to_dict("records")
    }


def composed(folder: Path) -> dict[str, Path]:
    """A piece in the manner of each of the first genres of the demo corpus, by an artist who is not in it."""
    return {f"made here: {genre.name}": compose_into(folder, number) for number, genre in enumerate(GENRES[:COUNT])}


def compose_into(folder: Path, number: int) -> Path:
    genre, path = GENRES[number], folder / f"made here {GENRES[number].name}.wav"
    sound = compose(genre, make_artist(0, ARTIST + number), number, SECONDS)
    with write_aside(path) as temporary:
        soundfile.write(temporary, sound, SAMPLE_RATE, format="WAV")
    return path
