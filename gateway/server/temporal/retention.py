"""Removes history that is older than the operator wants it, a portion at a time: writes hardly wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from gateway.server.errors import Problem
from gateway.server.storage.base import Storage, Writer

log = logging.getLogger(__name__)
DAY_US = 86_400_000_000
LOOK_S = 600.0  # nobody sees the difference of some minutes in days
PAUSE_S = 10.0  # longer than the storage may take to put what was written where ``aged`` finds it
ENTITIES_AT_ONCE = 500
YEAR_2020_US = 1_577_836_800_000_000  # a clock that says less is not set yet, and one that jumped must not delete all


class Retention:
    """Use ``running`` while the server runs. ``days`` None keeps all."""

    def __init__(self, storage: Storage, days: int | None, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._storage = storage
        self._days = days
        self._clock_ns = clock_ns
        self.trimmed = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look now and then until the block ends."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            try:
                yield
            finally:
                task.cancel()

    async def _run(self) -> None:
        while self._days is not None:
            portion = 0
            try:
                portion = await self.sweep()
            except Problem as problem:  # the disk is full or fails, or there is more to do than can be done
                log.warning("old history stays for now: %s", problem)
            await asyncio.sleep(PAUSE_S if portion == ENTITIES_AT_ONCE else LOOK_S)

    async def sweep(self) -> int:
        """Trim the history of some entities; returns of how many. Raises StorageFailed, StorageFull, Overloaded."""
        before_us = self._clock_ns() // 1000 - (self._days or 0) * DAY_US
        if self._days is None or before_us + self._days * DAY_US < YEAR_2020_US:
            return 0
        found = await self._storage.read(lambda reader: reader.aged(before_us, ENTITIES_AT_ONCE))

        for tenant in dict.fromkeys(tenant for tenant, _ in found):
            ids = [entity_id for of_tenant, entity_id in found if of_tenant == tenant]
            await self._storage.write(partial(_trim, tenant=tenant, ids=ids, before_us=before_us), weight=len(ids))
            self.trimmed += len(ids)
        return len(found)


def _trim(writer: Writer, tenant: str, ids: Sequence[str], before_us: int) -> None:
    for entity_id in ids:
        writer.trim_history(tenant, entity_id, before_us)
