"""A real MQTT broker for the site, and the devices that publish to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.devices.sparkplug import EdgeNode, Number
from firmware_sim.process import SimulatorError, find_program, start, stop

PROGRAM = "mosquitto"
HOST = "127.0.0.1"
START_S = 5.0
TRIES_MAX = 5
MISSING = "mosquitto is not installed: sudo apt install mosquitto"


def available() -> bool:
    """Whether there is a broker to run."""
    return find_program(PROGRAM) is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Broker:
    """A mosquitto of our own: loopback, a port that was free, nothing kept on disk. ``port`` stays the same.

    ``settings`` are lines of its configuration that come behind ours: TLS, passwords.
    """

    def __init__(self, run: Path, settings: Sequence[str] = ("allow_anonymous true",)) -> None:
        self.port = 0
        self._settings = settings
        self._run = run
        self._process: Process | None = None

    async def up(self) -> None:
        """Start it and wait until it listens. Raises SimulatorError where it does not."""
        if self._process is not None and self._process.returncode is None:
            return
        program = find_program(PROGRAM)
        if program is None:
            raise SimulatorError(MISSING)
        for _ in range(1 if self.port else TRIES_MAX):
            port = self.port or _free_port()
            process = await start([program, "-c", str(self._configure(port))], self._run / "mosquitto.log")
            if await self._listens(port, process):
                self.port, self._process = port, process
                return
            await stop(process)
        raise SimulatorError(f"mosquitto does not start; see {self._run / 'mosquitto.log'}")

    async def down(self) -> None:
        """Kill it, as a power cut would."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await process.wait()

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            process, self._process = self._process, None
            await stop(process)

    def _configure(self, port: int) -> Path:
        """``user``: a mosquitto that root starts changes its user otherwise, and then outlives a killed parent."""
        path = self._run / "mosquitto.conf"
        user = pwd.getpwuid(os.geteuid()).pw_name
        lines = ("persistence false", f"user {user}", "log_type error", f"listener {port} {HOST}", *self._settings)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    @staticmethod
    async def _listens(port: int, process: Process) -> bool:
        deadline = time.monotonic() + START_S
        while process.returncode is None and time.monotonic() < deadline:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            # a stranger may have taken the port between our look and mosquitto's start: then mosquitto ends
            await asyncio.sleep(0.05)
            return process.returncode is None
        return False


@dataclass(frozen=True, slots=True)
class Published:
    """What a device publishes: ``messages`` of the period with that number, from 0, every ``period_s``.

    ``presence`` is the topic where it stands, kept by the broker, that the device is here, and that it went away.
    """

    name: str
    messages: Callable[[int], Iterable[tuple[str, str | bytes]]]
    period_s: float = 1.0
    presence: tuple[str, str, str] | None = None


class Publisher:
    """A device on the broker. ``given`` counts the periods of which it published."""

    def __init__(self, device: Published, port: int) -> None:
        self.silent = False
        self.given = 0
        self._device = device
        self._port = port
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=device.name)
        if device.presence is not None:
            self._client.will_set(device.presence[0], device.presence[2], retain=True)
        self._client.reconnect_delay_set(1, 2)

    async def run(self) -> None:
        """Publish until cancelled; a broker that is away is tried again each second or two, what is due is lost."""
        self._client.connect_async(HOST, self._port, keepalive=30)
        self._client.loop_start()
        number, was_connected = 0, False
        try:
            while True:
                connected = self._client.is_connected()
                if connected and not was_connected and self._device.presence is not None:
                    self._client.publish(*self._device.presence[:2], retain=True)
                was_connected = connected
                if connected and not self.silent:
                    self._publish(number)
                    number += 1
                await asyncio.sleep(self._device.period_s if connected else 0.2)
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _publish(self, number: int) -> None:
        sent = [self._client.publish(*one).rc == MQTT_ERR_SUCCESS for one in self._device.messages(number)]
        self.given += any(sent)


class SparkplugNode:
    """An edge node on the broker: born when the session begins and whenever it is asked to; its will is its death.

    ``values`` gives the present values of its device. ``given`` counts its messages of data.
    """

    def __init__(
        self, group: str, name: str, device: str, values: Callable[[], dict[str, Number | None]], port: int
    ) -> None:
        self.silent = False
        self.given = 0
        self.births = 0
        self.node = EdgeNode(group, name, {"uptime": 0}, {device: values()})
        self._device = device
        self._values = values
        self._port = port
        self._wanted = asyncio.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"{group}-{name}")
        self._client.reconnect_delay_set(1, 2)

    async def run(self) -> None:
        """Publish until cancelled."""
        loop = asyncio.get_running_loop()
        commands = self.node.topic("NCMD")
        self._client.on_connect = lambda client, *_rest: client.subscribe(commands)
        self._client.on_message = lambda *_message: self._ask(loop)
        self._client.will_set(*self.node.will(_now_ms()))
        self._client.connect_async(HOST, self._port, keepalive=30)
        self._client.loop_start()
        self._wanted.set()
        try:
            while True:
                if self._client.is_connected() and not self.silent:
                    self._speak()
                elif not self._client.is_connected():
                    self._wanted.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._wanted.wait()
        finally:
            self._client.publish(*self.node.will(_now_ms()))
            self._client.disconnect()
            self._client.loop_stop()

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(self._wanted.set)

    def _speak(self) -> None:
        self.node.devices[self._device].update(self._values())
        if self._wanted.is_set():
            self._wanted.clear()
            self.births += 1
            for one in self.node.birth(_now_ms()):
                self._client.publish(*one)
        else:
            self._client.publish(*self.node.data(self._device, self._values(), _now_ms()))
            self.given += 1


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
