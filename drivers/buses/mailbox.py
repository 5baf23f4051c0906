"""Observations that wait for the driver's next ``read``: the hand-over of every device that speaks by itself."""

from __future__ import annotations

import asyncio
from collections import deque

from drivers.base import Observation
from drivers.errors import BadFrame, Disconnected, Timeout

WAITING_MAX = 64


class Mailbox:
    """Bounded: the oldest observation goes, counted in ``dropped``. ``bad_frames`` counts what was damaged."""

    def __init__(self) -> None:
        self.dropped = 0
        self.bad_frames = 0
        self._waiting: deque[Observation] = deque()
        self._last_bad: BadFrame | None = None
        self._lost = ""
        self._something = asyncio.Event()

    def put(self, observation: Observation) -> None:
        """Add what was heard."""
        if len(self._waiting) == WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(observation)
        self._something.set()

    def damaged(self, error: BadFrame) -> None:
        """Count a damaged frame."""
        self.bad_frames += 1
        self._last_bad = error

    def lose(self, why: str) -> None:
        """Tell the reader, once, that the medium went away."""
        self._lost = why
        self._something.set()

    async def get(self, silence_s: float) -> tuple[Observation, ...]:
        """All that waits, or the next that comes.

        Raises Disconnected, once, after what had come before the loss; after ``silence_s`` without a good frame
        BadFrame where damaged ones came, else Timeout.
        """
        self._last_bad = None
        try:
            async with asyncio.timeout(silence_s):
                while not self._waiting:
                    if self._lost:
                        why, self._lost = self._lost, ""
                        raise Disconnected(why)
                    self._something.clear()
                    await self._something.wait()
        except TimeoutError:
            if self._last_bad is not None:
                raise BadFrame(f"nothing but damaged frames for {silence_s:g} s: {self._last_bad}") from None
            raise Timeout(f"nothing heard for {silence_s:g} s") from None
        waiting = tuple(self._waiting)
        self._waiting.clear()
        return waiting
