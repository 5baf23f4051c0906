"""The newest from memory, what is acknowledged in time and never written, the backlog, the tail, what a crash costs."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from gateway.model import Ack, Priority, Range
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox
from tests.unit.outbox.outbox_kit import FakeClock, all_of, drain, noisy, observe, running, values


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


async def committed(outbox: Outbox, count: int) -> None:
    async with asyncio.timeout(20):
        while outbox._writer.figures.depth < count:
            await asyncio.sleep(0.005)


def blocks(path: Path) -> list[tuple[int, int]]:
    """(readings, whether they are acknowledged) of each block."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute("SELECT count, acked > 0 FROM block ORDER BY first_seq").fetchall()


async def test_a_reading_can_be_sent_before_it_is_written(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, interval_s=30) as outbox:
        outbox.append(observe(clock, [1, 2]))
        batch = await outbox.live(10)
        assert batch is not None and (batch.priority, values(batch.readings)) == (Priority.LIVE, [1, 2])
        assert [r.seq for r in batch.readings] == [1, 2] and batch.ranges == (Range(1, 2),)
        assert outbox._writer.figures.depth == 0 and outbox.stats().depth == 2


async def test_what_is_acknowledged_in_its_window_is_not_written_but_to_the_tail(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, interval_s=0.3) as outbox:
        for n in range(20):
            outbox.append(observe(clock, [n, n]))
            clock.pass_s(1)
            await outbox.ack(all_of(await outbox.live(10)))  # type: ignore[arg-type]
        await asyncio.sleep(0.6)
        assert blocks(path) == [] and outbox.stats().depth == 0 and outbox.stats().made == {"meter": 40}
        outbox.append(observe(clock, [99]))
        await committed(outbox, 1)
        assert blocks(path) == [(40, 1), (1, 0)], "the tail goes along with the next commit"
    async with running(path, clock) as outbox:
        assert values(await drain(outbox)) == [99] and outbox.stats().made == {"meter": 41}


async def test_what_leaves_the_memory_is_backlog(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock) as outbox:
        for n in range(30):
            outbox.append(observe(clock, [n]))
            clock.pass_s(1)
        await committed(outbox, 30)
        assert await outbox.backlog(10) is None
        outbox.fresh_s = 0.0
        first, second = await outbox.backlog(10), await outbox.backlog(15)
        assert first is not None and second is not None and first.priority is Priority.HISTORY
        assert values(first.readings) == list(range(10)) and values(second.readings) == list(range(10, 25))
        outbox.append(observe(clock, [30]))
        live = await outbox.live(10)
        assert live is not None and values(live.readings) == [30], "the newest does not wait behind them"
        outbox.release(first)
        await outbox.ack(all_of(second))
        again = await outbox.backlog(100)
        assert again is not None and values(again.readings) == [*range(10), *range(25, 30)]


async def test_old_alarms_go_before_new_readings(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock) as outbox:
        outbox.append(observe(clock, ["fire"]), priority=Priority.ALARM)
        outbox.append(observe(clock, [1]))
    async with running(path, clock) as outbox:
        outbox.append(observe(clock, [2]))
        alarm, live = await outbox.live(10), await outbox.live(10)
        assert alarm is not None and (alarm.priority, values(alarm.readings)) == (Priority.ALARM, ["fire"])
        assert live is not None and values(live.readings) == [2]
        await outbox.ack(all_of(alarm))
        backlog = await outbox.backlog(10)
        assert backlog is not None and values(backlog.readings) == [1]


async def crashed(path: Path, to: Path) -> Path:
    """The files as a kill -9 would leave them now."""
    to.mkdir()
    for file in path.parent.glob("outbox.sqlite*"):
        if not file.name.endswith(("-shm", ".lock")):
            shutil.copy(file, to)
    return to / path.name


async def test_what_a_crash_cost_is_known_and_the_server_says_what_it_has(path: Path, tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, interval_s=30) as outbox:
        for n in range(40):
            outbox.append(observe(clock, [n]))
        delivered = await outbox.live(25)
        assert delivered is not None and len(delivered.readings) == 25
        await outbox.ack(all_of(delivered))
        copy = await crashed(path, tmp_path / "crashed")
    async with running(copy, clock, interval_s=30) as outbox:
        stats = outbox.stats()
        assert stats.crashes == 1 and 40 <= stats.crash_cost <= 3 * 64 and stats.depth == 0
        before = stats.crash_cost
        assert await outbox.held({stats.stream: delivered.ranges}) == 0
        assert outbox.stats().crash_cost == before - 25
        assert await outbox.held({stats.stream: delivered.ranges}) == 0
        assert outbox.stats().crash_cost == before - 25, "it counts once"
        outbox.append(observe(clock, [1]))
        batch = await outbox.live(1)
        assert batch is not None and batch.readings[0].seq > before, "no number is used twice"


