"""Kill -9 and power cuts of the server's storage under load: what was answered is there, all of it or nothing."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.server.storage.base import Reader, Span
from gateway.server.storage.sqlite import SqliteStorage
from tests.durability.powercut import PowerCut
from tests.durability.storage_writer import ENTITIES

ROOT = Path(__file__).parents[2]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to build the library")


def run_until_killed(folder: Path, first: int, env: dict[str, str], synchronous: str = "FULL") -> set[int]:
    """What was answered."""
    command = [sys.executable, "-m", "tests.durability.storage_writer", str(folder), str(first), synchronous]
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n", "it comes back by itself"
    said: set[int] = set()
    deadline = time.monotonic() + random.uniform(0.05, 0.5)
    while time.monotonic() < deadline:
        said.add(int(child.stdout.readline()))
    child.kill()
    said |= {int(line) for line in child.stdout.read().split("\n")[:-1]}
    child.wait()
    child.stdout.close()
    return said


def look(reader: Reader) -> set[int]:
    """Which works are there; each must be there as a whole."""
    found: set[int] = set()
    notes = {int(note.id) for note in reader.notes("t", "urn:s", dead=False, limit=-1)}
    for entity in range(ENTITIES):
        name = f"urn:x:{entity}"
        first, second = (
            {abs(one.at_us) for one in reader.history("t", name, Span((attribute,), limit=2**40))}
            for attribute in ("urn:a", "urn:b")
        )
        assert first == second
        found |= first
        document, current = reader.document("context", "t", name), reader.entity("t", name)
        assert document == current and (current is None or int(current) in first)
        columns = reader.numbers("t", name, "urn:a", "", None, None)
        assert columns is not None and columns.values.tolist() == columns.at_us.tolist() == sorted(first)
    assert notes <= found
    return found


async def contents(folder: Path) -> set[int]:
    storage = SqliteStorage(folder)
    await storage.start()
    found = await storage.read(look)
    await storage.close()
    return found


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9(tmp_path: Path, rounds: int) -> None:
    said: set[int] = set()
    for _ in range(rounds):
        said |= run_until_killed(tmp_path, max(said, default=0) + 100, dict(os.environ))
        assert said <= asyncio.run(contents(tmp_path))
    assert len(said) > 10 * rounds


def cut_power(power: PowerCut, rounds: int, synchronous: str) -> bool:
    """Whether all that was answered is there after each of the cuts."""
    said: set[int] = set()
    for _ in range(rounds):
        said |= run_until_killed(power.directory, max(said, default=0) + 100, power.env(), synchronous)
        power.cut()
        if not said <= asyncio.run(contents(power.directory)):
            return False
    return True


@pytest.fixture
def power(tmp_path: Path) -> PowerCut:
    return PowerCut(tmp_path / "data", tmp_path / "work")


@needs_gcc
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_power_cut(power: PowerCut, rounds: int) -> None:
    assert cut_power(power, rounds, "FULL")


@needs_gcc
def test_the_proof_can_fail(power: PowerCut) -> None:
    """One cut may fall just after a checkpoint, where nothing is left to lose; ten do not."""
    assert not cut_power(power, 10, "NORMAL")
