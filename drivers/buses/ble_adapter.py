"""The BLE bus: one adapter, one scanner for the whole process, advertisements handed to those who listen.

The scanner starts on first use. It only listens (passive) where BlueZ and all who listen allow it: that costs neither
the sensors' batteries nor air, and BlueZ lets through only what a codec may know. When the adapter, BlueZ or the D-Bus
goes, every listener is told at once; the next ``read`` of any device starts the scanner again, at most every RETRY_S.
An adapter that is there and does not hear, or refuses to scan, is worked on (``drivers.buses.ble_ladder``).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from bleak import BleakAdapter, BleakScanner
from bleak.backends.device import BLEDevice

from drivers.base import Frame, Tap
from drivers.buses.ble_inbox import SENDER_PER_S_MAX, TOTAL_PER_S_MAX, Advertisement, Budget, Inbox, again
from drivers.buses.ble_ladder import LOG, Ladder, Step, take
from drivers.buses.ble_scanner import Mode, Properties, advert, handle, scanner
from drivers.buses.ble_slots import SLOT_HOLD_S, Slot, Slots
from drivers.buses.ble_watch import BLE_ERRORS, AdapterWatch
from drivers.codecs.advertising import could_be, encrypts
from drivers.codecs.broadcast import Advert
from drivers.errors import Disconnected, DriverError, NeedsHuman

CONNECTIONS_MAX = 4  # at the same time, where the configuration does not say
OPEN_S = 15.0
STOP_S = 1.0
RETRY_S = 2.0
SCAN_S = 5.0  # slow sensors advertise every few seconds
SENDERS_MAX = 1000  # that are remembered for a scan; more are a flood of made-up addresses
DEAF_S = 90.0  # a scanner that has heard nobody at all for so long is started again
_ADDRESS = re.compile(r"^([0-9A-F]{2}:){5}[0-9A-F]{2}$")
_BASE_UUID = "-0000-1000-8000-00805f9b34fb"
_ADVERTISEMENT, _NOTIFICATION, _NOTIFICATION_128 = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan found; ``could_be`` are names of templates, best guess first. An ``encrypted`` one needs its key."""

    address: str
    name: str
    rssi: int
    could_be: tuple[str, ...]
    encrypted: bool = False


@dataclass(slots=True)
class _Sender:
    """A device that is listened to."""

    budget: Budget
    inboxes: list[Inbox]


