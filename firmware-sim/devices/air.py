"""Air sensors on wires: SenseAir S8 (Modbus), and the frames of those that send by themselves.

``pm`` is PM1, PM2.5 and PM10 in ug/m3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Air:
    """The air around a sensor."""

    co2: float = 640.0
    pm: tuple[float, float, float] = (4.0, 7.0, 11.0)
    celsius: float = 21.4
    humidity: float = 44.0
    hecto_pascal: float = 1012.5


def s8(co2_ppm: float) -> dict[int, int]:
    """SenseAir S8, input registers: status, alarms, outputs, and the gas concentration in ppm in the fourth."""
    return {0: 0, 1: 0, 2: 0, 3: round(co2_ppm)}


def pms5003(pm: tuple[float, float, float]) -> bytes:
    """A frame of the PMS5003 for PM1, PM2.5 and PM10 in ug/m3.

    Start ``BM``, length 28, three values for factory calibration (CF=1), the same three for the atmosphere, six counts
    of particles in 0.1 l of air above 0.3, 0.5, 1, 2.5, 5 and 10 um, version and error code, the sum of all bytes
    before; all 16 bits, high byte first. Below about 30 ug/m3 both triples are equal, above it the first is higher.
    """
    fine = [round(value) for value in pm]
    factory = [round(value if value < 30 else 30 + (value - 30) * 1.5) for value in pm]
    pm1, pm25, pm10 = pm
    coarse = pm10 - pm25
    between = (0.12 * coarse, 0.23 * coarse, 0.9 * pm25, 7 * pm25, 45 * pm1, 130 * pm1)  # from the coarsest size down
    counts = [min(0xFFFF, round(above)) for above in accumulate(between)][::-1]
    return _plantower(struct.pack(">13H", *factory, *fine, *counts, 0x9700))


def pms5003t(pm: tuple[float, float, float], celsius: float, humidity: float) -> bytes:
    """A frame of the PMS5003T: temperature and humidity, in tenths, stand where the two coarsest counts were."""
    plain = pms5003(pm)
    return _plantower(plain[4:24] + struct.pack(">hHH", round(10 * celsius), round(10 * humidity), 0x9A00))


def pms3003(pm: tuple[float, float, float]) -> bytes:
    """A frame of the PMS3003: without counts."""
    return _plantower(pms5003(pm)[4:16] + struct.pack(">3H", 0, 0, 0x51))


def _plantower(words: bytes) -> bytes:
    body = b"BM" + struct.pack(">H", len(words) + 2) + words
    return body + struct.pack(">H", sum(body))


def sds011(pm: tuple[float, float, float], number: int = 0xA160) -> bytes:
    """A frame of the SDS011: PM2.5 and PM10 in tenths, low byte first, its id, the sum of those six bytes."""
    return _nova(0xC0, struct.pack("<HH", round(10 * pm[1]), round(10 * pm[2])) + struct.pack(">H", number))


def sds198(pm100: float) -> bytes:
    """A frame of the SDS198: PM100 in whole ug/m3 in the second word."""
    return _nova(0xCF, struct.pack("<HH", 0, round(pm100)) + b"\xe9\x05")


def _nova(kind: int, six: bytes) -> bytes:
    return bytes([0xAA, kind]) + six + bytes([sum(six) % 256, 0xAB])


def hpma115(pm: tuple[float, float, float], compact: bool = False) -> bytes:
    """A frame of the HPMA115S0, or of the compact C0, as it is sent once a second."""
    pm1, pm25, pm10 = (round(value) for value in pm)
    first = (pm1, pm25, round((pm25 + pm10) / 2), pm10) if compact else (0, pm25, pm10, 0)
    return _plantower(struct.pack(">13H", *first, *[0] * 9))


def mcu680(celsius: float, humidity: float, pressure_hpa: float, ohms: int = 42_000) -> bytes:
    """A frame of the GY-MCU680 with all outputs on; its air quality index stands at 25 until it has settled."""
    pressure = round(100 * pressure_hpa).to_bytes(3, "big")
    values = (
        struct.pack(">hH", round(100 * celsius), round(100 * humidity)) + pressure + struct.pack(">HIh", 25, ohms, 5)
    )
    body = b"ZZ?" + bytes([len(values)]) + values
    return body + bytes([sum(body) % 256])
