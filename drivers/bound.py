"""Sockets that use one network interface and no other: SO_BINDTODEVICE, socket(7).

Since Linux 5.7 everybody may bind a socket that is not bound yet; before it takes CAP_NET_RAW. The kernel then looks
only at routes over that interface, so each link needs a route of its own to the server (with several default routes the
metric decides for the others), and ``rp_filter`` must not be 1 (strict), or answers are dropped.
A UDP socket may be bound at any time after it was made, also one that a library made.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Host name to IP addresses, at least one, the best first. Raises OSError where there is none."""


class InterfaceError(OSError):
    """The interface is not there, or this process may not bind to it; ``strerror`` says which, for people."""


def bind(sock: socket.socket, interface: str | None) -> None:
    """Let a socket use ``interface`` only; None leaves it as it is. Raises InterfaceError."""
    if interface is None:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    except OSError as error:
        cause = {
            errno.ENODEV: f"there is no interface {interface}",
            errno.EPERM: f"sockets may not be bound to {interface}: that takes Linux 5.7 or CAP_NET_RAW",
        }.get(error.errno or 0, f"sockets cannot be bound to {interface}: {error.strerror}")
        raise InterfaceError(error.errno, cause) from error


def connect(address: str, port: int, interface: str | None, timeout_s: float) -> socket.socket:
    """A TCP connection over ``interface``, for libraries that block (paho). Raises OSError.

    A host name is resolved by the system, over whatever link.
    """
    address = str(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4][0])
    sock = _tcp(address, interface)
    try:
        sock.settimeout(timeout_s)
        sock.connect((address, port))
    except OSError:
        sock.close()
        raise
    return sock


async def open_socket(address: str, port: int, interface: str | None) -> socket.socket:
    """The same without blocking; the caller bounds the time. Raises OSError."""
    sock = _tcp(address, interface)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except (OSError, asyncio.CancelledError):
        sock.close()
        raise
    return sock


def _tcp(address: str, interface: str | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bind(sock, interface)
    except OSError:
        sock.close()
        raise
    return sock


async def resolve(host: str) -> Sequence[str]:
    """As the system does, over whatever link. Raises OSError."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]
