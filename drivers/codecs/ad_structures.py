"""Captured Bluetooth LE advertisements to :class:`Advert`: HCI events and bare AD structures.

Sources: Bluetooth Core 5.4, Vol 4, Part E, 7.7.65.2 (LE Advertising Report) and 7.7.65.13 (LE Extended Advertising
Report); Vol 3, Part C, 11 (advertising data); Assigned Numbers, 2.3 (types of AD structures).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from uuid import UUID

from drivers.base import Measurement
from drivers.codecs.broadcast import Advert, Broadcast, uuid
from drivers.codecs.framing import DecodeFrame, Hints
from drivers.errors import BadFrame

HCI_EVENT, LE_META = 0x04, 0x3E
_REPORT, _EXTENDED_REPORT = 0x02, 0x0D
_EXTENDED = struct.Struct("<HB6sBBBbbHB6sB")
_INCOMPLETE = 0x60  # bits 5 and 6 of the event type: more to come, or cut off

FLAGS, SHORT_NAME, NAME = 0x01, 0x08, 0x09
UUIDS_16, UUIDS_32, UUIDS_128 = (0x02, 0x03), (0x04, 0x05), (0x06, 0x07)
SERVICE_DATA_16, SERVICE_DATA_32, SERVICE_DATA_128, MANUFACTURER = 0x16, 0x20, 0x21, 0xFF
DATA_BYTES_MAX = 1650  # of an advertisement that is put together from several extended ones

# Decodes what is of one codec's in an advertisement, with a key; None where nothing is. Raises BadFrame.
DecodeAdvert = Callable[[Advert, bytes], Broadcast | None]


def is_event(data: bytes) -> bool:
    """Whether these bytes begin like an HCI event that reports an advertisement."""
    return len(data) > 3 and data[0] == HCI_EVENT and data[1] == LE_META and data[3] in (_REPORT, _EXTENDED_REPORT)


def parse(data: bytes, address: str = "") -> Advert:
    """The advertisement in an HCI event or in bare AD structures. Raises BadFrame for all that is not whole."""
    return _event(data) if is_event(data) else collect(data, address)


def structures(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, data) of AD structures; zeros may follow the last one. Raises BadFrame where one is cut off."""
    at, end = 0, len(data)
    while at < end:
        length = data[at]
        if not length:
            if any(data[at:]):
                raise BadFrame("AD structures with something behind their end")
            return
        if at + length >= end:
            raise BadFrame(f"an AD structure of {length} bytes that ends after {end - at - 1}")
        yield data[at + 1], data[at + 2 : at + 1 + length]
        at += 1 + length


def collect(data: bytes, address: str = "", rssi: int | None = None) -> Advert:
    """The advertisement that AD structures make up. Raises BadFrame."""
    if len(data) > DATA_BYTES_MAX:
        raise BadFrame(f"{len(data)} bytes are no advertising data")
    manufacturer: dict[int, bytes] = {}
    services: dict[str, bytes] = {}
    uuids: list[str] = []
    name = ""
    for kind, value in structures(data):
        if kind == MANUFACTURER:
            manufacturer[int.from_bytes(_at_least(value, 2)[:2], "little")] = value[2:]
        elif kind == SERVICE_DATA_16:
            services[uuid(int.from_bytes(_at_least(value, 2)[:2], "little"))] = value[2:]
        elif kind == SERVICE_DATA_32:
            services[uuid(int.from_bytes(_at_least(value, 4)[:4], "little"))] = value[4:]
        elif kind == SERVICE_DATA_128:
            services[str(UUID(bytes=_at_least(value, 16)[:16][::-1]))] = value[16:]
        elif kind in UUIDS_16:
            uuids += [uuid(int.from_bytes(part, "little")) for part in _parts(value, 2)]
        elif kind in UUIDS_32:
            uuids += [uuid(int.from_bytes(part, "little")) for part in _parts(value, 4)]
        elif kind in UUIDS_128:
            uuids += [str(UUID(bytes=part[::-1])) for part in _parts(value, 16)]
        elif kind == NAME or (kind == SHORT_NAME and not name):
            name = value.decode("utf-8", "replace")
    return Advert(manufacturer, services, address, name, tuple(uuids), rssi)


def frame_decoder(decode: DecodeAdvert, bare: Callable[[bytes, Hints], Broadcast]) -> DecodeFrame:
    """The ``decode_frame`` of a codec: an HCI event, AD structures, or what its sender puts into them.

    ``decode`` takes the codec's part of an advertisement, ``bare`` takes manufacturer or service data alone.
    """

    def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
        try:
            found = decode(parse(data, hints.address), hints.key)
        except BadFrame:
            if is_event(data):
                raise
            found = None
        return (bare(data, hints) if found is None else found).measurements

    return decode_frame


def _event(data: bytes) -> Advert:
    if data[2] != len(data) - 3:
        raise BadFrame(f"an HCI event of {data[2]} bytes with {len(data) - 3}")
    if data[3] == _EXTENDED_REPORT:
        return _extended(data)
    if len(data) < 15:
        raise BadFrame("an HCI advertising report that is cut off")
    if data[4] != 1 or len(data) != 15 + data[13]:
        raise BadFrame("an HCI advertising report whose lengths do not fit")
    rssi = data[-1] - 256 if data[-1] > 127 else data[-1]
    return collect(data[14:-1], _written(data[7:13]), rssi)


def _extended(data: bytes) -> Advert:
    start = 5 + _EXTENDED.size
    if len(data) < start or data[4] != 1:
        raise BadFrame("an HCI extended advertising report that is cut off, or more than one")
    kind, _, address, _, _, _, _, rssi, _, _, _, length = _EXTENDED.unpack_from(data, 5)
    if len(data) != start + length:
        raise BadFrame("an HCI extended advertising report whose lengths do not fit")
    if kind & _INCOMPLETE:
        raise BadFrame("a part of an extended advertisement")
    return collect(data[start:], _written(address), rssi)


def _written(address: bytes) -> str:
    return address[::-1].hex(":").upper()


def _at_least(value: bytes, size: int) -> bytes:
    if len(value) < size:
        raise BadFrame(f"an AD structure of {len(value)} bytes where {size} are the least")
    return value


def _parts(value: bytes, size: int) -> Iterator[bytes]:
    if len(value) % size:
        raise BadFrame(f"a list of UUIDs of {len(value)} bytes")
    return (value[at : at + size] for at in range(0, len(value), size))
