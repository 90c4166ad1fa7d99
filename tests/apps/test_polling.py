"""A look for newer models that goes on whatever the registry answers."""

import asyncio

import pytest

from scripts.apps import polling
from scripts.common.errors import ConfigError


def test_it_goes_on_where_a_registry_fails_and_warns_once_of_each_reason(monkeypatch):
    monkeypatch.setattr(polling, "POLL_SECONDS", 0)
    reasons = ["no network", "no network", "damaged", None, "damaged"]
    answers = iter([reason and ConfigError(reason) for reason in reasons] + [EOFError()])
    warnings = []

    async def refresh() -> None:
        if answer := next(answers):
            raise answer

    with pytest.raises(EOFError):
        asyncio.run(polling.poll(refresh, warnings.append))
    assert warnings == [f"no look for newer models: {reason}" for reason in ("no network", "damaged", "damaged")]
