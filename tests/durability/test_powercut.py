"""The power cut itself loses what was not fsynced and nothing else; and the outbox survives it."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.model import Ack
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox, OutboxStats
from tests.durability.appender import READINGS
from tests.durability.powercut import PowerCut
from tests.unit.outbox.outbox_kit import oldest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to build the library")


@pytest.fixture
def power(tmp_path: Path) -> PowerCut:
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    return PowerCut(tmp_path / "data", tmp_path / "work")


def program(power: PowerCut, source: str) -> None:
    """Run a program that kills itself at its end."""
    ending = "\nimport signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    code = f"import os\nd = {str(power.directory)!r}\n" + source + ending
    assert subprocess.run([sys.executable, "-c", code], env=power.env(), check=False).returncode == -9


def test_what_is_not_synced_is_lost(power: PowerCut) -> None:
    program(power, "f = open(d + '/a', 'wb')\nf.write(b'hello')\nf.flush()")
    assert (power.directory / "a").read_bytes() == b"hello"
    assert power.cut() == {"a": -1}
    assert not (power.directory / "a").exists()


def test_what_is_synced_is_kept_and_no_more(power: PowerCut) -> None:
    more = "f.write(b' world')\nf.flush()"
    program(power, f"f = open(d + '/a', 'wb')\nf.write(b'hello')\nf.flush()\nos.fsync(f.fileno())\n{more}")
    assert power.cut() == {"a": 6}
    assert (power.directory / "a").read_bytes() == b"hello"


def test_a_truncation_and_a_deletion_that_were_not_synced_come_back(power: PowerCut) -> None:
    make = "\n".join(f"f = open(d + '/{n}', 'w+b', 0)\nf.write(b'12345')\nos.fdatasync(f.fileno())" for n in "ab")
    program(power, make + "\nos.truncate(d + '/a', 2)\nos.unlink(d + '/b')")
    power.cut()
    assert [(power.directory / n).read_bytes() for n in "ab"] == [b"12345"] * 2
    program(power, "os.unlink(d + '/b')\nos.fsync(os.open(d, os.O_RDONLY))")
    power.cut()
    assert not (power.directory / "b").exists()


def test_a_rename_takes_the_image_along(power: PowerCut) -> None:
    source = "os.mkdir(d + '/s')\nf = open(d + '/s/a', 'wb', 0)\nf.write(b'1')\nos.fsync(f.fileno())\nf.write(b'2')\n"
    program(power, source + "os.rename(d + '/s/a', d + '/s/b')")
    power.cut()
    assert (power.directory / "s/b").read_bytes() == b"1" and not (power.directory / "s/a").exists()


def run_until_killed(power: PowerCut, first: int, seconds: float, synchronous: str) -> tuple[int, int]:
    """Let the appender work and kill it. Returns (readings of which it said that they are committed, crash cost)."""
    command = [sys.executable, "-m", "tests.durability.appender", str(power.directory / "outbox.sqlite"), str(first)]
    child = subprocess.Popen([*command, synchronous], cwd=ROOT, env=power.env(), stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    opened = child.stdout.readline().split()
    assert opened[0] == "open"
    said = int(opened[4])
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        said = int(child.stdout.readline().split()[1])
    child.kill()
    for line in child.stdout.read().splitlines():
        if line.startswith("committed ") and line.split()[1].isdigit():
            said = max(said, int(line.split()[1]))
    child.wait()
    child.stdout.close()
    return said, int(opened[2])


async def contents(path: Path) -> tuple[list[object], OutboxStats]:
    outbox = Outbox(path, limits=Limits(64 * 2**20), commit_interval_s=1, clock=SystemClock(configured=True))
    await outbox.start()
    stats = outbox.stats()
    held: list[object] = []
    while batch := await oldest(outbox, 5000):
        held += [reading.value for reading in batch.readings]
        await outbox.ack(Ack(batch.stream, batch.ranges))
    await outbox.close()
    return held, stats


def survives(power: PowerCut, rounds: int, synchronous: str) -> tuple[bool, bool]:
    """Cut the power again and again; whether nothing that was said to be committed is missing, and all is in order."""
    complete, ordered, before = True, True, 0
    path = power.directory / "outbox.sqlite"
    for number in range(rounds):
        said, cost = run_until_killed(power, before, random.uniform(0.1, 0.5), synchronous)
        power.cut()
        held, stats = asyncio.run(contents(path))
        complete = complete and sum(stats.made.values()) >= said
        values = held[::READINGS]
        ordered = ordered and all(held.count(v) == READINGS for v in values[:3] + values[-3:])
        ordered = ordered and values == list(range(before, before + len(values)))
        before += len(values)
        if synchronous == "FULL":
            assert stats.crashes == number + 1 > 0 and stats.crash_cost > cost and stats.dropped == {}
    return complete, ordered


def test_nothing_committed_is_lost_in_a_power_cut(power: PowerCut) -> None:
    assert survives(power, 6, "FULL") == (True, True)


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_the_proof_can_fail(power: PowerCut, synchronous: str) -> None:
    """The same with fewer fsyncs loses what it said was committed: so the test above tells something."""
    complete, _ = survives(power, 3, synchronous)
    assert not complete
