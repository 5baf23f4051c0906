"""A Modbus TCP host: a device, or a gateway with many units on the line behind it; or a converter of bytes.

After *Modbus messaging on TCP/IP* 1.0b. As a gateway does, it asks one unit after the other: while it waits for one
that is silent, the others wait too.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Literal

from firmware_sim.modbus import TARGET_SILENT, Unit, crc16, sealed

Framing = Literal["tcp", "rtu"]


class TcpHost:
    """``units`` by address. What may be set at any time:

    ``wait_s`` is how long it waits for a unit that is silent, or not there; ``tells``: it then answers with exception
    0x0B, else not at all. One in ``misnumber_every`` answers gets the transaction number of another one (0: none).
    ``stalled``: it takes requests and never answers. ``accepted`` counts the connections, ``asked`` the requests.
    """

    def __init__(self, units: dict[int, Unit], framing: Framing = "tcp") -> None:
        self.units = units
        self.framing = framing
        self.wait_s = 0.0
        self.tells = False
        self.misnumber_every = 0
        self.stalled = False
        self.accepted = 0
        self.asked = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._talks: set[_Talk] = set()

    async def up(self, port: int = 0) -> None:
        """Listen on loopback. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Talk(self), "127.0.0.1", port or self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Hang up on everybody and listen no more."""
        if self._server is not None:
            self._server.close()
            self.hang_up()
            await self._server.wait_closed()
            self._server = None

    def hang_up(self) -> None:
        """Close the connections; new ones are taken."""
        for talk in list(self._talks):
            talk.hang_up()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[TcpHost]:
        """Up inside."""
        await self.up()
        try:
            yield self
        finally:
            await self.down()

    def joined(self, talk: _Talk) -> None:
        """A connection was made."""
        self.accepted += 1
        self._talks.add(talk)

    def left(self, talk: _Talk) -> None:
        """A connection is gone."""
        self._talks.discard(talk)


class _Talk(asyncio.Protocol):
    """One connection: its requests wait in line."""

    def __init__(self, host: TcpHost) -> None:
        self._host = host
        self._transport: asyncio.Transport | None = None
        self._heard = b""
        self._waiting: list[tuple[int, int, bytes]] = []  # number, unit, body
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._host.left(self)

    def hang_up(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        for request in self._requests():
            self._host.asked += 1
            self._waiting.append(request)
        self._next()

    def _requests(self) -> Iterator[tuple[int, int, bytes]]:
        if self._host.framing == "rtu":
            while len(self._heard) >= 8:
                frame, self._heard = self._heard[:8], self._heard[8:]
                if crc16(frame[:-2]) == struct.unpack("<H", frame[-2:])[0]:
                    yield 0, frame[0], frame[1:-2]
            return
        while len(self._heard) >= 8:
            number, _, length, unit = struct.unpack(">HHHB", self._heard[:7])
            if len(self._heard) < 6 + length:
                return
            body, self._heard = self._heard[7 : 6 + length], self._heard[6 + length :]
            yield number, unit, body

    def _next(self) -> None:
        if self._busy or not self._waiting or self._host.stalled:
            return
        number, address, body = self._waiting.pop(0)
        unit = self._host.units.get(address)
        loop = asyncio.get_running_loop()
        self._busy = True
        if unit is None or unit.silent:
            refusal = bytes([body[0] | 0x80, TARGET_SILENT]) if self._host.tells else b""
            loop.call_later(self._host.wait_s, self._say, number, address, refusal)
            return
        answer, delay_s = unit.answer(body), unit.delay_s()
        if delay_s > 0:
            loop.call_later(delay_s, self._say, number, address, answer)
        else:
            self._say(number, address, answer)

    def _say(self, number: int, address: int, body: bytes) -> None:
        self._busy = False
        if self._transport is not None and body:
            self._transport.write(self._framed(number, address, body))
        self._next()

    def _framed(self, number: int, address: int, body: bytes) -> bytes:
        host = self._host
        if host.framing == "rtu":
            frame = sealed(bytes([address]) + body)
            return host.units[address].spoilt(frame) if address in host.units else frame
        if host.misnumber_every and host.asked % host.misnumber_every == 0:
            number ^= 1
        return struct.pack(">HHHB", number, 0, 1 + len(body), address) + body
