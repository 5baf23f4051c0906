"""A device that speaks by itself: one frame each period on its own line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from firmware_sim.line import Line

OFFSET_S = 0.1  # after the whole second, so that a frame that states its second never states one twice


class Stream:
    """Sends what ``frame`` gives, each ``period_s`` by the clock on the wall. ``given`` counts the frames."""

    echoes = False

    def __init__(self, line: Line, frame: Callable[[], bytes], period_s: float) -> None:
        self.silent = False
        self.given = 0
        self._line = line
        self._frame = frame
        self._period_s = period_s
        line.attach(self)

    def heard(self, data: bytes) -> None:
        """It does not listen."""

    def quiet(self) -> None:
        """It does not wait its turn: nobody else is on its line."""

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            wait = self._period_s - (time.time() - OFFSET_S) % self._period_s
            # a timer that fired a moment early must not make two frames of one period
            await asyncio.sleep(wait if wait > self._period_s / 2 or self.given == 0 else wait + self._period_s)
            if not self.silent:
                self._line.send(self, self._frame())
                self.given += 1
