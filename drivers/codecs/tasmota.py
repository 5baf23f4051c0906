"""Tasmota: what a device tells at ``tele/<topic>/SENSOR`` and ``STATE``, and in its answers to Status 8, 10 and 11.

Sources: Tasmota documentation, "MQTT", "Commands" (TelePeriod, Status), "Sensors" and the supported peripherals. Energy
values are a number, or a list of one a phase. ``Time`` is local without a zone and never believed. Temperatures come in
the unit that ``TempUnit`` names, pressures in that of ``PressureUnit``. eCO2 is an estimate from other gases and is
left out, and so is the temperature of CO2 sensors that measure only their own warmth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from drivers.base import Measurement
from drivers.codecs import json_paths
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame
from drivers.quantities import PHASES
from drivers.template import Field

Fields = tuple[Field, ...]

COUNTERS = 4
_ON_OFF = {"ON": "on", "OFF": "off"}
_ENERGY_KEYS = (
    ("Voltage", "voltage"),
    ("Current", "current"),
    ("Power", "active_power"),
    ("ApparentPower", "apparent_power"),
    ("ReactivePower", "reactive_power"),
    ("Factor", "power_factor"),
    ("ImportActive", "energy_import"),
    ("Total", "energy_import"),
    ("ExportActive", "energy_export"),
)
_OF_A_PHASE = ("voltage", "current")  # a single number of these is that of phase 1, of the others the total
_DIRECT: Fields = (Field("dc_voltage", "Voltage"), Field("dc_current", "Current"), Field("dc_power", "Power"))
_WHOLE: Fields = (Field("frequency", "Frequency"), Field("energy_today", "Today"))

# unit -> (scale, offset) to degC and hPa; mmHg and inHg of 0 degC (NIST SP 811, B.8)
_TEMPERATURE = {"C": (1.0, 0.0), "F": (5 / 9, -160 / 9)}
_PRESSURE = {"hPa": (1.0, 0.0), "mmHg": (1.333224, 0.0), "inHg": (33.86389, 0.0)}

_DUST: Fields = (
    *(Field("pm1", key) for key in ("PM1", "PM1_0")),
    *(Field("pm25", key) for key in ('["PM2.5"]', "PM2_5")),
    *(Field("pm4", key) for key in ("PM4", "PM4_0")),
    Field("pm10", "PM10"),
)
_CO2: Fields = (Field("co2", "CarbonDioxide"),)
_COUNTS: Fields = tuple(Field(f"pulse_count_{n}", f"C{n}") for n in range(1, COUNTERS + 1))

# (kinds of sensor, whether they measure the climate around them, what else they measure), best first: of two kinds that
# measure the same the first counts
_KINDS: tuple[tuple[str, bool, Fields], ...] = (
    ("SCD30 SCD40 SCD41", True, _CO2),
    ("SEN5X", True, (*_DUST, Field("voc_index", "VOC"), Field("nox_index", "NOx"))),
    ("BME680 BME688", True, (Field("gas_resistance", "Gas"),)),
    ("BME280 BMP280 BMP180 BMP388 MS5611 LPS35HW", True, ()),
    ("SHT1X SHT3X SHT4X SHTC3 HDC1080 HDC2010 HTU21 SI7013 SI7020 SI7021", True, ()),
    ("AHT1X AHT2X AM2301 DHT11 DHT12 DHT22 DS18B20 DS18S20 MCP9808 LM75AD TMP117", True, ()),
    ("MHZ19B MHZ19 S8 CM11 T67XX", False, _CO2),
    ("PMS5003 PMSX003 PMS3003 PMS7003 SDS0X1 HPMA SPS30 VINDRIKTNING", False, _DUST),
    ("BH1750 VEML7700 TSL2561 TSL2591 MAX44009", False, (Field("illuminance", "Illuminance"),)),
    ("CCS811 SGP30", False, (Field("voc_ppb", "TVOC"),)),
    ("COUNTER", False, _COUNTS),
)
_SENSORS: Mapping[str, tuple[bool, Fields]] = MappingProxyType(
    {kind: (climate, fields) for kinds, climate, fields in _KINDS for kind in kinds.split()}
)
_OWN_WARMTH = ("ESP32", "ESP8266")
_STATE: Fields = (
    *(Field("relay_state", key, map=_ON_OFF) for key in ("POWER", "POWER1")),
    Field("rssi", "Wifi.Signal"),
)
_MESSAGES = ("SENSOR", "STATE", "STATUS8", "STATUS10", "STATUS11")
_TOPIC = re.compile(r"(?:^|/)(SENSOR|STATE|STATUS8|STATUS10|STATUS11)$")


def decode(topic: str, payload: bytes, sensor: str = "") -> tuple[Measurement, ...]:
    """Decode a message; ``topic`` is its last level, such as SENSOR. Others give (). Raises BadFrame.

    ``sensor`` names the one sensor that counts, as it stands in the message ("DS18B20-1"); without it all do.
    """
    if topic not in _MESSAGES:
        return ()
    document = json_paths.parse(payload)
    if not isinstance(document, dict):
        raise BadFrame("a message that is not an object")
    inner = next((document[key] for key in ("StatusSNS", "StatusSTS") if isinstance(document.get(key), dict)), document)
    if topic == "STATE" or inner is document.get("StatusSTS"):
        return json_paths.measurements(inner, _STATE)
    return _sensors(inner, sensor)


def decode_frame(data: bytes, hints: Hints, sensor: str = "") -> tuple[Measurement, ...]:
    """See drivers.codecs.framing.DecodeFrame; without a topic only what holds a sensor that is known here is taken."""
    topic = _TOPIC.search(hints.topic)
    if hints.topic and topic is None:
        raise BadFrame(f"{hints.topic!r} is no topic of a Tasmota device")
    found = decode(topic[1] if topic else "SENSOR", data, sensor)
    if not found and not topic:
        raise BadFrame("no sensor of a Tasmota device in it")
    return found


def _sensors(document: dict[str, Any], chosen: str) -> tuple[Measurement, ...]:
    found: dict[str, Measurement] = {}
    energy = document.get("ENERGY")
    if isinstance(energy, dict) and chosen in ("", "ENERGY"):
        found |= {one.quantity: one for one in _energy(energy)}
    blocks = [name for name, values in document.items() if isinstance(values, dict)]
    for kind, (climate, fields) in _SENSORS.items():
        named = [name for name in blocks if _kind(name) == kind and chosen in ("", name)]
        if len(named) > 1:
            raise BadFrame(f"several sensors of a kind: {', '.join(sorted(named))}; name one in the option `sensor`")
        for name in named:
            around = _climate(document) if climate else ()
            for one in json_paths.measurements(document[name], (*fields, *around)):
                found.setdefault(one.quantity, one)
    if not chosen:
        warmth = (Field("device_temperature", f"{name}.Temperature", *_unit(document)) for name in _OWN_WARMTH)
        found |= {one.quantity: one for one in json_paths.measurements(document, warmth)}
    return tuple(found.values())


def _kind(name: str) -> str:
    """The kind of a sensor: several of one kind are told apart by an index or address behind a separator."""
    return re.split(r"[-_]", name, maxsplit=1)[0].upper()


def _climate(document: dict[str, Any]) -> Iterator[Field]:
    yield Field("temperature", "Temperature", *_unit(document))
    yield Field("dew_point", "DewPoint", *_unit(document))
    yield Field("relative_humidity", "Humidity")
    pressure = document.get("PressureUnit", "hPa")
    if isinstance(pressure, str) and pressure in _PRESSURE:
        yield Field("pressure", "Pressure", *_PRESSURE[pressure])


def _unit(document: dict[str, Any]) -> tuple[float, float]:
    unit = document.get("TempUnit", "C")
    if not isinstance(unit, str) or unit not in _TEMPERATURE:
        raise BadFrame(f"temperatures in {unit!r}, which is no unit of Tasmota")
    return _TEMPERATURE[unit]


def _energy(energy: dict[str, Any]) -> Iterator[Measurement]:
    """A meter of direct current states neither power factor nor apparent power."""
    if "Factor" not in energy and "ApparentPower" not in energy:
        yield from json_paths.measurements(energy, _DIRECT)
        yield from json_paths.measurements(energy, (Field("energy_import_total", "Total"),))
        return
    fields: list[Field] = []
    for key, stem in _ENERGY_KEYS:
        values = energy.get(key)
        if isinstance(values, list):
            if len(values) > len(PHASES):
                raise BadFrame(f"{len(values)} values of {key}: more than phases")
            fields += [Field(f"{stem}_{phase}", f"{key}[{i}]") for i, phase in enumerate(PHASES[: len(values)])]
        else:
            fields.append(Field(f"{stem}_{'l1' if stem in _OF_A_PHASE else 'total'}", key))
    yield from json_paths.measurements(energy, (*fields, *_WHOLE))
