"""A lean HTTP/1.1 load generator: requests ready as bytes over kept connections, so that it measures the server.

A client library costs more a request than the server does, so the server would sleep and wake for each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"


@dataclass
class Run:
    """What came of it: seconds from when a request was due to its answer, and answers beyond 299."""

    took: list[float] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        """Milliseconds that this share of the answers took at most."""
        ordered = sorted(self.took)
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def request(method: str, address: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """One request as bytes; ``target`` is the path with its query."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {urlsplit(address).netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + HEAD_END + body


class _Connection(asyncio.Protocol):
    """Sends one request after the other; each when it is due, and never before the last was answered."""

    def __init__(self, run: Run, requests: Iterator[bytes], due: Iterator[float], end: float) -> None:
        self._run = run
        self._requests = requests
        self._due = due
        self._end = end
        self._buffer = b""
        self._began = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        due = next(self._due)
        wait = due - time.perf_counter()
        if wait > 0 and due < self._end:
            asyncio.get_running_loop().call_later(wait, self._send, due)
        else:
            self._send(due)

    def _send(self, due: float) -> None:
        found = next(self._requests, None) if time.perf_counter() < self._end else None
        if found is None:
            self._transport.close()
            return
        self._began = due or time.perf_counter()
        self._transport.write(found)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(HEAD_END)
        if head < 0:
            return
        lines = self._buffer[:head].lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(self._buffer) < head + len(HEAD_END) + length:
            return
        if not 200 <= int(lines[0].split()[1]) < 300:
            self._run.refused.append(self._buffer)
        self._run.took.append(time.perf_counter() - self._began)
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None) if exc is None else self.done.set_exception(exc)


async def load(address: str, requests: Iterator[bytes], connections: int, seconds: float, rate: float = 0) -> Run:
    """Send until there are no more or the time is over. ``rate``: requests a second of all together; 0: as fast as
    they are answered. With a rate a request counts from when it was due, so a server that halts cannot hide it.
    """
    run, parts = Run(), urlsplit(address)
    loop, start = asyncio.get_running_loop(), time.perf_counter()
    made = []
    due = _dues(start, rate)
    for _ in range(connections):
        _, one = await loop.create_connection(
            lambda: _Connection(run, requests, due, start + seconds), parts.hostname, parts.port
        )
        made.append(one.done)
    await asyncio.gather(*made)
    assert not run.refused, run.refused[0][:500]
    return run


def _dues(start: float, rate: float) -> Iterator[float]:
    number = 0
    while True:
        number += 1
        yield start + number / rate if rate else 0.0
