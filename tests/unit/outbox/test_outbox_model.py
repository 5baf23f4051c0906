"""Any sequence of append, commit, peek, acknowledge, restart and crash keeps order and loses nothing committed."""

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

from gateway.model import Ack, Batch, Range
from gateway.outbox.store import Outbox
from tests.unit.outbox.outbox_kit import FakeClock, observe

T = TypeVar("T")


class OutboxMachine(RuleBasedStateMachine):
    """``committed``: values in the file and not acknowledged; ``pending``: appended since the last commit."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.clock = FakeClock()
        self.committed: list[int] = []
        self.pending: list[int] = []
        self.next = 0
        self.made = 0
        self.batch: Batch | None = None
        self.last_seq = 0

    def run(self, what: Awaitable[T]) -> T:
        return self.loop.run_until_complete(what)  # type: ignore[arg-type]

    @initialize()
    def open(self) -> None:
        self.outbox = Outbox(self.folder / "o.sqlite", max_bytes=2**26, commit_interval_s=60, clock=self.clock)
        self.run(self.outbox.start())

    @rule(size=st.integers(1, 5))
    def append(self, size: int) -> None:
        numbers = list(range(self.next, self.next + size))
        self.next += size
        self.pending += numbers
        self.outbox.append(observe(self.clock, numbers))
        self.clock.pass_s(1)
        if not self.outbox._reserved or self.outbox._pending.at_risk > self.outbox._reserved:
            self.commit()

    @rule()
    def commit(self) -> None:
        self.run(self.outbox._flush(64))
        self.outbox._reserved = 64
        self.committed += self.pending
        self.made += len(self.pending)
        self.pending = []

    @rule(limit=st.integers(1, 30))
    def peek(self, limit: int) -> None:
        self.batch = self.run(self.outbox.peek(limit))
        got = [reading.value for reading in self.batch.readings] if self.batch else []
        assert got == self.committed[: len(got)] and (bool(got) == bool(self.committed))
        assert len(got) <= max(limit, 5)
        if self.batch:
            numbers = [reading.seq for reading in self.batch.readings]
            assert numbers == sorted(set(numbers))
            assert numbers == [n for r in self.batch.ranges for n in range(r.first, r.last + 1)]

    @precondition(lambda self: self.batch is not None)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        assert self.batch is not None
        readings = self.batch.readings
        ends = [i for i in range(len(readings)) if i + 1 == len(readings) or readings[i + 1].quantity == "q0"]
        end = data.draw(st.sampled_from(ends))
        gone = [reading.seq for reading in readings[: end + 1]]
        ranges = tuple(
            Range(max(r.first, gone[0]), min(r.last, gone[-1])) for r in self.batch.ranges if r.first <= gone[-1]
        )
        self.run(self.outbox.ack(Ack(self.batch.stream, ranges)))
        acked = {reading.value for reading in readings[: end + 1]}
        self.committed = [value for value in self.committed if value not in acked]

    @rule()
    def restart(self) -> None:
        self.run(self.outbox.close())
        self.committed += self.pending
        self.made += len(self.pending)
        self.pending, self.batch = [], None
        cost = self.outbox.stats().crash_cost
        self.open()
        assert self.outbox.stats().crash_cost == cost

    @rule()
    def crash(self) -> None:
        """The process is gone: copy the files as they are, and open the copy."""
        cost, at_risk = self.outbox.stats().crash_cost, len(self.pending)
        copy = Path(tempfile.mkdtemp(dir=self.folder.parent))
        for file in self.folder.iterdir():
            if not file.name.endswith(("-shm", ".lock")):
                shutil.copy(file, copy)
        self.run(self.outbox.close())
        shutil.rmtree(self.folder)
        self.folder, self.pending, self.batch = copy, [], None
        self.open()
        assert at_risk <= self.outbox.stats().crash_cost - cost <= 64 + 5

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "outbox"):
            stats = self.outbox.stats()
            assert stats.depth == len(self.committed) + len(self.pending)
            assert stats.made == ({"meter": self.made + len(self.pending)} if self.made + len(self.pending) else {})
            assert stats.dropped == {}

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.run(self.outbox.close())
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
