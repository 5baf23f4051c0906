"""The devices of a scenario that have a serial line for themselves, by their template's name."""

from __future__ import annotations

from collections.abc import Callable

from firmware_sim.devices import air
from firmware_sim.devices.air import Air
from firmware_sim.devices.asked import Asked, Mhz19, Sps30
from firmware_sim.devices.gnss import Gnss
from firmware_sim.devices.stream import Stream
from firmware_sim.line import Line

PERIOD_S = 1.0
MCU680_PERIOD_S = 3.0
COLD_S = 8.0  # a receiver that has been on a while ago knows where to look
RADIUS_M, SPEED_KMH = 60.0, 18.0  # of the rider who carries it

_FRAMES: dict[str, Callable[[Air], bytes]] = {
    "plantower-pms5003": lambda now: air.pms5003(now.pm),
    "plantower-pms5003t": lambda now: air.pms5003t(now.pm, now.celsius, now.humidity),
    "nova-sds011": lambda now: air.sds011(now.pm),
    "nova-sds198": lambda now: air.sds198(now.pm[2] * 1.4),
    "honeywell-hpma115s0": lambda now: air.hpma115(now.pm),
    "honeywell-hpma115c0": lambda now: air.hpma115(now.pm, compact=True),
    "gy-mcu680": lambda now: air.mcu680(now.celsius, now.humidity, now.hecto_pascal),
}


def make(model: str, line: Line, now: Callable[[], Air], place: tuple[float, float]) -> Stream | Asked | Gnss:
    """A device on its line; ``place`` is latitude and longitude. Raises KeyError for a model that is none of these."""
    if model == "sensirion-sps30":
        return Sps30(line, lambda: now().pm)
    if model == "winsen-mh-z19b":
        return Mhz19(line, lambda: now().co2)
    if model == "gnss-nmea0183":
        return Gnss(line, *place, cold_s=COLD_S, radius_m=RADIUS_M, speed_kmh=SPEED_KMH)
    frame = _FRAMES[model]
    return Stream(line, lambda: frame(now()), MCU680_PERIOD_S if model == "gy-mcu680" else PERIOD_S)
