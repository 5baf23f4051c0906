"""The BLE bus: one adapter, one scanner for the whole process, advertisements handed to those who listen.

The scanner starts on first use. When the adapter, BlueZ or the D-Bus goes, every listener is told at once; the next
``read`` of any device starts the scanner again, at most every RETRY_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from bleak import BleakAdapter, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from drivers.base import Frame, Tap
from drivers.buses.ble_slots import SLOT_HOLD_S, Slot, Slots
from drivers.buses.ble_watch import BLE_ERRORS, AdapterWatch
from drivers.codecs import bthome, csc, ruuvi
from drivers.errors import Disconnected, DriverError

CONNECTIONS_MAX = 4  # at the same time, where the configuration does not say
INBOX_MAX = 32  # advertisements that wait for one listener; then the oldest is dropped and counted
OPEN_S = 15.0
STOP_S = 1.0
RETRY_S = 2.0
SCAN_S = 5.0  # slow sensors advertise every few seconds
DEAF_S = 90.0  # a scanner that has heard nobody at all for so long is started again
_ADDRESS = re.compile(r"^([0-9A-F]{2}:){5}[0-9A-F]{2}$")
_BASE_UUID = "-0000-1000-8000-00805f9b34fb"
_ADVERTISEMENT, _NOTIFICATION, _NOTIFICATION_128 = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One advertisement as heard: ``rssi`` in dBm, manufacturer data by company, service data by UUID."""

    address: str
    rssi: int
    manufacturer: Mapping[int, bytes]
    services: Mapping[str, bytes]
    mono_ns: int
    device: BLEDevice = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan found; ``could_be`` are names of templates, best guess first."""

    address: str
    name: str
    rssi: int
    could_be: tuple[str, ...]


class Inbox:
    """Advertisements that wait for one listener, and the news that the bus was lost."""

    def __init__(self, on_lost: Callable[[], None] | None = None) -> None:
        self.dropped = 0
        self._on_lost = on_lost
        self._waiting: deque[Advertisement] = deque()
        self._lost: DriverError | None = None
        self._something = asyncio.Event()

    def put(self, advertisement: Advertisement) -> None:
        """Add one; the oldest goes, counted, where INBOX_MAX wait."""
        if len(self._waiting) == INBOX_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(advertisement)
        self._something.set()

    def lose(self, error: DriverError) -> None:
        """Tell the listener, once, that the bus was lost."""
        self._lost = error
        self._something.set()
        if self._on_lost is not None:
            self._on_lost()

    def found(self) -> None:
        """The bus is back: a loss that nobody was waiting to hear of is old news."""
        self._lost = None

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    async def get(self) -> Advertisement:
        """The next one, waiting for it. Raises Disconnected, once, after what had arrived before the loss."""
        while True:
            if self._waiting:
                return self._waiting.popleft()
            if self._lost is not None:
                error, self._lost = self._lost, None
                raise _again(error)
            self._something.clear()
            await self._something.wait()


class BleBus:
    """One adapter of BlueZ; see drivers.base.Bus.

    ``connections_max`` devices may be connected at a time; one that has been for ``slot_hold_s`` makes room for others.
    """

    def __init__(
        self,
        name: str,
        adapter: str = "hci0",
        connections_max: int = CONNECTIONS_MAX,
        slot_hold_s: float = SLOT_HOLD_S,
    ) -> None:
        self.name = name
        self.adapter = adapter
        self.slots = Slots(connections_max, slot_hold_s)
        self.tap: Tap | None = None
        self._inboxes: dict[str, list[Inbox]] = {}
        self._known: dict[str, BLEDevice] = {}
        self._overheard: list[dict[str, tuple[str, AdvertisementData]]] = []
        self._lock = asyncio.Lock()
        self._watch: AdapterWatch | None = None
        self._scanner: BleakScanner | None = None
        self._scanning = False
        self._fault: DriverError | None = None
        self._retry_at = 0.0
        self._heard_at = 0.0

    async def open(self) -> None:
        """Start scanning where nobody does. Raises NoPort, NoPermission or Disconnected."""
        async with self._lock:
            now = time.monotonic()
            if self._scanning and now - self._heard_at < DEAF_S:
                return
            if self._fault is not None and now < self._retry_at:
                raise _again(self._fault)
            self._retry_at = now + RETRY_S
            try:
                async with asyncio.timeout(OPEN_S):
                    await self._start()
            except DriverError as error:
                self._fault = error
                raise
            except TimeoutError:
                self._fault = Disconnected("BlueZ does not answer")
                raise self._fault from None
            except BLE_ERRORS as error:
                self._fault = Disconnected(f"BlueZ cannot scan through {self.adapter}: {error}")
                raise self._fault from None

    async def _start(self) -> None:
        self._scanning = False
        if self._watch is not None:
            await self._watch.close()
        self._watch = AdapterWatch(self.adapter, self._lose)
        await self._watch.open()
        # bleak connects to the D-Bus again here where it was lost; stopping the old scanner would hang before that
        await BleakAdapter.get(bluez={"adapter": self.adapter})
        await self._stop_scanner()
        self._scanner = BleakScanner(self._hear, bluez={"adapter": self.adapter})
        await self._scanner.start()
        if self._watch.lost is not None:
            raise self._watch.lost
        self._scanning, self._fault, self._heard_at = True, None, time.monotonic()
        for inboxes in self._inboxes.values():
            for inbox in inboxes:
                inbox.found()

    async def _stop_scanner(self) -> None:
        scanner, self._scanner = self._scanner, None
        if scanner is None:
            return
        with contextlib.suppress(TimeoutError, *BLE_ERRORS):  # BlueZ may have forgotten that scan already
            async with asyncio.timeout(STOP_S):
                await scanner.stop()

    async def close(self) -> None:
        """Stop scanning; safe to call twice."""
        async with self._lock:
            self._scanning = False
            watch, self._watch = self._watch, None
            await self._stop_scanner()
            if watch is not None:
                await watch.close()

    def listen(self, address: str, on_lost: Callable[[], None] | None = None) -> Inbox:
        """Begin to collect what that device advertises; ``on_lost`` is called when the bus is lost."""
        inbox = Inbox(on_lost)
        self._inboxes.setdefault(address, []).append(inbox)
        return inbox

    def unlisten(self, address: str, inbox: Inbox) -> None:
        """Stop collecting; safe to call twice."""
        inboxes = self._inboxes.get(address, [])
        if inbox in inboxes:
            inboxes.remove(inbox)
        if not inboxes:
            self._inboxes.pop(address, None)
            self._known.pop(address, None)

    def slot(self, address: str) -> Slot:
        """That device's claim to a connection: ``async with bus.slot(address) as slot``."""
        return Slot(self.slots, address)

    def known(self, address: str) -> BLEDevice | None:
        """The handle of a device that is listened to and was heard since the scanner started."""
        return self._known.get(address)

    async def connected(self, address: str, service: str) -> BLEDevice | None:
        """The handle of a device to which BlueZ holds a connection already, as after a crash of this process.

        Such a device does not advertise. Raises Disconnected.
        """
        try:
            async with asyncio.timeout(OPEN_S):
                adapter = await BleakAdapter.get(bluez={"adapter": self.adapter})
                devices = await adapter.get_connected_devices([service])
        except TimeoutError:
            raise Disconnected("BlueZ does not answer") from None
        except BLE_ERRORS as error:
            raise Disconnected(f"BlueZ cannot list connections: {error}") from None
        return next((device for device in devices if device.address.upper() == address), None)

    async def scan(self, seconds: float = SCAN_S) -> list[Found]:
        """Everything heard within ``seconds``, strongest first. Raises as ``open`` does."""
        await self.open()
        heard: dict[str, tuple[str, AdvertisementData]] = {}
        self._overheard.append(heard)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._overheard.remove(heard)
        found = [Found(address, name, data.rssi, _could_be(data)) for address, (name, data) in heard.items()]
        return sorted(found, key=lambda one: -one.rssi)

    def notified(self, address: str, uuid: str, value: bytes) -> None:
        """Show the value of a characteristic to the tap, whether it was notified or read."""
        if self.tap is not None:
            self._show(notification_frame(address, uuid, value))

    def _hear(self, device: BLEDevice, data: AdvertisementData) -> None:
        self._heard_at = time.monotonic()
        address = device.address.upper()
        for heard in self._overheard:
            heard[address] = (device.name or "", data)
        inboxes = self._inboxes.get(address)
        if inboxes:
            self._known[address] = device
            now_ns = time.monotonic_ns()
            one = Advertisement(address, data.rssi, data.manufacturer_data, data.service_data, now_ns, device)
            for inbox in inboxes:
                inbox.put(one)
        if self.tap is not None:
            self._show(advertisement_frame(address, data.rssi, data.manufacturer_data, data.service_data))

    def _show(self, data: bytes) -> None:
        if self.tap is not None:
            self.tap(Frame(self.name, "rx", data, time.time_ns()))

    def _lose(self, error: DriverError) -> None:
        if not self._scanning:
            return
        self._scanning, self._fault, self._retry_at = False, error, 0.0
        self._known.clear()
        for inboxes in self._inboxes.values():
            for inbox in inboxes:
                inbox.lose(error)


