"""A chunk: samples of one series in columns, compressed. Pure; every sample comes back as it was, to the byte.

Of an instance the number is taken out; what is left is the same for most of a series and is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from gateway.server.storage import zstd
from gateway.server.storage.base import Numbers
from gateway.server.storage.changes import Row
from gateway.server.storage.columns import EXACT, Ints, constant, pack, pack_floats, unpack, unpack_floats

SIZE = 512  # samples; the last chunk of a series grows up to it
NO_NUMBER, INTEGER, FLOAT, NUMBER_KEPT = 0, 1, 2, 3  # kept: the text of the number stays in the instance
OBSERVED = 0
VALUE = b"\x01"  # stands for what was taken out; JSON has no such byte


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


FIRST, LAST = -(2**63), 2**63 - 1  # microseconds: all of time


def encode(rows: Sequence[Row]) -> bytes:
    """Rows in the order of time; at least one."""
    at_us, marks, numbers, created_us, modified_us = (
        np.array([row[place] for row in rows], np.int64) for place in range(5)
    )
    rests: dict[bytes, int] = {}
    picks, kinds, values = [], [], []
    for row in rows:
        kind, value, rest = _take_apart(row[5])
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
    return zstd.compress(msgspec.msgpack.encode(body), zstd.SMALL)


def decode(
    body: bytes, since_us: int = FIRST, until_us: int = LAST, mark: int | None = None, newest: int | None = None
) -> list[Row]:
    """Rows in the order of time: from since (included) to until, of one mark, the newest, as far as these are given."""
    columns = _columns(body)
    created_us, times, signs = unpack(columns[3]), unpack(columns[0]), unpack(columns[1])
    wanted = (times >= since_us) & (times < until_us)
    if mark is not None:
        wanted &= signs == mark
    index = np.flatnonzero(wanted)
    index = index if newest is None else index[max(0, len(index) - newest) :]
    whole = (times, signs, unpack(columns[2]), created_us, created_us + unpack(columns[4]))
    at_us, marks, numbers, created, modified = (column[index].tolist() for column in whole)
    picks, kinds = unpack(columns[6])[index].tolist(), unpack(columns[7])[index].tolist()
    values, rests = unpack_floats(columns[8])[index].tolist(), columns[5]
    return [
        (at, mark, number, made, changed, _put_together(rests[pick], kind, value))
        for at, mark, number, made, changed, pick, kind, value in zip(
            at_us, marks, numbers, created, modified, picks, kinds, values, strict=True
        )
    ]


def decode_numbers(body: bytes) -> Numbers | None:
    """Observed samples; None where one of them is no number of a Property."""
    columns = _columns(body)
    at_us, values = unpack(columns[0]), unpack_floats(columns[8])
    if constant(columns[1]) == OBSERVED and (kind := constant(columns[7])) is not None:  # nearly all of them
        return None if kind == NO_NUMBER else Numbers(at_us, values)
    marks, kinds = unpack(columns[1]), unpack(columns[7])
    observed: Ints | None = None
    if marks.any():
        observed = np.flatnonzero(marks == OBSERVED)
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
    found: list[Any] = msgspec.msgpack.decode(zstd.decompress(body))
    return found


def _take_apart(instance: bytes) -> tuple[int, float, bytes]:
    """Kind of number, number, the rest. The first byte of the rest says whether something was taken out."""
    number = number_of(instance)
    if number is None:
        return NO_NUMBER, 0.0, b"=" + instance
    token = b'"value":' + orjson.dumps(number)
    if abs(number) > EXACT or VALUE in instance or token not in instance:
        return NUMBER_KEPT, float(number), b"=" + instance
    kind = INTEGER if type(number) is int else FLOAT
    return kind, float(number), b"-" + instance.replace(token, b'"value":' + VALUE, 1)


def _put_together(rest: bytes, kind: int, value: float) -> bytes:
    if rest[:1] == b"=":
        return rest[1:]
    return rest[1:].replace(VALUE, orjson.dumps(int(value) if kind == INTEGER else value))
