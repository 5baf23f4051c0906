"""A Modbus RTU line: one owner, one request at a time, and no answer ever taken for another one's.

Timing and matching are ours. RTU has no transaction number, so an answer that comes after its time-out looks like the
answer to the next request of the same shape to the same unit. What keeps them apart:

1. 3.5 characters of silence before each request; whatever came in before is thrown away.
2. An answer must fit in unit, function, byte count and CRC.
3. A unit that let a request time out may owe an answer: it is asked nothing for QUIET_TIMES its time-out. The other
   units go on at once, because their answers carry another number.

A unit that is known to be silent is given only the time that it usually took, so that it costs its neighbours little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.base import Bus, Direction, Driver, Frame, Tap
from drivers.buses import modbus_adu as adu
from drivers.buses import modbus_scan
from drivers.buses.modbus_device import ModbusDriver
from drivers.buses.modbus_scan import SCAN_UNITS, FoundUnit, Progress
from drivers.buses.serial_port import PortSettings, SerialPort
from drivers.errors import BadFrame, Disconnected, Refused, Timeout
from drivers.planner import Block
from drivers.template import Template

SILENCE_CHARS = 3.5  # Modbus serial line v1.02, 2.5.1.1
SILENCE_FAST_S = 0.00175  # the same clause, above 19200 baud
FAST_BAUD = 19_200
TURNAROUND_S = 0.05  # the least a unit gets, besides the wire: USB adapters hold bytes back for 16 ms
LEARNED_TIMES = 4  # a silent unit gets so many times its usual turn-around
QUIET_TIMES = 3  # a unit that timed out rests for so many time-outs, counted from its request
QUIET_MIN_S = 1.0
FULL_EVERY = 4  # of the requests to a silent unit, one in so many waits the full time: it may have become slower
SETTLE_S = 0.05  # no byte for so long: what should have come has come
SILENCE_WAIT_S = 1.0
RX_BYTES_MAX = 4096
UNIT_MAX = 255
PERIOD_S = 10.0  # between polls, where neither the device nor its template says


@dataclass(slots=True)
class _Unit:
    """What the bus knows of one address. Times are the loop's."""

    quiet_until: float = 0.0
    usual_s: float | None = (
        None  # turn-around: from the end of the request to the answer, wire time of the answer aside
    )
    misses: int = 0


@dataclass(frozen=True, slots=True)
class Poll:
    """The registers of each block, and the monotonic instants of the first byte sent and the last one received."""

    data: tuple[bytes, ...]
    begin_mono_ns: int
    end_mono_ns: int


