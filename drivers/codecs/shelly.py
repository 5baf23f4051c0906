"""Shelly devices: status messages of generation 2 and later, and what both generations have in common.

Sources: Shelly Gen2+ API documentation, chapters "MQTT" and the "Status" of each component: JSON at
``<prefix>/status/<component>``, and partial or full statuses of several components in ``<prefix>/events/rpc``
(NotifyStatus, NotifyFullStatus) and in the answer to Shelly.GetStatus. Energies are in Wh there; null means that the
device has no such value. Generation 1: ``drivers.codecs.shelly_gen1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from drivers.base import Measurement
from drivers.codecs import json_paths, shelly_gen1
from drivers.codecs.framing import Hints
from drivers.codecs.shelly_gen1 import WHOLE, Choice
from drivers.errors import BadFrame
from drivers.quantities import PULSE_INPUTS
from drivers.template import Field

__all__ = ["WHOLE", "Choice", "decode", "decode_frame", "decode_status"]

Fields = tuple[Field, ...]

ADD_ON = 100  # sensors at the sensor add-on are numbered from here
_KWH = 0.001
_ON_OFF = {"true": "on", "false": "off"}
_EM_KEYS = (
    ("voltage", "voltage"),
    ("current", "current"),
    ("act_power", "active_power"),
    ("aprt_power", "apparent_power"),
    ("pf", "power_factor"),
)


def _em() -> Fields:
    phases = (("a", "l1"), ("b", "l2"), ("c", "l3"))
    return (
        *(Field(f"{stem}_{phase}", f"{letter}_{key}") for letter, phase in phases for key, stem in _EM_KEYS),
        Field("frequency", "a_freq"),
        Field("current_n", "n_current"),
        Field("current_total", "total_current"),
        Field("active_power_total", "total_act_power"),
        Field("apparent_power_total", "total_aprt_power"),
    )


def _em_data() -> Fields:
    parts = (("a_", "l1"), ("b_", "l2"), ("c_", "l3"))
    return (
        *(Field(f"energy_import_{phase}", f"{letter}total_act_energy", _KWH) for letter, phase in parts),
        *(Field(f"energy_export_{phase}", f"{letter}total_act_ret_energy", _KWH) for letter, phase in parts),
        Field("energy_import_total", "total_act", _KWH),
        Field("energy_export_total", "total_act_ret", _KWH),
    )


def _em1(part: str, phase: str) -> Fields:
    """A meter of one phase: of its own (``total``, l1), or one of three in a device ("monophase" profile)."""
    rows = (Field(f"{stem}_{phase if stem in ('voltage', 'current') else part}", key) for key, stem in _EM_KEYS)
    return (*rows, Field("frequency", "freq"))


def _em1_data(part: str) -> Fields:
    return (
        Field(f"energy_import_{part}", "total_act_energy", _KWH),
        Field(f"energy_export_{part}", "total_act_ret_energy", _KWH),
    )


_METERED: Fields = (
    Field("active_power_total", "apower"),
    Field("apparent_power_total", "aprtpower"),
    Field("voltage_l1", "voltage"),
    Field("current_l1", "current"),
    Field("power_factor_total", "pf"),
    Field("frequency", "freq"),
    Field("energy_import_total", "aenergy.total", _KWH),
    Field("energy_export_total", "ret_aenergy.total", _KWH),
    Field("device_temperature", "temperature.tC"),
)
_COMPONENTS: Mapping[str, Fields] = MappingProxyType(
    {
        "em": _em(),
        "emdata": _em_data(),
        "em1": _em1("total", "l1"),
        "em1data": _em1_data("total"),
        "switch": (*_METERED, Field("relay_state", "output", map=_ON_OFF)),
        "pm1": _METERED,
        "cover": _METERED,
        "light": (*_METERED, Field("relay_state", "output", map=_ON_OFF)),
        "humidity": (Field("relative_humidity", "rh"),),
        "illuminance": (Field("illuminance", "lux"),),
        "devicepower": (Field("battery_voltage", "battery.V"), Field("battery_level", "battery.percent")),
        "smoke": (Field("smoke", "alarm"),),
        "flood": (Field("moisture", "alarm"),),
        "thermostat": (Field("room_temperature", "current_C"), Field("room_setpoint", "target_C")),
    }
)
_PHASES = tuple({"em1": _em1(p, p), "em1data": _em1_data(p)} for p in ("l1", "l2", "l3"))
_SINGLE: Mapping[str, Fields] = MappingProxyType({"wifi": (Field("rssi", "rssi"),)})  # one of them in a device
_AMBIENT: Fields = (Field("temperature", "tC"),)
_INTERNAL: Fields = (Field("device_temperature", "tC"),)

_NAME = re.compile(r"(?P<kind>[a-z][a-z0-9_]*)(?::(?P<number>[0-9]{1,5}))?", re.ASCII)
_BELOW = re.compile(r"(?:^|/)(?P<rest>status/[a-z0-9_]+(?::[0-9]{1,5})?|events/rpc)$", re.ASCII)
# members that together only one kind of component has: what a status without its topic is told by
_SIGNATURES = (
    ("em", {"id", "total_act_power", "a_act_power"}),
    ("emdata", {"id", "total_act", "total_act_ret"}),
    ("em1", {"id", "act_power", "aprt_power"}),
    ("em1data", {"id", "total_act_energy", "total_act_ret_energy"}),
    ("switch", {"id", "apower", "output", "aenergy"}),
    ("pm1", {"id", "apower", "aenergy"}),
)


def decode(topic: str, payload: bytes, choice: Choice = WHOLE) -> tuple[Measurement, ...]:
    """Decode a message of any generation; ``topic`` is what follows the device's prefix. Raises BadFrame.

    What is no measurement gives ().
    """
    if topic == "events/rpc":
        document = _object(payload)
        if document.get("method") not in ("NotifyStatus", "NotifyFullStatus"):
            return ()
        return _statuses(_member(document, "params"), choice)
    if topic.startswith("status/"):
        return _component(topic.removeprefix("status/"), _object(payload), choice)
    return shelly_gen1.decode(topic, payload, choice)


def decode_status(document: Mapping[str, Any], choice: Choice | None = None) -> tuple[Measurement, ...]:
    """Decode a full status: Shelly.GetStatus, or ``/status`` of generation 1. Raises BadFrame where it is none.

    Without a ``choice`` the temperature beside a humidity is that of the room, else the device's own.
    """
    if isinstance(document.get("sys"), dict) or any(_is_component(key) for key in document):
        return _statuses(document, choice or Choice(ambient="humidity:0" in document))
    return shelly_gen1.decode_status(document, choice or Choice(ambient="hum" in document))


def below_prefix(topic: str) -> str | None:
    """What follows the device's prefix in a topic of any generation, None for another topic."""
    found = _BELOW.search(topic)
    return shelly_gen1.below_prefix(topic) or (found["rest"] if found else None)


