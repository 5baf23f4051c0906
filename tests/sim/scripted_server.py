"""A scripted HTTP server on a real socket: each request is answered by the next step of the script."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import zstandard


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    connection: int

    def json(self) -> Any:
        return json.loads(self.plain)

    @property
    def plain(self) -> bytes:
        """The body without its content coding."""
        coding = self.headers.get("content-encoding", "identity")
        if coding == "zstd":
            return zstandard.ZstdDecompressor().decompress(self.body)
        return {"gzip": gzip.decompress, "identity": bytes}[coding](self.body)


@dataclass
class Answer:
    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    reset_before: bool = False  # hang up before a byte of the answer
    reset_within: bool = False  # hang up inside the body
    stall_s: float = 0.0
    close: bool = False

    @staticmethod
    def of(status: int, body: object, **headers: str) -> Answer:
        return Answer(status, json.dumps(body).encode(), dict(headers))


Handler = Callable[[Request], Answer]


class ScriptedServer:
    """``handler`` decides each answer; ``script`` entries go first. ``requests`` holds all that came."""

    def __init__(self, handler: Handler | None = None) -> None:
        self.handler = handler or (lambda request: Answer())
        self.script: list[Answer] = []
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    async def __aenter__(self) -> ScriptedServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        try:
            while await self._one(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(method, path, headers, body, time.monotonic(), number)
        self.requests.append(request)
        scripted = self.script and method == "POST" and "/temporal/" not in path
        answer = self.script.pop(0) if scripted else self.handler(request)
        if answer.stall_s:
            await asyncio.sleep(answer.stall_s)
        if answer.reset_before:
            writer.transport.abort()
            return False
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{k}: {v}" for k, v in answer.headers.items())]
        if answer.status != 204:
            lines.append(f"Content-Length: {len(answer.body)}")
        if answer.close:
            lines.append("Connection: close")
        sent = answer.body[: len(answer.body) // 2] if answer.reset_within else answer.body
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + sent)
        await writer.drain()
        if answer.reset_within:
            await asyncio.sleep(0.05)
            writer.transport.abort()
            return False
        return not answer.close


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until the condition holds; fails the test when it does not."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
