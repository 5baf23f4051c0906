"""Advertisements on their way from the adapter to those who listen: bounded, and what is dropped is counted."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bleak.backends.device import BLEDevice

from drivers.buses.ble_scanner import Properties, handle
from drivers.codecs.broadcast import Advert
from drivers.errors import DriverError

INBOX_MAX = 128  # advertisements that wait for one listener; then the oldest is dropped and counted
SENDER_PER_S_MAX = 200.0  # of one sender; the shortest advertising interval that is allowed makes 50
TOTAL_PER_S_MAX = 4000.0  # of all that are listened to


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One advertisement as heard, and what BlueZ knows of its sender."""

    advert: Advert
    mono_ns: int
    path: str = ""
    properties: Properties = field(default_factory=dict, compare=False, repr=False)

    @property
    def device(self) -> BLEDevice:
        """The handle to connect with."""
        return handle(self.path, self.properties)


class Budget:
    """So many a second, with one second's worth at once. ``refused`` counts those beyond it."""

    def __init__(self, per_s: float) -> None:
        self.refused = 0
        self._per_s = per_s
        self._left = per_s
        self._at_ns = time.monotonic_ns()

    def take(self, now_ns: int) -> bool:
        """Whether one more is within the budget."""
        left = min(self._per_s, self._left + (now_ns - self._at_ns) * self._per_s / 1e9)
        self._at_ns = now_ns
        if left < 1:
            self._left = left
            self.refused += 1
            return False
        self._left = left - 1
        return True


class Inbox:
    """Advertisements that wait for one listener, and the news that the bus was lost.

    ``active`` says that its sender tells what is wanted only to those who ask (active scanning).
    """

    def __init__(self, on_lost: Callable[[], None] | None = None, *, active: bool = False) -> None:
        self.dropped = 0
        self.active = active
        self._on_lost = on_lost
        self._waiting: deque[Advertisement] = deque()
        self._lost: DriverError | None = None
        self._something = asyncio.Event()

    def put(self, advertisement: Advertisement) -> None:
        """Add one; the oldest goes, counted, where INBOX_MAX wait."""
        if len(self._waiting) == INBOX_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(advertisement)
        self._something.set()

    def lose(self, error: DriverError) -> None:
        """Tell the listener, once, that the bus was lost."""
        self._lost = error
        self._something.set()
        if self._on_lost is not None:
            self._on_lost()

    def found(self) -> None:
        """The bus is back: a loss that nobody was waiting to hear of is old news."""
        self._lost = None

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    def next(self) -> Advertisement | None:
        """The next one that waits already."""
        return self._waiting.popleft() if self._waiting else None

    async def get(self) -> Advertisement:
        """The next one, waiting for it. Raises Disconnected, once, after what had arrived before the loss."""
        while True:
            if self._waiting:
                return self._waiting.popleft()
            if self._lost is not None:
                error, self._lost = self._lost, None
                raise again(error)
            self._something.clear()
            await self._something.wait()


def again(error: DriverError) -> DriverError:
    """A fresh exception that says the same: one instance must not be raised by several tasks."""
    return type(error)(*error.args)
