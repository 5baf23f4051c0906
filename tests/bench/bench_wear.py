"""What reaches the device: the outbox on an ext4 of its own, counted by the block layer, journal included.

Loads on the real Outbox, and controls in the same run: the plainest durable file (append, fsync each second), the same
into blocks that the file has already, and the plainest database (a row a reading, a commit a poll).

The loads run in fast time (fast_time.py), because what counts comes after the write-ahead log has gone round at least
once and its checkpoints are in the figure: that takes a quarter of an hour at a commit a second, and hours at one a
minute. Fast time changes nothing in how much is written at a commit; what the file system writes by itself, its journal
each 5 s, is set to 1 s, so that at five times the speed it comes as often as it does in true time, and with a minute's
window still between any two commits. Needs root for the loop device. BENCH_SCALE=0.1 makes it shorter and less true.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from gateway.model import Ack, Reading
from gateway.outbox.codec import Entry, encode
from gateway.outbox.store import Outbox
from tests.bench.box import open_outbox, take
from tests.bench.disk import Disk
from tests.bench.fast_time import FastTime
from tests.bench.meters import NAMES, Meters

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
WARM_SPEED = 20.0
HOUR = 3600
ACK_S = 0.1
LIMIT = 2000
OUTBOX_MAX = 512 * 2**20
WARM_S, CONTROL_S, ROWS_S = 10, 60, 20


@dataclass(frozen=True)
class Load:
    """``sent_each_s`` None: offline. ``speed`` of the fast time while it is counted."""

    name: str
    meters: int
    window_s: float
    warm_s: float
    count_s: float
    speed: float
    sent_each_s: float | None = None


LOADS = {
    "seconds": [
        Load("500 values/s, offline", 50, 1.0, 1000, 1000, 5),
        Load("500 values/s, online, sent each 0.5 s", 50, 1.0, 1000, 1000, 5, 0.5),
        Load("500 values/s, online, sent each 10 s", 50, 1.0, 1000, 1000, 5, 10.0),
    ],
    "minutes": [Load("30 values/s, offline, 60 s window", 3, 60.0, 3 * HOUR, 3 * HOUR, 30)],
}
COMMIT_S = 1  # of the file system's journal: 5 s in the fast time of the first group


def main(group: str = "") -> None:
    """Print bytes a value, KiB/s and MB a day of each."""
    if os.geteuid() != 0:
        sys.exit("the loop device needs root")
    if group:
        fast = FastTime()
        fast.run(_loads(LOADS[group], fast))
        return
    runs = [subprocess.Popen([sys.executable, "-m", "tests.bench.bench_wear", name]) for name in LOADS]
    for run in runs:
        run.wait()
    for name, control, span in (
        ("control: append + fsync each second", _append, CONTROL_S),
        ("control: the same into a file written with zeros before", _overwrite, CONTROL_S),
        ("control: row a reading", _rows, ROWS_S),
    ):
        with Disk() as disk:
            control(name, disk, Meters(50), span)


async def _loads(loads: Sequence[Load], fast: FastTime) -> None:
    """Beside each other, each on a disk of its own."""
    with ExitStack() as stack:
        cases = [_Case(load, fast, stack.enter_context(Disk(COMMIT_S))) for load in loads]
        fast.run_at(loads[0].speed * (WARM_SPEED / 5))
        await asyncio.gather(*(case.warm() for case in cases))
        fast.run_at(loads[0].speed)
        await asyncio.gather(*(case.count() for case in cases))


class _Case:
    """One load on one disk."""

    def __init__(self, load: Load, fast: FastTime, disk: Disk) -> None:
        self._load, self._fast, self._disk = load, fast, disk
        self._meters = Meters(load.meters)
        self._start_ns = fast.utc_ns(fast.mono_ns()) or 0
        self._outbox = open_outbox(disk.path / "outbox.sqlite", load.window_s, fast, OUTBOX_MAX)
        self._second = 0
        self._sending: asyncio.Task[None] | None = None

    async def warm(self) -> None:
        """Until the log has gone round."""
        await self._outbox.start()
        if self._load.sent_each_s is not None:
            self._sending = asyncio.create_task(_acknowledge(self._outbox, self._load.sent_each_s))
        await self._append_for(int(self._load.warm_s * SCALE))

    async def count(self) -> None:
        """Count, print, close."""
        seconds = int(self._load.count_s * SCALE)
        self._checkpoint()
        before, stored, began = self._disk.written(), self._outbox.stats().bytes, self._fast.true_s()
        commits = self._outbox._pending._loads
        await self._append_for(seconds)
        took_s = (self._fast.true_s() - began) * self._load.speed
        self._checkpoint()
        written = self._disk.written() - before
        commits = self._outbox._pending._loads - commits  # fewer than a true second has: the machine was too busy
        values = seconds * self._load.meters * len(NAMES)
        kept = 0 if self._sending else self._outbox.stats().bytes - stored
        if self._sending is not None:
            self._sending.cancel()
        await self._outbox.close()
        more = {"stored_b_a_value": round(kept / values, 2), "pace_kept": round(seconds / took_s, 2)}
        more["commits_a_second"] = round(commits / seconds, 2)
        _say(self._load.name, written, values, seconds, **more)

    def _checkpoint(self) -> None:
        """Bring the log into the database, so that what is counted holds neither more nor less than its share of it."""
        with closing(sqlite3.connect(self._disk.path / "outbox.sqlite", timeout=30)) as db:
            db.execute("PRAGMA wal_checkpoint(FULL)").fetchall()

    async def _append_for(self, seconds: int) -> None:
        """Each second what each meter says, at an even pace."""
        loop = asyncio.get_running_loop()
        began, first = loop.time(), self._second
        for self._second in range(first, first + seconds):
            for number in range(self._load.meters):
                due = began + (self._second - first) + number / self._load.meters
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                self._outbox.append(self._meters.observation(number, self._second, self._start_ns))
        self._second += 1
        await asyncio.sleep(max(0.0, began + seconds - loop.time()))


async def _acknowledge(outbox: Outbox, interval_s: float) -> None:
    """A server that has every batch on its disk ACK_S after it was taken; the sender looks each ``interval_s``."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        batch = await take(outbox, LIMIT)
        if batch is not None:
            await asyncio.sleep(ACK_S)
            await outbox.ack(Ack(batch.stream, batch.ranges))
            if len(batch.readings) >= 0.9 * LIMIT:
                continue
        await asyncio.sleep(max(0.0, began + interval_s - loop.time()))


