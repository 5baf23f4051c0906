"""Every quantity that Lamppost knows: name, unit, UN/CEFACT Recommendation 20 code, kind and plausible range.

Phases end in ``_l1 _l2 _l3``, tariffs in ``_t1 _t2``, sums in ``_total``. Codecs and templates deliver values in the
unit given here; a value outside the plausible range is kept and flagged (BAD, range), never dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "state"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """``low`` and ``high`` bound what is plausible, in ``unit``; None where nothing is implausible."""

    name: str
    unit: str
    code: str
    kind: Kind = "gauge"
    low: float | None = None
    high: float | None = None


PHASES = ("l1", "l2", "l3")


def _phased(stem: str, unit: str, code: str, low: float, high: float, kind: Kind = "gauge") -> list[Quantity]:
    return [Quantity(f"{stem}_{phase}", unit, code, kind, low, high) for phase in PHASES]


_ROWS = [
    *_phased("voltage", "V", "VLT", 0, 1000),
    Quantity("voltage_l12", "V", "VLT", "gauge", 0, 1000),
    Quantity("voltage_l23", "V", "VLT", "gauge", 0, 1000),
    Quantity("voltage_l31", "V", "VLT", "gauge", 0, 1000),
    *_phased("current", "A", "AMP", -6000, 6000),
    Quantity("current_n", "A", "AMP", "gauge", -6000, 6000),
    *_phased("active_power", "W", "WTT", -1e6, 1e6),
    Quantity("active_power_total", "W", "WTT", "gauge", -3e6, 3e6),
    *_phased("reactive_power", "var", "D44", -1e6, 1e6),
    Quantity("reactive_power_total", "var", "D44", "gauge", -3e6, 3e6),
    *_phased("apparent_power", "VA", "D46", -1e6, 1e6),
    Quantity("apparent_power_total", "VA", "D46", "gauge", -3e6, 3e6),
    *_phased("power_factor", "1", "C62", -1, 1),
    Quantity("power_factor_total", "1", "C62", "gauge", -1, 1),
    Quantity("frequency", "Hz", "HTZ", "gauge", 40, 70),
    Quantity("energy_import_total", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("energy_export_total", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("energy_import_t1", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("energy_import_t2", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("energy_export_t1", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("energy_export_t2", "kWh", "KWH", "counter", 0, 1e9),
    # air
    Quantity("co2", "ppm", "59", "gauge", 250, 10_000),
    Quantity("pm1", "ug/m3", "GQ", "gauge", 0, 1000),
    Quantity("pm25", "ug/m3", "GQ", "gauge", 0, 1000),
    Quantity("pm10", "ug/m3", "GQ", "gauge", 0, 1500),
    Quantity("temperature", "degC", "CEL", "gauge", -50, 85),
    Quantity("relative_humidity", "%", "P1", "gauge", 0, 100),
    Quantity("pressure", "hPa", "A97", "gauge", 500, 1155),
    # bicycles
    Quantity("wheel_revolutions", "1", "C62", "counter", 0, None),
    Quantity("crank_revolutions", "1", "C62", "counter", 0, None),
    Quantity("speed", "km/h", "KMH", "gauge", 0, 120),
    Quantity("cadence", "1/min", "RPM", "gauge", 0, 250),
    Quantity("distance", "m", "MTR", "counter", 0, None),
    # state of a device
    Quantity("battery_voltage", "V", "VLT", "gauge", 0, 60),
    Quantity("battery_level", "%", "P1", "gauge", 0, 100),
    Quantity("rssi", "dBm", "DBM", "gauge", -127, 20),
    Quantity("acceleration_x", "m/s2", "MSK", "gauge", -400, 400),
    Quantity("acceleration_y", "m/s2", "MSK", "gauge", -400, 400),
    Quantity("acceleration_z", "m/s2", "MSK", "gauge", -400, 400),
    Quantity("movement_count", "1", "C62", "counter", 0, None),
    # appliances, from disaggregation
    Quantity("appliance_state", "", "C62", "state"),
    Quantity("confidence", "1", "C62", "gauge", 0, 1),
    Quantity("residual_power", "W", "WTT", "gauge", -3e6, 3e6),
    Quantity("run_started", "", "C62", "state"),
    Quantity("run_ended", "", "C62", "state"),
    # the gateway itself
    Quantity("outbox_depth", "1", "C62", "gauge", 0, None),
    Quantity("outbox_age", "s", "SEC", "gauge", 0, None),
    Quantity("link_name", "", "C62", "state"),
    Quantity("link_up", "", "C62", "state"),
    Quantity("devices_up", "1", "C62", "gauge", 0, None),
    Quantity("devices_configured", "1", "C62", "gauge", 0, None),
    Quantity("devices_down", "", "C62", "state"),
    Quantity("readings_made", "1", "C62", "counter", 0, None),
    Quantity("readings_dropped", "1", "C62", "counter", 0, None),
    Quantity("crash_cost", "1", "C62", "counter", 0, None),
]

QUANTITIES: dict[str, Quantity] = {row.name: row for row in _ROWS}
