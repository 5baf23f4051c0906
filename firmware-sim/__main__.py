"""``python -m firmware_sim run --scenario school --run DIR``: make a site real until SIGTERM.

When everything is up, one line of JSON appears on stdout, ``{"ready": true, ...}``; ``DIR/sim.json`` holds the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from firmware_sim import faults
from firmware_sim.process import SimulatorError
from firmware_sim.scenario import load
from firmware_sim.simulator import Simulator
from firmware_sim.world import publish


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m firmware_sim", description=__doc__)
    run = parser.add_subparsers(dest="command", required=True).add_parser("run", help="make a site real")
    run.add_argument("--scenario", default="school", help="name or path of a scenario file")
    run.add_argument("--run", type=Path, required=True, help="folder for ports, sockets and logs")
    run.add_argument("--speed", type=float, default=1.0, help="how much faster the day passes; wires keep true time")
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--loads", choices=("auto", "model", "recording"), default="auto")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.run.absolute()
    scenario = load(arguments.scenario)
    simulator = Simulator(scenario, folder, seed=arguments.seed, speed=arguments.speed, loads=arguments.loads)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    try:
        async with simulator.alive():
            server = await faults.serve(simulator)
            about = {"ready": True, "pid": os.getpid(), "control": str(folder / faults.SOCKET), **simulator.about()}
            publish(folder / "sim.json", json.dumps(about, indent=1) + "\n")
            print(json.dumps(about), flush=True)
            await stop.wait()
            server.close()
    finally:
        faults.remove(folder)


def _explain(error: BaseException) -> None:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            _explain(inner)
    else:
        print(f"firmware_sim: {error}", file=sys.stderr)


def main() -> int:
    """Run until SIGTERM or SIGINT. Exit status 2 where the site cannot be made real."""
    failed = False
    try:
        asyncio.run(_run(_arguments()))
    except* (OSError, ValueError, SimulatorError) as group:
        failed = True
        _explain(group)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
