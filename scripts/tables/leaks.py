"""What makes the scores of a split too high: tracks, files, artists or sources of mixtures in two of its parts."""

import pandas as pd

from scripts.tables.file_identity import file_keys
from scripts.tables.label_matrix import SEPARATOR
from scripts.tables.label_table import PARTS
from scripts.tables.splits import artist_groups, known_ids


def shared_artists(table: pd.DataFrame) -> float:
    """The share of the test tracks whose artist also has tracks in train."""
    rows = table.drop_duplicates("track_id")
    groups = artist_groups(rows)
    mine = groups[rows["split"] == "test"]
    return float(mine.isin(groups[rows["split"] == "train"]).mean()) if len(mine) else 0.0


def describe_leaks(table: pd.DataFrame, contents: bool = False) -> list[str]:
    """What makes the scores of this split too high, a line for each; empty if nothing is known to.

    Tracks in two parts, files in two parts (under several ids or paths), mixtures in two parts of the same source
    track, and artists of validation or test tracks who are in train as well (Pampalk, Flexer and Widmer, ISMIR 2005;
    Flexer, ISMIR 2007). Unknown artists are no leak: nothing is known about them.

    Parameters
    ----------
    table : with `track_id` and `split`, and with `file_path` and `artist_id` where there are some; a row per
        track or per clip.
    contents : whether files of equal content are one, which reads those of equal size.
    """
    tracks = table.drop_duplicates(["track_id", "split"])
    return [
        *repeated_tracks(tracks),
        *repeated_files(tracks, contents),
        *repeated_artists(tracks),
        *repeated_sources(tracks),
    ]


def repeated_tracks(tracks: pd.DataFrame) -> list[str]:
    return in_two_parts("track", tracks["track_id"].astype(str), tracks["split"])


def repeated_files(tracks: pd.DataFrame, contents: bool = False) -> list[str]:
    if "file_path" not in tracks:
        return []
    once = tracks[tracks["file_path"].notna() & ~tracks["track_id"].duplicated(keep=False)]
    keys = pd.Series(file_keys(once["file_path"], contents), once.index)
    once = once[keys.duplicated(keep=False)]
    first = once["file_path"].groupby(keys).transform("first")
    return in_two_parts("file", first, once["split"])


def in_two_parts(kind: str, names: pd.Series, parts: pd.Series) -> list[str]:
    """One line if a name stands in more than one part."""
    pairs = pd.DataFrame({"name": names.to_numpy(), "part": parts.to_numpy()}).drop_duplicates()
    found = pairs[pairs["name"].duplicated(keep=False)]
    if found.empty:
        return []
    count, name = found["name"].nunique(), found["name"].min()
    where = " and ".join(part for part in PARTS if part in set(found.loc[found["name"] == name, "part"]))
    return [f"{count} {kind}{'s are' if count > 1 else ' is'} in two parts, such as {name} in {where}"]


def repeated_sources(tracks: pd.DataFrame) -> list[str]:
    """Tracks that are in one part and, alone or in mixtures (column `sources`, ids joined by ";"), in another."""
    if "sources" not in tracks:
        return []
    mixed = tracks["sources"].str.split(SEPARATOR)
    names = mixed.where(mixed.notna(), tracks["track_id"].astype(str)).explode()
    return in_two_parts("source", names, tracks["split"].loc[names.index])


def repeated_artists(tracks: pd.DataFrame) -> list[str]:
    """A line for validation and for test if some of their tracks are by an artist in train."""
    artists, lines = known_ids(tracks, "artist_id"), []
    train = artists[tracks["split"] == "train"].dropna()
    for part in PARTS[1:]:
        mine = artists[tracks["split"] == part]
        shared = mine[mine.isin(train)]
        if len(shared):
            lines.append(
                f"{len(shared) / len(mine):.0%} of the {part} tracks ({len(shared)} of {len(mine)}) are by an artist "
                f"who is also in train, such as artist {str(tracks.loc[shared.index[0], 'artist_id']).strip()}"
            )
    return lines
