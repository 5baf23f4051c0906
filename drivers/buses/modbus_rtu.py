"""Modbus RTU frames over bytes: one owner, one request at a time, and no answer ever taken for another one's.

Timing and matching are ours. RTU has no transaction number, so an answer that comes after its time-out looks like the
answer to the next request of the same shape to the same unit. What keeps them apart:

1. 3.5 characters of silence, or the device's gap, before each request; whatever came in before is thrown away.
2. An answer must fit in unit, function, byte count and CRC.
3. A unit that let a request time out may owe an answer: it is asked nothing until its ``late`` time is over. The other
   units go on at once, because their answers carry another number.
4. After that rest, a request whose answer would look like one that is still owed is only sent behind one of another
   shape that was answered: units answer in order (:mod:`drivers.buses.modbus_owed`).

What remains: a device that answers out of order, or later than ``late`` where its map has one register only, and there
an older value of the same register is what it gets. The bytes come from a serial port, or from a converter that passes
those of a line through a TCP connection (:mod:`drivers.buses.modbus_tcp`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from drivers.base import Bus
from drivers.buses import modbus_adu as adu
from drivers.buses.fine_timer import FineTimer
from drivers.buses.modbus_bus import TIMEOUT_S, ModbusBus, Unit, took
from drivers.buses.modbus_poll import Answer, Timing
from drivers.buses.readable import readable
from drivers.buses.serial_port import PortSettings, SerialPort
from drivers.errors import BadFrame, Disconnected, Timeout
from drivers.planner import Block, silence_s

log = logging.getLogger("lamppost.drivers")
SETTLE_S = 0.05  # no byte for so long: what should have come has come
SILENCE_WAIT_S = 1.0
LOOK_EARLY_S = 0.002  # timers come up to 1 ms late: the last bytes of an answer are waited for on the port itself
NAP_MIN_S = 0.002  # a shorter rest is not worth a timer
RX_BYTES_MAX = 4096


class BytePort(Protocol):
    """Where the bytes go, without blocking. Methods raise Disconnected."""

    fd: int

    def read(self) -> bytes:
        """What has arrived, b"" for nothing."""

    def write(self, data: bytes) -> None:
        """Hand all bytes over."""

    def close(self) -> None:
        """Close it; safe to call twice."""


class RtuBus(ModbusBus):
    """RTU over any bytes. ``timeout_s`` counts from the end of the request, wire time of the answer aside."""

    def __init__(
        self,
        name: str,
        where: str,
        opened: Callable[[], Awaitable[BytePort]],
        timing: Timing,
        char_s: float,
        *,
        echo: bool = False,
        settle_s: float = SETTLE_S,
    ) -> None:
        super().__init__(name, timing, char_s)
        self._where = where
        self._opened = opened
        self._echo = echo
        self._settle_s = max(settle_s, 3 * char_s)
        self._silence_s = silence_s(char_s)
        self._port: BytePort | None = None
        self._timer: FineTimer | None = None
        self._idle_at = 0.0  # when the line fell silent, as far as we heard

    async def open(self) -> None:
        """Open the port. Raises NoPort, NoPermission or Disconnected."""
        if self._port is None:
            self._port = await self._opened()
            self._timer = FineTimer()
            self._idle_at = asyncio.get_running_loop().time()

    def _drop(self) -> None:
        port, self._port = self._port, None
        timer, self._timer = self._timer, None
        for one in (port, timer):
            if one is not None:
                one.close()

    async def _ask(self, known: Unit, block: Block, timing: Timing) -> Answer:
        await self.open()
        try:
            if known.owed.confusable(block):
                await self._fence(known, block, timing)
            answer = await self._exchange(known, block, timing)
            if answer is None:  # damaged on its way: noise is often gone by the next time
                answer = await self._exchange(known, block, timing)
        except Disconnected:
            self._drop()
            raise
        if answer is None:
            raise BadFrame(f"unit {known.address} answered twice with a damaged frame")
        return answer

    async def _fence(self, known: Unit, block: Block, timing: Timing) -> None:
        """Make sure that no owed answer can be taken for that of the block. Raises Timeout, BadFrame."""
        fence = known.owed.fence(block)
        if fence is not None:
            await self._exchange(known, fence, timing)
            if known.owed.confusable(block):
                raise BadFrame(f"unit {known.address}: it is not certain which answer belongs to which request")

    async def _exchange(self, known: Unit, block: Block, timing: Timing) -> Answer | None:
        """One request, one answer; None where the answer came damaged. Raises Timeout, BadFrame or Disconnected."""
        await self._silence(self._gap_s(timing))
        loop = asyncio.get_running_loop()
        request = adu.encode_read(known.address, block.function, block.address, block.count)
        begin_ns = time.monotonic_ns()
        self._port_now().write(request)
        self._show("tx", request)
        out_at = loop.time() + len(request) * self.char_s
        timeout_s = self._timeout_s(timing)
        wire_s = (adu.ANSWER_OVERHEAD + 2 * block.count) * self.char_s
        deadline = out_at + wire_s + self._patience_s(known, timeout_s)
        # from here on an answer may be owed, also where we are cancelled
        again = known.owed.sent(block)
        known.quiet_until = deadline + self._late_s(timing)
        try:
            answer = await self._answer(request, block, deadline)
        except Timeout:
            known.misses += 1
            raise
        finally:
            self._idle_at = loop.time()
        known.quiet_until = 0.0
        if answer is None:
            return None
        took(known, max(0.0, self._idle_at - out_at - wire_s))
        if not answer.exception:
            known.owed.answered(block, again)
        elif not known.owed.refused(block, again):
            # refusals do not say what they refuse: after a rest in which late ones come, nothing is owed any more
            known.owed.forget()
            known.quiet_until = self._idle_at + self._late_s(timing)
            raise BadFrame(f"unit {known.address} refused an earlier request")
        end_ns = time.monotonic_ns()
        heard_s = (adu.ANSWER_OVERHEAD + len(answer.data)) * self.char_s
        middle_ns = (begin_ns + end_ns + int((len(request) * self.char_s - heard_s) * 1e9)) // 2
        return Answer(answer.data, answer.exception, begin_ns, end_ns, middle_ns)

    async def _answer(self, request: bytes, block: Block, deadline: float) -> adu.Answer | None:
        """The answer that fits; None where it came damaged. Raises Timeout, BadFrame or Disconnected."""
        loop = asyncio.get_running_loop()
        port = self._port_now()
        unit, length = request[0], adu.ANSWER_OVERHEAD + 2 * block.count
        heard = b""
        echo_bytes = len(request) if self._echo else 0
        while True:
            settled_at = loop.time() + self._settle_s if heard else deadline
            if await readable(port.fd, min(deadline, settled_at)):
                chunk = port.read()
                self._show("rx", chunk)
                heard = (heard + chunk)[-RX_BYTES_MAX:]
                if heard.startswith(request):
                    heard, echo_bytes = heard[len(request) :], 0
                    self._noticed_echo()
                if answer := adu.find_answer(heard, unit, block.function, block.count):
                    return answer
                if adu.all_there(heard, unit, block.function, block.count):
                    return None
                # the rest is on the wire: one look when it should be here, not one for each byte
                rest_s = (length + echo_bytes - len(heard)) * self.char_s - LOOK_EARLY_S
                if heard and rest_s > NAP_MIN_S:
                    await asyncio.sleep(rest_s)
            elif loop.time() >= deadline:
                if heard and not adu.sound(heard):
                    raise BadFrame(f"unit {unit}: what came is not the answer to the request")
                raise Timeout(f"unit {unit} did not answer")
            elif adu.sound(heard):
                heard = b""  # somebody's late answer: ours is still to come
            elif self._is_damaged(heard, unit, block, length):
                return None

    def _is_damaged(self, heard: bytes, unit: int, block: Block, length: int) -> bool:
        """Whether what came, and stopped, was our answer; if it can be what another unit owes, it is waited on."""
        if adu.begun(heard, unit, block.function, block.count):
            return True
        return len(heard) >= length and not self._owing(unit)

    async def _silence(self, gap_s: float) -> None:
        """Wait until the line has been silent long enough; what came is thrown away. Raises BadFrame."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + SILENCE_WAIT_S + gap_s
        while True:
            if stray := self._port_now().read():
                self._show("rx", stray)
                self._idle_at = loop.time()
            wait_s = self._idle_at + max(self._silence_s, gap_s) - loop.time()
            if wait_s <= 0:
                return
            if loop.time() > give_up_at:
                raise BadFrame(f"{self._where} never falls silent: another master may be on the line")
            await (self._timer.sleep(wait_s) if self._timer else asyncio.sleep(wait_s))

    def _noticed_echo(self) -> None:
        if not self._echo:
            self._echo = True
            log.info("bus %s: the adapter hears what it sends; `echo: true` would say so", self.name)

    def _owing(self, unit: int) -> bool:
        """Whether another unit may still bring an answer that it owes."""
        now = asyncio.get_running_loop().time()
        return any(known.quiet_until > now for other, known in self._units.items() if other != unit)

    def _port_now(self) -> BytePort:
        if self._port is None:
            raise Disconnected(f"{self._where} was closed")
        return self._port


class ModbusRtuBus(RtuBus):
    """A serial line; see drivers.base.Bus."""

    def __init__(
        self,
        name: str,
        port: PortSettings,
        timeout_s: float = TIMEOUT_S,
        *,
        gap_s: float | None = None,
        late_s: float | None = None,
        echo: bool = False,
    ) -> None:
        async def opened() -> BytePort:
            return SerialPort(port, low_latency=True)

        super().__init__(name, port.path, opened, Timing(timeout_s, gap_s, late_s), port.char_s, echo=echo)
        self.settings = port


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type modbus-rtu."""
    timing = Timing.of(settings)
    return ModbusRtuBus(
        name,
        PortSettings.of(settings),
        timing.timeout_s or TIMEOUT_S,
        gap_s=timing.gap_s,
        late_s=timing.late_s,
        echo=bool(settings.get("echo", False)),
    )