class ModbusRtuBus:
    """See drivers.base.Bus. ``timeout_s`` counts from the end of the request, wire time of the answer aside."""

    def __init__(self, name: str, port: PortSettings, timeout_s: float = 0.5, *, echo: bool = False) -> None:
        self.name = name
        self.tap: Tap | None = None
        self.settings = port
        self.timeout_s = timeout_s
        self.char_s = port.char_s
        self._echo = echo
        self._silence_s = SILENCE_CHARS * port.char_s if port.baud <= FAST_BAUD else SILENCE_FAST_S
        self._port: SerialPort | None = None
        self._units: dict[int, _Unit] = {}
        self._lock = asyncio.Lock()  # first come, first served
        self._idle_at = 0.0  # when the line fell silent, as far as we heard

    async def open(self) -> None:
        """Open the port. Raises NoPort, NoPermission or Disconnected."""
        if self._port is None:
            self._port = SerialPort(self.settings)
            self._idle_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Close the port, once the exchange in progress is over."""
        async with self._lock:
            self._drop()

    async def read(self, unit: int, blocks: Sequence[Block], *, patience_s: float | None = None) -> Poll:
        """Read the blocks of one unit, nobody else between them. Raises a DriverError; nothing is returned by half.

        ``patience_s`` is the time-out of this poll instead of the bus's.
        """
        loop = asyncio.get_running_loop()
        known = self._units.setdefault(unit, _Unit())
        while True:
            rest_s = known.quiet_until - loop.time()
            if rest_s > 0:
                await asyncio.sleep(rest_s)
            async with self._lock:
                if known.quiet_until <= loop.time():
                    return await self._poll(unit, known, blocks, patience_s or self.timeout_s)

    async def scan(self, progress: Progress | None = None, units: Iterable[int] = SCAN_UNITS) -> list[FoundUnit]:
        """Ask every address for one register, read only, and guess the templates of those that answer."""
        return await modbus_scan.scan(self, units, progress)

    async def _poll(self, unit: int, known: _Unit, blocks: Sequence[Block], timeout_s: float) -> Poll:
        await self.open()
        data: list[bytes] = []
        begin_ns = 0
        try:
            for block in blocks:
                await self._silence()
                begin_ns = begin_ns or time.monotonic_ns()
                answer = await self._exchange(unit, known, block, timeout_s)
                if answer is None:  # damaged on its way: noise is often gone by the next time
                    await self._silence()
                    answer = await self._exchange(unit, known, block, timeout_s)
                data.append(_registers(answer, unit, block))
        except Disconnected:
            self._drop()
            raise
        return Poll(tuple(data), begin_ns, time.monotonic_ns())

    async def _exchange(self, unit: int, known: _Unit, block: Block, timeout_s: float) -> adu.Answer | None:
        """One request, one answer; None where the answer came damaged. Raises Timeout, BadFrame or Disconnected."""
        loop = asyncio.get_running_loop()
        request = adu.encode_read(unit, block.function, block.address, block.count)
        port = self._opened()
        port.write(request)
        self._show("tx", request)
        out_at = loop.time() + len(request) * self.char_s
        # from here on an answer may be owed, also where we are cancelled
        known.quiet_until = out_at + max(QUIET_MIN_S, QUIET_TIMES * timeout_s)
        wire_s = (adu.ANSWER_OVERHEAD + 2 * block.count) * self.char_s
        deadline = out_at + wire_s + _patience_s(known, timeout_s)
        try:
            answer = await self._answer(port, request, block, deadline)
        except Timeout:
            known.misses += 1
            raise
        finally:
            self._idle_at = loop.time()
        known.quiet_until = 0.0
        if answer is not None:
            took_s = max(0.0, self._idle_at - out_at - wire_s)
            known.usual_s = took_s if known.usual_s is None else 0.8 * known.usual_s + 0.2 * took_s
            known.misses = 0
        return answer

    async def _answer(self, port: SerialPort, request: bytes, block: Block, deadline: float) -> adu.Answer | None:
        """The answer that fits; None where it came damaged. Raises Timeout, BadFrame or Disconnected."""
        loop = asyncio.get_running_loop()
        unit, length = request[0], adu.ANSWER_OVERHEAD + 2 * block.count + (len(request) if self._echo else 0)
        heard = b""
        while True:
            settled_at = loop.time() + SETTLE_S if heard else deadline
            if await _readable(port.fd, min(deadline, settled_at)):
                # the rest is on the wire: one look when it should be here, not one for each byte
                if length > len(heard):
                    await asyncio.sleep((length - len(heard)) * self.char_s)
                chunk = port.read()
                self._show("rx", chunk)
                heard = (heard + chunk)[-RX_BYTES_MAX:]
                if self._echo:
                    heard = heard.removeprefix(request)
                if answer := adu.find_answer(heard, unit, block.function, block.count):
                    return answer
            elif loop.time() >= deadline:
                if heard and not adu.sound(heard):
                    raise BadFrame(f"unit {unit}: what came is not the answer to the request")
                raise Timeout(f"unit {unit} did not answer")
            elif adu.sound(heard):
                heard = b""  # an echo, or somebody's late answer: ours is still to come
            elif adu.begun(heard, unit, block.function, block.count) or (len(heard) >= length and not self._owed(unit)):
                return None

    async def _silence(self) -> None:
        """Wait until the line has been silent for 3.5 characters; what came is thrown away. Raises BadFrame."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + SILENCE_WAIT_S
        while True:
            if stray := self._opened().read():
                self._show("rx", stray)
                self._idle_at = loop.time()
            wait_s = self._idle_at + self._silence_s - loop.time()
            if wait_s <= 0:
                return
            if loop.time() > give_up_at:
                raise BadFrame(f"{self.settings.path} never falls silent: another master may be on the line")
            await asyncio.sleep(wait_s)

    def _owed(self, unit: int) -> bool:
        """Whether another unit may still bring an answer that it owes."""
        now = asyncio.get_running_loop().time()
        return any(known.quiet_until > now for other, known in self._units.items() if other != unit)

    def _opened(self) -> SerialPort:
        if self._port is None:
            raise Disconnected(f"{self.settings.path} was closed")
        return self._port

    def _drop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def _show(self, direction: Direction, data: bytes) -> None:
        if self.tap is not None:
            self.tap(Frame(self.name, direction, data, time.time_ns()))


def _patience_s(known: _Unit, timeout_s: float) -> float:
    """How long to wait for a unit: a silent one gets what it usually took, and now and then its full time again."""
    if known.usual_s is None or known.misses % FULL_EVERY == 0:
        return timeout_s
    return min(timeout_s, max(TURNAROUND_S, LEARNED_TIMES * known.usual_s))


def _registers(answer: adu.Answer | None, unit: int, block: Block) -> bytes:
    if answer is None:
        raise BadFrame(f"unit {unit} answered twice with a damaged frame")
    if answer.exception == adu.GATEWAY_TARGET_SILENT:
        raise Timeout(f"the gateway says that unit {unit} does not answer")
    if answer.exception:
        meaning = adu.EXCEPTIONS.get(answer.exception, "unknown")
        where = f"function {block.function}, {block.count} registers from {block.address:#06x}"
        raise Refused(f"unit {unit} refused {where}: exception {answer.exception}, {meaning}")
    return answer.data


async def _readable(fd: int, until: float) -> bool:
    """Wait until there is something to read, or the loop's time ``until``. Returns whether there is."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def done(there: bool) -> None:
        if not ready.done():
            ready.set_result(there)

    loop.add_reader(fd, done, True)
    timer = loop.call_at(until, done, False)
    try:
        return await ready
    finally:
        timer.cancel()
        loop.remove_reader(fd)


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type modbus-rtu."""
    return ModbusRtuBus(
        name,
        PortSettings.of(settings),
        float(settings.get("timeout", 0.5)),
        echo=bool(settings.get("echo", False)),
    )


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol modbus. Raises ValueError."""
    if not isinstance(bus, ModbusRtuBus):
        raise ValueError(f"{template.name} needs a bus of type modbus-rtu")
    if options:
        raise ValueError(f"unknown option {min(options)!r}; known: none")
    address = template.address if address is None else address
    if address is None:
        raise ValueError(f"{template.name} needs an address, 1 to 247")
    try:
        unit = int(address)
    except ValueError:
        raise ValueError(f"{address!r} is no Modbus address: expected a number, 1 to 247") from None
    if not 1 <= unit <= UNIT_MAX:
        raise ValueError(f"{unit} is no Modbus address: expected 1 to 247")
    return ModbusDriver(bus, template, unit, period_s or template.period_s or PERIOD_S)
