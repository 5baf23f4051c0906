"""Zigbee devices as zigbee2mqtt publishes them: the whole state in each message."""

from __future__ import annotations

import json


def air(co2: float, pm25: float, celsius: float, humidity: float) -> str:
    """An air sensor on mains that also states a VOC value in a unit of its own."""
    state = {
        "co2": round(co2),
        "formaldehyd": 3,
        "humidity": round(humidity, 1),
        "linkquality": 112,
        "pm25": round(pm25),
        "temperature": round(celsius, 1),
        "voc": 27,
    }
    return json.dumps(state)


def valve(celsius: float, number: int) -> str:
    """A radiator valve; such devices send more often than anybody can want. ``number`` counts its messages."""
    state = {
        "battery": 87,
        "current_heating_setpoint": 20.5,
        "linkquality": 40 + number % 60,
        "local_temperature": round(celsius + 0.1 * (number % 3), 1),
        "pi_heating_demand": number % 100,
        "running_state": "heat",
        "voltage": 2990,
    }
    return json.dumps(state)
