"""Columns of values: of one kind as a rule, but whatever a reading may have.

A bit 0 stands for floats. Else after a bit 1 five bits say which kinds there are: floats 16, whole numbers 8, truths 4,
texts 2, positions 1. Where there is more than one, a list says of each row the place of its kind among those that are
there. Then follows the column of each kind with the rows that are of it:

* floats: their form (4 bits), and the column of whole numbers for it
* whole numbers: as they are
* truths: as 0 and 1, texts: as their places in the list of texts; neither follows another column nor is followed
* positions: latitudes as floats, longitudes as floats, a list with 1 where there is an altitude, and those as floats

A column with some of the rows only does not follow another, is not followed, and has no bit for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

from gateway.compact.bits import BitReader, BitWriter, between
from gateway.compact.columns import (
    Known,
    read_column,
    read_integers,
    to_floats,
    to_integers,
    write_column,
    write_integers,
)
from gateway.compact.errors import CompactError
from gateway.model import Position, Value

Texts = dict[str, int]
_KINDS: tuple[type, ...] = (float, int, bool, str, Position)
_FLOAT, _INTEGER, _TRUTH, _TEXT, _POSITION = range(5)
_NUMBER_OF: dict[type, int] = {kind: number for number, kind in enumerate(_KINDS)}
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1


@dataclass(slots=True)
class ValueWriter:
    """Writes the columns of one shape, whose rows are in groups of ``sizes``; new texts are added to ``texts``.

    Raises TypeError for what is no value and OverflowError for whole numbers of more than 64 bits.
    """

    bits: BitWriter
    sizes: Sequence[int]
    texts: Texts
    known: Known = field(default_factory=Known)

    def write(self, column: Sequence[Value]) -> None:
        """One quantity."""
        found = set(map(type, column))
        kinds = [_FLOAT] if found == {float} else sorted({_kind(kind) for kind in found})
        if kinds == [_FLOAT]:
            self.bits.put(1, 0)
        else:
            self.bits.put(1 + len(_KINDS), 32 + sum(16 >> kind for kind in kinds))
        if len(kinds) == 1:
            self._write(kinds[0], column, self.sizes, self.known)
            return
        places = [kinds.index(_kind(type(value))) for value in column]
        self.bits.put_list(places)
        for place, kind in enumerate(kinds):
            chosen = [value for value, at in zip(column, places, strict=True) if at == place]
            self._write(kind, chosen, _sizes_of(places, place, self.sizes), None)

    def _write(self, kind: int, column: Sequence[Any], sizes: Sequence[int], known: Known | None) -> None:
        if kind == _FLOAT:
            self._write_floats(column, sizes, known)
        elif kind == _INTEGER:
            if min(column) < _INTEGER_MIN or max(column) > _INTEGER_MAX:
                raise OverflowError("a whole number of more than 64 bits")
            self._write_integers(column, sizes, known)
        elif kind == _TRUTH:
            write_integers(self.bits, list(map(int, column)), sizes)
        elif kind == _TEXT:
            write_integers(self.bits, [self.texts.setdefault(text, len(self.texts)) for text in column], sizes)
        else:
            self._write_positions(column, sizes)

    def _write_integers(self, column: Sequence[int], sizes: Sequence[int], known: Known | None) -> None:
        if known is None:
            write_integers(self.bits, column, sizes)
        else:
            write_column(self.bits, column, sizes, known)

    def _write_floats(self, column: Sequence[float], sizes: Sequence[int], known: Known | None) -> None:
        form, integers = to_integers(column)
        self.bits.put(4, form)
        self._write_integers(integers, sizes, known)

    def _write_positions(self, column: Sequence[Position], sizes: Sequence[int]) -> None:
        self._write_floats([position.latitude for position in column], sizes, None)
        self._write_floats([position.longitude for position in column], sizes, None)
        there = [int(position.altitude is not None) for position in column]
        self.bits.put_list(there)
        if any(there):
            altitudes = [position.altitude for position in column if position.altitude is not None]
            self._write_floats(altitudes, _sizes_of(there, 1, sizes), None)


@dataclass(slots=True)
class ValueReader:
    """Reads the columns of one shape. Raises CompactError."""

    bits: BitReader
    sizes: Sequence[int]
    texts: Sequence[str]
    known: Known = field(default_factory=Known)

    def read(self) -> list[Value]:
        """One quantity."""
        mask = self.bits.take(len(_KINDS)) if self.bits.take(1) else 16
        kinds = [kind for kind in range(len(_KINDS)) if mask & 16 >> kind]
        if not kinds:
            raise CompactError("values of no kind")
        if len(kinds) == 1:
            return self._read(kinds[0], self.sizes, self.known)
        places = self.bits.take_list(sum(self.sizes))
        if set(places) != set(range(len(kinds))):
            raise CompactError("values of kinds that are not there")
        parts: list[Iterator[Value]] = [
            iter(self._read(kind, _sizes_of(places, place, self.sizes), None)) for place, kind in enumerate(kinds)
        ]
        return [next(parts[place]) for place in places]

    def _read(self, kind: int, sizes: Sequence[int], known: Known | None) -> list[Any]:
        if kind == _FLOAT:
            return self._read_floats(sizes, known)
        if kind == _POSITION:
            return self._read_positions(sizes)
        if kind == _TRUTH:
            return [bool(number) for number in between(0, read_integers(self.bits, sizes), 1)]
        if kind == _TEXT:
            last = len(self.texts) - 1
            return [self.texts[place] for place in between(0, read_integers(self.bits, sizes), last)]
        return between(_INTEGER_MIN, self._read_integers(sizes, known), _INTEGER_MAX)

    def _read_integers(self, sizes: Sequence[int], known: Known | None) -> list[int]:
        return read_integers(self.bits, sizes) if known is None else read_column(self.bits, sizes, known)

    def _read_floats(self, sizes: Sequence[int], known: Known | None) -> list[float]:
        return to_floats(self.bits.take(4), self._read_integers(sizes, known))

    def _read_positions(self, sizes: Sequence[int]) -> list[Position]:
        latitudes, longitudes = self._read_floats(sizes, None), self._read_floats(sizes, None)
        there = between(0, self.bits.take_list(sum(sizes)), 1)
        altitudes = iter(self._read_floats(_sizes_of(there, 1, sizes), None) if any(there) else ())
        return [
            Position(latitude, longitude, next(altitudes) if has else None)
            for latitude, longitude, has in zip(latitudes, longitudes, there, strict=True)
        ]


def _kind(kind: type) -> int:
    number = _NUMBER_OF.get(kind)
    if number is None:
        number = next((_NUMBER_OF[known] for known in _KINDS if issubclass(kind, known)), None)
        if number is None:
            raise TypeError(f"no reading has a value of {kind.__name__}")
    return number


def _sizes_of(places: Sequence[int], place: int, sizes: Sequence[int]) -> list[int]:
    """How many rows of each group have that place."""
    return [places[begin:end].count(place) for begin, end in pairwise(accumulate(sizes, initial=0))]
