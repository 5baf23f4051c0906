"""Sensors that broadcast what they measure, one of each family; bytes made from the formats' specifications.

Those that encrypt use KEY (Xiaomi's old ones are not simulated): the same for all, so that a demo can know it.
"""

from __future__ import annotations

import struct

from firmware_sim.ble import advert
from firmware_sim.ble.peripherals import BTHOME_UUID, RUUVI_COMPANY, Peripheral
from firmware_sim.world import noise

KEY = bytes.fromhex("6c616d70706f73742d73696d6b657921")
ARANET, GOVEE = 0x0702, 0xEC88
MIBEACON, ENVIRONMENT, QINGPING = 0xFE95, 0x181A, 0xFDCD
LYWSDCGQ, LYWSD03MMC, CGG1 = 0x01AA, 0x055B, 0x07
BATTERY = 87
COUNTER_START = 1000  # of encrypted sensors: they have been running for a while


def _sealed(nonce: bytes, plain: bytes, associated: bytes | None) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    return AESCCM(KEY, tag_length=4).encrypt(nonce, plain, associated)


class Sensor(Peripheral):
    """What these have in common: the world where they hang, as numbers that go into frames."""

    usual_period_s = 2.0

    @property
    def address_bytes(self) -> bytes:
        """Of the address, as it is written."""
        return bytes.fromhex(self.address.replace(":", ""))

    def temperature(self, t: float, per_degree: int) -> int:
        """The temperature in units of which ``per_degree`` make one."""
        return round(self.world.temperature(t, self.place) * per_degree)

    def humidity(self, t: float, per_percent: int) -> int:
        """The relative humidity in units of which ``per_percent`` make one."""
        return round(self.world.humidity(t, self.place) * per_percent)


class RuuviAir(Sensor):
    """Formats 6 and E1 by turns, as one radio cannot send both at once; E1 needs extended advertising."""

    usual_period_s = 1.285

    def advertisement(self, t: float, number: int) -> bytes:
        """docs.ruuvi.com, formats 6 and E1; both say the same measurement, one after the other."""
        world = self.world
        pm1, pm25, pm10 = world.pm(t)
        common = (self.temperature(t, 200), self.humidity(t, 400), round(world.pressure(t) * 100) - 50_000)
        voc, nox = round(110 + 30 * noise(world.seed, "voc", t / 60)), 1
        flags = (voc & 1) << 6 | (nox & 1) << 7
        count = number // 2
        if number % 2:
            payload = struct.pack(">BhHHHH", 6, *common, round(pm25 * 10), round(world.co2(t)))
            payload += bytes((voc >> 1, nox >> 1, 0xFF, 0xFF, count % 256, flags)) + self.address_bytes[3:]
        else:
            dust = (round(value * 10) for value in (pm1, pm25, (pm25 + pm10) / 2, pm10))
            payload = struct.pack(">BhHHHHHHHBB", 0xE1, *common, *dust, round(world.co2(t)), voc >> 1, nox >> 1)
            payload += b"\xff" * 6 + (count % 0xFFFFFF).to_bytes(3, "big") + bytes((flags,)) + b"\xff" * 5
            payload += self.address_bytes
        return advert.flags() + advert.manufacturer(RUUVI_COMPANY, payload)


class SealedBthome(Sensor):
    """A BTHome v2 sensor of CO2 and temperature that encrypts."""

    def advertisement(self, t: float, number: int) -> bytes:
        """bthome.io/encryption: device information, sealed objects, counter, tag."""
        information, counter = b"\x41", struct.pack("<I", COUNTER_START + number)
        plain = struct.pack("<BhBH", 0x02, self.temperature(t, 100), 0x12, round(self.world.co2(t)))
        nonce = self.address_bytes + struct.pack("<H", BTHOME_UUID) + information + counter
        sealed = _sealed(nonce, plain, None)
        return advert.flags() + advert.service_data(BTHOME_UUID, information + sealed[:-4] + counter + sealed[-4:])


