"""Aranet sensors: the manufacturer data (company 0x0702, SAF Tehnika) of their advertisements.

The layout is not published; it is the one that aranet4 (github.com/Anrijs/Aranet4-Python, MIT) reads. Values are there
only where "Smart Home integrations" is switched on in the sensor (firmware 1.2 and later). An Aranet4 leaves the byte
out with which the others begin; a sensor that says no values sends 7 or 8 bytes, or 24 that do not count.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from drivers.base import Measurement
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

COMPANY = 0x0702
_INTEGRATIONS = 0x20  # of the flags: the owner allows others to read
_LENGTH_4, _LENGTH = 22, 24
_SHORT_4, _SHORT = 7, 8
LENGTHS_4 = (_SHORT_4, _LENGTH_4)

_ARANET4 = struct.Struct("<8xHHHBBBHHB")
_ARANET2 = struct.Struct("<10xH2xHxBBHHB")
_RADIATION = struct.Struct("<6xIIHxBBHHB")
_RADON = struct.Struct("<8xHHHHxBBHHB")

_INVALID_16, _INVALID_TEMPERATURE, _INVALID_RADON = 0x8000, 0x4000, 0x1F00
_STATUSES = range(5)  # colours of the display
_INTERVAL_MAX_S = 3600
_MAJOR_MAX = 16  # firmware is at 1.x


def decode(data: bytes) -> Broadcast:
    """Decode manufacturer data without the company number. Raises BadFrame where it is not whole or not an Aranet's."""
    old = len(data) in LENGTHS_4
    head = data if old else data[1:]
    decoder = _aranet4 if old else _DECODERS.get(data[0]) if len(data) in (_SHORT, _LENGTH) else None
    if decoder is None or head[0] >= 2 * _INTEGRATIONS or head[3] >= _MAJOR_MAX:
        raise BadFrame(f"{len(data)} bytes that are no Aranet advertisement")
    if len(data) in (_SHORT_4, _SHORT):
        if any(head[4:]):
            raise BadFrame("a short Aranet advertisement with something behind its version")
        return Broadcast(())
    return decoder(data) if head[0] & _INTEGRATIONS else Broadcast(())


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The Aranet part of an advertisement, None where there is none. Raises BadFrame."""
    del key
    data = advert.manufacturer.get(COMPANY)
    return None if data is None else decode(data)


def _aranet4(data: bytes) -> Broadcast:
    co2, temperature, pressure, humidity, battery, status, interval, ago, counter = _ARANET4.unpack(data)
    found: list[Measurement] = []
    if co2 < _INVALID_16:
        found.append(Measurement("co2", co2))
    found += _temperature(temperature)
    if pressure < _INVALID_16:
        found.append(Measurement("pressure", pressure / 10))
    if humidity <= 100:
        found.append(Measurement("relative_humidity", humidity))
    return _broadcast(found, battery, status, interval, ago, counter)


def _aranet2(data: bytes) -> Broadcast:
    temperature, humidity, battery, _, interval, ago, counter = _ARANET2.unpack(data)
    found = _temperature(temperature) + _humidity(humidity)
    return _broadcast(found, battery, 0, interval, ago, counter)  # its status is of two values, in other bits


def _radiation(data: bytes) -> Broadcast:
    dose, _duration, rate, battery, status, interval, ago, counter = _RADIATION.unpack(data)
    found = [Measurement("radiation_dose", dose / 1e6)]  # nSv
    if rate < _INVALID_16:
        found.append(Measurement("radiation_rate", rate / 1000))  # nSv/h
    return _broadcast(found, battery, status, interval, ago, counter)


def _radon(data: bytes) -> Broadcast:
    radon, temperature, pressure, humidity, battery, status, interval, ago, counter = _RADON.unpack(data)
    found: list[Measurement] = []
    if radon < _INVALID_RADON:
        found.append(Measurement("radon", radon))
    if temperature or humidity:  # both are 0 in the model without that sensor
        found += _temperature(temperature) + _humidity(humidity)
    if pressure < _INVALID_16:
        found.append(Measurement("pressure", pressure / 10))
    return _broadcast(found, battery, status, interval, ago, counter)


_DECODERS: dict[int, Callable[[bytes], Broadcast]] = {1: _aranet2, 2: _radiation, 3: _radon}


def _temperature(raw: int) -> list[Measurement]:
    return [] if raw >= _INVALID_TEMPERATURE else [Measurement("temperature", round(raw * 0.05, 2))]


def _humidity(raw: int) -> list[Measurement]:
    return [] if raw >= _INVALID_16 else [Measurement("relative_humidity", raw / 10)]


def _broadcast(found: list[Measurement], battery: int, status: int, interval: int, ago: int, counter: int) -> Broadcast:
    if status not in _STATUSES or not 0 < interval <= _INTERVAL_MAX_S:
        raise BadFrame(f"an Aranet advertisement with status {status} and an interval of {interval} s")
    if battery <= 100:
        found.append(Measurement("battery_level", battery))
    return Broadcast(tuple(found), counter, age_s=min(ago, interval))


def _bare(data: bytes, hints: Hints) -> Broadcast:
    del hints
    return decode(data)


decode_frame = frame_decoder(decode_advert, _bare)
