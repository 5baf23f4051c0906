"""Airthings sensors: the manufacturer data (company 0x0334) of their advertisements.

All models say their serial number there and no measurement, as far as is published: the values are read over a
connection. Layout: serial number (u32, little-endian), then bytes whose meaning is not published; source: Airthings'
own reader (github.com/Airthings/wave-reader, MIT).
"""

from __future__ import annotations

from drivers.base import Measurement
from drivers.codecs import airthings_gatt
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

COMPANY = 0x0334
_SERIAL_BYTES, _LENGTH = 4, 6
_DIGITS = 10
# the first four digits of the serial number name the model
MODELS = {
    "2900": "Wave",
    "2920": "Wave Mini",
    "2930": "Wave Plus",
    "2950": "Wave Radon",
    "3210": "Wave Enhance",
    "3220": "Wave Enhance",
    "3250": "Corentium Home 2",
}


def decode(data: bytes) -> Broadcast:
    """Decode manufacturer data without the company number. Raises BadFrame where there is no serial number."""
    serial = serial_number(data)
    if len(data) < _LENGTH or len(serial) != _DIGITS:
        raise BadFrame(f"{len(data)} bytes that are no Airthings serial number")
    return Broadcast((Measurement("serial_number", serial),))


def serial_number(data: bytes) -> str:
    """Its decimal digits; the first four name the model."""
    return str(int.from_bytes(data[:_SERIAL_BYTES], "little"))


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The Airthings part of an advertisement, None where there is none. Raises BadFrame."""
    del key
    data = advert.manufacturer.get(COMPANY)
    return None if data is None else decode(data)


def _bare(data: bytes, hints: Hints) -> Broadcast:
    del hints
    if len(data) == airthings_gatt.VALUE_BYTES:
        return Broadcast(airthings_gatt.decode_bare(data))
    found = decode(data)
    if len(data) != _LENGTH or str(found.measurements[0].value)[:4] not in MODELS:
        raise BadFrame("no serial number of a known Airthings model")  # six bytes alone may be anything
    return found


decode_frame = frame_decoder(decode_advert, _bare)