def _append(name: str, disk: Disk, meters: Meters, seconds: int) -> None:
    """The same blocks, one a second, at the end of a plain file."""
    with (disk.path / "log").open("ab", buffering=0) as log:

        def write(second: int, readings: Sequence[Reading]) -> None:
            log.write(encode([Entry(1 + second * len(readings), tuple(readings))]))
            os.fsync(log.fileno())

        _control(name, disk, meters, seconds, write, lambda: log.tell())


def _overwrite(name: str, disk: Disk, meters: Meters, seconds: int) -> None:
    """The same, but the file has its blocks already: the file system then has nothing to journal. The floor."""
    path = disk.path / "log"
    path.write_bytes(bytes(16 * 2**20))
    with path.open("r+b", buffering=0) as log:

        def write(second: int, readings: Sequence[Reading]) -> None:
            log.write(encode([Entry(1 + second * len(readings), tuple(readings))]))
            os.fdatasync(log.fileno())

        _control(name, disk, meters, seconds, write, lambda: log.tell())


def _rows(name: str, disk: Disk, meters: Meters, seconds: int) -> None:
    """A row a reading, one commit for each poll of a meter; WAL, synchronous = FULL, an index on the time."""
    path = disk.path / "rows.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE reading (device TEXT, quantity TEXT, value REAL, unit TEXT, observed_ns INTEGER);"
        "CREATE INDEX reading_time ON reading (observed_ns);"
    )

    def write(_second: int, readings: Sequence[Reading]) -> None:
        for first in range(0, len(readings), len(NAMES)):
            db.execute("BEGIN")
            rows = [(r.device, r.quantity, r.value, r.unit, r.observed_ns) for r in readings[first : first + 10]]
            db.executemany("INSERT INTO reading VALUES (?, ?, ?, ?, ?)", rows)
            db.execute("COMMIT")

    _control(name, disk, meters, seconds, write, lambda: _size(path))
    db.close()


def _control(
    name: str,
    disk: Disk,
    meters: Meters,
    seconds: int,
    write: Callable[[int, Sequence[Reading]], None],
    size: Callable[[], int],
) -> None:
    start_ns = time.time_ns()
    before = values = stored = 0
    for second in range(WARM_S + seconds):
        if second == WARM_S:
            before, values, stored = disk.written(), 0, size()
        readings = [r for number in range(len(meters.devices)) for r in meters.observation(number, second, start_ns)]
        write(second, readings)
        values += len(readings)
    written = disk.written() - before
    _say(name, written, values, seconds, stored_b_a_value=round((size() - stored) / values, 2))


def _size(path: Path) -> int:
    return sum(part.stat().st_size for part in path.parent.glob(path.name + "*"))


def _say(name: str, written: int, values: int, seconds: float, **more: float) -> None:
    figures = {
        "b_a_value": round(written / values, 1),
        "kib_s": round(written / seconds / 1024, 2),
        "mb_a_day": round(written / seconds * 86_400 / 1e6, 1),
        "values_s": round(values / seconds),
        "seconds": round(seconds),
    }
    print(json.dumps({"load": name, **figures, **more}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
