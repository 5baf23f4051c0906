"""Connection slots of a Bluetooth adapter: few, so devices that are connected to take turns.

Controllers hold only a handful of links at a time (often 5 to 10, cheap ones 3), and a failed attempt beyond that looks
like a device that is out of reach. First come, first served. A device that keeps its link is asked to let go once it
has had its slot for ``hold_s`` and somebody waits; who asks again stands at the end of the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from types import TracebackType

SLOT_HOLD_S = 60.0  # long beside the seconds that a connection takes, short beside the silence that a template allows


class Slots:
    """The slots of one adapter. They are taken in the order in which they were asked for."""

    def __init__(self, count: int, hold_s: float = SLOT_HOLD_S) -> None:
        self.count = count
        self.hold_s = hold_s
        self._held: list[Slot] = []  # the longest held first
        self._queue: deque[tuple[Slot, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def taken(self) -> int:
        """How many slots are in use."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many devices wait for one."""
        return len(self._queue)

    async def take(self, slot: Slot) -> None:
        """Wait for the turn of that slot."""
        if slot in self._held:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((slot, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._queue.remove((slot, turn))
            self.give_back(slot)  # it may have come at the same moment
            raise

    def give_back(self, slot: Slot) -> None:
        """Free that slot for the next; does nothing where it is not held."""
        if slot in self._held:
            self._held.remove(slot)
        self._serve()

    def _serve(self) -> None:
        while self._queue and len(self._held) < self.count:
            slot, turn = self._queue.popleft()
            if turn.done():
                continue
            slot.wanted.clear()
            slot.since = asyncio.get_running_loop().time()
            self._held.append(slot)
            turn.set_result(None)
        self._ask()

    def _ask(self) -> None:
        """Ask as many of the longest holders to let go as there are waiting, each not before its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._queue:
            return
        loop = asyncio.get_running_loop()
        for slot in self._held[: len(self._queue)]:
            if slot.wanted.is_set():
                continue
            left_s = slot.since + self.hold_s - loop.time()
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._ask)
                return
            slot.wanted.set()


class Slot:
    """One device's claim to a connection; taken with ``async with``, or with ``take`` and ``give_back``.

    ``wanted`` is set while it is held when somebody else shall have it: disconnect then, give it back, and take it
    again for the next turn.
    """

    def __init__(self, slots: Slots, address: str) -> None:
        self.address = address
        self.wanted = asyncio.Event()
        self.since = 0.0
        self._slots = slots

    async def take(self) -> None:
        """Wait for the device's turn; nothing to do where it has its slot."""
        await self._slots.take(self)

    def give_back(self) -> None:
        """Let the next one have it; safe to call twice."""
        self._slots.give_back(self)

    async def __aenter__(self) -> Slot:
        await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
