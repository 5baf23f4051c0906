"""CoAP messages on the wire (RFC 7252, section 3), as far as a sensor needs them.

Only the options below pass, each with the length that its RFC allows: a sender cannot make the box remember anything by
inventing numbers. Unknown elective options are left out, as RFC 7252, 5.4.1 wants; unknown critical ones are told in
``critical``. Block options are those of RFC 7959.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from drivers.errors import BadFrame

CON, NON, ACK, RST = range(4)
EMPTY, GET, POST, PUT, FETCH = 0, 1, 2, 3, 5
SENML_FORMATS = (50, 60, 110, 112)  # JSON and CBOR, as such and as SenML (RFC 8428, 12.3)
BLOCK_EXPONENT_MAX = 6  # 1024 bytes
_VERSION = 1
_PAYLOAD_MARK = 0xFF
_TOKEN_BYTES_MAX = 8


class Code(IntEnum):
    """Response codes that are given or looked at (RFC 7252, 12.1.2; RFC 7959, 2.9; RFC 8132)."""

    CHANGED = 0x44
    CONTENT = 0x45
    CONTINUE = 0x5F
    BAD_REQUEST = 0x80
    UNAUTHORIZED = 0x81
    BAD_OPTION = 0x82
    FORBIDDEN = 0x83
    NOT_FOUND = 0x84
    METHOD_NOT_ALLOWED = 0x85
    INCOMPLETE = 0x88
    TOO_LARGE = 0x8D
    UNSUPPORTED_FORMAT = 0x8F
    SERVER_ERROR = 0xA0
    UNAVAILABLE = 0xA3


class Option(IntEnum):
    """Option numbers (RFC 7252, 12.2; RFC 7641; RFC 7959; RFC 8613; RFC 9175)."""

    URI_HOST = 3
    ETAG = 4
    OBSERVE = 6
    URI_PORT = 7
    LOCATION_PATH = 8
    OSCORE = 9
    URI_PATH = 11
    CONTENT_FORMAT = 12
    MAX_AGE = 14
    URI_QUERY = 15
    ACCEPT = 17
    BLOCK2 = 23
    BLOCK1 = 27
    SIZE2 = 28
    SIZE1 = 60
    ECHO = 252


_LENGTH_MAX = {
    **dict.fromkeys((Option.URI_HOST, Option.LOCATION_PATH, Option.OSCORE, Option.URI_PATH, Option.URI_QUERY), 255),
    **dict.fromkeys((Option.OBSERVE, Option.BLOCK1, Option.BLOCK2), 3),
    **dict.fromkeys((Option.URI_PORT, Option.CONTENT_FORMAT, Option.ACCEPT), 2),
    **dict.fromkeys((Option.MAX_AGE, Option.SIZE1, Option.SIZE2), 4),
    Option.ETAG: 8,
    Option.ECHO: 40,
}
_TEXTS = (Option.URI_HOST, Option.LOCATION_PATH, Option.URI_PATH, Option.URI_QUERY)


@dataclass(frozen=True, slots=True)
class Block:
    """A Block1 or Block2 option: the block of that number of 2^(exponent+4) bytes, and whether more follow."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """Bytes of a block."""
        return 1 << (self.exponent + 4)

    @property
    def start(self) -> int:
        """Where in the body the block begins."""
        return self.number << (self.exponent + 4)


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``options`` are known ones, in order; ``critical`` is the first critical one that is not known."""

    type: int
    code: int
    mid: int
    token: bytes = b""
    options: tuple[tuple[int, bytes], ...] = field(default=())
    payload: bytes = b""
    critical: int | None = None

    @property
    def is_request(self) -> bool:
        """Whether the code is a method."""
        return 0 < self.code < 0x20

    @property
    def is_response(self) -> bool:
        """Whether the code is a response's."""
        return self.code >= 0x40

    @property
    def path(self) -> tuple[str, ...]:
        """The parts of the path."""
        return tuple(value.decode() for number, value in self.options if number == Option.URI_PATH)

    def option(self, wanted: Option) -> bytes | None:
        """The value of the first option of that number."""
        return next((value for number, value in self.options if number == wanted), None)

    def number(self, wanted: Option) -> int | None:
        """The value of an option that is a number."""
        value = self.option(wanted)
        return None if value is None else int.from_bytes(value, "big")

    def block(self, wanted: Option) -> Block | None:
        """The value of an option that names a block. Raises BadFrame for a size that there is not over UDP."""
        value = self.number(wanted)
        if value is None:
            return None
        if value & 7 > BLOCK_EXPONENT_MAX:
            raise BadFrame("a block size that is not for UDP")
        return Block(value >> 4, bool(value & 8), value & 7)


