"""The meters of utilities: electricity on P1, SML, D0 and M-Bus ports, heat and water on an M-Bus line."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

from firmware_sim.devices import d0, mbus, p1, sml
from firmware_sim.devices.d0 import D0Meter
from firmware_sim.devices.mbus import Identity, MBusMeter
from firmware_sim.devices.stream import Stream
from firmware_sim.electricity import Snapshot
from firmware_sim.line import Line

PORTS = (*("dsmr-p1-v2", "dsmr-p1-v4", "dsmr-p1-v5", "dsmr-p1-fluvius", "sml-meter", "iec62056-d0", "iec62056-mode-c"),)
ON_MBUS = ("mbus-electricity", "mbus-heat", "mbus-water")
ELECTRICITY = (*PORTS, "mbus-electricity")
_KELVIN_KWH_M3 = 1.163  # heat that a cubic metre of water carries a kelvin
_FLOW_M3H, _WARM, _COLD = 0.62, 64.0, 38.0
_WATER_M3H = 0.085

Shot = Callable[[], Snapshot]
Elapsed = Callable[[], float]


def port(model: str, line: Line, address: str, shot: Shot, elapsed: Elapsed) -> Stream | D0Meter:
    """A meter that has its line for itself. ``elapsed`` are true seconds since the start."""
    if model == "iec62056-mode-c":
        return D0Meter(line, "5", shot, address)
    if model == "iec62056-d0":
        return Stream(line, lambda: d0.pushed(shot()), d0.PERIOD_S)
    if model == "sml-meter":
        return Stream(line, lambda: sml.telegram(shot(), int(elapsed())), sml.PERIOD_S)
    register = p1.Register()

    def telegram() -> bytes:
        at, gas_m3 = datetime.now(UTC), 1873.0 + 0.04 * (elapsed() // 300)
        if model == "dsmr-p1-v2":
            return p1.telegram_old(shot(), register, at, gas_m3)
        if model == "dsmr-p1-fluvius":
            return p1.telegram_fluvius(shot(), register, at, gas_m3, 412.0 + _WATER_M3H * elapsed() / 3600)
        return p1.telegram(shot(), register, at, gas_m3)

    return Stream(line, telegram, p1.PERIOD_OLD_S if model in ("dsmr-p1-v2", "dsmr-p1-v4") else p1.PERIOD_S)


def on_mbus(model: str, line: Line, address: int, shot: Shot, elapsed: Elapsed, thinks_s: float) -> MBusMeter:
    """A meter on a line that it shares. Its number follows from its address."""
    number = f"{42_000_000 + 1001 * address:08d}"
    if model == "mbus-electricity":
        who = Identity(number, "EMU", 16, 2)
        return MBusMeter(line, address, who, lambda: (mbus.electricity_records(shot()),), thinks_s=thinks_s)
    if model == "mbus-water":
        who = Identity(number, "GWF", 53, 7)
        return MBusMeter(line, address, who, lambda: (mbus.water_records(_litres(elapsed())),), thinks_s=thinks_s)
    return MBusMeter(line, address, Identity(number, "KAM", 8, 4), lambda: (_heat(elapsed()),), thinks_s=thinks_s)


def _litres(t_s: float) -> int:
    return round(1000 * (269.0 + _WATER_M3H * t_s / 3600))


def _heat(t_s: float) -> bytes:
    """Warm water that comes and goes over a quarter of an hour."""
    warm = _WARM + 2.5 * math.sin(t_s / 143)
    m3 = 4120.0 + _FLOW_M3H * t_s / 3600
    watts = 1000 * _FLOW_M3H * (warm - _COLD) * _KELVIN_KWH_M3
    kwh = 37_351.0 + _FLOW_M3H * (_WARM - _COLD) * _KELVIN_KWH_M3 * t_s / 3600
    return mbus.heat_records(int(kwh), int(1000 * m3), round(watts), round(1000 * _FLOW_M3H), warm, _COLD)
