"""Sounds that people can pick if they have none at hand: a run's own test tracks, else short pieces made here."""

import shutil
from pathlib import Path

import soundfile

from scripts.apps.try_it.neighbours import describe_labels
from scripts.common.errors import ProjectError
from scripts.common.storage import write_aside
from scripts.config.run import Run
from scripts.loading.experiment_data import read_rows
from scripts.reports.tensorboard import label_column
from scripts.utils.demo import make_artist
from scripts.utils.synthesis import GENRES, SAMPLE_RATE, compose

COUNT = 4
SECONDS = 12.0
ARTIST = 10_000  # of none of the demo corpus's tracks


def examples(run: Run, folder: Path) -> dict[str, Path]:
    """Name -> file, written or copied into `folder`; the page shows no other path."""
    folder.mkdir(exist_ok=True)
    tracks = tracks_of_test_part(run)
    copies = {name: folder / f"{number}{path.suffix}" for number, (name, path) in enumerate(tracks.items())}
    for name, copy in copies.items():
        shutil.copyfile(tracks[name], copy)
    return copies or composed(folder)


def tracks_of_test_part(run: Run) -> dict[str, Path]:
    """One test track of each of the first genres, or mixes of labels, whose files are there."""
    experiment = run.experiment()
    try:
        rows = read_rows(experiment)
    except ProjectError:
        return {}
    if experiment.data.fold or "file_path" not in rows:
        return {}
    there = rows[(rows["split"] == "test") & rows["file_path"].map(lambda path: Path(str(path)).is_file())]
    if "duration_s" in there:
        there = there[there["duration_s"] * experiment.features.spec.sample_rate > experiment.features.spec.min_samples]
    column = label_column(rows)
    chosen = there.drop_duplicates(column).head(COUNT)
    names = [f"test track: {describe_labels(cell, column)}" for cell in chosen[column]]
    return dict(zip(names, map(Path, chosen["file_path"]), strict=True))


def composed(folder: Path) -> dict[str, Path]:
    """A piece in the manner of each of the first genres of the demo corpus, by an artist who is not in it."""
    pieces = {}
    for number, genre in enumerate(GENRES[:COUNT]):
        pieces[f"made here: {genre.name}"] = path = folder / f"made here {genre.name}.wav"
        with write_aside(path) as temporary:
            sound = compose(genre, make_artist(0, ARTIST + number), number, SECONDS)
            soundfile.write(temporary, sound, SAMPLE_RATE, format="WAV")
    return pieces
