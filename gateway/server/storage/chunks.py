"""A chunk: samples of one series in columns, compressed. Pure; every sample comes back as it was, to the byte.

Of an instance the number and the date of observation are taken out; what is left is the same for most of a series and
is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import orjson
import zstandard

from gateway.server.storage.base import Numbers
from gateway.server.storage.changes import Row
from gateway.server.storage.columns import EXACT, Ints, pack, pack_floats, unpack, unpack_floats

SIZE = 512  # samples; the last chunk of a series grows up to it
LEVEL = 3
NO_NUMBER, INTEGER, FLOAT, NUMBER_KEPT = 0, 1, 2, 3  # kept: the text of the number stays in the instance
AT, VALUE = b"\x00", b"\x01"  # stand for what was taken out; JSON has no such bytes
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def split(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Rows in the order of time as chunks; what has the same time stays together."""
    parts: list[Sequence[Row]] = []
    start = 0
    while start < len(rows):
        end = min(start + SIZE, len(rows))
        while end < len(rows) and rows[end][0] == rows[end - 1][0]:
            end += 1
        parts.append(rows[start:end])
        start = end
    return parts


def encode(rows: Sequence[Row]) -> bytes:
    """Rows in the order of time; at least one."""
    at_us, marks, numbers, created_us, modified_us = (
        np.array([row[place] for row in rows], np.int64) for place in range(5)
    )
    rests: dict[bytes, int] = {}
    picks, kinds, values = [], [], []
    for row in rows:
        kind, value, rest = _take_apart(row[5], row[0])
        picks.append(rests.setdefault(rest, len(rests)))
        kinds.append(kind)
        values.append(value)
    body = [
        pack(at_us, 2),
        pack(marks),
        pack(numbers, 2),
        pack(created_us, 2),
        pack(modified_us - created_us),
        list(rests),
        pack(np.array(picks, np.int64)),
        pack(np.array(kinds, np.int64)),
        pack_floats(np.array(values, np.float64)),
    ]
    return zstandard.compress(msgspec.msgpack.encode(body), LEVEL)


def decode(body: bytes) -> list[Row]:
    """All rows, in the order of time."""
    columns = _columns(body)
    created_us = unpack(columns[3])
    whole = (unpack(columns[0]), unpack(columns[1]), unpack(columns[2]), created_us, created_us + unpack(columns[4]))
    at_us, marks, numbers, created, modified = (column.tolist() for column in whole)
    picks, kinds = unpack(columns[6]).tolist(), unpack(columns[7]).tolist()
    values, rests = unpack_floats(columns[8]).tolist(), columns[5]
    return [
        (at, mark, number, made, changed, _put_together(rests[pick], kind, value, at))
        for at, mark, number, made, changed, pick, kind, value in zip(
            at_us, marks, numbers, created, modified, picks, kinds, values, strict=True
        )
    ]


def decode_numbers(body: bytes) -> Numbers | None:
    """Observed samples; None where one of them is no number of a Property."""
    columns = _columns(body)
    at_us, marks, kinds = unpack(columns[0]), unpack(columns[1]), unpack(columns[7])
    values = unpack_floats(columns[8])
    observed: Ints | None = None
    if marks.any():
        observed = np.flatnonzero(marks == 0)
        at_us, kinds, values = at_us[observed], kinds[observed], values[observed]
    return Numbers(at_us, values) if kinds.all() else None


def number_of(instance: bytes) -> float | int | None:
    """The value, where it is a plain number of a Property."""
    try:
        found = orjson.loads(instance)
    except ValueError:
        return None
    if type(found) is not dict or found.get("type") != "Property":
        return None
    value = found.get("value")
    return value if type(value) in (int, float) else None


def _columns(body: bytes) -> list[Any]:
    found: list[Any] = msgspec.msgpack.decode(zstandard.decompress(body))
    return found


def _take_apart(instance: bytes, at_us: int) -> tuple[int, float, bytes]:
    """Kind of number, number, the rest. The first byte of the rest says whether something was taken out."""
    number = number_of(instance)
    kind = NO_NUMBER if number is None else NUMBER_KEPT
    if AT in instance or VALUE in instance:
        return kind, float(number or 0), b"=" + instance
    rest = instance
    if number is not None and abs(number) <= EXACT:
        token = b'"value":' + orjson.dumps(number)
        if token in instance:
            kind = INTEGER if type(number) is int else FLOAT
            rest = instance.replace(token, b'"value":' + VALUE, 1)
    if b'"observedAt":"' in rest:
        rest = rest.replace(_text(at_us), AT)
    return kind, float(number or 0), b"-" + rest


def _put_together(rest: bytes, kind: int, value: float, at_us: int) -> bytes:
    instance = rest[1:]
    if rest[:1] == b"=":
        return instance
    if AT in instance:
        instance = instance.replace(AT, _text(at_us))
    if kind in (INTEGER, FLOAT):
        instance = instance.replace(VALUE, orjson.dumps(int(value) if kind == INTEGER else value))
    return instance


def _text(at_us: int) -> bytes:
    try:
        text = (EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M:%S")
    except OverflowError:
        return b"\x02"  # no date has this; nothing is taken out
    fraction = f"{at_us % 1_000_000:06d}".rstrip("0")
    return (f"{text}.{fraction}Z" if fraction else f"{text}Z").encode()
