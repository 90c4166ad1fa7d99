"""The label table -> two metadata files with a split: a row a track, and a row a clip where these are not too many."""

import sys
from pathlib import Path

if __name__ == "__main__":  # as `python -m scripts metadata`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.__main__ import run_file

    run_file("metadata")

import pandas as pd

from scripts.audio.spec import MelSpec
from scripts.common.cli import command
from scripts.common.errors import TableError
from scripts.common.lock import locked
from scripts.common.storage import write_csv
from scripts.tables.label_matrix import label_matrix, label_names
from scripts.tables.label_table import (
    COLUMNS,
    LABELS,
    NEEDED_TO_CACHE,
    PARTS,
    check_columns,
    class_names,
    describe_similar,
    read_table,
)
from scripts.tables.leaks import describe_leaks, shared_artists
from scripts.tables.splits import assign, default_split, fingerprint, known_ids
from scripts.utils import flags

CLIPS = MelSpec().clips_per_track
MANY_TRACKS = 25_000  # beyond which rows per clip are written only if asked for


def write_metadata(
    source: Path, output: Path, full_output: Path, split: str | None = None, seed: int = 0, clips: int | None = None
) -> pd.DataFrame:
    """Split the label table and write both metadata files; returns the one with a row a track.

    Tracks that an official split leaves out are left out here too, and counted on screen, as leaks are.

    Parameters
    ----------
    source : the label table.
    output : CSV with each row of `full_output` `clips` times, numbered 1, 2, ... in the column `clip`; or each once,
        with the number of its clips in the column `clips`.
    full_output : CSV with a row per track, in random order.
    split : one of `SPLITS`; default: what `default_split` chooses, which is printed with the reason.
    seed : of the split and of the order of rows.
    clips : rows a track in `output`; default: 10 up to `MANY_TRACKS` tracks, and else each once. A loader takes both.

    Raises
    ------
    TableError : the label table is missing or wrong, has a track twice, or cannot be split so.
    """
    table = read_label_table(source)
    if table["track_id"].duplicated().any():
        raise TableError(
            f"{source}: track {table.loc[table['track_id'].duplicated(), 'track_id'].iloc[0]} stands twice"
        )
    if split is None:
        split, reason = default_split(table)
        print(f"--split {split}, since {reason}")
    tracks = assign(table, split, seed).sample(frac=1, random_state=seed, ignore_index=True)
    with locked(output, wait=True):  # both by one process
        write_csv(full_output, tracks)
        if clips is None and len(tracks) > MANY_TRACKS:
            print(f"{output}: a row a track, since they are over {MANY_TRACKS:,}; --clips {CLIPS} writes a row a clip")
            write_csv(output, tracks.assign(clips=CLIPS))
        else:
            write_csv(output, repeat_clips(tracks, clips or CLIPS))
    print(describe_split(split, tracks, len(table) - len(tracks)))
    return tracks


def read_label_table(source: Path) -> pd.DataFrame:
    """The label table with the columns of its task and the optional ones that it has; raises TableError."""
    table = read_table(source, NEEDED_TO_CACHE)
    task = "multi_label" if "labels" in table else "single_label"
    check_columns(source, table, {*NEEDED_TO_CACHE, *LABELS[task]})
    if task == "single_label":
        class_names(table)
    else:
        label_matrix(table, label_names(table), source)
    further = (name for name in ("fold", "absent", "sources", "genre") if name in table and name not in COLUMNS[task])
    return table.reindex(columns=[*COLUMNS[task], *further])


def describe_split(name: str, tracks: pd.DataFrame, left_out: int) -> str:
    """Sizes and fingerprint in one line, what was left out, and a line for each leak and for labels that look alike."""
    sizes = ", ".join(f"{(tracks['split'] == part).sum()} {part}" for part in PARTS)
    known = f"{shared_artists(tracks):.0%} of the test tracks are by an artist in train"
    if known_ids(tracks, "artist_id").isna().all():
        known = "artists unknown"
    lines = [f"split {name} {fingerprint(tracks)}: {sizes} tracks; {known}"]
    if left_out:
        lines.append(f"{left_out} tracks left out: the {name} split does not have them")
    names = label_names(tracks) if "labels" in tracks else tracks["genre"].unique()
    leaks = [f"leak: {leak}" for leak in describe_leaks(tracks, contents=True)]
    return "\n".join([*lines, *leaks, *describe_similar(names)])


def repeat_clips(tracks: pd.DataFrame, clips: int) -> pd.DataFrame:
    """Each row `clips` times, one after another, numbered 1 to `clips` in the column `clip`."""
    rows = tracks.loc[tracks.index.repeat(clips)].reset_index(drop=True)
    rows.insert(1, "clip", list(range(1, clips + 1)) * len(tracks))
    return rows


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.metadata(argv)
    write_metadata(args.input, args.output, args.full_output, args.split, args.seed, args.clips)
