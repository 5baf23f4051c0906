"""Bluetooth devices that are connected to: one link for all of them, a codec (drivers.codecs.gatt) for each kind.

- ``csc``, ``cycling-power``, ``openbikesensor``, ``bike``: they notify by themselves for as long as the link stands;
- ``airthings``: connected to once a period, read, and left alone again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice

from drivers.base import Bus, Driver, Observation
from drivers.buses.ble_adapter import BleBus, check_address
from drivers.buses.ble_inbox import Inbox
from drivers.buses.ble_watch import BLE_ERRORS
from drivers.codecs import airthings_gatt, bike, csc, cycling_power, openbikesensor
from drivers.codecs.gatt import GattCodec
from drivers.errors import BadFrame, Disconnected, Timeout, WrongDevice
from drivers.template import Template

CONNECT_S = 20.0
LEAVE_S = 1.5  # the daemon must be able to stop within two seconds
FRESH_S = 5.0
LOOK_S = 2.0  # how often a link over which nothing comes looks whether others wait for its slot
VALUES_MAX = 32  # that wait to be read; then the oldest is dropped and counted
WHEEL_MM = 2105  # a 700x25C road wheel around, as bicycle computers list it
WHEEL_MM_LOW, WHEEL_MM_HIGH = 500, 4000
SPACING_S = 1.0

Value = tuple[str, bytes, int]  # characteristic, value, monotonic time of arrival in ns


class Link:
    """A connection to one device, with a slot of the adapter for as long as it stands.

    ``doing`` says what is being waited for; ``dropped`` counts values that nobody fetched in time.
    """

    def __init__(self, bus: BleBus, address: str, codec: GattCodec) -> None:
        self.doing = ""
        self.dropped = 0
        self.stands = False
        self._bus = bus
        self._address = address
        self._codec = codec
        self._slot = bus.slot(address)
        self._client: BleakClient | None = None
        self._lost = False  # and nobody has been told
        self._inbox: Inbox | None = None
        self._trusts_handle = True
        self._values: deque[Value] = deque()
        self._something = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether there is neither a link nor anything left of the last one to be told."""
        return not (self.stands or self._values or self._lost)

    @property
    def wanted(self) -> bool:
        """Whether another device waits for the slot that this one has had for long."""
        return self._slot.wanted.is_set()

    async def connect(self) -> None:
        """Find the device, connect, read what is to be read and subscribe to the rest.

        Raises Disconnected, WrongDevice, NoPort, NoPermission, and TimeoutError where a part of it takes too long.
        """
        await self.leave()
        self._values.clear()
        device = await self._find()
        self.doing = "waits for one of the adapter's connections"
        await self._slot.take()
        if self._inbox is not None:
            self._inbox.clear()
        self.doing = "does not accept a connection"
        client = BleakClient(device, self._unlinked, timeout=CONNECT_S, bluez={"adapter": self._bus.adapter})
        self._client = client
        self._trusts_handle = False  # until it has worked
        try:
            await client.connect()
            await self._begin(client)
        except TimeoutError:
            raise
        except WrongDevice:
            await self.leave()
            raise
        except BLE_ERRORS as error:
            await self.leave()
            raise Disconnected(f"cannot connect to {self._address}: {error}") from None
        self._trusts_handle = True
        self.stands = client.is_connected
        self.doing = "is connected and says nothing"

    async def _begin(self, client: BleakClient) -> None:
        for uuid in (*self._codec.asked, *self._codec.notified):
            if client.services.get_characteristic(uuid) is None:
                raise WrongDevice(f"{self._address} has no characteristic {uuid}")
        self.doing = "does not let itself be read"
        for uuid in self._codec.asked:
            self._arrived(uuid, bytes(await client.read_gatt_char(uuid)))
        for uuid in self._codec.notified:
            await client.start_notify(uuid, self._notified)

    async def _find(self) -> BLEDevice:
        """The device's handle: of a link that BlueZ still holds, of an earlier advertisement, or of the next one.

        After a failure a new advertisement comes first: what was remembered may be of an earlier life of BlueZ. But not
        for ever, because BlueZ tells an advertisement that does not change only now and then.
        """
        self.doing = "is not in the air: asleep, out of reach or connected elsewhere"
        await self._bus.open()
        if self._inbox is None:
            self._inbox = self._bus.listen(self._address, self._unlink)
        if not self._trusts_handle:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FRESH_S):
                    return (await self._inbox.get()).device
        device = self._bus.known(self._address) or await self._bus.connected(self._address, self._codec.service)
        return device or (await self._inbox.get()).device

    async def next(self) -> Value | None:
        """The next value, None where nothing came for LOOK_S. Raises Disconnected, once, where the link was lost."""
        if not self._values and self.stands:
            self._something.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._something.wait()
        if self._values:
            return self._values.popleft()
        if not self.stands:
            self._lost = False
            raise Disconnected(f"the link to {self._address} was lost")
        return None

    def fetch(self) -> list[Value]:
        """All values that have arrived."""
        values = list(self._values)
        self._values.clear()
        return values

    def _notified(self, characteristic: BleakGATTCharacteristic, value: bytearray) -> None:
        self._arrived(characteristic.uuid, bytes(value))

    def _arrived(self, uuid: str, value: bytes) -> None:
        if len(self._values) == VALUES_MAX:
            self._values.popleft()
            self.dropped += 1
        self._values.append((uuid, value, time.monotonic_ns()))
        self._bus.notified(self._address, uuid, value)
        self._something.set()

    def _unlinked(self, client: BleakClient) -> None:
        if client is self._client:
            self._unlink()

    def _unlink(self) -> None:
        """The link is gone, or the bus with all its links: BlueZ does not always say both."""
        if self.stands:
            self.stands, self._lost = False, True
            self._slot.give_back()
            self._something.set()

    async def leave(self) -> None:
        """Disconnect and give the slot back; safe to call twice."""
        client, self._client, self.stands = self._client, None, False
        try:
            if client is not None:
                with contextlib.suppress(TimeoutError, *BLE_ERRORS):  # the link or the D-Bus may be gone already
                    async with asyncio.timeout(LEAVE_S):
                        await client.disconnect()
        finally:
            self._slot.give_back()

    async def close(self) -> None:
        """Disconnect and stop listening; safe to call twice."""
        await self.leave()
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            self._bus.unlisten(self._address, inbox)


