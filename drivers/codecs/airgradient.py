"""AirGradient monitors: the answer of their local API, ``GET /measures/current``.

Source: AirGradient firmware, docs/local-server.md. Values that are corrected by the monitor are preferred where it has
them: ``pm02Compensated`` (humidity, EPA), ``atmpCompensated`` and ``rhumCompensated`` (warmth of the case). Counts are
of particles above 0.3 ... 10 um in 0.1 l. For a while after power-up members are missing, null or 0, and so are the
corrected ones while the plain ones are there: a humidity, a CO2, an index of 0, and dust of 0 without a single particle
counted, mean "no value". Negative ones mean that the sensor is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from drivers.base import Measurement
from drivers.codecs import json_paths
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

PATH = "/measures/current"
_MASSES = {"pm01": "pm1", "pm10": "pm10"}
_COUNTS = {
    "pm003Count": "particles_03um",
    "pm005Count": "particles_05um",
    "pm01Count": "particles_1um",
    "pm02Count": "particles_25um",
    "pm50Count": "particles_5um",
    "pm10Count": "particles_10um",
}
_POSITIVE = {"rco2": "co2", "tvocIndex": "voc_index", "noxIndex": "nox_index"}
_PER_CM3 = 100  # counts are of 0.1 l
_CELSIUS_NONE = -100  # -1000 and the like: no sensor

Numbers = Mapping[str, float | int]


def decode(data: bytes) -> tuple[Measurement, ...]:
    """The measurements of one answer; none while the monitor has just been switched on. Raises BadFrame."""
    document = json_paths.parse(data)
    if not isinstance(document, dict) or not isinstance(document.get("serialno"), str) or "wifi" not in document:
        raise BadFrame("not the measures of an AirGradient monitor")
    numbers = {key: value for key, raw in document.items() if (value := json_paths.number(raw)) is not None}
    return tuple(_measurements(numbers))


def decode_frame(data: bytes, _hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one captured answer. Raises BadFrame."""
    return decode(data)


def _measurements(numbers: Numbers) -> Iterator[Measurement]:
    for key, quantity in _POSITIVE.items():
        if numbers.get(key, 0) > 0:
            yield Measurement(quantity, numbers[key])
    corrected = numbers.get("rhumCompensated", 0) > 0
    yield from _dust(numbers)
    humidity = numbers["rhumCompensated"] if corrected else numbers.get("rhum", 0)
    celsius = numbers.get("atmpCompensated" if corrected and "atmpCompensated" in numbers else "atmp")
    if humidity > 0:
        yield Measurement("relative_humidity", humidity)
    if celsius is not None and celsius > _CELSIUS_NONE and (celsius or humidity > 0):
        yield Measurement("temperature", celsius)
    if numbers.get("wifi", 0) < 0:
        yield Measurement("rssi", numbers["wifi"])


def _dust(numbers: Numbers) -> Iterator[Measurement]:
    fine = numbers.get("pm02", -1)
    if not any(numbers.get(key, 0) > 0 for key in ("pm01", "pm02", "pm10", "pm003Count")):
        return  # not a single particle: it has not begun to measure
    if fine >= 0:
        better = numbers.get("pm02Compensated", 0)
        yield Measurement("pm25", better if better > 0 else fine)
    for key, quantity in _MASSES.items():
        if numbers.get(key, -1) >= 0:
            yield Measurement(quantity, numbers[key])
    for key, quantity in _COUNTS.items():
        if numbers.get(key, -1) >= 0:
            yield Measurement(quantity, round(numbers[key] / _PER_CM3, 4))
