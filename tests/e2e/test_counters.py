"""A total that goes on: the device restarts, then the gateway is killed, and neither shows in what is delivered."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from firmware_sim.devices.loop import LoopCounter
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_INPUT, Slave
from gateway.cli.status import undocumented

UNIT, OTHER, BAUD = 3, 4, 19_200
PATIENCE_S = 30.0
CONFIG = """
site: {{id: box, location: {{latitude: 52.0, longitude: 5.0}}}}
uplink: {{url: "http://127.0.0.1:9"}}
buses:
  line: {{type: modbus-rtu, port: {folder}/port, baud: {baud}}}
devices:
  loop: {{template: loop-counter-modbus, bus: line, address: {unit}, period: 0.2}}
  same: {{template: loop-counter-modbus, bus: line, address: {other}, period: 0.2, counters: raw}}
clock: {{trusted: true}}
storage: {{path: {folder}/data}}
local: {{listen: {{port: 0}}}}
"""


class Box:
    """A daemon and the counter on its line, at two addresses: followed, and left as it is."""

    def __init__(self, folder: Path) -> None:
        self.passed = 0
        self.counter = LoopCounter(lambda: (self.passed, 0), (1000, 7))
        self._folder = folder
        self._line = Line("loops", BAUD)
        self._port = PtyPort(self._line, folder / "port")
        self._port.plug()
        for unit in (UNIT, OTHER):
            Slave(self._line, unit, {READ_INPUT: self.counter.registers}, turnaround_s=0.001)
        self._config = folder / "lamppost.yaml"
        self._config.write_text(CONFIG.format(folder=folder, baud=BAUD, unit=UNIT, other=OTHER))
        self._daemon: Process | None = None

    async def begin(self) -> None:
        command = [sys.executable, "-m", "gateway.cli.main", "run", "--role", "edge", "--config", str(self._config)]
        with (self._folder / "log").open("ab") as log:
            self._daemon = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=dict(os.environ))

    async def kill(self) -> None:
        """A power cut."""
        assert self._daemon is not None
        self._daemon.kill()
        await self._daemon.wait()

    async def ask(self, do: str) -> Any:
        reader, writer = await asyncio.open_unix_connection(self._folder / "data" / "lamppost.sock", limit=2**20)
        writer.write(json.dumps({"v": 1, "do": do}).encode() + b"\n")
        answer = json.loads(await reader.readline())
        writer.close()
        return answer["result"]

    async def count(self, device: str) -> tuple[int, str]:
        """What was delivered last of those who came in, with its quality."""
        rows = [row for row in await self.ask("readings") if row["device"] == device]
        return next((row["value"], row["quality"]) for row in rows if row["quantity"] == "bicycle_count_in")

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait for a condition that asks the daemon, which may be just starting."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    if await holds():
                        return
                except (OSError, StopIteration, RuntimeError, KeyError, ValueError):
                    pass
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        await self.kill()
        self._port.unplug()
        self._line.close()


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    made = Box(tmp_path)
    await made.begin()
    yield made
    await made.close()


async def test_a_total_outlives_a_restart_of_the_device_and_a_kill_of_the_daemon(box: Box) -> None:
    async def delivered(*expected: object) -> None:
        async def holds() -> bool:
            return [await box.count("loop"), await box.count("same")] == list(expected)

        await box.until(holds)

    await delivered((1000, "good"), (1000, "good"))
    box.passed += 4
    await delivered((1004, "good"), (1004, "good"))
    box.counter.restart()
    await delivered((1004, "good"), (0, "good"))
    box.passed += 2
    await delivered((1006, "good"), (2, "good"))
    status = await box.ask("status")
    assert status["devices"]["loop"]["counters"] == {"bicycle_count_in": 1004, "bicycle_count_out": 7}
    assert status["devices"]["same"]["counters"] == {}
    assert undocumented(status) == []
    await asyncio.sleep(1.5)  # an offset that changed is on disk a second later
    await box.kill()
    box.passed += 3
    await box.begin()
    await delivered((1009, "good"), (5, "good"))
