"""OBIS codes of electricity to quantities: what P1, SML and D0 telegrams have in common.

Source: IEC 62056-6-1, 7 (value groups of electricity): group C names the quantity, D how it was processed (7: now,
8: counted, 4: mean of the running period, 6: greatest mean), E the tariff. Export is what flows to the grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from drivers.base import Measurement
from drivers.quantities import PHASES, QUANTITIES

# unit as meters write it -> unit of ``drivers.quantities`` and factor
UNITS: Mapping[str, tuple[str, Decimal]] = MappingProxyType(
    {
        "Wh": ("kWh", Decimal("0.001")),
        "kWh": ("kWh", Decimal(1)),
        "MWh": ("kWh", Decimal(1000)),
        "varh": ("kvarh", Decimal("0.001")),
        "kvarh": ("kvarh", Decimal(1)),
        "VAh": ("kVAh", Decimal("0.001")),
        "kVAh": ("kVAh", Decimal(1)),
        "W": ("W", Decimal(1)),
        "kW": ("W", Decimal(1000)),
        "MW": ("W", Decimal(1_000_000)),
        "var": ("var", Decimal(1)),
        "kvar": ("var", Decimal(1000)),
        "VA": ("VA", Decimal(1)),
        "kVA": ("VA", Decimal(1000)),
        "V": ("V", Decimal(1)),
        "A": ("A", Decimal(1)),
        "mA": ("A", Decimal("0.001")),
        "Hz": ("Hz", Decimal(1)),
        "deg": ("deg", Decimal(1)),
        "": ("1", Decimal(1)),
    }
)
TARIFFS = ("t1", "t2", "t3", "t4")
Stated = Mapping[str, tuple[Decimal, str]]  # code C.D.E -> value and unit as the meter states them
_Way = tuple[tuple[str, ...], tuple[str, ...]]  # codes to add, codes to take away


def _plain() -> dict[str, str]:
    """Code C.D.E -> quantity, for what is taken as the meter states it."""
    rows = {
        "16.8.0": "energy_net_total",
        "9.8.0": "apparent_energy_total",
        "9.7.0": "apparent_power_total",
        "1.4.0": "active_power_import_avg",
        "1.6.0": "active_power_import_peak",
        "13.7.0": "power_factor_total",
        "14.7.0": "frequency",
        "91.7.0": "current_n",
        "81.7.4": "phase_angle_l1",  # current against voltage of each phase
        "81.7.15": "phase_angle_l2",
        "81.7.26": "phase_angle_l3",
    }
    counted = {1: "energy_import", 2: "energy_export", 15: "energy_sum"}
    counted |= {3: "reactive_energy_import", 4: "reactive_energy_export"}
    for group, stem in counted.items():
        rows |= {f"{group}.8.{tariff}": f"{stem}_{part}" for tariff, part in enumerate(("total", *TARIFFS))}
    rows |= {f"{quadrant + 4}.8.0": f"reactive_energy_q{quadrant}" for quadrant in range(1, 5)}
    for number, phase in enumerate(PHASES):
        step = 20 * (number + 1)
        rows |= {f"{step + group}.8.0": f"{stem}_{phase}" for group, stem in counted.items()}
        rows |= {
            f"{step + 9}.7.0": f"apparent_power_{phase}",
            f"{step + 11}.7.0": f"current_{phase}",
            f"{step + 12}.7.0": f"voltage_{phase}",
            f"{step + 13}.7.0": f"power_factor_{phase}",
        }
    return rows


def _net() -> dict[str, tuple[_Way, ...]]:
    """Quantity -> ways to make it; the first that the meter offers counts."""
    rows: dict[str, tuple[_Way, ...]] = {
        "active_power_total": ((("16.7.0",), ()), (("1.7.0",), ("2.7.0",)), (("1.7.1",), ("2.7.1",))),
        "reactive_power_total": ((("3.7.0",), ("4.7.0",)), (("5.7.0", "6.7.0"), ("7.7.0", "8.7.0"))),
    }
    for number, phase in enumerate(PHASES):
        step = 20 * (number + 1)
        signed, drawn, given = (f"{step + group}.7.0" for group in (16, 1, 2))
        rows[f"active_power_{phase}"] = (((signed,), ()), ((drawn,), (given,)))
        rows[f"reactive_power_{phase}"] = (((f"{step + 3}.7.0",), (f"{step + 4}.7.0",)),)
    return rows


_PLAIN = MappingProxyType(_plain())
_NET = MappingProxyType(_net())


def measurements(stated: Stated) -> tuple[Measurement, ...]:
    """The quantities in what a meter states.

    Net power is what is drawn minus what is given back. A value in a unit that its quantity does not have is left out.
    """
    values: dict[str, Decimal] = {}
    for code, quantity in _PLAIN.items():
        value = _value(stated, code, QUANTITIES[quantity].unit)
        if value is not None:
            values[quantity] = value
    for stem in ("energy_import", "energy_export"):
        parts = [values[f"{stem}_{tariff}"] for tariff in TARIFFS if f"{stem}_{tariff}" in values]
        if f"{stem}_total" not in values and len(parts) > 1:
            values[f"{stem}_total"] = sum(parts, Decimal(0))
    for quantity, ways in _NET.items():
        value = _netted(stated, QUANTITIES[quantity].unit, ways)
        if value is not None:
            values[quantity] = value
    # the sum of the amounts in both directions is the net power only of a meter that counts one direction
    if "active_power_total" not in values and not any(code.startswith("2.") for code in stated):
        value = _value(stated, "15.7.0", "W")
        if value is not None:
            values["active_power_total"] = value
    return tuple(Measurement(quantity, float(value)) for quantity, value in values.items())


def _netted(stated: Stated, unit: str, ways: tuple[_Way, ...]) -> Decimal | None:
    for added, taken in ways:
        plus = [value for code in added if (value := _value(stated, code, unit)) is not None]
        minus = [value for code in taken if (value := _value(stated, code, unit)) is not None]
        if len(plus) == len(added):
            return sum(plus, Decimal(0)) - sum(minus, Decimal(0))
    return None


def _value(stated: Stated, code: str, unit: str) -> Decimal | None:
    if code not in stated:
        return None
    value, written = stated[code]
    known, factor = UNITS.get(written, ("", Decimal(0)))
    return value * factor if known == unit else None
