"""Whether a link leads to the server: a short question over that link, whose answer only the server can give.

- ``http(s)``: connect and ``GET`` the time of the server (or the configured URL). An answer in place of the server's is
  that of a portal: a redirection, a page, or 511 (RFC 6585, 6). Any other status comes from a server.
- ``mqtt(s)``: connect, with TLS where the address says so.
- ``coap``: a ping, an empty message that is confirmed by a reset (RFC 7252, 4.3).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import ssl as tls
import struct
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import orjson

from drivers.bound import InterfaceError, Resolve, bind, open_socket, resolve
from drivers.http1 import Connection, HttpError, Response, parse_url

TIME_PATH = "/api/time"
TIMEOUT_S = 5.0
BODY_MAX = 64 * 1024
PORTS = {"mqtt": 1883, "mqtts": 8883, "coap": 5683}
EMPTY_CON, EMPTY_RST = 0x40, 0x70  # RFC 7252, figure 7: version 1, type 0 or 3, no token; code 0.00
REDIRECTIONS = (301, 302, 303, 307, 308)
LOGIN_NEEDED = 511


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe found. ``cause`` says why it is not `works`; ``rtt_s`` where it was measured."""

    found: Literal["works", "portal", "fails"]
    rtt_s: float | None = None
    cause: str = ""


class Prober:
    """Asks the server at ``url`` over ``interface``. ``own``: the URL was configured for probing, is asked as it is,
    and trusted as the system does.

    Raises OSError for a ``ca_file`` that cannot be used, HttpError for an http(s) URL that cannot.
    """

    def __init__(
        self, url: str, interface: str | None, names: Resolve | None, *, ca_file: Path | None = None, own: bool = False
    ) -> None:
        self._url = urlsplit(url)
        self._interface = interface
        self._names = names or resolve
        secure = self._url.scheme in ("https", "mqtts")
        self._context = _trust(None if own else ca_file) if secure else None
        self._web: Connection | None = None
        self._path: str | None = None
        self._own = own
        if self._url.scheme in ("http", "https"):
            target = parse_url(url)
            self._path = target.path if own else target.path.rstrip("/") + TIME_PATH
            self._web = Connection(
                target, context=self._context, body_max=BODY_MAX, interface=interface, names=self._names
            )

    async def ask(self) -> Outcome:
        """One probe; it is over after TIMEOUT_S, and nothing of it stays open."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._web is not None:
                    return await self._ask_web(self._web)
                if self._url.scheme == "coap":
                    return await self._ping()
                return await self._knock()
        except TimeoutError:
            return Outcome("fails", cause="no answer in time")
        except HttpError as error:
            return Outcome("fails", cause=error.cause)
        except OSError as error:
            return Outcome("fails", cause=_cause(error))
        finally:
            if self._web is not None:
                await self._web.close()

    async def _ask_web(self, web: Connection) -> Outcome:
        response = await web.request("GET", self._path, {"Accept": "application/json"}, timeout_s=TIMEOUT_S)
        cause = portal(response, own=self._own)
        return Outcome("portal", cause=cause) if cause else Outcome("works", web.rtt_s())

    async def _knock(self) -> Outcome:
        address, port = await self._address()
        began = time.monotonic()
        sock = await open_socket(address, port, self._interface)
        rtt_s = time.monotonic() - began
        host = self._url.hostname if self._context else None
        _, writer = await asyncio.open_connection(sock=sock, ssl=self._context, server_hostname=host)
        writer.transport.abort()
        return Outcome("works", rtt_s)

    async def _ping(self) -> Outcome:
        address, port = await self._address()
        number = secrets.token_bytes(2)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            bind(sock, self._interface)
            await loop.sock_connect(sock, (address, port))
            began = time.monotonic()
            await loop.sock_sendall(sock, struct.pack("!BB2s", EMPTY_CON, 0, number))
            while await loop.sock_recv(sock, 2048) != struct.pack("!BB2s", EMPTY_RST, 0, number):
                pass
        return Outcome("works", time.monotonic() - began)

    async def _address(self) -> tuple[str, int]:
        addresses = await self._names(self._url.hostname or "")
        return addresses[0], self._url.port or PORTS[self._url.scheme]


@cache
def _trust(ca_file: Path | None) -> tls.SSLContext:
    """One for all links: the authorities of the system take 0.8 MiB."""
    return tls.create_default_context(cafile=ca_file)


def can_probe(url: str) -> bool:
    """Whether there is a probe for servers of this kind."""
    return urlsplit(url).scheme in ("http", "https", *PORTS)


def _cause(error: OSError) -> str:
    """In words; asyncio writes the address into ``strerror``."""
    if isinstance(error, tls.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if isinstance(error, tls.SSLError):
        return f"TLS failed: {error.reason}"
    if isinstance(error, InterfaceError) or (error.errno or 0) <= 0:
        return str(error.strerror or error)
    return os.strerror(error.errno or 0)


def is_authentic(url: str) -> bool:
    """Whether nobody in between can answer in place of a server at this address (CoAP: by OSCORE)."""
    return urlsplit(url).scheme in ("https", "mqtts", "coap")


def portal(response: Response, *, own: bool) -> str:
    """Why an answer is not the server's but a portal's; empty where nothing says so.

    A Lamppost server tells the time as JSON; another broker refuses the path with a status of its own. Where the URL
    was configured for probing (``own``) it may answer with whatever it likes but a redirection.
    """
    status = response.status
    if status == LOGIN_NEEDED:
        return "the network wants a login (511)"
    if status in REDIRECTIONS:
        return f"the answer leads elsewhere ({status})"
    if own or not 200 <= status < 300:
        return ""
    try:
        answer = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return "a page answers in place of the server"
    return "" if isinstance(answer, dict) and "now_ns" in answer else "something else answers in place of the server"
