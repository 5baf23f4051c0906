"""A serial port with one device that speaks by itself: a P1 meter, a dust sensor, a GNSS receiver.

The port is read as long as it is open, so that a frame is dated when its last byte came, whenever it is asked for.
Bytes are collected for GATHER_S after the first one: a telegram costs a few wake-ups, not hundreds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from drivers.base import Bus, Driver, Frame, Observation, Tap
from drivers.buses.keys import read_key
from drivers.buses.mailbox import SpeakingDriver
from drivers.buses.serial_port import PortFound, PortSettings, SerialPort, list_ports
from drivers.codecs import mcu680, nmea, p1, pms, sds, sml
from drivers.codecs.framing import Decoded, Take
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
            self._port = SerialPort(self.settings, check_parity=True)
            asyncio.get_running_loop().add_reader(self._port.fd, self._wake)

    async def close(self) -> None:
        """Stop reading and close the port."""
        self._drop()

    def listen(self, sink: Sink, gone: Callable[[str], None]) -> None:
        """Give what comes to ``sink``, and the news that the port went away to ``gone``. Raises Misconfigured."""
        if self._sink is not None and self._sink != sink:
            raise Misconfigured(f"bus {self.name} is one device's port: two devices cannot share it")
        self._sink, self._gone = sink, gone

    def write(self, data: bytes) -> None:
        """Send bytes. Raises Disconnected, also where the bus is not open."""
        if self._port is None:
            raise Disconnected(f"{self.settings.path} is not open")
        if self.tap is not None:
            self.tap(Frame(self.name, "tx", data, time.time_ns()))
        try:
            self._port.write(data)
        except Disconnected:
            self._drop()
            raise

    def set_speed(self, baud: int) -> None:
        """Go on at another speed, until the port is opened again. Raises Disconnected, also where it is not open."""
        if self._port is None:
            raise Disconnected(f"{self.settings.path} is not open")
        try:
            self._port.set_speed(baud)
        except Disconnected:
            self._drop()
            raise

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


class PortDriver(SpeakingDriver):
    """Base of the drivers of a device that has a SerialBus for itself and speaks by itself; see drivers.base.Driver."""

    def __init__(self, bus: SerialBus, silence_s: float, spacing_s: float = 0.0) -> None:
        """``spacing_s``: the least time between two observations that are kept; 0 keeps all."""
        super().__init__(silence_s)
        self._bus = bus
        self._spacing_ns = int(spacing_s * SPACING_SLACK * 1e9)
        self._buffer = bytearray()
        self._kept_ns = 0
        self._device_ns = 0

    async def read(self) -> tuple[Observation, ...]:
        """The next good frame, with those that wait. Raises a DriverError; see Mailbox.get."""
        self._bus.listen(self._hear, self._gone)
        await self._bus.open()
        return await self._mailbox.get(self.silence_s)

    async def close(self) -> None:
        """Let go of the port."""
        self._bus.unlisten(self._hear)

    def feed(self, data: bytes, mono_ns: int) -> tuple[Observation, ...]:
        """What these bytes, come from elsewhere than the port, complete: recorded ones, or those of a scan."""
        self._hear(data, mono_ns)
        return self._mailbox.drain()

    def _gone(self, why: str) -> None:
        self._buffer.clear()
        self._mailbox.lose(why)

    def _hear(self, data: bytes, mono_ns: int) -> None:
        raise NotImplementedError

    def _keep(self, decoded: Decoded, mono_ns: int, *, time_trusted: bool = False) -> None:
        """Put what was decoded into the mailbox, unless it comes too soon after the last one."""
        if self._kept_ns and mono_ns - self._kept_ns < self._spacing_ns:
            return
        self._kept_ns = mono_ns
        device_ns = self._dated(decoded.device_ns)
        trusted = time_trusted and device_ns is not None
        self._mailbox.put(Observation(decoded.measurements, mono_ns, device_ns, trusted))

    def _dated(self, device_ns: int | None) -> int | None:
        """The device's time where it goes forward: two frames of one second must not get one date."""
        if device_ns is None or device_ns <= self._device_ns:
            self._device_ns = device_ns or self._device_ns
            return None
        self._device_ns = device_ns
        return device_ns