def check_address(address: str | int | None) -> str:
    """A Bluetooth address in capitals. Raises ValueError."""
    text = str(address or "").upper()
    if not _ADDRESS.match(text):
        raise ValueError(f"{address!r} is no Bluetooth address such as AA:BB:CC:DD:EE:FF")
    return text


def advertisement_frame(
    address: str, rssi: int, manufacturer: Mapping[int, bytes], services: Mapping[str, bytes]
) -> bytes:
    """The bytes of a captured advertisement: 1, address, RSSI (i8), AD structures (Core 5.4, Vol 3, Part C, 11).

    BlueZ gives parsed data only; flags and names are not kept.
    """
    parts = [bytes((_ADVERTISEMENT,)), _address_bytes(address), struct.pack("<b", max(-128, min(127, rssi)))]
    rows = [(0xFF, struct.pack("<H", company) + value) for company, value in manufacturer.items()]
    for uuid, value in services.items():
        if uuid.endswith(_BASE_UUID) and uuid.startswith("0000"):
            rows.append((0x16, struct.pack("<H", int(uuid[4:8], 16)) + value))
        else:
            rows.append((0x21, UUID(uuid).bytes[::-1] + value))
    for kind, payload in rows:
        parts.append(bytes((min(255, len(payload) + 1), kind)) + payload[:254])
    return b"".join(parts)


def notification_frame(address: str, uuid: str, value: bytes) -> bytes:
    """The bytes of a captured value: 2, address, 16-bit UUID of the characteristic, value; 3 with one of 128 bits."""
    if uuid.endswith(_BASE_UUID) and uuid.startswith("0000"):
        return bytes((_NOTIFICATION,)) + _address_bytes(address) + struct.pack("<H", int(uuid[4:8], 16)) + value
    return bytes((_NOTIFICATION_128,)) + _address_bytes(address) + UUID(uuid).bytes[::-1] + value


def _address_bytes(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))


def _could_be(data: AdvertisementData) -> tuple[str, ...]:
    found = []
    if ruuvi.COMPANY in data.manufacturer_data:
        found.append("ruuvi-ruuvitag")
    if bthome.SERVICE in data.service_data:
        found.append("bthome-thermometer")
    if csc.SERVICE in data.service_uuids:
        found.append("csc-sensor")
    return tuple(found)


def _again(error: DriverError) -> DriverError:
    """A fresh exception that says the same: one instance must not be raised by several tasks."""
    return type(error)(*error.args)
