"""The outbox on real SQLite files: order, grouping, acknowledgement, bounds, dates, damage."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import OutboxError
from gateway.model import Ack, Position, Priority, Quality, Range, Reading, Reason
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox
from tests.unit.outbox.outbox_kit import (
    SECOND,
    UTC_2026,
    FakeClock,
    all_of,
    at_boot,
    drain,
    noisy,
    observe,
    oldest,
    peek,
    running,
    values,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "outbox.sqlite"


async def committed(outbox: object, count: int) -> None:
    async with asyncio.timeout(10):
        while outbox._writer.figures.depth < count:  # type: ignore[attr-defined]
            await asyncio.sleep(0.005)


async def test_order_ranges_and_numbers(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock) as outbox:
        assert await peek(outbox, 10) is None
        for n in range(5):
            outbox.append(observe(clock, [n, n + 0.5]))
            clock.pass_s(1)
        await committed(outbox, 10)
        batch = await peek(outbox, 100)
        assert batch is not None and batch.gateway == "box"
        assert values(batch.readings) == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5]
        assert [r.seq for r in batch.readings] == list(range(1, 11)) and batch.ranges == (Range(1, 10),)
        assert (await peek(outbox, 100)) == batch
        await outbox.ack(all_of(batch))
        assert await peek(outbox, 100) is None
        stats = outbox.stats()
        assert (stats.depth, stats.made, stats.dropped, stats.crash_cost) == (0, {"meter": 10}, {}, 0)
        assert stats.writer_alive and stats.problem == "" and stats.stream == batch.stream


async def test_observations_are_never_split(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock) as outbox:
        for size in (3, 4, 2):
            outbox.append(observe(clock, range(size)))
        await committed(outbox, 9)
        sizes = []
        while batch := await peek(outbox, 5):
            sizes.append(len(batch.readings))
            await outbox.ack(all_of(batch))
        assert sizes == [3, 4, 2]


async def test_a_partial_acknowledgement_keeps_the_rest_in_order(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock) as outbox:
        for n in range(6):
            outbox.append(observe(clock, [n, n]))
        await committed(outbox, 12)
        stream = outbox.stats().stream
        await outbox.ack(Ack(stream, (Range(3, 4), Range(9, 9))))  # half an observation is none
        assert outbox.stats().depth == 10
        await outbox.ack(Ack("another", (Range(1, 100),)))
        await outbox.ack(Ack(stream, (Range(7, 10),)))
        batch = await peek(outbox, 100)
        assert batch is not None and batch.ranges == (Range(1, 2), Range(5, 6), Range(11, 12))
        assert values(batch.readings) == [0, 0, 2, 2, 5, 5]


async def test_alarms_do_not_wait(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, interval_s=30) as outbox:
        outbox.append(observe(clock, [1]))
        assert not await outbox.wait(0.2)
        outbox.append(observe(clock, [3]), priority=Priority.ALARM)
        assert await outbox.wait(10)
        await committed(outbox, 2)
        alarm, live = await outbox.live(9), await outbox.live(9)
        assert alarm is not None and (alarm.priority, values(alarm.readings)) == (Priority.ALARM, [3])
        assert live is not None and (live.priority, values(live.readings)) == (Priority.LIVE, [1])
        assert await outbox.live(9) is None and await outbox.backlog(9) is None


async def test_close_commits_and_an_orderly_end_costs_nothing(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, interval_s=30) as outbox:
        outbox.append(observe(clock, [1]))
        await asyncio.sleep(0.05)
        outbox.append(observe(clock, [2]))
        stream = outbox.stats().stream
    async with running(path, clock) as outbox:
        assert values(await drain(outbox)) == [1, 2]
        stats = outbox.stats()
        assert (stats.stream, stats.crash_cost, stats.crashes) == (stream, 0, 0)
        assert stats.made == {"meter": 2}


async def test_every_kind_of_value_and_mark(path: Path) -> None:
    clock = FakeClock()
    kinds = [1, 1.5, True, "on", Position(37.98, 23.73, 100.0), Position(1, 2)]
    sent = [
        Reading("d", f"q{n}", v, "", UTC_2026, quality=Quality.BAD, reason=Reason.JUMP) for n, v in enumerate(kinds)
    ]
    async with running(path, clock) as outbox:
        outbox.append(sent)
        await committed(outbox, 6)
        batch = await peek(outbox, 100)
        assert batch is not None and [replace(r, seq=0) for r in batch.readings] == sent


async def test_values_that_no_file_can_hold_are_counted(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock) as outbox:
        outbox.append(observe(clock, [1]))
        outbox.append([Reading("bad", "q", 2**70, "", UTC_2026)])
        outbox.append([Reading("bad", "q", "\ud800", "", UTC_2026)])
        outbox.append([at_boot("another boot", 5)])
        outbox.append(observe(clock, [2]))
        await committed(outbox, 2)
        assert values(await drain(outbox)) == [1, 2]
        assert outbox.stats().dropped == {"unencodable": 3}
        assert sum(outbox.stats().made.values()) == 5


async def test_texts_of_any_length(path: Path) -> None:
    """A block that would be too long is more than one; what no block can hold is counted."""
    clock = FakeClock()
    texts = [os.urandom(500_000).hex() for _ in range(12)]
    async with running(path, clock) as outbox:
        for text in texts[:6]:
            outbox.append(observe(clock, [text]))
        outbox.append(observe(clock, ["x" * 5_000_000]))
        outbox.append(observe(clock, range(20_000)))
        outbox.append(observe(clock, range(20_001)))
        for text in texts[6:]:
            outbox.append(observe(clock, [text]))
        await nothing_pending(outbox)
        assert outbox.stats().dropped == {"unencodable": 20_002}
        outbox.fresh_s = 0.0
        assert values(await drain(outbox, 50_000)) == [*texts[:6], *range(20_000), *texts[6:]]


async def nothing_pending(outbox: Outbox) -> None:
    """Everything that was appended is in the file, or was dropped from it."""
    async with asyncio.timeout(20):
        while outbox._pending.depth_in_memory:
            await asyncio.sleep(0.01)


async def test_what_is_on_its_way_is_not_dropped(path: Path) -> None:
    """A full outbox drops what was not shown to the uplink first: else a reading counts as lost and arrives."""
    clock = FakeClock()
    async with running(path, clock, limits=Limits(600_000), interval_s=0.01) as outbox:
        outbox.append(observe(clock, range(100)))
        await committed(outbox, 100)
        batch = await oldest(outbox, 100)
        assert batch is not None
        made = 100
        while not outbox.stats().dropped:
            for _ in range(20):
                outbox.append(observe(clock, noisy(range(made, made + 100))))
                made += 100
                clock.pass_s(0.01)
            await asyncio.sleep(0.02)
        await outbox.ack(Ack(batch.stream, batch.ranges))
        await nothing_pending(outbox)
        left = values(await drain(outbox, 5000))
        assert 100 + len(left) + sum(outbox.stats().dropped.values()) == made


async def test_bounded_by_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.outbox.file.RECLAIM_PAGES", 16)
    clock = FakeClock()
    max_bytes = 1_000_000
    async with running(path, clock, limits=Limits(max_bytes, acked_max=0), interval_s=0.01) as outbox:
        biggest, made = 0, 0
        for _ in range(75):
            for _ in range(20):
                outbox.append(observe(clock, noisy(range(made, made + 100))))
                made += 100
                clock.pass_s(0.01)
            await asyncio.sleep(0.005)
            while outbox._pending.depth_in_memory > 20_000:
                await asyncio.sleep(0.005)
            biggest = max(biggest, outbox.stats().bytes)
        await nothing_pending(outbox)
        stats = outbox.stats()
        assert max_bytes // 2 < biggest <= max_bytes + 2**18
        assert stats.dropped.keys() == {"outbox-full"}
        left = [int(reading.value) for reading in await drain(outbox, 5000)]  # type: ignore[arg-type]
        assert left == list(range(made - len(left), made)), "the oldest go first, the rest is whole and in order"
        assert len(left) + outbox.stats().dropped["outbox-full"] == made == outbox.stats().made["meter"]
        for _ in range(20):
            await outbox._flush()
        with sqlite3.connect(path) as other:
            assert other.execute("PRAGMA page_count").fetchone()[0] * 4096 < biggest / 4, "space is given back"


async def test_memory_is_bounded_while_nothing_can_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.outbox.pending.READINGS_MAX", 100)
    clock = FakeClock()
    async with running(path, clock, interval_s=0.01) as outbox:
        outbox.append(observe(clock, [0]), priority=Priority.ALARM)
        await committed(outbox, 1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # the writer waits 5 s for this one
        for n in range(30):
            outbox.append(observe(clock, [n] * 10))
        stats = outbox.stats()
        assert stats.dropped["memory"] >= 190 and stats.depth <= 101
        other.execute("ROLLBACK")
        other.close()
        async with asyncio.timeout(20):
            while outbox.stats().depth != outbox._writer.figures.depth:
                await asyncio.sleep(0.01)
        assert len(await drain(outbox)) + outbox.stats().dropped["memory"] == 301


async def test_readings_from_before_the_sync_wait_and_are_dated_once(path: Path) -> None:
    clock = FakeClock(offset_ns=None)
    async with running(path, clock) as outbox:
        for n in range(3):
            outbox.append(observe(clock, [n]))
            clock.pass_s(1)
        await committed(outbox, 3)
        assert await peek(outbox, 10) is None
        clock.offset_ns = UTC_2026 + 123
        outbox.append(observe(clock, [3]))
        await committed(outbox, 4)
        batch = await peek(outbox, 10)
        assert batch is not None
        first = [(r.observed_ns, r.value) for r in batch.readings]
        assert [at for at, _ in first] == [UTC_2026 + (1 + n) * SECOND for n in range(3)] + [
            UTC_2026 + 4 * SECOND + 123
        ]
        assert all(r.clock is None and r.quality is Quality.GOOD for r in batch.readings)
        clock.offset_ns = UTC_2026 + 5 * SECOND  # NTP steps the clock: what was used stays
        assert [(r.observed_ns, r.value) for r in (await peek(outbox, 10)).readings] == first  # type: ignore[union-attr]
    async with running(path, clock) as outbox:
        assert [(r.observed_ns, r.value) for r in (await peek(outbox, 10)).readings] == first  # type: ignore[union-attr]


async def test_boots_that_never_knew_the_time(path: Path) -> None:
    one = FakeClock("boot-1", mono_ns=10 * SECOND)
    async with running(path, one) as outbox:
        outbox.append(observe(one, [1]))
    for number, boot in enumerate(("boot-2", "boot-3")):
        lost = FakeClock(boot, offset_ns=None, mono_ns=20 * SECOND)
        async with running(path, lost) as outbox:
            outbox.append(observe(lost, [2 + 2 * number]))
            lost.pass_s(30)
            outbox.append(observe(lost, [3 + 2 * number]))
            assert values((await peek(outbox, 10)).readings) == [1]  # type: ignore[union-attr] # dated ones may go
    four = FakeClock("boot-4", UTC_2026 + 1000 * SECOND, mono_ns=5 * SECOND)
    async with running(path, four) as outbox:
        outbox.append(observe(four, [6]))
        await committed(outbox, 6)
        batch = await peek(outbox, 10)
        assert batch is not None and values(batch.readings) == [1, 2, 3, 4, 5, 6]
        dates = [r.observed_ns for r in batch.readings]
        assert dates == sorted(dates) and dates[2] - dates[1] == dates[4] - dates[3] == 30 * SECOND
        assert [r.reason for r in batch.readings] == ["", *["clock"] * 4, ""]
        assert outbox.stats().placed == 4
    five = FakeClock("boot-5", UTC_2026 + 5000 * SECOND)
    async with running(path, five) as outbox:
        again = await peek(outbox, 10)
        assert again is not None and [r.observed_ns for r in again.readings] == dates


async def test_never_synchronised_at_all_stays_in_the_box(path: Path) -> None:
    for boot in ("boot-1", "boot-2"):
        clock = FakeClock(boot, offset_ns=None)
        async with running(path, clock) as outbox:
            outbox.append(observe(clock, [1]))
            await asyncio.sleep(0.05)
            assert await peek(outbox, 10) is None
            assert outbox.stats().depth == (1 if boot == "boot-1" else 2)


async def test_two_daemons_cannot_share_a_file(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock) as outbox:
        with pytest.raises(OutboxError) as caught:
            async with running(path, clock):
                pass
        assert caught.value.code == "outbox.in-use"
        outbox.append(observe(clock, [1]))
        await committed(outbox, 1)


async def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    async with running(path, FakeClock()):
        pass
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(OutboxError) as caught:
        async with running(path, FakeClock()):
            pass
    assert caught.value.code == "outbox.newer" and path.read_bytes() == before


async def test_a_folder_that_cannot_be_made_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutboxError, match="cannot open"):
        async with running(tmp_path / "file" / "outbox.sqlite", FakeClock()):
            pass


async def test_age(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock) as outbox:
        assert outbox.stats().oldest_age_s == 0
        outbox.append(observe(clock, [1]))
        await committed(outbox, 1)
        clock.pass_s(7)
        assert 6 < outbox.stats().oldest_age_s < 8
    other = FakeClock("boot-2", UTC_2026 + 100 * SECOND, mono_ns=SECOND)
    async with running(path, other) as outbox:
        await peek(outbox, 1)
        assert 99 < outbox.stats().oldest_age_s < 101
