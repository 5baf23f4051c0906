from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.compact.bits import BitReader, BitWriter
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

INTEGERS = st.integers(-9, 9) | st.integers(-(10**6), 10**6) | st.integers(-(2**64), 2**64)
GROUPS = st.lists(st.lists(INTEGERS, max_size=12), min_size=1, max_size=4)


def length(numbers: list[int], sizes: list[int]) -> int:
    """Bits of a column; it must come out as it went in."""
    bits = BitWriter()
    write_integers(bits, numbers, sizes)
    data = bits.to_bytes()
    reader = BitReader(data)
    assert read_integers(reader, sizes) == numbers
    reader.end()
    return 8 * len(data)


@given(GROUPS)
def test_integers_come_out_as_they_went_in(groups: list[list[int]]) -> None:
    length([number for group in groups for number in group], list(map(len, groups)))


@given(GROUPS, st.lists(st.tuples(st.integers(-3, 3), st.integers(-(2**40), 2**40)), min_size=1, max_size=20))
def test_columns_that_follow_come_out_as_they_went_in(groups: list[list[int]], others: list[tuple[int, int]]) -> None:
    sizes = list(map(len, groups))
    first = [number for group in groups for number in group]
    columns = [first] + [[factor * number + offset for number in first] for factor, offset in others]
    bits, known = BitWriter(), Known()
    for column in columns:
        write_column(bits, column, sizes, known)
    reader, known = BitReader(bits.to_bytes()), Known()
    assert [read_column(reader, sizes, known) for _ in columns] == columns
    reader.end()


def test_what_each_model_is_for() -> None:
    chance = random.Random(3)
    polls = [1_790_000_000_000 + 1000 * row + round(chance.gauss(0, 2)) for row in range(60)]
    assert length(polls, [60]) < 60 * 3.6 + 100
    drifting = [1_790_000_000_000 + round(1000.3 * row + chance.gauss(0, 2)) for row in range(60)]
    assert length(drifting, [60]) < 60 * 3.6 + 100
    gap = [time + 60_000 * (row > 30) for row, time in enumerate(polls)]
    assert length(gap, [60]) < 60 * 4.6 + 160
    counter = [123_456 + 17 * row + row % 2 for row in range(60)]
    assert length(counter, [60]) < 60 * 2 + 60
    walk = [sum(chance.choice((-1, 0, 1)) for _ in range(row)) for row in range(60)]
    assert length([5000 + number for number in walk], [60]) < 60 * 6
    assert length([5000] * 60, [60]) < 40


def test_what_follows_costs_only_what_it_adds() -> None:
    chance = random.Random(4)
    power = [round(5000 + chance.gauss(0, 100)) for _ in range(600)]
    current = [round(watt * 0.4345) for watt in power]
    bits, known = BitWriter(), Known()
    write_column(bits, power, [600], known)
    alone = len(bits.to_bytes())
    write_column(bits, current, [600], known)
    assert len(bits.to_bytes()) - alone < alone / 4


@pytest.mark.parametrize(
    ("numbers", "form"),
    [
        ([1.0, -3.0, 0.0], 0),
        ([231.4, 231.0, -0.5], 1),
        ([0.1, 1e-12], 12),
        ([0.1 + 0.2], 14),
        ([1e-13], 14),
        ([-0.0, 1.5], 13),  # single-precision as it happens, and decimals have no negative zero
        ([231.399994, 0.100000001], 13),
        ([float("nan")], 13),
        ([float("inf"), 1.0], 13),
        ([1e300], 14),
        ([2.0**60], 14),
        ([123456789.123], 3),
    ],
)
def test_forms_of_floats(numbers: list[float], form: int) -> None:
    found, integers = to_integers(numbers)
    assert found == form
    assert struct.pack(">3d", *to_floats(found, integers)[:3], *[0.0] * (3 - len(numbers))) == struct.pack(
        ">3d", *numbers, *[0.0] * (3 - len(numbers))
    )


@given(st.lists(st.floats(), min_size=1, max_size=8))
def test_floats_come_out_bit_for_bit(numbers: list[float]) -> None:
    back = to_floats(*to_integers(numbers))
    assert struct.pack(f">{len(numbers)}d", *back) == struct.pack(f">{len(numbers)}d", *numbers)


@pytest.mark.parametrize(("form", "number"), [(15, 0), (13, 2**31), (14, 2**63), (0, 2**1024)])
def test_what_is_no_float(form: int, number: int) -> None:
    with pytest.raises(CompactError):
        to_floats(form, [number])
