"""Plantower PMSx003 dust sensors, active mode.

Source: PMS5003 series data manual v2.3, appendix I: ``BM``, length, 16-bit big-endian words, 16-bit sum of all bytes
before it. Words 1-3 are for a factory environment (CF=1), words 4-6 for ordinary air, in ug/m3: those are what is
reported.
"""

from __future__ import annotations

import struct

from drivers.base import Measurement
from drivers.codecs.framing import Decoded
from drivers.errors import BadFrame

_HEADER = b"BM"
_LENGTHS = (20, 28)  # PMS3003; PMS5003, PMS7003 and PMSA003
_QUANTITIES = ("pm1", "pm25", "pm10")


def take(buffer: bytearray) -> Decoded | None:
    """Cut the next frame out of the buffer and decode it; see ``framing.Take``. Raises BadFrame.

    A damaged frame gives up its header only: the next good one may begin inside it.
    """
    while True:
        start = buffer.find(_HEADER)
        if start < 0:
            del buffer[: len(buffer) - 1 if buffer.endswith(b"B") else len(buffer)]
            return None
        del buffer[:start]
        if len(buffer) < 4:
            return None
        length = int.from_bytes(buffer[2:4], "big")
        if length not in _LENGTHS:
            del buffer[:2]
            continue
        if len(buffer) < 4 + length:
            return None
        frame = bytes(buffer[: 4 + length])
        try:
            decoded = decode(frame)
        except BadFrame:
            del buffer[:2]
            raise
        del buffer[: 4 + length]
        return decoded


def decode(frame: bytes) -> Decoded:
    """Decode one whole frame. Raises BadFrame."""
    if len(frame) < 4 or not frame.startswith(_HEADER):
        raise BadFrame("does not begin like a frame of a dust sensor")
    length = int.from_bytes(frame[2:4], "big")
    if length not in _LENGTHS or len(frame) != 4 + length:
        raise BadFrame(f"a frame of {len(frame)} bytes states a length of {length}")
    if sum(frame[:-2]) != int.from_bytes(frame[-2:], "big"):
        raise BadFrame("sum of the frame is wrong")
    words = struct.unpack_from(">3H", frame, 10)
    return Decoded(tuple(Measurement(q, w) for q, w in zip(_QUANTITIES, words, strict=True)))
