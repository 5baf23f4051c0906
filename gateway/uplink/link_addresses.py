"""Addresses of an interface and the name servers of the box, as the kernel and resolv.conf(5) tell."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from pathlib import Path

SIOCGIFADDR = 0x8915  # netdevice(7): the IPv4 address of an interface, at byte 20 of struct ifreq
IF_INET6 = Path("/proc/net/if_inet6")
GLOBAL_SCOPE = "00"
RESOLVED = Path("/run/systemd/resolve/resolv.conf")  # what stands behind the loopback address of systemd-resolved
SERVERS_MAX = 4


def addresses(interface: str) -> tuple[str, ...]:
    """The IPv4 address and the global IPv6 addresses of an interface; link-local ones lead nowhere."""
    return (*_ipv4(interface), *_ipv6(interface))


def name_servers(path: Path, behind: Path = RESOLVED) -> tuple[str, ...]:
    """The name servers in a resolv.conf that can be reached over a link: those on loopback are not.

    Where all are on loopback those in ``behind`` count.
    """
    found = _servers(path)
    return found if found else _servers(behind)


def _ipv4(interface: str) -> tuple[str, ...]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return ()
    address = ipaddress.IPv4Address(answer[20:24])
    return () if address.is_link_local else (str(address),)


def _ipv6(interface: str) -> tuple[str, ...]:
    try:
        lines = IF_INET6.read_text(encoding="ascii").splitlines()
    except OSError:
        return ()  # a kernel without IPv6
    rows = [line.split() for line in lines]
    mine = [row for row in rows if len(row) == 6 and row[5] == interface and row[3] == GLOBAL_SCOPE]
    return tuple(str(ipaddress.IPv6Address(bytes.fromhex(row[0]))) for row in mine)


def _servers(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    found = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    return tuple(server for server in found if _reachable(server))[:SERVERS_MAX]


def _reachable(server: str) -> bool:
    try:
        return not ipaddress.ip_address(server.split("%")[0]).is_loopback
    except ValueError:
        return False
