"""Modbus TCP: one connection to a device, or to a gateway with many units behind it.

Framing is ours: an answer is taken only where its transaction number is that of the request on its way; those that come
after their time-out are thrown away by their number. A unit that does not answer therefore costs its time-out and never
the connection of the others. Source: Modbus messaging on TCP/IP implementation guide v1.0b, 3.1.3 and 4.2.

A gateway asks one unit after the other too: while it may still be waiting for a silent one, the others get more time.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from drivers.base import Bus, Direction
from drivers.buses.modbus_bus import ModbusBus, Unit, took
from drivers.buses.modbus_over_tcp import RtuOverTcpBus
from drivers.buses.modbus_poll import Answer, Timing
from drivers.buses.tcp_host import TcpHost
from drivers.errors import BadFrame, Disconnected, Timeout
from drivers.planner import Block

PORT = 502
DOUBTS_MAX = 3  # so many units in a row that were well and now do not answer: it is not the units
BAUD, CHAR_BITS = 19_200, 11  # what the planner assumes of a host whose line is not known
USUAL = Timing(timeout_s=1.0)
_HEAD = struct.Struct(">HHHBB")  # transaction, protocol, length of what follows, unit, function
_REQUEST = struct.Struct(">HHHBBHH")
_LENGTH_MAX = 254  # unit and a PDU of 253 bytes

Show = Callable[[Direction, bytes], None]


class ModbusTcpBus(ModbusBus):
    """See drivers.base.Bus. The connection is made when it is first needed, and again when it is gone."""

    unit_min = 0  # with 255 what a device without a line behind it answers to

    def __init__(
        self,
        name: str,
        host: str,
        port: int = PORT,
        timing: Timing = USUAL,
        char_s: float = CHAR_BITS / BAUD,
    ) -> None:
        super().__init__(name, timing, char_s)
        self.host = TcpHost(host, port)
        self.thrown_away = 0
        self._connection: _Connection | None = None
        self._numbers = count(1)  # they go on over connections: a gateway may bring an answer to the wrong one
        self._busy_until = 0.0  # the gateway may still wait for a unit that did not answer us
        self._doubts = 0
        self._idle_at = 0.0

    async def open(self) -> None:
        """Connect. Raises NoPort or Disconnected."""
        if self._connection is None or self._connection.lost:
            self._connection = await self._connected()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _ask(self, known: Unit, block: Block, timing: Timing) -> Answer:
        connection = self._connection
        if connection is not None and not connection.lost:
            try:
                return await self._exchange(connection, known, block, timing)
            except Disconnected:  # many gateways hang up on who was idle: that is no failure of the unit
                self._drop()
        await self.open()
        assert self._connection is not None
        return await self._exchange(self._connection, known, block, timing)

    async def _exchange(self, connection: _Connection, known: Unit, block: Block, timing: Timing) -> Answer:
        loop = asyncio.get_running_loop()
        if gap_s := self._gap_s(timing):
            await asyncio.sleep(self._idle_at + gap_s - loop.time())
        now = loop.time()
        timeout_s = self._timeout_s(timing)
        deadline = now + self._patience_s(known, timeout_s)
        if not known.misses and self._busy_until > now:
            deadline = max(deadline, self._busy_until)
        begin_ns = time.monotonic_ns()
        try:
            data, exception, end_ns = await connection.ask(known.address, block, deadline)
        except Timeout:
            self._missed(connection, known, timing)
            raise
        finally:
            self._idle_at = loop.time()
        self._doubts, self._busy_until = 0, 0.0
        took(known, (end_ns - begin_ns) / 1e9)
        return Answer(data, exception, begin_ns, end_ns, (begin_ns + end_ns) // 2)

    def _missed(self, connection: _Connection, known: Unit, timing: Timing) -> None:
        """A unit was silent; where all that were well are, the connection is made anew."""
        was_well = known.usual_s is not None and known.misses == 0
        known.misses += 1
        self._busy_until = asyncio.get_running_loop().time() + self._late_s(timing)
        if was_well or not any(other.usual_s is not None and other.misses == 0 for other in self._units.values()):
            self._doubts += 1
        if self._doubts >= DOUBTS_MAX and connection is self._connection:
            self._doubts, self._busy_until = 0, 0.0
            self._drop()

    def _late(self) -> None:
        """An answer came after its time-out: the gateway is done with that request."""
        self.thrown_away += 1
        self._busy_until = 0.0

    async def _connected(self) -> _Connection:
        line = await self.host.connect()
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(str(self.host), self._numbers, self._show, self._late), sock=line
            )
        except OSError as error:
            raise Disconnected(f"{self.host} hung up: {error}") from None
        return connection


class _Connection(asyncio.Protocol):
    """One TCP connection, one request on its way; one timer for all of them, set anew only when it has run out."""

    def __init__(self, where: str, numbers: Iterator[int], show: Show, late: Callable[[], None]) -> None:
        self.lost = False
        self._where, self._numbers, self._show, self._late = where, numbers, show, late
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._asked: tuple[int, int, int] = (0, 0, 0)  # unit, function, bytes
        self._waiting: asyncio.Future[tuple[bytes, int, int]] | None = None
        self._rest = b""
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, unit: int, block: Block, deadline: float) -> tuple[bytes, int, int]:
        """(registers, exception, monotonic instant of the answer). Raises Timeout, BadFrame or Disconnected."""
        if self.lost or self._transport is None:
            raise Disconnected(f"{self._where} hung up")
        loop = asyncio.get_running_loop()
        self._number = next(self._numbers) & 0xFFFF
        request = _REQUEST.pack(self._number, 0, 6, unit, block.function, block.address, block.count)
        self._asked = unit, block.function, 2 * block.count
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._set_timer(loop)
        waiting: asyncio.Future[tuple[bytes, int, int]] = loop.create_future()
        self._waiting = waiting
        self._transport.write(request)
        self._show("tx", request)
        try:
            return await waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        """Hang up; safe to call twice."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        self._fail(Disconnected(f"{self._where} hung up{f': {exc}' if exc else ''}"))

    def data_received(self, data: bytes) -> None:
        self._show("rx", data)
        if self._rest:
            data = self._rest + data
            self._rest = b""
        while data:
            if len(data) < _HEAD.size:
                self._rest = data
                return
            number, protocol, length, unit, function = _HEAD.unpack_from(data)
            if protocol or not 3 <= length <= _LENGTH_MAX:
                self._fail(BadFrame(f"{self._where} sends what is not Modbus TCP; `framing: rtu` may fit"))
                self.close()
                return
            end = 6 + length
            if len(data) < end:
                self._rest = data
                return
            if number == self._number and self._waiting is not None:
                self._answered(unit, function, data[8:end])
            else:
                self._late()
            data = data[end:]

    def _answered(self, unit: int, function: int, body: bytes) -> None:
        """The answer with the right number; ``body`` is what follows the function."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        asked_unit, asked_function, size = self._asked
        if unit == asked_unit and function == asked_function and len(body) == size + 1 and body[0] == size:
            waiting.set_result((body[1:], 0, time.monotonic_ns()))
        elif unit == asked_unit and function == asked_function | 0x80 and len(body) == 1:
            waiting.set_result((b"", body[0], time.monotonic_ns()))
        else:
            waiting.set_exception(BadFrame(f"unit {asked_unit}: what came is not the answer to the request"))

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._deadline, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """The timer ran out: for a request that was answered long ago, or for the one on its way."""
        self._timer = None
        if self._waiting is None:
            return
        if loop.time() >= self._deadline:
            self._fail(Timeout(f"unit {self._asked[0]} did not answer"))
        else:
            self._set_timer(loop)

    def _fail(self, error: BadFrame | Disconnected | Timeout) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type modbus-tcp."""
    timing, baud = Timing.of(settings), settings.get("baud")
    timing = replace(timing, timeout_s=timing.timeout_s or USUAL.timeout_s)
    kind = RtuOverTcpBus if settings.get("framing") == "rtu" else ModbusTcpBus
    return kind(name, str(settings["host"]), int(settings.get("port") or PORT), timing, CHAR_BITS / (baud or BAUD))
