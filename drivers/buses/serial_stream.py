"""A serial port with one device that speaks by itself: a P1 meter, a dust sensor.

The port is read as long as it is open, so that a frame is dated when its last byte came, whenever it is asked for.
Bytes are collected for GATHER_S after the first one: a telegram costs a few wake-ups, not hundreds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from drivers.base import Bus, Driver, Frame, Observation, Tap
from drivers.buses.mailbox import Mailbox
from drivers.buses.serial_port import PortFound, PortSettings, SerialPort, list_ports
from drivers.codecs import p1, pms
from drivers.codecs.framing import Take
from drivers.errors import BadFrame, Disconnected, Misconfigured
from drivers.template import Template

GATHER_S = 0.01
SPACING_SLACK = 0.9  # a frame that comes a little early is not left out for it

__all__ = ["PortFound", "SerialBus", "StreamDriver", "list_ports", "make_bus", "make_p1", "make_pms"]

Sink = Callable[[bytes, int], None]  # bytes, and the monotonic instant when the last of them was there


class SerialBus:
    """See drivers.base.Bus. One listener at a time."""

    def __init__(self, name: str, port: PortSettings) -> None:
        self.name = name
        self.tap: Tap | None = None
        self.settings = port
        self._port: SerialPort | None = None
        self._sink: Sink | None = None
        self._gone: Callable[[str], None] | None = None
        self._gathering: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Open the port and begin to read. Raises NoPort, NoPermission or Disconnected."""
        if self._port is None:
            self._port = SerialPort(self.settings)
            asyncio.get_running_loop().add_reader(self._port.fd, self._wake)

    async def close(self) -> None:
        """Stop reading and close the port."""
        self._drop()

    def listen(self, sink: Sink, gone: Callable[[str], None]) -> None:
        """Give what comes to ``sink``, and the news that the port went away to ``gone``. Raises Misconfigured."""
        if self._sink is not None and self._sink != sink:
            raise Misconfigured(f"bus {self.name} is one device's port: two devices cannot share it")
        self._sink, self._gone = sink, gone

    def unlisten(self, sink: Sink) -> None:
        """Let go; safe to call twice."""
        if self._sink == sink:
            self._sink = self._gone = None

    def _wake(self) -> None:
        loop = asyncio.get_running_loop()
        if self._port is not None:
            loop.remove_reader(self._port.fd)
            self._gathering = loop.call_later(GATHER_S, self._gather)

    def _gather(self) -> None:
        if self._port is None:
            return
        try:
            data = self._port.read()
        except Disconnected as error:
            self._drop()
            if self._gone is not None:
                self._gone(str(error))
            return
        now_ns = time.monotonic_ns()
        asyncio.get_running_loop().add_reader(self._port.fd, self._wake)
        if not data:
            return
        if self.tap is not None:
            self.tap(Frame(self.name, "rx", data, time.time_ns()))
        if self._sink is not None:
            self._sink(data, now_ns)

    def _drop(self) -> None:
        port, self._port = self._port, None
        if self._gathering is not None:
            self._gathering.cancel()
        if port is not None:
            asyncio.get_running_loop().remove_reader(port.fd)
            port.close()


class StreamDriver:
    """The device on a SerialBus; see drivers.base.Driver. ``take`` is its codec."""

    def __init__(self, bus: SerialBus, take: Take, silence_s: float, spacing_s: float = 0.0) -> None:
        """``spacing_s``: the least time between two observations that are kept; 0 keeps all."""
        self.period_s: float | None = None
        self.silence_s = silence_s
        self._bus = bus
        self._take = take
        self._spacing_ns = int(spacing_s * SPACING_SLACK * 1e9)
        self._buffer = bytearray()
        self._mailbox = Mailbox()
        self._kept_ns = 0
        self._device_ns = 0

    @property
    def bad_frames(self) -> int:
        """Damaged frames so far."""
        return self._mailbox.bad_frames

    @property
    def dropped(self) -> int:
        """Observations that nobody took in time."""
        return self._mailbox.dropped

    async def read(self) -> tuple[Observation, ...]:
        """The next good frame, with those that wait. Raises a DriverError; see Mailbox.get."""
        self._bus.listen(self._hear, self._gone)
        await self._bus.open()
        return await self._mailbox.get(self.silence_s)

    async def close(self) -> None:
        """Let go of the port."""
        self._bus.unlisten(self._hear)

    def _gone(self, why: str) -> None:
        self._buffer.clear()
        self._mailbox.lose(why)

    def _hear(self, data: bytes, mono_ns: int) -> None:
        self._buffer += data
        while True:
            try:
                decoded = self._take(self._buffer)
            except BadFrame as error:
                self._mailbox.damaged(error)
                continue
            if decoded is None:
                return
            if self._kept_ns and mono_ns - self._kept_ns < self._spacing_ns:
                continue
            self._kept_ns = mono_ns
            self._mailbox.put(Observation(decoded.measurements, mono_ns, self._dated(decoded.device_ns)))

    def _dated(self, device_ns: int | None) -> int | None:
        """The device's time where it goes forward: two frames of one second must not get one date."""
        if device_ns is None or device_ns <= self._device_ns:
            self._device_ns = device_ns or self._device_ns
            return None
        self._device_ns = device_ns
        return device_ns


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type serial."""
    return SerialBus(name, PortSettings.of(settings))


def make_p1(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol p1; option ``crc: false`` takes telegrams without one. Raises ValueError."""
    _only(options, ("crc",))
    crc = options.get("crc", True)
    if not isinstance(crc, bool):
        raise ValueError(f"option crc is {crc!r}: expected true or false")
    return _driver(template, bus, address, period_s, partial(p1.take, crc=crc))


def make_pms(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol pms. Raises ValueError."""
    _only(options, ())
    return _driver(template, bus, address, period_s, pms.take)


def _driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, take: Take
) -> StreamDriver:
    if not isinstance(bus, SerialBus):
        raise ValueError(f"{template.name} needs a bus of type serial")
    if address is not None:
        raise ValueError(f"{template.name} has its port for itself: it takes no address")
    return StreamDriver(bus, take, template.silence_s, period_s or template.period_s or 0.0)


def _only(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(known) or 'none'}")
