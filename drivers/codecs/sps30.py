"""Sensirion SPS30 dust sensor over SHDLC (its UART).

Source: SPS30 datasheet v1.0, section 4, "Operation and communication through the UART interface". A frame is ``7E``,
content, ``7E``; within, 7E, 7D, 11 and 13 are sent as 7D and the byte with bit 5 inverted. A request holds address,
command, length, data and the inverted low byte of the sum of all that; an answer also has a state behind the command,
whose bit 7 says that fan or laser may have failed, and the other bits that the command was refused. Measured values are
ten floats or, if so asked, ten 16-bit integers, high byte first: mass up to 1, 2.5, 4 and 10 um in ug/m3, number from
0.3 um up to 0.5, 1, 2.5, 4 and 10 um per cm3, and the typical particle size (in um; as an integer in nm).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from drivers.base import Measurement
from drivers.codecs import registers
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

Format = Literal["float", "integer"]

START, STOP, READ, WAKE_UP, STATUS = 0x00, 0x01, 0x03, 0x11, 0xD2
START_DATA: dict[Format, bytes] = {"float": b"\x01\x03", "integer": b"\x01\x05"}
WAKE_PULSE = b"\xff"  # any low pulse ends the sleep of the interface, then WAKE_UP must follow within 100 ms
NOT_ALLOWED = 0x43  # in the present state: it measures already (to START), or does not (to READ)
FAILURES = {4: "fan", 5: "laser"}  # bits of the device status register that mean that values are worth nothing

_FLAG, _ESCAPE = 0x7E, 0x7D
_ESCAPED = (_FLAG, _ESCAPE, 0x11, 0x13)
_CONTENT_MAX = 255 + 5
_WIRE_MAX = 2 * _CONTENT_MAX
_MASSES = ("pm1", "pm25", "pm4", "pm10")
_NUMBERS = tuple(f"particles_to_{size}" for size in ("05um", "1um", "25um", "4um", "10um"))
_QUANTITIES = (*_MASSES, *_NUMBERS, "particle_size")


@dataclass(frozen=True, slots=True)
class Answer:
    """One good answer. ``failing``: the sensor says that something of it may have failed; see STATUS."""

    command: int
    refusal: int
    failing: bool
    data: bytes


def request(command: int, data: bytes = b"") -> bytes:
    """The frame that asks for a command."""
    content = bytes([0, command, len(data)]) + data
    stuffed = bytearray()
    for byte in content + bytes([_check_byte(content)]):
        stuffed += bytes([_ESCAPE, byte ^ 0x20]) if byte in _ESCAPED else bytes([byte])
    return bytes([_FLAG, *stuffed, _FLAG])


def take(buffer: bytearray) -> Answer | None:
    """Cut the next answer out of the buffer, None where more bytes are needed. Raises BadFrame for a damaged one.

    Its closing flag stays: where the opening one was lost, it is the opening one of the next frame.
    """
    while True:
        start = buffer.find(_FLAG)
        del buffer[: start if start >= 0 else len(buffer)]
        end = buffer.find(_FLAG, 1)
        if end < 0:
            if len(buffer) > _WIRE_MAX:
                buffer.clear()
                raise BadFrame(f"no end of an answer within {_WIRE_MAX} bytes")
            return None
        content = bytes(buffer[1:end])
        del buffer[:end]
        if content:  # nothing: the end of one frame and the beginning of the next
            return parse(content)


def parse(content: bytes) -> Answer:
    """What stands between the flags. Raises BadFrame."""
    plain = _unstuffed(content)
    if len(plain) < 5 or plain[0] != 0 or len(plain) != 5 + plain[3]:
        raise BadFrame("not a whole answer of an SPS30")
    if _check_byte(plain[:-1]) != plain[-1]:
        raise BadFrame("sum of the answer is wrong")
    return Answer(plain[1], plain[2] & 0x7F, bool(plain[2] & 0x80), plain[4:-1])


def measurements(answer: Answer) -> tuple[Measurement, ...]:
    """The values of an answer to READ; none where there is nothing new since the last one. Raises BadFrame."""
    if answer.command != READ or answer.refusal:
        raise BadFrame(f"command {answer.command:#04x} is answered with {answer.refusal:#04x}, not with values")
    if len(answer.data) == 40:
        floats = [registers.decode(answer.data[at : at + 4], "f32") for at in range(0, 40, 4)]
        return tuple(Measurement(q, value) for q, value in zip(_QUANTITIES, floats, strict=True) if value is not None)
    if len(answer.data) == 20:
        *values, size_nm = struct.unpack(">10H", answer.data)
        return tuple(Measurement(q, value) for q, value in zip(_QUANTITIES, [*values, size_nm / 1000], strict=True))
    if answer.data:
        raise BadFrame(f"{len(answer.data)} bytes are not ten values of an SPS30")
    return ()


def failed(status: Answer) -> list[str]:
    """What has failed, from the answer to STATUS."""
    register = int.from_bytes(status.data[:4], "big")
    return [part for bit, part in FAILURES.items() if register >> bit & 1]


def decode_frame(data: bytes, _hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one captured answer to READ, with its flags. Raises BadFrame."""
    if len(data) < 2 or len(data) > _WIRE_MAX or data[0] != _FLAG or data[-1] != _FLAG or _FLAG in data[1:-1]:
        raise BadFrame("not one frame of SHDLC")
    answer = parse(data[1:-1])
    if answer.failing:
        raise BadFrame("the sensor states that fan or laser may have failed")
    return measurements(answer)


def _unstuffed(content: bytes) -> bytes:
    plain = bytearray()
    escaped = False
    for byte in content:
        if escaped:
            if byte ^ 0x20 not in _ESCAPED:
                raise BadFrame(f"{byte:#04x} is no escaped byte")
            plain.append(byte ^ 0x20)
        elif byte != _ESCAPE:
            plain.append(byte)
        escaped = not escaped and byte == _ESCAPE
    if escaped:
        raise BadFrame("an answer that ends within an escaped byte")
    return bytes(plain)


def _check_byte(content: bytes) -> int:
    return ~sum(content) & 0xFF
