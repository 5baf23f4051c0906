"""Air sensors on wires: SenseAir S8 (Modbus) and Plantower PMS5003 (a frame each second)."""

from __future__ import annotations

import struct
from itertools import accumulate


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
    body = b"BM" + struct.pack(">14H", 28, *factory, *fine, *counts, 0x9700)
    return body + struct.pack(">H", sum(body))
