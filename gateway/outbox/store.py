"""The outbox: the durable local queue of what has not been acknowledged upstream.

The loop's side, ``Outbox``, collects observations and commits them in groups; the file itself belongs to one writer
thread, which is given one job at a time. A crash costs at most what was collected since the last commit: the file says
how many sequence numbers may have been in use, and the next start counts those that never arrived as ``crash_cost``, an
upper bound. (A burst that outgrows the reserved numbers is committed at once; for that moment the bound may be short.)
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateway.clock import Clock
from gateway.errors import OutboxError
from gateway.model import Ack, Batch, Priority, Range, Reading
from gateway.outbox.codec import DamagedError, Entry, encode
from gateway.outbox.database import Database
from gateway.outbox.dating import Distinct
from gateway.outbox.pending import Pending
from gateway.outbox.records import Figures, Load, Moment, is_full
from gateway.outbox.retention import DropReason, reservation
from gateway.outbox.writer import Writer

LOG = logging.getLogger("lamppost.outbox")
RETRY_S = 1.0
STUCK_S = 30.0  # a job that takes longer is one that does not come back
SECOND = 1_000_000_000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """What the outbox holds and what became of what it was given; all counts are readings.

    ``made`` by device: all that were appended, as far as they are committed or waiting to be; what a crash took is not
    in it but, as an upper bound, in ``crash_cost``. ``dropped`` by reason: appended, and given up before they were
    acknowledged. ``placed``: dated by estimate because their boot never knew the time.
    ``problem``: why the file cannot be written now, else empty. ``last_commit_mono_ns`` is 0 before the first.
    """

    stream: str
    depth: int
    oldest_age_s: float
    bytes: int
    made: dict[str, int]
    dropped: dict[str, int]
    crash_cost: int
    crashes: int
    placed: int
    last_commit_mono_ns: int
    writer_alive: bool
    problem: str


class Outbox:
    """The queue of one gateway in one file. All methods are called from the event loop's thread.

    ``commit_interval_s`` bounds how long an observation waits for its commit; urgent ones do not wait.
    ``max_bytes`` bounds the file and its log; beyond it, and on a full disk, the oldest blocks are dropped and counted.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, commit_interval_s: float, clock: Clock, gateway: str = ""
    ) -> None:
        self._path = path
        self._interval_s = commit_interval_s
        self._clock = clock
        self._gateway = gateway
        self._pending = Pending()
        self._distinct = Distinct()
        self._recent: deque[int] = deque(maxlen=8)
        self._reserved = 0
        self._writer = Writer(path, max_bytes)
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._closing = False
        self._problem = ""
        self._last_commit_ns = 0

    async def start(self) -> None:
        """Open the file, check it, count what a crash cost. A damaged file is moved aside; on a full disk it waits.

        Raises OutboxError where the file cannot be opened for another reason.
        """
        try:
            await self._writer.run(lambda database: None, self._now())
        except (sqlite3.Error, OSError) as error:
            if not is_full(error):
                self._writer.close()
                raise OutboxError(f"cannot open {self._path}: {error}") from error
            self._trouble(error)
        except OutboxError:
            self._writer.close()
            raise
        self._flusher = asyncio.create_task(self._flush_forever(), name="outbox")
        if self._pending:
            self._schedule(0)

    async def close(self) -> None:
        """Commit what is pending and close the file; safe to call twice."""
        self._closing = True
        self._wake.set()
        if self._flusher is not None:
            await self._flusher
            self._flusher = None
        if self._timer is not None:
            self._timer.cancel()
        if self._pending.readings:
            LOG.error("%d readings could not be written and are lost: %s", self._pending.readings, self._problem)
        self._writer.close()

    def append(self, readings: Sequence[Reading], *, priority: Priority = Priority.LIVE, urgent: bool = False) -> None:
        """Take one observation; it is never split on the way. Never blocks or raises: what does not fit is counted."""
        urgent = urgent or priority is Priority.ALARM
        if not readings or self._closing:
            return
        if any(reading.clock and reading.clock.boot_id != self._clock.boot_id for reading in readings):
            self._pending.refuse(readings, "unencodable")  # a boot that is not this one can never be dated
            return
        self._pending.add(self._distinct.settle(readings), urgent, self._clock.mono_ns())
        self._schedule(0 if urgent or self._pending.at_risk > self._reserved else self._interval_s)

    async def peek(self, limit: int) -> Batch | None:
        """The oldest committed readings that are not acknowledged, in order, dated, about ``limit`` of them.

        None where there are none, or where the oldest cannot be dated because the clock is not trusted yet.
        Raises OutboxError where the file cannot be read.
        """
        now = self._now()
        entries, stream = await self._ask(lambda database: (database.peek(limit, now), database.stream), now)
        if not entries:
            return None
        readings = tuple(reading for entry in entries for reading in entry.readings)
        return Batch(self._gateway, stream, _ranges(entries), readings)

    async def live(self, limit: int) -> Batch | None:
        """Alarms that wait, else the newest readings in order; about ``limit`` of them, committed or not.

        They are on the way until they are acknowledged or given back with :meth:`release`. None where there are none
        that are not on the way, or where they cannot be dated yet. Raises OutboxError where the file cannot be read.
        """
        return await self.peek(limit)

    async def backlog(self, limit: int) -> Batch | None:
        """The oldest committed readings that are neither in memory nor on the way; about ``limit`` of them.

        None where there are none, or where they cannot be dated yet. Raises OutboxError where the file cannot be read.
        """
        return None

    def release(self, batch: Batch) -> None:
        """The batch did not arrive: what is in it may be handed out again, alone or with others."""

    async def held(self, streams: Mapping[str, Sequence[Range]]) -> int:
        """Take the server's word for what it has, by stream; of a stream that is not named it has nothing.

        Acknowledged readings that are still kept and that the server lacks wait again; returns how many. What waits
        and the server has is acknowledged. Raises OutboxError.
        """
        return 0

    async def ack(self, ack: Ack) -> None:
        """Forget what the server has. An acknowledgement of another stream changes nothing. Raises OutboxError."""

        def job(database: Database) -> None:
            if database.stream == ack.stream:
                database.ack(ack.ranges)

        await self._ask(job, self._now())

    async def wait(self, timeout_s: float) -> bool:
        """Wait for something urgent to be committed (the first commit after the start is urgent); False: it did not."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._urgent.wait()
        except TimeoutError:
            return False
        self._urgent.clear()
        return True

    def count_dropped(self, readings: int, reason: DropReason) -> None:
        """Count readings that are acknowledged although the server did not take them; kept with the next commit."""
        if readings:
            self._pending.count(readings, reason)
            self._schedule(self._interval_s)

    def stats(self) -> OutboxStats:
        """Counts of now; costs microseconds."""
        figures, pending = self._writer.figures, self._pending
        flight = pending.flight if pending.flight and pending.flight.number > figures.number else Load()
        now_ns = self._clock.mono_ns()
        return OutboxStats(
            stream=figures.stream,
            depth=figures.depth + pending.readings + flight.readings,
            oldest_age_s=self._age_s(figures, now_ns),
            bytes=figures.bytes,
            made=dict(Counter(figures.made) + pending.made + flight.made),
            dropped=dict(Counter(figures.dropped) + pending.dropped + flight.dropped),
            crash_cost=figures.crash_cost,
            crashes=figures.crashes,
            placed=figures.placed,
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
            if self._pending:
                await self._flush(self._reserve())
        await self._flush(0)

    async def _flush(self, reserve: int) -> None:
        now, load = self._now(), self._pending.take()
        try:
            await self._writer.run(lambda database: _commit(database, load, reserve, now), now)
        except (sqlite3.Error, OSError, DamagedError) as error:
            self._pending.give_back(load)
            self._trouble(error)
            self._schedule(RETRY_S)
            return
        first = not self._last_commit_ns
        self._pending.done()
        self._reserved = reserve
        self._last_commit_ns = self._clock.mono_ns()
        if self._problem:
            LOG.info("the outbox can be written again")
            self._problem = ""
        if load.readings and (load.urgent or first):
            self._urgent.set()

    def _reserve(self) -> int:
        self._recent.append(self._pending.readings)
        return reservation(list(self._recent))

    def _schedule(self, delay_s: float) -> None:
        if delay_s == 0 and not self._problem:
            self._wake.set()
        elif self._timer is None and self._flusher is not None:
            self._timer = self._flusher.get_loop().call_later(
                max(delay_s, RETRY_S * bool(self._problem)), self._wake.set
            )

    async def _ask(self, job: Callable[[Database], _T], now: Moment) -> _T:
        try:
            return await self._writer.run(job, now)
        except (sqlite3.Error, OSError, DamagedError) as error:
            raise OutboxError(f"cannot read {self._path}: {error}") from error

    def _trouble(self, error: Exception) -> None:
        if not self._problem:
            LOG.error(
                "the outbox cannot be written, readings wait in memory: %s", error, extra={"code": "outbox.failed"}
            )
        self._problem = str(error) or type(error).__name__

    def _now(self) -> Moment:
        mono_ns = self._clock.mono_ns()
        utc_ns = self._clock.utc_ns(mono_ns)
        return Moment(self._clock.boot_id, mono_ns, None if utc_ns is None else utc_ns - mono_ns)

    def _alive(self) -> bool:
        if self._flusher is None or self._flusher.done():
            return False
        since_ns = self._writer.busy_since_ns
        return not since_ns or time.monotonic_ns() - since_ns < STUCK_S * SECOND

    def _age_s(self, figures: Figures, now_ns: int) -> float:
        """Age of the oldest block; of one from a boot that knows no time yet, at least the time of this boot."""
        if not figures.depth:
            return max(0, now_ns - self._pending.since_mono_ns) / SECOND if self._pending.readings else 0.0
        if figures.head_boot_id == self._clock.boot_id:
            return max(0, now_ns - figures.head_mono_ns) / SECOND
        utc_ns = self._clock.utc_ns(now_ns)
        if utc_ns is None or figures.head_offset_ns is None:
            return now_ns / SECOND
        return max(0, utc_ns - figures.head_mono_ns - figures.head_offset_ns) / SECOND


def _commit(database: Database, load: Load, reserve: int, now: Moment) -> None:
    """Commit, with a second try where there is something to do about the first one's failure."""
    try:
        database.commit(load, reserve, now)
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
        database.restart_log()
        database.commit(load, reserve, now)
    except (OverflowError, UnicodeError, TypeError):
        _sort_out(load)
        database.commit(load, reserve, now)


def _sort_out(load: Load) -> None:
    """Drop and count observations with a value that no block can hold: an integer over 64 bits, half a character."""
    kept = []
    for readings in load.observations:
        try:
            encode([Entry(1, readings)])
            kept.append(readings)
        except (OverflowError, UnicodeError, TypeError):
            load.readings -= len(readings)
            load.dropped["unencodable"] += len(readings)
    load.observations = kept


def _ranges(entries: Sequence[Entry]) -> tuple[Range, ...]:
    ranges: list[Range] = []
    for entry in entries:
        if ranges and ranges[-1].last + 1 == entry.seq:
            ranges[-1] = Range(ranges[-1].first, entry.last_seq)
        else:
            ranges.append(Range(entry.seq, entry.last_seq))
    return tuple(ranges)
