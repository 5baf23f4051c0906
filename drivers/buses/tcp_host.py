"""A host and port to connect to: errors that say what is wrong, and no storm of attempts where nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from drivers.errors import NoPort

CONNECT_S = 3.0
RECONNECT_S = 1.0  # who could not be reached is not tried again sooner: 50 devices ask one host
UNSENT_S = 5.0  # bytes that the other side did not acknowledge for so long: the connection is dead
KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class TcpHost:
    """Where to connect to."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._not_before = 0.0
        self._cause = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    async def connect(self) -> socket.socket:
        """A connected socket that does not block and notices a dead connection. Raises NoPort."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            raise NoPort(self._cause)
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._first()
        except (OSError, TimeoutError) as error:
            self._cause = self._unreachable(error)
            self._not_before = loop.time() + RECONNECT_S
            raise NoPort(self._cause) from None

    async def _first(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        failed: OSError = OSError("no address")
        for family, kind, protocol, _, address in found:
            line = socket.socket(family, kind, protocol)
            try:
                line.setblocking(False)
                await loop.sock_connect(line, address)
            except OSError as error:
                line.close()
                failed = error
            except asyncio.CancelledError:
                line.close()
                raise
            else:
                _tune(line)
                return line
        raise failed

    def _unreachable(self, error: OSError) -> str:
        if isinstance(error, socket.gaierror):
            return f"{self.host}: there is no such host"
        if isinstance(error, ConnectionRefusedError):
            return f"{self} refuses the connection: nothing listens there, or it has no connection left"
        if isinstance(error, TimeoutError):
            return f"{self} does not answer"
        return f"{self} cannot be reached: {error.strerror or error}"


def _tune(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNSENT_S * 1000))
        for option, value in KEEPALIVE:
            line.setsockopt(socket.IPPROTO_TCP, option, value)
