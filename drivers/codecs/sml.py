"""SML telegrams: the optical port of German electricity meters (EDL21, basic meters after FNN).

Source: BSI TR-03109-1, annex IV (Smart Message Language 1.04): transport version 1 (escape 1B1B1B1B, CRC-16/X-25 over
the whole, 5 and 8.4), type-length fields (6), messages with a CRC of their own (7), of which the list of values
(SML_GetList.Res, 0x0701) is read. Values are number x 10^scaler in a unit of IEC 62056-6-2. The meter's clock counts
seconds since some start: no date. Status words: FNN *Lastenheft Basiszähler* 2.1, for EDL21 meters as EMH states it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from drivers.base import Measurement
from drivers.codecs import obis
from drivers.codecs.framing import BUFFER_BYTES_MAX, Decoded, Hints
from drivers.errors import BadFrame

ESCAPE = b"\x1b\x1b\x1b\x1b"
START = ESCAPE + b"\x01\x01\x01\x01"
_GET_LIST_RESPONSE = 0x0701
_DEPTH_MAX = 12
_SCALER_MAX = 12
# DLMS unit numbers, IEC 62056-6-2 table 4
_UNITS: Mapping[int, str] = MappingProxyType(
    {8: "deg", 27: "W", 28: "VA", 29: "var", 30: "Wh", 31: "VAh", 32: "varh", 33: "A", 35: "V", 44: "Hz"}
)
_MAKER = bytes.fromhex("0100603201ff")[:5]  # 1-0:96.50.1; the last byte is 1 or 255
_MAKER_OLD = bytes.fromhex("8181c78203ff")  # 129-129:199.130.3
_NET, _AMOUNT = "16.7.0", "15.7.0"
_FNN_LOADED, _FNN_EXPORT = 0x100, 0x800  # above the starting current; flow to the grid
_EDL_EXPORT = 0x20


@dataclass(frozen=True, slots=True)
class Integer:
    """A number of a telegram and the bytes that it took."""

    value: int
    size: int


Item = Any  # bytes, bool, Integer, None (end of a message) or a list of these


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0x8408 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes, start: int = 0xFFFF) -> int:
    """CRC-16/X-25; with ``start`` 0 the CRC-16/KERMIT that Holley's meters put in its place."""
    crc = start
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ start


def take(buffer: bytearray) -> Decoded | None:
    """Cut the next telegram out of the buffer and decode it; see ``framing.Take``. Raises BadFrame.

    A damaged telegram gives up its beginning only: the next good one may begin inside it.
    """
    start = buffer.find(START)
    if start < 0:
        del buffer[: max(0, len(buffer) - len(START) + 1)]
        return None
    del buffer[:start]
    try:
        size = _size(buffer)
        if size is None:
            return None
        decoded = decode(bytes(buffer[:size]))
    except BadFrame:
        del buffer[: len(START)]
        raise
    del buffer[:size]
    return decoded


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """Decode the first good telegram of a capture, which may begin and end in others. Raises BadFrame."""
    del hints
    buffer, damage = bytearray(data), ""
    while True:
        try:
            decoded = take(buffer)
        except BadFrame as error:
            damage = damage or str(error)
            continue
        if decoded is None:
            raise BadFrame(damage or "no whole SML telegram")
        return decoded.measurements


def decode(telegram: bytes) -> Decoded:
    """Decode one telegram from its start to its CRC. Raises BadFrame."""
    if not telegram.startswith(START) or _size(bytearray(telegram)) != len(telegram):
        raise BadFrame("not one whole SML telegram")
    kermit = b"HLY" in telegram and crc16(telegram[:-2], 0) == int.from_bytes(telegram[-2:], "little")
    if not kermit and crc16(telegram[:-2]) != int.from_bytes(telegram[-2:], "little"):
        raise BadFrame("CRC of the SML telegram is wrong")
    padding = telegram[-3]
    # the doubled escapes of the content: none of them can overlap with another one
    content = telegram[len(START) : -8].replace(ESCAPE + ESCAPE, ESCAPE)
    if padding > 3 or not content.endswith(bytes(padding)):
        raise BadFrame("padding of the SML telegram is wrong")
    entries = [entry for body in _messages(content[: len(content) - padding]) for entry in _entries(body)]
    measurements = obis.measurements(_stated(entries))
    if not measurements:
        raise BadFrame("an SML telegram without any value of electricity")
    return Decoded(measurements)


def _size(buffer: bytearray) -> int | None:
    """Bytes of the telegram that the buffer begins with, None for more to come. Raises BadFrame."""
    at = len(START)
    while (at := buffer.find(ESCAPE, at)) >= 0 and len(buffer) >= at + 8:
        behind = bytes(buffer[at + 4 : at + 8])
        if behind[0] == 0x1A:
            return at + 8
        if behind != ESCAPE:
            raise BadFrame("an SML telegram without an end")
        at += 8
    if len(buffer) > BUFFER_BYTES_MAX:
        raise BadFrame(f"no end of the SML telegram within {BUFFER_BYTES_MAX} bytes")
    return None


