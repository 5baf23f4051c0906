"""Plausible values for any quantity: what a simulated device shows whose template is all that is known of it.

Electrical values hang together (phases add up to the total, current is apparent power over voltage, counters follow the
power); everything else swings around a usual value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from drivers.quantities import QUANTITIES
from firmware_sim.world import noise, uniform

Value = float | str
SHARES: Mapping[str, float] = {"total": 1.0, "l1": 0.4, "l2": 0.35, "l3": 0.25, "t1": 0.6, "t2": 0.4}
POWER_W = 1800.0
POWER_FACTOR = 0.94
TANGENT = math.tan(math.acos(POWER_FACTOR))
SLOW_S = 60.0
# usual value and swing, by name or by how the name begins
USUAL: Mapping[str, tuple[float, float]] = {
    "frequency": (50.0, 0.04),
    "thd_voltage": (2.1, 0.6),
    "thd_current": (9.0, 3.0),
    "current_n": (0.7, 0.3),
    "dc_voltage": (48.6, 1.5),
    "dc_current": (7.2, 1.1),
    "co2": (780.0, 220.0),
    "co": (1.6, 0.5),
    "pm1": (5.2, 2.0),
    "pm25": (8.4, 3.0),
    "pm4": (10.1, 3.0),
    "pm10": (13.7, 4.0),
    "relative_humidity": (47.0, 8.0),
    "absolute_humidity": (8.9, 1.5),
    "dew_point": (9.4, 2.0),
    "wet_bulb_temperature": (14.2, 2.0),
    "mixing_ratio": (7.3, 1.0),
    "enthalpy": (39.5, 4.0),
    "pressure": (1012.6, 8.0),
    "illuminance": (420.0, 180.0),
    "sound_level": (44.0, 9.0),
    "voc_": (83.0, 20.0),
    "air_quality_index": (52.0, 20.0),
    "wind_speed": (3.4, 2.0),
    "wind_gust_speed": (6.1, 2.5),
    "wind_direction": (203.0, 60.0),
    "wind_gust_direction": (211.0, 60.0),
    "compass": (184.0, 2.0),
    "precipitation": (0.6, 0.4),
    "supply_voltage": (12.3, 0.4),
    "device_temperature": (31.0, 4.0),
    "outdoor_temperature": (7.5, 4.0),
    "room_setpoint": (21.0, 0.5),
    "room_temperature": (20.6, 0.8),
    "flow_temperature": (36.5, 4.0),
    "return_temperature": (30.5, 3.0),
    "hot_water": (48.5, 3.0),
    "storage_temperature": (45.0, 5.0),
    "temperature": (21.4, 1.5),
    "heating_output": (38.0, 20.0),
    "cooling_output": (12.0, 8.0),
    "energy_today": (6.7, 0.0),
    "session_energy": (4.2, 0.0),
    "motion_max": (37.0, 20.0),
}


class Site:
    """What one simulated device sees: values by quantity at the time that ``clock`` tells, in seconds from a start.

    ``phases`` are those that it has. Two of one name and seed see the same.
    """

    def __init__(self, name: str, seed: int, phases: int, clock: Callable[[], float]) -> None:
        self._name, self._seed, self._phases, self._clock = name, seed, phases, clock
        self._start_kwh = 2000 + 6000 * uniform(seed, name, "energy")

    def value(self, quantity: str) -> Value:
        """The value of a quantity now; a word for a state."""
        known = QUANTITIES[quantity]
        if known.kind == "state":
            return "SIM0001" if quantity == "serial_number" else "1"
        electric = self._electric(quantity)
        if electric is not None:
            return electric
        for stem, (usual, swing) in USUAL.items():
            if quantity == stem or (quantity.startswith(stem) and stem not in QUANTITIES):
                return usual + swing * self._noise(quantity)
        if known.kind == "counter":
            return float(int(1000 + 50_000 * uniform(self._seed, self._name, quantity) + self._clock() / 7))
        return self._between(quantity)

    def _electric(self, quantity: str) -> float | None:
        stem, _, part = quantity.rpartition("_")
        if stem in ("energy_import", "energy_export", "energy_sum", "grid_energy_import"):
            return self._kwh(stem) * SHARES.get(part, 0.3)
        if quantity.startswith("heat_energy"):
            return 3 * self._kwh("heat") * {"heating": 0.8, "water": 0.2}.get(part, 1.0)
        if stem.startswith("reactive_energy"):
            return TANGENT * self._kwh(stem.removeprefix("reactive_")) * SHARES[part]
        if quantity.startswith("voltage_"):
            return self._volts(quantity.removeprefix("voltage_"))
        if stem == "phase_angle":
            return math.degrees(math.acos(POWER_FACTOR)) + self._noise(quantity)
        if stem == "frequency" and part in SHARES:
            return 50 + 0.04 * self._noise("frequency")
        if quantity == "energy_net_total":
            return self._kwh("energy_import") - self._kwh("energy_export")
        if quantity == "apparent_energy_total":
            return self._kwh("energy_import") / POWER_FACTOR
        if quantity == "grid_energy_export_total":
            return self._kwh("energy_export")
        return self._power(stem, part)

    def _power(self, stem: str, part: str) -> float | None:
        watts = self._watts(part)
        factors = {
            "active_power": 1.0,
            "grid_active_power": 1.0,
            "active_power_import": 1.0,
            "active_power_export": 0.05,
            "dc_power": 1.0,
            "apparent_power": 1 / POWER_FACTOR,
            "reactive_power": TANGENT,
            "reactive_power_import": TANGENT,
            "reactive_power_export": 0.05 * TANGENT,
        }
        if stem in factors:
            return watts * factors[stem]
        if stem == "power_factor":
            return POWER_FACTOR + 0.01 * self._noise(f"{stem}_{part}")
        if stem == "current" and part in ("l1", "l2", "l3", "total", "avg"):
            share = self._watts("total") / self._phases if part == "avg" else watts
            return share / POWER_FACTOR / self._volts("ln_avg")
        return None

    def _watts(self, part: str) -> float:
        total = POWER_W * self._phases * (1 + 0.3 * self._noise("power"))
        return total * (SHARES.get(part, 1.0) if self._phases == 3 else 1.0)

    def _volts(self, part: str) -> float:
        if part in ("l1", "l2", "l3"):
            return 230 + 2.5 * self._noise(f"voltage_{part}")
        mean = sum(230 + 2.5 * self._noise(f"voltage_l{phase}") for phase in range(1, self._phases + 1)) / self._phases
        return mean if part == "ln_avg" else math.sqrt(3) * mean

    def _kwh(self, stem: str) -> float:
        taken = self._start_kwh + POWER_W * self._phases * self._clock() / 3.6e6
        return taken * {"energy_export": 0.05, "energy_sum": 1.05}.get(stem, 1.0)

    def _between(self, quantity: str) -> float:
        known = QUANTITIES[quantity]
        low, high = known.low or 0.0, min(known.high if known.high is not None else 1000.0, 1000.0)
        return low + (high - low) * (0.3 + 0.1 * self._noise(quantity))

    def _noise(self, what: str) -> float:
        return noise(self._seed, f"{self._name}-{what}", self._clock() / SLOW_S)
