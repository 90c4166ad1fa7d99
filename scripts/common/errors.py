"""What a user can get wrong. Commands show each of these as one line and exit with code 2."""

from pathlib import Path


class ProjectError(Exception):
    """Base of all errors whose message is meant for the user: what was given, what is allowed, what to do."""


class AudioError(ProjectError):
    """An audio file that cannot be used.

    `status` is one word for tables ("unreadable", "missing", ...); `reason` says it in a few words.
    """

    def __init__(self, path: str | Path, status: str, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path, self.status, self.reason, self.remedy = str(path), status, reason, remedy

    def __reduce__(self) -> tuple[type["AudioError"], tuple[str, ...]]:
        return type(self), (self.path, self.status, self.reason, self.remedy)


class TableError(ProjectError):
    """A label table or metadata file that is missing, lacks a column or holds a wrong value."""


class CacheError(ProjectError):
    """A cache that is missing, unfinished or made with other parameters."""


class ConfigError(ProjectError):
    """An unknown name or a value that is not allowed in a flag or an experiment."""


class CheckpointError(ProjectError):
    """A checkpoint that is missing, damaged or made by something else."""


class EnsembleError(ProjectError):
    """Clips that do not add up to whole tracks."""


class TrainingError(ProjectError):
    """Training that cannot go on, such as a loss that is not a number."""


class ClusterError(ProjectError):
    """A cluster that cannot be joined, or whose machines lack something that the work needs."""


class DownloadError(ProjectError):
    """An archive that cannot be fetched, is not the official one, or cannot be unpacked."""


class BusyError(ProjectError):
    """A file or folder that another process is writing."""
