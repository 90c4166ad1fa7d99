"""Looks again and again whether a newer version of a model is to take over."""

import asyncio
from collections.abc import Awaitable, Callable

from scripts.common.errors import ProjectError

POLL_SECONDS = 10  # between two looks at the registry


async def poll(refresh: Callable[[], Awaitable[None]], warn: Callable[[str], None]) -> None:
    """Await `refresh()` every `POLL_SECONDS`, without end.

    A registry that cannot be read leaves the models as they are; `warn` is called with the reason when it changes.
    """
    reason = ""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        try:
            await refresh()
            reason = ""
        except (ProjectError, OSError) as error:
            if str(error) != reason:
                warn(f"no look for newer models: {error}")
            reason = str(error)