class StreamDriver(PortDriver):
    """A device whose frames each make one observation. ``take`` is its codec."""

    def __init__(self, bus: SerialBus, take: Take, silence_s: float, spacing_s: float = 0.0) -> None:
        """``spacing_s``: the least time between two observations that are kept; 0 keeps all."""
        super().__init__(bus, silence_s, spacing_s)
        self._take = take

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
            self._keep(decoded, mono_ns)


class GnssDriver(PortDriver):
    """A GNSS receiver: what it says of one instant makes one observation, dated when it began to say so.

    Its time is trusted where the codec gives one.
    """

    def __init__(self, bus: SerialBus, silence_s: float, spacing_s: float = 0.0) -> None:
        super().__init__(bus, silence_s, spacing_s)
        self._epochs = nmea.Epochs()

    def _hear(self, data: bytes, mono_ns: int) -> None:
        self._buffer += data
        while True:
            try:
                sentence = nmea.take(self._buffer)
                if sentence is None:
                    return
                epochs = self._epochs.add(sentence, mono_ns)
            except BadFrame as error:
                self._mailbox.damaged(error)
                continue
            for epoch in epochs:
                if epoch.decoded.measurements:
                    self._keep(epoch.decoded, epoch.mono_ns, time_trusted=True)
                else:
                    self._mailbox.damaged(BadFrame("the receiver has no fix"))


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type serial."""
    return SerialBus(name, PortSettings.of(settings))


def make_p1(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol p1. Raises ValueError.

    Options: ``crc`` true or false (without it telegrams of DSMR 2 and 3 alone need none), ``time_zone`` of the meter's
    clock, ``key_file`` for encrypted telegrams.
    """
    _only(options, ("crc", "time_zone", "key_file"))
    crc = options.get("crc")
    if crc is not None and not isinstance(crc, bool):
        raise ValueError(f"option crc is {crc!r}: expected true or false")
    name = options.get("time_zone", "Europe/Amsterdam")
    try:
        zone = ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"option time_zone is {name!r}: expected a name such as Europe/Amsterdam") from None
    if "key_file" not in options:
        return _driver(template, bus, address, period_s, partial(p1.take, crc=crc, zone=zone))
    from drivers.codecs import p1_cipher  # loads `cryptography`, which most sites never need

    key = read_key(str(options["key_file"]), p1_cipher.KEY_LENGTHS)
    return _driver(template, bus, address, period_s, partial(p1_cipher.take, key=key, zone=zone))


def make_sml(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol sml. Raises ValueError."""
    _only(options, ())
    return _driver(template, bus, address, period_s, sml.take)


def make_pms(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol pms; option ``model``: plain, T or S. Raises ValueError."""
    _only(options, ("model",))
    model = options.get("model", "plain")
    if model not in get_args(pms.Model):
        raise ValueError(f"option model is {model!r}: expected one of {', '.join(get_args(pms.Model))}")
    return _driver(template, bus, address, period_s, partial(pms.take, model=model))


def make_sds(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol sds. Raises ValueError."""
    _only(options, ())
    return _driver(template, bus, address, period_s, sds.take)


def make_mcu680(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol mcu680. Raises ValueError."""
    _only(options, ())
    return _driver(template, bus, address, period_s, mcu680.take)


def make_nmea(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol nmea. Raises ValueError."""
    _only(options, ())
    port = own_port(template, bus, address)
    return GnssDriver(port, template.silence_s, period_s or template.period_s or 0.0)


def own_port(template: Template, bus: Bus, address: str | int | None) -> SerialBus:
    """The bus of a device that has its port for itself. Raises ValueError."""
    if not isinstance(bus, SerialBus):
        raise ValueError(f"{template.name} needs a bus of type serial")
    if address is not None:
        raise ValueError(f"{template.name} has its port for itself: it takes no address")
    return bus


def _driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, take: Take
) -> StreamDriver:
    port = own_port(template, bus, address)
    return StreamDriver(port, take, template.silence_s, period_s or template.period_s or 0.0)


def _only(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(known) or 'none'}")
