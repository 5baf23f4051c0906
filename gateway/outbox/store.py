"""The outbox: the durable local queue of what has not been acknowledged upstream.

The loop's side, ``Outbox``, numbers observations as they come, hands out the newest from memory and commits in groups
what is not acknowledged within its window; the file itself belongs to one writer thread, which is given one job at a
time. What is acknowledged before its commit is never written on its own. A crash costs at most the open window: the
file says how many sequence numbers may have been in use, and the next start counts those that never arrived as
``crash_cost``, an upper bound until the server says which of them it has.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from gateway.clock import Clock
from gateway.compact.ranges import Ranges, merged
from gateway.errors import OutboxError
from gateway.model import Ack, Batch, Priority, Range, Reading
from gateway.outbox import dating, stats
from gateway.outbox.codec import READINGS_MAX, DamagedError, Entry, encodable
from gateway.outbox.database import Database, Lost
from gateway.outbox.dating import Distinct
from gateway.outbox.file import refuses
from gateway.outbox.fresh import ranges_of
from gateway.outbox.pending import Pending, Waiting
from gateway.outbox.records import Load, Moment, is_full, may_heal
from gateway.outbox.retention import DropReason, Limits
from gateway.outbox.stats import OutboxStats
from gateway.outbox.writer import Writer

__all__ = ["Outbox", "OutboxStats"]

LOG = logging.getLogger("lamppost.outbox")
RETRY_S = 1.0
STUCK_S = 30.0  # a job that takes longer is one that does not come back
FRESH_S = 10.0
MARK_S = 5.0  # so late acknowledgements of what is in the file may be written down: until then a crash sends again
MARK_BLOCKS = 64  # ... or so many blocks
SECOND = 1_000_000_000
_T = TypeVar("_T")


class Outbox:
    """The queue of one gateway in one file. All methods are called from the event loop's thread.

    ``commit_interval_s`` bounds how long an observation that is not acknowledged waits for its commit; alarms do not
    wait. ``fresh_s``: for so long readings are handed out by :meth:`live`; let it be longer than the pause between two
    batches. ``limits`` bounds the file; beyond them, and on a full disk, readings are given up and counted.
    """

    def __init__(
        self, path: Path, *, limits: Limits, commit_interval_s: float, clock: Clock, gateway: str = ""
    ) -> None:
        self.fresh_s = FRESH_S
        self._path = path
        self._clock = clock
        self._gateway = gateway
        self._window_s = commit_interval_s
        self._pending = Pending(commit_interval_s, keep_tail=limits.acked_max > 0)
        self._distinct = Distinct()
        self._writer = Writer(path, limits)
        self._flushing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._flusher: asyncio.Task[None] | None = None
        self._closing = False
        self._problem = ""
        self._retry_s = 0.0
        self._untold: Ranges = ()
        self._marks_s = 0.0
        self._last_commit_ns = 0
        self._made_before: Counter[str] = Counter()

    async def start(self) -> None:
        """Open the file, check it, count what a crash cost. A damaged file is moved aside; a sick disk is waited for.

        Raises OutboxError where the file cannot be opened for another reason.
        """
        try:
            await self._run(lambda database: None)
        except (sqlite3.Error, OSError) as error:
            if not may_heal(error) and not refuses(self._path.parent):
                self._writer.close()
                raise OutboxError(f"cannot open {self._path}: {error}") from error
            self._trouble(error)
        except OutboxError:
            self._writer.close()
            raise
        self._flusher = asyncio.create_task(self._flush_forever(), name="outbox")
        self._plan()

    async def close(self) -> None:
        """Commit what is pending and close the file; safe to call twice."""
        self._closing = True
        self._wake.set()
        if self._flusher is not None:
            await self._flusher
            self._flusher = None
        if self._timer is not None:
            self._timer.cancel()
        if self._pending.depth:
            LOG.error("%d readings could not be written and are lost: %s", self._pending.depth, self._problem)
        self._writer.close()

    def append(
        self, readings: Sequence[Reading], *, priority: Priority = Priority.LIVE, replaces: bool = False
    ) -> None:
        """Take one observation; it is never split on the way. Never blocks or raises: what does not fit is counted.
        ``replaces``: it takes the place of what was said of the same instant, so it keeps its date."""
        if not readings or self._closing:
            return
        now_s = time.monotonic()
        boot_id = self._clock.boot_id
        ours = not any(reading.clock and reading.clock.boot_id != boot_id for reading in readings)
        if not ours or len(readings) > READINGS_MAX or not encodable(readings):
            self._pending.count(readings, "unencodable", now_s)  # a boot that is not this one can never be dated
        else:
            dated = tuple(readings) if replaces else self._distinct.settle(readings)
            waiting = Waiting(dated, Priority(min(priority, Priority.LIVE)), now_s)
            self._pending.append(waiting, bool(self._problem))
            if priority is Priority.ALARM:
                self._urgent.set()
        if self._timer is None or self._timer_s > now_s + self._window_s or self._pending.at_once:
            self._plan()

    async def live(self, limit: int, thin: int = 1) -> Batch | None:
        """Alarms that wait, else the newest readings in order; about ``limit`` of them, committed or not.

        ``thin``: of each series of observations one in so many, the newest among them; the others are left to
        :meth:`backlog`. They are on the way until they are acknowledged or given back with :meth:`release`. None where
        there are none that are not on the way, or where they cannot be dated yet. Raises OutboxError where the file
        cannot be read.
        """
        self._retire()
        if self._writer.figures.alarms:
            before, flight, now = self._before(), self._flight(), self._now()
            alarms = await self._ask(lambda database: database.alarms(limit, before, flight, now))
            if alarms:
                return self._depart(self._pending.stream, alarms, Priority.ALARM)
        for priority in (Priority.ALARM, Priority.LIVE):
            every = thin if priority is Priority.LIVE else 1
            stream, entries = self._pending.show(limit * every, priority)
            entries = await self._dated(entries)
            if every > 1 and stream == self._pending.stream:  # what only memory holds is never left for later
                entries = self._pending.defer(entries, every, limit)
            if entries:
                return self._depart(stream, entries, priority)
        return None

    async def backlog(self, limit: int) -> Batch | None:
        """The oldest committed readings that are neither in memory nor on the way; about ``limit`` of them.

        None where there are none, or where they cannot be dated yet. Raises OutboxError where the file cannot be read.
        """
        self._retire()
        if not self._pending.stream:
            return None
        before, flight, now = self._before(), self._flight(), self._now()
        entries = await self._ask(lambda database: database.backlog(limit, before, flight, now))
        return self._depart(self._pending.stream, entries, Priority.HISTORY) if entries else None

    def release(self, batch: Batch) -> None:
        """The batch did not arrive: what is in it may be handed out again, alone or with others."""
        self._pending.arrive(batch.stream, batch.ranges)
        if not self._problem:
            self._pending.come_back()
            self._pending.give_numbers(broken=False)
            self._plan()

    async def ack(self, ack: Ack) -> None:
        """Take note of what the server has. What is not written yet will not be. Never raises.

        An acknowledgement of another stream changes nothing; an observation is acknowledged as a whole or not at all.
        """
        left = self._pending.ack(ack.stream, merged(ack.ranges), time.monotonic())
        self._untold = merged((*self._untold, *left))
        await self._tell()
        self._plan()

    async def held(self, streams: Mapping[str, Sequence[Range]]) -> int:
        """Take the server's word for all that it has, by stream; of a stream that is not named it has nothing.

        Acknowledged readings that are still kept and that the server lacks wait again; returns how many. What a crash
        seemed to cost and the server has is taken off ``crash_cost``. Call it while nothing is being sent. Raises
        OutboxError.
        """
        await self._flush()
        has, now = {stream: merged(ranges) for stream, ranges in streams.items()}, self._now()
        return await self._ask(lambda database: database.held(has.get(database.stream, ()), now))

    async def wait(self, timeout_s: float) -> bool:
        """Wait for an alarm; False: there was none."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._urgent.wait()
        except TimeoutError:
            return False
        self._urgent.clear()
        return True

    def count_dropped(self, readings: int, reason: DropReason) -> None:
        """Count readings that are acknowledged although the server did not take them; kept with a later commit."""
        if readings:
            self._pending.count_dropped(readings, reason, time.monotonic())
            self._plan()

    def stats(self) -> OutboxStats:
        """Counts of now; costs microseconds."""
        figures, pending = self._writer.figures, self._pending
        load = pending.load if pending.load and pending.load.number > figures.number else Load()
        under_way = sum(len(entry.readings) for entry in (*load.entries, *load.alarms))
        waits = pending.fresh.oldest_open() or pending.volatile.oldest_open()
        age_s = stats.age_s(figures, self._now()) if figures.depth else 0.0
        return OutboxStats(
            stream=figures.stream,
            depth=figures.depth + pending.depth + under_way,
            oldest_age_s=max(age_s, time.monotonic() - waits.since_s if waits else 0.0),
            bytes=figures.bytes,
            kept_bytes=figures.tail_bytes,
            made=dict(self._made_before + pending.appended),
            dropped=dict(Counter(figures.dropped) + pending.dropped + load.dropped),
            crash_cost=figures.crash_cost,
            crashes=figures.crashes,
            placed=figures.placed,
            deferred=pending.deferred,
            volatile=pending.volatile.open_readings,
            last_commit_mono_ns=self._last_commit_ns,
            writer_alive=self._alive(),
            problem=self._problem,
        )

    async def _flush_forever(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            due_s = self._due_s()
            if not self._closing and due_s is not None and due_s <= time.monotonic():
                await self._flush()
            self._plan()
        await self._flush(final=True)

    async def _flush(self, final: bool = False) -> None:
        async with self._flushing:
            if not self._pending.stream and not await self._opens():
                await self._writer.hold(self._pending.volatile.open_readings)
                return
            self._retire()
            load = self._pending.take(time.monotonic(), final)
            flight, now = self._flight(), self._now()
            try:
                lost = await self._run(lambda database: _commit(database, load, flight, now))
            except (sqlite3.Error, OSError, DamagedError) as error:
                self._pending.give_back(time.monotonic())
                self._trouble(error)
                await self._writer.hold(self._pending.volatile.open_readings)
                return
            self._well()
            self._marks_s = 0.0
            self._pending.done(lost)
            await self._writer.hold(self._pending.volatile.open_readings)
            await self._tell()

    async def _tell(self) -> None:
        """Tell the file what is acknowledged; where it cannot be read now, with the next commit."""
        if not self._untold:
            return
        ranges, stream, self._untold = self._untold, self._pending.stream, ()
        try:
            await self._run(lambda database: database.ack(ranges) if database.stream == stream else None)
        except (sqlite3.Error, OSError, DamagedError) as error:
            self._untold = merged((*self._untold, *ranges))
            self._trouble(error)

    async def _opens(self) -> bool:
        try:
            await self._run(lambda database: None)
        except (sqlite3.Error, OSError, DamagedError, OutboxError) as error:
            self._trouble(error)
        return bool(self._pending.stream)

    def _due_s(self) -> float | None:
        """When to write next, on the event loop's clock."""
        due_s = self._pending.due_s()
        if unmarked := self._writer.figures.unmarked:
            self._marks_s = self._marks_s or time.monotonic()
            marks_s = 0.0 if unmarked >= MARK_BLOCKS else self._marks_s + MARK_S
            due_s = marks_s if due_s is None else min(due_s, marks_s)
        return self._retry_s if self._problem else due_s

    def _plan(self) -> None:
        """See to it that the flusher wakes up when something is due."""
        due_s = self._due_s()
        if due_s is None or self._flusher is None:
            return
        if due_s <= time.monotonic():
            self._wake.set()
        elif self._timer is None or due_s < self._timer_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_s = due_s
            self._timer = self._flusher.get_loop().call_later(due_s - time.monotonic(), self._wake.set)

    async def _ask(self, job: Callable[[Database], _T]) -> _T:
        try:
            return await self._run(job)
        except (sqlite3.Error, OSError, DamagedError) as error:
            raise OutboxError(f"cannot read {self._path}: {error}") from error

    async def _run(self, job: Callable[[Database], _T]) -> _T:
        try:
            return await self._writer.run(job, self._now())
        finally:
            figures = self._writer.figures
            if figures.stream != self._pending.stream:
                if not self._pending.stream:
                    self._made_before = Counter(figures.made)
                self._pending.opened(figures.stream, figures.last_seq, figures.reserved_to)

    def _retire(self) -> None:
        self._pending.fresh.retire(time.monotonic() - self.fresh_s)

    def _before(self) -> int:
        """What is in memory begins here: what the file has of it is not handed out from there."""
        first = self._pending.fresh.first_seq
        return self._pending.numbers.next if first is None else first

    def _flight(self) -> Ranges:
        return self._pending.flight(self._pending.stream)

    def _depart(self, stream: str, entries: Sequence[Entry], priority: Priority) -> Batch:
        ranges = ranges_of(entries)
        self._pending.depart(stream, ranges)
        readings = tuple(
            reading if reading.seq == seq else replace(reading, seq=seq)
            for entry in entries
            for seq, reading in enumerate(entry.readings, entry.seq)
        )
        return Batch(self._gateway, stream, ranges, readings, priority)

    async def _dated(self, entries: list[Entry]) -> list[Entry]:
        """Dates for readings in memory, all of this boot: its offset is in the file before it is used."""
        if not any(reading.clock for entry in entries for reading in entry.readings):
            return entries
        now = self._now()
        if self._writer.figures.offset_ns is None and now.offset_ns is not None and not self._problem:
            await self._ask(lambda database: database.learn(now))
        offset_ns = self._writer.figures.offset_ns
        if offset_ns is None:
            return []
        return [Entry(e.seq, tuple(dating.redate(r, offset_ns, placed=False) for r in e.readings)) for e in entries]

    def _trouble(self, error: Exception) -> None:
        if not self._problem:
            LOG.error(
                "the outbox cannot be written, readings wait in memory: %s", error, extra={"code": "outbox.failed"}
            )
        self._problem = str(error) or type(error).__name__
        self._retry_s = time.monotonic() + RETRY_S
        self._pending.give_numbers(broken=True)

    def _well(self) -> None:
        self._last_commit_ns = self._clock.mono_ns()
        if self._problem:
            LOG.info("the outbox can be written again")
            self._problem = ""

    def _now(self) -> Moment:
        mono_ns = self._clock.mono_ns()
        utc_ns = self._clock.utc_ns(mono_ns)
        return Moment(self._clock.boot_id, mono_ns, None if utc_ns is None else utc_ns - mono_ns)

    def _alive(self) -> bool:
        if self._flusher is None or self._flusher.done():
            return False
        since_ns = self._writer.busy_since_ns
        return not since_ns or time.monotonic_ns() - since_ns < STUCK_S * SECOND


def _commit(database: Database, load: Load, flight: Ranges, now: Moment) -> Lost:
    """Commit, with a second try where there is something to do about the first one's failure."""
    try:
        return database.commit(load, flight, now)
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
        database.file.restart_log()
        return database.commit(load, flight, now)
