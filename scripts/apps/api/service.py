"""Trained runs that answer many requests at a time: files are decoded in parallel, forward passes are shared."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.apps.api.batching import Batcher
from scripts.common.parallel import available_cores
from scripts.config.run import Run
from scripts.inference.predictor import Prediction, Predictor
from scripts.inference.registry import version_of
from scripts.inference.windows import Facts

FILES_AT_ONCE = 32  # whose spectrograms are in memory while they wait for a forward pass
WINDOWS_A_STEP = 16  # of a file whose windows are reported one by one


class WorkerPools:
    """The threads of a server: some that decode, and one for all forward passes."""

    def __init__(self) -> None:
        self.decoding = ThreadPoolExecutor(available_cores(), "decoder")
        self.inference = ThreadPoolExecutor(1, "forward")
        self.slots = asyncio.Semaphore(FILES_AT_ONCE)

    def close(self) -> None:
        for pool in (self.decoding, self.inference):
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class Spectrograms(Facts):
    """A file as the network takes it.

    Attributes
    ----------
    values : float16 [windows, (channels,) rows, frames], as a cache holds them; an eighth of the waveforms' size.
    """

    values: np.ndarray


@dataclass(frozen=True)
class LoadedRun:
    """A run in memory; requests call it `name`, and `find_run` gave it for `reference`."""

    name: str
    run: Run
    predictor: Predictor
    reference: str | None = None


class Model:
    """A loaded run at work."""

    def __init__(self, loaded: LoadedRun, pools: WorkerPools, max_windows: int | None = None) -> None:
        """At most `max_windows` share a forward pass; default: as many as the predictor's."""
        self.loaded, self.pools = loaded, pools
        self.name, self.run, self.predictor = loaded.name, loaded.run, loaded.predictor
        self.version = version_of(loaded.run)
        self.batcher = Batcher(self.predictor.forward, pools.inference, max_windows or self.predictor.windows_at_once)

    async def predict(self, path: Path) -> Prediction:
        """Of a whole file; raises an AudioError if it cannot be used."""
        async with self.pools.slots:
            file = await self.in_decoder_pool(self.decode, path)
            return self.predictor.prediction(file, await self.batcher(file.values))

    async def predict_steps(self, path: Path) -> AsyncIterator[tuple[np.ndarray, np.ndarray] | Prediction]:
        """Starts, s [windows], and probabilities [windows, classes], some windows at a time; last the whole file's."""
        async with self.pools.slots:
            file = await self.in_decoder_pool(self.decode, path)
        logits = []
        for first in range(0, len(file.starts), WINDOWS_A_STEP):
            step = slice(first, first + WINDOWS_A_STEP)
            logits.append(await self.batcher(file.values[step]))
            yield file.starts[step], self.predictor.probabilities(logits[-1])[0]
        yield self.predictor.prediction(file, np.concatenate(logits))

    @property
    def window_seconds(self) -> float:
        """How much audio the network takes at a time."""
        return self.predictor.window_samples / self.predictor.experiment.features.spec.sample_rate

    async def in_decoder_pool(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)` in one of the threads that decode."""
        return await asyncio.get_running_loop().run_in_executor(self.pools.decoding, function, *arguments)

    def decode(self, path: Path) -> Spectrograms:
        """Decode a file, and make its spectrograms; raises an AudioError as `Predictor.prepare`."""
        file = self.predictor.prepare(path)
        values = self.predictor.values(file.waveforms)
        return Spectrograms(file.path, file.seconds, file.starts, file.note, values=values)

    async def warm_up(self) -> None:
        """A first pass on silence, which takes longer than the next ones."""
        silence = np.zeros((1, self.predictor.window_samples), np.float32)
        await self.batcher(await self.in_decoder_pool(self.predictor.values, silence))
