"""``python -m firmware_sim.ble --run DIR``: the Bluetooth side of the simulator as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from firmware_sim.ble.kinds import build
from firmware_sim.ble.peripherals import DEFAULT
from firmware_sim.ble.simulator import Simulator
from firmware_sim.world import WORLD_FILE, World, publish


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m firmware_sim.ble", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder for sockets and ble.json")
    parser.add_argument("--seed", type=int, default=1, help="of the world, where the folder holds no world.json")
    parser.add_argument(
        "--devices", default="", help="JSON, or a file of JSON: [{name, kind, address, place, period_s}]"
    )
    return parser.parse_args()


def _world(arguments: argparse.Namespace) -> World:
    if (arguments.run / WORLD_FILE).exists():
        return World.load(arguments.run)
    return World(seed=arguments.seed, origin_s=time.monotonic())


def _rows(given: str) -> list[dict[str, Any]]:
    if not given:
        return [dict(row) for row in DEFAULT]
    rows = json.loads(given if given.lstrip().startswith("[") else Path(given).read_text(encoding="utf-8"))
    if not isinstance(rows, list):
        raise ValueError("--devices is no JSON list")
    return rows


async def _main(arguments: argparse.Namespace) -> None:
    arguments.run.mkdir(parents=True, exist_ok=True)
    world = _world(arguments)
    devices = build(_rows(arguments.devices), world)
    simulator = Simulator(arguments.run.resolve(), world, devices)
    stop, ready = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(simulator.run(stop, ready))
        await ready.wait()
        about = {
            "dbus_address": simulator.dbus.address,
            "control": str(arguments.run.resolve() / "ble.sock"),
            "devices": [{"name": d.name, "kind": type(d).__name__, "address": d.address} for d in devices],
        }
        publish(arguments.run / "ble.json", json.dumps(about, indent=1))
        print(json.dumps({"ready": True, "dbus_address": simulator.dbus.address}), flush=True)


def main() -> int:
    """Run until SIGTERM. Exit status 2 where it cannot start."""
    arguments, failed = _arguments(), False
    try:
        asyncio.run(_main(arguments))
    except* (OSError, ValueError, RuntimeError) as group:
        failed = True
        _explain(group)
    return 2 if failed else 0


def _explain(error: BaseException) -> None:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            _explain(inner)
    else:
        print(f"firmware_sim.ble: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
