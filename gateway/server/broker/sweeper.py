"""Removes what has expired: entities, and attributes of others, soon after the moment in their ``expiresAt``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.server.broker.service import Broker
from gateway.server.errors import Problem
from gateway.server.outcome import Outcome

log = logging.getLogger(__name__)
PAUSE_S = 1.0  # reads do not show what has expired, so nobody waits for this
AT_ONCE_MAX = 500


class Sweeper:
    """Use ``running`` while the server runs."""

    def __init__(self, broker: Broker, pause_s: float = PAUSE_S) -> None:
        self._broker = broker
        self._pause_s = pause_s

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep until the block ends."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            try:
                yield
            finally:
                task.cancel()

    async def _run(self) -> None:
        failing = False
        while True:
            swept = 0
            with Outcome() as outcome:
                swept = await self._broker.sweep(AT_ONCE_MAX)
            if outcome.error is not None and not failing:  # the storage is behind, full or fails: later again
                trace = None if isinstance(outcome.error, Problem) else outcome.error
                log.warning("what has expired stays for now: %s", outcome.error, exc_info=trace)
            failing = outcome.error is not None
            await asyncio.sleep(0 if swept == AT_ONCE_MAX else self._pause_s)
