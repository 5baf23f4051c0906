"""A hundred kills and a hundred power cuts at random, offline and online: it always opens, only the window is lost."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.model import Ack
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox
from tests.durability.appender import READINGS
from tests.durability.powercut import PowerCut
from tests.unit.outbox.outbox_kit import oldest

ROOT = Path(__file__).parents[2]
ROUNDS = 100
COST_MAX = 3000  # readings at most that one crash may seem to cost: two windows of the appender's rate, generously
EMPTY_EVERY = 10


@dataclass
class Told:
    """What the child said. ``safe``: values that it knew to be committed or acknowledged; ``server`` has its values."""

    safe: range = range(0)
    server: set[int] = field(default_factory=set)


def run_and_kill(path: Path, first: int, online: bool, env: dict[str, str] | None) -> Told:
    command = [sys.executable, "-m", "tests.durability.appender", str(path), str(first), "FULL", *["online"] * online]
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    opened = child.stdout.readline().split()
    assert opened and opened[0] == "open", "it opens"
    made = int(opened[4])
    time.sleep(random.uniform(0.0, 0.4))
    child.kill()
    rest = child.stdout.read()
    child.wait()
    child.stdout.close()
    told = Told()
    for line in rest[: rest.rfind("\n") + 1].splitlines():
        what, *numbers = line.split()
        if what == "committed":
            told.safe = range(first, first + (int(numbers[0]) - made) // READINGS)
        else:
            told.server.update(map(int, numbers))
    return told


async def look(path: Path, empty: bool) -> tuple[list[int], int, int]:
    """(the values that wait, the crashes' cost, how many crashes), by an outbox that opens the file as it is."""
    outbox = Outbox(path, limits=Limits(64 * 2**20), commit_interval_s=1, clock=SystemClock(configured=True))
    await outbox.start()
    held: list[int] = []
    while batch := await oldest(outbox, 5000):
        held += [int(reading.value) for reading in batch.readings]  # type: ignore[arg-type]
        if empty:
            await outbox.ack(Ack(batch.stream, batch.ranges))
    stats = outbox.stats()
    assert stats.problem == "" and stats.dropped == {} and stats.depth == (0 if empty else len(held))
    await outbox.close()
    return held, stats.crash_cost, stats.crashes


def survive(path: Path, power: PowerCut | None) -> None:
    waiting: set[int] = set()
    server: set[int] = set()
    first = cost = 0
    for number in range(1, ROUNDS + 1):
        told = run_and_kill(path, first, online=number % 2 == 0, env=power.env() if power else None)
        if power:
            power.cut()
        server |= told.server
        empty = number % EMPTY_EVERY == 0
        held, new_cost, crashes = asyncio.run(look(path, empty))
        assert crashes == number and 0 < new_cost - cost <= COST_MAX
        values = set(held)
        assert len(held) == READINGS * len(values), "each observation whole and once"
        missing = (waiting | set(told.safe)) - values - server
        assert not missing, f"round {number}: committed and lost: {sorted(missing)[:10]}"
        server |= values if empty else set()
        waiting, cost = values - server, new_cost
        first = max([first, *values, *told.server]) + 1


@pytest.mark.slow
def test_a_hundred_kills(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    survive(tmp_path / "data/outbox.sqlite", None)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to build the library")
def test_a_hundred_power_cuts(tmp_path: Path) -> None:
    survive(tmp_path / "data/outbox.sqlite", PowerCut(tmp_path / "data", tmp_path / "work"))
