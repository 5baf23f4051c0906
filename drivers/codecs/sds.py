"""Nova Fitness dust sensors in active mode: SDS011, SDS018, SDS021 (PM2.5 and PM10) and SDS198 (PM100).

Source: Laser Dust Sensor Control Protocol v1.3: ``AA``, kind, six bytes of data, their 8-bit sum, ``AB``. Kind C0
carries PM2.5 and PM10 in tenths of ug/m3, low byte first, and the id of the sensor. Kind CF is the SDS198's: PM100 in
ug/m3 in the third and fourth byte. Answers to commands (C5) are passed over.
"""

from __future__ import annotations

import struct

from drivers.base import Measurement
from drivers.codecs.framing import Decoded, Hints, take_headed
from drivers.errors import BadFrame

_HEAD, _TAIL, _SIZE = 0xAA, 0xAB, 10
_PM25_PM10, _PM100 = 0xC0, 0xCF


def take(buffer: bytearray) -> Decoded | None:
    """Cut the next frame out of the buffer and decode it; see ``framing.Take``. Raises BadFrame."""
    return take_headed(buffer, bytes([_HEAD]), _size, decode)


def decode(frame: bytes) -> Decoded:
    """Decode one whole frame. Raises BadFrame."""
    if len(frame) != _SIZE or frame[0] != _HEAD or frame[1] not in (_PM25_PM10, _PM100) or frame[-1] != _TAIL:
        raise BadFrame("not a whole frame of an SDS sensor")
    if sum(frame[2:8]) & 0xFF != frame[8]:
        raise BadFrame("sum of the frame is wrong")
    first, second = struct.unpack_from("<2H", frame, 2)
    if frame[1] == _PM100:
        return Decoded((Measurement("pm100", second),))
    return Decoded((Measurement("pm25", first / 10), Measurement("pm10", second / 10)))


def decode_frame(data: bytes, _hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one captured frame. Raises BadFrame."""
    return decode(data).measurements


def _size(buffer: bytearray) -> int | None:
    if len(buffer) < 2:
        return None
    return _SIZE if buffer[1] in (_PM25_PM10, _PM100) else 0
