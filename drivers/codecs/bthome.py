"""BTHome version 2: the service data (UUID 0xFCD2) of advertisements, unencrypted.

Format: bthome.io/format. One byte of device information, then objects: an id of one byte and a little-endian value
whose length the id gives. Ids that are no quantity here are skipped by their length; what follows an unknown id cannot
be read and is left out, as the format prescribes.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.base import Measurement
from drivers.codecs.broadcast import Broadcast
from drivers.errors import BadFrame

SERVICE = "0000fcd2-0000-1000-8000-00805f9b34fb"
VERSION = 2

_ENCRYPTED, _WITH_ADDRESS = 0x01, 0x02
_ADDRESS_BYTES = 6
_PACKET_ID = 0x00


@dataclass(frozen=True, slots=True)
class _Object:
    """A value of ``size`` bytes; value = raw x scale."""

    quantity: str
    size: int
    signed: bool
    scale: float
    digits: int


_OBJECTS: dict[int, _Object] = {
    0x01: _Object("battery_level", 1, False, 1, 0),
    0x02: _Object("temperature", 2, True, 0.01, 2),
    0x03: _Object("relative_humidity", 2, False, 0.01, 2),
    0x04: _Object("pressure", 3, False, 0.01, 2),
    0x0C: _Object("battery_voltage", 2, False, 0.001, 3),
    0x0D: _Object("pm25", 2, False, 1, 0),
    0x0E: _Object("pm10", 2, False, 1, 0),
    0x12: _Object("co2", 2, False, 1, 0),
    0x2E: _Object("relative_humidity", 1, False, 1, 0),
    0x45: _Object("temperature", 2, True, 0.1, 1),
    0x57: _Object("temperature", 1, True, 1, 0),
    0x58: _Object("temperature", 1, True, 0.35, 2),
}


def _lengths() -> dict[int, int]:
    """Bytes of each object's value; 0 where a byte with the length stands before it (text, raw)."""
    one = [0x00, 0x09, 0x0F, 0x10, 0x11, *range(0x15, 0x2E), 0x2F, 0x3A, 0x46, 0x59, 0x60, 0x64]
    two = [0x06, 0x07, 0x08, 0x13, 0x14, 0x3C, 0x3D, 0x3F, 0x40, 0x41, 0x43, 0x44, 0x47, 0x48, 0x49, 0x4A]
    two += [0x51, 0x52, 0x56, 0x5A, 0x5D, 0x5E, 0x5F, 0x61, 0xF0]
    three = [0x05, 0x0A, 0x0B, 0x42, 0x4B, 0xF2]
    four = [0x3E, 0x4C, 0x4D, 0x4E, 0x4F, 0x50, 0x55, 0x5B, 0x5C, 0x62, 0x63, 0xF1]
    lengths = {0x53: 0, 0x54: 0}
    for size, ids in enumerate((one, two, three, four), start=1):
        lengths |= dict.fromkeys(ids, size)
    return lengths | {number: row.size for number, row in _OBJECTS.items()}


_LENGTHS = _lengths()


def decode(data: bytes) -> Broadcast:
    """Decode service data without the UUID. Raises BadFrame where it is damaged, encrypted or another version.

    Of several values of one quantity the first counts.
    """
    if not data:
        raise BadFrame("empty BTHome service data")
    if data[0] >> 5 != VERSION:
        raise BadFrame(f"BTHome version {data[0] >> 5} is not version {VERSION}")
    if data[0] & _ENCRYPTED:
        raise BadFrame("this BTHome sensor encrypts: it needs a bind key; switch its encryption off to read it here")
    found: dict[str, Measurement] = {}
    sequence: int | None = None
    for number, raw in _objects(data, 1 + (_ADDRESS_BYTES if data[0] & _WITH_ADDRESS else 0)):
        row = _OBJECTS.get(number)
        if number == _PACKET_ID:
            sequence = raw[0]
        elif row is not None and row.quantity not in found:
            value = int.from_bytes(raw, "little", signed=row.signed) * row.scale
            found[row.quantity] = Measurement(row.quantity, round(value, row.digits))
    return Broadcast(tuple(found.values()), sequence)


def _objects(data: bytes, at: int) -> list[tuple[int, bytes]]:
    if at > len(data):
        raise BadFrame("a BTHome frame that ends within the sender's address")
    found: list[tuple[int, bytes]] = []
    while at < len(data):
        number, at = data[at], at + 1
        size = _LENGTHS.get(number)
        if size is None:
            break
        if size == 0 and at < len(data):
            size, at = data[at], at + 1
        elif size == 0:
            raise BadFrame(f"BTHome object {number:#04x} ends before its length")
        if at + size > len(data):
            raise BadFrame(f"BTHome object {number:#04x} has {len(data) - at} of {size} bytes")
        found.append((number, data[at : at + size]))
        at += size
    return found
