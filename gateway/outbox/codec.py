"""Bodies of blocks: the compact form, and for files of version 1 the MessagePack that stood there before.

The first byte tells them apart: 1 is a compact body, the head of an array of six is one of version 1:
``[1, first_seq, devices, [[quantity, unit], ...], clocks, observations]`` where ``clocks`` is
``[[boot id or "" for UTC, base in ns], ...]``, an observation is ``[seq - first_seq, run, ...]`` and a run, readings of
one device at one instant, is ``[device, clock, ns - base, [quantity, value, ...], [index, quality, reason, ...]]``; the
last list names the readings that are not simply good. A position is ``[latitude, longitude, altitude]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from gateway.compact.codec import READINGS_MAX, CompactError, Entry, encode
from gateway.compact.codec import decode as decode_compact
from gateway.model import BootTime, Position, Quality, Reading, Reason, Value

__all__ = ["READINGS_MAX", "DamagedError", "Entry", "decode", "encodable", "encode", "instant"]

FIRST_BYTE_1 = 0x96
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
NS_MAX = 2**63 - 1
KINDS: tuple[type, ...] = (float, int, str, Position)
UTC = ""  # in place of a boot id: the instant is a trusted UTC


class DamagedError(Exception):
    """Bytes that are not a block, or not the one that they should be."""


def instant(reading: Reading) -> tuple[str, int]:
    """(boot id, monotonic ns), or ("", UTC ns) where the date is trusted."""
    return (UTC, reading.observed_ns) if reading.clock is None else (reading.clock.boot_id, reading.clock.mono_ns)


def encodable(readings: Iterable[Reading]) -> bool:
    """Whether a block can hold these: integers of 64 bits, whole characters, the types that a value may have."""
    return all(_fits(reading) for reading in readings)


def decode(body: bytes) -> list[Entry]:
    """The entries of a block, readings with their sequence numbers. Raises DamagedError."""
    if body[:1] == bytes((FIRST_BYTE_1,)):
        return _decode_1(body)
    try:
        return decode_compact(body)
    except CompactError as error:
        raise DamagedError(str(error)) from error


def _fits(reading: Reading) -> bool:
    value = reading.value
    ns = reading.observed_ns if reading.clock is None else reading.clock.mono_ns
    if not -NS_MAX <= ns <= NS_MAX:
        return False
    if type(value) is not float:  # nearly all are
        if not isinstance(value, KINDS):
            return False
        if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
            return False
        if isinstance(value, str) and not _whole(value):
            return False
    return _whole(reading.device) and _whole(reading.quantity) and _whole(reading.unit)


def _whole(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _decode_1(body: bytes) -> list[Entry]:
    try:
        _, first_seq, devices, quantities, clocks, observations = msgspec.msgpack.decode(body)
        entries = []
        for offset, *runs in observations:
            seq = first_seq + offset
            readings: list[Reading] = []
            for run in runs:
                readings.extend(_run(run, seq + len(readings), devices, quantities, clocks))
            entries.append(Entry(seq, tuple(readings)))
    except (msgspec.DecodeError, ValueError, TypeError, IndexError) as error:
        raise DamagedError(str(error)) from error
    return entries


def _run(run: list[Any], seq: int, devices: list[str], quantities: list[Any], clocks: list[Any]) -> Iterator[Reading]:
    device_index, clock_index, offset, values, marks = run
    device = devices[device_index]
    clock, base = clocks[clock_index]
    ns = base + offset
    observed_ns, boot_time = (ns, None) if clock == UTC else (0, BootTime(clock, ns))
    marked = {i: (Quality(q), Reason(r)) for i, q, r in zip(*[iter(marks)] * 3, strict=True)}
    for index, (number, value) in enumerate(zip(*[iter(values)] * 2, strict=True)):
        quantity, unit = quantities[number]
        quality, reason = marked.get(index, (Quality.GOOD, Reason.NONE))
        value = _from_wire(value)
        yield Reading(device, quantity, value, unit, observed_ns, boot_time, quality, reason, seq + index)


def _from_wire(value: Any) -> Value:
    if isinstance(value, list):
        return Position(*value)
    if not isinstance(value, float | int | str):
        raise TypeError(f"no reading has a value of {type(value).__name__}")
    return value
