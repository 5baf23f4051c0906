"""A small asyncio HTTP/1.1 client over h11: one connection, one request at a time, every answer bounded.

Shared by the buses, the uplink and the server's notifications. It follows no redirects and keeps no cookies: who calls
decides.
``Connection`` and ``request`` raise OSError (also TimeoutError, ssl.SSLError) where the network fails and HttpError
where the peer breaks the protocol; ``HttpClient`` adds the reuse of a kept connection and raises HttpError only.
The usual asynchronous clients cost 11 MiB and more, too much for the edge.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl as tls
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import h11

from drivers.bound import InterfaceError, Resolve, open_socket, resolve

READ_BYTES = 64 * 1024
HEADER_BYTES_MAX = 32 * 1024
HOST = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?\Z|[0-9A-Fa-f:.]{2,45}\Z")
CONNECT_S_MAX = 2.0  # plain TCP: what needs longer counts as down and is tried again
TCPI_RTT = 68  # struct tcp_info in linux/tcp.h: tcpi_rtt, a u32 of microseconds
CONNECT_TLS_S_MAX = 5.0  # two or three round trips more

Kind = Literal["connect", "interface", "tls", "name", "timeout", "lost", "protocol"]
WRONG_NAME = 62  # X509_V_ERR_HOSTNAME_MISMATCH; 64 is that of an address
WRONG_ADDRESS = 64


class HttpError(Exception):
    """The URL is not http(s), or the peer does not keep to HTTP/1.1, or its answer exceeds the bound.

    From ``HttpClient`` also the failures of the network; ``kind`` tells them apart (``name``: TLS with a certificate of
    another name). The text never holds a header.
    """

    def __init__(self, cause: str, kind: Kind = "protocol") -> None:
        super().__init__(cause)
        self.cause = cause
        self.kind: Kind = kind


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; header names are lower case, repeated headers are one list (RFC 9110 clause 5.3)."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of an http(s) URL that a request needs."""

    secure: bool
    host: str
    port: int
    path: str = field(default="/")

    @property
    def authority(self) -> str:
        """Value of the Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """Split an http(s) URL. Raises HttpError for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise HttpError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or parts.username is not None:
        raise HttpError(f"{url!r} is not an http(s) URL without user information")
    if not parts.hostname or not HOST.match(parts.hostname):
        raise HttpError(f"{url!r} has no ASCII host name or address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or any(c <= " " for c in path):
        raise HttpError(f"{url!r} has characters that must be percent-encoded")
    secure = parts.scheme == "https"
    return Target(secure, parts.hostname, port or (443 if secure else 80), path)


class Connection:
    """One connection to one origin, kept alive between requests where the peer allows it, reopened where not."""

    def __init__(
        self,
        target: Target,
        *,
        context: tls.SSLContext | None = None,
        address: str | None = None,
        body_max: int = 2**20,
        interface: str | None = None,
        names: Resolve | None = None,
    ) -> None:
        """``address``: connect to this IP address instead of resolving the host; ``body_max`` bytes of an answer.

        ``interface``: the network interface to use and no other; ``names`` resolves the host, else the system does.
        Of several addresses each new connection after a failure takes the next one.
        """
        self._target = target
        self._context = (context or tls.create_default_context()) if target.secure else None
        self._address = address or target.host
        self._body_max = body_max
        self._interface = interface
        self._names = names
        self._failed = 0  # connections that did not come about since the last that did
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.bytes_sent = 0
        self.bytes_received = 0
        self.exchanges = 0  # finished on the open connection: more than 0 means that it was kept
        self.opened = 0  # connections so far
        self.heard = False  # a byte of the present answer has come

    async def request(
        self,
        method: str,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> Response:
        """Send one request and read the whole answer. Raises OSError, TimeoutError, HttpError; then it is closed."""
        done = False
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._exchange(method, path or self._target.path, dict(headers or {}), body)
            done = True
            return response
        except h11.RemoteProtocolError as error:
            raise HttpError(f"{self._target.authority} does not speak HTTP/1.1 properly: {error}") from error
        except (h11.LocalProtocolError, UnicodeError) as error:  # its text may hold a token: not repeated
            raise HttpError("a header or the path holds characters that HTTP does not allow") from error
        finally:
            if not done:
                self._drop()

    def rtt_s(self) -> float | None:
        """The round trip of the open connection as the kernel has smoothed it; None without one."""
        if self._streams is None:
            return None
        info = self._streams[1].get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 72)
        rtt_us: int = struct.unpack_from("=I", info, TCPI_RTT)[0]
        return rtt_us / 1e6

    async def close(self) -> None:
        """Close the connection; it can be used again afterwards."""
        self._drop()

    async def _exchange(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        self.heard = False
        reader, writer = await self._open()
        head = [("Host", self._target.authority), *headers.items()]
        if body or method in ("POST", "PUT", "PATCH"):
            head.append(("Content-Length", str(len(body))))
        out = self._h11.send(h11.Request(method=method, target=path, headers=head)) or b""
        out += (self._h11.send(h11.Data(data=body)) or b"") if body else b""
        out += self._h11.send(h11.EndOfMessage()) or b""
        writer.write(out)
        self.bytes_sent += len(out)
        with suppress(ConnectionError):  # a server may answer (413) and hang up before it has read all
            await writer.drain()
        response = await self._read_response(reader)
        self.exchanges += 1
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        else:
            self._drop()
        return response

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None:
            reader, writer = self._streams
            if not reader.at_eof() and not writer.is_closing():
                return self._streams
            self._drop()
        self._failed += 1
        async with asyncio.timeout(CONNECT_TLS_S_MAX if self._context else CONNECT_S_MAX):
            self._streams = await self._connect()
        self._failed = 0
        self.opened += 1
        return self._streams

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port, limit = self._target.port, 2 * READ_BYTES
        host = self._target.host if self._context else None
        if self._interface is None and self._names is None:
            return await asyncio.open_connection(
                self._address, port, ssl=self._context, server_hostname=host, limit=limit
            )
        addresses = await (self._names or resolve)(self._address)
        sock = await open_socket(addresses[(self._failed - 1) % len(addresses)], port, self._interface)
        return await asyncio.open_connection(sock=sock, ssl=self._context, server_hostname=host, limit=limit)

    async def _read_response(self, reader: asyncio.StreamReader) -> Response:
        response: h11.Response | None = None
        chunks: list[bytes] = []
        size = 0
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(READ_BYTES)
                self.bytes_received += len(data)
                if not data and not self.heard:
                    raise ConnectionResetError(f"{self._target.authority} closed the connection")
                self.heard = True
                self._h11.receive_data(data)
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > self._body_max:
                    raise HttpError(f"{self._target.authority} answers with more than {self._body_max} bytes")
                chunks.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and response is not None:
                break
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise ConnectionResetError(f"{self._target.authority} closed the connection")
        names: dict[str, str] = {}
        for name, value in ((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers):
            names[name] = f"{names[name]}, {value}" if name in names else value
        return Response(response.status_code, names, b"".join(chunks))

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None
        self.exchanges = 0
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)


async def request(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    timeout_s: float,
    body_max: int = 2**20,
    address: str | None = None,
    context: tls.SSLContext | None = None,
) -> Response:
    """One request over a connection of its own. ``address``: connect to this IP address, do not resolve the host."""
    connection = Connection(parse_url(url), context=context, address=address, body_max=body_max)
    try:
        return await connection.request(
            method, headers={"Connection": "close", **(headers or {})}, body=body, timeout_s=timeout_s
        )
    finally:
        await connection.close()


class HttpClient:
    """Requests to one server, one after the other, over one kept connection.

    ``timeout_s`` bounds each exchange, from connecting to the last byte of the answer. With ``ca_file`` (PEM) only that
    authority is trusted, else the system's; ``certificate``: the files (PEM) of the client's certificate and its key.
    Raises ValueError or HttpError for a bad address, OSError for a bad file.
    ``interface`` and ``names`` as for :class:`Connection`.
    A kept connection that turns out dead before a byte of the answer came is replaced once, silently: use it only for
    requests that may be repeated.
    """

    def __init__(
        self,
        base_url: str,
        *,
        ca_file: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        timeout_s: float = 10.0,
        headers: Mapping[str, str] | None = None,
        interface: str | None = None,
        names: Resolve | None = None,
    ) -> None:
        self.target = parse_url(base_url)
        self._context = tls.create_default_context(cafile=ca_file) if self.target.secure else None
        if self._context is not None and certificate is not None:
            self._context.load_cert_chain(*certificate, password="")  # never asks a terminal for one
        self._connection = Connection(self.target, context=self._context, interface=interface, names=names)
        self._timeout_s = timeout_s
        self._headers = {"User-Agent": "lamppost", **(headers or {})}
        self._turn = asyncio.Lock()

    @property
    def bytes_sent(self) -> int:
        """Bytes of HTTP sent so far, without TLS and TCP."""
        return self._connection.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes of HTTP received so far."""
        return self._connection.bytes_received

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._connection.opened

    async def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        """Send one request below the base address and return the whole answer. Raises HttpError."""
        full = self.target.path.rstrip("/") + path
        name = f"{self.target.host}:{self.target.port}"
        async with self._turn:
            try:
                return await self._twice(method, full, {**self._headers, **(headers or {})}, body)
            except TimeoutError as error:
                raise HttpError(f"{name} does not answer in time", "timeout") from error
            except tls.SSLCertVerificationError as error:
                another = error.verify_code in (WRONG_NAME, WRONG_ADDRESS)
                cause = f"TLS with {name} failed: {error.verify_message}"
                raise HttpError(cause, "name" if another else "tls") from error
            except tls.SSLError as error:
                raise HttpError(f"TLS with {name} failed: {error.reason or error}", "tls") from error
            except InterfaceError as error:
                raise HttpError(f"cannot talk to {name}: {error.strerror}", "interface") from error
            except OSError as error:
                kind: Kind = "lost" if self._connection.bytes_sent > self._before else "connect"
                number = error.errno or 0  # asyncio puts the address into strerror; getaddrinfo's numbers are negative
                cause = os.strerror(number) if number > 0 else str(error.strerror or error)
                raise HttpError(f"cannot talk to {name}: {cause}", kind) from error

    async def close(self) -> None:
        """Drop the connection at once; a later request opens a new one."""
        await self._connection.close()

    async def _twice(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        kept = self._connection.exchanges > 0
        self._before = self._connection.bytes_sent
        try:
            return await self._connection.request(method, path, headers, body, timeout_s=self._timeout_s)
        except (ConnectionError, tls.SSLError):
            if not kept or self._connection.heard:
                raise
        self._before = self._connection.bytes_sent
        return await self._connection.request(method, path, headers, body, timeout_s=self._timeout_s)
