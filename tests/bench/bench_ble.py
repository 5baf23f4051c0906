"""860 advertisements a second: what is lost and what each costs, beside a bare bleak scanner in the same run.

A street of 86 Ruuvi tags, each heard 10 times a second, from the simulated BlueZ over a real D-Bus. Processes one after
the other hear it: bleak with an empty callback, and the bus with none, 20 and all of the tags configured. Each counts
its own CPU; lost is what BlueZ told and no driver observed. BENCH_SECONDS sets the window, 60 s without it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TAGS, PER_S = 86, 10.0
CONFIGURED = (0, 20, TAGS)
BARE = "bare"
SETTLE_S = 2.0
ROWS = [
    {"name": f"tag{number}", "kind": "ruuvi", "address": f"C8:25:2D:00:00:{number:02X}", "period_s": 1 / PER_S}
    for number in range(TAGS)
]


async def _order(run: Path, **request: Any) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(run / "ble.sock")
    writer.write(json.dumps(request).encode() + b"\n")
    answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    return answer


async def _silence(run: Path, on: bool) -> None:
    for row in ROWS:
        await _order(run, do="silence", device=row["name"], on=on)


async def _told(run: Path, names: set[str]) -> int:
    counts = (await _order(run, do="counts"))["counts"]
    return sum(row["advertisements"] for name, row in counts.items() if name in names)


async def hear_bare(run: Path, seconds: float) -> dict[str, Any]:
    """The bare scanner, asking as bleak does by default."""
    from bleak import BleakScanner

    heard = 0

    def callback(_device: object, _data: object) -> None:
        nonlocal heard
        heard += 1

    async with BleakScanner(callback, bluez={"adapter": "hci0"}):
        await _silence(run, False)
        await asyncio.sleep(SETTLE_S)
        before, cpu = heard, time.process_time()
        await asyncio.sleep(seconds)
        spent, count = time.process_time() - cpu, heard - before
    return {"process": "bare bleak", "heard_per_s": count / seconds, "cpu_us_each": 1e6 * spent / count}


async def hear_bus(run: Path, seconds: float, configured: int) -> dict[str, Any]:
    """The bus and a driver for each configured tag."""
    from drivers import template
    from drivers.buses.ble import BleBus, make_advertisement_driver

    bus, chosen = BleBus("radio"), ROWS[:configured]
    known = template.load("ruuvi-ruuvitag")
    devices = [make_advertisement_driver(known, bus, str(row["address"]), None, {}) for row in chosen]
    observed = 0

    async def follow(device: Any) -> None:
        nonlocal observed
        while True:
            found = await device.read()
            observed += len(found)

    names = {str(row["name"]) for row in chosen}
    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(follow(device)) for device in devices]
        await bus.open()
        told = await _told(run, names)
        await _silence(run, False)
        await asyncio.sleep(SETTLE_S)
        before, cpu = bus.heard, time.process_time()
        await asyncio.sleep(seconds)
        spent, count = time.process_time() - cpu, bus.heard - before
        await _silence(run, True)
        await asyncio.sleep(SETTLE_S)
        told = await _told(run, names) - told
        for task in following:
            task.cancel()
    mode = bus.mode
    await bus.close()
    return {
        "process": f"bus, {configured} of {TAGS} configured",
        "mode": mode,
        "heard_per_s": count / seconds,
        "cpu_us_each": 1e6 * spent / count,
        "told": told,
        "observed": observed,
        "lost": told - observed,
        "flooded": bus.flooded,
    }


def _child(run: Path, seconds: float, who: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.bench_ble", str(run), str(seconds), who]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return {key: round(value, 1) if isinstance(value, float) else value for key, value in found.items()}


def main() -> None:
    """Print the figures as one JSON line a process."""
    seconds = float(os.environ.get("BENCH_SECONDS", 60))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        command = [sys.executable, "-m", "firmware_sim.ble", "--run", folder, "--devices", json.dumps(ROWS)]
        simulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert simulator.stdout is not None
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = json.loads(simulator.stdout.readline())["dbus_address"]
            for who in (BARE, *map(str, CONFIGURED)):
                asyncio.run(_silence(run, True))
                print(json.dumps(_child(run, seconds, who)), flush=True)
        finally:
            simulator.terminate()
            simulator.wait()


def child(arguments: list[str]) -> None:
    """One of the processes."""
    run, seconds, who = Path(arguments[0]), float(arguments[1]), arguments[2]
    hearing = hear_bare(run, seconds) if who == BARE else hear_bus(run, seconds, int(who))
    print(json.dumps(asyncio.run(hearing)))


if __name__ == "__main__":
    child(sys.argv[1:]) if len(sys.argv) > 1 else main()
