"""RTU frames through a TCP connection: converters that pass the bytes of a line through as they are.

There is no transaction number here, so the guard is that of a line (:mod:`drivers.buses.modbus_rtu`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from drivers.buses.modbus_bus import Unit
from drivers.buses.modbus_poll import Answer, Timing
from drivers.buses.modbus_rtu import BytePort, RtuBus
from drivers.buses.tcp_host import TcpHost
from drivers.errors import Disconnected
from drivers.planner import Block

SETTLE_S = 0.2  # a network hands a frame over in pieces
READ_BYTES_MAX = 4096


class RtuOverTcpBus(RtuBus):
    """See drivers.base.Bus. A connection that was closed while nobody talked is made again without a word."""

    def __init__(self, name: str, host: str, port: int, timing: Timing, char_s: float) -> None:
        self.host = TcpHost(host, port)

        async def opened() -> BytePort:
            return SocketPort(str(self.host), await self.host.connect())

        super().__init__(name, str(self.host), opened, timing, char_s, settle_s=SETTLE_S)

    async def _ask(self, known: Unit, block: Block, timing: Timing) -> Answer:
        if self._port is not None:
            try:
                return await super()._ask(known, block, timing)
            except Disconnected:  # many converters hang up on who was idle: that is no failure of the unit
                known.quiet_until = 0.0
        return await super()._ask(known, block, timing)


class SocketPort:
    """A connected socket as a port; see modbus_rtu.BytePort."""

    def __init__(self, where: str, line: socket.socket) -> None:
        self.fd = line.fileno()
        self._where = where
        self._line = line

    def read(self) -> bytes:
        """What has arrived, b"" for nothing. Raises Disconnected."""
        try:
            data = self._line.recv(READ_BYTES_MAX)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._lost(error) from None
        if not data:
            raise Disconnected(f"{self._where} hung up")
        return data

    def write(self, data: bytes) -> None:
        """Hand all bytes over. Raises Disconnected."""
        try:
            sent = self._line.send(data)
        except OSError as error:
            raise self._lost(error) from None
        if sent != len(data):
            raise self._lost(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))

    def close(self) -> None:
        """Close it; safe to call twice."""
        with contextlib.suppress(OSError):
            self._line.close()

    def _lost(self, error: OSError) -> Disconnected:
        return Disconnected(f"{self._where} went away: {error.strerror or error}")