def decode_frame(data: bytes, hints: Hints, choice: Choice = WHOLE) -> tuple[Measurement, ...]:
    """See drivers.codecs.framing.DecodeFrame; without a topic only statuses that name themselves are taken."""
    if hints.topic:
        rest = below_prefix(hints.topic)
        if rest is None:
            raise BadFrame(f"{hints.topic!r} is no topic of a Shelly device")
        return decode(rest, data, choice)
    document = _object(data)
    if document.get("method") in ("NotifyStatus", "NotifyFullStatus"):
        return decode("events/rpc", data, choice)
    for kind, members in _SIGNATURES:
        if document.keys() >= members:
            return _component(f"{kind}:{document['id']}", document, choice)
    result = document.get("result")
    return decode_status(result if isinstance(result, dict) else document, None if choice == WHOLE else choice)


def _object(payload: bytes) -> dict[str, Any]:
    document = json_paths.parse(payload)
    if not isinstance(document, dict):
        raise BadFrame("a status that is not an object")
    return document


def _member(document: dict[str, Any], key: str) -> dict[str, Any]:
    member = document.get(key)
    if not isinstance(member, dict):
        raise BadFrame(f"a notification without {key}")
    return member


def _is_component(key: str) -> bool:
    name = _NAME.fullmatch(key)
    return name is not None and name["number"] is not None and (name["kind"] in _COMPONENTS or name["kind"] == "script")


def _statuses(document: Mapping[str, Any], choice: Choice) -> tuple[Measurement, ...]:
    """The first component that has a quantity wins, so that a document says each one once."""
    found: dict[str, Measurement] = {}
    for key, status in document.items():
        if isinstance(status, dict):
            for one in _component(key, status, choice):
                found.setdefault(one.quantity, one)
    return tuple(found.values())


def _component(name: str, status: dict[str, Any], choice: Choice) -> tuple[Measurement, ...]:
    parts = _NAME.fullmatch(name)
    if parts is None:
        return ()
    if parts["number"] is None:
        return json_paths.measurements(status, _SINGLE.get(parts["kind"], ()))
    return json_paths.measurements(status, _fields(parts["kind"], int(parts["number"]), choice))


def _fields(kind: str, number: int, choice: Choice) -> Fields:
    whole = choice.channel is None
    if kind == "input":
        return (Field(f"pulse_count_{number + 1}", "counts.total"),) if number < PULSE_INPUTS else ()
    if whole and kind in ("em1", "em1data"):
        return _PHASES[number][kind] if number < len(_PHASES) else ()
    if number != (choice.channel or 0) and not (whole and number == ADD_ON):
        return ()
    if kind == "temperature":
        return _AMBIENT if choice.ambient or number >= ADD_ON else _INTERNAL
    return _COMPONENTS.get(kind, ())
