"""Bluetooth Low Energy: the bus, and the driver ``ble-adv`` of sensors that broadcast (codecs ruuvi and bthome).

Devices that are connected to: ``drivers.buses.ble_gatt``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from drivers.base import Bus, Driver, Observation
from drivers.buses.ble_adapter import CONNECTIONS_MAX, Advertisement, BleBus, Found, Inbox, check_address
from drivers.codecs import bthome, ruuvi
from drivers.codecs.broadcast import Broadcast
from drivers.errors import Timeout
from drivers.template import Template

__all__ = [
    "Advertisement",
    "BleAdvertisementDriver",
    "BleBus",
    "Found",
    "make_advertisement_driver",
    "make_bus",
]


def _ruuvi(advertisement: Advertisement) -> Broadcast | None:
    data = advertisement.manufacturer.get(ruuvi.COMPANY)
    return None if data is None else ruuvi.decode(data)


def _bthome(advertisement: Advertisement) -> Broadcast | None:
    data = advertisement.services.get(bthome.SERVICE)
    return None if data is None else bthome.decode(data)


CODECS: Mapping[str, Callable[[Advertisement], Broadcast | None]] = {"ruuvi": _ruuvi, "bthome": _bthome}


class BleAdvertisementDriver:
    """A sensor that broadcasts. Each measurement counts once, however often it is sent.

    ``spacing_s``: what comes earlier after the last observation is passed over. None takes everything.
    """

    period_s: float | None = None

    def __init__(self, bus: BleBus, address: str, codec: str, silence_s: float, spacing_s: float | None = None) -> None:
        self.silence_s = max(silence_s, 2 * (spacing_s or 0.0))
        self._bus = bus
        self._address = address
        self._decode = CODECS[codec]
        self._spacing_ns = int((spacing_s or 0.0) * 1e9)
        self._inbox: Inbox | None = None
        self._sequence: int | None = None
        self._last_ns: int | None = None

    async def read(self) -> tuple[Observation, ...]:
        """The next new measurement. Raises Timeout, BadFrame, Disconnected, NoPort or NoPermission."""
        await self._bus.open()
        if self._inbox is None:
            self._inbox = self._bus.listen(self._address)
        try:
            async with asyncio.timeout(self.silence_s):
                while True:
                    observation = self._observe(await self._inbox.get())
                    if observation is not None:
                        return (observation,)
        except TimeoutError:
            raise Timeout(f"nothing new from {self._address} for {self.silence_s:g} s") from None

    def _observe(self, advertisement: Advertisement) -> Observation | None:
        broadcast = self._decode(advertisement)
        if broadcast is None or not broadcast.measurements:
            return None
        if broadcast.sequence is not None and broadcast.sequence == self._sequence:
            return None
        if self._last_ns is not None and advertisement.mono_ns - self._last_ns < self._spacing_ns:
            return None
        self._sequence, self._last_ns = broadcast.sequence, advertisement.mono_ns
        return Observation(broadcast.measurements, advertisement.mono_ns)

    async def close(self) -> None:
        """Stop listening; safe to call twice."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            self._bus.unlisten(self._address, inbox)


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part: ``adapter`` is hci0, ``connections_max`` CONNECTIONS_MAX where not given."""
    connections_max = settings.get("connections_max", CONNECTIONS_MAX)
    return BleBus(name, str(settings.get("adapter", "hci0")), int(connections_max))


def make_advertisement_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol ble-adv; ``period_s`` spaces what is taken. Raises ValueError."""
    if not isinstance(bus, BleBus):
        raise ValueError(f"{template.name} needs a bus of type ble")
    if template.codec not in CODECS:
        raise ValueError(f"{template.name}: unknown codec {template.codec!r}; known: {', '.join(CODECS)}")
    _only(options, ())
    spacing_s = template.period_s if period_s is None else period_s
    return BleAdvertisementDriver(bus, check_address(address), template.codec, template.silence_s, spacing_s)


def _only(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(known) or 'none'}")