class NotifyDriver:
    """A device that notifies: connected to on the first read, and again whenever the link is lost.

    Its slot goes to others when they have waited for long; it is back in its turn.
    """

    period_s: float | None = None

    def __init__(self, bus: BleBus, address: str, silence_s: float, codec: GattCodec) -> None:
        self.silence_s = silence_s
        self._address = address
        self._codec = codec
        self._link = Link(bus, address, codec)

    async def read(self) -> tuple[Observation, ...]:
        """What the next notifications say. Connecting is part of the time that the device may be silent.

        Raises Timeout, BadFrame, Disconnected, WrongDevice, NoPort or NoPermission.
        """
        heard = False
        try:
            async with asyncio.timeout(self.silence_s):
                while True:
                    if self._link.wanted:
                        await self._link.leave()
                    if self._link.idle:
                        await self._link.connect()
                    value = await self._link.next()
                    if value is not None:
                        heard = True
                        observations = self._codec.take(*value)
                        if observations:
                            return observations
        except TimeoutError:
            await self._link.leave()
            what = "says nothing that is known" if heard else self._link.doing
            raise Timeout(f"{self._address} {what} (waited {self.silence_s:g} s)") from None

    async def close(self) -> None:
        """Disconnect and stop listening; safe to call twice."""
        await self._link.close()


