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
PULSE_INPUTS = 16


def _phased(stem: str, unit: str, code: str, low: float, high: float, kind: Kind = "gauge") -> list[Quantity]:
    return [Quantity(f"{stem}_{phase}", unit, code, kind, low, high) for phase in PHASES]


def _numbered(stem: str, unit: str, code: str, kind: Kind, high: float | None = None) -> list[Quantity]:
    return [Quantity(f"{stem}_{number}", unit, code, kind, 0, high) for number in range(1, PULSE_INPUTS + 1)]


def _states(names: str) -> list[Quantity]:
    return [Quantity(name, "", "C62", "state") for name in names.split()]


def _energies(stem: str, unit: str, code: str) -> list[Quantity]:
    parts = (*PHASES, "t1", "t2", "t3", "t4", "total")
    return [Quantity(f"{stem}_{part}", unit, code, "counter", 0, 1e9) for part in parts]


_ELECTRICITY = [
    *_phased("voltage", "V", "VLT", 0, 1000),
    *(Quantity(f"voltage_{pair}", "V", "VLT", "gauge", 0, 1000) for pair in ("l12", "l23", "l31", "ln_avg", "ll_avg")),
    *_phased("current", "A", "AMP", -6000, 6000),
    *(Quantity(f"current_{part}", "A", "AMP", "gauge", -18_000, 18_000) for part in ("n", "avg", "total")),
    *_phased("active_power", "W", "WTT", -1e6, 1e6),
    Quantity("active_power_total", "W", "WTT", "gauge", -3e6, 3e6),
    *_phased("active_power_import", "W", "WTT", 0, 1e6),
    Quantity("active_power_import_total", "W", "WTT", "gauge", 0, 3e6),
    *_phased("active_power_export", "W", "WTT", 0, 1e6),
    Quantity("active_power_export_total", "W", "WTT", "gauge", 0, 3e6),
    *_phased("reactive_power", "var", "D44", -1e6, 1e6),
    Quantity("reactive_power_total", "var", "D44", "gauge", -3e6, 3e6),
    Quantity("reactive_power_import_total", "var", "D44", "gauge", 0, 3e6),
    Quantity("reactive_power_export_total", "var", "D44", "gauge", 0, 3e6),
    *_phased("apparent_power", "VA", "D46", -1e6, 1e6),
    Quantity("apparent_power_total", "VA", "D46", "gauge", -3e6, 3e6),
    *_phased("power_factor", "1", "C62", -1, 1),
    Quantity("power_factor_total", "1", "C62", "gauge", -1, 1),
    *_phased("phase_angle", "deg", "DD", -360, 360),
    Quantity("phase_angle_total", "deg", "DD", "gauge", -360, 360),
    Quantity("frequency", "Hz", "HTZ", "gauge", 40, 70),
    *_phased("frequency", "Hz", "HTZ", 40, 70),
    *_phased("thd_voltage", "%", "P1", 0, 400),
    Quantity("thd_voltage_avg", "%", "P1", "gauge", 0, 400),
    *_phased("thd_current", "%", "P1", 0, 400),
    *_energies("energy_import", "kWh", "KWH"),
    *_energies("energy_export", "kWh", "KWH"),
    *_energies("energy_sum", "kWh", "KWH"),
    *_energies("reactive_energy_import", "kvarh", "K3"),
    *_energies("reactive_energy_export", "kvarh", "K3"),
    *_energies("reactive_energy_sum", "kvarh", "K3"),
    *(Quantity(f"reactive_energy_q{quadrant}", "kvarh", "K3", "counter", 0, 1e9) for quadrant in range(1, 5)),
    Quantity("apparent_energy_total", "kVAh", "C79", "counter", 0, 1e9),
    Quantity("energy_net_total", "kWh", "KWH", "gauge", -1e9, 1e9),  # import less export: may fall
    Quantity("energy_today", "kWh", "KWH", "gauge", 0, 1e6),
    Quantity("session_energy", "kWh", "KWH", "gauge", 0, 1e5),
    Quantity("grid_active_power_total", "W", "WTT", "gauge", -3e6, 3e6),
    Quantity("grid_energy_import_total", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("grid_energy_export_total", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("active_power_import_avg", "W", "WTT", "gauge", 0, 3e6),  # of the running quarter of an hour
    Quantity("active_power_import_peak", "W", "WTT", "gauge", 0, 3e6),  # highest quarter of an hour of the month
    Quantity("dc_voltage", "V", "VLT", "gauge", 0, 2000),
    Quantity("dc_current", "A", "AMP", "gauge", -6000, 6000),
    Quantity("dc_power", "W", "WTT", "gauge", -3e6, 3e6),
    Quantity("tariff", "", "C62", "state"),
    Quantity("power_failures", "1", "C62", "counter", 0, None),
    Quantity("power_failures_long", "1", "C62", "counter", 0, None),
    *(
        Quantity(f"{what}_{phase}", "1", "C62", "counter", 0)
        for what in ("voltage_sags", "voltage_swells")
        for phase in PHASES
    ),
    Quantity("meter_status", "", "C62", "state"),
    Quantity("relay_state", "", "C62", "state"),
    Quantity("ev_state", "", "C62", "state"),
    Quantity("cable_state", "", "C62", "state"),
]

_HEAT_AND_WATER = [
    Quantity("heat_energy_total", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("heat_energy_heating", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("heat_energy_hot_water", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("cooling_energy_total", "kWh", "KWH", "counter", 0, 1e9),
    Quantity("heat_power", "W", "WTT", "gauge", -1e8, 1e8),
    Quantity("flow_rate", "m3/h", "MQH", "gauge", -1e5, 1e5),
    Quantity("volume_total", "m3", "MTQ", "counter", 0, 1e9),
    Quantity("water_volume_total", "m3", "MTQ", "counter", 0, 1e9),
    Quantity("gas_volume_total", "m3", "MTQ", "counter", 0, 1e9),
    Quantity("heat_cost_units", "1", "C62", "counter", 0, 1e9),
    Quantity("mass_total", "kg", "KGM", "counter", 0, 1e12),
    Quantity("flow_temperature", "degC", "CEL", "gauge", -50, 200),
    Quantity("return_temperature", "degC", "CEL", "gauge", -50, 200),
    Quantity("temperature_difference", "K", "KEL", "gauge", -250, 250),
    Quantity("flow_pressure", "bar", "BAR", "gauge", 0, 1000),
    Quantity("hot_water_temperature", "degC", "CEL", "gauge", -50, 150),
    Quantity("hot_water_setpoint", "degC", "CEL", "gauge", -50, 150),
    Quantity("outdoor_temperature", "degC", "CEL", "gauge", -80, 80),
    Quantity("room_temperature", "degC", "CEL", "gauge", -50, 85),
    Quantity("room_setpoint", "degC", "CEL", "gauge", -50, 85),
    Quantity("storage_temperature", "degC", "CEL", "gauge", -50, 200),
    Quantity("heating_output", "%", "P1", "gauge", 0, 100),
    Quantity("cooling_output", "%", "P1", "gauge", 0, 100),
    Quantity("operating_time", "h", "HUR", "counter", 0, 1e7),
    Quantity("on_time", "h", "HUR", "counter", 0, 1e7),
]

_AIR = [
    Quantity("co2", "ppm", "59", "gauge", 250, 10_000),
    Quantity("co", "ppm", "59", "gauge", 0, 2000),
    Quantity("no2", "ppb", "61", "gauge", 0, 20_000),
    Quantity("o3", "ppb", "61", "gauge", 0, 20_000),
    Quantity("formaldehyde", "mg/m3", "GP", "gauge", 0, 100),
    Quantity("pm1", "ug/m3", "GQ", "gauge", 0, 1000),
    Quantity("pm25", "ug/m3", "GQ", "gauge", 0, 1000),
    Quantity("pm4", "ug/m3", "GQ", "gauge", 0, 1500),
    Quantity("pm10", "ug/m3", "GQ", "gauge", 0, 1500),
    Quantity("pm100", "ug/m3", "GQ", "gauge", 0, 20_000),
    *(
        Quantity(f"particles_{size}", "1/cm3", "H50", "gauge", 0, 1e6)  # particles larger than 0.3 um ... 10 um
        for size in ("03um", "05um", "1um", "25um", "4um", "5um", "10um")
    ),
    *(
        Quantity(f"particles_to_{size}", "1/cm3", "H50", "gauge", 0, 1e6)  # from 0.3 um up to 0.5 um ... 10 um
        for size in ("05um", "1um", "25um", "4um", "10um")
    ),
    Quantity("particle_size", "um", "4H", "gauge", 0, 100),
    Quantity("temperature", "degC", "CEL", "gauge", -50, 85),
    Quantity("relative_humidity", "%", "P1", "gauge", 0, 100),
    Quantity("absolute_humidity", "g/m3", "A93", "gauge", 0, 600),
    Quantity("dew_point", "degC", "CEL", "gauge", -100, 100),
    Quantity("wet_bulb_temperature", "degC", "CEL", "gauge", -100, 100),
    Quantity("mixing_ratio", "g/kg", "GK", "gauge", 0, 1000),
    Quantity("enthalpy", "kJ/kg", "B42", "gauge", -100, 3000),
    Quantity("altitude", "m", "MTR", "gauge", -500, 9000),
    Quantity("pressure", "hPa", "A97", "gauge", 500, 1155),
    Quantity("voc_index", "1", "C62", "gauge", 0, 500),
    Quantity("nox_index", "1", "C62", "gauge", 0, 500),
    Quantity("voc_ppb", "ppb", "61", "gauge", 0, 65_000),
    Quantity("voc_mass", "ug/m3", "GQ", "gauge", 0, 100_000),
    Quantity("voc_percent", "%", "P1", "gauge", 0, 100),
    Quantity("air_quality_index", "1", "C62", "gauge", 0, 1000),
    Quantity("gas_resistance", "kOhm", "B49", "gauge", 0, 1e6),
    Quantity("radon", "Bq/m3", "A19", "gauge", 0, 1e6),
    Quantity("radon_avg_24h", "Bq/m3", "A19", "gauge", 0, 1e6),
    Quantity("radon_avg_7d", "Bq/m3", "A19", "gauge", 0, 1e6),
    Quantity("radon_avg_30d", "Bq/m3", "A19", "gauge", 0, 1e6),
    Quantity("radon_avg_long", "Bq/m3", "A19", "gauge", 0, 1e6),
    Quantity("radiation_rate", "uSv/h", "P72", "gauge", 0, 1e6),
    Quantity("radiation_dose", "mSv", "C28", "counter", 0, 1e6),
    Quantity("sound_level", "dB", "2N", "gauge", 0, 194),
    Quantity("sound_level_min", "dB", "2N", "gauge", 0, 194),
    Quantity("sound_level_max", "dB", "2N", "gauge", 0, 194),
    Quantity("illuminance", "lx", "LUX", "gauge", 0, 200_000),
    Quantity("uv_index", "1", "C62", "gauge", 0, 50),
    Quantity("solar_radiation", "W/m2", "D54", "gauge", 0, 2000),
    Quantity("wind_speed", "m/s", "MTS", "gauge", 0, 100),
    Quantity("wind_gust_speed", "m/s", "MTS", "gauge", 0, 120),
    Quantity("wind_direction", "deg", "DD", "gauge", 0, 360),
    Quantity("wind_gust_direction", "deg", "DD", "gauge", 0, 360),
    Quantity("compass", "deg", "DD", "gauge", 0, 360),
    Quantity("precipitation", "mm", "MMT", "gauge", 0, 2000),
    Quantity("precipitation_total", "mm", "MMT", "counter", 0, None),
    Quantity("soil_moisture", "%", "P1", "gauge", 0, 100),
    Quantity("soil_conductivity", "uS/cm", "G42", "gauge", 0, 100_000),
    Quantity("motion_max", "1", "C62", "gauge", 0, None),
    Quantity("motion", "", "C62", "state"),
    Quantity("occupancy", "", "C62", "state"),
    Quantity("opening", "", "C62", "state"),
    Quantity("smoke", "", "C62", "state"),
    Quantity("moisture", "", "C62", "state"),
    Quantity("vibration", "", "C62", "state"),
    Quantity("tamper", "", "C62", "state"),
    Quantity("button", "", "C62", "state"),
    *(Quantity(f"button_{number}", "", "C62", "state") for number in range(2, 9)),  # those beside the first
    *(Quantity(f"temperature_{number}", "degC", "CEL", "gauge", -50, 85) for number in range(2, 9)),
    *(Quantity(f"relative_humidity_{number}", "%", "P1", "gauge", 0, 100) for number in range(2, 5)),
    *(Quantity(f"probe_temperature_{number}", "degC", "CEL", "gauge", -50, 400) for number in range(1, 7)),
    *_states("binary_state cold heat light light_level sound gas_alarm co_alarm problem connectivity lock moving"),
    *_states("plug running safety dimmer command channel"),
]

_BICYCLES = [
    Quantity("wheel_revolutions", "1", "C62", "counter", 0, None),
    Quantity("crank_revolutions", "1", "C62", "counter", 0, None),
    Quantity("speed", "km/h", "KMH", "gauge", 0, 120),
    Quantity("cadence", "1/min", "RPM", "gauge", 0, 250),
    Quantity("distance", "m", "MTR", "counter", 0, None),
    Quantity("rider_power", "W", "WTT", "gauge", -500, 3000),
    Quantity("rider_energy", "kJ", "KJO", "counter", 0, 1e6),
    Quantity("pedal_balance_left", "%", "P1", "gauge", 0, 100),
    Quantity("pedal_force_max", "N", "NEW", "gauge", -10_000, 10_000),
    Quantity("pedal_force_min", "N", "NEW", "gauge", -10_000, 10_000),
    Quantity("pedal_torque_max", "Nm", "NU", "gauge", -1000, 1000),
    Quantity("pedal_torque_min", "Nm", "NU", "gauge", -1000, 1000),
    Quantity("torque_accumulated", "Nm", "NU", "counter", 0, None),
    Quantity("crank_angle_max", "deg", "DD", "gauge", 0, 360),
    Quantity("crank_angle_min", "deg", "DD", "gauge", 0, 360),
    Quantity("top_dead_spot", "deg", "DD", "gauge", 0, 360),
    Quantity("bottom_dead_spot", "deg", "DD", "gauge", 0, 360),
    Quantity("swerve_count", "1", "C62", "counter", 0, None),
    Quantity("hard_braking_count", "1", "C62", "counter", 0, None),
    Quantity("impact_count", "1", "C62", "counter", 0, None),
    Quantity("impact_peak", "m/s2", "MSK", "gauge", 0, 2000),
    Quantity("deceleration_peak", "m/s2", "MSK", "gauge", 0, 50),
    Quantity("lateral_acceleration_peak", "m/s2", "MSK", "gauge", 0, 50),
    Quantity("surface_vibration", "m/s2", "MSK", "gauge", 0, 200),  # RMS of the vertical acceleration
    Quantity("speed_band", "", "C62", "state"),  # that the vibration was measured in
    Quantity("sensor_mount", "", "C62", "state"),  # where on the bicycle that was
    Quantity("event_duration", "s", "SEC", "gauge", 0, 60),
    Quantity("overtaker_distance", "m", "MTR", "gauge", 0, 10),
    Quantity("overtaker_side", "", "C62", "state"),
    Quantity("distance_left", "m", "MTR", "gauge", 0, 10),
    Quantity("distance_right", "m", "MTR", "gauge", 0, 10),
    Quantity("overtake_count", "1", "C62", "counter", 0, None),
    Quantity("bicycle_count", "1", "C62", "counter", 0, None),
    Quantity("bicycle_count_in", "1", "C62", "counter", 0, None),
    Quantity("bicycle_count_out", "1", "C62", "counter", 0, None),
    Quantity("position", "", "C62", "state"),
    Quantity("course", "deg", "DD", "gauge", 0, 360),
    Quantity("satellites", "1", "C62", "gauge", 0, 200),
    Quantity("hdop", "1", "C62", "gauge", 0, 100),
    Quantity("position_error", "m", "MTR", "gauge", 0, 10_000),  # horizontal, one standard deviation
]

_DEVICE = [
    *_numbered("pulse_count", "1", "C62", "counter"),
    *_numbered("pulse_frequency", "Hz", "HTZ", "gauge", 1e6),
    Quantity("count", "1", "C62", "counter", 0, None),
    Quantity("battery_voltage", "V", "VLT", "gauge", 0, 60),
    Quantity("battery_level", "%", "P1", "gauge", 0, 100),
    Quantity("battery_low", "", "C62", "state"),
    Quantity("supply_voltage", "V", "VLT", "gauge", 0, 400),
    Quantity("device_temperature", "degC", "CEL", "gauge", -80, 200),
    Quantity("rssi", "dBm", "DBM", "gauge", -127, 20),
    Quantity("uptime", "s", "SEC", "gauge", 0, None),
    Quantity("error_status", "", "C62", "state"),
    Quantity("alarm_status", "", "C62", "state"),
    Quantity("status", "", "C62", "state"),
    Quantity("serial_number", "", "C62", "state"),
    Quantity("firmware_version", "", "C62", "state"),
    Quantity("acceleration_x", "m/s2", "MSK", "gauge", -400, 400),
    Quantity("acceleration_y", "m/s2", "MSK", "gauge", -400, 400),
    Quantity("acceleration_z", "m/s2", "MSK", "gauge", -400, 400),
    Quantity("acceleration", "m/s2", "MSK", "gauge", -2000, 2000),
    Quantity("angular_velocity", "deg/s", "E96", "gauge", -10_000, 10_000),
    Quantity("rotation", "deg", "DD", "gauge", -3600, 3600),
    Quantity("rotational_speed", "1/min", "RPM", "gauge", 0, 100_000),
    Quantity("object_distance", "m", "MTR", "gauge", 0, 10_000),
    Quantity("duration", "s", "SEC", "gauge", 0, None),
    Quantity("mass", "kg", "KGM", "gauge", 0, 100_000),
    Quantity("stored_volume", "m3", "MTQ", "gauge", 0, 1e7),
    Quantity("movement_count", "1", "C62", "counter", 0, None),
    Quantity("power_state", "", "C62", "state"),
    Quantity("battery_charging", "", "C62", "state"),
    Quantity("consumable_level", "%", "P1", "gauge", 0, 100),
]

_OWN = [
    # appliances, from disaggregation
    Quantity("appliance_state", "", "C62", "state"),
    Quantity("confidence", "1", "C62", "gauge", 0, 1),
    Quantity("residual_power", "W", "WTT", "gauge", -3e6, 3e6),
    Quantity("provisional", "", "C62", "state"),
    Quantity("run_started", "", "C62", "state"),
    Quantity("run_ended", "", "C62", "state"),
    Quantity("run_energy", "kWh", "KWH", "gauge", 0, None),
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

QUANTITIES: dict[str, Quantity] = {
    row.name: row for row in (*_ELECTRICITY, *_HEAT_AND_WATER, *_AIR, *_BICYCLES, *_DEVICE, *_OWN)
}


def plausible(quantity: str, value: object) -> bool:
    """Whether a number lies in the range of its quantity; whatever is no number, or of no known quantity, does."""
    known = QUANTITIES.get(quantity)
    if known is None or isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return (known.low is None or value >= known.low) and (known.high is None or value <= known.high)


def by_phase(stem: str) -> dict[str, str]:
    """The quantity of each phase (``active_power_l1``: ``L1``, ...) of a stem that has some; else empty."""
    found = {f"{stem}_{phase}": phase.upper() for phase in PHASES}
    return found if found.keys() <= QUANTITIES.keys() else {}
