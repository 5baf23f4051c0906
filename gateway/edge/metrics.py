"""Prometheus metrics (text format 0.0.4) and /healthz on the local port: what is late or lost must be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11

from gateway.config.kinds import Listen
from gateway.errors import LamppostError
from gateway.prometheus import CONTENT_TYPE

REQUEST_TIMEOUT_S = 10.0
HEADERS_MAX = 16 * 1024


class MetricsServer:
    """Answers GET /metrics with ``render()`` and GET /healthz with 200 or 503."""

    def __init__(self, listen: Listen, render: Callable[[], str], healthy: Callable[[], bool]) -> None:
        self._listen = listen
        self._render = render
        self._healthy = healthy
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self) -> None:
        """Listen. Raises LamppostError where the port is taken."""
        try:
            self._server = await asyncio.start_server(self._client, self._listen.host, self._listen.port)
        except OSError as error:
            raise LamppostError(
                f"cannot listen on {self._listen.host} port {self._listen.port}: {error.strerror or error}",
                code="local.cannot-listen",
                fix="Is another gateway running? Choose another port (local.listen.port; 0 takes a free one).",
            ) from error
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_MAX)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                status, body = self._answer(await _request(connection, reader))
                headers = [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body))), ("Connection", "close")]
                for event in (
                    h11.Response(status_code=status, headers=headers),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                ):
                    writer.write(connection.send(event) or b"")
                await writer.drain()
        except (TimeoutError, ConnectionError, h11.ProtocolError):
            pass  # a slow, broken or vanished client gets no answer
        finally:
            writer.close()

    def _answer(self, request: h11.Request) -> tuple[int, bytes]:
        path = request.target.split(b"?")[0]
        if request.method != b"GET":
            return 405, b"only GET\n"
        if path == b"/metrics":
            return 200, self._render().encode()
        if path == b"/healthz":
            return (200, b"ok\n") if self._healthy() else (503, b"no progress\n")
        return 404, b"here are /metrics and /healthz\n"


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is h11.NEED_DATA:
            data = await reader.read(4096)
            if not data:
                raise ConnectionError
            connection.receive_data(data)
