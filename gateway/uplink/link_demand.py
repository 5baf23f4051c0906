"""Links on demand: up where they are wanted, down where they are not, and asleep where nothing is to be sent.

A link that sleeps is the one in use, and its connection is down: for the choice and the sender it counts as up. The
sender wakes it before it sends.
"""

from __future__ import annotations

import asyncio

from gateway.uplink.link_meter import LinkMeter

WISH_S = 30.0  # between two wishes to bring a link up or down
WAKE_S = 90.0  # a modem may have to find its network first


class Demand:
    """Remembers what was wished for each link, and which of them sleep. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._wished: dict[str, float] = {}
        self._asleep: set[str] = set()
        self._waking: dict[str, float] = {}
        self._told = asyncio.Event()

    def wish(self, meter: LinkMeter, *, up: bool, wanted: bool, used: bool, now: float) -> bool | None:
        """Whether its connection is to be brought up (True) or down (False) now; None: neither."""
        name = meter.config.name
        if not meter.config.on_demand:
            return None
        if not used:
            self._asleep.discard(name)
        elif name not in self._waking and meter.idle(now):
            self._asleep.add(name)
        wanted = wanted and name not in self._asleep
        if up == wanted or now - self._wished.get(name, float("-inf")) < WISH_S:
            return None
        self._wished[name] = now
        return wanted

    def covers(self, name: str, up: bool, now: float) -> bool:
        """Whether a link whose connection is down counts as up: it sleeps, or is on its way up again."""
        since = self._waking.get(name)
        if since is not None and (up or now - since >= WAKE_S):
            del self._waking[name]
            self._tell()
        return not up and (name in self._asleep or name in self._waking)

    def sleeps(self, name: str) -> bool:
        """Whether it sleeps."""
        return name in self._asleep

    def wake(self, name: str, now: float) -> None:
        """Something is to be sent over it."""
        self._asleep.discard(name)
        self._waking[name] = now

    async def woken(self, name: str) -> None:
        """Wait until it is up again, or has not come up in time."""
        while name in self._waking:
            await self._told.wait()

    def forget(self, name: str) -> None:
        """The link is another one, or gone."""
        self._asleep.discard(name)
        self._wished.pop(name, None)
        self._waking.pop(name, None)
        self._tell()

    def _tell(self) -> None:
        self._told.set()
        self._told = asyncio.Event()
