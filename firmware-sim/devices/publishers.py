"""The devices of a scenario that publish by MQTT, by their template's name: what they say of the simulated site."""

from __future__ import annotations

import time
from collections.abc import Callable

from firmware_sim.devices import shelly, tasmota, zigbee
from firmware_sim.devices.air import Air
from firmware_sim.electricity import Snapshot
from firmware_sim.mqtt import Published

SHELLY_1_PERIOD_S = 5.0  # 30 s when they leave the factory; adjustable
TASMOTA_PERIOD_S = 10.0  # TelePeriod 10, the shortest; 300 s when they leave the factory
AIR_PERIOD_S = 10.0


def meter(model: str, address: str, snapshot: Callable[[], Snapshot]) -> Published:
    """A meter. Raises KeyError for a model that is none."""
    shelly_presence = (f"{address}/online", "true", "false")
    return {
        "shelly-pro-3em": Published(
            address,
            lambda number: shelly.messages(address, snapshot(), number, time.time()),
            shelly.PERIOD_S,
            shelly_presence,
        ),
        "shelly-plug-s": Published(
            address,
            lambda _number: shelly.statuses(address, {"switch:0": shelly.plug(snapshot())}, time.time()),
            shelly.PERIOD_S,
            shelly_presence,
        ),
        "shelly-3em": Published(
            address, lambda _n: shelly.first_generation(address, snapshot()), SHELLY_1_PERIOD_S, shelly_presence
        ),
        "tasmota-energy-3p": Published(
            address,
            lambda _number: [(f"tele/{address}/SENSOR", tasmota.energy(snapshot()))],
            TASMOTA_PERIOD_S,
            (f"tele/{address}/LWT", "Online", "Offline"),
        ),
    }[model]


def sensor(model: str, address: str, air: Callable[[], Air]) -> Published:
    """A sensor of the air. Raises KeyError for a model that is none."""

    def board() -> str:
        now = air()
        return tasmota.air(now.co2, now.pm, now.celsius, now.humidity, now.hecto_pascal)

    def zigbee_air() -> str:
        now = air()
        return zigbee.air(now.co2, now.pm[1], now.celsius, now.humidity)

    availability = (f"{address}/availability", '{"state":"online"}', '{"state":"offline"}')
    return {
        "tasmota-air": Published(
            address,
            lambda _number: [(f"tele/{address}/SENSOR", board())],
            TASMOTA_PERIOD_S,
            (f"tele/{address}/LWT", "Online", "Offline"),
        ),
        "zigbee2mqtt-air": Published(address, lambda _number: [(address, zigbee_air())], AIR_PERIOD_S, availability),
        "zigbee2mqtt-climate": Published(
            address, lambda number: [(address, zigbee.valve(air().celsius, number))], 1.0, availability
        ),
    }[model]


def metrics(shot: Snapshot) -> dict[str, float | int | bool | None]:
    """What the meter behind a Sparkplug edge node calls its values."""
    return {
        "Active Power": round(shot.watts[0], 1),
        "Voltage": round(shot.volts[0], 1),
        "Current": round(shot.amps[0], 3),
        "Energy": round(shot.import_kwh[0], 4),
    }