def _messages(content: bytes) -> list[list[Item]]:
    """The bodies of the messages, tag first. Raises BadFrame."""
    bodies: list[list[Item]] = []
    at = 0
    while at < len(content):
        if content[at] == 0:  # between messages
            at += 1
            continue
        message, end = _item(content, at, 0)
        if not isinstance(message, list) or len(message) != 6 or message[5] is not None:
            raise BadFrame("not an SML message")
        body, crc = message[3], message[4]
        if not isinstance(body, list) or len(body) != 2 or not isinstance(crc, Integer):
            raise BadFrame("an SML message without body or CRC")
        signed = content[at : end - 2 - crc.size]  # all but the CRC with its length, and the end mark
        if crc.value not in [int.from_bytes(crc16(signed, s).to_bytes(2, "little"), "big") for s in (0xFFFF, 0)]:
            raise BadFrame("CRC of an SML message is wrong")
        bodies.append(body)
        at = end
    return bodies


def _item(data: bytes, at: int, depth: int) -> tuple[Item, int]:
    """The field at ``at`` and where the next one begins: type and length in nibbles (6.2). Raises BadFrame."""
    begin = at
    if at >= len(data) or depth > _DEPTH_MAX:
        raise BadFrame("a field of the SML telegram reaches beyond its end")
    if data[at] == 0:
        return None, at + 1
    kind, length = data[at] >> 4 & 7, data[at] & 0xF
    while data[at] & 0x80:
        at += 1
        if at >= len(data) or at - begin > 3:
            raise BadFrame("a length of the SML telegram has no end")
        length = length << 4 | data[at] & 0xF
    at += 1
    if kind == 7:
        items: list[Item] = []
        for _ in range(length):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    end = begin + length
    if not at <= end <= len(data):
        raise BadFrame("a field of the SML telegram reaches beyond its end")
    raw = data[at:end]
    if kind == 0:
        return raw, end
    if kind == 4 and len(raw) == 1:
        return raw != b"\0", end
    if kind in (5, 6) and 1 <= len(raw) <= 8:
        return Integer(int.from_bytes(raw, "big", signed=kind == 5), len(raw)), end
    raise BadFrame(f"a field of {len(raw)} bytes has type {kind}, which SML does not know")


def _entries(body: list[Item]) -> list[list[Item]]:
    """The entries of a list of values: name, status, time, unit, scaler, value, signature. Raises BadFrame."""
    tag, response = body
    if not isinstance(tag, Integer) or tag.value != _GET_LIST_RESPONSE:
        return []
    if not isinstance(response, list) or len(response) != 7 or not isinstance(response[4], list):
        raise BadFrame("a list of values that is none")
    entries = [entry for entry in response[4] if isinstance(entry, list) and len(entry) == 7]
    if len(entries) != len(response[4]):
        raise BadFrame("a list of values with entries that are none")
    return entries


def _stated(entries: list[list[Item]]) -> obis.Stated:
    """Values of electricity by code; the direction that a meter states in its status word becomes the sign."""
    numbers: dict[str, tuple[Integer, int, str]] = {}
    maker, status = b"", None
    for name, state, _, unit, scaler, value, _ in entries:
        if not isinstance(name, bytes) or len(name) != 6:
            continue
        if (name.startswith(_MAKER) or name == _MAKER_OLD) and isinstance(value, bytes):
            maker = value
        if not isinstance(value, Integer) or not isinstance(unit, Integer) or unit.value not in _UNITS:
            continue
        power = scaler.value if isinstance(scaler, Integer) else 0
        if name[:2] != b"\1\0" or name[5] != 0xFF or abs(power) > _SCALER_MAX:
            continue
        if status is None and isinstance(state, Integer) and name[2] in (1, 2):
            status = state.value
        numbers.setdefault(f"{name[2]}.{name[3]}.{name[4]}", (value, power, _UNITS[unit.value]))
    _correct(numbers, maker, status)
    return {code: (Decimal(number.value).scaleb(power), unit) for code, (number, power, unit) in numbers.items()}


def _correct(numbers: dict[str, tuple[Integer, int, str]], maker: bytes, status: int | None) -> None:
    """Signs that only the status word tells.

    Old meters by DZG give the power as a signed number without room for the sign: what fills its highest bit while the
    status says that much is drawn is positive. Meters that state the amount of power in both directions (15.7.0)
    tell the direction in the status word alone.
    """
    fnn = status is not None and status & 0xFF == 0x04
    if status is not None and fnn and maker == b"DZG" and _NET in numbers:
        net, power, unit = numbers[_NET]
        if net.value < 0 and status & _FNN_LOADED and not status & _FNN_EXPORT:
            numbers[_NET] = (Integer(net.value + (1 << 8 * net.size), net.size), power, unit)
    if status is not None and (fnn or status & 0x80) and _AMOUNT in numbers and _NET not in numbers:
        amount, power, unit = numbers[_AMOUNT]
        exporting = status & (_FNN_EXPORT if fnn else _EDL_EXPORT)
        numbers[_NET] = (Integer(-abs(amount.value) if exporting else amount.value, amount.size), power, unit)
