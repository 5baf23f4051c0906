"""Airthings Wave family: the values that are read over a connection.

Layouts: Airthings' own readers (github.com/Airthings/waveplus-reader, wave-reader, wavemini-reader) and airthings-ble
(MIT), which agree on all that is taken here but the pressure of the Wave Mini, which only airthings-ble has. Numbers
are little-endian; 0xFFFF, and all beyond what the sensors can measure, means that there is no value yet. The light is
left out: it is a share of full scale, no illuminance. The battery is left out: it takes a command to be asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.base import Measurement, Observation
from drivers.codecs.gatt import uuid16
from drivers.errors import BadFrame

_OWN = "b42e{:04x}-ade7-11e4-89d3-123b93f75cba"
WAVE_PLUS, WAVE_2, WAVE_MINI = (_OWN.format(number) for number in (0x2A68, 0x4DCC, 0x3B98))
TEMPERATURE, HUMIDITY = uuid16(0x2A6E), uuid16(0x2A6F)
RADON_24H, RADON_LONG = _OWN.format(0x01AA), _OWN.format(0x0A4C)

VALUE_BYTES = 20  # of all models but the first Wave
_VERSION = 1
_RADON_MAX, _VOC_MAX, _CO2_MAX = 16383, 65534, 65534
_PRESSURE = (300.0, 1155.0)
_TEMPERATURE = (-50.0, 100.0)


@dataclass(frozen=True, slots=True)
class Model:
    """The service that a model is known by and the characteristics that hold its values."""

    service: str
    asked: tuple[str, ...]


MODELS: Mapping[str, Model] = {
    "wave": Model(_OWN.format(0x1F6E), (TEMPERATURE, HUMIDITY, RADON_24H, RADON_LONG)),
    "wave-2": Model(_OWN.format(0x4A8E), (WAVE_2,)),
    "wave-plus": Model(_OWN.format(0x1C08), (WAVE_PLUS,)),
    "wave-mini": Model(_OWN.format(0x3882), (WAVE_MINI,)),
}


class Sensor:
    """One sensor of the family. See drivers.codecs.gatt."""

    notified: tuple[str, ...] = ()

    def __init__(self, model: str) -> None:
        self.service, self.asked = MODELS[model].service, MODELS[model].asked

    def take(self, uuid: str, value: bytes, mono_ns: int) -> tuple[Observation, ...]:
        """The value of one characteristic. Raises BadFrame."""
        found = decode(uuid, value)
        return (Observation(found, mono_ns),) if found else ()


def decode(uuid: str, value: bytes) -> tuple[Measurement, ...]:
    """What the value of one characteristic says; nothing while the sensor has no value. Raises BadFrame."""
    if uuid in (WAVE_2, WAVE_PLUS):
        return _wave(value, with_air=uuid == WAVE_PLUS)
    if uuid == WAVE_MINI:
        return _mini(value)
    if len(value) != 2:
        raise BadFrame(f"a value of {len(value)} bytes where an Airthings Wave has 2")
    raw = int.from_bytes(value, "little", signed=uuid == TEMPERATURE)
    rows: dict[str, tuple[str, float, float, float]] = {
        TEMPERATURE: ("temperature", raw / 100, *_TEMPERATURE),
        HUMIDITY: ("relative_humidity", raw / 100, 0, 100),
        RADON_24H: ("radon_avg_24h", raw, 0, _RADON_MAX),
        RADON_LONG: ("radon_avg_long", raw, 0, _RADON_MAX),
    }
    if uuid not in rows:
        raise BadFrame(f"{uuid} is no characteristic of an Airthings Wave")
    return _within(rows[uuid])


def decode_bare(value: bytes) -> tuple[Measurement, ...]:
    """A value of which nobody says whose it is: told apart by what the numbers can mean. Raises BadFrame."""
    if len(value) == VALUE_BYTES and value[0] == _VERSION:
        radons = struct.unpack_from("<2H", value, 4)
        if all(radon <= _RADON_MAX or radon == 0xFFFF for radon in radons):
            with_air = bool(_within(("pressure", int.from_bytes(value[10:12], "little") / 50, *_PRESSURE)))
            return _wave(value, with_air=with_air)
    found = _mini(value)
    if {"temperature", "relative_humidity", "pressure"} - {one.quantity for one in found}:
        raise BadFrame("20 bytes that are no values of an Airthings Wave")
    return found


def _wave(value: bytes, *, with_air: bool) -> tuple[Measurement, ...]:
    """Wave 2 and Wave Plus share a layout; the former leaves pressure, CO2 and VOC without meaning."""
    if len(value) != VALUE_BYTES:
        raise BadFrame(f"values of an Airthings Wave have 20 bytes, not {len(value)}")
    version, humidity, _, _, radon, radon_long, temperature, pressure, co2, voc, _, _ = struct.unpack("<4B8H", value)
    if version != _VERSION:
        raise BadFrame(f"values of an Airthings Wave in version {version}, known is {_VERSION}")
    rows: list[tuple[str, float, float, float]] = [
        ("temperature", temperature / 100, *_TEMPERATURE),
        ("relative_humidity", humidity / 2, 0, 100),
        ("radon_avg_24h", radon, 0, _RADON_MAX),
        ("radon_avg_long", radon_long, 0, _RADON_MAX),
    ]
    if with_air:
        rows += [("pressure", pressure / 50, *_PRESSURE), ("co2", co2, 1, _CO2_MAX), ("voc_ppb", voc, 0, _VOC_MAX)]
    return _within(*rows)


def _mini(value: bytes) -> tuple[Measurement, ...]:
    if len(value) != VALUE_BYTES:
        raise BadFrame(f"values of an Airthings Wave Mini have 20 bytes, not {len(value)}")
    _, _, kelvin, pressure, humidity, voc, _, _, _ = struct.unpack("<2B5H2L", value)
    return _within(
        ("temperature", round(kelvin / 100 - 273.15, 2), *_TEMPERATURE),
        ("relative_humidity", humidity / 100, 0, 100),
        ("pressure", pressure / 50, *_PRESSURE),
        ("voc_ppb", voc, 0, _VOC_MAX),
    )


def _within(*rows: tuple[str, float, float, float]) -> tuple[Measurement, ...]:
    return tuple(Measurement(quantity, value) for quantity, value, low, high in rows if low <= value <= high)
