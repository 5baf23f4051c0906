"""Electricity meters with a D0 port (IEC 62056-21): those that push, and those that have to be asked.

Option ``mode``: ``push`` (mode D and meters that send by themselves; the default) only listens. ``a`` and ``c`` sign on
at the speed of the bus (300 baud, even parity, 7 data bits) and read all that the meter gives; ``c`` accepts the faster
speed that the meter offers. A meter that shares its port with others is called by its address, its number.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drivers.base import Bus, Driver, Observation
from drivers.buses.serial_stream import SerialBus, StreamDriver, own_port
from drivers.codecs import d0
from drivers.codecs.framing import BUFFER_BYTES_MAX
from drivers.errors import BadFrame, Disconnected, Timeout
from drivers.template import Template

MODES = ("push", "a", "c")
PERIOD_S = 900.0  # a reading at 300 baud takes up to a minute
PAUSE_S = 2.2  # IEC 62056-21, 6.3: 1.5 s to react and between two characters; adapters add theirs
BLOCK_S = 180.0
LINE_SILENT_S = 0.3
_IDENT = re.compile(rb"/[A-Za-z]{3}[^\r\n]{1,33}\r\n")
T = TypeVar("T")


class AskedDriver:
    """A meter of modes A and C; see drivers.base.Driver."""

    def __init__(self, bus: SerialBus, mode: str, address: str, period_s: float, silence_s: float) -> None:
        self.period_s: float | None = period_s
        self.silence_s = silence_s
        self._bus = bus
        self._fast = mode == "c"
        self._sign_on = d0.sign_on(address)
        self._buffer = bytearray()
        self._heard = asyncio.Event()
        self._lost = ""

    async def read(self) -> tuple[Observation, ...]:
        """Sign on and read all. Raises a DriverError."""
        self._bus.listen(self._hear, self._gone)
        await self._bus.open()
        self._lost = ""
        try:
            return (await self._readout(),)
        finally:
            with contextlib.suppress(Disconnected):
                self._bus.set_speed(self._bus.settings.baud)

    async def close(self) -> None:
        """Let go of the port."""
        self._bus.unlisten(self._hear)

    async def _readout(self) -> Observation:
        await self._silence()
        begun_ns = time.monotonic_ns()
        await self._say(self._sign_on)
        line = await self._until(lambda heard: m[0] if (m := _IDENT.search(heard)) else None, PAUSE_S, "sign-on")
        meter = d0.identification(line)
        if self._fast and meter.baud is not None:
            await asyncio.sleep(meter.reaction_s)
            await self._say(d0.acknowledgement(meter.letter))
            self._bus.set_speed(meter.baud)
        block = await self._until(_block, BLOCK_S, "data")
        decoded = d0.decode_block(block)
        return Observation(decoded.measurements, (begun_ns + time.monotonic_ns()) // 2)

    async def _silence(self) -> None:
        """Wait until nothing comes: a meter that was interrupted speaks to its end."""
        try:
            async with asyncio.timeout(BLOCK_S):
                while True:
                    self._heard.clear()
                    async with asyncio.timeout(LINE_SILENT_S):
                        await self._heard.wait()
        except TimeoutError:
            pass
        self._buffer.clear()

    async def _say(self, text: bytes) -> None:
        """Send, and wait until it is through: the speed may change behind it."""
        self._buffer.clear()
        self._bus.write(text)
        await asyncio.sleep(len(text) * self._bus.settings.char_s)

    async def _until(self, find: Callable[[bytearray], T | None], longest_s: float, what: str) -> T:
        """What ``find`` finds in what comes. Raises Timeout, BadFrame or Disconnected."""
        try:
            async with asyncio.timeout(longest_s + self._bus.settings.char_s * 40):
                while True:
                    if self._lost:
                        raise Disconnected(self._lost)
                    found = find(self._buffer)
                    if found is not None:
                        return found
                    self._heard.clear()
                    async with asyncio.timeout(PAUSE_S):
                        await self._heard.wait()
        except TimeoutError:
            if self._buffer:
                raise BadFrame(f"the meter's answer to the {what} is damaged or not whole") from None
            raise Timeout(f"no answer to the {what}: is the optical head in its place?") from None

    def _hear(self, data: bytes, _mono_ns: int) -> None:
        self._buffer += data
        del self._buffer[:-BUFFER_BYTES_MAX]
        self._heard.set()

    def _gone(self, why: str) -> None:
        self._lost = why
        self._heard.set()


def _block(heard: bytearray) -> bytes | None:
    """The block of data; heads that echo put what was asked before it."""
    start = heard.find(d0.STX)
    if start < 0:
        return None
    end = d0.block_size(heard, start)
    return None if end is None else bytes(heard[start:end])


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol d0. Raises ValueError."""
    unknown = sorted(set(options) - {"mode"})
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: mode")
    mode = str(options.get("mode", "push")).lower()
    if mode not in MODES:
        raise ValueError(f"option mode is {mode!r}: expected one of {', '.join(MODES)}")
    if mode == "push":
        port = own_port(template, bus, address)
        return StreamDriver(port, d0.take, template.silence_s, period_s or template.period_s or 0.0)
    who = "" if address is None else str(address)
    if not re.fullmatch(r"[0-9A-Za-z ]{0,32}", who):
        raise ValueError(f"{who!r} is no address of a D0 meter: expected up to 32 letters and digits (6.3.1)")
    port = own_port(template, bus, None)
    return AskedDriver(port, mode, who, period_s or template.period_s or PERIOD_S, template.silence_s)
