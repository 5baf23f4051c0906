"""An M-Bus line behind a level converter: one owner, one meter asked at a time (EN 13757-2, EN 13757-3 clause 11).

A meter is asked by its primary address, or selected by its secondary one (identification, maker, version, medium) and
then asked at address 253. What keeps answers apart: the address of the answer, the identity in its header where the
meter was selected, and the frame count bit, which makes a meter repeat what it said last rather than go on.

A meter that does not answer is asked again, the same question. One that was silent the last time is asked once only,
so that it costs its neighbours little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from drivers.base import Bus, Direction, Frame, Tap
from drivers.buses import mbus_scan
from drivers.buses.mbus_scan import FoundMeter, Progress
from drivers.buses.readable import readable
from drivers.buses.serial_port import PortSettings, SerialPort
from drivers.codecs import mbus, mbus_records
from drivers.errors import BadFrame, Disconnected, Refused, Timeout

RETRIES = 2  # EN 13757-2, 5.5.5
PRIMARY_MAX = 250
SELECTED = 253  # the address of the meter that is selected
IDLE_CHARS = 3  # EN 13757-2, 5.5.3: 33 bit times after what was damaged, 11 else
IDLE_WAIT_S = 1.0
SETTLE_S = 0.06  # no byte for so long: what should have come has come; USB adapters hold bytes back for 16 ms
TELEGRAMS_MAX = 16  # of one answer
RX_BYTES_MAX = 4 * mbus.LONG_BYTES_MAX
Find = Callable[[bytes], bytes]  # the answer in what was heard, b"" for none yet


@dataclass(slots=True)
class _Slave:
    """What the bus knows of one primary address. ``count_bit`` is that of the next request, None: to be reset."""

    count_bit: bool | None = None
    misses: int = 0


@dataclass(frozen=True, slots=True)
class Readout:
    """What a meter answered, and the monotonic instants of the first byte sent and the last one received."""

    telegram: mbus.Telegram
    begin_mono_ns: int
    end_mono_ns: int


class MBusBus:
    """See drivers.base.Bus. ``timeout_s`` is how long a meter may take to begin its answer."""

    def __init__(self, name: str, port: PortSettings, timeout_s: float = 0.5) -> None:
        self.name = name
        self.tap: Tap | None = None
        self.settings = port
        self.timeout_s = timeout_s
        self._port: SerialPort | None = None
        self._slaves: dict[int | str, _Slave] = {}
        self._lock = asyncio.Lock()  # first come, first served
        self._idle_at = 0.0

    async def open(self) -> None:
        """Open the port. Raises NoPort, NoPermission or Disconnected."""
        if self._port is None:
            self._port = SerialPort(self.settings, low_latency=True, check_parity=True)

    async def close(self) -> None:
        """Close the port, once the exchange in progress is over."""
        async with self._lock:
            self._drop()

    async def read(self, address: int | str, *, timeout_s: float | None = None) -> Readout:
        """All telegrams of one meter: by primary address, or by secondary one of 16 digits. Raises a DriverError.

        In a secondary address F stands for any digit.
        """
        # what a search asks for is not worth remembering
        known = isinstance(address, int) or "f" not in address[:8]
        slave = self._slaves.setdefault(address, _Slave()) if known else _Slave()
        async with self._lock:
            await self.open()
            begin_ns = time.monotonic_ns()
            try:
                telegram = await self._readout(address, slave, timeout_s or self.timeout_s)
            except Disconnected:
                self._drop()
                raise
            except (Timeout, BadFrame):
                slave.misses += 1
                slave.count_bit = None
                raise
            slave.misses = 0
            return Readout(telegram, begin_ns, time.monotonic_ns())

    async def scan(self, progress: Progress | None = None) -> list[FoundMeter]:
        """Ask every primary address, then search for secondary ones; read only."""
        return await mbus_scan.scan(self, progress)

    async def wake(self, address: int, timeout_s: float) -> bytes:
        """Reset the link to a primary address (SND_NKE); what came in answer, b"" for silence."""
        return await self._alone(mbus.short_frame(mbus.SND_NKE, address), timeout_s)

    async def select(self, secondary: str, timeout_s: float) -> bytes:
        """Select all meters that fit; what came in answer: 0xE5, b"" for silence, anything else of several meters."""
        return await self._alone(_selection(secondary), timeout_s)

    async def _alone(self, request: bytes, timeout_s: float) -> bytes:
        async with self._lock:
            await self.open()
            try:
                return await self._acknowledged(request, timeout_s)
            except Disconnected:
                self._drop()
                raise

    async def _readout(self, address: int | str, slave: _Slave, timeout_s: float) -> mbus.Telegram:
        retries = 0 if slave.misses else RETRIES
        if isinstance(address, str):
            await self._selected(address, retries, timeout_s)
            target, count_bit = SELECTED, True
        else:
            if slave.count_bit is None:
                # some meters do not acknowledge; whether it is there shows when it is asked
                await self._acknowledged(mbus.short_frame(mbus.SND_NKE, address), timeout_s)
                slave.count_bit = True
            target, count_bit = address, slave.count_bit
        telegrams: list[mbus.Telegram] = []
        while (not telegrams or telegrams[-1].more) and len(telegrams) < TELEGRAMS_MAX:
            telegram = await self._asked(address, target, count_bit, retries, timeout_s)
            count_bit = not count_bit
            if telegrams and telegram.records == telegrams[-1].records:
                break  # it repeats itself without end
            telegrams.append(telegram)
        # after several telegrams the next request would go on with the last: begin anew
        slave.count_bit = count_bit if len(telegrams) == 1 else None
        records = tuple(record for telegram in telegrams for record in telegram.records)
        return mbus.Telegram(telegrams[0].header, records)

    async def _selected(self, address: str, retries: int, timeout_s: float) -> None:
        heard = b""
        for _ in range(retries + 1):
            heard = await self._acknowledged(_selection(address), timeout_s)
            if heard == mbus.ACKNOWLEDGED:
                return
        if heard:
            raise BadFrame(f"several meters feel addressed by {address}, or the line is noisy")
        raise Timeout(f"no meter feels addressed by {address}")

    async def _asked(
        self, address: int | str, target: int, count_bit: bool, retries: int, timeout_s: float
    ) -> mbus.Telegram:
        """One telegram. A damaged or missing one is asked for again: the meter repeats it."""
        request = mbus.short_frame(mbus.REQ_UD2 | (mbus.FCB if count_bit else 0), target)
        for left in range(retries, -1, -1):
            try:
                frame = await self._exchange(request, _long_frame, timeout_s)
                return self._fitting(mbus.unframed(frame), address)
            except (Timeout, BadFrame) as error:
                if not left:
                    raise type(error)(f"meter {address}: {error}") from None
        raise AssertionError("unreachable")

    @staticmethod
    def _fitting(link: mbus.Link, address: int | str) -> mbus.Telegram:
        if isinstance(address, int) and link.address != address:
            raise BadFrame(f"meter {link.address} answers for it")
        if link.ci == mbus.CI_ERROR:
            raise Refused(f"meter {address}: it reports an error (CI 0x70, {link.data[:1].hex() or 'no code'})")
        telegram = mbus.parse(link)
        if isinstance(address, str) and not mbus_records.fits(telegram.header, address):
            raise BadFrame(f"meter {mbus_records.identity(telegram.header)} answers for it")
        return telegram

    async def _acknowledged(self, request: bytes, timeout_s: float) -> bytes:
        """What comes in answer to a request that is acknowledged with a single character; b"" for nothing."""
        try:
            return await self._exchange(request, _acknowledgement, timeout_s, whole=False)
        except Timeout:
            return b""

    async def _exchange(self, request: bytes, find: Find, timeout_s: float, *, whole: bool = True) -> bytes:
        """One request and what ``find`` finds, or where not ``whole`` all that comes. Raises Timeout or BadFrame."""
        loop = asyncio.get_running_loop()
        char_s = self.settings.char_s
        await self._idle()
        port = self._opened()
        port.write(request)
        self._show("tx", request)
        until = loop.time() + len(request) * char_s + timeout_s
        last = until + mbus.LONG_BYTES_MAX * char_s + SETTLE_S
        heard = raw = b""
        try:
            while await readable(port.fd, min(until, last)):
                chunk = port.read()
                raw = (raw + chunk)[-RX_BYTES_MAX:]
                heard = raw.removeprefix(request)  # some converters echo
                if found := find(heard):
                    return found
                missing = (mbus.frame_size(heard) or 0) - len(heard)
                if heard and not request.startswith(heard):
                    until = loop.time() + max(0, missing) * char_s + SETTLE_S
        finally:
            self._idle_at = loop.time()
            self._show("rx", raw)
        if heard and not request.startswith(heard):
            if whole:
                raise BadFrame("what came is no whole answer")
            return heard
        raise Timeout("no answer")

    async def _idle(self) -> None:
        """Wait until the line has been silent for a while; what came is thrown away. Raises BadFrame."""
        loop = asyncio.get_running_loop()
        idle_s = IDLE_CHARS * self.settings.char_s
        give_up_at = loop.time() + IDLE_WAIT_S
        while True:
            if stray := self._opened().read():
                self._show("rx", stray)
                self._idle_at = loop.time()
            wait_s = self._idle_at + idle_s - loop.time()
            if wait_s <= 0:
                return
            if loop.time() > give_up_at:
                raise BadFrame(f"{self.settings.path} never falls silent: another master may be on the line")
            await asyncio.sleep(wait_s)

    def _opened(self) -> SerialPort:
        if self._port is None:
            raise Disconnected(f"{self.settings.path} was closed")
        return self._port

    def _drop(self) -> None:
        port, self._port = self._port, None
        for slave in self._slaves.values():
            slave.count_bit = None
        if port is not None:
            port.close()

    def _show(self, direction: Direction, data: bytes) -> None:
        if self.tap is not None and data:
            self.tap(Frame(self.name, direction, data, time.time_ns()))


def _acknowledgement(heard: bytes) -> bytes:
    return heard if heard == mbus.ACKNOWLEDGED else b""


def _long_frame(heard: bytes) -> bytes:
    """The first whole frame in what was heard, b"" for none."""
    at = heard.find(b"\x68")
    while at >= 0:
        size = mbus.frame_size(heard[at:])
        if size and len(heard) >= at + size:
            try:
                mbus.unframed(heard[at : at + size])
            except BadFrame:
                pass
            else:
                return heard[at : at + size]
        at = heard.find(b"\x68", at + 1)
    return b""


def _selection(secondary: str) -> bytes:
    who = bytes.fromhex(secondary)
    return mbus.long_frame(mbus.SND_UD, SELECTED, mbus.CI_SELECT, who[3::-1] + who[4:])


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type mbus."""
    line = {"baud": 2400, "parity": "even", **{k: v for k, v in settings.items() if v is not None}}
    return MBusBus(name, PortSettings.of(line), float(line.get("timeout", 0.5)))
