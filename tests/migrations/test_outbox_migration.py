"""Outboxes of older versions open, and nothing in them is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from gateway.model import Position, Quality, Reason
from gateway.outbox.file import SCHEMA_VERSION
from gateway.outbox.inspection import Inspection
from tests.unit.outbox.outbox_kit import SECOND, UTC_2026, FakeClock, drain, observe, running, values

OLD = sorted((Path(__file__).parent / "outbox").glob("*.sqlite"))
MADE = {"meter": 410, "door": 4}


@pytest.fixture(params=OLD, ids=lambda file: f"version {file.stem}")
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(request.param, tmp_path / "outbox.sqlite"))


def version(path: Path) -> int:
    with sqlite3.connect(path) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


async def test_nothing_is_lost(path: Path) -> None:
    clock = FakeClock("boot-4", UTC_2026 + 10**6 * SECOND)
    async with running(path, clock) as outbox:
        stats = outbox.stats()
        assert (stats.depth, stats.made, stats.dropped) == (394, MADE, {"refused-by-server": 3})
        assert (stats.crashes, stats.crash_cost, stats.kept_bytes) == (1, 64, 0)
        outbox.append(observe(clock, [7]))
        readings = await drain(outbox)
        meter = [value for n in range(10, 200) for value in (n, n + 0.5)]
        door = [1, True, "on", Position(37.98, 23.73, 100.0)]
        assert values(readings) == [*meter, *door, *range(1000, 1010), 7]
        assert readings[380].quality is Quality.BAD and readings[380].reason is Reason.JUMP
        assert [r.seq for r in readings[:394]] == list(range(21, 415)) and readings[394].seq > 414 + 64
        assert all(r.reason is Reason.CLOCK for r in readings[384:394]) and outbox.stats().placed == 10
        assert readings[0].observed_ns == UTC_2026 + 20 * SECOND
        assert outbox.stats().depth == 0
    assert version(path) == SCHEMA_VERSION
    async with running(path, clock) as outbox:
        assert outbox.stats().made == {"meter": 411, "door": 4} and outbox.stats().depth == 0


async def test_acknowledged_old_blocks_stay_for_a_server_that_lacks_them(path: Path) -> None:
    clock = FakeClock("boot-4", UTC_2026 + 10**6 * SECOND)
    async with running(path, clock) as outbox:
        first = await drain(outbox)
        assert await outbox.held({}) == len(first) == outbox.stats().depth
        assert await drain(outbox) == first


async def test_a_damaged_one_is_salvaged(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE block SET body = zeroblob(9) WHERE first_seq = (SELECT max(first_seq) FROM block)")
    with path.open("r+b") as file:
        file.seek(30)
        file.write(os.urandom(60))
    async with running(path, FakeClock("boot-4", UTC_2026 + 10**6 * SECOND)) as outbox:
        assert path.with_name("outbox.sqlite.damaged-1").exists() and outbox.stats().problem == ""


async def test_damaged_blocks_are_counted_and_the_rest_is_kept(path: Path) -> None:
    with sqlite3.connect(path) as db:
        (lost,) = db.execute("SELECT count FROM block ORDER BY first_seq LIMIT 1").fetchone()
        db.execute("UPDATE block SET body = zeroblob(9) WHERE first_seq = (SELECT min(first_seq) FROM block)")
    async with running(path, FakeClock("boot-4", UTC_2026 + 10**6 * SECOND)) as outbox:
        assert len(await drain(outbox)) == 394 - lost
        stats = outbox.stats()
        assert stats.dropped == {"refused-by-server": 3, "damaged": lost} and stats.made == MADE


def test_it_can_be_inspected_as_it_is(path: Path) -> None:
    before = version(path)
    inspection = Inspection(path)
    contents = inspection.contents()
    assert (contents.readings, contents.made, inspection.verify()) == (394, MADE, [])
    inspection.close()
    assert version(path) == before
