"""Tasmota devices: what they tell at ``tele/<topic>/SENSOR``. ``Time`` is local and says no zone, as theirs."""

from __future__ import annotations

import json
import time

from firmware_sim.electricity import Snapshot


def energy(shot: Snapshot) -> str:
    """A three-phase meter read by a Tasmota device: lists of three."""
    apparent = shot.apparent
    values = {
        "TotalStartTime": "2024-01-01T00:00:00",
        "Total": [round(kwh, 3) for kwh in shot.import_kwh],
        "Today": 0.0,
        "Power": [round(watt) for watt in shot.watts],
        "ApparentPower": [round(va) for va in apparent],
        "ReactivePower": [round(var) for var in shot.vars],
        "Factor": [round(w / va, 2) if va else 0.0 for w, va in zip(shot.watts, apparent, strict=True)],
        "Frequency": round(shot.hertz, 1),
        "Voltage": [round(volt) for volt in shot.volts],
        "Current": [round(ampere, 3) for ampere in shot.amps],
    }
    return _message({"ENERGY": values})


def air(co2: float, pm: tuple[float, float, float], celsius: float, humidity: float, hecto_pascal: float) -> str:
    """SCD40, BME280 and PMS5003 on one board."""
    return _message(
        {
            "BME280": {
                "Temperature": round(celsius, 1),
                "Humidity": round(humidity, 1),
                "DewPoint": 9.1,
                "Pressure": round(hecto_pascal, 1),
            },
            "SCD40": {"CarbonDioxide": round(co2), "eCO2": round(co2 - 20), "Temperature": round(celsius, 1)},
            "PMS5003": {
                **{f"CF{size}": round(value) for size, value in zip(("1", "2.5", "10"), pm, strict=True)},
                **{f"PM{size}": round(value) for size, value in zip(("1", "2.5", "10"), pm, strict=True)},
            },
            "PressureUnit": "hPa",
            "TempUnit": "C",
        }
    )


def _message(sensors: dict[str, object]) -> str:
    return json.dumps({"Time": time.strftime("%Y-%m-%dT%H:%M:%S"), **sensors}, separators=(",", ":"))
