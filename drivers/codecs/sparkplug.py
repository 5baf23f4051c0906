"""Sparkplug B payloads: protocol buffers, read by a decoder of our own.

Source: Sparkplug 3.0.0 (Eclipse), 6.4 "Payloads"; Protocol Buffers, "Encoding". The ``protobuf`` library would do the
same and takes 5 MB of memory and 20 ms at start for it; what is read here is one message with three levels.

Read are the metrics and, of their properties, the quality. DataSets, templates, arrays, files and metadata are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drivers.base import Measurement
from drivers.codecs import json_paths
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES
from drivers.template import Field

NAMESPACE = "spBv1.0"
STATE = "STATE"
KINDS = ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH")
PAYLOAD_BYTES_MAX = 256 * 1024
METRICS_MAX = 5000
TEXT_BYTES_MAX = 4096
QUALITY_GOOD = 192  # 6.4.13: 0 is bad, 500 stale

Raw = int | float | bytes
Value = float | int | bool | str

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # wire types
_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}  # data type: bits (6.4.16)
_UNSIGNED = {5: 8, 6: 16, 7: 32, 8: 64}
_FLOAT, _DOUBLE, _BOOLEAN = 9, 10, 11
_TEXTS = (12, 14, 15)
_INT, _LONG, _FLOAT_VALUE, _DOUBLE_VALUE, _BOOLEAN_VALUE, _STRING_VALUE = 10, 11, 12, 13, 14, 15  # numbers of fields


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it stands in a message; ``raw`` is (number of the value's field, value), None for null or others."""

    name: str = ""
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: int = 0
    historical: bool = False
    good: bool = True
    raw: tuple[int, Raw] | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """A message. ``timestamp_ms`` is when it was sent, by the sender's clock."""

    timestamp_ms: int | None
    seq: int | None
    metrics: tuple[Metric, ...]


