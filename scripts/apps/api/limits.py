"""Limits of what a client may ask the API for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Greatest amounts that a server takes.

    Attributes
    ----------
    upload_mb : size of a request's body, in 10^6 bytes.
    files : number of files in an upload.
    seconds : length of the audio in a file.
    requests : number of requests at a time, half of them of one client; the next ones are asked to come back.
    rate : requests a minute of each client.
    upload_seconds, silence_seconds : time for a body to arrive, and time without a byte of it.
    tracks : number of tracks in a folder, or in a table to evaluate.
    """

    upload_mb: float = 50.0
    files: int = 16
    seconds: float = 600.0
    requests: int = 128
    rate: float = 600.0
    upload_seconds: float = 120.0
    silence_seconds: float = 20.0
    tracks: int = 5000

    @property
    def upload_bytes(self) -> int:
        return round(self.upload_mb * 1e6)
