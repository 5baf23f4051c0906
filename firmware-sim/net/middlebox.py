"""What stands between the box and its server and answers in its place: a reverse proxy in trouble, or a portal.

``python -m firmware_sim.net.middlebox PORTS BEHAVIOUR [--upstream HOST:PORT] [--certificate FILE]``: all ports behave
alike; with a certificate (PEM, key included) port 443 speaks TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

HEAD_MAX = 64 * 1024
BODY_MAX = 64 * 2**20
CHUNK = 64 * 1024
TLS_PORT = 443
PAGE = b"<html><head><title>Welcome</title></head><body>Please accept the terms of this network.</body></html>"

Behaviour = Literal["pass", "slow", "hang", "deaf", "broken", "busy", "redirect", "page"]
"""``pass`` hands on; ``slow`` holds every answer back; ``hang`` takes a connection and never answers; ``deaf`` hands
requests on and loses the answers; ``broken`` says 500, ``busy`` 503 with Retry-After; ``redirect`` and ``page`` are
what captive portals say: 302, or 200 with a page."""


@dataclass(frozen=True, slots=True)
class Middlebox:
    """One behaviour; ``upstream`` is the real server, where there is one."""

    behaviour: Behaviour
    upstream: tuple[str, int] | None = None
    seconds: float = 3.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                if self.behaviour == "hang":
                    await reader.read()
                elif self.behaviour in ("pass", "slow", "deaf"):
                    await self._relay(reader, writer)
                else:
                    while await _read_request(reader):
                        writer.write(self._answer())
                        await writer.drain()
        finally:
            writer.transport.abort() if self.behaviour == "deaf" else writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.upstream is not None
        server_reader, server_writer = await asyncio.open_connection(*self.upstream)
        back = self._swallow(server_reader) if self.behaviour == "deaf" else self._copy_back(server_reader, writer)
        try:
            async with asyncio.TaskGroup() as group:
                answers = group.create_task(back)
                await _copy(reader, server_writer)
                answers.cancel()
        finally:
            server_writer.close()

    async def _copy_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.behaviour == "slow":
                    await asyncio.sleep(self.seconds)
                writer.write(data)
                await writer.drain()
            writer.close()

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        """The server has it and says so; nobody hears."""
        while await reader.read(CHUNK):
            pass

    def _answer(self) -> bytes:
        if self.behaviour == "redirect":
            return _response("302 Found", b"", "Location: http://portal.test/login")
        if self.behaviour == "page":
            return _response("200 OK", PAGE, "Content-Type: text/html")
        if self.behaviour == "busy":
            return _response("503 Service Unavailable", b"", f"Retry-After: {self.seconds:.0f}")
        return _response("500 Internal Server Error", b"something broke", "Content-Type: text/plain")


def _response(status: str, body: bytes, header: str) -> bytes:
    return f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _read_request(reader: asyncio.StreamReader) -> bool:
    """Read one whole request with Content-Length; False where the peer has hung up."""
    head = await reader.readuntil(b"\r\n\r\n")
    sizes = [line.split(b":", 1)[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    size = int(sizes[0]) if sizes else 0
    if size > BODY_MAX:
        return False
    await reader.readexactly(size)
    return True


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


async def run(ports: list[int], middlebox: Middlebox, certificate: Path | None) -> None:
    """Serve until ended."""
    for port in ports:
        context = None
        if port == TLS_PORT and certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
        await asyncio.start_server(middlebox.serve, "0.0.0.0", port, limit=HEAD_MAX, ssl=context)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="firmware_sim.net.middlebox", description=__doc__.splitlines()[0])
    parser.add_argument("ports", help="comma-separated")
    parser.add_argument("behaviour", choices=get_args(Behaviour))
    parser.add_argument("--upstream", help="HOST:PORT")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0, help="of `slow`, and of Retry-After")
    given = parser.parse_args()
    host, _, port = (given.upstream or "").rpartition(":")
    middlebox = Middlebox(given.behaviour, (host, int(port)) if host else None, given.seconds)
    with suppress(KeyboardInterrupt):
        asyncio.run(run([int(port) for port in given.ports.split(",")], middlebox, given.certificate))


if __name__ == "__main__":
    main()