class Aranet(Sensor):
    """Manufacturer data of company 0x0702, integrations allowed; measured once a minute, said every few seconds."""

    interval_s = 60
    head = bytes((0x21, 4, 12, 1, 0))  # flags, version 1.12.4, hardware

    def advertisement(self, t: float, number: int) -> bytes:
        """The values of the last whole minute, and how long ago that was."""
        del number
        minute = int(t // self.interval_s)
        tail = struct.pack("<HHB", self.interval_s, int(t - minute * self.interval_s), minute % 256)
        return advert.flags() + advert.manufacturer(ARANET, self.values(minute * self.interval_s) + tail)

    def values(self, t: float) -> bytes:
        """What stands before interval, age and counter."""
        raise NotImplementedError


class Aranet4(Aranet):
    """CO2, temperature x 20, pressure x 10, humidity, battery, colour."""

    def values(self, t: float) -> bytes:
        """Without the byte that names the model."""
        world = self.world
        co2 = round(world.co2(t))
        colour = 1 if co2 < 1000 else 2 if co2 < 1400 else 3
        measured = (co2, self.temperature(t, 20), round(world.pressure(t) * 10), self.humidity(t, 1), BATTERY, colour)
        return self.head + bytes(3) + struct.pack("<HHHBBB", *measured)


class Aranet2(Aranet):
    """Temperature x 20, humidity x 10."""

    def values(self, t: float) -> bytes:
        """Model 1."""
        return b"\1" + self.head + bytes(4) + struct.pack("<HHHBBB", self.temperature(t, 20), 0, self.humidity(t, 10),
                                                          0, BATTERY, 0)  # fmt: skip


class AranetRadiation(Aranet):
    """Dose in nSv since it was started, seconds since, rate in nSv/h."""

    def values(self, t: float) -> bytes:
        """Model 2."""
        rate = 110 + 15 * noise(self.world.seed, "radiation", t / 300)
        seconds = int(t) + 400_000
        return b"\2" + self.head + struct.pack("<IIHBBB", seconds // 30, seconds, round(rate), 0, BATTERY, 1)


class AranetRadon(Aranet):
    """Radon, temperature x 20, pressure x 10, humidity x 10."""

    def values(self, t: float) -> bytes:
        """Model 3."""
        radon = round(48 + 12 * noise(self.world.seed, "radon", t / 600))
        measured = (radon, self.temperature(t, 20), round(self.world.pressure(t) * 10), self.humidity(t, 10))
        return b"\3" + self.head + bytes(2) + struct.pack("<HHHHBBB", *measured, 0, BATTERY, 1)


class MiBeacon(Sensor):
    """A Xiaomi LYWSDCGQ, version 3 and plain: temperature with humidity and the battery by turns."""

    def advertisement(self, t: float, number: int) -> bytes:
        """Control (address, object, version 3), product, counter, address, one object."""
        head = struct.pack("<HHB", 0x3050, LYWSDCGQ, number % 256) + self.address_bytes[::-1]
        if number % 4:
            body = struct.pack("<HBhH", 0x100D, 4, self.temperature(t, 10), self.humidity(t, 10))
        else:
            body = struct.pack("<HBB", 0x100A, 1, BATTERY)
        return advert.flags() + advert.service_data(MIBEACON, head + body)


class SealedMiBeacon(Sensor):
    """A Xiaomi LYWSD03MMC with its own firmware: version 5, encrypted, one value at a time."""

    def advertisement(self, t: float, number: int) -> bytes:
        """Head, sealed object, extended counter, tag."""
        counter = COUNTER_START + number
        head = struct.pack("<HHB", 0x5858, LYWSD03MMC, counter % 256)
        extended = (counter >> 8).to_bytes(3, "little")
        if number % 2:
            plain = struct.pack("<HBh", 0x1004, 2, self.temperature(t, 10))
        else:
            plain = struct.pack("<HBH", 0x1006, 2, self.humidity(t, 10))
        address = self.address_bytes[::-1]
        sealed = _sealed(address + head[2:] + extended, plain, b"\x11")
        return advert.flags() + advert.service_data(MIBEACON, head + address + sealed[:-4] + extended + sealed[-4:])


class Atc(Sensor):
    """A thermometer with pvvx' firmware, custom format."""

    def advertisement(self, t: float, number: int) -> bytes:
        """Address low byte first, temperature and humidity x 100, millivolts, battery, counter, flags."""
        values = struct.pack("<hHHBBB", self.temperature(t, 100), self.humidity(t, 100), 2950, BATTERY, number % 256, 0)
        return advert.service_data(ENVIRONMENT, self.address_bytes[::-1] + values)


class SealedAtc(Sensor):
    """The same, encrypted."""

    def advertisement(self, t: float, number: int) -> bytes:
        """Counter, sealed values, tag."""
        plain = struct.pack("<hHBB", self.temperature(t, 100), self.humidity(t, 100), BATTERY, 0)
        counter = bytes((number % 256,))
        length = 3 + len(counter) + len(plain) + 4
        head = bytes((length, 0x16)) + struct.pack("<H", ENVIRONMENT)
        return advert.service_data(
            ENVIRONMENT, counter + _sealed(self.address_bytes[::-1] + head + counter, plain, b"\x11")
        )


class Qingping(Sensor):
    """A Qingping thermometer (CGG1)."""

    def advertisement(self, t: float, number: int) -> bytes:
        """Flags, model, address low byte first; elements of id, length, value."""
        del number
        climate = struct.pack("<BBhH", 1, 4, self.temperature(t, 10), self.humidity(t, 10))
        data = bytes((0x08, CGG1)) + self.address_bytes[::-1] + climate + bytes((2, 1, BATTERY))
        return advert.flags() + advert.service_data(QINGPING, data)


class Govee(Sensor):
    """A Govee H5075: it says its values only to those who ask."""

    def advertisement(self, t: float, number: int) -> bytes:
        """Flags and the name."""
        del t, number
        return advert.flags() + advert.name("GVH5075_51AB")

    def scan_response(self, t: float) -> bytes:
        """Temperature x 10 x 1000 + humidity x 10 in 24 bits, the sign in the highest; battery."""
        celsius = self.temperature(t, 10)
        number = abs(celsius) * 1000 + self.humidity(t, 10) | (0x800000 if celsius < 0 else 0)
        return advert.manufacturer(GOVEE, b"\0" + number.to_bytes(3, "big") + bytes((BATTERY, 0)))
