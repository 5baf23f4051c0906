"""A small HTTP/1.1 server over h11 for sensors that push: one request a connection, everything bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

import h11

READ_BYTES = 16 * 1024
HEADER_BYTES_MAX = 16 * 1024
CONNECTIONS_MAX = 32
EXCHANGE_S = 10.0  # from the connection to the end of the answer


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; names of headers are lower case, of repeated headers the last counts."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: a status and one line for people."""

    status: HTTPStatus
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Listener:
    """Answers each request by ``answer``, which must not wait. ``refused`` counts connections beyond the bound."""

    def __init__(self, answer: Callable[[Request], Answer], body_max: int) -> None:
        self.refused = 0
        self._answer = answer
        self._body_max = body_max
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The TCP port; 0 while it does not listen."""
        return 0 if self._server is None else int(self._server.sockets[0].getsockname()[1])

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError. Does nothing while it listens already."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, host, port, limit=READ_BYTES)

    async def close(self) -> None:
        """Stop listening and drop what is open; safe to call twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= CONNECTIONS_MAX:
            self.refused += 1
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with asyncio.timeout(EXCHANGE_S):
                await self._exchange(reader, writer)
        except (TimeoutError, OSError):
            pass  # the sensor went away, or is too slow to be one
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MAX)
        try:
            request = await self._request(reader, wire)
        except h11.RemoteProtocolError as error:
            answer = Answer(HTTPStatus(error.error_status_hint), f"not a request of HTTP/1.1: {error}")
        else:
            if request is None:
                return
            answer = self._answer(request) if isinstance(request, Request) else request
        with suppress(h11.LocalProtocolError):  # the request was so broken that there is nothing to answer
            writer.write(_bytes(wire, answer))
            writer.write_eof()
            await writer.drain()
            while await reader.read(READ_BYTES):  # until the other end has taken the answer and closed
                pass

    async def _request(self, reader: asyncio.StreamReader, wire: h11.Connection) -> Request | Answer | None:
        """The request, or what to answer at once; None where the sensor went away before it had said anything."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = wire.next_event()
            if event is h11.NEED_DATA:
                wire.receive_data(await reader.read(READ_BYTES))
            elif isinstance(event, h11.Request):
                head = event
                stated = dict(event.headers).get(b"content-length", b"0")
                if int(stated) > self._body_max:
                    return self._too_large()
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._body_max:
                    return self._too_large()
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                break
            else:
                return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        method, path = head.method.decode("latin-1"), head.target.decode("latin-1")
        return Request(method, path, headers, bytes(body))

    def _too_large(self) -> Answer:
        cause = f"a body of more than {self._body_max} bytes is not taken"
        return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, cause)


def _bytes(wire: h11.Connection, answer: Answer) -> bytes:
    body = f"{answer.text}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        *answer.headers,
    ]
    out = wire.send(h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase)) or b""
    return out + (wire.send(h11.Data(data=body)) or b"") + (wire.send(h11.EndOfMessage()) or b"")