async def test_a_server_from_an_older_backup_gets_again_what_it_lacks(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, interval_s=30) as outbox:
        for n in range(50):  # acknowledged before it was written
            outbox.append(observe(clock, [n]))
        await outbox.ack(all_of(await outbox.live(100)))  # type: ignore[arg-type]
    async with running(path, clock) as outbox:
        outbox.fresh_s = 0.0
        for n in range(50, 100):  # acknowledged after it was written
            outbox.append(observe(clock, [n]))
        await committed(outbox, 50)
        await drain(outbox)
        stats = outbox.stats()
        assert stats.depth == 0
        assert await outbox.held({stats.stream: (Range(1, 1000),)}) == 0, "it has all"
        assert await outbox.held({stats.stream: (Range(1, 30), Range(60, 60))}) == 69
        again = await outbox.backlog(1000)
        assert again is not None and values(again.readings) == [n for n in range(30, 100) if n != 59]
        await outbox.ack(all_of(again))
        assert await outbox.held({}) == 100 == outbox.stats().depth, "an empty server gets all"


async def test_the_tail_is_bounded_and_can_be_off(path: Path, tmp_path: Path) -> None:
    clock = FakeClock()
    limits = Limits(64 * 2**20, acked_max=50_000)
    async with running(path, clock, interval_s=0.01, limits=limits) as outbox:
        for n in range(60):
            outbox.append(observe(clock, noisy(range(n, n + 500))))
            clock.pass_s(1)
            await drain(outbox)
            await outbox._flush()
        assert 25_000 < outbox.stats().kept_bytes <= 50_000
        kept = await outbox.held({})
        assert 1000 < kept < 30_000 and outbox.stats().dropped == {}
    off = tmp_path / "off.sqlite"
    async with running(off, clock, interval_s=0.01, limits=Limits(64 * 2**20, acked_max=0)) as outbox:
        for n in range(5):
            outbox.append(observe(clock, [n]))
            await committed(outbox, 1)
            await drain(outbox)
            outbox.append(observe(clock, [n]))
            await outbox.ack(all_of(await outbox.live(9)))  # type: ignore[arg-type]
        await outbox._flush()
        assert blocks(off) == [] and await outbox.held({}) == 0


async def test_the_tail_lasts_a_day(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, interval_s=0.01) as outbox:
        outbox.append(observe(clock, [1]))
        await drain(outbox)
        await outbox._flush()
        clock.pass_s(23 * 3600)
        outbox.append(observe(clock, [2]))
        await drain(outbox)
        await outbox._flush()
        assert len(blocks(path)) == 2
        clock.pass_s(2 * 3600)
        await outbox._flush()
        assert len(blocks(path)) == 1


async def test_a_partial_acknowledgement_of_memory_and_file(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, interval_s=0.01) as outbox:
        outbox.append(observe(clock, [0, 1, 2]))
        outbox.append(observe(clock, [3, 4]))
        await committed(outbox, 5)
        stream = outbox.stats().stream
        await outbox.ack(Ack(stream, (Range(1, 3), Range(5, 5))))
        assert outbox.stats().depth == 2
        live = await outbox.live(10)
        assert live is not None and values(live.readings) == [3, 4]
        outbox.release(live)
        outbox.fresh_s = 0.0
        backlog = await outbox.backlog(10)
        assert backlog is not None and values(backlog.readings) == [3, 4]


async def test_more_than_the_numbers_that_are_reserved(path: Path) -> None:
    """A burst waits for its numbers; each gets one, in order."""
    clock = FakeClock()
    async with running(path, clock, interval_s=0.05) as outbox:
        for n in range(300):
            outbox.append(observe(clock, range(n * 10, n * 10 + 10)))
        await committed(outbox, 3000)
        left = await drain(outbox, 5000)
        assert values(left) == list(range(3000)) and [r.seq for r in left] == list(range(1, 3001))


async def test_thinned_readings_are_backlog_and_memory_does_not_grow_with_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has each third reading, in thousands of ranges: the file, and not memory, knows which those are."""
    monkeypatch.setattr("gateway.outbox.room.SCATTERED_MAX", 300)
    clock = FakeClock()
    async with running(path, clock) as outbox:
        outbox.fresh_s = 3600
        sent: list[object] = []
        for part in range(20):
            for n in range(300):
                outbox.append(observe(clock, [300 * part + n]))
                clock.pass_s(1)
            await committed(outbox, 200 * part + 300)
            batch = await outbox.live(1000, 3)
            assert batch is not None and len(batch.readings) == 100
            sent += values(batch.readings)
            await outbox.ack(all_of(batch))
            assert await outbox.live(1000, 3) is None
        assert outbox.stats().deferred == outbox.stats().depth == 4000
        async with asyncio.timeout(20):
            while outbox._writer._database._acks.scattered > 300:  # type: ignore[union-attr]
                outbox.append(observe(clock, [-1]))
                await asyncio.sleep(0.05)
        outbox.fresh_s = 0
        left = [value for value in values(await drain(outbox)) if value != -1]
        assert sorted([*sent, *left]) == list(range(6000))  # type: ignore[type-var]
        assert left == sorted(left)  # type: ignore[type-var]
        assert outbox.stats().dropped == {}
        stream = outbox.stats().stream
        assert await outbox.held({stream: (Range(1, 10**6),)}) == 0
        assert await outbox.held({}) >= 6000, "all of it is kept for a server that lost it"
