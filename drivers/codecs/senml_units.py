"""The units of SenML and how they become ours.

Sources: IANA registry "SenML Units" (RFC 8428, 12.1) and "Secondary Units" (RFC 8798, 9.2). A unit is a dimension, a
factor and an offset: ``value in the dimension's base = value x factor + offset``. Our own units (drivers.quantities)
stand in the same table, so that a value goes from any unit to any other of its dimension, and to no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from drivers.quantities import Quantity

_DIGITS = 12  # of a converted value: what binary fractions add behind is no information

_TABLE: dict[str, dict[str, tuple[float, float]]] = {
    "length": {"m": (1, 0), "mm": (1e-3, 0), "cm": (1e-2, 0), "km": (1e3, 0), "um": (1e-6, 0)},
    "mass": {"kg": (1, 0), "g": (1e-3, 0)},
    "time": {"s": (1, 0), "ms": (1e-3, 0), "min": (60, 0), "h": (3600, 0)},
    "current": {"A": (1, 0), "mA": (1e-3, 0)},
    "temperature": {"K": (1, 0), "Cel": (1, 273.15), "degC": (1, 273.15)},
    "frequency": {"Hz": (1, 0), "MHz": (1e6, 0), "1/s": (1, 0), "1/min": (1 / 60, 0)},
    "angle": {"deg": (1, 0), "rad": (180 / math.pi, 0)},
    "pressure": {"Pa": (1, 0), "hPa": (100, 0), "bar": (1e5, 0)},
    "energy": {"J": (1, 0), "kJ": (1e3, 0), "Wh": (3600, 0), "kWh": (3.6e6, 0)},
    "power": {"W": (1, 0), "kW": (1e3, 0)},
    "apparent power": {"VA": (1, 0), "kVA": (1e3, 0)},
    "apparent energy": {"VAs": (1, 0), "kVAh": (3.6e6, 0)},
    "reactive power": {"var": (1, 0), "kvar": (1e3, 0)},
    "reactive energy": {"vars": (1, 0), "varh": (3600, 0), "kvarh": (3.6e6, 0)},
    "voltage": {"V": (1, 0), "mV": (1e-3, 0)},
    "resistance": {"Ohm": (1, 0), "kOhm": (1e3, 0)},
    "illuminance": {"lx": (1, 0)},
    "dose": {"Sv": (1, 0), "mSv": (1e-3, 0)},
    "dose rate": {"uSv/h": (1, 0)},
    "activity": {"Bq/m3": (1, 0)},
    "volume": {"m3": (1, 0), "l": (1e-3, 0)},
    "flow": {"m3/s": (1, 0), "l/s": (1e-3, 0), "m3/h": (1 / 3600, 0)},
    "speed": {"m/s": (1, 0), "km/h": (1 / 3.6, 0), "m/h": (1 / 3600, 0)},
    "acceleration": {"m/s2": (1, 0)},
    "force": {"N": (1, 0)},
    "irradiance": {"W/m2": (1, 0)},
    "density": {"kg/m3": (1, 0), "g/m3": (1e-3, 0), "mg/m3": (1e-6, 0), "ug/m3": (1e-9, 0)},
    "number density": {"1/cm3": (1, 0)},
    "conductivity": {"S/m": (1, 0), "uS/cm": (1e-4, 0)},
    "ratio": {
        **dict.fromkeys(("%", "%RH", "%EL", "/100"), (1e-2, 0)),
        **{"/": (1, 0), "/1000": (1e-3, 0), "ppm": (1e-6, 0), "ppb": (1e-9, 0)},
    },
    "count": {"count": (1, 0)},
    "level": {"dB": (1, 0), "Bspl": (10, 0)},
    "signal": {"dBm": (1, 0), "dBW": (1, 30)},
    "enthalpy": {"kJ/kg": (1, 0)},
    "mixing": {"g/kg": (1, 0)},
    "latitude": {"lat": (1, 0)},
    "longitude": {"lon": (1, 0)},
}
_UNITS: Mapping[str, tuple[str, float, float]] = MappingProxyType(
    {unit: (dimension, *line) for dimension, units in _TABLE.items() for unit, line in units.items()}
)
_SUMS = {  # the dimension of a sum over time: value x second (RFC 8428, 4.2)
    "power": "energy",
    "apparent power": "apparent energy",
    "reactive power": "reactive energy",
    "flow": "volume",
    "speed": "length",
}


def known(unit: str) -> bool:
    """Whether the registry, as far as it is here, has that unit."""
    return unit in _UNITS


def convert(value: float | int, unit: str, quantity: Quantity, *, summed: bool = False) -> float | int | None:
    """``value`` in the unit of the quantity; None where ``unit`` (times second for a sum) is another dimension's."""
    dimension, factor, offset = _UNITS.get(unit, ("", 0.0, 0.0))
    if summed:
        dimension = _SUMS.get(dimension, "")
    if quantity.unit == "1":
        wanted = ("count",) if quantity.kind == "counter" else ("count", "ratio")
        own_factor, own_offset = 1.0, 0.0
    else:
        own, own_factor, own_offset = _UNITS.get(quantity.unit, ("none", 1.0, 0.0))
        wanted = (own,)
        if quantity.unit == "K":  # ours is a difference, and so is what the sender means, whatever its zero
            offset = 0.0
    if dimension not in wanted:
        return None
    if factor == own_factor and offset == own_offset:
        return value
    return float(f"{(value * factor + offset - own_offset) / own_factor:.{_DIGITS}g}")
