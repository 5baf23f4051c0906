"""Any sequence of append, commit, hand out, acknowledge, give back, restart and crash loses nothing committed."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.model import Ack, Batch, Priority, Range
from gateway.outbox import room
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox
from tests.unit.outbox.outbox_kit import FakeClock, observe, oldest

T = TypeVar("T")


class OutboxMachine(RuleBasedStateMachine):
    """``file``: values that are committed and not acknowledged; ``open``: appended since, and not acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.clock = FakeClock()
        self.file: set[int] = set()
        self.open_: set[int] = set()
        self.acked: set[int] = set()
        self.next = 0
        self.made = 0
        self.flights: list[Batch] = []
        self.scattered_max, room.SCATTERED_MAX = room.SCATTERED_MAX, 2

    def run(self, what: Awaitable[T]) -> T:
        return self.loop.run_until_complete(what)  # type: ignore[arg-type]

    @initialize()
    def open(self) -> None:
        self.outbox = Outbox(self.folder / "o.sqlite", limits=Limits(2**26), commit_interval_s=60, clock=self.clock)
        self.run(self.outbox.start())
        self.run(self.outbox._flush())

    @rule(size=st.integers(1, 5), alarm=st.booleans())
    def append(self, size: int, alarm: bool) -> None:
        numbers = range(self.next, self.next + size)
        self.next += size
        self.open_ |= set(numbers)
        self.outbox.append(observe(self.clock, numbers), priority=Priority.ALARM if alarm else Priority.LIVE)
        self.clock.pass_s(1)
        if alarm or self.outbox._pending._unnumbered:
            self.commit()

    @rule()
    def commit(self) -> None:
        self.outbox._pending._alarm = True  # so the window need not pass
        self.run(self.outbox._flush())
        self.run(self.outbox._flush())  # what waited for numbers
        self.file |= self.open_
        self.made += len(self.open_)
        self.open_ = set()

    @rule()
    def grow_old(self) -> None:
        """What is committed leaves the memory."""
        self.outbox._pending.fresh.retire(float("inf"))

    def pass_thinned(self) -> None:
        """What was passed over is backlog once it is committed and old."""
        if self.outbox.stats().deferred:
            self.commit()
            self.grow_old()

    @rule(limit=st.integers(1, 30), old=st.booleans(), thin=st.integers(1, 3))
    def hand_out(self, limit: int, old: bool, thin: int) -> None:
        batch = self.run(self.outbox.backlog(limit) if old else self.outbox.live(limit, thin))
        if batch is None:
            return
        got = [int(reading.value) for reading in batch.readings]  # type: ignore[arg-type]
        under_way = {reading.value for flight in self.flights for reading in flight.readings}
        assert set(got) <= (self.file if old else self.file | self.open_) - under_way
        assert len(set(got)) == len(got) <= max(limit, 5) and got == sorted(got)
        numbers = [reading.seq for reading in batch.readings]
        assert numbers == [n for r in batch.ranges for n in range(r.first, r.last + 1)]
        self.flights.append(batch)

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.flights))
        self.flights.remove(batch)
        self.outbox.release(batch)
        readings = batch.readings
        ends = [i for i in range(len(readings)) if i + 1 == len(readings) or readings[i + 1].quantity == "q0"]
        gone = readings[: data.draw(st.sampled_from(ends)) + 1]
        ranges = [Range(max(r.first, gone[0].seq), min(r.last, gone[-1].seq)) for r in batch.ranges]
        self.run(self.outbox.ack(Ack(batch.stream, tuple(r for r in ranges if r.first <= r.last))))
        acked = {int(reading.value) for reading in gone}  # type: ignore[arg-type]
        self.made += len(acked & self.open_)
        self.acked |= acked
        self.file -= acked
        self.open_ -= acked

    @precondition(lambda self: self.flights)
    @rule()
    def give_back(self) -> None:
        self.outbox.release(self.flights.pop())

    @rule()
    def nothing_is_left_out(self) -> None:
        """What waits and is not under way is handed out by the one or the other."""
        self.pass_thinned()
        taken = []
        while batch := self.run(oldest(self.outbox, 50)):
            taken.append(batch)
        under_way = {reading.value for flight in self.flights for reading in flight.readings}
        assert {r.value for batch in taken for r in batch.readings} == (self.file | self.open_) - under_way
        for batch in taken:
            self.outbox.release(batch)

    @precondition(lambda self: not self.flights)
    @rule(share=st.integers(0, 100))
    def restored(self, share: int) -> None:
        """The server comes back from a backup that knows the first numbers only."""
        self.commit()
        last = self.outbox._pending.numbers.next * share // 100
        known = {n for n in self.acked if n + 1 <= last}  # numbers are given in order from 1
        lacking = self.acked - known
        assert self.run(self.outbox.held({self.outbox.stats().stream: (Range(1, last),)})) >= len(lacking)
        self.pass_thinned()
        waits = set()
        taken = []
        while batch := self.run(oldest(self.outbox, 500)):
            taken.append(batch)
            waits |= {int(reading.value) for reading in batch.readings}  # type: ignore[arg-type]
        assert lacking <= waits <= self.file | self.acked
        for batch in taken:
            self.outbox.release(batch)
        self.file, self.acked = waits, self.acked - waits

    @rule()
    def restart(self) -> None:
        self.run(self.outbox.close())
        self.file |= self.open_
        self.made += len(self.open_)
        self.open_, self.flights = set(), []
        cost = self.outbox.stats().crash_cost
        self.open()
        assert self.outbox.stats().crash_cost == cost

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "outbox"):
            stats = self.outbox.stats()
            assert stats.depth == len(self.file) + len(self.open_)
            assert stats.made == ({"meter": self.next} if self.next else {})
            assert stats.dropped == {} and stats.crash_cost == 0

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.run(self.outbox.close())
        self.loop.close()
        room.SCATTERED_MAX = self.scattered_max
        shutil.rmtree(self.folder, ignore_errors=True)


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