def parse(data: bytes) -> Payload:
    """Read a payload. Raises BadFrame."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise BadFrame(f"a payload of {len(data)} bytes; at most {PAYLOAD_BYTES_MAX} are read")
    timestamp = seq = None
    metrics: list[Metric] = []
    for number, value in _fields(data, {1: _VARINT, 2: _BYTES, 3: _VARINT}):
        if isinstance(value, bytes):
            metrics.append(_metric(value))
            if len(metrics) > METRICS_MAX:
                raise BadFrame(f"more than {METRICS_MAX} metrics in a payload")
        elif number == 1:
            timestamp = int(value)
        else:
            seq = int(value)
    if seq is not None and seq > 255:
        raise BadFrame(f"the sequence number {seq} is above 255")
    return Payload(timestamp, seq, tuple(metrics))


def value(metric: Metric, datatype: int) -> Value | None:
    """The value of a metric of that data type; None for null, bad quality and types that hold no single value.

    Raises BadFrame for a value that its type cannot have. A Float is rounded to the 9 digits that name it.
    """
    if metric.raw is None or not metric.good:
        return None
    number, raw = metric.raw
    if datatype in _SIGNED or datatype in _UNSIGNED:
        if number not in (_INT, _LONG) or not isinstance(raw, int):
            raise BadFrame(f"metric {metric.name!r}: an integer type without an integer")
        return _integer(raw, datatype)
    if datatype in (_FLOAT, _DOUBLE) and isinstance(raw, float):
        return float(f"{raw:.9g}") if number == _FLOAT_VALUE else raw
    if datatype == _BOOLEAN and number == _BOOLEAN_VALUE:
        return bool(raw)
    if datatype in _TEXTS and isinstance(raw, bytes):
        return _text(raw)
    if datatype in (_FLOAT, _DOUBLE, _BOOLEAN, *_TEXTS):
        raise BadFrame(f"metric {metric.name!r}: a value that is not of its type {datatype}")
    return None


def measurements(named: Iterable[tuple[str, Value]], fields: Iterable[Field]) -> tuple[Measurement, ...]:
    """The quantities of fields whose path is the name of a metric."""
    rows = {field.path: field for field in fields}
    found: dict[str, Measurement] = {}
    for name, raw in named:
        field = rows.get(name)
        converted = None if field is None else json_paths.convert(raw, field)
        if field is not None and converted is not None:
            found[field.quantity] = Measurement(field.quantity, converted)
    return tuple(found.values())


def decode(data: bytes, fields: Iterable[Field]) -> tuple[Measurement, ...]:
    """The quantities in a message whose metrics carry their name and type: a birth. Raises BadFrame."""
    named = ((metric.name, value(metric, metric.datatype)) for metric in parse(data).metrics if metric.name)
    return measurements([(name, found) for name, found in named if found is not None], fields)


def rebirth(timestamp_ms: int) -> bytes:
    """The payload of an NCMD that asks a node for its births (5.12): the metric Node Control/Rebirth, true."""
    metric = b"\x0a\x14Node Control/Rebirth" + bytes([4 << 3, _BOOLEAN, _BOOLEAN_VALUE << 3, 1])
    number, rest = bytearray(), timestamp_ms
    while rest > 0x7F:
        number.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([1 << 3, *number, rest, 2 << 3 | _BYTES, len(metric)]) + metric


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """See drivers.codecs.framing.DecodeFrame: metrics that are named as the quantity that they are.

    The STATE of a host is text or JSON, not a payload, and no measurement.
    """
    levels = hints.topic.split("/")
    if STATE in levels[:2]:
        if not data or not data.isascii() or not data.decode("ascii").isprintable():
            raise BadFrame("the STATE of a host is text")
        return ()
    if hints.topic and (len(levels) not in (4, 5) or levels[0] != NAMESPACE or levels[2] not in KINDS):
        raise BadFrame(f"{hints.topic!r} is no topic of Sparkplug B")
    payload = parse(data)
    if payload.timestamp_ms is None and payload.seq is None:
        raise BadFrame("a payload with neither time nor sequence number")
    return decode(data, [Field(name, name) for name in {m.name for m in payload.metrics} if name in QUANTITIES])


def _metric(data: bytes) -> Metric:
    name, alias, timestamp, datatype, historical, null, good = "", None, None, 0, False, False, True
    raw: tuple[int, Raw] | None = None
    expected = {1: _BYTES, 2: _VARINT, 3: _VARINT, 4: _VARINT, 5: _VARINT, 7: _VARINT, 9: _BYTES}
    expected |= {10: _VARINT, 11: _VARINT, 12: _FOUR, 13: _EIGHT, 14: _VARINT, 15: _BYTES}
    for number, found in _fields(data, expected):
        if number >= _INT:
            raw = number, found
        elif isinstance(found, bytes):
            name = _text(found) if number == 1 else name
            good = _is_good(found) if number == 9 else good
        elif number == 2:
            alias = int(found)
        elif number == 3:
            timestamp = int(found)
        elif number == 4:
            datatype = int(found)
        elif number == 5:
            historical = bool(found)
        else:
            null = bool(found)
    return Metric(name, alias, timestamp, datatype, historical, good, None if null else raw)


def _is_good(properties: bytes) -> bool:
    """Whether the property ``Quality`` of a PropertySet is absent or says good (6.4.12, 6.4.13)."""
    keys: list[bytes] = []
    values: list[bytes] = []
    for number, found in _fields(properties, {1: _BYTES, 2: _BYTES}):
        (keys if number == 1 else values).append(bytes(found) if isinstance(found, bytes) else b"")
    if len(keys) != len(values):
        raise BadFrame(f"a property set with {len(keys)} keys and {len(values)} values")
    for key, stated in zip(keys, values, strict=True):
        if key == b"Quality":
            return any(number == QUALITY_GOOD for _, number in _fields(stated, {3: _VARINT, 4: _VARINT}))
    return True


def _integer(raw: int, datatype: int) -> int:
    """Signed types are two's complement of their own width, or sign-extended to 32 or 64 bits by their sender."""
    if datatype in _UNSIGNED:
        if raw >> _UNSIGNED[datatype]:
            raise BadFrame(f"{raw} is no unsigned integer of {_UNSIGNED[datatype]} bits")
        return raw
    bits = _SIGNED[datatype]
    for width in (bits, 32, 64):
        number = raw - (1 << width) if raw >> (width - 1) == 1 else raw
        if -(1 << (bits - 1)) <= number < 1 << (bits - 1):
            return number
    raise BadFrame(f"{raw} is no signed integer of {bits} bits")


def _text(raw: bytes) -> str:
    if len(raw) > TEXT_BYTES_MAX:
        raise BadFrame(f"a text of {len(raw)} bytes; at most {TEXT_BYTES_MAX} are read")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadFrame("a text that is not UTF-8") from None


def _fields(data: bytes, wanted: dict[int, int]) -> Iterator[tuple[int, Raw]]:
    """The fields of a message in their order; those that are not in ``wanted`` (number: wire type) are skipped."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise BadFrame("a field with the number 0")
        if number in wanted and wanted[number] != wire:
            raise BadFrame(f"field {number} is of wire type {wire}")
        found: Raw
        if wire == _VARINT:
            found, at = _varint(data, at)
        else:
            size = {_EIGHT: 8, _FOUR: 4}.get(wire)
            if wire == _BYTES:
                size, at = _varint(data, at)
            if size is None:
                raise BadFrame(f"wire type {wire} is not used here")
            if at + size > len(data):
                raise BadFrame(f"field {number} ends {at + size - len(data)} bytes behind the message")
            chunk, at = data[at : at + size], at + size
            found = chunk if wire == _BYTES else struct.unpack("<d" if wire == _EIGHT else "<f", chunk)[0]
        if number in wanted:
            yield number, found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(the number at ``at``, where it ends): seven bits a byte, low ones first, at most 64 in all."""
    number = shift = 0
    while at < len(data) and shift < 70:
        byte, at = data[at], at + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                raise BadFrame("a number of more than 64 bits")
            return number, at
        shift += 7
    raise BadFrame("a number that does not end")
