"""The peripherals: advertising bytes and characteristic values as pure functions of the world and of time."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from firmware_sim.ble import advert
from firmware_sim.world import Place, World, noise

RUUVI_COMPANY = 0x0499
BTHOME_UUID = 0xFCD2
CSC_SERVICE, CSC_MEASUREMENT, CSC_FEATURE = 0x1816, 0x2A5B, 0x2A5C


@dataclass(frozen=True, slots=True)
class Characteristic:
    """A GATT characteristic: UUID (a number of 16 bits or a whole one), BlueZ's words for its properties, a value."""

    uuid: int | str
    flags: tuple[str, ...]
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class Peripheral:
    """One device in the air. ``period_s`` is the time between advertisements, or notifications while connected.

    ``usual_period_s`` is what it is as shipped, ``address_type`` is BlueZ's word; ``service`` None means that it cannot
    be connected to.
    """

    name: str
    address: str
    world: World
    place: Place
    period_s: float
    usual_period_s: ClassVar[float] = 1.0
    address_type: ClassVar[str] = "random"
    service: ClassVar[int | str | None] = None
    characteristics: ClassVar[tuple[Characteristic, ...]] = ()

    def advertisement(self, t: float, number: int) -> bytes:
        """The advertising bytes at ``t``, the ``number``-th of this device."""
        raise NotImplementedError

    def value(self, row: Characteristic, t: float) -> bytes:
        """What is read of a characteristic over a connection that began at ``t``."""
        del t
        return row.value

    def scan_response(self, t: float) -> bytes:
        """What it adds for those who ask: scan actively."""
        del t
        return b""

    def notification(self, t: float) -> tuple[int | str, bytes] | None:
        """The characteristic and the value that it notifies at ``t``, None for a device that never does."""
        del t
        return None

    def rssi(self, t: float) -> int:
        """Signal strength in dBm: people walk through the path."""
        return round(-62 + 7 * noise(self.world.seed, f"rssi-{self.name}", t / 3))


class RuuviTag(Peripheral):
    """A RuuviTag, data format 5, not connectable as shipped."""

    usual_period_s = 1.285

    def advertisement(self, t: float, number: int) -> bytes:
        """Format 5, docs.ruuvi.com: temperature 0.005 C, humidity 0.0025 %, pressure Pa - 50000, acceleration mg."""
        world, seed = self.world, self.world.seed
        payload = struct.pack(
            ">BhHHhhhHBH",
            5,
            round(world.temperature(t, self.place) * 200),
            round(world.humidity(t, self.place) * 400),
            round(world.pressure(t) * 100) - 50_000,
            round(12 + 3 * noise(seed, "ax", t)),
            round(-20 + 3 * noise(seed, "ay", t)),
            round(1004 + 3 * noise(seed, "az", t)),
            ((2977 - 1600) << 5) | 22,  # battery 2.977 V; transmit power (22 x 2) - 40 = +4 dBm
            7,
            number % 0xFFFF,  # 65535 means "not available"
        )
        payload += bytes.fromhex(self.address.replace(":", ""))
        return advert.flags() + advert.manufacturer(RUUVI_COMPANY, payload)


class Thermometer(Peripheral):
    """A BTHome v2 thermometer and hygrometer, unencrypted."""

    usual_period_s = 2.0
    address_type = "public"

    def advertisement(self, t: float, number: int) -> bytes:
        """bthome.io/format: packet id, battery, temperature 0.01 C, humidity 0.01 %."""
        temperature, humidity = self.world.temperature(t, self.place), self.world.humidity(t, self.place)
        payload = bytes((0x40, 0x00, number % 256, 0x01, 93))
        payload += struct.pack("<BhBH", 0x02, round(temperature * 100), 0x03, round(humidity * 100))
        return advert.flags() + advert.service_data(BTHOME_UUID, payload) + advert.name("THERMO")


class CyclingSensor(Peripheral):
    """A speed and cadence sensor (service 0x1816): advertises until connected, then notifies once a second."""

    service = CSC_SERVICE
    characteristics = (
        Characteristic(CSC_MEASUREMENT, ("notify",)),
        Characteristic(CSC_FEATURE, ("read",), b"\x03\x00"),  # wheel and crank data supported
    )

    def advertisement(self, t: float, number: int) -> bytes:
        """Its service and its name."""
        del t, number
        return advert.flags() + advert.services(CSC_SERVICE) + advert.name("CSC 24381")

    def notification(self, t: float) -> tuple[int, bytes]:
        """CSC Measurement (GATT Specification Supplement): flags, wheel u32 and time, crank u16 and time."""
        state = self.world.bicycle(t)
        value = struct.pack(
            "<BIHHH", 3, state.wheel_revs, state.wheel_event_1024, state.crank_revs, state.crank_event_1024
        )
        return CSC_MEASUREMENT, value


DEFAULT = (
    {"name": "ruuvi", "kind": "ruuvi", "address": "DE:AD:7B:3F:EF:01", "place": "classroom"},
    {"name": "thermometer", "kind": "bthome", "address": "A4:C1:38:00:00:02", "place": "corridor"},
    {"name": "bicycle", "kind": "csc", "address": "F8:9C:FC:53:5E:03"},
)
