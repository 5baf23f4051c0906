"""What goes next and how much of it, on a real outbox and a clock that the test sets."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.model import Batch, Priority
from gateway.outbox.store import Outbox
from gateway.uplink.link_pace import Pace
from gateway.uplink.pace import SIZE_FIRST
from gateway.uplink.turns import Turns
from tests.unit.outbox.outbox_kit import FakeClock, all_of, noisy, observe, running

WAY = Pace(interval_s=1.0, batch_max=2000)
WAITING, NEW = 6000, 2000


async def backlog_and_new(outbox: Outbox, clock: FakeClock, new: int) -> Turns:
    """Turns on a link that just came back, with much that waits in the file, and ``new`` readings in memory."""
    outbox.fresh_s = 0.0
    for _ in range(WAITING // 100):
        outbox.append(observe(clock, noisy(range(100))))
        clock.pass_s(1)
    async with asyncio.timeout(30):
        while outbox._writer.figures.depth < WAITING:
            await asyncio.sleep(0.02)
    outbox._retire()
    turns = Turns(outbox, clock)
    turns.over(WAY)
    outbox.fresh_s = 60.0
    for _ in range(new // 100):
        outbox.append(observe(clock, noisy(range(100))))
    turns.begin()
    return turns


async def exchange(turns: Turns, outbox: Outbox, clock: FakeClock, spent_s: float) -> Batch:
    batch = await turns.next(in_order=False)
    assert batch is not None
    clock.pass_s(spent_s)
    await outbox.ack(all_of(batch))
    turns.done(batch, spent_s)
    return batch


async def test_what_the_newest_values_prove_the_backlog_need_not_try_again(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "outbox.sqlite", clock) as outbox:
        turns = await backlog_and_new(outbox, clock, NEW)
        first = await exchange(turns, outbox, clock, 0.06)
        assert first.priority is Priority.LIVE and len(first.readings) == NEW
        outbox.append(observe(clock, noisy(range(10))))
        few = await exchange(turns, outbox, clock, 0.02)
        assert few.priority is Priority.LIVE and len(few.readings) == 10
        old = await exchange(turns, outbox, clock, 0.06)
        assert old.priority is Priority.HISTORY and len(old.readings) == 2 * SIZE_FIRST


async def test_a_small_batch_that_is_late_does_not_slow_the_backlog(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "outbox.sqlite", clock) as outbox:
        turns = await backlog_and_new(outbox, clock, 100)
        await exchange(turns, outbox, clock, 0.9)
        old = await exchange(turns, outbox, clock, 0.06)
        assert old.priority is Priority.HISTORY and len(old.readings) == SIZE_FIRST
