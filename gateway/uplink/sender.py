"""The uplink: empties the outbox into a transport, one exchange in flight, the newest values first.

What is kept while it is not acknowledged: one live and one backlog batch, sent again byte for byte. A live batch that
could not be sent for a moment is old: then the newest values go first and it follows as history.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.clock import Clock
from gateway.errors import OutboxError
from gateway.model import Batch, Link, LinkState, Priority
from gateway.outbox.store import Outbox
from gateway.uplink import backoff, pace
from gateway.uplink.links import LinkMeter
from gateway.uplink.transport import BusyError, Receipt, RejectedError, Transport, TransportError, UnreachableError

LOG = logging.getLogger("lamppost.uplink")
SECOND = 1_000_000_000
LOOK_S = 1.0  # how often to look where there was nothing, or nothing with a date
ASK_TIME_S = 5.0  # while there is no trusted time ...
ASK_TIME_AGAIN_S = 3600.0  # ... and while there is none but the server's or a GNSS receiver's
MEET_AGAIN_S = 60.0  # at most so often is a server asked what it has, where its connections never last
FRESH_S = 2.0  # a live batch that waited longer is not live any more
TIMEOUTS_MAX = 2  # of a batch in a row, before smaller ones are tried
DRAIN_LOOK_S = 10.0
PROBLEMS_KEPT = 20
FULL_SHARE = 0.9  # of the limit: a batch cut at a whole observation is a little short


class UplinkClock(Clock, Protocol):
    """A clock that takes the server's word; ``gateway.clock.SystemClock`` is one."""

    def refresh(self) -> None:
        """Look at the other sources again."""

    def learn(self, server_ns: int, sent_mono_ns: int, received_mono_ns: int) -> bool:
        """Take the server's time; whether it was used."""


@dataclass(frozen=True, slots=True)
class UplinkStats:
    """``live_age_s``: since new values were last acknowledged, None: never.

    ``backlog``: whether some of it was there when it was last looked for; ``drain_per_s``: readings of it sent of late.
    """

    live_age_s: float | None
    backlog: bool
    drain_per_s: float


