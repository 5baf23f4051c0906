"""AdvertisementMonitorManager1: who listens passively, and for which patterns (doc/org.bluez.AdvertisementMonitor.rst).

BlueZ reads a monitor's patterns from the client's object after registering it, then activates it and tells it of
devices whose advertising data match one of them: (start, type of AD structure, content).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from dbus_fast import Message, MessageFlag, MessageType

from firmware_sim.ble.tree import PROPERTIES, ObjectTree, bluez_error

MANAGER, MONITOR = "org.bluez.AdvertisementMonitorManager1", "org.bluez.AdvertisementMonitor1"
ASK_TIMES, ASK_S = 20, 0.05  # clients make the object after the answer to their call
PATTERNS_MAX, CONTENT_MAX = 16, 31  # HCI_MAX_ADV_MONITOR_NUM_PATTERNS and HCI_MAX_AD_LENGTH of the kernel

Pattern = tuple[int, int, bytes]


@dataclass(slots=True)
class _Monitor:
    client: str
    path: str
    patterns: tuple[Pattern, ...] = ()
    told: set[str] = field(default_factory=set)  # devices: each is told once


class Monitors:
    """The monitors of all clients."""

    def __init__(self, tree: ObjectTree, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._tree = tree
        self._spawn = spawn
        self._monitors: list[_Monitor] = []

    def register(self, message: Message) -> Message:
        """RegisterMonitor."""
        monitor = _Monitor(message.sender or "", message.body[0])
        self._monitors.append(monitor)
        self._spawn(self._activate(monitor))
        return Message.new_method_return(message)

    def unregister(self, message: Message) -> Message:
        """UnregisterMonitor."""
        for monitor in self._monitors:
            if (monitor.client, monitor.path) == (message.sender, message.body[0]):
                self._monitors.remove(monitor)
                return Message.new_method_return(message)
        raise bluez_error("DoesNotExist", "Does Not Exist")

    def forget(self, client: str | None = None) -> None:
        """A client is gone, or all are forgotten."""
        self._monitors = [one for one in self._monitors if client is not None and one.client != client]

    def hear(self, data: bytes, device: str) -> bool:
        """Whether a monitor matches these advertising data; it is told of the device."""
        parts = list(_structures(data)) if self._monitors else []
        matching = [
            one
            for one in self._monitors
            if any(
                kind == wanted and payload[start : start + len(content)] == content
                for start, wanted, content in one.patterns
                for kind, payload in parts
            )
        ]
        for one in matching:
            if device not in one.told:
                one.told.add(device)
                self._call(one.client, one.path, "DeviceFound", "o", [device])
        return bool(matching)

    def lose(self, device: str) -> None:
        """BlueZ has forgotten that device."""
        for one in self._monitors:
            one.told.discard(device)

    async def _activate(self, monitor: _Monitor) -> None:
        with contextlib.suppress(TimeoutError):  # the client may be gone
            async with asyncio.timeout(ASK_TIMES * ASK_S):
                await self._ask(monitor)

    async def _ask(self, monitor: _Monitor) -> None:
        for _ in range(ASK_TIMES):
            reply = await self._tree.bus.call(
                Message(monitor.client, monitor.path, PROPERTIES, "Get", signature="ss", body=[MONITOR, "Patterns"])
            )
            if reply is not None and reply.message_type is MessageType.METHOD_RETURN:
                patterns = tuple((start, kind, bytes(content)) for start, kind, content in reply.body[0].value)
                fits = len(patterns) <= PATTERNS_MAX and all(0 < len(one[2]) <= CONTENT_MAX for one in patterns)
                monitor.patterns = patterns if fits else ()
                self._call(monitor.client, monitor.path, "Activate" if fits else "Release")
                return
            await asyncio.sleep(ASK_S)

    def _call(self, client: str, path: str, member: str, signature: str = "", body: list[Any] | None = None) -> None:
        quiet = MessageFlag.NO_REPLY_EXPECTED
        self._tree.send(Message(client, path, MONITOR, member, flags=quiet, signature=signature, body=body or []))


def _structures(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 1 < len(data) and data[at]:
        yield data[at + 1], data[at + 2 : at + 1 + data[at]]
        at += 1 + data[at]