class PollDriver:
    """A device that is read once a period. What one poll gives is one observation."""

    def __init__(self, bus: BleBus, address: str, silence_s: float, codec: GattCodec, period_s: float) -> None:
        self.silence_s = silence_s
        self.period_s: float | None = period_s
        self._address = address
        self._codec = codec
        self._link = Link(bus, address, codec)

    async def read(self) -> tuple[Observation, ...]:
        """Connect, read, disconnect. Raises Timeout, BadFrame, Disconnected, WrongDevice, NoPort or NoPermission."""
        try:
            async with asyncio.timeout(self.silence_s):
                await self._link.connect()
        except TimeoutError:
            raise Timeout(f"{self._address} {self._link.doing} (waited {self.silence_s:g} s)") from None
        finally:
            await self._link.leave()
        told = [one for value in self._link.fetch() for one in self._codec.take(*value)]
        if not told:
            raise BadFrame(f"{self._address} has no value yet")
        return (Observation(tuple(measured for one in told for measured in one.measurements), told[-1].mono_ns),)

    async def close(self) -> None:
        """Disconnect and stop listening; safe to call twice."""
        await self._link.close()


Options = Mapping[str, Any]


def make_csc_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Options
) -> Driver:
    """A driver for a template of protocol csc; option ``wheel_mm`` is the wheel around. Raises ValueError."""
    return _notifying(template, bus, address, period_s, csc.Sensor(_wheel_m(options)))


def make_power_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Options
) -> Driver:
    """A driver for a template of protocol cycling-power, with the option of csc. Raises ValueError."""
    return _notifying(template, bus, address, period_s, cycling_power.Sensor(_wheel_m(options)))


def make_bike_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Options
) -> Driver:
    """A driver for a template of protocol bike. Raises ValueError."""
    _only(options, ())
    return _notifying(template, bus, address, period_s, bike.Sensor())


def make_openbikesensor_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Options
) -> Driver:
    """A driver for a template of protocol openbikesensor; ``period_s`` is the span whose smallest distance is told.

    Option ``overtaken_on``: left, or right where traffic keeps left. Raises ValueError.
    """
    _only(options, ("overtaken_on",))
    side = options.get("overtaken_on", "left")
    if side not in ("left", "right"):
        raise ValueError(f"overtaken_on is {side!r}: expected left or right")
    spacing_s = period_s or template.period_s or SPACING_S
    return _notifying(template, bus, address, None, openbikesensor.Sensor(spacing_s, side))


def make_airthings_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Options
) -> Driver:
    """A driver for a template of protocol airthings; option ``model`` is one of the family. Raises ValueError."""
    _only(options, ("model",))
    model = options.get("model", "")
    if model not in airthings_gatt.MODELS:
        raise ValueError(f"model is {model!r}: expected one of {', '.join(airthings_gatt.MODELS)}")
    wanted_s = period_s or template.period_s
    if wanted_s is None:
        raise ValueError(f"{template.name} needs a period: it is read, it does not speak by itself")
    return PollDriver(
        _ble(template, bus), check_address(address), template.silence_s, airthings_gatt.Sensor(model), wanted_s
    )


def _notifying(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, codec: GattCodec
) -> Driver:
    if period_s is not None:
        raise ValueError(f"{template.name} notifies by itself: it takes no period")
    return NotifyDriver(_ble(template, bus), check_address(address), template.silence_s, codec)


def _ble(template: Template, bus: Bus) -> BleBus:
    if not isinstance(bus, BleBus):
        raise ValueError(f"{template.name} needs a bus of type ble")
    return bus


def _wheel_m(options: Options) -> float:
    _only(options, ("wheel_mm",))
    wheel_mm = options.get("wheel_mm", WHEEL_MM)
    if isinstance(wheel_mm, (bool, str)) or not WHEEL_MM_LOW <= wheel_mm <= WHEEL_MM_HIGH:
        raise ValueError(f"wheel_mm is {wheel_mm!r}: expected millimetres, {WHEEL_MM_LOW} to {WHEEL_MM_HIGH}")
    return float(wheel_mm) / 1000


def _only(options: Options, known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(known) or 'none'}")
