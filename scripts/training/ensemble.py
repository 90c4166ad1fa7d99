"""The ensemble test's buffer: clip logits wait until their track is complete, then become one prediction."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scripts.common.errors import EnsembleError


@dataclass
class EnsembleBuffer:
    """Averages the logits of each track's clips, in whatever order they come.

    Attributes
    ----------
    clips_per_track : number of clips of a whole track, for all tracks, or [tracks] for each one.
    names : what to call a track in errors; default: its number.
    """

    clips_per_track: int | Sequence[int] = 10
    names: Sequence[str] | None = None
    waiting: dict[int, list[np.ndarray]] = field(default_factory=dict, init=False)
    labels: dict[int, np.ndarray] = field(default_factory=dict, init=False)
    means: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    def add(self, logits: np.ndarray, labels: np.ndarray, tracks: np.ndarray) -> None:
        """Take the clips of a batch: logits [batch, classes], labels [batch] or [batch, labels], track
        numbers [batch].

        Raises
        ------
        EnsembleError : clips of one track with different labels, or more clips than the track has.
        """
        for track in np.unique(tracks).tolist():
            mine = tracks == track
            self.check_labels(track, labels[mine])
            self.waiting.setdefault(track, []).extend(logits[mine])
            self.complete(track)

    def check_labels(self, track: int, labels: np.ndarray) -> None:
        known = self.labels.setdefault(track, labels[0])
        if not np.array_equal(labels, np.broadcast_to(known, labels.shape), equal_nan=True):
            classes = np.unique([known, *labels], axis=0).tolist()
            raise EnsembleError(
                f"track {self.name(track)} has clips of the classes {classes}; the clips of a track have the same "
                "labels: correct the table"
            )

    def complete(self, track: int) -> None:
        """Average the track if all of its clips are there."""
        expected, count = self.expected(track), len(self.waiting[track])
        if track in self.means or count > expected:
            raise EnsembleError(
                f"track {self.name(track)} has more than its {expected} clips; is it in the table twice?"
            )
        if count == expected:
            self.means[track] = np.stack(self.waiting.pop(track)).mean(axis=0, dtype=np.float64)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean logits [tracks, classes] and labels [tracks] or [tracks, labels], in order of track number.

        Raises
        ------
        EnsembleError : some tracks are incomplete (the first is named), or there are none.
        """
        if self.waiting:
            track = min(self.waiting)
            raise EnsembleError(
                f"track {self.name(track)} has {len(self.waiting[track])} of {self.expected(track)} clips "
                f"({len(self.waiting)} incomplete tracks in all); test with every clip of every track"
            )
        if not self.means:
            raise EnsembleError("there is no track to score; is this part of the split empty?")
        order = sorted(self.means)
        return np.stack([self.means[track] for track in order]), np.array([self.labels[track] for track in order])

    def expected(self, track: int) -> int:
        return self.clips_per_track if isinstance(self.clips_per_track, int) else int(self.clips_per_track[track])

    def name(self, track: int) -> str:
        return str(track if self.names is None else self.names[track])
