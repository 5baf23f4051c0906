"""The control socket of a running simulator: faults, and the counts of what the devices handed over.

``<run>/sim.sock`` speaks JSON lines: one request, one answer ``{"ok": true, ...}`` or ``{"ok": false, "error": text}``.

============================================  ==========================================================================
``{"do": "unplug", "line": name}``            takes a line's port away; ``plug`` brings it back under the same name
``{"do": "noise", "line": name, "rate": p}``  flips a bit of a byte with probability p; ``loss`` swallows it
``{"do": "echo", "line": name, "on": bool}``  lets the gateway hear what it sends
``{"do": "silence", "device": name}``         switches a device off, with ``"on": false`` on again
``{"do": "mqtt", "state": "down"}``           kills the broker; ``up`` starts it again at the same port
``{"do": "ble", "request": {...}}``           is passed on to the Bluetooth process
``{"do": "counts"}``                          answers, frames and messages by device, bytes by line
============================================  ==========================================================================
"""

from __future__ import annotations

import asyncio
import json
from asyncio import AbstractServer, StreamReader, StreamWriter
from pathlib import Path
from typing import Any, TypeVar

from firmware_sim.process import SimulatorError
from firmware_sim.simulator import Simulator

SOCKET = "sim.sock"
LINE_MAX = 64 * 1024
PATH_MAX = 100  # sun_path holds 108 bytes
_Thing = TypeVar("_Thing")


async def serve(simulator: Simulator) -> AbstractServer:
    """Listen for requests. Raises SimulatorError where the folder's name is too long for a socket, OSError."""
    path = simulator.run_folder / SOCKET
    if len(str(path)) > PATH_MAX:
        raise SimulatorError(f"{path} is too long for a Unix socket: choose a shorter folder")
    path.unlink(missing_ok=True)

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await _talk(simulator, reader, writer)

    return await asyncio.start_unix_server(talk, path, limit=LINE_MAX)


def remove(run: Path) -> None:
    """Take the socket's file away."""
    (run / SOCKET).unlink(missing_ok=True)


async def _talk(simulator: Simulator, reader: StreamReader, writer: StreamWriter) -> None:
    try:
        while line := await reader.readline():
            writer.write(json.dumps(await _answer(simulator, line)).encode() + b"\n")
            await writer.drain()
    except (ConnectionError, ValueError):  # ValueError: a line over LINE_MAX
        pass
    finally:
        writer.close()


async def _answer(simulator: Simulator, line: bytes) -> dict[str, Any]:
    try:
        return {"ok": True} | await obey(simulator, json.loads(line))
    except (ValueError, SimulatorError) as error:
        return {"ok": False, "error": str(error)}


def _one(things: dict[str, _Thing], name: str) -> _Thing:
    if name not in things:
        raise SimulatorError(f"there is no {name}; there are: {', '.join(things)}")
    return things[name]


async def obey(simulator: Simulator, request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks; its answer. Raises SimulatorError for what cannot be done."""
    match request:
        case {"do": "counts"}:
            carried = {name: line.carried for name, line in simulator.lines.items()}
            return {"devices": await simulator.counts(), "lines": carried}
        case {"do": "unplug", "line": str(name)}:
            _one(simulator.ports, name).unplug()
            return {}
        case {"do": "plug", "line": str(name)}:
            _one(simulator.ports, name).plug()
            return {}
        case {"do": "noise" | "loss" as what, "line": str(name), "rate": int(rate) | float(rate)} if 0 <= rate <= 1:
            setattr(_one(simulator.lines, name), what, float(rate))
            return {}
        case {"do": "echo", "line": str(name), "on": bool(on)}:
            _one(simulator.lines, name).echo = on
            return {}
        case {"do": "silence", "device": str(name)}:
            return await _silence(simulator, name, request.get("on", True) is True)
        case {"do": "mqtt", "state": "down" | "up" as state} if simulator.broker is not None:
            await (simulator.broker.up() if state == "up" else simulator.broker.down())
            return {}
        case {"do": "ble", "request": dict(inner)} if simulator.bluetooth is not None:
            return await simulator.bluetooth.ask(inner)
    raise SimulatorError(f"cannot do that: {json.dumps(request)[:200]}")


async def _silence(simulator: Simulator, name: str, on: bool) -> dict[str, Any]:
    if simulator.bluetooth is not None and name in simulator.bluetooth.devices:
        return await simulator.bluetooth.ask({"do": "silence", "device": name, "on": on})
    _one(simulator.devices, name).silent = on
    return {}
