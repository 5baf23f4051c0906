"""Winsen MH-Z19 family: CO2 by request.

Source: MH-Z19B user's manual v1.0, "Communication protocol": requests of nine bytes ``FF 01 command ..``, answers
``FF command ..``, the last byte is the two's complement of the sum of bytes 1 to 7. Command 86 reads the gas
concentration in ppm, high byte first. Bytes 4 to 7 of that answer are not documented and not reported.
"""

from __future__ import annotations

from drivers.base import Measurement
from drivers.codecs.framing import Decoded, Hints, take_headed
from drivers.errors import BadFrame

READ = bytes.fromhex("ff0186000000000079")
_HEADER, _SIZE = b"\xff\x86", 9


def take(buffer: bytearray) -> Decoded | None:
    """Cut the next answer to READ out of the buffer and decode it; see ``framing.Take``. Raises BadFrame."""
    return take_headed(buffer, _HEADER, lambda _: _SIZE, decode)


def decode(frame: bytes) -> Decoded:
    """Decode one whole answer to READ. Raises BadFrame."""
    if len(frame) != _SIZE or not frame.startswith(_HEADER):
        raise BadFrame("not a whole answer of an MH-Z19")
    if check_byte(frame[1:8]) != frame[8]:
        raise BadFrame("sum of the answer is wrong")
    return Decoded((Measurement("co2", int.from_bytes(frame[2:4], "big")),))


def check_byte(body: bytes) -> int:
    """What the sum of ``body`` lacks to 256."""
    return -sum(body) & 0xFF


def decode_frame(data: bytes, _hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one captured answer. Raises BadFrame."""
    return decode(data).measurements
