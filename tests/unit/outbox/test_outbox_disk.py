"""Disks that are full, read-only, out of inodes or limited: the outbox lives, readings leave, and it recovers alone."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.model import Priority
from gateway.outbox.store import Outbox
from tests.unit.outbox.outbox_kit import FakeClock, all_of, drain, noisy, observe, running, values

Disk = Callable[[str], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True).returncode:
            pytest.skip("mounting a small disk needs root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


async def sends_from_memory(outbox: Outbox, clock: FakeClock, first: int) -> set[str]:
    """Readings leave although nothing can be written; the streams they came in."""
    streams = set()
    for n in range(first, first + 300):
        outbox.append(observe(clock, [n]))
        clock.pass_s(1)
        batch = await outbox.live(10)
        if batch is not None:
            streams.add(batch.stream)
            await outbox.ack(all_of(batch))
    await until(lambda: outbox.stats().depth == 0 or bool(outbox.stats().problem))
    while batch := await outbox.live(100):
        streams.add(batch.stream)
        await outbox.ack(all_of(batch))
    assert outbox._pending.depth == 0
    return streams


@contextlib.asynccontextmanager
async def in_trouble(outbox: Outbox, clock: FakeClock) -> AsyncIterator[None]:
    """Wait until the outbox knows of it; afterwards until it is over. What came meanwhile is kept, or counted."""
    stream = outbox.stats().stream
    outbox.append(observe(clock, ["trouble"]), priority=Priority.ALARM)
    await until(lambda: bool(outbox.stats().problem))
    yield
    await until(lambda: not outbox.stats().problem)
    assert outbox.stats().writer_alive
    assert outbox.stats().stream == (stream or outbox.stats().stream)


async def test_read_only_for_a_while(disk: Disk) -> None:
    folder, clock = disk("size=8m"), FakeClock()
    async with running(folder / "outbox.sqlite", clock) as outbox:
        outbox.append(observe(clock, [-1]))
        await until(lambda: outbox._writer.figures.depth == 1)
        outbox._writer._database.close()  # type: ignore[union-attr]  # the kernel remounts only what nobody writes to
        outbox._writer._database = None
        remount(folder, "ro")
        async with in_trouble(outbox, clock):
            streams = await sends_from_memory(outbox, clock, 0)
            assert len(streams) == 2, "the real one as long as its numbers last, then a volatile one"
            outbox.append(observe(clock, ["kept"]))
            assert outbox._pending.depth == 1
            remount(folder, "rw")
        await until(lambda: outbox._writer.figures.depth == outbox.stats().depth)
        left = await drain(outbox)
        assert values(left) == ["kept"] or values(left) == [-1, "kept"]
        assert outbox.stats().dropped == {}


async def test_a_start_on_a_read_only_disk(disk: Disk) -> None:
    folder, clock = disk("size=8m"), FakeClock()
    remount(folder, "ro")
    async with running(folder / "outbox.sqlite", clock) as outbox:
        assert outbox.stats().problem
        async with in_trouble(outbox, clock):
            assert len(await sends_from_memory(outbox, clock, 0)) == 1
            on_its_way = observe(clock, ["on its way"])
            outbox.append(on_its_way)
            batch = await outbox.live(10)
            outbox.append(observe(clock, ["kept"]))
            remount(folder, "rw")
        assert batch is not None
        await outbox.ack(all_of(batch))
        assert values(await drain(outbox)) == ["kept"]
        assert outbox.stats().made == {"meter": 303} and outbox.stats().volatile == 0
    async with running(folder / "outbox.sqlite", clock) as outbox:
        assert outbox.stats().made == {"meter": 303} and outbox.stats().depth == 0


async def test_no_inode_is_left(disk: Disk) -> None:
    folder, clock = disk("size=8m,nr_inodes=20"), FakeClock()
    hogs = []
    with pytest.raises(OSError, match="No space"):
        while True:
            hogs.append(folder / f"hog{len(hogs)}")
            hogs[-1].touch()
    async with running(folder / "outbox.sqlite", clock) as outbox:
        async with in_trouble(outbox, clock):
            await sends_from_memory(outbox, clock, 0)
            for hog in hogs:
                hog.unlink(missing_ok=True)
        outbox.append(observe(clock, ["kept"]))
        await until(lambda: outbox._writer.figures.depth == 1)


async def test_no_inode_is_left_for_the_log(disk: Disk) -> None:
    """The database is there, its write-ahead log cannot be made."""
    folder, clock = disk("size=8m,nr_inodes=20"), FakeClock()
    async with running(folder / "outbox.sqlite", clock) as outbox:
        outbox.append(observe(clock, ["kept"]))
    await test_no_inode_is_left(lambda _: folder)
    async with running(folder / "outbox.sqlite", clock) as outbox:
        assert values(await drain(outbox)) == ["kept", "kept"]


async def test_a_full_disk_and_a_link_that_works(disk: Disk) -> None:
    folder, clock = disk("size=3m"), FakeClock()
    async with running(folder / "outbox.sqlite", clock) as outbox:
        await until(lambda: outbox.stats().bytes > 0)
        with pytest.raises(OSError, match="No space"), (folder / "hog").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        made = 0
        while not outbox.stats().problem and made < 300:  # it goes round in what it has as long as it can
            outbox.append(observe(clock, noisy(range(100))), priority=Priority.ALARM)
            made += 1
            await asyncio.sleep(0.01)
        assert outbox.stats().problem
        async with in_trouble(outbox, clock):
            outbox.append(observe(clock, ["new"]))
            await drain(outbox)
            assert outbox.stats().depth == 0
            (folder / "hog").unlink()


async def test_what_a_crash_takes_of_memory_is_counted(disk: Disk, tmp_path: Path) -> None:
    folder, clock, after = disk("size=3m"), FakeClock(), tmp_path / "after"
    async with running(folder / "outbox.sqlite", clock) as outbox:
        await until(lambda: outbox.stats().bytes > 0)
        with pytest.raises(OSError, match="No space"), (folder / "hog").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        while not outbox.stats().problem:
            outbox.append(observe(clock, noisy(range(100))), priority=Priority.ALARM)
            await asyncio.sleep(0.01)
        for _ in range(50):
            outbox.append(observe(clock, noisy(range(100))))
        await until(lambda: outbox._writer._note.left() >= outbox.stats().volatile >= 5000)
        held = outbox.stats().volatile
        shutil.copytree(folder, after, ignore=shutil.ignore_patterns("hog", "*.lock"))  # what a crash leaves
        (folder / "hog").unlink()
        await until(lambda: outbox.stats().volatile == 0 and outbox._writer._note.left() == 0)
    async with running(folder / "outbox.sqlite", clock) as outbox:
        assert outbox.stats().crash_cost == 0, "an orderly end costs nothing"
    async with running(after / "outbox.sqlite", clock) as outbox:
        stats = outbox.stats()
        assert stats.crashes == 1 and held <= stats.crash_cost <= 3 * held + 3 * 64
    async with running(after / "outbox.sqlite", clock) as outbox:
        assert outbox.stats().crash_cost == stats.crash_cost, "it counts once"


async def test_files_may_not_grow(tmp_path: Path) -> None:
    clock = FakeClock()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with running(tmp_path / "outbox.sqlite", clock, interval_s=0.01) as outbox:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
        try:
            async with in_trouble_by_writing(outbox, clock):
                outbox.append(observe(clock, ["new"]))
                taken = values(await drain(outbox, 5000))
                assert "new" in taken and outbox.stats().depth == 0
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, old)
        outbox.append(observe(clock, ["kept"]))
        await until(lambda: outbox._writer.figures.depth == 1)


@contextlib.asynccontextmanager
async def in_trouble_by_writing(outbox: Outbox, clock: FakeClock) -> AsyncIterator[None]:
    while not outbox.stats().problem:
        outbox.append(observe(clock, noisy(range(500))))
        await asyncio.sleep(0.01)
    yield
    await until(lambda: not outbox.stats().problem)
