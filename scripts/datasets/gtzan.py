"""GTZAN: ten genres of a hundred 30 s tracks each, with the artist- and fault-filtered split."""

from pathlib import Path

import pandas as pd

from scripts.common.errors import TableError
from scripts.datasets.contract import Dataset, finish_table
from scripts.datasets.gtzan_split import fault_filtered
from scripts.datasets.tiny import write_tone

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
SUFFIXES = (".wav", ".au")
INDEX = "GTZANindex.txt"
FOLDERS = ("genres", "genres_original", "Data/genres_original", "gtzan_genre/genres", ".")
KNOWN_FAULTS = {
    "jazz.00054": "cannot be read in the release called genres_original",
    "reggae.00086": "distorted",
}


def read_gtzan(root: Path) -> pd.DataFrame:
    """The files of the release (wav or au) in order of track id, such as "blues.00000".

    `split` is the artist- and fault-filtered one, NaN for the tracks it leaves out. Artists are known where Sturm's
    index (`INDEX`) lies in the root. Genres without a file are left out, and the others numbered without them.
    """
    folder = genre_folder(root)
    files = [path for genre in GENRES for path in sorted((folder / genre).glob(f"{genre}.?????.*"))]
    rows = [(path.stem, path.as_posix(), path.parent.name) for path in files if path.suffix.lower() in SUFFIXES]
    table = pd.DataFrame(rows, columns=["track_id", "file_path", "genre"])
    table = table.assign(split=table["track_id"].map(fault_filtered()), artist_id=table["track_id"].map(artists(root)))
    return finish_table(table, folder)


def artists(root: Path) -> dict[str, str]:
    """The artist of each track that Sturm's index names one of; empty without the index.

    B. L. Sturm. An Analysis of the GTZAN Music Genre Dataset. MIRUM, 2012. Lines such as
    `blues.00000.wav ::: John Lee Hooker ::: One Bourbon, One Scotch And One Beer`.
    """
    path = root / INDEX
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    fields = (line.split(":::") for line in lines if not line.startswith("#"))
    return {Path(file.strip()).stem: name.strip() for file, name, *_ in fields if name.strip()}


def genre_folder(root: Path) -> Path:
    """The folder below `root` that holds those of the genres.

    Raises
    ------
    TableError : there is none.
    """
    for folder in (root / name for name in FOLDERS):
        if any((folder / genre).is_dir() for genre in GENRES):
            return folder
    raise TableError(
        f"{root}: not GTZAN, which has folders such as genres/blues; unpack genres.tar.gz there or give another --root"
    )


def make_tiny(root: Path) -> None:
    """The tracks of `tiny_tracks` as wav, and a jazz.00054 that is no audio."""
    for number, track in enumerate(tiny_tracks()):
        genre = track.split(".")[0]
        write_tone(root / "genres" / genre / f"{track}.wav", GENRES.index(genre), number)
    (root / "genres" / "jazz" / "jazz.00054.wav").write_bytes(b"no audio")


def tiny_tracks() -> list[str]:
    """Ids of one track of each genre for each part of the split."""
    return sorted({(track.split(".")[0], part): track for track, part in fault_filtered().items()}.values())


DATASET = Dataset(
    name="gtzan",
    title="GTZAN",
    citation="G. Tzanetakis, P. Cook. Musical Genre Classification of Audio Signals. IEEE Transactions on Speech and "
    "Audio Processing 10(5), 2002. Split: C. Kereliuk, B. L. Sturm, J. Larsen. Deep Learning and Music Adversaries. "
    "IEEE Transactions on Multimedia 17(11), 2015. Faults: B. L. Sturm. The GTZAN Dataset. arXiv:1306.1461, 2013.",
    licence="none: excerpts of commercial recordings without their owners' permission; for research only",
    url="https://huggingface.co/datasets/marsyas/gtzan (data/genres.tar.gz, md5:5b3d6dddb579ab49814ab86dba69e7c7)",
    size="1,000 tracks of 30 s, 1.2 GB; of few artists: 9 in blues and in jazz, 18 in reggae (35 tracks: Bob Marley)",
    root="data/gtzan",
    layout=(
        "genres/blues/blues.00000.wav (or .au; genres may be called genres_original, or be the root itself)",
        "GTZANindex.txt (optional: the artists of 919 tracks, by B. L. Sturm)",
    ),
    reader=read_gtzan,
    make_tiny=make_tiny,
    labels=GENRES,
    known_faults=KNOWN_FAULTS,
)
