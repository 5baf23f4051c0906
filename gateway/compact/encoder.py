"""Entries to the bytes of a body before they are compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import gcd
from operator import attrgetter

import cbor2

from gateway.compact.bits import BitWriter, folded
from gateway.compact.columns import write_integers
from gateway.compact.dictionary import quantities
from gateway.compact.entry import EXPONENT_MAX, LIMIT, MARKS, READINGS_MAX, Entry, Shape
from gateway.compact.values import Texts, ValueWriter
from gateway.model import Reading, Value

_moment = attrgetter("device", "observed_ns", "clock")
_name = attrgetter("quantity", "unit")
_value, _quality, _reason = attrgetter("value"), attrgetter("quality"), attrgetter("reason")


def raw(entries: Sequence[Entry]) -> bytes:
    """Raises ValueError without an entry; OverflowError, UnicodeError or TypeError for what no body can hold."""
    if not entries:
        raise ValueError("a body needs an entry")
    if max(len(entries), sum(len(entry.readings) for entry in entries)) > READINGS_MAX:
        raise OverflowError(f"more than {READINGS_MAX} readings")
    if min(entry.seq for entry in entries) < 0 or max(entry.last_seq for entry in entries) >= LIMIT:
        raise OverflowError("a sequence number beyond all")
    return _Encoder().encode(entries)


@dataclass(slots=True)
class _Series:
    number: int
    device: int
    shape: int
    times: list[int] = field(default_factory=list)
    clocks: list[int] = field(default_factory=list)
    rows: list[tuple[Value, ...]] = field(default_factory=list)
    marks: dict[int, list[int]] = field(default_factory=dict)  # of the rows that are not simply good


class _Encoder:
    def __init__(self) -> None:
        self._devices: dict[str, int] = {}
        self._shapes: dict[Shape, int] = {}
        self._clocks: dict[str | None, int] = {None: 0}
        self._texts: Texts = {}
        self._names: dict[tuple[str, str], int] = {}  # those that are not in the dictionary
        self._series: dict[tuple[str, Shape], _Series] = {}
        self._bits = BitWriter()

    def encode(self, entries: Sequence[Entry]) -> bytes:
        order = [[self._add(run) for run in _runs(entry.readings)] for entry in entries]
        self._write_order(entries, order)
        self._write_shapes()
        by_shape: list[list[_Series]] = [[] for _ in self._shapes]
        for one in self._series.values():
            by_shape[one.shape].append(one)
        for series in by_shape:
            self._write_times(series)
            self._write_values(series)
        names = [text for name in self._names for text in name]
        lists = [list(self._devices), names, list(self._texts), list(self._clocks)[1:]]
        while lists and not lists[-1]:
            lists.pop()
        head: bytes = cbor2.dumps(lists)
        return _leb128(len(head)) + head + self._bits.to_bytes()

    def _add(self, run: Sequence[Reading]) -> int:
        """Put a run to its series; its number."""
        first = run[0]
        shape = tuple(map(_name, run))
        series = self._series.get((first.device, shape))
        if series is None:
            device = self._devices.setdefault(first.device, len(self._devices))
            series = _Series(len(self._series), device, self._shapes.setdefault(shape, len(self._shapes)))
            self._series[first.device, shape] = series
        if any(map(_quality, run)) or any(map(_reason, run)):
            series.marks[len(series.rows)] = [MARKS[reading.quality, reading.reason] for reading in run]
        clock, ns = (None, first.observed_ns) if first.clock is None else (first.clock.boot_id, first.clock.mono_ns)
        if not -LIMIT <= ns < LIMIT:
            raise OverflowError("an instant of more than 64 bits")
        series.times.append(ns)
        series.clocks.append(self._clocks.setdefault(clock, len(self._clocks)))
        series.rows.append(tuple(map(_value, run)))
        return series.number

    def _write_order(self, entries: Sequence[Entry], order: Sequence[Sequence[int]]) -> None:
        """Numbers of the entries, their runs, and what series there are."""
        self._bits.put_one(entries[0].seq)
        self._bits.put_one(len(entries) - 1)
        expected = [entries[0].seq, *(entry.last_seq + 1 for entry in entries)]
        self._bits.put_list(folded([entry.seq - seq for entry, seq in zip(entries, expected, strict=False)]))
        self._bits.put_list(folded([len(runs) - 1 for runs in order]))
        if self._series:
            self._bits.put_one(len(self._series) - 1)
        self._bits.put_list(_by_successor([number for runs in order for number in runs], len(self._series)))
        devices, shapes = [], []
        known = shape = 0
        for series in self._series.values():
            devices.append(0 if series.device == known else series.device + 1)
            shapes.append(0 if series.shape == shape else series.shape + 1)
            known, shape = max(known, series.device + 1), series.shape
        self._bits.put_list(devices)
        self._bits.put_list(shapes)

    def _write_shapes(self) -> None:
        known = quantities()
        places = []
        for shape in self._shapes:
            for name in shape:
                place = known.get(name)
                places.append(len(known) + self._names.setdefault(name, len(self._names)) if place is None else place)
        self._bits.put_list([len(shape) - 1 for shape in self._shapes])
        self._bits.put_list(folded([place - last - 1 for last, place in zip([-1, *places], places, strict=False)]))

    def _write_times(self, series: Sequence[_Series]) -> None:
        times = [ns for one in series for ns in one.times]
        common = gcd(*times)
        exponent = next(exponent for exponent in range(EXPONENT_MAX, -1, -1) if common % 10**exponent == 0)
        self._bits.put(4, exponent)
        write_integers(self._bits, [ns // 10**exponent for ns in times], [len(one.times) for one in series])
        clocks = [clock for one in series for clock in one.clocks]
        self._bits.put_list(folded([clock - last for last, clock in zip([0, *clocks], clocks, strict=False)]))

    def _write_values(self, series: Sequence[_Series]) -> None:
        sizes = [len(one.rows) for one in series]
        writer = ValueWriter(self._bits, sizes, self._texts)
        for column in zip(*(row for one in series for row in one.rows), strict=True):
            writer.write(column)
        marked = any(one.marks for one in series)
        self._bits.put(1, marked)
        if marked:
            good = [0] * len(series[0].rows[0])
            marks = [one.marks.get(row, good) for one in series for row in range(len(one.rows))]
            for marks_of_one in zip(*marks, strict=True):
                self._bits.put_list(marks_of_one)


def _runs(readings: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
    moments = list(map(_moment, readings))
    if moments and moments.count(moments[0]) == len(moments):
        yield readings
    else:
        for _, run in groupby(readings, _moment):
            yield tuple(run)


def _leb128(length: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the highest bit set (LEB128)."""
    made = bytearray()
    while length > 0x7F:
        made.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((*made, length))


def _by_successor(order: Sequence[int], count: int) -> list[int]:
    """Series in the order of their runs: 0 where one is what followed the one before it the last time, else it + 1.

    Where nothing has followed yet, the next series that did not come up is expected, or the first when all have.
    """
    codes = []
    followed: dict[int, int] = {}
    last, seen = -1, 0
    for number in order:
        codes.append(0 if followed.get(last, seen % count) == number else number + 1)
        followed[last] = number
        last, seen = number, max(seen, number + 1)
    return codes
