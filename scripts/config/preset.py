"""What a named experiment says of itself beside its settings."""

from dataclasses import dataclass

from scripts.config.experiment import Experiment


@dataclass(frozen=True)
class Preset:
    """An experiment and where it stands.

    source : what it comes from, and what is done otherwise.
    reported : the source's own score, with its split.
    measured : the score here, with its split, or why there is none.
    """

    experiment: Experiment
    source: str
    reported: str
    measured: str
