"""Whose turn it is on a bus: of those who wait, the one with the earliest deadline."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class Turns:
    """One turn at a time. A waiter that is cancelled loses its place; one that just got its turn hands it on."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrival = itertools.count()

    async def take(self, deadline: float) -> None:
        """Wait for a turn; ``deadline`` is the loop's time. Equal deadlines: first come, first served."""
        if not self._taken:
            self._taken = True
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (deadline, next(self._arrival), granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """The turn is over."""
        while self._waiting:
            granted = heapq.heappop(self._waiting)[2]
            if not granted.done():
                granted.set_result(None)
                return
        self._taken = False
