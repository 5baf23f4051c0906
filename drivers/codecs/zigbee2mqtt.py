"""zigbee2mqtt: the state of a device at ``<base topic>/<friendly name>``, one JSON object.

Source: zigbee2mqtt documentation, "MQTT topics and messages" and "Exposes": generic property names with their units. Of
properties whose unit differs from device to device (voc, hcho, formaldehyd) none is taken: a template of protocol
mqtt-json can say what they are. The form with one topic a property (``output: attribute``) is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivers.base import Measurement
from drivers.codecs import json_paths
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame
from drivers.template import Field

Fields = tuple[Field, ...]

BASE = "zigbee2mqtt/"
_BRIDGE = "bridge"
_MILLIVOLT = 0.001
_MARKS = ("linkquality", "last_seen")  # members that zigbee2mqtt adds to every state

_GENERIC: Fields = (
    Field("temperature", "temperature"),
    Field("relative_humidity", "humidity"),
    Field("pressure", "pressure"),
    Field("co2", "co2"),
    Field("pm1", "pm1"),
    Field("pm25", "pm25"),
    Field("pm10", "pm10"),
    Field("voc_index", "voc_index"),
    Field("illuminance", "illuminance_lux"),  # version 1: `illuminance` is a raw value beside it
    Field("illuminance", "illuminance"),
    Field("soil_moisture", "soil_moisture"),
    Field("occupancy", "occupancy"),
    Field("occupancy", "presence"),
    Field("opening", "contact", map={"true": "false", "false": "true"}),
    Field("moisture", "water_leak"),
    Field("smoke", "smoke"),
    Field("vibration", "vibration"),
    Field("tamper", "tamper"),
    Field("battery_low", "battery_low"),
    Field("battery_level", "battery"),
    Field("device_temperature", "device_temperature"),
    Field("relay_state", "state", map={"ON": "on", "OFF": "off"}),
    Field("room_temperature", "local_temperature"),
    Field("room_setpoint", "occupied_heating_setpoint"),
    Field("room_setpoint", "current_heating_setpoint"),
    Field("heating_output", "pi_heating_demand"),
    Field("energy_import_total", "energy"),
    Field("energy_export_total", "produced_energy"),
    Field("frequency", "ac_frequency"),
)
_MAINS: Fields = (
    Field("active_power_total", "power"),
    Field("voltage_l1", "voltage"),
    Field("current_l1", "current"),
)
_BATTERY: Fields = (Field("battery_voltage", "voltage", _MILLIVOLT),)


def decode(payload: bytes) -> tuple[Measurement, ...]:
    """Decode the state of a device. Raises BadFrame."""
    state = _object(payload)
    return json_paths.measurements(state, (*_GENERIC, *_electric(state)))


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """See drivers.codecs.framing.DecodeFrame; a topic under another base, or none, needs zigbee2mqtt's own members."""
    below = hints.topic.removeprefix(BASE)
    if below.split("/")[0] == _BRIDGE or hints.topic.endswith(("/availability", "/set", "/get")):
        raise BadFrame(f"{hints.topic!r} is no state of a device")
    if below == hints.topic and not any(mark in _object(data) for mark in _MARKS):
        raise BadFrame("not certainly a state from zigbee2mqtt")
    return decode(data)


def _electric(state: dict[str, Any]) -> Iterator[Field]:
    """``voltage`` is in mV where a battery is told of, in V at a meter; of several phases it is not said which."""
    if any(key.startswith(("power_phase_", "voltage_phase_", "current_phase_")) for key in state):
        return
    if "power" in state or "current" in state:
        yield from _MAINS
    elif "battery" in state:
        yield from _BATTERY


def _object(payload: bytes) -> dict[str, Any]:
    state = json_paths.parse(payload)
    if not isinstance(state, dict):
        raise BadFrame("a state that is not an object")
    return state
