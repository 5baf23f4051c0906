"""What goes next: alarms, then the newest values, then what waited.

What is kept while it is not acknowledged: one live and one backlog batch, sent again byte for byte. A live batch that
could not be sent for a moment is old: then the newest values go first and it follows as history.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from gateway.clock import Clock
from gateway.model import Batch, Priority
from gateway.outbox.store import Outbox
from gateway.uplink import pace
from gateway.uplink.link_pace import Pace
from gateway.uplink.transport import TransportError

SECOND = 1_000_000_000
LOOK_S = 1.0  # how often to look where there was nothing, or nothing with a date
FRESH_S = 2.0  # a live batch that waited longer is not live any more
FRESH_INTERVALS = 2  # readings can go as live for so many intervals: one exchange may fail
TIMEOUTS_MAX = 2  # of a batch in a row, before smaller ones are tried
DRAIN_LOOK_S = 10.0
FULL_SHARE = 0.9  # of the limit: a batch cut at a whole observation is a little short


@dataclass(frozen=True, slots=True)
class UplinkStats:
    """``live_age_s``: since new values were last acknowledged, None: never.

    ``backlog``: whether some of it was there when it was last looked for; ``drain_per_s``: readings of it sent of late.
    ``holds``: what waited does not travel over the link in use; ``thin``: of live readings one in so many does.
    """

    live_age_s: float | None
    backlog: bool
    drain_per_s: float
    holds: bool = False
    thin: int = 1


class Turns:
    """Takes batches from the outbox in turn. ``carries``: the priorities that may travel now."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self.pace = Pace(pace.INTERVAL_S, 1)
        self.carries = frozenset(Priority)
        self._outbox = outbox
        self._clock = clock
        self._fresh_s = outbox.fresh_s
        self._kept: dict[Priority, Batch] = {}  # LIVE (or ALARM) under LIVE, HISTORY
        self._live_at_ns = self._backlog_at_ns = self._live_since_ns = 0
        self._live_max = self._size = pace.SIZE_FIRST
        self._floor_s = pace.EXCHANGE_S
        self._timeouts = 0
        self._yields = False  # live has had its turn
        self._behind = False
        self._live_acked_ns: int | None = None
        self._drained: deque[tuple[int, int]] = deque(maxlen=256)

    def stats(self) -> UplinkStats:
        """How live it is and how fast the backlog goes, of now."""
        now_ns = self._clock.mono_ns()
        age_s = None if self._live_acked_ns is None else (now_ns - self._live_acked_ns) / SECOND
        drained = sum(count for at_ns, count in self._drained if now_ns - at_ns < DRAIN_LOOK_S * SECOND)
        holds = Priority.HISTORY not in self.carries
        return UplinkStats(age_s, self._behind, drained / DRAIN_LOOK_S, holds, self.pace.thin)

    def over(self, way: Pace) -> None:
        """The pace to keep to from now on."""
        self.pace = way
        self._outbox.fresh_s = max(self._fresh_s, FRESH_INTERVALS * way.interval_s)

    def begin(self) -> None:
        """Another link: nothing is known of it, and the newest values are the first that go over it."""
        self._live_max, self._size = self.pace.batch_max, min(pace.SIZE_FIRST, self.pace.batch_max)
        self._floor_s = pace.EXCHANGE_S
        self.hurry()

    def hurry(self) -> None:
        """What is new goes next."""
        self._live_at_ns, self._yields = 0, False

    async def next(self, *, in_order: bool) -> Batch | None:
        """The batch whose turn it is. ``in_order``: all goes oldest first. Raises OutboxError."""
        if in_order:
            return await self._oldest()
        if self._yields:  # where an exchange takes longer than the interval, live would always be due
            return await self._backlog() or await self._live()
        return await self._live() or await self._backlog()

    def done(self, batch: Batch, spent_s: float) -> None:
        """It is acknowledged: plan the next ones."""
        now_ns = self._clock.mono_ns()
        self._timeouts = 0
        self._floor_s = min(self._floor_s, spent_s)
        live = self._kept.get(Priority.LIVE) is batch
        if not live or len(batch.readings) >= self._size // 2:  # a small one says nothing of what the backlog may send
            self._size = pace.next_size(self._size, len(batch.readings), spent_s, self._floor_s, self.pace.batch_max)
        if live:
            del self._kept[Priority.LIVE]
            self._live_acked_ns = now_ns
            if len(batch.readings) < FULL_SHARE * self._live_max and batch.priority is not Priority.ALARM:
                self._live_at_ns = self._live_since_ns + int(self.pace.interval_s * SECOND)
                self._yields = True
            self._live_max = min(self.pace.batch_max, 2 * self._live_max)
            return
        del self._kept[Priority.HISTORY]
        self._yields = False
        self._drained.append((now_ns, len(batch.readings)))
        self._backlog_at_ns = self._in(pace.rest_s(spent_s, self.pace.backlog_share))

    def failed(self, error: TransportError) -> None:
        """It is not. A batch that never gets through in time is asked for anew, and smaller."""
        self.hurry()
        self._timeouts = self._timeouts + 1 if error.code == "uplink.timeout" else 0
        if self._timeouts >= TIMEOUTS_MAX:
            self._size, self._live_max = max(pace.SIZE_MIN, self._size // 2), max(pace.SIZE_MIN, self._live_max // 2)
            self.release(pace.SIZE_MIN)

    def release(self, above: int = 0) -> None:
        """Keep no batches of more readings than that: they are asked for anew."""
        for priority, batch in list(self._kept.items()):
            if len(batch.readings) > above:
                self._outbox.release(self._kept.pop(priority))

    async def wait(self) -> None:
        """Wait for the next turn, or an alarm."""
        pause_s = (min(self._live_at_ns, self._backlog_at_ns) - self._clock.mono_ns()) / SECOND
        if await self._outbox.wait(max(0.0, pause_s)):
            self.hurry()

    async def _live(self) -> Batch | None:
        """The newest values where they are due."""
        now_ns = self._clock.mono_ns()
        if now_ns < self._live_at_ns:
            return None
        kept = self._may(Priority.LIVE)
        if kept is not None and now_ns - self._live_since_ns < FRESH_S * SECOND:
            return kept
        batch = await self._outbox.live(self._live_max, self.pace.thin)
        if batch is not None and batch.priority not in self.carries:
            self._outbox.release(batch)
            batch = None
        if batch is None:
            if kept is None:
                self._live_at_ns = self._in(min(self.pace.interval_s, LOOK_S))
            return kept
        if kept is not None and Priority.HISTORY in self._kept:
            self._outbox.release(kept)
        elif kept is not None:
            self._kept[Priority.HISTORY] = replace(kept, priority=Priority.HISTORY)
        self._kept[Priority.LIVE], self._live_since_ns = batch, now_ns
        return batch

    async def _backlog(self) -> Batch | None:
        """What waited longest, where it is its turn."""
        if self._clock.mono_ns() < self._backlog_at_ns:
            return None
        batch = self._may(Priority.HISTORY)
        if batch is None and Priority.HISTORY in self.carries:
            batch = await self._outbox.backlog(self._size)
        self._behind = batch is not None
        if batch is None:
            self._backlog_at_ns = self._in(LOOK_S)
        else:
            self._kept[Priority.HISTORY] = batch
        return batch

    async def _oldest(self) -> Batch | None:
        """All in order: the backlog first, and no rest in between."""
        kept = self._may(Priority.HISTORY) or self._may(Priority.LIVE)
        if kept is not None:
            return kept
        self._backlog_at_ns = 0
        return await self._backlog() or await self._live()

    def _may(self, priority: Priority) -> Batch | None:
        """The batch that is kept, unless it may not travel now: then it is given back."""
        kept = self._kept.get(priority)
        if kept is not None and kept.priority not in self.carries:
            self._outbox.release(self._kept.pop(priority))
            return None
        return kept

    def _in(self, seconds: float) -> int:
        return self._clock.mono_ns() + int(seconds * SECOND)
