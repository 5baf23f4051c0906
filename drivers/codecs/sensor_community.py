"""Sensor.Community stations (airRohr firmware): the JSON that they push and serve.

Source: airRohr firmware, "Custom API" and ``data.json``: an object with ``sensordatavalues``, a list of objects with
``value_type`` and ``value``, which is text. To a custom API all values go in one message, with the name of the sensor
before that of the value (``SDS_P1``, ``BME280_pressure``), to the project's own servers in one message a sensor,
without it (``P1``). P1 is PM10, P2 is PM2.5, P0 is PM1, P4 is PM4; pressure is in Pa; ``signal`` is that of the WLAN
in dBm. Where two sensors measure the same, the better one counts, in the order of ``_CLIMATE``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from drivers.base import Measurement
from drivers.codecs import json_paths
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

VALUES_MAX = 100
SENDER = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_CLIMATE = ("SHT3X", "BME280", "HTU21D", "SCD30", "BMP280", "BMP", "DHT22", "DHT", "DS18B20", "")
_DUST = ("SDS", "PMS", "HPM", "NPM", "IPS", "SPS30", "PPD", "")
_PER_SENSOR = {
    "P0": "pm1",
    "P1": "pm10",
    "P2": "pm25",
    "P4": "pm4",
    "temperature": "temperature",
    "humidity": "relative_humidity",
    "pressure": "pressure",
    "co2_ppm": "co2",
}
_DNMS = {"noise_LAeq": "sound_level", "noise_LA_min": "sound_level_min", "noise_LA_max": "sound_level_max"}
_SPS30 = {f"N{size}": f"particles_to_{size}um" for size in ("05", "1", "25", "4", "10")} | {"TS": "particle_size"}
# what the firmware writes where a sensor gave nothing
_NONE = {"temperature": -127.0, "relative_humidity": -1.0, "pressure": -1.0}


def _names() -> dict[str, str]:
    """Quantities by value type; of one quantity the better source comes first."""
    names: dict[str, str] = {}
    for kind, quantity in _PER_SENSOR.items():
        for sensor in _DUST if kind.startswith("P") else _CLIMATE:
            names[f"{sensor}_{kind}" if sensor else kind] = quantity
    for kind, quantity in _DNMS.items():
        names |= {f"DNMS_{kind}": quantity, kind: quantity}
    return names | {f"SPS30_{kind}": quantity for kind, quantity in _SPS30.items()} | {"signal": "rssi"}


_NAMES = _names()


def decode(data: bytes) -> tuple[Measurement, ...]:
    """The measurements of one message. Raises BadFrame."""
    values = dict(_values(_message(data)))
    found: dict[str, float | int] = {}
    for kind, quantity in _NAMES.items():
        value = values.get(kind)
        if value is None or quantity in found or _is_none(quantity, value):
            continue
        found[quantity] = round(value / 100, 4) if quantity == "pressure" else value
    return tuple(Measurement(quantity, value) for quantity, value in found.items())


def sender(data: bytes) -> str:
    """The id that the message itself states; empty where it states none. Raises BadFrame."""
    message = _message(data)
    for key in ("esp8266id", "esp32id", "raspiid"):
        stated = message.get(key)
        if isinstance(stated, str | int) and SENDER.fullmatch(str(stated)):
            return str(stated)
    return ""


def decode_frame(data: bytes, _hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one captured message. Raises BadFrame."""
    return decode(data)


def _message(data: bytes) -> dict[str, object]:
    message = json_paths.parse(data)
    if not isinstance(message, dict) or not isinstance(message.get("sensordatavalues"), list):
        raise BadFrame("not a message of a Sensor.Community station: no list `sensordatavalues`")
    return message


def _values(message: dict[str, object]) -> Iterator[tuple[str, float | int]]:
    rows = message["sensordatavalues"]
    assert isinstance(rows, list)
    if len(rows) > VALUES_MAX:
        raise BadFrame(f"{len(rows)} values in one message; at most {VALUES_MAX} are taken")
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("value_type"), str) or "value" not in row:
            raise BadFrame("an entry of `sensordatavalues` without `value_type` and `value`")
        value = json_paths.number(_bare(row["value"]))
        if value is not None:
            yield row["value_type"], value


def _bare(value: object) -> object:
    """Some firmware writes the unit of the signal behind it: ``-82 dBm``."""
    return value.removesuffix("dBm") if isinstance(value, str) else value


def _is_none(quantity: str, value: float) -> bool:
    return value <= _NONE.get(quantity, -1.0) if quantity != "rssi" else value >= 0
