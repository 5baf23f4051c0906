"""Observations that wait for the driver's next ``read``: the hand-over of every device that speaks by itself.

Such a device says what it likes when it likes. A mailbox bounds what waits; a collector before it joins what was said
in several messages, and spaces what is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

from drivers.base import Measurement, Observation
from drivers.errors import BadFrame, Disconnected, DriverError, Timeout

WAITING_MAX = 64


class Mailbox:
    """Bounded: the oldest observation goes, counted in ``dropped``. ``bad_frames`` counts what was damaged."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self.dropped = 0
        self.bad_frames = 0
        self._waiting_max = waiting_max
        self._waiting: deque[Observation] = deque()
        self._last_bad: BadFrame | None = None
        self._lost: DriverError | None = None
        self._something = asyncio.Event()

    @property
    def room(self) -> int:
        """How many observations fit in before the oldest goes."""
        return self._waiting_max - len(self._waiting)

    def put(self, observation: Observation) -> None:
        """Add what was heard."""
        if len(self._waiting) == self._waiting_max:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(observation)
        self._something.set()

    def damaged(self, error: BadFrame) -> None:
        """Count a damaged frame."""
        self.bad_frames += 1
        self._last_bad = error

    def lose(self, why: str, kind: type[DriverError] = Disconnected) -> None:
        """Tell the reader, once, that the medium or the device went away, or as what ``kind`` says."""
        self._lost = kind(why)
        self._something.set()

    def drain(self) -> tuple[Observation, ...]:
        """All that waits, without waiting for more."""
        waiting = tuple(self._waiting)
        self._waiting.clear()
        return waiting

    async def get(self, silence_s: float) -> tuple[Observation, ...]:
        """All that waits, or the next that comes.

        Raises Disconnected, or what ``lose`` was told, once, after what had come before the loss; after ``silence_s``
        without a good frame BadFrame where damaged ones came, else Timeout.
        """
        self._last_bad = None
        try:
            async with asyncio.timeout(silence_s):
                while not self._waiting:
                    if self._lost is not None:
                        lost, self._lost = self._lost, None
                        raise lost
                    self._something.clear()
                    await self._something.wait()
        except TimeoutError:
            if self._last_bad is not None:
                raise BadFrame(f"nothing but damaged frames for {silence_s:g} s: {self._last_bad}") from None
            raise Timeout(f"nothing heard for {silence_s:g} s") from None
        waiting = tuple(self._waiting)
        self._waiting.clear()
        return waiting


class SpeakingDriver:
    """What the drivers of devices that speak by themselves have in common."""

    def __init__(self, silence_s: float, waiting_max: int = WAITING_MAX) -> None:
        self.period_s: float | None = None
        self.silence_s = silence_s
        self._mailbox = Mailbox(waiting_max)

    @property
    def bad_frames(self) -> int:
        """Damaged frames so far."""
        return self._mailbox.bad_frames

    @property
    def dropped(self) -> int:
        """Observations that nobody took in time."""
        return self._mailbox.dropped


class Collector:
    """Messages to observations. ``put`` gets them, in a moment at the latest.

    What is said within ``gather_s`` is one observation, dated by its first message. With a period, of each quantity
    only the last value of a period is kept, with the date at which it came; ``thinned`` counts those it replaced.
    """

    def __init__(self, put: Callable[[Observation], None], gather_s: float, period_s: float) -> None:
        self.thinned = 0
        self._put = put
        self._gather_ns, self._period_ns = int(gather_s * 1e9), int(period_s * 1e9)
        self._kept: dict[str, tuple[Measurement, int]] = {}
        self._began_ns: int | None = None  # the first message of what is being said
        self._next_ns = 0  # before it nothing is handed on
        self._timer: asyncio.TimerHandle | None = None

    def add(self, measurements: Iterable[Measurement], mono_ns: int) -> None:
        """Take what a message says."""
        measured = {one.quantity: one for one in measurements}
        if not measured:
            return
        again = len(measured.keys() & self._kept.keys())
        if again and not self._period_ns:
            self.flush()  # it is being said anew: nothing may be lost
        elif again:
            self.thinned += again
        if self._began_ns is None or mono_ns - self._began_ns > self._gather_ns:
            self._began_ns = mono_ns
        self._kept |= {quantity: (one, self._began_ns) for quantity, one in measured.items()}
        wait_s = (max(self._began_ns + self._gather_ns, self._next_ns) - time.monotonic_ns()) / 1e9
        if wait_s <= 0:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.flush)

    def flush(self) -> None:
        """Hand on what was kept, an observation an instant."""
        self.close()
        by_instant: dict[int, list[Measurement]] = {}
        for one, mono_ns in self._kept.values():
            by_instant.setdefault(mono_ns, []).append(one)
        self._kept.clear()
        self._began_ns = None
        self._next_ns = time.monotonic_ns() + self._period_ns
        for mono_ns, measured in sorted(by_instant.items()):
            self._put(Observation(tuple(measured), mono_ns))

    def close(self) -> None:
        """Stop the clock; what was kept stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