class Uplink:
    """Sends what is new each ``interval_s``, alarms at once, the backlog beside it in ``backlog_share`` of the time.

    Where the server cannot put old values into history, all goes oldest first instead. ``problems`` holds the server's
    last reasons for refusing entities.
    """

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        *,
        interval_s: float,
        batch_max: int,
        link: Link,
        clock: UplinkClock,
        backlog_share: float = 0.8,
    ) -> None:
        self.problems: deque[str] = deque(maxlen=PROBLEMS_KEPT)
        self._outbox = outbox
        self._transport = transport
        self._interval_s = interval_s
        self._batch_max = self._live_max = batch_max
        self._share = backlog_share
        self._link = link
        self._clock = clock
        self._meter = LinkMeter(link, clock.mono_ns())
        self._failures = self._timeouts = 0
        self._ask_time_at_ns = self._live_at_ns = self._backlog_at_ns = self._meet_at_ns = 0
        self._stale, self._met = True, 0
        self._yields = False  # live has had its turn
        self._behind = False
        self._kept: dict[Priority, Batch] = {}  # LIVE (or ALARM) under LIVE, HISTORY
        self._live_since_ns = 0
        self._size = min(pace.SIZE_FIRST, batch_max)
        self._floor_s = pace.EXCHANGE_S
        self._live_acked_ns: int | None = None
        self._drained: deque[tuple[int, int]] = deque(maxlen=256)

    def state(self) -> LinkState:
        """The link as measured."""
        self._meter.moved(self._transport.bytes_sent, self._transport.bytes_received)
        return self._meter.state()

    def stats(self) -> UplinkStats:
        """How live it is and how fast the backlog goes, of now."""
        now_ns = self._clock.mono_ns()
        age_s = None if self._live_acked_ns is None else (now_ns - self._live_acked_ns) / SECOND
        drained = sum(count for at_ns, count in self._drained if now_ns - at_ns < DRAIN_LOOK_S * SECOND)
        return UplinkStats(age_s, self._behind, drained / DRAIN_LOOK_S)

    async def run(self) -> None:
        """Send for ever; when cancelled the connection is dropped at once and what is in flight stays in the outbox."""
        try:
            while True:
                started_ns = self._clock.mono_ns()
                try:
                    await self._turn()
                except TransportError as error:
                    await self._back_off(error, started_ns)
                except OutboxError as error:
                    LOG.error("%s", error.cause, extra={"code": error.code, "fix": error.fix})
                    await asyncio.sleep(LOOK_S)
        finally:
            await self._transport.close()

    async def _turn(self) -> None:
        """At most one batch, or a pause. Raises TransportError, OutboxError."""
        await self._keep_time()
        await self._meet()
        batch = await self._next()
        if batch is None:
            await self._idle()
            return
        started_ns = self._clock.mono_ns()
        receipt = await self._transport.send(batch)
        self._worked(started_ns)
        self._done(batch, started_ns)
        self._count(receipt)
        await self._ack(receipt)

    # what to send

    async def _next(self) -> Batch | None:
        if not self._transport.orders_history:
            return await self._oldest()
        if self._yields:  # where an exchange takes longer than the interval, live would always be due
            return await self._backlog() or await self._live()
        return await self._live() or await self._backlog()

    async def _live(self) -> Batch | None:
        """The newest values where they are due."""
        now_ns = self._clock.mono_ns()
        if now_ns < self._live_at_ns:
            return None
        kept = self._kept.get(Priority.LIVE)
        if kept is not None and now_ns - self._live_since_ns < FRESH_S * SECOND:
            return kept
        batch = await self._outbox.live(self._live_max)
        if batch is None:
            if kept is None:
                self._live_at_ns = self._in(min(self._interval_s, LOOK_S))
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
        batch = self._kept.get(Priority.HISTORY) or await self._outbox.backlog(self._size)
        self._behind = batch is not None
        if batch is None:
            self._backlog_at_ns = self._in(LOOK_S)
        else:
            self._kept[Priority.HISTORY] = batch
        return batch

    async def _oldest(self) -> Batch | None:
        """All in order: the backlog first, and no rest in between."""
        kept = self._kept.get(Priority.HISTORY) or self._kept.get(Priority.LIVE)
        if kept is not None:
            return kept
        self._backlog_at_ns = 0
        return await self._backlog() or await self._live()

    def _done(self, batch: Batch, started_ns: int) -> None:
        """It is acknowledged: plan the next ones."""
        now_ns = self._clock.mono_ns()
        spent_s = (now_ns - started_ns) / SECOND
        self._floor_s = min(self._floor_s, spent_s)
        if self._kept.get(Priority.LIVE) is batch:
            del self._kept[Priority.LIVE]
            self._live_acked_ns = now_ns
            if len(batch.readings) < FULL_SHARE * self._live_max and batch.priority is not Priority.ALARM:
                self._live_at_ns = self._live_since_ns + int(self._interval_s * SECOND)
                self._yields = True
            self._live_max = min(self._batch_max, 2 * self._live_max)
            return
        del self._kept[Priority.HISTORY]
        self._yields = False
        self._drained.append((now_ns, len(batch.readings)))
        self._size = pace.next_size(self._size, len(batch.readings), spent_s, self._floor_s, self._batch_max)
        self._backlog_at_ns = self._in(pace.rest_s(spent_s, self._share))

    async def _idle(self) -> None:
        """Wait for the next turn, or an alarm."""
        pause_s = (min(self._live_at_ns, self._backlog_at_ns) - self._clock.mono_ns()) / SECOND
        if await self._outbox.wait(max(0.0, pause_s)):
            self._live_at_ns = 0

    # the server

    async def _meet(self) -> None:
        """On a new connection: ask the server what it is and what it has."""
        fresh = self._transport.connections == self._met or self._clock.mono_ns() < self._meet_at_ns
        if fresh and not self._stale:
            return
        held = await self._transport.held()
        if held is not None:
            self._release(0)
            if again := await self._outbox.held(held):
                LOG.warning("the server lacks %d readings that it had: they are sent again", again)
        self._stale, self._met, self._meet_at_ns = False, self._transport.connections, self._in(MEET_AGAIN_S)

    async def _ack(self, receipt: Receipt) -> None:
        while True:
            try:
                await self._outbox.ack(receipt.ack)
            except OutboxError as error:
                LOG.error("%s", error.cause, extra={"code": error.code, "fix": error.fix})
                await asyncio.sleep(self._interval_s)
            else:
                return

    async def _keep_time(self) -> None:
        """Ask the server for the time where the box has no better source. Raises UnreachableError, BusyError."""
        self._clock.refresh()
        if self._clock.source in ("configured", "kernel") or self._clock.mono_ns() < self._ask_time_at_ns:
            return
        try:
            await self._learn_time()
        except RejectedError as error:  # it may take data all the same
            self._meter.failed(error, self._clock.mono_ns())
        self._ask_time_at_ns = self._in(ASK_TIME_S if self._clock.source == "none" else ASK_TIME_AGAIN_S)

    async def _learn_time(self) -> None:
        for _ in range(2):  # the first exchange may include connecting, which says less about the time
            sent_ns = self._clock.mono_ns()
            server_ns = await self._transport.server_time()
            if server_ns is None:
                return
            received_ns = self._clock.mono_ns()
            self._worked(sent_ns)
            learned = self._clock.learn(server_ns, sent_ns, received_ns)
        if learned:
            LOG.info("the server's time is used", extra={"link": self._link.name})

    async def _back_off(self, error: TransportError, started_ns: int) -> None:
        self._failures += 1
        self._live_at_ns, self._yields = 0, False  # the newest values are the first that go when it works again
        self._shrink(error)
        now_ns = self._clock.mono_ns()
        self._meter.failed(error, now_ns)
        if not isinstance(error, BusyError):
            self._stale = True
        if isinstance(error, UnreachableError):
            await self._transport.close()
        human = isinstance(error, RejectedError)
        delay_s = backoff.delay_s(self._failures, metered=self._link.metered, human=human, jitter=random.random())
        await asyncio.sleep(backoff.pause_s(delay_s, (now_ns - started_ns) / SECOND, error.retry_after_s))

    def _shrink(self, error: TransportError) -> None:
        """A batch that never gets through in time is asked for anew, and smaller."""
        self._timeouts = self._timeouts + 1 if error.code == "uplink.timeout" else 0
        if self._timeouts < TIMEOUTS_MAX:
            return
        self._size, self._live_max = max(pace.SIZE_MIN, self._size // 2), max(pace.SIZE_MIN, self._live_max // 2)
        self._release(pace.SIZE_MIN)

    def _release(self, above: int) -> None:
        """Keep no batches of more readings than that: they are asked for anew."""
        for priority, batch in list(self._kept.items()):
            if len(batch.readings) > above:
                self._outbox.release(self._kept.pop(priority))

    def _worked(self, started_ns: int) -> None:
        self._failures = self._timeouts = 0
        now_ns = self._clock.mono_ns()
        self._meter.worked((now_ns - started_ns) / SECOND, now_ns)

    def _count(self, receipt: Receipt) -> None:
        self._outbox.count_dropped(receipt.refused, "refused-by-server")
        self._outbox.count_dropped(receipt.unmapped, "unmapped")
        for problem in receipt.problems:
            if problem not in self.problems:
                LOG.warning("the server refuses %s", problem, extra={"code": "uplink.refused"})
                self.problems.append(problem)

    def _in(self, seconds: float) -> int:
        return self._clock.mono_ns() + int(seconds * SECOND)
