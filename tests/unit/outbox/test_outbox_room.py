"""What gives way: acknowledged blocks, live readings by age or thinned, alarms last; and what is too old."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Priority, Reading
from gateway.outbox.codec import Entry
from gateway.outbox.numbers import QUIET_S, STEP_MIN, Numbers
from gateway.outbox.retention import Limits, thin
from gateway.outbox.store import Outbox
from tests.unit.outbox.outbox_kit import (
    SECOND,
    UTC_2026,
    FakeClock,
    all_of,
    drain,
    noisy,
    observe,
    oldest,
    running,
    values,
)

HOUR = 3600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


async def written(outbox: Outbox) -> None:
    async with asyncio.timeout(20):
        while outbox._pending.depth_in_memory:
            await asyncio.sleep(0.005)


async def fill(outbox: Outbox, clock: FakeClock, blocks: int, first: int = 0) -> int:
    """So many blocks of 1000 readings of one device, ten seconds apart; the number of the next reading."""
    for block in range(blocks):
        for n in range(10):
            at = first + block * 1000 + n * 100
            outbox.append(observe(clock, noisy(range(at, at + 100))))
            clock.pass_s(1)
        await written(outbox)
    return first + blocks * 1000


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(2, 5))
def test_thin_keeps_every_nth_of_each_device(devices: list[str], every: int) -> None:
    entries = [Entry(n, (Reading(device, "q", n, "W", n),)) for n, device in enumerate(devices)]
    kept = thin(entries, every)
    for device in "abc":
        all_of_it = [entry for entry in entries if entry.readings[0].device == device]
        assert [entry for entry in kept if entry.readings[0].device == device] == all_of_it[::every]
    assert [entry.seq for entry in kept] == sorted(entry.seq for entry in kept)


async def test_acknowledged_ones_give_way_first_and_alarms_last(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, limits=Limits(400_000, acked_max=125_000), interval_s=0.01) as outbox:
        outbox.fresh_s = 0.0
        made = await fill(outbox, clock, 15)
        await drain(outbox)
        await outbox._flush()
        assert outbox.stats().kept_bytes > 80_000 and outbox.stats().dropped == {}
        outbox.append(observe(clock, ["fire"]), priority=Priority.ALARM)
        while outbox.stats().kept_bytes:
            made = await fill(outbox, clock, 1, made)
            assert outbox.stats().dropped == {} or not outbox.stats().kept_bytes
        made = await fill(outbox, clock, 12, made)
        stats = outbox.stats()
        assert stats.dropped.keys() == {"outbox-full"} and stats.dropped["outbox-full"] > 2000
        alarm = await outbox.live(10)
        assert alarm is not None and values(alarm.readings) == ["fire"]
        await outbox.ack(all_of(alarm))
        left = [int(reading.value) for reading in await drain(outbox, 5000)]  # type: ignore[arg-type]
        assert left == list(range(made - len(left), made)), "the oldest went"
        assert len(left) == made - 15_000 - outbox.stats().dropped["outbox-full"]


async def test_alarms_go_where_nothing_else_is_left(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, limits=Limits(330_000, acked_max=0), interval_s=0.01) as outbox:
        outbox.fresh_s = 0.0
        outbox.append(observe(clock, [1]))
        for n in range(0, 25_000, 500):
            outbox.append(observe(clock, noisy(range(n, n + 500))), priority=Priority.ALARM)
            clock.pass_s(1)
            await written(outbox)
        left = [int(reading.value) for reading in await drain(outbox, 5000)]  # type: ignore[arg-type]
        assert left == list(range(25_000 - len(left), 25_000))
        assert outbox.stats().dropped == {"outbox-full": 25_001 - len(left)}


async def test_thinned_instead_of_dropped(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, limits=Limits(350_000, acked_max=0, thin=True), interval_s=0.01) as outbox:
        outbox.fresh_s = 0.0
        made = await fill(outbox, clock, 44)
        stats = outbox.stats()
        assert stats.dropped.keys() == {"thinned"} and stats.bytes < 600_000
        left = [int(reading.value) for reading in await drain(outbox, 5000)]  # type: ignore[arg-type]
        assert left == sorted(left) and len(left) + stats.dropped["thinned"] == made
        assert left[:100] == list(range(100)), "the first observation is still there"
        observations = Counter(value // 100 for value in left)
        assert set(observations.values()) == {100}, "an observation stays whole or goes"
        quarter = made // 400
        kept = [
            sum(begin <= number < begin + quarter for number in observations)
            for begin in range(0, 4 * quarter, quarter)
        ]
        assert kept[0] < kept[-1] == quarter, "the older the thinner, the newest whole"
        gaps = [b - a for a, b in zip(list(observations), list(observations)[1:], strict=False)]
        assert max(gaps) <= 200, "no long holes"


async def test_what_is_too_old_is_given_up_in_trusted_time(path: Path) -> None:
    limits = Limits(2**26, keep_for_s=24 * HOUR)
    clock = FakeClock()
    async with running(path, clock, limits=limits, interval_s=0.01) as outbox:
        outbox.append(observe(clock, [1, 2]))
        await written(outbox)
        clock.pass_s(20 * HOUR)
        outbox.append(observe(clock, [3]))
        await written(outbox)
        assert outbox.stats().dropped == {}
    untrusted = FakeClock("boot-2", offset_ns=None, mono_ns=30 * HOUR * SECOND)
    async with running(path, untrusted, limits=limits, interval_s=0.01) as outbox:
        outbox.append(observe(untrusted, [4]))
        await written(outbox)
        assert outbox.stats().dropped == {} and outbox.stats().depth == 4, "no clock says that they are old"
    trusted = FakeClock("boot-3", UTC_2026 + 25 * HOUR * SECOND, mono_ns=SECOND)
    async with running(path, trusted, limits=limits, interval_s=0.01) as outbox:
        await outbox._flush()
        assert outbox.stats().dropped.get("expired") in (2, 3)


async def test_what_is_on_its_way_is_not_too_old(path: Path) -> None:
    clock = FakeClock()
    async with running(path, clock, limits=Limits(2**26, keep_for_s=60), interval_s=0.01) as outbox:
        outbox.append(observe(clock, [1]))
        await written(outbox)
        outbox.fresh_s = 0.0
        batch = await oldest(outbox, 10)
        assert batch is not None
        clock.pass_s(120)
        await outbox._flush()
        assert outbox.stats().dropped == {}
        outbox.release(batch)
        await outbox._flush()
        assert outbox.stats().dropped == {"expired": 1} and outbox.stats().depth == 0
        assert await oldest(outbox, 10) is None


def test_numbers_follow_the_rate() -> None:
    numbers, now_s = Numbers(), 1000.0
    numbers.start(0, STEP_MIN)
    renewals = []
    for _ in range(600 * 100):  # 100 a second for ten minutes, nothing else written
        now_s += 0.01
        while numbers.take(1) is None or numbers.short:
            numbers.reserved(numbers.wanted(now_s, 1.0, quiet=True))
            renewals.append(now_s)
    late = [at for at in renewals if at > 1120]
    assert len(late) <= 480 / (QUIET_S / 2), "about one in a minute"
    to = numbers.wanted(now_s, 1.0, quiet=False)
    assert to - numbers.next < 400, "where each window is committed the bound is close"
