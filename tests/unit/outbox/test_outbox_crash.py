"""kill -9, damaged files, full disks."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.model import Priority, Reading
from gateway.outbox.store import Outbox
from tests.durability.appender import READINGS
from tests.unit.outbox.outbox_kit import UTC_2026, FakeClock, drain, observe, peek, running, values

ROOT = Path(__file__).parents[3]


def killed(path: Path, first: int, seconds: float) -> tuple[int, list[str]]:
    """Run the appender, kill it: (readings it said are committed, what it said when it opened)."""
    command = [sys.executable, "-m", "tests.durability.appender", str(path), str(first)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    opened = child.stdout.readline().split()
    deadline = time.monotonic() + seconds
    said = 0
    while time.monotonic() < deadline:
        said = int(child.stdout.readline().split()[1])
    child.kill()
    rest = [line.split() for line in child.stdout.read().splitlines()]
    said = max([said, *(int(line[1]) for line in rest if len(line) == 2 and line[1].isdigit())])
    child.wait()
    child.stdout.close()
    return said, opened


async def test_kill_9_costs_the_open_window_only(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    first, stream, cost = 0, "", 0
    for number in range(4):
        said, opened = killed(path, first, random.uniform(0.1, 0.4))
        stream = stream or opened[1]
        assert opened[1] == stream and int(opened[3]) == number, "the stream goes on, each crash is counted"
        async with running(path, FakeClock()) as outbox:
            stats = outbox.stats()
            assert sum(stats.made.values()) >= said
            assert cost < stats.crash_cost < cost + 3000
            cost = stats.crash_cost
            held = values(await drain(outbox))
        assert held == [v for v in range(first, first + len(held) // READINGS) for _ in range(READINGS)]
        first += len(held) // READINGS
        async with running(path, FakeClock()) as outbox:
            assert outbox.stats().crash_cost == cost, "an orderly end costs nothing"
        cost_of_this = cost
        assert cost_of_this > 0


async def nothing_pending(outbox: Outbox) -> None:
    async with asyncio.timeout(20):
        while outbox._pending.depth_in_memory:
            await asyncio.sleep(0.005)


async def fill(path: Path, count: int, clock: FakeClock | None = None) -> str:
    clock = clock or FakeClock()
    async with running(path, clock, interval_s=0.005) as outbox:
        for n in range(count):
            outbox.append(observe(clock, [n, os.urandom(50).hex()]))
            clock.pass_s(1)
            if n % 10 == 0:
                await asyncio.sleep(0.01)
        return outbox.stats().stream


def damaged(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.glob("*.damaged-*") if not file.name.endswith(("-wal", "-shm")))


@pytest.mark.parametrize("rubbish", [b"", b"not a database at all" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
async def test_a_file_that_is_something_else(tmp_path: Path, rubbish: bytes) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(rubbish)
    async with running(path, FakeClock()) as outbox:
        outbox.append(observe(FakeClock(), [1]))
        await nothing_pending(outbox)
        assert values(await drain(outbox)) == [1]
    assert damaged(path) == (["outbox.sqlite.damaged-1"] if rubbish else [])


async def test_another_program_s_database_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    async with running(path, FakeClock()):
        pass
    assert damaged(path) == ["outbox.sqlite.damaged-1"]


async def test_a_torn_file_is_salvaged_and_the_rest_counted(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    stream = await fill(path, 2000)
    pages = path.stat().st_size // 4096
    assert pages > 40
    with path.open("r+b") as file:
        for page in range(pages // 2, pages // 2 + 3):
            file.seek(page * 4096)
            file.write(os.urandom(4096))
    async with running(path, FakeClock()) as outbox:
        stats = outbox.stats()
        assert stats.stream != stream
        held = values(await drain(outbox))[::2]
        assert held == sorted(held, key=int) and 500 < len(held) < 2000  # type: ignore[call-overload]
        assert stats.depth == 2 * len(held)
        assert stats.dropped == {"damaged": 4000 - 2 * len(held)}
        assert stats.made == {"meter": 4000} and stats.crash_cost == 0
        outbox.append(observe(FakeClock(), ["new"]))
        await nothing_pending(outbox)
    assert damaged(path) == ["outbox.sqlite.damaged-1"]


async def test_a_block_that_rots_while_running(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    clock = FakeClock()
    async with running(path, clock) as outbox:
        outbox.fresh_s = 0.0
        for n in range(3):
            outbox.append(observe(clock, [n]), priority=Priority.ALARM)
            await nothing_pending(outbox)
        stream = outbox.stats().stream
        with sqlite3.connect(path) as db:
            db.execute("UPDATE block SET body = zeroblob(9) WHERE first_seq = 2")
        assert values(await drain(outbox)) == [0, 2]
        stats = outbox.stats()
        assert stats.stream != stream and stats.dropped == {"damaged": 1} and stats.crash_cost == 0
        outbox.append(observe(clock, [3]), priority=Priority.ALARM)
        await nothing_pending(outbox)
        assert values(await drain(outbox)) == [3]


async def test_damage_keeps_the_dates_that_were_used(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    lost = FakeClock("boot-1", offset_ns=None)
    await fill(path, 300, lost)
    two = FakeClock("boot-2", UTC_2026)
    async with running(path, two) as outbox:
        before = await peek(outbox, 1000)
        assert before is not None
    with sqlite3.connect(path) as db:
        db.execute("UPDATE block SET body = zeroblob(9) WHERE first_seq = (SELECT max(first_seq) FROM block)")
    async with running(path, FakeClock("boot-3", UTC_2026 + 10**12)) as outbox:
        after = await peek(outbox, 1000)
        assert after is not None and after.stream != before.stream and len(after.readings) < 600
        assert list(after.readings) == list(before.readings)[: len(after.readings)]


async def test_only_few_damaged_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    for n in range(6):
        path.write_bytes(b"rubbish number %d" % n * 100)
        async with running(path, FakeClock()):
            pass
    assert damaged(path) == [f"outbox.sqlite.damaged-{n}" for n in (4, 5, 6)]


async def test_a_rescue_that_was_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    await fill(path, 5)
    path.rename(path.with_name("outbox.sqlite.new"))  # killed after the damaged file was moved, before the new one was
    async with running(path, FakeClock()) as outbox:
        assert outbox.stats().depth == 10
    path.with_name("outbox.sqlite.new").write_bytes(b"half")  # killed while the new file was built
    async with running(path, FakeClock()) as outbox:
        assert outbox.stats().depth == 10
    assert damaged(path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk  # type: ignore[misc]
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_up(hog: Path) -> None:
    with pytest.raises(OSError, match="No space"), hog.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


async def test_the_disk_fills_up_and_is_freed_again(small_disk: Path) -> None:
    path = small_disk / "outbox.sqlite"
    clock = FakeClock()
    async with running(path, clock, interval_s=0.01) as outbox:
        made = 0

        def make(count: int) -> None:
            nonlocal made
            for _ in range(count):
                outbox.append([Reading("meter", f"q{i}", float(made), "W", clock.now_ns + UTC_2026) for i in range(20)])
                clock.pass_s(0.01)
                made += 1

        make(10)
        await nothing_pending(outbox)
        fill_up(small_disk / "hog")
        for _ in range(60):
            make(50)
            await asyncio.sleep(0.005)
        stats = outbox.stats()
        assert stats.writer_alive and stats.made == {"meter": made * 20}
        await asyncio.sleep(0.2)
        (small_disk / "hog").unlink()
        async with asyncio.timeout(15):
            while outbox.stats().problem or outbox.stats().depth != outbox._writer.figures.depth:
                await asyncio.sleep(0.02)
        held = values(await drain(outbox, 5000))[::20]
        lost = sum(outbox.stats().dropped.values())
        assert sorted(held) == [float(v) for v in range(made - len(held), made)], "what is left is the newest"
        assert len(held) * 20 + lost == made * 20 and set(outbox.stats().dropped) <= {"disk-full"}


async def test_a_start_on_a_full_disk(small_disk: Path) -> None:
    fill_up(small_disk / "hog")
    clock = FakeClock()
    async with running(small_disk / "outbox.sqlite", clock) as outbox:
        assert outbox.stats().problem and outbox.stats().writer_alive
        outbox.append(observe(clock, [1]))
        await asyncio.sleep(0.1)
        assert outbox.stats().depth == 1
        (small_disk / "hog").unlink()
        await nothing_pending(outbox)
        assert values(await drain(outbox)) == [1] and outbox.stats().problem == ""
