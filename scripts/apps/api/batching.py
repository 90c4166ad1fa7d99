"""Work of many requests at a time: put together where that is faster, in order, and no more than memory allows."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import TypeVar

import numpy as np

Job = TypeVar("Job")
Result = TypeVar("Result")


class Batcher:
    """Calls of one function on single items, in common batches."""

    def __init__(
        self, function: Callable[[np.ndarray], np.ndarray], pool: Executor, max_items: int = 64, max_wait: float = 0.004
    ) -> None:
        """Nothing happens before the first call.

        Parameters
        ----------
        function : [items, ...] -> [items, ...], the result of each item at its place.
        pool : where it is called, one batch after another.
        max_items : of a batch.
        max_wait : seconds that the first item of a batch waits for others.
        """
        self.function, self.pool, self.max_items, self.max_wait = function, pool, max_items, max_wait
        self.queue: asyncio.Queue[tuple[np.ndarray, asyncio.Future[np.ndarray]]] = asyncio.Queue()
        self.worker: asyncio.Task[None] | None = None

    async def __call__(self, items: np.ndarray) -> np.ndarray:
        """[items, ...] -> [items, ...]; raises what the function raises."""
        futures = [asyncio.get_running_loop().create_future() for _ in items]
        for pair in zip(items, futures, strict=True):
            self.queue.put_nowait(pair)
        if self.worker is None or self.worker.done():
            self.worker = asyncio.create_task(self.run())
        return np.stack(await asyncio.gather(*futures))

    async def run(self) -> None:
        """Work until nothing waits."""
        while not self.queue.empty():
            items, futures = zip(*await self.collect(), strict=True)
            try:
                results = await asyncio.get_running_loop().run_in_executor(self.pool, self.function, np.stack(items))
            except Exception as error:
                settle(futures, [error] * len(futures))
            else:
                settle(futures, results)

    async def collect(self) -> list[tuple[np.ndarray, asyncio.Future[np.ndarray]]]:
        """The next batch: full, or what has come `max_wait` seconds after its first item."""
        batch = [await self.queue.get()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.max_wait):
                while len(batch) < self.max_items:
                    batch.append(await self.queue.get())
        return batch


def settle(futures: Iterable[asyncio.Future[np.ndarray]], results: Iterable[np.ndarray | Exception]) -> None:
    """Tell those that still wait."""
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


async def map_ahead(
    function: Callable[[Job], Awaitable[Result]], jobs: Iterable[Job], ahead: int
) -> AsyncGenerator[Result]:
    """Yield `await function(job)` of every job, in their order, with up to `ahead` of them under way."""
    running: deque[asyncio.Future[Result]] = deque()
    try:
        for job in jobs:
            running.append(asyncio.ensure_future(function(job)))
            if len(running) == ahead:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