class BleBus:
    """One adapter of BlueZ; see drivers.base.Bus.

    ``connections_max`` devices may be connected at a time; one that has been for ``slot_hold_s`` makes room for others.
    ``heard`` counts all advertisements; those beyond what one sender, or all, may send are not handed on but counted
    in ``flooded``.
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
        self.heard = 0
        self.mode: Mode | None = None  # in which the scanner runs
        self._senders: dict[str, _Sender] = {}
        self._total = Budget(TOTAL_PER_S_MAX)
        self._flooded = 0  # of senders that nobody listens to any longer
        self._recent: dict[str, tuple[str, Properties]] = {}  # what BlueZ knows by address, the latest last
        self._asked = 0  # how many of the listeners need active scanning
        self._scans = 0
        self._passive_works = True
        self._lock = asyncio.Lock()
        self._watch: AdapterWatch | None = None
        self._scanner: BleakScanner | None = None
        self._ladder = Ladder()
        self._refused = False  # the adapter is there and would not scan
        self._fault: DriverError | None = None
        self._retry_at = 0.0
        self._heard_ns = 0

    @property
    def flooded(self) -> int:
        """Advertisements of those listened to that were beyond the budgets."""
        return self._flooded + self._total.refused + sum(one.budget.refused for one in self._senders.values())

    async def open(self) -> None:
        """Start scanning where nobody does. Raises NoPort, NoPermission or Disconnected."""
        if self.mode == self._wanted() and not self._deaf():
            return
        async with self._lock:
            now, deaf = time.monotonic(), self._deaf()
            if self.mode == self._wanted() and not deaf:
                return
            if self.mode is None and self._fault is not None and now < self._retry_at:
                raise again(self._fault)
            self._retry_at = now + RETRY_S
            try:
                await self._unstick(deaf=deaf)
                async with asyncio.timeout(OPEN_S):
                    await self._start("active" if deaf else self._wanted())
            except NeedsHuman as error:
                self._fault, self._refused = error, False
                raise
            except DriverError as error:
                self._fault, self._refused = error, True
                raise
            except TimeoutError:
                raise self._refuses("BlueZ does not answer") from None
            except BLE_ERRORS as error:
                raise self._refuses(f"BlueZ cannot scan through {self.adapter}: {error}") from None

    def _refuses(self, why: str) -> DriverError:
        self._fault, self._refused = Disconnected(why), True
        return self._fault

    def _deaf(self) -> bool:
        return self.mode is not None and time.monotonic_ns() - self._heard_ns >= DEAF_S * 1e9

    def _wanted(self) -> Mode:
        return "active" if self._scans or self._asked or not self._passive_works else "passive"

    async def _unstick(self, *, deaf: bool) -> None:
        """Take the next step where the adapter is there and does not work."""
        if not deaf and not self._refused:
            return
        known = self._ladder.climbing
        step = self._ladder.next(time.monotonic(), deaf=deaf, linked=self.slots.taken > 0)
        if step is not Step.RESCAN or not known:  # said once, and each time that it gets harder
            why = f"has heard nothing for {DEAF_S:g} s" if deaf else str(self._fault)
            LOG.warning("Bluetooth %s: %s; next: %s", self.adapter, why, step)
        if deaf and self.mode == "passive":
            self._passive_works = False  # whatever it was: those who ask hear more
        if step is not Step.RESCAN:
            await self._end()
            await self._stop_scanner()
            failed = await take(step, self.adapter)
            LOG.warning("Bluetooth %s: %s: %s", self.adapter, step, failed or "done")

    async def _start(self, mode: Mode) -> None:
        await self._end()
        self._watch = AdapterWatch(self.adapter, self._lose)
        await self._watch.open()
        # bleak connects to the D-Bus again here where it was lost; stopping the old scanner would hang before that
        await BleakAdapter.get(bluez={"adapter": self.adapter})
        await self._stop_scanner()
        mode = await self._scan_as(mode)
        if self._watch.lost is not None:
            raise self._watch.lost
        self._watch.discovers = mode == "active"
        self.mode, self._fault, self._refused, self._heard_ns = mode, None, False, time.monotonic_ns()
        for sender in self._senders.values():
            for inbox in sender.inboxes:
                inbox.found()

    async def _scan_as(self, mode: Mode) -> Mode:
        """Start a scanner, an active one where BlueZ cannot be passive. Returns which it is."""
        if mode == "passive":
            self._scanner = scanner(self.adapter, mode, self._hear)
            try:
                await self._scanner.start()
                return mode
            except BLE_ERRORS as error:
                self._passive_works = False
                LOG.warning("Bluetooth %s: BlueZ cannot scan passively, so it asks: %s", self.adapter, error)
        self._scanner = scanner(self.adapter, "active", self._hear)
        await self._scanner.start()
        return "active"

    async def _end(self) -> None:
        self.mode = None
        if self._watch is not None:
            watch, self._watch = self._watch, None
            await watch.close()

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
            self.mode = None
            await self._stop_scanner()
            await self._end()

    def listen(self, address: str, on_lost: Callable[[], None] | None = None, *, active: bool = False) -> Inbox:
        """Begin to collect what that device advertises; ``on_lost`` is called when the bus is lost.

        ``active``: what is wanted of it is only said to those who ask; the next ``open`` sees to that.
        """
        inbox = Inbox(on_lost, active=active)
        sender = self._senders.setdefault(address, _Sender(Budget(SENDER_PER_S_MAX), []))
        sender.inboxes.append(inbox)
        self._asked += active
        return inbox

    def unlisten(self, address: str, inbox: Inbox) -> None:
        """Stop collecting; safe to call twice."""
        sender = self._senders.get(address)
        if sender is None or inbox not in sender.inboxes:
            return
        sender.inboxes.remove(inbox)
        self._asked -= inbox.active
        if not sender.inboxes:
            self._flooded += sender.budget.refused
            del self._senders[address]

    def slot(self, address: str) -> Slot:
        """That device's claim to a connection: ``async with bus.slot(address) as slot``."""
        return Slot(self.slots, address)

    def known(self, address: str) -> BLEDevice | None:
        """The handle of a device that was heard since the scanner started, or that BlueZ knew before.

        BlueZ does not tell again an advertisement that it has told to somebody and that has not changed.
        """
        found = self._recent.get(address) or (self._watch.devices.get(address) if self._watch is not None else None)
        return None if found is None else handle(*found)

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
        """Everything heard within ``seconds``, and lately, strongest first. Raises as ``open`` does.

        What was heard before counts too because BlueZ tells an advertisement that does not change only once.
        """
        self._scans += 1
        try:
            await self.open()
            await asyncio.sleep(seconds)
        finally:
            self._scans -= 1
        adverts = [advert(properties) for _, properties in self._recent.values()]
        found = [Found(one.address, one.name, one.rssi or 0, could_be(one), encrypts(one)) for one in adverts]
        return sorted(found, key=lambda one: -one.rssi)

    def notified(self, address: str, uuid: str, value: bytes) -> None:
        """Show the value of a characteristic to the tap, whether it was notified or read."""
        if self.tap is not None:
            self._show(notification_frame(address, uuid, value))

    def _hear(self, path: str, properties: Properties) -> None:
        if properties.get("RSSI") is None:  # BlueZ tells of a device that it does not hear (any longer)
            return
        self.heard += 1
        self._heard_ns = now_ns = time.monotonic_ns()
        address = properties["Address"]
        self._recent.pop(address, None)
        self._recent[address] = path, properties
        if len(self._recent) > SENDERS_MAX:
            del self._recent[next(iter(self._recent))]
        if self._ladder.climbing:
            self._ladder.recovered()
            LOG.warning("Bluetooth %s: hears again", self.adapter)
        sender = self._senders.get(address)
        if sender is not None and sender.budget.take(now_ns) and self._total.take(now_ns):
            one = Advertisement(advert(properties), now_ns, path, properties)
            for inbox in sender.inboxes:
                inbox.put(one)
        if self.tap is not None:
            self._show(advertisement_frame(advert(properties)))

    def _show(self, data: bytes) -> None:
        if self.tap is not None:
            self.tap(Frame(self.name, "rx", data, time.time_ns()))

    def _lose(self, error: DriverError) -> None:
        if self.mode is None:
            return
        self.mode, self._fault, self._retry_at = None, error, 0.0
        self._recent.clear()
        for sender in self._senders.values():
            for inbox in sender.inboxes:
                inbox.lose(error)


def check_address(address: str | int | None) -> str:
    """A Bluetooth address in capitals. Raises ValueError."""
    text = str(address or "").upper()
    if not _ADDRESS.match(text):
        raise ValueError(f"{address!r} is no Bluetooth address such as AA:BB:CC:DD:EE:FF")
    return text


def advertisement_frame(heard: Advert) -> bytes:
    """The bytes of a captured advertisement: 1, address, RSSI (i8), AD structures (Core 5.4, Vol 3, Part C, 11).

    BlueZ gives parsed data only; flags and claimed services are not kept.
    """
    rssi = max(-128, min(127, heard.rssi or 0))
    parts = [bytes((_ADVERTISEMENT,)), _address_bytes(heard.address), struct.pack("<b", rssi)]
    rows = [(0xFF, struct.pack("<H", company) + value) for company, value in heard.manufacturer.items()]
    for uuid, value in heard.services.items():
        if uuid.endswith(_BASE_UUID) and uuid.startswith("0000"):
            rows.append((0x16, struct.pack("<H", int(uuid[4:8], 16)) + value))
        else:
            rows.append((0x21, UUID(uuid).bytes[::-1] + value))
    if heard.name:
        rows.append((0x09, heard.name.encode()))
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
