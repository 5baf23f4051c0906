"""Xiaomi thermometers with open firmware: the service data (UUID 0x181A) of the formats "atc1441" and "pvvx custom".

Sources: the read-me files of github.com/atc1441/ATC_MiThermometer and github.com/pvvx/ATC_MiThermometer, section
"Bluetooth advertising formats"; both also encrypted with AES-CCM, nonce address (low byte first), structure's length,
type and UUID, counter; associated data 0x11.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from drivers.base import Measurement, Value
from drivers.codecs import ccm
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast, address_bytes, uuid
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

SERVICE = uuid(0x181A)
_UUID_AND_TYPE = b"\x16\x1a\x18"
_ASSOCIATED = b"\x11"
_VENDOR = b"\xa4\xc1\x38"  # Telink's, as in the addresses of all models that the firmware is for

_ATC1441 = struct.Struct(">6shBBHB")
_CUSTOM = struct.Struct("<6shHHBBB")
_CUSTOM_SEALED = struct.Struct("<hHBB")
_SEALED_BYTES, _SEALED_SHORT_BYTES = 11, 8  # counter, values, tag


def decode(data: bytes, address: str = "", key: bytes = b"") -> Broadcast:
    """Decode service data without the UUID. Raises BadFrame where it is damaged or no format of these, Sealed."""
    if len(data) == _CUSTOM.size:
        raw, temperature, humidity, millivolts, battery, counter, _flags = _CUSTOM.unpack(data)
        _check_sender(raw[::-1], address)
        return _broadcast(temperature / 100, humidity / 100, battery, counter, 2, millivolts / 1000)
    if len(data) == _ATC1441.size:
        raw, temperature, humidity, battery, millivolts, counter = _ATC1441.unpack(data)
        _check_sender(raw, address)
        return _broadcast(temperature / 10, humidity, battery, counter, 1, millivolts / 1000)
    if len(data) == _SEALED_BYTES:
        temperature, humidity, battery, _flags = _CUSTOM_SEALED.unpack(_unseal(data, address, ccm.need(key)))
        return replace(_broadcast(temperature / 100, humidity / 100, battery, data[0], 2), sealed=True)
    if len(data) == _SEALED_SHORT_BYTES:
        half_degrees, half_percent, battery = _unseal(data, address, ccm.need(key))
        return replace(_broadcast(half_degrees / 2 - 40, half_percent / 2, battery & 0x7F, data[0], 1), sealed=True)
    raise BadFrame(f"{len(data)} bytes that are no format of this thermometer")


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The thermometer's part of an advertisement, None where there is none. Raises BadFrame."""
    data = advert.services.get(SERVICE)
    return None if data is None else decode(data, advert.address, key)


def _unseal(data: bytes, address: str, key: bytes) -> bytes:
    length = len(_UUID_AND_TYPE) + len(data)
    nonce = address_bytes(address)[::-1] + bytes((length,)) + _UUID_AND_TYPE + data[:1]
    return ccm.unseal(key, nonce, data[1:], _ASSOCIATED)


def _check_sender(stated: bytes, address: str) -> None:
    if stated != (address_bytes(address) if address else stated):
        raise BadFrame("a frame that names another sender than the one it came from")
    if not address and not stated.startswith(_VENDOR):
        raise BadFrame("a frame without the address of a thermometer of this kind")


def _broadcast(
    celsius: float, percent: float, battery: int, counter: int, rank: int, volts: float | None = None
) -> Broadcast:
    if not 0 <= percent <= 100 or battery > 100:
        raise BadFrame(f"a thermometer that says {percent:g} % of humidity and {battery} % of battery")
    rows: list[tuple[str, Value | None]] = [
        ("temperature", round(celsius, 2)),
        ("relative_humidity", round(percent, 2)),
        ("battery_voltage", volts),
        ("battery_level", battery),
    ]
    found = tuple(Measurement(quantity, value) for quantity, value in rows if value is not None)
    return Broadcast(found, counter, rank=rank)


def _bare(data: bytes, hints: Hints) -> Broadcast:
    return decode(data, hints.address, hints.key)


decode_frame = frame_decoder(decode_advert, _bare)
