"""Changes of history: how they are written, and what they make of a series. Pure.

A change is a list (tuple) that starts with its code::

    PUT, attribute, dataset, at_us, mark, number, created_us, modified_us, instance   replaces by identity, but number
                                                                                      and creation of what is there stay
    SET, (the same)                                                                   replaces as a whole
    DROP, attribute or None, dataset or None, number or None                          all that fit
    TRIM, None, None, before_us                                                       all that is older
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, get_args

import msgspec
import orjson

from gateway.server.storage import zstd
from gateway.server.storage.base import Mark, Sample

PUT, SET, DROP, TRIM = 0, 1, 2, 3
TAKE_AWAY = (DROP, TRIM)  # of many times
MARKS: tuple[Mark, ...] = get_args(Mark)
MARK_NUMBERS = {mark: number for number, mark in enumerate(MARKS)}
COMPRESS_FROM = 1_000  # bytes; what is smaller gains little
Change: TypeAlias = Sequence[Any]
Row: TypeAlias = tuple[int, int, int, int, int, bytes]  # at_us, mark, number, created_us, modified_us, instance
Series: TypeAlias = tuple[str, str]  # attribute, dataset
Rows: TypeAlias = dict[tuple[int, int], Row]  # by identity within a series: at_us, mark
ZSTD = b"\x28\xb5\x2f\xfd"


def tight(document: bytes) -> bytes:
    """A copy. What orjson returns occupies 4 KiB at least, however short it is: too much for what is kept."""
    return bytes(memoryview(document))


def put(samples: Iterable[Sample], number: int, now_us: int) -> list[Change]:
    """Of samples that arrive; ``number`` is that of the first."""
    return [
        (PUT, attribute, dataset, at_us, MARK_NUMBERS[mark], place, now_us, now_us, bytes(memoryview(instance)))
        for place, (attribute, dataset, at_us, instance, mark, _, _, _) in enumerate(samples, number)
    ]


def replace(sample: Sample, old: Sample, now_us: int) -> Change:
    """Of a sample that takes the place of another one."""
    attribute, dataset, at_us, instance, mark = sample[:5]
    return (SET, attribute, dataset, at_us, MARK_NUMBERS[mark], old.number, old.created_us, now_us, tight(instance))


def sample(series: Series, row: Row) -> Sample:
    """A row as the readers of storage know it."""
    at_us, mark, number, created_us, modified_us, instance = row
    return Sample(series[0], series[1], at_us, instance, MARKS[mark], number, created_us, modified_us)


def names(change: Change, series: Series) -> bool:
    """Whether the change is about the series."""
    if change[0] not in TAKE_AWAY:
        return bool(change[1] == series[0] and change[2] == series[1])
    return change[1] in (None, series[0]) and change[2] in (None, series[1])


def apply(rows: Rows, changes: Iterable[Change], series: Series) -> None:
    """Make the changes that are about this series."""
    for change in changes:
        if not names(change, series):
            continue
        if change[0] == DROP:
            _drop(rows, change[3])
            continue
        if change[0] == TRIM:
            for identity in [key for key in rows if key[0] < change[3]]:
                del rows[identity]
            continue
        at_us, mark, number, created_us, modified_us, instance = change[3:]
        old = rows.get((at_us, mark))
        if change[0] == PUT and old is not None:
            number, created_us = old[2], old[3]
        rows[at_us, mark] = (at_us, mark, number, created_us, modified_us, instance)


def _drop(rows: Rows, number: int | None) -> None:
    if number is None:
        rows.clear()
    for identity in [key for key, row in rows.items() if row[2] == number]:
        del rows[identity]


def encode(changes: Sequence[Change]) -> bytes:
    """For a row of ``recent``."""
    body = msgspec.msgpack.encode(changes)
    return zstd.compress(body) if len(body) > COMPRESS_FROM else body


def decode(body: bytes) -> list[Change]:
    """Of a row of ``recent``; what an old schema left is JSON."""
    if body[:1] == b"[":
        return [(*change[:8], change[8].encode()) for change in orjson.loads(body)]
    if body[:4] == ZSTD:
        body = zstd.decompress(body)
    found: list[Change] = msgspec.msgpack.decode(body)
    return found