def uint(number: int) -> bytes:
    """A number as the value of an option: as few bytes as there can be."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def block_value(block: Block) -> bytes:
    """The value of a Block1 or Block2 option."""
    return uint(block.number << 4 | block.more << 3 | block.exponent)


def parse(data: bytes) -> Message:
    """Read a datagram. Raises BadFrame."""
    if len(data) < 4 or data[0] >> 6 != _VERSION:
        raise BadFrame("a datagram that is not CoAP")
    kind, token_bytes = data[0] >> 4 & 3, data[0] & 0x0F
    code, mid = struct.unpack_from("!BH", data, 1)
    if token_bytes > _TOKEN_BYTES_MAX or len(data) < 4 + token_bytes:
        raise BadFrame("a CoAP message with a bad token")
    if code == EMPTY and len(data) > 4:
        raise BadFrame("an empty CoAP message that is not empty")
    options, critical, payload = _options(data, 4 + token_bytes)
    return Message(kind, code, mid, data[4 : 4 + token_bytes], options, payload, critical)


def encode(message: Message) -> bytes:
    """Write a datagram."""
    parts = [struct.pack("!BBH", _VERSION << 6 | message.type << 4 | len(message.token), message.code, message.mid)]
    parts.append(message.token)
    before = 0
    for number, value in sorted(message.options, key=lambda option: option[0]):
        (delta, delta_more), (length, length_more) = _extended(number - before), _extended(len(value))
        parts += [bytes([delta << 4 | length]), delta_more, length_more, value]
        before = number
    if message.payload:
        parts += [bytes([_PAYLOAD_MARK]), message.payload]
    return b"".join(parts)


def _options(data: bytes, at: int) -> tuple[tuple[tuple[int, bytes], ...], int | None, bytes]:
    """(known options, first unknown critical one, payload)."""
    options: list[tuple[int, bytes]] = []
    critical: int | None = None
    number = 0
    while at < len(data):
        first, at = data[at], at + 1
        if first == _PAYLOAD_MARK:
            if at == len(data):
                raise BadFrame("a CoAP message that announces a payload and has none")
            return tuple(options), critical, data[at:]
        delta, at = _extension(data, at, first >> 4)
        length, at = _extension(data, at, first & 0x0F)
        number += delta
        value = data[at : at + length]
        if len(value) < length:
            raise BadFrame("a CoAP message that ends within an option")
        at += length
        if _fits(number, value):
            options.append((number, value))
        elif number & 1 and critical is None:
            critical = number
    return tuple(options), critical, b""


def _fits(number: int, value: bytes) -> bool:
    if number not in _LENGTH_MAX or len(value) > _LENGTH_MAX[Option(number)]:
        return False
    if number not in _TEXTS:
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _extension(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    """(value, where it goes on) of an option's delta or length (RFC 7252, 3.1)."""
    if nibble < 13:
        return nibble, at
    if nibble == 15:
        raise BadFrame("a CoAP message with a reserved option length")
    size, base = (1, 13) if nibble == 13 else (2, 269)
    if at + size > len(data):
        raise BadFrame("a CoAP message that ends within an option")
    return base + int.from_bytes(data[at : at + size], "big"), at + size


def _extended(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    return (13, bytes([value - 13])) if value < 269 else (14, (value - 269).to_bytes(2, "big"))
