"""Bluetooth Low Energy: the bus, and the driver ``ble-adv`` of sensors that broadcast (``drivers.codecs.advertising``).

Devices that are connected to: ``drivers.buses.ble_gatt``.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivers.base import Bus, Driver, Observation
from drivers.buses.ble_adapter import CONNECTIONS_MAX, BleBus, Found, check_address
from drivers.buses.ble_inbox import Advertisement, Inbox
from drivers.codecs.advertising import ACTIVE, CODECS
from drivers.codecs.broadcast import Broadcast, Sealed
from drivers.errors import BadFrame, Misconfigured, Timeout
from drivers.template import Template

__all__ = [
    "Advertisement",
    "BadKey",
    "BleAdvertisementDriver",
    "BleBus",
    "Found",
    "make_advertisement_driver",
    "make_bus",
]

KEY_DIGITS = (24, 32)
KEY_FILE_MAX = 256
OBSERVATIONS_MAX = 32  # of one read
KINDS_MAX = 32  # sets of quantities in the frames of one sensor


class BadKey(Misconfigured):
    """The sensor encrypts, and there is no key, or not the right one."""

    code = "driver.bad-key"
    fix = (
        "Get the sensor's bind key (from its maker's application, or the firmware's page), write its hexadecimal digits"
        " into a file and name that in `key_file` of the device."
    )


class BleAdvertisementDriver:
    """A sensor that broadcasts. Each measurement counts once, however often it is sent.

    ``spacing_s``: what comes earlier after the last observation of the same quantities is passed over (some sensors say
    one at a time). None takes everything. Of encrypted
    sensors a count that does not rise is a replay, and passed over, unless the sensor said nothing newer for
    ``silence_s``: then it began again, as after a change of its battery. ``passed`` counts by reason.
    """

    period_s: float | None = None

    def __init__(
        self,
        bus: BleBus,
        address: str,
        codec: str,
        silence_s: float,
        spacing_s: float | None = None,
        key_file: Path | None = None,
    ) -> None:
        self.silence_s = max(silence_s, 2 * (spacing_s or 0.0))
        self.passed = {"repeated": 0, "early": 0, "poorer": 0, "replayed": 0, "damaged": 0}
        self._bus = bus
        self._address = address
        self._active = codec in ACTIVE
        self._decode = CODECS[codec]
        self._spacing_ns = int((spacing_s or 0.0) * 1e9)
        self._key_file = key_file
        self._key: bytes | None = None
        self._key_fits = False
        self._inbox: Inbox | None = None
        self._last: Broadcast | None = None
        self._taken_ns: dict[tuple[str, ...], int] = {}  # when these quantities were taken last
        self._fresh_ns = 0  # when something of the best form came, taken or not
        self._bad: BadFrame | None = None

    @property
    def dropped(self) -> int:
        """Advertisements that nobody took in time."""
        return 0 if self._inbox is None else self._inbox.dropped

    async def read(self) -> tuple[Observation, ...]:
        """All new measurements that wait, or the next one.

        Raises Timeout, BadFrame where nothing but damaged advertisements came, BadKey, Disconnected, NoPort or
        NoPermission.
        """
        if self._key is None:
            self._key = b"" if self._key_file is None else read_key(self._key_file)
        if self._inbox is None:
            self._inbox = self._bus.listen(self._address, active=self._active)
        await self._bus.open()
        self._bad = None
        try:
            async with asyncio.timeout(self.silence_s):
                while True:
                    found = self._take(self._inbox, await self._inbox.get())
                    if found:
                        return found
        except TimeoutError:
            if self._bad is not None:
                raise self._told(self._bad) from None
            raise Timeout(f"nothing new from {self._address} for {self.silence_s:g} s") from None

    def _take(self, inbox: Inbox, first: Advertisement | None) -> tuple[Observation, ...]:
        found: list[Observation] = []
        while first is not None and len(found) < OBSERVATIONS_MAX:
            observation = self._observe(first)
            if observation is not None:
                found.append(observation)
            first = inbox.next() if len(found) < OBSERVATIONS_MAX else None
        return tuple(found)

    def _observe(self, advertisement: Advertisement) -> Observation | None:
        try:
            broadcast = self._decode(advertisement.advert, self._key or b"")
        except BadFrame as error:
            self.passed["damaged"] += 1
            self._bad = error
            if isinstance(error, Sealed) and not self._key_fits:
                raise self._told(error) from None
            return None
        if broadcast is None or not broadcast.measurements:
            return None
        self._key_fits = self._key_fits or broadcast.sealed
        reason = self._reason_against(broadcast, advertisement.mono_ns)
        if not reason:
            self._last = broadcast
            reason = self._early(broadcast, advertisement.mono_ns)
        if reason:
            self.passed[reason] += 1
            return None
        return Observation(broadcast.measurements, advertisement.mono_ns - int(broadcast.age_s * 1e9))

    def _reason_against(self, broadcast: Broadcast, now_ns: int) -> str:
        """Why this is nothing new, "" where it is."""
        last, silent = self._last, now_ns - self._fresh_ns > self.silence_s * 1e9
        if last is not None and broadcast.rank < last.rank and not silent:
            return "poorer"
        if last is not None and broadcast.sequence is not None and broadcast.rank == last.rank:
            if broadcast.rising and broadcast.sequence == last.sequence:
                return "repeated"
            if broadcast.rising and broadcast.sequence < (last.sequence or 0) and not silent:
                return "replayed"
            if broadcast.sequence == last.sequence and not silent:
                self._fresh_ns = now_ns
                return "repeated"
        self._fresh_ns = now_ns
        return ""

    def _early(self, broadcast: Broadcast, now_ns: int) -> str:
        """Whether these quantities were taken a moment ago."""
        if not self._spacing_ns:
            return ""
        kind = tuple(one.quantity for one in broadcast.measurements)
        last_ns = self._taken_ns.get(kind)
        if last_ns is not None and now_ns - last_ns < self._spacing_ns:
            return "early"
        if len(self._taken_ns) >= KINDS_MAX:
            self._taken_ns.clear()
        self._taken_ns[kind] = now_ns
        return ""

    def _told(self, error: BadFrame) -> BadFrame | BadKey:
        text = f"{self._address}: {error}"
        return BadKey(text) if isinstance(error, Sealed) else BadFrame(text)

    async def close(self) -> None:
        """Stop listening; safe to call twice."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            self._bus.unlisten(self._address, inbox)


