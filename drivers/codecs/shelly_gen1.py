"""Shelly devices of generation 1: one topic a value, and the document at ``/status``.

Source: Shelly Gen1 API documentation, chapters "MQTT support" and those of Shelly EM, 3EM, Plug S, 1PM, 2.5, H&T and
Door/Window. Topics lie below ``shellies/<id>/``. The energy of a relay is in watt-minutes and begins again at 0 after a
restart; that of an ``emeter`` is in Wh at ``total`` and stays. 999 stands for a sensor that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from drivers.base import Measurement
from drivers.codecs import json_paths
from drivers.errors import BadFrame
from drivers.quantities import PHASES
from drivers.template import Field

PREFIX = "shellies/"
TOPICS = ("+", "relay/#", "light/#", "roller/#", "emeter/#", "sensor/#", "ext_temperature/#", "ext_humidity/#")
_KWH = 0.001
_KWH_OF_WATT_MINUTES = 1 / 60_000
_NOT_THERE = 999
_ON_OFF = {"true": "on", "false": "off"}
_YES_NO = {"true": "true", "false": "false", "1": "true", "0": "false"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a device is meant: one ``channel`` of several, or None for the whole of it (its meters are phases then).

    ``ambient`` is True where its thermometer hangs in the room instead of minding the device's own heat.
    """

    channel: int | None = None
    ambient: bool = False


WHOLE = Choice()

_EMETER = (
    ("power", "active_power", 1.0),
    ("reactive_power", "reactive_power", 1.0),
    ("pf", "power_factor", 1.0),
    ("voltage", "voltage", 1.0),
    ("current", "current", 1.0),
    ("total", "energy_import", _KWH),
    ("total_returned", "energy_export", _KWH),
)
_METER: Mapping[str, tuple[str, float]] = MappingProxyType(
    {"power": ("active_power_total", 1.0), "energy": ("energy_import_total", _KWH_OF_WATT_MINUTES)}
)
_PLAIN: Mapping[str, Field] = MappingProxyType(
    {
        "voltage": Field("voltage_l1", "x"),
        "sensor/humidity": Field("relative_humidity", "x"),
        "sensor/battery": Field("battery_level", "x"),
        "sensor/lux": Field("illuminance", "x"),
        "sensor/state": Field("opening", "x", map={"open": "true", "close": "false"}),
        "sensor/motion": Field("motion", "x", map=_YES_NO),
        "sensor/vibration": Field("vibration", "x", map=_YES_NO),
        "sensor/smoke": Field("smoke", "x", map=_YES_NO),
        "sensor/flood": Field("moisture", "x", map=_YES_NO),
        "sensor/temperature": Field("temperature", "x"),
    }
)
_TOPIC = re.compile(
    r"(?P<kind>emeter|relay|light|roller|ext_temperature|ext_humidity)/(?P<number>[0-9]{1,2})(?:/(?P<value>\w+))?",
    re.ASCII,
)
_BELOW = re.compile(r"^shellies/[^/]+/(?P<rest>.+)$")
_MARKS = ("meters", "emeters", "wifi_sta", "relays", "lights", "rollers")  # members of a status


def below_prefix(topic: str) -> str | None:
    """What follows the device's prefix in a topic of generation 1, None for another topic."""
    found = _BELOW.match(topic)
    return None if found is None else found["rest"]


def decode(topic: str, payload: bytes, choice: Choice = WHOLE) -> tuple[Measurement, ...]:
    """Decode a message; ``topic`` is what follows the device's prefix. Other topics give (). Raises BadFrame."""
    field = _field(topic, choice)
    if field is None:
        return ()
    try:
        text = payload[:64].decode().strip()
    except UnicodeDecodeError:
        raise BadFrame(f"the value of {topic} is not text") from None
    return _sound(_measured(field, text, topic))


def decode_status(status: Mapping[str, Any], choice: Choice) -> tuple[Measurement, ...]:
    """Decode the document at ``/status``. Raises BadFrame where it is none."""
    if not any(mark in status for mark in _MARKS):
        raise BadFrame("not the status of a Shelly device")
    return _sound(complete(json_paths.measurements(status, tuple(_status_fields(status, choice)))))


