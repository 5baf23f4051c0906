"""Electricity meters on Modbus: their register maps.

Addresses and types are those that several public drivers agree on; what lies between the known registers reads as zero.
"""

from __future__ import annotations

import math

from firmware_sim.electricity import Snapshot
from firmware_sim.modbus import float_words, long_words

SDM630_END = 0x0182
SDM630_COUNT_MAX = 80  # the meter gives up to 40 values at once
PZEM_COUNT_MAX = 10
_SDM630_ZEROS = dict.fromkeys(range(SDM630_END), 0)


def _factor(watts: float, apparent: float) -> float:
    return watts / apparent if apparent > 0 else 1.0


def _sdm630_values(shot: Snapshot) -> dict[int, float]:
    apparent = shot.apparent
    watts, reactive, va = sum(shot.watts), sum(shot.vars), sum(apparent)
    taken, given = sum(shot.import_kwh), sum(shot.export_kwh)
    values: dict[int, float] = {
        0x002A: sum(shot.volts) / 3,
        0x002E: sum(shot.amps) / 3,
        0x0030: sum(shot.amps),
        0x0034: watts,
        0x0038: va,
        0x003C: reactive,
        0x003E: _factor(watts, va),
        0x0042: math.degrees(math.atan2(reactive, watts)) if va else 0.0,
        0x0046: shot.hertz,
        0x0048: taken,
        0x004A: given,
        0x0156: taken + given,
    }
    for phase in range(3):
        step = 2 * phase
        following = (phase + 1) % 3
        u, w = shot.volts[phase], shot.volts[following]
        values |= {
            0x0000 + step: u,
            0x0006 + step: shot.amps[phase],
            0x000C + step: shot.watts[phase],
            0x0012 + step: apparent[phase],
            0x0018 + step: shot.vars[phase],
            0x001E + step: _factor(shot.watts[phase], apparent[phase]),
            # between two phases 120 degrees apart: the law of cosines
            0x00C8 + step: math.sqrt(u * u + w * w + u * w),
            0x015A + step: shot.import_kwh[phase],
            0x0160 + step: shot.export_kwh[phase],
            0x0166 + step: shot.import_kwh[phase] + shot.export_kwh[phase],
        }
    return values


def sdm630(shot: Snapshot) -> dict[int, int]:
    """Eastron SDM630, input registers (function 4): 32-bit floats, high word first."""
    registers = _SDM630_ZEROS.copy()
    for address, value in _sdm630_values(shot).items():
        registers[address], registers[address + 1] = float_words(value)
    return registers


def sdm630_settings(address: int) -> dict[int, int]:
    """Eastron SDM630, holding registers (function 3): among its settings, its own address and the speed code."""
    registers = dict.fromkeys(range(0x40), 0)
    registers[0x0014], registers[0x0015] = float_words(float(address))
    registers[0x001C], registers[0x001D] = float_words(2.0)  # 9600 baud
    return registers


def pzem(shot: Snapshot) -> dict[int, int]:
    """Peacefair PZEM-004T v3, input registers: V/10, A/1000, W/10, Wh, Hz/10, PF/100; wide values low word first."""
    apparent = shot.apparent[0]
    amps = long_words(round(shot.amps[0] * 1000), "low-first")
    watts = long_words(round(max(0.0, shot.watts[0]) * 10), "low-first")
    energy = long_words(int(shot.import_kwh[0] * 1000), "low-first")
    factor = round(100 * _factor(shot.watts[0], apparent))
    words = (round(shot.volts[0] * 10), *amps, *watts, *energy, round(shot.hertz * 10), max(0, factor), 0)
    return dict(enumerate(words))


def pzem_settings(address: int) -> dict[int, int]:
    """Peacefair PZEM-004T v3, holding registers: alarm threshold in W and the address."""
    return {1: 23_000, 2: address}