def read_key(path: Path) -> bytes:
    """The bind key in a file of 24 or 32 hexadecimal digits. Raises BadKey, which never shows what is in it."""
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(KEY_FILE_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKey(f"key_file {path}: {getattr(error, 'strerror', None) or 'is no text'}") from None
    if len(text) not in KEY_DIGITS or not set(text) <= set(string.hexdigits):
        raise BadKey(f"key_file {path} does not hold {' or '.join(map(str, KEY_DIGITS))} hexadecimal digits")
    return bytes.fromhex(text)


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part: ``adapter`` is hci0, ``connections_max`` CONNECTIONS_MAX where not given."""
    connections_max = settings.get("connections_max", CONNECTIONS_MAX)
    return BleBus(name, str(settings.get("adapter", "hci0")), int(connections_max))


def make_advertisement_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol ble-adv; ``period_s`` spaces what is taken, option ``key_file`` names the
    file with the bind key. Raises ValueError."""
    if not isinstance(bus, BleBus):
        raise ValueError(f"{template.name} needs a bus of type ble")
    if template.codec not in CODECS:
        raise ValueError(f"{template.name}: unknown codec {template.codec!r}; known: {', '.join(CODECS)}")
    unknown = sorted(options.keys() - {"key_file"})
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: key_file")
    key_file = options.get("key_file")
    return BleAdvertisementDriver(
        bus,
        check_address(address),
        template.codec,
        template.silence_s,
        template.period_s if period_s is None else period_s,
        None if key_file is None else Path(str(key_file)),
    )
