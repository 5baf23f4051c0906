"""Ruuvi sensors: the manufacturer data (company 0x0499) of their advertisements, and the links of the oldest ones.

Formats 2 and 4 (Eddystone URL), 3 (RAWv1), 5 (RAWv2), 6 and E1 (extended advertising) as Ruuvi documents them at
docs.ruuvi.com, "Bluetooth advertisements". Each field has a value that means "not available"; such a field is left out.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable

from drivers.base import Measurement
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast, uuid
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

COMPANY = 0x0499
EDDYSTONE = uuid(0xFEAA)
STANDARD_GRAVITY = 9.80665  # m/s2 in one g (CGPM 1901)

_FORMAT_3 = struct.Struct(">xBbBHhhhH")
_FORMAT_5 = struct.Struct(">xhHHhhhHBH6x")
_FORMAT_6 = struct.Struct(">xhHHHHBBBBBB3x")
_FORMAT_E1 = struct.Struct(">xhHHHHHHHBB3s3x3sB5x6x")
_I16_NONE, _U16_NONE, _U8_NONE = -0x8000, 0xFFFF, 0xFF
_U24_NONE, _U9_NONE = 0xFFFFFF, 0x1FF
_VOLTAGE_NONE = 0x7FF  # 11 bits
_LIGHT_STEP = math.log(65536) / 254  # of the logarithm in format 6
_VOC_BIT, _NOX_BIT = 6, 7  # of the flags: the lowest bits of two 9-bit numbers
_URL = b"\x03ruu.vi/#"  # "https://" and the rest of the link, behind frame type and transmit power
_URL_TEXT = 8  # characters of base64 that hold the values; a ninth is the name of the tag


def decode(data: bytes) -> Broadcast:
    """Decode manufacturer data without the company number. Raises BadFrame where it is damaged or another format."""
    if not data:
        raise BadFrame("an empty Ruuvi advertisement")
    known = _FORMATS.get(data[0])
    if known is None:
        raise BadFrame(f"Ruuvi data format {data[0]:#04x} is not one of {', '.join(map(hex, _FORMATS))}")
    layout, decoder = known
    if len(data) != layout.size:
        raise BadFrame(f"Ruuvi format {data[0]:#x} has {layout.size} bytes, not {len(data)}")
    return decoder(data)


def decode_link(data: bytes) -> Broadcast | None:
    """Formats 2 and 4: the service data of an Eddystone URL. None for other people's links. Raises BadFrame."""
    if data[:1] != b"\x10" or data[2 : 2 + len(_URL)] != _URL:
        return None
    text = data[2 + len(_URL) :]
    if len(text) not in (_URL_TEXT, _URL_TEXT + 1):
        raise BadFrame(f"a Ruuvi link of {len(text)} characters")
    try:
        raw = base64.b64decode(text[:_URL_TEXT], altchars=b"-_", validate=True)
    except binascii.Error:
        raise BadFrame("a Ruuvi link that is no base64") from None
    number, humidity, whole, hundredths, pressure = struct.unpack(">BBBBH", raw)
    if number not in (2, 4):
        raise BadFrame(f"Ruuvi data format {number} in a link")
    return Broadcast(_air_of_old(humidity, whole, hundredths, pressure))


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The Ruuvi part of an advertisement, None where there is none. Raises BadFrame."""
    del key
    data = advert.manufacturer.get(COMPANY)
    if data is not None:
        return decode(data)
    link = advert.services.get(EDDYSTONE)
    return None if link is None else decode_link(link)


def _format_3(data: bytes) -> Broadcast:
    humidity, _, hundredths, pressure, *acceleration, millivolts = _FORMAT_3.unpack(data)
    voltage = Measurement("battery_voltage", millivolts / 1000)
    air = _air_of_old(humidity, data[2], hundredths, pressure)
    return Broadcast((*air, *_acceleration(acceleration), voltage))


def _air_of_old(humidity: int, whole: int, hundredths: int, pressure: int) -> tuple[Measurement, ...]:
    if hundredths > 99:
        raise BadFrame(f"a Ruuvi temperature with {hundredths} hundredths of a degree")
    sign = -1 if whole & 0x80 else 1  # sign and magnitude, not two's complement
    celsius = sign * ((whole & 0x7F) + hundredths / 100)
    return (
        Measurement("temperature", round(celsius, 2)),
        Measurement("relative_humidity", humidity / 2),
        Measurement("pressure", (pressure + 50_000) / 100),
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
    temperature, humidity, pressure, pm25, co2, voc, nox, light, _sound, sequence, flags = _FORMAT_6.unpack(data)
    found = _air(temperature, humidity, pressure)
    if pm25 != _U16_NONE:
        found.append(Measurement("pm25", pm25 / 10))
    found += _gases(co2, voc, nox, flags)
    if light != _U8_NONE:
        lux = math.exp(light * _LIGHT_STEP) - 1
        found.append(Measurement("illuminance", round(lux, 2 if lux < 10 else 0)))
    return Broadcast(tuple(found), sequence)


def _format_e1(data: bytes) -> Broadcast:
    temperature, humidity, pressure, *dust, co2, voc, nox, light, sequence, flags = _FORMAT_E1.unpack(data)
    found = _air(temperature, humidity, pressure)
    for quantity, raw in zip(("pm1", "pm25", "pm4", "pm10"), dust, strict=True):
        if raw != _U16_NONE:
            found.append(Measurement(quantity, raw / 10))
    found += _gases(co2, voc, nox, flags)
    centilux, number = int.from_bytes(light, "big"), int.from_bytes(sequence, "big")
    if centilux != _U24_NONE:
        found.append(Measurement("illuminance", centilux / 100))
    # a Ruuvi Air says each measurement in format 6 too, for receivers that are not able to hear this one
    return Broadcast(tuple(found), None if number == _U24_NONE else number, rank=1)


def _air(temperature: int, humidity: int, pressure: int) -> list[Measurement]:
    found: list[Measurement] = []
    if temperature != _I16_NONE:
        found.append(Measurement("temperature", temperature / 200))
    if humidity != _U16_NONE:
        found.append(Measurement("relative_humidity", humidity / 400))
    if pressure != _U16_NONE:
        found.append(Measurement("pressure", (pressure + 50_000) / 100))
    return found


def _gases(co2: int, voc: int, nox: int, flags: int) -> list[Measurement]:
    rows = [
        ("co2", co2, _U16_NONE),
        ("voc_index", voc << 1 | flags >> _VOC_BIT & 1, _U9_NONE),
        ("nox_index", nox << 1 | flags >> _NOX_BIT & 1, _U9_NONE),
    ]
    return [Measurement(quantity, value) for quantity, value, none in rows if value != none]


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
    0xE1: (_FORMAT_E1, _format_e1),
}


def _bare(data: bytes, hints: Hints) -> Broadcast:
    del hints
    return decode(data)


decode_frame = frame_decoder(decode_advert, _bare)
