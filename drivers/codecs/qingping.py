"""Qingping sensors: the service data (UUID 0xFDCD) of their advertisements.

The layout is not published; it is the one that qingping-ble and bleparser (both MIT) read: flags, model, address (low
byte first), then elements of id, length and value. Elements that are no measurement are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from drivers.base import Measurement, Value
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast, address_bytes, uuid
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

SERVICE = uuid(0xFDCD)
MODELS = {
    0x01: "CGG1",
    0x04: "CGH1",
    0x07: "CGG1",
    0x09: "CGP1W",
    0x0C: "CGD1",
    0x0E: "CGDN1",
    0x0F: "CGM1",
    0x10: "CGDK2",
    0x12: "CGPR1",
    0x15: "CGF1W",
    0x16: "CGG1",
    0x18: "CGP23W",
    0x1E: "CGC1",
    0x24: "CGDN1",
    0x26: "CGP23W",
    0x33: "CGP22C",
    0x4F: "CGG3",
    0x52: "CGR1PC",
    0x5D: "CGP22C",
    0x62: "CGR1PC",
}
_WITHOUT_ADDRESS = (0x0E, 0x24)  # the last byte of theirs is another one than the radio's
_HEAD_BYTES = 8
_EVENT = 0x40  # of the flags: something happened; only what happened counts then
_PACKET, _MOTION = 0x0F, 0x08
_MAINS = 0xFF  # in place of the battery's level

Pairs = list[tuple[str, Value]]


def decode(data: bytes, address: str = "") -> Broadcast:
    """Decode service data without the UUID. Raises BadFrame where it is damaged or of a model that is not known."""
    if len(data) <= _HEAD_BYTES or data[1] not in MODELS:
        raise BadFrame(f"{len(data)} bytes that are of no known Qingping model")
    if address and data[2:8][::-1] != address_bytes(address) and data[1] not in _WITHOUT_ADDRESS:
        raise BadFrame("a frame that names another sender than the one it came from")
    found: dict[str, Value] = {}
    sequence: int | None = None
    for number, value in _elements(data):
        reader = _READERS.get(number)
        if number == _PACKET and len(value) == 1:
            sequence = value[0]
        elif number == _MOTION and data[0] & _EVENT:
            found |= {"motion": bool(_sized(value, 4)[0])}  # no illuminance follows in an event
        elif reader is not None:
            size, read = reader
            found |= dict(read(_sized(value, size)))
    return Broadcast(tuple(Measurement(quantity, value) for quantity, value in found.items()), sequence)


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The Qingping part of an advertisement, None where there is none. Raises BadFrame."""
    del key
    data = advert.services.get(SERVICE)
    return None if data is None else decode(data, advert.address)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    at, end = _HEAD_BYTES, len(data)
    while at < end:
        if at + 2 > end or at + 2 + data[at + 1] > end:
            raise BadFrame("a Qingping element that is cut off")
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


def _sized(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise BadFrame(f"a Qingping element of {len(value)} bytes where {size} are usual")
    return value


def _climate(value: bytes) -> Pairs:
    temperature, humidity = struct.unpack("<hH", value)
    if humidity > 1000:
        raise BadFrame(f"a Qingping sensor that says {humidity / 10:g} % of humidity")
    return [("temperature", temperature / 10), ("relative_humidity", humidity / 10)]


def _battery(value: bytes) -> Pairs:
    return [("battery_level", value[0])] if value[0] <= 100 else []


def _door(value: bytes) -> Pairs:
    """0 open, 1 closed, 2 left open."""
    if value[0] > 2:
        raise BadFrame(f"a Qingping door that is {value[0]}")
    return [("opening", value[0] != 1)]


def _motion(value: bytes) -> Pairs:
    return [("motion", bool(value[0])), ("illuminance", int.from_bytes(value[1:], "little"))]


def _dust(value: bytes) -> Pairs:
    pairs = zip(("pm25", "pm10"), struct.unpack("<HH", value), strict=True)
    return [(quantity, raw) for quantity, raw in pairs if raw != 0xFFFF]


def _u16(quantity: str, divisor: int = 1) -> Callable[[bytes], Pairs]:
    def read(value: bytes) -> Pairs:
        raw = int.from_bytes(value, "little")
        return [] if raw == 0xFFFF else [(quantity, raw if divisor == 1 else raw / divisor)]

    return read


def _illuminance(value: bytes) -> Pairs:
    return [("illuminance", int.from_bytes(value, "little"))]


def _light(value: bytes) -> Pairs:
    return [("light", bool(value[0]))]


def _sound(value: bytes) -> Pairs:
    return [("sound_level", value[0])]


_READERS: dict[int, tuple[int, Callable[[bytes], Pairs]]] = {
    0x01: (4, _climate),
    0x02: (1, _battery),
    0x04: (1, _door),
    0x07: (2, _u16("pressure", 10)),
    0x08: (4, _motion),
    0x09: (4, _illuminance),
    0x11: (1, _light),
    0x12: (4, _dust),
    0x13: (2, _u16("co2")),
    0x15: (2, _u16("voc_index")),
    0x19: (1, _sound),
}


def _bare(data: bytes, hints: Hints) -> Broadcast:
    return decode(data, hints.address)


decode_frame = frame_decoder(decode_advert, _bare)
