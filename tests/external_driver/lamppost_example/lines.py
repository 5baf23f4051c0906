"""The bus: one TCP connection to a box with sensors, one line for a question, one line for its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from drivers.base import Frame, Tap
from drivers.errors import BadFrame, Disconnected, NoPort, Timeout

LINE_BYTES_MAX = 200


class LinesBus:
    """See ``drivers.base.Bus``. It opens on first use, and again after a loss."""

    def __init__(self, name: str, host: str, port: int, timeout_s: float) -> None:
        self.name = name
        self.tap: Tap | None = None
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._one_at_a_time = asyncio.Lock()

    async def open(self) -> None:
        """Connect. Raises NoPort."""
        if self._writer is not None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=LINE_BYTES_MAX)
        except (OSError, TimeoutError) as error:  # a time-out is an OSError without a text
            raise NoPort(f"{self._host}:{self._port} cannot be reached: {error or 'no answer'}") from None

    async def close(self) -> None:
        """Hang up; safe to call twice."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()

    async def ask(self, question: str) -> tuple[str, int]:
        """The answer to a question, and the monotonic middle of the round trip. Raises a DriverError."""
        async with self._one_at_a_time:
            await self.open()
            whole = False
            try:
                answer, asked_ns = await self._exchange(question)
                whole = True
            finally:
                # what was asked and not answered may come later: another question must not get that answer
                if not whole:
                    await self.close()
        return answer, (asked_ns + time.monotonic_ns()) // 2

    async def _exchange(self, question: str) -> tuple[str, int]:
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            raise Disconnected(f"{self._host}:{self._port} was closed")
        request, asked_ns = f"{question}\n".encode(), time.monotonic_ns()
        try:
            async with asyncio.timeout(self._timeout_s):
                writer.write(request)
                self._show("tx", request)
                line = await reader.readuntil(b"\n")
        except TimeoutError:
            raise Timeout(f"no answer to {question!r} within {self._timeout_s:g} s") from None
        except asyncio.LimitOverrunError:
            raise BadFrame(f"an answer of more than {LINE_BYTES_MAX} bytes") from None
        except (asyncio.IncompleteReadError, OSError):
            raise Disconnected(f"{self._host}:{self._port} hung up") from None
        self._show("rx", line)
        try:
            return line.decode("ascii").strip(), asked_ns
        except UnicodeDecodeError:
            raise BadFrame("an answer that is no text") from None

    def _show(self, direction: Any, data: bytes) -> None:
        if self.tap is not None:
            self.tap(Frame(self.name, direction, data, time.time_ns()))


def make_bus(name: str, settings: Mapping[str, Any]) -> LinesBus:
    """The bus of a part of the configuration. A ValueError is what `lamppost check` tells."""
    unknown = sorted(set(settings) - {"type", "host", "port", "timeout"})
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}; known: host, port, timeout")
    host, port, timeout_s = settings.get("host"), settings.get("port"), settings.get("timeout", 2.0)
    if not isinstance(host, str) or not isinstance(port, int):
        raise ValueError("host and port are needed")
    if not isinstance(timeout_s, int | float) or timeout_s <= 0:
        raise ValueError("timeout is a time in seconds")
    return LinesBus(name, host, port, float(timeout_s))
