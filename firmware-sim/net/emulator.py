"""The process of one emulated link: packets between two TUN devices in two namespaces, late, lost or not at all.

``python -m firmware_sim.net.emulator FD NAMESPACE DEVICE NAMESPACE DEVICE`` takes orders as JSON lines on the inherited
socket FD and ends, and the devices with it, when the other end is closed. Packets go ``up`` from the first device to
the second, ``down`` the other way.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import math
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from firmware_sim.net.namespace import TUN, enter
from firmware_sim.net.way import Way

TUNSETIFF = 0x400454CA  # linux/if_tun.h
TUNSETCARRIER = 0x400454E2
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET_MAX = 65_536
BURST = 64  # packets of one device before the other one has its turn
WAYS = ("up", "down")


def open_tun(namespace: str, device: str) -> int:
    """A TUN device in a namespace; it lives as long as the descriptor. Moves this thread there. Raises OSError."""
    enter(namespace)
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return tun


class Emulator:
    """Both directions, on one thread."""

    def __init__(self, orders: socket.socket, near: int, far: int) -> None:
        self._orders = orders
        self._tuns = (near, far)
        self._ways = (Way(1), Way(2))
        self._flight: list[tuple[float, int, int, bytes]] = []  # due, number, way, packet
        self._number = 0
        self._connected = True  # the kernel itself notices a lost carrier only up to a second later
        self._text = b""

    def run(self) -> None:
        """Until the other end of the socket is closed."""
        poll = select.epoll()
        for handle in (*self._tuns, self._orders.fileno()):
            poll.register(handle, select.EPOLLIN)
        while True:
            wait_s = max(0.0, self._flight[0][0] - time.monotonic()) if self._flight else -1
            # epoll counts in ms and rounds up: what is due within one is waited for by turning
            ready = [fd for fd, _ in poll.poll(0 if 0 <= wait_s < 0.001 else math.floor(wait_s * 1000) / 1000)]
            self._arrive()
            for way, tun in enumerate(self._tuns):
                if tun in ready:
                    self._depart(way)
            self._arrive()
            if self._orders.fileno() in ready and not self._obey():
                return

    def _depart(self, way: int) -> None:
        for _ in range(BURST):
            try:
                packet = os.read(self._tuns[way], PACKET_MAX)
            except BlockingIOError:
                return
            now = time.monotonic()
            if not self._connected:
                self._ways[way].counts.vanished += 1
                continue
            due = self._ways[way].admit(now, len(packet))
            if due is None:
                continue
            self._number += 1
            heapq.heappush(self._flight, (due, self._number, way, packet))

    def _arrive(self) -> None:
        now = time.monotonic()
        while self._flight and self._flight[0][0] <= now:
            _, _, way, packet = heapq.heappop(self._flight)
            counts = self._ways[way].counts
            try:
                os.write(self._tuns[1 - way], packet)
            except OSError:  # that end is down
                counts.vanished += 1
            else:
                counts.packets += 1
                counts.bytes += len(packet)

    def _obey(self) -> bool:
        data = self._orders.recv(PACKET_MAX)
        self._text += data
        *lines, self._text = self._text.split(b"\n")
        for line in lines:
            try:
                answer = self._order(json.loads(line)) | {"ok": True}
            except (KeyError, TypeError, ValueError, OSError) as error:
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            self._orders.sendall(json.dumps(answer).encode() + b"\n")
        return bool(data)

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "set":
            for number in self._chosen(order["way"]):
                way = self._ways[number]
                way.change(replace(way.impairments, **order["impairments"]))
                if way.impairments.stalled:
                    self._forget(number)
        elif order["do"] == "carrier":
            fcntl.ioctl(self._tuns[0], TUNSETCARRIER, struct.pack("i", order["on"]))
            self._connected = bool(order["on"])
            if not self._connected:
                self._forget(0)
                self._forget(1)
        elif order["do"] != "counts":
            raise ValueError(f"no order {order['do']!r}")
        return {name: asdict(way.counts) for name, way in zip(WAYS, self._ways, strict=True)}

    def _chosen(self, way: str) -> Iterator[int]:
        yield from (0, 1) if way == "both" else (WAYS.index(way),)

    def _forget(self, way: int) -> None:
        """What is under way vanishes."""
        kept = [item for item in self._flight if item[2] != way]
        self._ways[way].counts.vanished += len(self._flight) - len(kept)
        heapq.heapify(kept)
        self._flight = kept


def main(handle: str, near_namespace: str, near: str, far_namespace: str, far: str) -> None:
    """Open both devices, say so, and work."""
    orders = socket.socket(fileno=int(handle))
    tuns = open_tun(near_namespace, near), open_tun(far_namespace, far)
    orders.sendall(b'{"ok": true}\n')
    with suppress(ConnectionError, KeyboardInterrupt):
        Emulator(orders, *tuns).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
