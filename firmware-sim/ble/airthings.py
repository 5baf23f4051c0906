"""An Airthings Wave Plus in the classroom, read over a connection (layout: Airthings' waveplus-reader)."""

from __future__ import annotations

import struct

from firmware_sim.ble import advert
from firmware_sim.ble.peripherals import Characteristic, Peripheral
from firmware_sim.world import noise

COMPANY = 0x0334
SERVICE, VALUES = (f"b42e{number:04x}-ade7-11e4-89d3-123b93f75cba" for number in (0x1C08, 0x2A68))
SERIAL = 2930012345
NONE = 0xFFFF


class WavePlus(Peripheral):
    """It advertises its serial number only; radon of the long term is not known yet."""

    usual_period_s = 2.0
    service = SERVICE
    characteristics = (Characteristic(VALUES, ("read",)),)

    def advertisement(self, t: float, number: int) -> bytes:
        """The serial number as manufacturer data, and the service."""
        del t, number
        return advert.flags() + advert.manufacturer(COMPANY, struct.pack("<IH", SERIAL, 1))

    def value(self, row: Characteristic, t: float) -> bytes:
        """Version 1, humidity x 2, light, radon of a day and of long, temperature x 100, pressure x 50, CO2, VOC."""
        world, place = self.world, self.place
        return struct.pack(
            "<4B8H",
            1,
            round(world.humidity(t, place) * 2),
            90,
            0,
            round(48 + 12 * noise(world.seed, "radon", t / 600)),
            NONE,
            round(world.temperature(t, place) * 100),
            round(world.pressure(t) * 50),
            round(world.co2(t)),
            round(120 + 40 * noise(world.seed, "voc", t / 60)),
            0,
            0,
        )
