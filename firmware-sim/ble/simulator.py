"""Brings the peripherals to life over a private D-Bus, and takes orders for faults on a control socket.

The control socket ``<run>/ble.sock`` speaks JSON lines: one request, one answer ``{"ok": true, ...}`` or
``{"ok": false, "error": text}``. Requests: ``{"do": "adapter", "state": "off|on|removed|added|deaf|stuck"}`` (the last
two until it is switched off and on), ``{"do": "monitors", "on": bool}`` (whether BlueZ can scan passively),
``{"do": "dbus", "state": "restart"}``, ``{"do": "bluez", "state": "restart"}`` (it crashed, the D-Bus did not),
``{"do": "silence", "device": name, "on": bool}``, ``{"do": "garble", "device": name, "on": bool}`` (what it notifies),
``{"do": "drop", "device": name}`` and ``{"do": "counts"}``.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dbus_fast.aio import MessageBus

from firmware_sim.ble.bluez import Bluez, device_path
from firmware_sim.ble.dbus import DbusDaemon
from firmware_sim.ble.peripherals import Peripheral
from firmware_sim.world import World, uniform

LINE_MAX = 64 * 1024
SWEEP_S = 2.0
GARBAGE = bytes(range(0xF0, 0x100)) * 4


@dataclass(slots=True)
class Counts:
    """What a device has done: sent into the air, and what of it reached a D-Bus client."""

    sent: int = 0
    advertisements: int = 0
    notifications: int = 0


class Simulator:
    """The air around one adapter."""

    def __init__(self, run: Path, world: World, devices: Sequence[Peripheral]) -> None:
        self.dbus = DbusDaemon(run)
        self.counts = {device.name: Counts() for device in devices}
        self._world = world
        self._devices = {device.name: device for device in devices}
        self._socket = run / "ble.sock"
        self._silent: set[str] = set()
        self._garbled: set[str] = set()
        self._bluez: Bluez | None = None
        self._bus: MessageBus | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._restarting = asyncio.Lock()

    async def run(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Live until ``stop``; ``ready`` is set when the bus can be used. Raises RuntimeError, OSError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._begin()
                server = await asyncio.start_unix_server(self._serve, self._socket, limit=LINE_MAX)
                lives = [tasks.create_task(self._live(device)) for device in self._devices.values()]
                lives.append(tasks.create_task(self._sweep()))
                ready.set()
                await stop.wait()
                server.close()
                for life in lives:
                    life.cancel()
        finally:
            await self._end()
            self._socket.unlink(missing_ok=True)

    async def _begin(self) -> None:
        await self.dbus.start()
        await self._appear()

    async def _appear(self) -> None:
        assert self._tasks is not None
        self._bus = await MessageBus(bus_address=self.dbus.address).connect()
        bluez = Bluez(self._bus, self._tasks.create_task)
        await bluez.start()
        self._bluez = bluez

    def _vanish(self) -> None:
        self._bluez = None
        if self._bus is not None:
            self._bus.disconnect()
            self._bus = None

    async def _end(self) -> None:
        self._vanish()
        await self.dbus.stop()

    async def _live(self, device: Peripheral) -> None:
        """Send at the device's own pace. The wait between two sends is also what paces the D-Bus connection."""
        loop = asyncio.get_running_loop()
        counts = self.counts[device.name]
        due = loop.time() + device.period_s * uniform(self._world.seed, "phase", device.name)
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due + device.period_s, loop.time())
            if device.name not in self._silent:
                self._send(device, counts)

    def _send(self, device: Peripheral, counts: Counts) -> None:
        bluez, t = self._bluez, self._world.elapsed()
        counts.sent += 1
        if bluez is None:
            return
        if not bluez.connected(device):
            data, response = device.advertisement(t, counts.sent), device.scan_response(t)
            told = bluez.hear(device, data, response, device.rssi(t), t)
            counts.advertisements += told
            return
        notification = device.notification(t)
        if notification is not None:
            uuid, value = notification
            value = value if device.name not in self._garbled else GARBAGE[: len(value)]
            counts.notifications += bluez.gatt.notify(device_path(device.address), uuid, value)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            if self._bluez is not None:
                self._bluez.sweep(self._world.elapsed())

    # control

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._obey(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):  # ValueError: a line over LINE_MAX
            pass
        finally:
            writer.close()

    async def _obey(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            return {"ok": True} | await self._do(request)
        except json.JSONDecodeError as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        except (KeyError, ValueError, TypeError) as error:
            return {"ok": False, "error": f"cannot do that: {error!r}"}

    async def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"do": "counts"}:
                return {"counts": {name: asdict(counts) for name, counts in self.counts.items()}}
            case {"do": "silence", "device": str(name), "on": bool(on)}:
                known = self._devices[name].name
                (self._silent.add if on else self._silent.discard)(known)
                return {}
            case {"do": "garble", "device": str(name), "on": bool(on)}:
                known = self._devices[name].name
                (self._garbled.add if on else self._garbled.discard)(known)
                return {}
            case {"do": "dbus", "state": "restart"}:
                async with self._restarting:
                    await self._end()
                    await self._begin()
                return {}
            case {"do": "bluez", "state": "restart"}:
                async with self._restarting:
                    self._vanish()
                    await self._appear()
                return {}
            case {"do": "drop", "device": str(name)}:
                return {"dropped": self._alive().drop(self._devices[name])}
            case {"do": "adapter", "state": "off" | "on" as state}:
                self._alive().power(state == "on")
                return {}
            case {"do": "adapter", "state": "removed"}:
                self._alive().remove_adapter()
                return {}
            case {"do": "adapter", "state": "added"}:
                self._alive().add_adapter(powered=True)
                return {}
            case {"do": "adapter", "state": "deaf" | "stuck" as state}:
                self._alive().sick = state
                return {}
            case {"do": "monitors", "on": bool(on)}:
                self._alive().let_monitor(on)
                return {}
        raise ValueError(f"unknown request {json.dumps(request)}")

    def _alive(self) -> Bluez:
        if self._bluez is None:
            raise ValueError("the bus is being restarted")
        return self._bluez
