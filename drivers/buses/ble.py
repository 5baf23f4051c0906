"""Bluetooth Low Energy: the bus and the two kinds of driver on it. Everything of Bluetooth is imported from here down.

- ``ble-adv``: sensors that broadcast what they measure (codecs ruuvi and bthome);
- ``csc``: cycling speed and cadence sensors, which are connected to and notify.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice

from drivers.base import Bus, Driver, Observation
from drivers.buses.ble_adapter import CONNECTIONS_MAX, Advertisement, BleBus, Found, Inbox, check_address
from drivers.buses.ble_watch import BLE_ERRORS
from drivers.codecs import bthome, csc, ruuvi
from drivers.codecs.broadcast import Broadcast
from drivers.errors import Disconnected, Timeout, WrongDevice
from drivers.template import Template

__all__ = [
    "Advertisement",
    "BleAdvertisementDriver",
    "BleBus",
    "CscDriver",
    "Found",
    "make_advertisement_driver",
    "make_bus",
    "make_csc_driver",
]

CONNECT_S = 20.0
LEAVE_S = 1.5  # the daemon must be able to stop within two seconds
FRESH_S = 5.0
NOTIFICATIONS_MAX = 32  # that wait to be read; then the oldest is dropped and counted
WHEEL_MM = 2105  # a 700x25C road wheel around, as bicycle computers list it
WHEEL_MM_LOW, WHEEL_MM_HIGH = 500, 4000


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


class CscDriver:
    """A cycling speed and cadence sensor: connected on the first read, and again whenever the link is lost.

    ``wheel_m``: the wheel around, in metres.
    """

    period_s: float | None = None

    def __init__(self, bus: BleBus, address: str, silence_s: float, wheel_m: float) -> None:
        self.silence_s = silence_s
        self.dropped = 0
        self._bus = bus
        self._address = address
        self._wheel_m = wheel_m
        self._client: BleakClient | None = None
        self._linked = False
        self._lost = False  # and nobody has been told
        self._inbox: Inbox | None = None
        self._trusts_handle = True
        self._doing = ""
        self._values: deque[tuple[int, bytes]] = deque()
        self._something = asyncio.Event()
        self._ride = csc.Ride()
        self._last_ns: int | None = None

    async def read(self) -> tuple[Observation, ...]:
        """The next notification. Raises Timeout, BadFrame, Disconnected, WrongDevice, NoPort or NoPermission.

        Connecting is part of the time that the sensor may be silent.
        """
        try:
            async with asyncio.timeout(self.silence_s):
                if not self._values and not self._lost and not self._linked:
                    await self._connect()
                self._doing = "is connected and says nothing"
                mono_ns, value = await self._next()
        except TimeoutError:
            await self._leave()
            raise Timeout(f"{self._address} {self._doing} (waited {self.silence_s:g} s)") from None
        sample = csc.parse(value)
        elapsed_s = 0.0 if self._last_ns is None else (mono_ns - self._last_ns) / 1e9
        self._ride, self._last_ns = csc.follow(self._ride, sample, elapsed_s), mono_ns
        return (Observation(csc.measurements(self._ride, self._wheel_m), mono_ns),)

    async def _next(self) -> tuple[int, bytes]:
        while not self._values:
            if self._lost or not self._linked:
                self._lost = False
                raise Disconnected(f"the link to {self._address} was lost")
            self._something.clear()
            await self._something.wait()
        return self._values.popleft()

    async def _connect(self) -> None:
        await self._leave()
        device = await self._find()
        if self._inbox is not None:
            self._inbox.clear()
        self._doing = "does not accept a connection"
        client = BleakClient(device, self._unlinked, timeout=CONNECT_S, bluez={"adapter": self._bus.adapter})
        self._client = client
        self._trusts_handle = False  # until it has worked
        try:
            await client.connect()
            if client.services.get_characteristic(csc.MEASUREMENT) is None:
                raise WrongDevice(f"{self._address} has no speed and cadence measurement (0x2A5B)")
            await client.start_notify(csc.MEASUREMENT, self._notified)
        except TimeoutError:
            raise
        except WrongDevice:
            await self._leave()
            raise
        except BLE_ERRORS as error:
            await self._leave()
            raise Disconnected(f"cannot connect to {self._address}: {error}") from None
        self._trusts_handle = True
        self._linked = client.is_connected

    async def _find(self) -> BLEDevice:
        """The sensor's handle: of a link that BlueZ still holds, of an earlier advertisement, or of the next one.

        After a failure a new advertisement comes first: what was remembered may be of an earlier life of BlueZ. But not
        for ever, because BlueZ tells an advertisement that does not change only now and then.
        """
        self._doing = "is not in the air: asleep, out of reach or connected elsewhere"
        await self._bus.open()
        if self._inbox is None:
            self._inbox = self._bus.listen(self._address, self._unlink)
        if not self._trusts_handle:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FRESH_S):
                    return (await self._inbox.get()).device
        device = self._bus.known(self._address) or await self._bus.connected(self._address, csc.SERVICE)
        return device or (await self._inbox.get()).device

    def _notified(self, _: BleakGATTCharacteristic, value: bytearray) -> None:
        if len(self._values) == NOTIFICATIONS_MAX:
            self._values.popleft()
            self.dropped += 1
        self._values.append((time.monotonic_ns(), bytes(value)))
        self._bus.notified(self._address, csc.MEASUREMENT, bytes(value))
        self._something.set()

    def _unlinked(self, client: BleakClient) -> None:
        if client is self._client:
            self._unlink()

    def _unlink(self) -> None:
        """The link is gone, or the bus with all its links: BlueZ does not always say both."""
        if self._linked:
            self._linked, self._lost = False, True
            self._something.set()

    async def _leave(self) -> None:
        client, self._client, self._linked = self._client, None, False
        if client is not None:
            with contextlib.suppress(TimeoutError, *BLE_ERRORS):  # the link or the D-Bus may be gone already
                async with asyncio.timeout(LEAVE_S):
                    await client.disconnect()

    async def close(self) -> None:
        """Disconnect and stop listening; safe to call twice."""
        await self._leave()
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


def make_csc_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol csc; option ``wheel_mm`` is the wheel around. Raises ValueError."""
    if not isinstance(bus, BleBus):
        raise ValueError(f"{template.name} needs a bus of type ble")
    if period_s is not None:
        raise ValueError(f"{template.name} notifies by itself, once a second: it takes no period")
    _only(options, ("wheel_mm",))
    wheel_mm = options.get("wheel_mm", WHEEL_MM)
    if isinstance(wheel_mm, (bool, str)) or not WHEEL_MM_LOW <= wheel_mm <= WHEEL_MM_HIGH:
        raise ValueError(f"wheel_mm is {wheel_mm!r}: expected millimetres, {WHEEL_MM_LOW} to {WHEEL_MM_HIGH}")
    return CscDriver(bus, check_address(address), template.silence_s, wheel_mm / 1000)


def _only(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(known) or 'none'}")
