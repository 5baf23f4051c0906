"""Blocks of readings as bytes: MessagePack with the names written once a block.

``[1, first_seq, devices, [[quantity, unit], ...], clocks, observations]`` where ``clocks`` is
``[[boot id or "" for UTC, base in ns], ...]``, an observation is ``[seq - first_seq, run, ...]`` and a run, readings of
one device at one instant, is ``[device, clock, ns - base, [quantity, value, ...], [index, quality, reason, ...]]``; the
last list names the readings that are not simply good. A position is ``[latitude, longitude, altitude]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from gateway.model import BootTime, Position, Quality, Reading, Reason, Value

VERSION = 1
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
UTC = ""  # in place of a boot id: the instant is a trusted UTC


class DamagedError(Exception):
    """Bytes that are not a block, or not the one that they should be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One observation in the stream; its readings have the numbers ``seq``, ``seq`` + 1, ..."""

    seq: int
    readings: tuple[Reading, ...]

    @property
    def last_seq(self) -> int:
        """The number of its last reading."""
        return self.seq + len(self.readings) - 1


def instant(reading: Reading) -> tuple[str, int]:
    """(boot id, monotonic ns), or ("", UTC ns) where the date is trusted."""
    return (UTC, reading.observed_ns) if reading.clock is None else (reading.clock.boot_id, reading.clock.mono_ns)


def encodable(readings: Iterable[Reading]) -> bool:
    """Whether a block can hold these: integers of 64 bits, whole characters, the types that a value may have."""
    return all(_fits(reading) for reading in readings)


def _fits(reading: Reading) -> bool:
    value = reading.value
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        return False
    texts = [reading.device, reading.quantity, reading.unit, *([value] if isinstance(value, str) else [])]
    try:
        return all(text.isascii() or text.encode() for text in texts) and isinstance(
            value, float | int | str | Position
        )
    except UnicodeEncodeError:
        return False


def encode(entries: Sequence[Entry]) -> bytes:
    """One block of at least one entry. Raises OverflowError, UnicodeError or TypeError for values no block can hold."""
    first_seq = entries[0].seq
    devices: dict[str, int] = {}
    quantities: dict[tuple[str, str], int] = {}
    clocks: dict[str, tuple[int, int]] = {}
    observations: list[list[Any]] = []
    for entry in entries:
        observation: list[Any] = [entry.seq - first_seq]
        for (device, (clock, ns)), run in groupby(entry.readings, lambda r: (r.device, instant(r))):
            number, base = clocks.setdefault(clock, (len(clocks), ns))
            values: list[Any] = []
            marks: list[Any] = []
            for index, reading in enumerate(run):
                values.append(quantities.setdefault((reading.quantity, reading.unit), len(quantities)))
                values.append(_to_wire(reading.value))
                if reading.quality or reading.reason:
                    marks += (index, int(reading.quality), str(reading.reason))
            observation.append([devices.setdefault(device, len(devices)), number, ns - base, values, marks])
        observations.append(observation)
    bases = [(clock, base) for clock, (_, base) in clocks.items()]
    return msgspec.msgpack.encode((VERSION, first_seq, list(devices), list(quantities), bases, observations))


def decode(body: bytes) -> list[Entry]:
    """The entries of a block, readings with their sequence numbers. Raises DamagedError."""
    try:
        version, first_seq, devices, quantities, clocks, observations = msgspec.msgpack.decode(body)
        if version != VERSION:
            raise DamagedError(f"block of version {version}")
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


def _to_wire(value: Value) -> object:
    return [value.latitude, value.longitude, value.altitude] if isinstance(value, Position) else value


def _from_wire(value: Any) -> Value:
    if isinstance(value, list):
        return Position(*value)
    if not isinstance(value, float | int | str):
        raise TypeError(f"no reading has a value of {type(value).__name__}")
    return value
