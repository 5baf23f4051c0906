"""A real MQTT broker for the site, and the devices that publish to it."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.devices import shelly
from firmware_sim.electricity import Snapshot
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
    """A mosquitto of our own: loopback, a port that was free, nothing kept on disk. ``port`` stays the same."""

    def __init__(self, run: Path) -> None:
        self.port = 0
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
        text = f"listener {port} {HOST}\nallow_anonymous true\npersistence false\nuser {user}\nlog_type error\n"
        path.write_text(text, encoding="utf-8")
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


class Shelly:
    """A Shelly Pro 3EM on the broker. ``given`` counts the messages of present values that went out."""

    def __init__(self, prefix: str, snapshot: Callable[[], Snapshot], port: int) -> None:
        self.silent = False
        self.given = 0
        self._prefix = prefix
        self._snapshot = snapshot
        self._port = port
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=prefix)
        self._client.will_set(f"{prefix}/online", "false", retain=True)
        self._client.reconnect_delay_set(1, 2)

    async def run(self) -> None:
        """Publish until cancelled; a broker that is away is tried again each second or two, what is due is lost."""
        self._client.connect_async(HOST, self._port, keepalive=30)
        self._client.loop_start()
        number, was_connected = 0, False
        try:
            while True:
                connected = self._client.is_connected()
                if connected and not was_connected:
                    self._client.publish(f"{self._prefix}/online", "true", retain=True)
                was_connected = connected
                if connected and not self.silent:
                    self._publish(number)
                    number += 1
                await asyncio.sleep(shelly.PERIOD_S if connected else 0.2)
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _publish(self, number: int) -> None:
        sent = [
            self._client.publish(topic, payload).rc == MQTT_ERR_SUCCESS
            for topic, payload in shelly.messages(self._prefix, self._snapshot(), number, time.time())
        ]
        self.given += sent[0]
