"""Ruuvi sensors: the manufacturer data (company 0x0499) of their advertisements.

Formats 3 (RAWv1), 5 (RAWv2) and 6 as Ruuvi documents them at docs.ruuvi.com, "Bluetooth advertisements". Each field has
a value that means "not available"; such a field is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from drivers.base import Measurement
from drivers.codecs.broadcast import Broadcast
from drivers.errors import BadFrame

COMPANY = 0x0499
STANDARD_GRAVITY = 9.80665  # m/s2 in one g (CGPM 1901)

_FORMAT_3 = struct.Struct(">xBbBHhhhH")
_FORMAT_5 = struct.Struct(">xhHHhhhHBH6x")
_FORMAT_6 = struct.Struct(">xhHHHHBBBBBB3x")
_I16_NONE, _U16_NONE, _U8_NONE = -0x8000, 0xFFFF, 0xFF
_VOLTAGE_NONE = 0x7FF  # 11 bits


def decode(data: bytes) -> Broadcast:
    """Decode manufacturer data without the company number. Raises BadFrame where it is damaged or another format."""
    if not data:
        raise BadFrame("an empty Ruuvi advertisement")
    known = _FORMATS.get(data[0])
    if known is None:
        raise BadFrame(f"Ruuvi data format {data[0]:#04x} is not one of {', '.join(map(str, _FORMATS))}")
    layout, decoder = known
    if len(data) != layout.size:
        raise BadFrame(f"Ruuvi format {data[0]} has {layout.size} bytes, not {len(data)}")
    return decoder(data)


def _format_3(data: bytes) -> Broadcast:
    humidity, whole, hundredths, pressure, *acceleration, millivolts = _FORMAT_3.unpack(data)
    if hundredths > 99:
        raise BadFrame(f"Ruuvi format 3 with {hundredths} hundredths of a degree")
    sign = -1 if data[2] & 0x80 else 1  # sign and magnitude, not two's complement
    celsius = sign * ((whole & 0x7F) + hundredths / 100)
    return Broadcast(
        (
            Measurement("temperature", round(celsius, 2)),
            Measurement("relative_humidity", humidity / 2),
            Measurement("pressure", (pressure + 50_000) / 100),
            *_acceleration(acceleration),
            Measurement("battery_voltage", millivolts / 1000),
        )
    )


def _format_5(data: bytes) -> Broadcast:
    temperature, humidity, pressure, *acceleration, power, movements, sequence = _FORMAT_5.unpack(data)
    found = _air(temperature, humidity, pressure)
    found += _acceleration(acceleration)
    if power >> 5 != _VOLTAGE_NONE:
        found.append(Measurement("battery_voltage", ((power >> 5) + 1600) / 1000))
    if movements != _U8_NONE:
        found.append(Measurement("movement_count", movements))
    return Broadcast(tuple(found), None if sequence == _U16_NONE else sequence)


def _format_6(data: bytes) -> Broadcast:
    temperature, humidity, pressure, pm25, co2, _voc, _nox, _light, _sound, sequence, _flags = _FORMAT_6.unpack(data)
    found = _air(temperature, humidity, pressure)
    if pm25 != _U16_NONE:
        found.append(Measurement("pm25", pm25 / 10))
    if co2 != _U16_NONE:
        found.append(Measurement("co2", co2))
    return Broadcast(tuple(found), sequence)


def _air(temperature: int, humidity: int, pressure: int) -> list[Measurement]:
    found: list[Measurement] = []
    if temperature != _I16_NONE:
        found.append(Measurement("temperature", temperature / 200))
    if humidity != _U16_NONE:
        found.append(Measurement("relative_humidity", humidity / 400))
    if pressure != _U16_NONE:
        found.append(Measurement("pressure", (pressure + 50_000) / 100))
    return found


def _acceleration(milli_g: list[int]) -> list[Measurement]:
    return [
        Measurement(f"acceleration_{axis}", round(value * STANDARD_GRAVITY / 1000, 3))
        for axis, value in zip("xyz", milli_g, strict=True)
        if value != _I16_NONE
    ]


_FORMATS: dict[int, tuple[struct.Struct, Callable[[bytes], Broadcast]]] = {
    3: (_FORMAT_3, _format_3),
    5: (_FORMAT_5, _format_5),
    6: (_FORMAT_6, _format_6),
}
