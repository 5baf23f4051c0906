"""The one local door: a Unix socket, group-readable, that answers JSON lines.

Request ``{"v": 1, "id": 1, "do": "status", "args": {}}``; answer ``{"id": 1, "ok": true, "result": ...}`` or
``{"id": 1, "ok": false, "error": {"code", "cause", "fix"}}``. ``watch`` and ``capture`` answer many lines with
``item`` until the client closes. Line, time and number of clients are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from drivers.errors import DriverError
from gateway.errors import ControlError, LamppostError
from gateway.outbox.records import may_heal

VERSION = 1
LINE_MAX = 64 * 1024
CLIENTS_MAX = 32
IDLE_S = 300.0
AGAIN_S = 2.0
LOG = logging.getLogger("lamppost.edge")
Args = Mapping[str, Any]
Answer = Callable[[Args], Awaitable[Any]]
Stream = Callable[[Args], AsyncIterator[Any]]


class ControlServer:
    """Serves ``answers`` (one result) and ``streams`` (many items) by name."""

    def __init__(self, path: Path, answers: Mapping[str, Answer], streams: Mapping[str, Stream]) -> None:
        self._path = path
        self._answers = answers
        self._streams = streams
        self._clients = 0
        self._server: asyncio.Server | None = None
        self._later: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; a socket file left by a crash is replaced. Where the disk takes no file now, when it does again.

        Raises ControlError where another daemon answers, or the folder cannot be used at all.
        """
        try:
            await self._listen()
        except OSError as error:
            if not may_heal(error):
                fix = "Give the folder to the service's user, or another storage.path."
                cause = f"the control socket {self._path} cannot be made: {error.strerror}"
                raise ControlError(cause, code="control.no-socket", fix=fix) from error
            cause = "%s cannot be made, so no command can ask this daemon until the disk takes files again: %s"
            LOG.error(cause, self._path, error.strerror, extra={"code": "control.no-socket"})
            self._later = asyncio.create_task(self._listen_later())  # kept, and cancelled in close()

    async def _listen_later(self) -> None:
        while self._server is None:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(OSError, ControlError):
                await self._listen()
        LOG.info("the control socket is there")

    async def _listen(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            if _answers(self._path):
                raise ControlError(
                    f"another daemon answers at {self._path}",
                    code="control.in-use",
                    fix="Stop it, or give this one another storage.path.",
                )
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._client, str(self._path), limit=LINE_MAX)
        self._path.chmod(0o660)

    async def close(self) -> None:
        """Stop listening and drop all clients."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):  # on a disk that is read-only by now it stays, and nobody answers there
                self._path.unlink(missing_ok=True)
            self._server = None

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            while self._clients <= CLIENTS_MAX:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readline()
                if not line:
                    break
                await self._request(line, reader, writer)
        except (TimeoutError, ValueError, ConnectionError):
            pass  # idle, a line without end, or gone: nothing to answer to
        finally:
            self._clients -= 1
            writer.close()

    async def _request(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number: Any = None
        try:
            number, do, args = _parse(line)
            if do in self._streams:
                await self._stream(number, self._streams[do](args), reader, writer)
                return
            if do not in self._answers:
                known = ", ".join(sorted({*self._answers, *self._streams}))
                raise ControlError(f"unknown request {do!r}", code="control.unknown", fix=f"Known: {known}.")
            result = await self._answers[do](args)
            await _send(writer, {"id": number, "ok": True, "result": result})
        except LamppostError as error:
            await _send(writer, _failure(number, error.code, error.cause, error.fix))
        except DriverError as error:
            await _send(writer, _failure(number, error.code, str(error), error.fix))

    async def _stream(
        self, number: object, items: AsyncIterator[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def send_all() -> None:
            async for item in items:
                await _send(writer, {"id": number, "ok": True, "item": item})

        sending = asyncio.ensure_future(send_all())
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            results = await asyncio.gather(sending, gone, return_exceptions=True)
        if isinstance(results[0], LamppostError | DriverError):
            raise results[0]


def _parse(line: bytes) -> tuple[Any, str, Args]:
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ControlError(f"not JSON: {error}", code="control.bad-request") from error
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise ControlError("a request is an object with 'do'", code="control.bad-request")
    if request.get("v", VERSION) != VERSION:
        raise ControlError(f"this daemon speaks version {VERSION}", code="control.version", fix="Use its own command.")
    args = request.get("args", {})
    if not isinstance(args, dict):
        raise ControlError("'args' is an object", code="control.bad-request")
    return request.get("id"), request["do"], args


def _failure(number: object, code: str, cause: str, fix: str) -> dict[str, Any]:
    return {"id": number, "ok": False, "error": {"code": code, "cause": cause, "fix": fix}}


async def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(orjson.dumps(answer) + b"\n")
    async with asyncio.timeout(10):
        await writer.drain()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
