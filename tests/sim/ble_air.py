"""The simulated air as a process of its own, and what tests do with drivers in it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Driver, Observation
from drivers.buses import ble_adapter
from drivers.errors import DriverError
from firmware_sim.world import World

PATIENCE_S = 25.0


class Air:
    """The simulator process and its control socket."""

    def __init__(self, run: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "firmware_sim.ble", "--run", str(run), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline() or "null")
        self.run = run

    async def do(self, **request: object) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(self.run / "ble.sock")
        writer.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            answer: dict[str, Any] = json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
        assert answer["ok"], answer
        return answer

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(PATIENCE_S)


@contextmanager
def sensors(run: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> Iterator[Air]:
    """The air with these devices, more talkative than shipped: tests wait less."""
    World(seed=3, origin_s=time.monotonic() - 20).save(run)  # the cyclist has pulled away
    air = Air(run, "--devices", json.dumps([{"period_s": 0.25} | row for row in rows]))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", air.ready["dbus_address"])
    monkeypatch.setattr(ble_adapter, "RETRY_S", 0.5)
    try:
        yield air
    finally:
        air.end()


@asynccontextmanager
async def using(*drivers: Driver) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for driver in drivers:
            await driver.close()


async def read(driver: Driver) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        observations = await driver.read()
    return values(observations[-1])


def values(observation: Observation) -> dict[str, Any]:
    return {one.quantity: one.value for one in observation.measurements}


async def fails(driver: Driver) -> DriverError:
    """Read until it fails, as the supervisor would see it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await driver.read()
            except DriverError as error:
                return error


async def recovers(driver: Driver) -> list[DriverError]:
    """Read, again soon after a failure, until there is a value; what failed before."""
    failures: list[DriverError] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await driver.read()
                return failures
            except DriverError as error:
                failures.append(error)
                await asyncio.sleep(0.3)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.02)
