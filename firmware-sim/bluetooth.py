"""The Bluetooth side of a site: starts ``firmware_sim.ble`` as a process of its own and passes orders on to it."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import Process
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from firmware_sim.process import SimulatorError, find_program, start, stop
from firmware_sim.scenario import BLE_MODELS, Scenario

START_S, ANSWER_S = 20.0, 20.0
_KINDS = ("ruuvi", "bthome", "csc", "power", "bike", "bike", "openbikesensor", "airthings")
KINDS = dict(zip(BLE_MODELS, _KINDS, strict=True))
MISSING_DAEMON = "dbus-daemon is not installed: sudo apt install dbus"
MISSING_PACKAGE = "the Python package dbus-fast is not installed: pip install 'lamppost[ble]'"


def missing() -> str | None:
    """What keeps Bluetooth from being simulated here, None where nothing does."""
    if find_program("dbus-daemon") is None:
        return MISSING_DAEMON
    return None if find_spec("dbus_fast") else MISSING_PACKAGE


def _rows(scenario: Scenario) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "kind": KINDS[device.model],
            "address": str(device.address),
            "place": "corridor" if "corridor" in device.place.lower() else "classroom",
        }
        for name, device in scenario.of(BLE_MODELS).items()
        if not device.silent
    ]


class Bluetooth:
    """The process and its control socket. ``dbus_address`` is what the gateway gets in DBUS_SYSTEM_BUS_ADDRESS."""

    def __init__(self, scenario: Scenario, run: Path) -> None:
        self.dbus_address = ""
        self.devices = frozenset(row["name"] for row in _rows(scenario))
        self._rows = _rows(scenario)
        self._run = run
        self._process: Process | None = None

    async def up(self) -> None:
        """Start it and wait until it is ready. Raises SimulatorError where it does not come up."""
        log = self._run / "ble.log"
        arguments = [sys.executable, "-m", "firmware_sim.ble", "--run", str(self._run)]
        process = await start([*arguments, "--devices", json.dumps(self._rows)], log, piped=True)
        self._process = process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                self.dbus_address = str(json.loads(await process.stdout.readline())["dbus_address"])
        except (TimeoutError, ValueError, KeyError) as error:
            await self.close()
            raise SimulatorError(f"the Bluetooth side does not start; see {log}") from error

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Pass a request on. Raises SimulatorError where the process does not answer."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._run / "ble.sock")
                writer.write(json.dumps(request).encode() + b"\n")
                answer: dict[str, Any] = json.loads(await reader.readline())
                writer.close()
        except (OSError, TimeoutError, ValueError) as error:
            raise SimulatorError(f"the Bluetooth side does not answer: {error!r}") from error
        return answer

    async def counts(self) -> dict[str, int]:
        """What reached the D-Bus by device: advertisements and notifications."""
        counts = (await self.ask({"do": "counts"})).get("counts", {})
        return {name: row["advertisements"] + row["notifications"] for name, row in counts.items()}

    async def close(self) -> None:
        """End the process, and with it its dbus-daemon."""
        if self._process is not None:
            process, self._process = self._process, None
            await stop(process)
