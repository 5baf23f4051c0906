"""Where the server may connect to by itself (notifications, contexts): never into its own or a private network,

unless the operator lists the URL prefix. The name is resolved once and the connection goes to the address that was
checked, so an answer of the name server cannot change in between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from drivers import http1

REDIRECTS_MAX = 3


class EgressRefused(OSError):  # noqa: N818  (it is an OSError: callers treat it as "cannot be reached")
    """The target lies in a network that requests from outside must not reach."""


class Egress:
    """Requests to public addresses, and to what begins with one of ``prefixes`` (scheme, host, port, path).

    A prefix that names no port grants every port of that host. ``ca_file``: authorities (PEM) that are trusted beside
    those of the system.
    """

    def __init__(self, prefixes: Sequence[str] = (), ca_file: Path | None = None) -> None:
        """Raises HttpError for what is not a URL."""
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._prefixes = [(prefix.partition(":")[0], _target(prefix), urlsplit(prefix).port) for prefix in prefixes]

    def tls(self) -> ssl.SSLContext:
        """What TLS rests on: certificate and name of the other end are verified. Raises OSError for a bad file."""
        if self._tls is None:
            context = ssl.create_default_context()
            if self._ca_file is not None:
                context.load_verify_locations(self._ca_file)
            self._tls = context
        return self._tls

    def check(self, url: str) -> http1.Target:
        """Refuse what is visibly private. Raises EgressRefused, HttpError."""
        target = _target(url)
        if self._granted(url, target):
            return target
        if target.host == "localhost" or target.host.endswith(".localhost"):
            raise EgressRefused(f"{target.host} is this machine")
        try:
            _vet(target.host)
        except ValueError:
            return target
        return target

    async def address(self, url: str) -> str:
        """Where to connect for it: its host if it is granted, else a public address. Raises OSError, HttpError."""
        target = self.check(url)
        return target.host if self._granted(url, target) else await _public_address(target)

    async def request(
        self,
        url: str,
        method: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        timeout_s: float,
        body_max: int,
    ) -> http1.Response:
        """One request, no redirects. Raises OSError (also EgressRefused), HttpError."""
        async with asyncio.timeout(timeout_s):
            target = self.check(url)
            address = None if self._granted(url, target) else await _public_address(target)
            tls = self.tls() if target.secure else None
            return await http1.request(
                url, method, headers, body, timeout_s=timeout_s, body_max=body_max, address=address, context=tls
            )

    async def fetch(self, url: str, accept: str, *, timeout_s: float, body_max: int) -> http1.Response:
        """GET a document, following a few redirects, each checked. Raises OSError."""
        try:
            for _ in range(REDIRECTS_MAX + 1):
                answer = await self.request(url, "GET", {"Accept": accept}, timeout_s=timeout_s, body_max=body_max)
                if answer.status not in (301, 302, 303, 307, 308):
                    break
                url = answer.headers.get("location", "")
        except http1.HttpError as error:
            raise OSError(str(error)) from error
        if answer.status != 200:
            raise OSError(f"it answers {answer.status}")
        return answer

    def _granted(self, url: str, target: http1.Target) -> bool:
        return any(
            (url.partition(":")[0], target.host) == (scheme, granted.host)
            and (port is None or target.port == granted.port)
            and (target.path + "/").startswith(granted.path.rstrip("/") + "/")
            for scheme, granted, port in self._prefixes
        )


def _target(url: str) -> http1.Target:
    """The target of http(s), and of mqtt(s), which may have a user and has ports of its own. Raises HttpError."""
    if not url.startswith(("mqtt://", "mqtts://")):
        return http1.parse_url(url)
    secure = url.startswith("mqtts://")
    try:
        parts = urlsplit(url)
        port = parts.port or (8883 if secure else 1883)
    except ValueError as error:
        raise http1.HttpError(f"{url!r} is not a URL: {error}") from error
    host = parts.netloc.rpartition("@")[2]
    target = http1.parse_url(f"http{'s' if secure else ''}://{host}{parts.path}")
    return http1.Target(secure, target.host, port, target.path)


async def _public_address(target: http1.Target) -> str:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        _vet(address)
    return addresses[0]


def _vet(address: str) -> None:
    """Raises EgressRefused for an address that is not public, ValueError for what is no address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if not parsed.is_global or parsed.is_multicast:
        raise EgressRefused(f"{address} is not a public address")
