"""IEC 62056-21 telegrams (D0): the optical and current-loop ports of electricity meters.

Source: IEC 62056-21 (2002): 5.7 (identification), 6.3.3 (syntax of the data), 6.4 (modes), 5.9 (block check character:
all bytes behind STX up to and with ETX, exclusive or). A telegram is ``/XXXZident CR LF``, then data lines up to ``!``.
What is asked for (modes A to C) stands between STX and ETX with a block check; what a meter pushes by itself (mode D)
has neither: there each line must be whole, down to the last bracket, and parity is all that guards the digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from operator import xor
from types import MappingProxyType

from drivers.base import Measurement
from drivers.codecs import obis
from drivers.codecs.framing import BUFFER_BYTES_MAX, Decoded, Hints
from drivers.errors import BadFrame

STX, ETX, ACK = b"\x02", b"\x03", b"\x06"
TAIL_BYTES_MAX = 128  # some meters print the number of their owner behind the end

_IDENT = re.compile(rb"/([A-Za-z]{3})([ -~])([ -~]{0,32})\r\n")
_IDENT_BYTES_MAX = 40
_END = re.compile(rb"(?<=\n)!\r\n")
_LINE = re.compile(rb"(?:[^()/!\x00-\x1f\x7f-\xff]{0,32}\([^()\x00-\x1f\x7f-\xff]{0,128}\))+")
_SET = re.compile(r"([^()]*)\(([^()]*)\)")
_CODE = re.compile(r"(?:1-[0-9]:)?(\d{1,3}\.\d{1,3}\.\d{1,3})(?:\*255)?", re.ASCII)  # *1, *2 ...: what was once
_NUMBER = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)(?:\*(\w{1,8}))?", re.ASCII)
# 5.7: what the letter of the identification offers in mode C
_BAUDS: Mapping[str, int] = MappingProxyType(
    {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
)
_REACTION_S = 0.2  # 5.7: a small third letter allows 20 ms
_REACTION_FAST_S = 0.02


@dataclass(frozen=True, slots=True)
class Identification:
    """How a meter answers to the sign-on."""

    maker: str
    letter: str
    model: str

    @property
    def baud(self) -> int | None:
        """The speed that mode C offers, None for a meter of mode A or B."""
        return _BAUDS.get(self.letter)

    @property
    def reaction_s(self) -> float:
        """How long each side waits before it answers."""
        return _REACTION_FAST_S if self.maker[2].islower() else _REACTION_S


def identification(line: bytes) -> Identification:
    """Read the line ``/XXXZident CR LF``. Raises BadFrame."""
    match = _IDENT.fullmatch(line)
    if match is None:
        raise BadFrame("not the identification of a meter")
    return Identification(match[1].decode(), match[2].decode(), match[3].decode())


def sign_on(address: str = "") -> bytes:
    """The request that wakes a meter (6.3.1)."""
    return f"/?{address}!\r\n".encode("ascii")


def acknowledgement(letter: str) -> bytes:
    """Ask for the data at the speed of that letter (6.3.3, option select: data readout)."""
    return ACK + f"0{letter}0\r\n".encode("ascii")


def take(buffer: bytearray) -> Decoded | None:
    """Cut the next telegram out of the buffer and decode it; see ``framing.Take``. Raises BadFrame."""
    start = buffer.find(b"/")
    del buffer[: start if start >= 0 else len(buffer)]
    if not buffer or (len(buffer) < _IDENT_BYTES_MAX and b"\n" not in buffer):
        return None
    head = _IDENT.match(buffer)
    if head is None:
        del buffer[:1]
        raise BadFrame("not the identification of a meter")
    begun_again = buffer.find(b"\n/", 1)
    size = _size(buffer, head.end())
    if begun_again >= 0 and not 0 < (size or 0) <= begun_again + 1:
        del buffer[: begun_again + 1]
        raise BadFrame("a telegram without an end")
    if size is None:
        if len(buffer) > BUFFER_BYTES_MAX:
            buffer.clear()
            raise BadFrame(f"no end of the telegram within {BUFFER_BYTES_MAX} bytes")
        return None
    telegram = bytes(buffer[:size])
    del buffer[:size]
    return decode(telegram)


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """Decode one captured telegram, also with line ends as text editors leave them. Raises BadFrame."""
    del hints
    if STX not in data and data.count(b"\r\n") != data.count(b"\n"):
        data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    data = data.lstrip() if STX in data else data.strip() + b"\r\n"
    head = _IDENT.match(data)
    size = _size(bytearray(data), head.end()) if head else None
    if size is None or not re.fullmatch(rb"[ -.0-~\r\n]*", data[size:]) or len(data) > size + TAIL_BYTES_MAX:
        raise BadFrame("not one whole telegram")
    return decode(data[:size]).measurements


def decode(telegram: bytes) -> Decoded:
    """Decode one telegram from its ``/`` to its end mark or block check. Raises BadFrame."""
    head = _IDENT.match(telegram)
    if head is None or _size(bytearray(telegram), head.end()) != len(telegram):
        raise BadFrame("not one whole telegram")
    body = telegram[head.end() :].removeprefix(b"\r\n")
    return decode_block(body) if body.startswith(STX) else _decoded(_lines(body.removesuffix(b"!\r\n"), strict=True))


def decode_block(block: bytes) -> Decoded:
    """Decode what a meter was asked for, from STX to the block check. Raises BadFrame."""
    if not block.startswith(STX) or block[-2:-1] != ETX or not _END.search(block):
        raise BadFrame("not one whole block of data")
    if reduce(xor, block[1:-1]) & 0x7F != block[-1] & 0x7F:
        raise BadFrame("block check of the data is wrong")
    return _decoded(_lines(block[1:-2].removesuffix(b"!\r\n"), strict=False))


def block_size(buffer: bytearray, start: int = 0) -> int | None:
    """Where the block of data ends that begins at ``start``, None for more to come."""
    end = buffer.find(ETX, start)
    return end + 2 if 0 <= end < len(buffer) - 1 else None


def _size(buffer: bytearray, body: int) -> int | None:
    """Bytes of the telegram whose data begin at ``body``, None for more to come."""
    at = body + 2 if buffer[body : body + 2] == b"\r\n" else body
    if buffer[at : at + 1] == STX:
        return block_size(buffer, at)
    end = _END.search(buffer, body)
    return end.end() if end else None


def _lines(text: bytes, *, strict: bool) -> Iterator[str]:
    for line in text.split(b"\r\n"):
        if _LINE.fullmatch(line):
            yield line.decode("ascii")
        elif line and strict:
            raise BadFrame(f"a line of the telegram is damaged: {line[:40]!r}")


def _decoded(lines: Iterator[str]) -> Decoded:
    stated: dict[str, tuple[Decimal, str]] = {}
    for line in lines:
        for address, content in _SET.findall(line):
            code, number = _CODE.fullmatch(address), _NUMBER.fullmatch(content)
            if code and number:
                stated.setdefault(code[1], (Decimal(number[1]), number[2] or ""))
    measurements = obis.measurements(stated)
    if not measurements:
        raise BadFrame("a telegram without any value of electricity")
    return Decoded(measurements)