def complete(measured: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """With the energies of three phases also their sum, which these devices do not state."""
    values = {one.quantity: one.value for one in measured}
    added = []
    for stem in ("energy_import", "energy_export"):
        phases = [values.get(f"{stem}_{phase}") for phase in PHASES]
        numbers = [phase for phase in phases if isinstance(phase, int | float)]
        if len(numbers) == len(PHASES) and f"{stem}_total" not in values:
            added.append(Measurement(f"{stem}_total", round(sum(numbers), 6)))
    return (*measured, *added)


def _measured(field: Field, text: str, topic: str) -> tuple[Measurement, ...]:
    value = json_paths.convert(text, field)
    if value is None and not field.map:
        raise BadFrame(f"the value of {topic} is not a number")
    return () if value is None else (Measurement(field.quantity, value),)


def _sound(measured: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    sensors = ("temperature", "relative_humidity")
    return tuple(one for one in measured if one.quantity not in sensors or one.value != _NOT_THERE)


def _field(topic: str, choice: Choice) -> Field | None:
    if topic == "temperature":
        return Field("temperature" if choice.ambient else "device_temperature", "x")
    if topic in _PLAIN:
        return _PLAIN[topic]
    parts = _TOPIC.fullmatch(topic)
    if parts is None:
        return None
    kind, number, value = parts["kind"], int(parts["number"]), parts["value"]
    if kind == "emeter":
        return next((row for row in _emeter(number, choice, "") if row.path == value), None)
    if number != (choice.channel or 0):
        return None
    if kind in ("relay", "light") and value is None:
        return Field("relay_state", "x", map={"on": "on", "off": "off"})
    if kind.startswith("ext_") and value is None:
        return Field("temperature" if kind == "ext_temperature" else "relative_humidity", "x")
    if kind.startswith("ext_") or value not in _METER:
        return None
    quantity, scale = _METER[value]
    return Field(quantity, "x", scale)


def _emeter(number: int, choice: Choice, prefix: str) -> Iterator[Field]:
    """The values of an ``emeter``: a phase of the whole device, or the chosen channel as a meter of its own."""
    if (choice.channel is None and number >= len(PHASES)) or choice.channel not in (None, number):
        return
    phase = "l1" if choice.channel is not None else PHASES[number]
    for key, stem, scale in _EMETER:
        part = "total" if choice.channel is not None and stem not in ("voltage", "current") else phase
        yield Field(f"{stem}_{part}", f"{prefix}{'reactive' if prefix and key == 'reactive_power' else key}", scale)


def _status_fields(status: Mapping[str, Any], choice: Choice) -> Iterator[Field]:
    number = choice.channel or 0
    for index, emeter in enumerate(_list(status, "emeters")):
        if _is_valid(emeter):
            yield from _emeter(index, choice, f"emeters[{index}].")
    if choice.channel is None:
        yield Field("active_power_total", "total_power")
    meters = _list(status, "meters")
    if number < len(meters) and _is_valid(meters[number]):
        yield Field("active_power_total", f"meters[{number}].power")
        yield Field("energy_import_total", f"meters[{number}].total", _KWH_OF_WATT_MINUTES)
    for kind in ("relays", "lights"):
        yield Field("relay_state", f"{kind}[{number}].ison", map=_ON_OFF)
    yield Field("temperature", f'ext_temperature["{number}"].tC')
    yield Field("relative_humidity", f'ext_humidity["{number}"].hum')
    if _is_valid(status.get("tmp")):
        yield Field("temperature" if choice.ambient else "device_temperature", "tmp.tC")
    if _is_valid(status.get("hum")):
        yield Field("relative_humidity", "hum.value")
    if _is_valid(status.get("lux")):
        yield Field("illuminance", "lux.value")
    yield Field("battery_level", "bat.value")
    yield Field("battery_voltage", "bat.voltage")
    yield Field("voltage_l1", "voltage")
    yield Field("rssi", "wifi_sta.rssi")


def _list(status: Mapping[str, Any], key: str) -> list[Any]:
    value = status.get(key)
    return value if isinstance(value, list) else []


def _is_valid(part: object) -> bool:
    return isinstance(part, dict) and part.get("is_valid", True) is not False
